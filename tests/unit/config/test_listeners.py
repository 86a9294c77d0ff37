from pathlib import Path

import pytest

from gateway.config import InvalidConfigError, load_config
from tests.support.configuration import MINIMAL, private, write_config

MTLS = (
    'host = "127.0.0.1"\nport = 9\ncertificate_file = "cert.pem"\nkey_file = "cert.pem"\n'
    'client_ca_file = "ca.pem"\nclient_names = ["nginx.hospital.example"]'
)
FRONT = 'front = { socket = "front.sock", trusted_uids = [33] }'
EITHER = "listens either on a socket or on an address with mTLS"


def found(folder: Path, text: str) -> list[str]:
    for name in ("cert.pem", "ca.pem"):
        private(folder / name, "-")
    try:
        load_config(write_config(folder, text), {})
    except InvalidConfigError as error:
        return [str(problem).partition(": ")[2] for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ("", EITHER),
        (f'socket = "s"\ntrusted_uids = [1]\n{MTLS}', EITHER),
        ('host = "127.0.0.1"', "needs port, certificate_file, key_file, client_ca_file, client_names too"),
        ('host = "127.0.0.1"\nport = 9', "a front on an address proves itself by mTLS"),
        (MTLS.replace('["nginx.hospital.example"]', "[]"), "needs client_names too"),
        ('socket = "s"', "trusts no user, and nobody is trusted by default"),
        ('socket = "s"\ntrusted_uids = []', "trusts no user, and nobody is trusted by default"),
        (f"{MTLS}\ntrusted_uids = [1]", "an address shows no user id"),
        ('socket = "front.sock"\ntrusted_uids = [1]', "that is where line 3 listens already"),
        ('trusted_peers = ["127.0.0.1/32"]', "unknown key `trusted_peers`"),
        (f'{MTLS}\ncertificate_field = "x-client-cert"', "`doors[1].certificate_field` should be"),
        (MTLS.replace('"nginx.hospital.example"', '"*.hospital.example"'), "`doors[1].client_names[1]` should be a host name"),
    ],
)
def test_a_door_that_can_not_prove_its_front(tmp_path: Path, section: str, what: str) -> None:
    problems = found(tmp_path, f'{MINIMAL}[[doors]]\nkind = "forward-auth"\n{section}\n')
    assert any(what in problem for problem in problems), problems


def test_doors_that_can(tmp_path: Path) -> None:
    assert found(tmp_path, f'{MINIMAL}[[doors]]\nkind = "forward-auth"\nsocket = "s"\ntrusted_uids = [33]\n') == []
    assert found(tmp_path, f'{MINIMAL}[[doors]]\nkind = "forward-auth"\n{MTLS}\n') == []


def test_the_front_before_the_proxy_has_to_as_well(tmp_path: Path) -> None:
    problems = found(tmp_path, MINIMAL.replace(FRONT, 'front = { socket = "front.sock" }'))
    assert problems == ["[server.front] trusts no user, and nobody is trusted by default. Add trusted_uids = [UID] of the front."]


def test_a_door_without_a_way_to_our_pages(tmp_path: Path) -> None:
    text = MINIMAL.replace(f"public_port = 443\n{FRONT}", "port = 8443")
    problems = found(tmp_path, f'{text}[[doors]]\nkind = "forward-auth"\nsocket = "s"\ntrusted_uids = [33]\n')
    assert problems == ["a front that asks needs a way to the gateway's own pages, and for WebSockets. Add [server.front]."]


def test_nobody_could_reach_it(tmp_path: Path) -> None:
    assert found(tmp_path, MINIMAL.replace(FRONT, "")) == [
        "nobody could reach the gateway. Add a port to [server], or a [server.front]."
    ]


def test_tls_without_a_port(tmp_path: Path) -> None:
    text = MINIMAL.replace("[portal]", '[server.tls]\ncertificate_file = "cert.pem"\nkey_file = "cert.pem"\n[portal]')
    assert found(tmp_path, text) == ["[server.tls] has no port to serve. Add a port to [server], or remove [server.tls]."]


def test_the_ca_of_devices_does_not_vouch_for_fronts(tmp_path: Path) -> None:
    tls = '[server.tls]\ncertificate_file = "cert.pem"\nkey_file = "cert.pem"\nclient_ca_file = "ca.pem"\n[portal]'
    text = MINIMAL.replace("public_port = 443", "port = 8443").replace("[portal]", tls)
    [problem] = found(tmp_path, f'{text}[[doors]]\nkind = "forward-auth"\n{MTLS}\n')
    assert problem.startswith("the CA of devices would vouch for fronts")

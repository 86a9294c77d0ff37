"""The generator of nginx's configuration. What nginx makes of it is in tests/integration/test_nginx.py."""

import re
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config, load_config
from gateway.domain.headers import CLAIM_PREFIXES, CLAIMS, strip_client
from gateway.doors.nginx.fields import cleared_fields
from gateway.frontconf.nginx import Options, render
from gateway.kernel.errors import ConfigError
from gateway.leases.line import LONGEST
from tests.support.configuration import CLIENT_SECRET, MINIMAL, private, write_config

ROOT = Path(__file__).parents[3]
DOOR = """
[[doors]]
kind = "nginx"
socket = "door.sock"
trusted_uids = [33]
tells_tls = true
certificate_field = "x-forwarded-tls-client-cert"
"""
TELLS = ', tells_tls = true, certificate_field = "x-forwarded-tls-client-cert"'
FOLLOWED = 'access_log = "log.json"\naccess_log_state = "state.json"\nstatus_socket = "status.sock"\n'
HEADERS = '[apps.headers]\nX-Remote-User = "login"\nx-hospital-Role = "roles"\n'


def config_of(folder: Path, *change: str, section: str = DOOR) -> Config:
    text = MINIMAL.replace("trusted_uids = [33]", f"trusted_uids = [33]{TELLS}") + section
    if change:
        assert change[0] in text
        text = text.replace(change[0], change[1])
    return load_config(write_config(folder, text), {})


def made(folder: Path, *change: str, section: str = DOOR, **options: object) -> str:
    return render(config_of(folder, *change, section=section), msgspec.convert(options, Options))


def set_headers(block: str) -> dict[str, str]:
    return {name.lower(): value for name, value in re.findall(r"proxy_set_header (\S+) (\S+);", block)}


def block_of(text: str, begin: str) -> str:
    return text[text.index(begin) : text.index("\n        }", text.index(begin))]


# ---- what gateway.toml must have


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (("public_port = 443", 'public_port = 443\npublic_scheme = "http"'), {}, "serves https only"),
        ((DOOR, ""), {}, "no \\[\\[doors\\]\\] of kind nginx"),
        ((TELLS, ""), {}, "would not listen"),
        (("tells_tls = true\n", ""), {}, "would not listen"),
        (('"x-forwarded-tls-client-cert"\n', '"client-cert"\n'), {}, "don't hear of client certificates alike"),
        ((), {"certificate": "/etc/a b.pem"}, "can't stand in an nginx configuration"),
        ((), {"user": "x; include /etc/passwd"}, "can't stand in an nginx configuration"),
        ((), {"listen": "443; }"}, "can't stand in an nginx configuration"),
    ],
)
def test_what_nginx_could_not_work_with(tmp_path: Path, change: tuple[str, ...], options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(tmp_path, *change, **options)


def test_an_address_needs_nginxs_own_certificate(tmp_path: Path) -> None:
    mutual = 'host = "10.0.0.5"\nport = 9443\ncertificate_file = "c.pem"\nkey_file = "k.pem"\nclient_ca_file = "ca.pem"\n'
    for name in ("c.pem", "k.pem", "ca.pem"):
        private(tmp_path / name, "-----BEGIN X-----\n")
    change = ('socket = "door.sock"\ntrusted_uids = [33]\n', f'{mutual}client_names = ["nginx.hospital.example"]\n')
    with pytest.raises(ConfigError, match="has to prove itself by a certificate"):
        made(tmp_path, *change)
    text = made(tmp_path, *change, front_certificate="/n.pem", front_key="/n.key", front_ca="/ca.pem", front_name="gw.internal")
    decide = block_of(text, "location = /.gateway/decide")
    for line in (
        "proxy_pass https://gateway_door/decide;", "proxy_ssl_certificate /n.pem;", "proxy_ssl_verify on;",
        "proxy_ssl_trusted_certificate /ca.pem;", "proxy_ssl_name gw.internal;",
    ):  # fmt: skip
        assert line in decide
    assert "server 10.0.0.5:9443;" in text


# ---- fields


def test_no_claim_of_a_client_goes_on(tmp_path: Path) -> None:
    text = made(tmp_path, "[[apps.routes]]", f"{HEADERS}[[apps.routes]]")
    to_app = set_headers(block_of(text, "location / {"))
    to_door = set_headers(block_of(text, "location = /.gateway/decide"))
    to_front = set_headers(text[text.index("# ---- to the gateway") : text.index("    server {\n")])
    for name in (*cleared_fields(["X-Remote-User", "x-hospital-Role"]), "X-Forwarded-Tls-Client-Cert"):
        for where, fields in (("app", to_app), ("door", to_door), ("front", to_front)):
            value = fields[name.lower()]
            # Removed, or set to what nginx itself knows: never left as the client sent it.
            assert value == '""' or value.startswith("$"), (name, where)
            assert not value.startswith("$http_") or name == "X-Forwarded-Host", (name, where)
    assert to_app["x-remote-user"] == "$gateway_says_x_remote_user"
    assert to_app["x-hospital-role"] == "$gateway_says_x_hospital_role"
    assert "auth_request_set $gateway_says_x_hospital_role $upstream_http_x_hospital_role;" in text
    assert to_app["cookie"] == "$gateway_cookie"
    assert to_app["host"] == to_app["x-forwarded-host"] == "$gateway_authority"
    assert to_app["x-forwarded-tls-client-cert"] == to_app["x-forwarded-uri"] == '""'


def test_each_family_of_claims_is_spelled_out() -> None:
    cleared = {name.lower() for name in cleared_fields([])}
    assert {name.lower() for name in CLAIMS} <= cleared
    for family in CLAIM_PREFIXES:
        assert sum(name.startswith(family.lower()) for name in cleared) >= 3, family


# ---- leases


def test_there_are_leases_only_where_their_uses_are_read(tmp_path: Path) -> None:
    without = made(tmp_path)
    assert "proxy_cache" not in without
    assert "stub_status" not in without
    text = made(tmp_path, section=DOOR + FOLLOWED)
    assert f"if (-f {tmp_path}/door.sock.no-lease)" in text
    assert f"listen unix:{tmp_path}/status.sock;" in text
    assert f"access_log {tmp_path}/log.json gateway;" in text
    decide = block_of(text, "location = /.gateway/decide")
    key = re.search(r'proxy_cache_key "(.*)";', decide)
    assert key is not None
    # Whatever a decision depends on, each on a line of its own: no value can hold the separator.
    assert key[1].split(r"\n") == [
        "$request_method", "$remote_addr", "$ssl_protocol", "$gateway_sni", "$gateway_certificate", "$http_host",
        "$gateway_target", "$http_cookie",
    ]  # fmt: skip
    assert "proxy_cache_bypass $gateway_hold $gateway_write;" in decide
    assert "proxy_cache_use_stale" not in text
    # Only the question is ever kept, never an application's reply.
    assert text.count("proxy_cache gateway_lease;") == 1


def test_where_nobody_may_be_asked_only_known_fields_go_on(tmp_path: Path) -> None:
    """Under a lease the gateway sees no fields, so that it could refuse none."""
    change = ("[[apps.routes]]", f"{HEADERS}[[apps.routes]]")
    assert "proxy_pass_request_headers" not in made(tmp_path, *change)
    text = made(tmp_path, *change, section=DOOR + FOLLOWED, pass_fields="X-Ward-Station hx-request")
    assert text.count("proxy_pass_request_headers off;") == 1
    to_app = block_of(text, "location / {")
    assert "proxy_pass_request_headers off;" in to_app
    fields = set_headers(to_app)
    for name, value in fields.items():
        if value.startswith("$http_"):
            assert value == f"$http_{name.replace('-', '_')}"
            assert strip_client(((name, ""),), frozenset({"xremoteuser", "xhospitalrole"})), name
    assert {"accept", "authorization", "content-type", "range", "if-none-match", "x-ward-station", "hx-request"} <= {
        name for name, value in fields.items() if value.startswith("$http_")
    }
    assert fields["x-remote-user"] == "$gateway_says_x_remote_user"
    assert fields["cookie"] == "$gateway_cookie"
    assert "upgrade" not in fields
    assert len(fields) == len(re.findall("proxy_set_header", to_app)), "each once"


@pytest.mark.parametrize(
    "name",
    [
        "X-Remote-User", "xremote-user", "X-Hospital-Role", "X-Forwarded-Bork", "OIDC-CLAIM-admin", "X-Gateway-Assertion", "Host",
        "Cookie", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "TE", "Sec-WebSocket-Key", "a_b", "x:",
    ],
)  # fmt: skip
def test_fields_that_cannot_be_added(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no client may send"):
        made(tmp_path, "[[apps.routes]]", f"{HEADERS}[[apps.routes]]", section=DOOR + FOLLOWED, pass_fields=f"X-Fine {name}")


def test_no_request_makes_a_line_that_is_too_long(tmp_path: Path) -> None:
    found = re.search(r"large_client_header_buffers \d+ (\d+)k;", made(tmp_path))
    assert found is not None
    # Host and path, of whose bytes JSON may make six each; a method is letters; and the rest.
    assert (2 * 6 + 1) * int(found[1]) * 1024 + 4096 < LONGEST


# ---- TLS, and the way


def test_presets(tmp_path: Path) -> None:
    high, compatible = made(tmp_path), made(tmp_path, preset="compatible")
    assert "ssl_protocols TLSv1.3;" in high
    assert "ssl_ciphers" not in high
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in compatible
    assert "ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384:" in compatible
    assert "ssl_verify_client" not in high
    assert "ssl_verify_client optional;" in made(tmp_path, client_ca="/ca.pem")
    # One server for all names, so that none can ask for less.
    assert len(re.findall(r"listen .* ssl", made(tmp_path, listen="443"))) == 1


def test_applications_and_our_own_hosts(tmp_path: Path) -> None:
    text = made(tmp_path, "http://127.0.0.1:9001", "https://ehr.internal:8443")
    assert "ehr.hospital.example https://app_ehr;" in text
    assert "server ehr.internal:8443;" in text
    assert "proxy_ssl_verify on;" in block_of(text, "location / {")
    own = text[text.index("map $host $gateway_by_host") :]
    assert "portal.hospital.example whole;" in own[: own.index("}")]
    assert "return 308 https://$host$request_uri;" in text
    assert "return 308" not in made(tmp_path, redirect_port=0)


def test_several_instances(tmp_path: Path) -> None:
    change = (
        'upstream = "http://127.0.0.1:9001"',
        'upstream = "http://10.0.0.1:80"\nupstreams = ["http://10.0.0.2", "http://[fd00::1]:81"]\nhealth = { path = "/up" }',
    )
    group = made(tmp_path, *change)
    group = group[group.index("upstream app_ehr {") :]
    for server in ("10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:81"):
        assert f"server {server} max_fails=2 fail_timeout=5s;" in group[: group.index("}")]
    different = ('upstream = "http://127.0.0.1:9001"', 'upstream = "https://a.internal"\nupstreams = ["http://b.internal"]')
    with pytest.raises(ConfigError, match="with TLS or without"):
        made(tmp_path, *different)


def test_the_longest_silence_that_a_route_allows(tmp_path: Path) -> None:
    assert "proxy_read_timeout 60s;" in made(tmp_path)
    assert "proxy_read_timeout 300s;" in made(tmp_path, 'action = "read"', 'action = "read"\nidle_seconds = 300')
    assert "proxy_read_timeout 7s;" in made(tmp_path, read_timeout=7)


# ---- the example in deploy/nginx


def test_the_example_is_what_the_generator_makes(tmp_path: Path) -> None:
    for name in ("tls/server.pem", "tls/server.key", "tls/device-ca.pem", "keys/assertion.pem", "keys/audit.pem"):
        private(tmp_path / name, "-----BEGIN X-----\n")
    for name in ("oidc-client", "seal-key"):
        private(tmp_path / "secrets" / name, CLIENT_SECRET)
    private(tmp_path / "secrets" / "redis-url", "rediss://:password@redis.hospital.example:6379/0")
    (tmp_path / "policies").mkdir()
    path = tmp_path / "gateway.toml"
    path.write_text((ROOT / "deploy" / "gateway.toml").read_text("utf-8"), "utf-8")
    options = Options(client_ca="/etc/nginx/tls/device-ca.pem")
    text = render(load_config(path, {}), options).replace(str(tmp_path), "/etc/gateway")
    assert text == (ROOT / "deploy" / "nginx" / "nginx.conf").read_text("utf-8")

"""What would stop `gateway serve` is said beforehand, all of it, without touching anything."""

import datetime as dt
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from gateway.app.preflight import preflight
from gateway.audit.keys import create_key
from gateway.config import Config, check_production, load_config
from gateway.kernel.clock import ManualClock
from tests.support.configuration import MINIMAL, private, write_config
from tests.support.served import pem

ROOT = Path(__file__).parents[3]
DAY = dt.timedelta(days=1)
HOSTS = ("portal.hospital.example", "ehr.hospital.example", "console.hospital.example", "id.hospital.example")
TEXT = (
    MINIMAL.replace(
        'public_port = 443\nfront = { socket = "front.sock", trusted_uids = [33] }',
        'port = 8443\nfront = { socket = "front.sock", trusted_uids = [33] }\n'
        '[server.tls]\ncertificate_file = "server.pem"\nkey_file = "server.key"\nclient_ca_file = "device-ca.pem"',
    )
    .replace('issuer = "https://id.other.example"', 'issuer = "https://id.hospital.example"\nembedded = true\nca_file = "ca.pem"')
    .replace('key_file = "audit.pem"', 'key_file = "audit.pem"\nanchor = "anchor/checkpoint"')
    .replace('[devices]\ndatabase = "', '[idp]\ndata_dir = "state/idp"\n[devices]\ndatabase = "state/')
    .replace('dir = "audit"', 'dir = "log/audit"')
    + '[console]\nhost = "console.hospital.example"\n'
    + '[[doors]]\nkind = "forward-auth"\nsocket = "run/door.sock"\ntrusted_uids = [33]\n'
)
EXTENSIONS: tuple[tuple[x509.ExtensionType, bool], ...] = (
    (x509.BasicConstraints(ca=True, path_length=0), True),
    (
        x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        ),
        True,
    ),
)  # fmt: skip


def certificate(
    key: ec.EllipticCurvePrivateKey,
    *hosts: str,
    begins: dt.timedelta = -DAY,
    ends: dt.timedelta = DAY,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    identified: bool = True,
) -> str:
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "of the tests")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now + begins, now + ends)
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
    if identified:
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    for extension, critical in extensions:
        made = made.add_extension(extension, critical=critical)
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


class Site:
    """An installation that could start, to be spoilt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_config(folder, TEXT)
        (folder / "policies").rmdir()
        shutil.copytree(ROOT / "policies", folder / "policies")
        (folder / "audit.pem").unlink()
        create_key(folder / "audit.pem")
        self.write("assertion.pem", pem(KEY))
        self.write("server.key", pem(KEY))
        self.write("server.pem", certificate(KEY, *HOSTS))
        for name in ("ca.pem", "device-ca.pem"):
            self.write(name, certificate(OTHER, extensions=EXTENSIONS))
        for name in ("state", "log", "anchor", "run"):
            (folder / name).mkdir()

    def write(self, name: str, content: str) -> None:
        private(self.folder / name, content)

    def config(self) -> Config:
        return load_config(self.folder / "gateway.toml", {})

    def told(self) -> list[tuple[str, str]]:
        """(the line of the configuration, what and what to do) of every problem."""
        lines = ["", *(self.folder / "gateway.toml").read_text("utf-8").split("\n")]
        found = []
        for problem in preflight(self.config()):
            file, _, line = problem.where.rpartition(":")
            assert file == str(self.folder / "gateway.toml"), problem
            assert problem.todo.endswith("."), problem
            found.append((lines[int(line)], problem.what))
        return found

    def one(self) -> tuple[str, str]:
        [found] = self.told()
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def seen(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mode, path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}


def test_what_could_start_and_stays_as_it_is(site: Site) -> None:
    before = seen(site.folder)
    assert site.told() == []
    assert check_production(site.config()) == []
    assert seen(site.folder) == before


def test_everything_at_once(site: Site) -> None:
    site.write("server.pem", "no certificate")
    site.write("device-ca.pem", "no certificate")
    site.write("assertion.pem", "no key")
    site.write("audit.pem", "no key")
    site.write("ca.pem", "no certificate")
    for name in ("state", "log", "anchor", "run"):
        (site.folder / name).rmdir()
    shutil.rmtree(site.folder / "policies")
    (site.folder / "policies").mkdir()
    assert [line for line, _ in site.told()] == [
        'certificate_file = "server.pem"', 'client_ca_file = "device-ca.pem"', 'assertion_key_file = "assertion.pem"',
        'key_file = "audit.pem"', 'ca_file = "ca.pem"', 'data_dir = "state/idp"', 'database = "state/devices.sqlite3"',
        'dir = "log/audit"', 'anchor = "anchor/checkpoint"', 'socket = "run/door.sock"', 'dir = "policies"',
    ]  # fmt: skip


# ---------------------------------------------------------------- TLS


def test_a_key_that_belongs_to_another_certificate(site: Site) -> None:
    site.write("server.key", pem(OTHER))
    line, what = site.one()
    assert line == 'certificate_file = "server.pem"'
    assert what.startswith(
        f"{site.folder}/server.pem, {site.folder}/server.key: the server certificate or its key can't be used ("
    )


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (HOSTS, ""),
        (("*.hospital.example",), ""),
        (("*.HOSPITAL.example",), ""),
        (("portal.hospital.example", "ehr.hospital.example"), "console.hospital.example, id.hospital.example"),
        ((*HOSTS[:3], "*.id.hospital.example"), "id.hospital.example"),
        (("*.example", "hospital.example", "*"), ", ".join(HOSTS[:2] + HOSTS[2:])),
        ((), ", ".join(HOSTS)),
    ],
)
def test_hosts_that_the_certificate_is_not_for(site: Site, names: tuple[str, ...], missing: str) -> None:
    site.write("server.pem", certificate(KEY, *names))
    if not missing:
        assert site.told() == []
        return
    assert site.one() == (
        'certificate_file = "server.pem"',
        f"the certificate {site.folder}/server.pem is not for {missing} (it is for {', '.join(names) or 'no host name'})",
    )


@pytest.mark.parametrize(
    ("begins", "ends", "what"), [(-2 * DAY, -DAY, "has expired at "), (DAY, 2 * DAY, "is not valid before ")]
)
@pytest.mark.parametrize(("name", "key"), [("server.pem", "certificate_file"), ("device-ca.pem", "client_ca_file")])
def test_certificates_out_of_their_time(
    site: Site, begins: dt.timedelta, ends: dt.timedelta, what: str, name: str, key: str
) -> None:
    is_ca = name == "device-ca.pem"
    made = certificate(KEY, *(() if is_ca else HOSTS), begins=begins, ends=ends, extensions=EXTENSIONS if is_ca else ())
    site.write(name, made)
    line, told = site.one()
    assert line == f'{key} = "{name}"'
    assert f"{site.folder}/{name} {what}" in told
    assert told.endswith(" UTC")


def test_the_clock_is_the_callers(site: Site) -> None:
    assert [problem.what.partition(" has ")[0] for problem in preflight(site.config(), ManualClock(4_000_000_000.0))] == [
        f"the certificate {site.folder}/server.pem",
        f"no device certificate would be taken: the device CA {site.folder}/device-ca.pem",
    ]


def test_a_device_ca_that_no_certificate_would_pass(site: Site) -> None:
    """The listener verifies strictly; `openssl req -x509` alone makes a CA without keyUsage."""
    begin = f"no device certificate would be taken: the device CA {site.folder}/device-ca.pem "
    loose = ((EXTENSIONS[0][0], False), EXTENSIONS[1])
    for made, what in (
        (certificate(OTHER, extensions=EXTENSIONS[:1]), "has no keyUsage"),
        (certificate(OTHER, extensions=loose), "has basicConstraints that are not critical"),
        (certificate(OTHER, extensions=EXTENSIONS, identified=False), "has no subjectKeyIdentifier"),
    ):
        site.write("device-ca.pem", made)
        assert site.one() == ('client_ca_file = "device-ca.pem"', begin + what)
    site.write("device-ca.pem", certificate(OTHER, extensions=EXTENSIONS[:1]) + certificate(KEY, extensions=EXTENSIONS))
    assert site.told() == [], "one of two is good: the other may be on its way out"
    leaf = ((x509.BasicConstraints(ca=False, path_length=None), True),)
    site.write("device-ca.pem", certificate(OTHER, extensions=leaf))
    assert site.one() == ('client_ca_file = "device-ca.pem"', f"{site.folder}/device-ca.pem holds no CA certificate")


# ---------------------------------------------------------------- keys


def public(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def ed25519_pem() -> str:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "content",
    ["no key", public(KEY), certificate(KEY, "x.example"), pem(ec.generate_private_key(ec.SECP384R1())), ed25519_pem()],
    ids=["text", "public", "certificate", "P-384", "Ed25519"],
)
def test_an_assertion_key_that_can_not_sign(site: Site, content: str) -> None:
    site.write("assertion.pem", content)
    line, what = site.one()
    assert line == 'assertion_key_file = "assertion.pem"'
    assert what.startswith(f"{site.folder}/assertion.pem: this is not ")


def test_a_key_of_the_log_of_another_kind(site: Site) -> None:
    site.write("audit.pem", pem(KEY))
    assert site.one() == ('key_file = "audit.pem"', f"{site.folder}/audit.pem: holds a key of another kind than Ed25519")


def test_a_key_of_the_log_that_is_still_to_be_made(site: Site) -> None:
    (site.folder / "audit.pem").unlink()
    assert site.told() == []
    assert not (site.folder / "audit.pem").exists()


def test_a_providers_ca_that_is_none(site: Site) -> None:
    site.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    line, what = site.one()
    assert line == 'ca_file = "ca.pem"'
    assert what.startswith(f"the provider's CA {site.folder}/ca.pem can't be read (")


# ---------------------------------------------------------------- places to write


@pytest.mark.parametrize(
    ("folder", "lines"),
    [
        ("state", {'data_dir = "state/idp"': "idp", 'database = "state/devices.sqlite3"': "devices.sqlite3"}),
        ("log", {'dir = "log/audit"': "audit"}),
        ("anchor", {'anchor = "anchor/checkpoint"': "checkpoint"}),
        ("run", {'socket = "run/door.sock"': "door.sock"}),
    ],
)
def test_folders_that_are_not_there_or_not_ours(
    site: Site, folder: str, lines: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, access = site.folder / folder, os.access
    with monkeypatch.context() as patched:  # root, who may run the tests, is refused nothing
        patched.setattr(os, "access", lambda asked, mode: asked != path and access(asked, mode))
        assert site.told() == [(line, f"the folder {path} can't be written") for line in lines]
    path.rmdir()
    assert site.told() == [(line, f"there is no folder {path} for {name}") for line, name in lines.items()]
    path.touch()
    assert site.told() == [(line, f"{path} is not a folder") for line in lines]


def test_a_folder_of_ours_within_one_that_is_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As packages lay it out: /var/log is root's, /var/log/gateway the gateway's."""
    (site.folder / "log/audit").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda asked, mode: asked != site.folder / "log" and access(asked, mode))
    assert site.told() == []


def test_an_access_log_that_the_gateway_may_not_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    door = '[[doors]]\nkind = "nginx"\nsocket = "run/nginx.sock"\ntrusted_uids = [33]\n'
    with (site.folder / "gateway.toml").open("a") as file:
        file.write(f'{door}access_log = "log/nginx.json"\naccess_log_state = "elsewhere/nginx.json"\n')
    nowhere = ('access_log_state = "elsewhere/nginx.json"', f"there is no folder {site.folder}/elsewhere for nginx.json")
    assert site.told() == [nowhere], "nginx makes its log itself"
    log, access = site.folder / "log/nginx.json", os.access
    log.touch()
    assert site.told() == [nowhere]
    monkeypatch.setattr(os, "access", lambda asked, mode: asked != log and access(asked, mode))
    unread = f"{log} can't be read, so there would be no record of what the front let through"
    assert sorted(site.told()) == sorted([nowhere, ('access_log = "log/nginx.json"', unread)])


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_devices_database_that_is_no_file(site: Site, make: Callable[[Path], None]) -> None:
    make(site.folder / "state/devices.sqlite3")
    line, what = site.one()
    assert line == 'database = "state/devices.sqlite3"'
    assert what == f"{site.folder}/state/devices.sqlite3 is no file that can be read and written"


def test_what_stands_in_the_sockets_place(site: Site) -> None:
    path = site.folder / "run/door.sock"
    path.touch()
    assert site.one() == ('socket = "run/door.sock"', f"{path} is there and is no socket")
    path.unlink()
    (site.folder / "gateway.toml").write_text(TEXT.replace("run/door.sock", f"run/{'d' * 108}"))
    [problem] = preflight(site.config())
    assert problem.what == f"{site.folder}/run/{'d' * 108} is too long for a socket"


def test_a_socket_that_was_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path_factory.mktemp("s"))
    monkeypatch.chdir(site.folder / "run")  # bind's own path is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("door.sock")
    assert site.told() == []


# ---------------------------------------------------------------- policies


def test_policies_that_do_not_load(site: Site) -> None:
    (site.folder / "policies/zz.cedar").write_text("permit (", "utf-8")
    found = preflight(site.config())
    assert found
    assert all(problem.where.startswith(f"{site.folder}/policies/zz.cedar:") for problem in found)
    assert all(problem.todo.endswith(".") and "\n" not in str(problem) for problem in found)


def test_cases_that_do_not_hold(site: Site) -> None:
    case = '[[case]]\nname = "{}"\nbase = "clerk"\ntarget = "ehr.prescribe"\nexpect = {{ outcome = "allow", policies = ["x"] }}\n'
    (site.folder / "policies/cases/zz.toml").write_text(case.format("one") + case.format("two"), "utf-8")
    [problem] = preflight(site.config())
    assert " cases fail, first 'one': " in problem.what
    assert problem.where == f"{site.folder}/policies/cases/zz.toml:1"
    assert problem.todo == "`gateway policy test` shows them all."


def test_no_policy_at_all(site: Site) -> None:
    for path in [*(site.folder / "policies").glob("*.cedar"), site.folder / "policies" / "links.toml"]:
        path.unlink()
    line, what = site.one()
    assert line == 'dir = "policies"'
    assert what == f"{site.folder}/policies: there is no policy in it"


# ---------------------------------------------------------------- the shipped example


def test_the_shipped_example(tmp_path: Path) -> None:
    """With the files that it says to make, and none of the folders: every line says what is missing, nothing breaks."""
    site = Site(tmp_path)
    text = (ROOT / "deploy/gateway.toml").read_text("utf-8").replace("/mnt/anchor", str(tmp_path / "mnt"))
    for name in ("state", "log", "anchor", "run"):
        (tmp_path / name).rmdir()
    hosts = ("portal", "id", "console", "ehr", "imaging", "orders", "consultation", "cloud-ehr")
    site.write("tls/server.pem", certificate(KEY, *(f"{host}.hospital.example" for host in hosts)))
    site.write("tls/server.key", pem(KEY))
    site.write("tls/device-ca.pem", certificate(OTHER, extensions=EXTENSIONS))
    site.write("keys/assertion.pem", pem(KEY))
    for name in ("oidc-client", "seal-key"):
        site.write(f"secrets/{name}", "x" * 43)
    site.write("secrets/redis-url", "unix:///run/redis.sock")
    (tmp_path / "gateway.toml").write_text(text, "utf-8")
    assert [problem.what for problem in preflight(site.config())] == [
        f"there is no folder {tmp_path}/state for idp",
        f"there is no folder {tmp_path}/state for devices.sqlite3",
        f"there is no folder {tmp_path}/mnt for gateway",
        f"there is no folder {tmp_path}/run for front.sock",
        f"there is no folder {tmp_path}/run for nginx.sock",
        f"there is no folder {tmp_path}/state for nginx-log.json",
    ]
    for name in ("state", "mnt", "run"):
        (tmp_path / name).mkdir()
    assert preflight(site.config()) == []

"""TLS by preset, read off the wire at every door: versions, suites, groups, client certificates, resumption, stapling, HSTS."""

import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.doors.tls import HSTS, PROFILES, Preset
from tests.support import caddy, envoy, nginx, tls
from tests.support.fronts import NAVIGATION, SCRIPT, Door
from tests.support.fronts_site import DIRECT, HOST, HOSTS, PORTAL, Site

FRONTS = ("embedded", "nginx", "envoy", "caddy")
GROUPS = ("X25519", "P-256", "P-384", "P-521", "X448", "ffdhe2048", "P-224", "brainpoolP256r1")
SERVERS = {
    "embedded": DIRECT, "caddy": caddy.SERVER, "nginx": nginx.SERVER, "envoy": envoy.by_socket("grpc"),
}  # fmt: skip


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """One door with one preset."""

    name: str
    preset: Preset
    door: Door
    certified: tls.Certified


@contextlib.contextmanager
def opened(name: str, preset: Preset) -> Iterator[Listening]:
    """Run a whole site behind a door of a preset; with an RSA key where TLS 1.2 is spoken, for that has its own suites."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gw-tls-")))
        folder.chmod(0o755)
        certified = stack.enter_context(tls.Certified(*HOSTS, kind="ec" if preset == "high" else "rsa"))
        server = SERVERS[name] + (f'preset = "{preset}"\n' if name == "embedded" else "")
        site = Site(folder, server)
        response = str(certified.install(folder / "tls"))
        stack.callback(site.close)
        site.start()
        if name == "caddy":
            stack.enter_context(caddy.with_caddy(site, preset=preset))
        elif name == "nginx":
            stack.enter_context(nginx.with_nginx(site, preset=preset, stapling=response))
        elif name == "envoy":
            stack.enter_context(envoy.with_envoy(site, preset=preset, ocsp_response=response))
        yield Listening(name=name, preset=preset, door=Door(name, site, site.port), certified=certified)
        site.stop()


@pytest.fixture(scope="module", params=[(name, preset) for name in FRONTS for preset in PROFILES], ids="-".join)
def listening(request: pytest.FixtureRequest) -> Iterator[Listening]:
    with opened(*request.param) as found:
        yield found


def test_the_probe_would_see_old_versions(tmp_path: Path) -> None:
    """So that "refused" below says something: this very client gets through to a server that takes them."""
    with tls.Certified(*HOSTS, kind="rsa") as certified:
        certified.install(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        address = ("127.0.0.1", int(listener.getsockname()[1]))
        assert [tls.accepts(address, version) for version in ("tls1", "tls1_1", "tls1_2")] == [True, True, True]
        found = tls.suites_12(address)
        assert {"AES256-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-RSA-AES128-GCM-SHA256"} <= set(found)
        assert tls.chosen(tls.s_client(address, "-cipher", "NULL")) is not None  # TLS 1.3 does not mind
        listener.shutdown(socket.SHUT_RDWR)


def test_versions(listening: Listening) -> None:
    address = listening.door.address
    accepted = {version: tls.accepts(address, version) for version in ("tls1", "tls1_1", "tls1_2")}
    assert accepted == {"tls1": False, "tls1_1": False, "tls1_2": listening.preset == "compatible"}
    assert tls.chosen(tls.s_client(address)) is not None
    first = tls.chosen(tls.s_client(address))
    assert first is not None
    assert first[0] == "TLSv1.3"


def test_suites(listening: Listening) -> None:
    address = listening.door.address
    found = tls.suites_13(address)
    assert set(found) <= set(tls.SUITES_13[:3])
    assert {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"} <= set(found)
    old = tls.suites_12(address)
    wanted = [suite.openssl for suite in PROFILES[listening.preset].suites if "-RSA-" in suite.openssl]
    assert sorted(old) == sorted(wanted)
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "POLY1305" in name) for name in old)


def test_groups(listening: Listening) -> None:
    found = tls.groups(listening.door.address, GROUPS)
    assert {"X25519", "P-256", "P-384"} <= found
    if listening.name == "embedded":
        # Python can't choose them; OpenSSL offers more good ones, and none that is weak.
        assert found <= {"X25519", "P-256", "P-384", "P-521", "X448", "ffdhe2048"}
    else:
        assert found == {"X25519", "P-256", "P-384"}


@pytest.mark.parametrize("name", [HOST, PORTAL, "other.example", None])
def test_every_client_is_asked_for_a_certificate(listening: Listening, name: str | None) -> None:
    """On the one listener, whatever name it asks for, or none; a handshake that ends there is as good."""
    for version in ("tls1_3", "tls1_2") if listening.preset == "compatible" else ("tls1_3",):
        said = tls.s_client(listening.door.address, f"-{version}", name=name)
        if tls.chosen(said) is None:
            assert name not in {HOST, PORTAL}
            continue
        assert "Requested Signature Algorithms:" in said
        if listening.name == "embedded":
            assert "No client certificate CA names sent" in said  # Python's ssl can't; README, limits
        else:
            assert said.partition("Acceptable client certificate CA names\n")[2].startswith("CN = devices\n"), said


def test_nothing_that_helps_an_attacker(listening: Listening) -> None:
    said = tls.s_client(listening.door.address)
    assert "Compression: NONE" in said
    assert "Early data was not sent" in said
    assert "Max Early Data: 0" in said or "Max Early Data" not in said
    if listening.preset == "compatible":
        again = tls.s_client(listening.door.address, "-tls1_2", typed="R\n")
        assert "RENEGOTIATING" in again
        assert again.count("verify return:") == tls.s_client(listening.door.address, "-tls1_2").count("verify return:")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_a_resumed_session_keeps_the_certificate(listening: Listening, version: ssl.TLSVersion) -> None:
    if version is ssl.TLSVersion.TLSv1_2 and listening.preset == "high":
        assert not tls.accepts(listening.door.address, "tls1_2")
        return
    door = listening.door
    file, der = door.site.devices.issue(f"ward-{version.name}")
    device = door.site.register(der)
    context = ssl.create_default_context(cafile=door.ca)
    context.maximum_version = version
    context.load_cert_chain(file)
    session: ssl.SSLSession | None = None
    resumed = []
    for _ in range(2):
        door.site.forget()
        with (
            socket.create_connection(door.address, 10) as plain,
            context.wrap_socket(plain, server_hostname=HOST, session=session) as line,
        ):
            line.sendall(door.head("/ward/1"))
            assert line.recv(65_536).startswith(b"HTTP/1.1 200")
            session = line.session
            resumed.append(line.session_reused)
        [record] = door.site.decisions()
        assert record["facts"]["device"]["evidence"] == "certificate"
    assert resumed == [False, True]
    # What the session remembers is who it was, not that they may still come in.
    door.site.block(device)
    with (
        socket.create_connection(door.address, 10) as plain,
        context.wrap_socket(plain, server_hostname=HOST, session=session) as line,
    ):
        line.sendall(door.head("/ward/1"))
        assert line.recv(65_536).startswith(b"HTTP/1.1 403")


def test_the_certificates_state_is_stapled_where_the_front_can(listening: Listening) -> None:
    for version in ("tls1_3", "tls1_2") if listening.preset == "compatible" else ("tls1_3",):
        said = tls.s_client(listening.door.address, f"-{version}", "-status")
        if listening.name == "embedded":
            assert "OCSP response: no response sent" in said  # Python's ssl can't; README, limits
        else:
            assert "OCSP Response Status: successful (0x0)" in said, said
            assert "Cert Status: good" in said
    assert (listening.certified.asked > 0) == (listening.name == "caddy")  # which fetches it by itself


@pytest.mark.parametrize("target", ["/x", "/.gateway/sign-in?rd=%2Fx", "/admin", "/a/../b", "/.gateway/static/base.css", "/ws/1"])
def test_every_reply_says_https_only_and_once(listening: Listening, target: str) -> None:
    door = listening.door

    def own(_hit: object, connection: socket.socket) -> bool:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nstrict-transport-security: max-age=1; "
            b"includeSubDomains\r\nContent-Length: 0\r\n\r\n"
        )
        return True

    door.site.upstream.answer = own
    for more, cookie in ((NAVIGATION, None), (SCRIPT, ""), (NAVIGATION, "")):
        answered = door.get(target, *more, cookie=cookie)
        assert answered.replies[0].values(HSTS[0]) == [HSTS[1]], answered
    door.site.forget()


def test_pages_of_the_portal_and_the_provider_say_so_too(listening: Listening) -> None:
    door = listening.door
    for host, target in ((PORTAL, "/"), ("id.localhost", "/.well-known/openid-configuration"), ("nobody.localhost", "/")):
        try:
            answered = door.send(
                door.head(target, *NAVIGATION, "Connection: close", host=f"{host}:{door.site.port}", cookie=""),
                line=door.line(sni=host),
            )
        except (ssl.SSLError, ConnectionError):
            assert host == "nobody.localhost"
            continue
        assert answered.replies[0].values(HSTS[0]) == [HSTS[1]], (host, answered)

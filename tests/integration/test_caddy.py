"""Debian's Caddy before the gateway, configured by `gateway front-config caddy`: what parity and attacks don't ask."""

import base64
import contextlib
import gzip
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.config import load_config
from gateway.frontconf.caddy import Options, render
from tests.support.caddy import SERVER, Caddy, before, with_caddy
from tests.support.fronts import NAVIGATION, SCRIPT, Door, OpenDoors, wait_until
from tests.support.fronts_site import HOST, PORTAL, open_site
from tests.support.mutual import ServerCa
from tests.support.ports import free_port
from tests.support.raw import Line, NoReplyError
from tests.support.raw_upstream import Hit

KEY = base64.b64encode(b"0123456789abcdef").decode()
HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")


@pytest.fixture
def caddy(doors: OpenDoors) -> Iterator[Door]:
    door = doors("caddy")
    door.begin()
    yield door
    door.assert_sound()


# ---- answers


def test_allowed_with_what_the_application_is_told(caddy: Door) -> None:
    answered = caddy.get(
        "/x?q=%E4%BD%90{env.HOME}", f"Cookie: theme=dark; {caddy.cookie()}; list=2; =__Host-gw-bind=x", cookie=""
    )
    assert (answered.status, answered.replies[0].body) == (200, b"from the application")
    (hit,) = answered.hits
    assert hit.target == b"/x?q=%E4%BD%90{env.HOME}"
    fields = dict(hit.fields)
    assert fields["Host"] == fields["X-Forwarded-Host"] == caddy.authority
    assert (fields["X-Forwarded-For"], fields["X-Forwarded-Proto"]) == ("127.0.0.1", "https")
    assert (fields["X-Remote-User"], fields["X-Remote-Name"]) == ("dr.sato", "%E4%BD%90%E8%97%A4 %E6%81%B5")
    assert fields["Cookie"] == "theme=dark; list=2"
    told = {"Host", "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Gateway-Assertion", "X-Request-Id"}
    assert set(fields) == told | {"X-Remote-User", "X-Remote-Name", "X-Remote-Department"}
    (record,) = answered.decisions
    assert (record["id"], record["outcome"]) == (fields["X-Request-Id"], "allow")
    assert (record["source"]["address"], record["source"]["tls"]) == ("127.0.0.1", "TLSv1.3")


def test_only_our_cookies_means_no_cookie(caddy: Door) -> None:
    answered = caddy.get("/x")
    assert answered.hits[0].values("Cookie") == []


def test_nobody_signed_in(caddy: Door) -> None:
    browser = caddy.get("/x?a=1", *NAVIGATION, cookie="")
    assert (browser.status, browser.replies[0].value("Location")) == (302, "/.gateway/sign-in?rd=%2Fx%3Fa%3D1")
    script = caddy.get("/x?a=1", *SCRIPT, cookie="")
    assert script.status == 401
    assert json.loads(script.replies[0].body)["sign_in"].startswith("/.gateway/sign-in?rd=")
    assert browser.hits == script.hits == []


def test_denied_with_the_page_and_the_remedy(caddy: Door) -> None:
    admin = caddy.get("/admin", *NAVIGATION)
    assert admin.status == 403
    assert admin.decisions[0]["id"].encode() in admin.replies[0].body
    touch = caddy.get("/touch/1", *NAVIGATION)
    assert (touch.status, touch.hits) == (403, [])
    assert b"/.gateway/remedy?step=key_touch" in touch.replies[0].body


def test_our_own_pages_and_unknown_hosts_go_to_the_gateway(caddy: Door) -> None:
    begun = caddy.get("/.gateway/sign-in?rd=%2Fx", *NAVIGATION, cookie="")
    assert begun.status == 303
    assert begun.replies[0].value("Location").startswith(f"https://{PORTAL}:{caddy.site.port}/.gateway/go?flow=")
    with caddy.line(sni=PORTAL) as line:
        keys = caddy.send(caddy.head("/.gateway/jwks.json", "Connection: close", host=f"{PORTAL}:{caddy.site.port}"), line=line)
    assert keys.status == 200
    with caddy.line(sni="other.localhost") as line:
        unknown = caddy.send(caddy.head("/x", "Connection: close", host=f"other.localhost:{caddy.site.port}"), line=line)
    assert (unknown.status, unknown.hits) == (421, [])


# ---- what Caddy would forward otherwise than it was asked about


@pytest.mark.parametrize(
    "target", ["/x#y", "/x/\u4f50", "/a|b", '/a"b', "/x^", f"http://{HOST}/x", "*", "/a%2fb", "//x", "/a/../x"]
)
def test_a_target_that_is_not_plain_is_refused_with_a_record(caddy: Door, target: str) -> None:
    answered = caddy.get(target.encode())
    assert 400 <= answered.status < 500
    assert answered.hits == []
    assert [record["outcome"] for record in answered.decisions] == ["refuse"]


def test_replies_are_not_unpacked(caddy: Door) -> None:
    packed = gzip.compress(b"a chart" * 100)
    accepted: list[list[str]] = []

    def answer(hit: Hit, connection: socket.socket) -> bool:
        accepted.append(hit.values("Accept-Encoding"))
        lines = [
            b"HTTP/1.1 200 OK", b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed), b"Set-Cookie: a=b",
            b"Set-Cookie: __Host-gw-session=planted; Path=/; Secure", b"X-Gateway-Assertion: x", b"Alt-Svc: h3",
        ]  # fmt: skip
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + packed)
        return True

    caddy.site.upstream.answer = answer
    answered = caddy.get("/x")
    assert answered.replies[0].body == packed
    assert accepted == [[]]
    assert [value for value in answered.replies[0].values("Set-Cookie") if value] == ["a=b"]
    assert answered.replies[0].values("X-Gateway-Assertion") == answered.replies[0].values("Alt-Svc") == []
    assert answered.replies[0].values("Strict-Transport-Security") == ["max-age=31536000"]


# ---- streams stay under the decision, at the gateway's own proxy


def test_websockets_are_decided_and_carried_by_the_gateway(caddy: Door) -> None:
    with caddy.line() as line:
        line.send(caddy.head("/ws/a", *HANDSHAKE, f"Origin: https://{caddy.authority}"))
        reply = line.reply()
        assert reply.status == 101, reply
    (record,) = caddy.collect().decisions
    assert (record["outcome"], record["route"]) == ("allow", "ehr.ws")
    for cookie, origin, status in (("", caddy.authority, 401), (caddy.cookie(), "evil.example", 403)):
        caddy.site.forget()
        refused = caddy.send(caddy.head("/ws/a", *HANDSHAKE, f"Origin: https://{origin}", cookie=cookie))
        assert refused.status == status
        assert refused.hits == []


@pytest.mark.parametrize(
    "lines",
    [
        ["Accept: text/event-stream"],
        ["Accept: application/json, Text/Event-Stream;q=0.5"],
        ["Accept: */*", "Accept: text/event-stream"],
    ],
)
def test_event_streams_are_carried_by_the_gateway(caddy: Door, lines: list[str]) -> None:
    with caddy.line() as line:
        line.send(caddy.head("/x", *lines))
        assert line.reply().status == 200
    # Only the gateway's own proxy knows how an exchange ended.
    wait_until(lambda: any(record["type"] == "completion" for record in caddy.site.records()), "no completion record")


def test_preflights_are_decided(caddy: Door) -> None:
    ask = ("Origin: https://evil.example", "Access-Control-Request-Method: DELETE", "Sec-Fetch-Mode: cors")
    answered = caddy.get("/x", *ask, method="OPTIONS", cookie="")
    assert answered.status in {401, 403}
    assert answered.replies[0].values("Access-Control-Allow-Origin") == []
    assert (answered.hits, len(answered.decisions)) == ([], 1)


# ---- client certificates and names


def test_a_verified_certificate_is_the_devices_evidence(caddy: Door) -> None:
    file, der = caddy.site.devices.issue("ward-7")
    assert caddy.get("/ward/1").status == 403
    with caddy.line(certificate=file) as line:
        unknown = caddy.send(caddy.head("/ward/1", "Connection: close"), line=line)
    assert unknown.status == 403
    caddy.site.register(der)
    caddy.site.forget()
    with caddy.line(certificate=file) as line:
        known = caddy.send(caddy.head("/ward/1", "Connection: close"), line=line)
    assert known.status == 200
    assert known.hits[0].values("Client-Cert") == []
    assert known.decisions[0]["facts"]["device"]["evidence"] == "certificate"
    for spelling in ("Client-Cert", "client-cert", "Client_Cert", "X-Forwarded-Tls-Client-Cert"):
        caddy.site.forget()
        claimed = caddy.get("/ward/1", f"{spelling}: :{base64.b64encode(der).decode()}:")
        assert (claimed.status, claimed.hits) == (403, []), spelling


def test_a_strangers_certificate_ends_the_handshake(caddy: Door) -> None:
    file, _ = caddy.others.issue("stranger")

    def ask() -> None:
        with caddy.line(certificate=file) as line:
            line.send(caddy.head("/x"))
            line.reply()  # in TLS 1.3 the client hears of it at its first read

    with pytest.raises((OSError, NoReplyError)):
        ask()
    assert caddy.collect().decisions == []


def test_a_connection_is_for_the_name_that_it_began_with(caddy: Door) -> None:
    with caddy.line(sni=PORTAL) as line:
        answered = caddy.send(caddy.head("/x", "Connection: close"), line=line)
    assert 400 <= answered.status < 500
    assert answered.hits == []


# ---- fails closed


def test_gateway_down_and_back() -> None:
    with open_site(SERVER) as site, with_caddy(site, ask_seconds=2) as running:
        door = Door("caddy", site, site.port, pids=running.pids, errors=running.output)
        assert door.get("/x").status == 200
        workers = Path(f"/proc/{site.pid}/task/{site.pid}/children").read_text("ascii").split()
        processes = [site.pid, *(int(worker) for worker in workers)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            # The door's socket takes the connection, and nobody answers.
            hangs = door.get("/x", "Accept: application/json")
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)
        assert hangs.status in {502, 503, 504}
        assert b"reached" in hangs.replies[0].body
        assert hangs.replies[0].values("Strict-Transport-Security") == ["max-age=31536000"]
        site.upstream.forget()
        for name in ("forward-auth.sock", "front.sock"):
            (site.folder / "run" / name).rename(site.folder / "run" / f"{name}.away")
        for target in ("/x", "/.gateway/sign-in", "/x#y"):
            gone = door.get(target)
            assert gone.status in {502, 503}, target
            assert site.upstream.hits == []
        for name in ("forward-auth.sock", "front.sock"):
            (site.folder / "run" / f"{name}.away").rename(site.folder / "run" / name)
        assert door.get("/x").status == 200


def test_a_ca_that_cant_be_read_ends_the_start_CVE_2026_27586(caddy: Door, tmp_path: Path) -> None:  # noqa: N802  an id
    empty, junk = tmp_path / "empty.pem", tmp_path / "junk.pem"
    empty.touch()
    junk.write_text("no certificate\n")
    for file in (tmp_path / "missing.pem", empty, junk, tmp_path):
        refused = before(caddy.site, port=free_port(), client_ca=str(file)).command("validate")
        assert refused.returncode != 0, file
        assert "Valid configuration" not in refused.stdout
    fine = before(caddy.site, port=free_port()).command("validate")
    assert fine.returncode == 0, fine.stderr


def test_a_process_of_another_user_is_not_believed() -> None:
    with own(SERVER.replace(f"[{os.getuid()}]", f"[{os.getuid() + 1}]")) as door:
        answered = door.get("/x", *SCRIPT)
        assert (answered.status, answered.hits) == (403, [])
        assert door.get("/.gateway/sign-in", *SCRIPT).status == 403


# ---- on addresses: mTLS


@contextlib.contextmanager
def own(server: str, **options: str) -> Iterator[Door]:
    with open_site(server) as site, with_caddy(site, **options) as running:
        yield Door("caddy", site, site.port, pids=running.pids, errors=running.output)


def by_address(ca: ServerCa) -> str:
    """`[server]` and a door on addresses, for a front named caddy.hospital.example."""
    certificate, key = ca.issue("127.0.0.1")
    files = f'certificate_file = "{certificate}"\nkey_file = "{key}"\nclient_ca_file = "{ca.file}"'
    place = f'host = "127.0.0.1"\nclient_names = ["caddy.hospital.example"]\n{files}\ntells_tls = true'
    field = 'certificate_field = "client-cert"'
    front = f"[server.front]\nport = {free_port()}\n{place}\n{field}\n"
    return f'[server]\npublic_port = {{port}}\n{front}[[doors]]\nkind = "forward-auth"\nport = {free_port()}\n{place}\n{field}\n'


def shown(ca: ServerCa, trusted: ServerCa, name: str) -> dict[str, str]:
    certificate, key = ca.issue(name)
    return {"front_certificate": str(certificate), "front_key": str(key), "front_ca": str(trusted.file)}


def test_mtls_proves_the_front(tmp_path: Path) -> None:
    ca = ServerCa(tmp_path / "servers")
    with own(by_address(ca), **shown(ca, ca, "caddy.hospital.example")) as door:
        answered = door.get("/x")
        assert answered.status == 200, door.errors()[-1000:]
        assert answered.decisions[0]["source"]["tls"] == "TLSv1.3"
        assert door.get("/.gateway/sign-in?rd=%2F", *NAVIGATION, cookie="").status == 303


@pytest.mark.parametrize("who", ["another_name", "another_ca", "not_the_gateway"])
def test_mtls_of_somebody_else_is_refused(tmp_path: Path, who: str) -> None:
    ca, other = ServerCa(tmp_path / "servers"), ServerCa(tmp_path / "others")
    name = "nginx.hospital.example" if who == "another_name" else "caddy.hospital.example"
    options = shown(other if who == "another_ca" else ca, other if who == "not_the_gateway" else ca, name)
    with own(by_address(ca), **options) as door:
        for target in ("/x", "/.gateway/sign-in"):
            answered = door.get(target, *SCRIPT)
            assert answered.status == (403 if who == "another_name" else 502)
            assert answered.hits == []


def test_plain_http_is_sent_to_https(caddy: Door) -> None:
    port = free_port()
    with with_caddy(caddy.site, port=free_port(), redirect_port=port):
        for host, path, status, location in (
            (HOST, "/x?a=%2F", 308, f"https://{HOST}:{caddy.site.port}/x?a=%2F"),
            ("evil.example", "/x", 421, ""),
        ):
            with Line(("127.0.0.1", port)) as line:
                line.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                reply = line.reply()
            assert (reply.status, reply.value("Location")) == (status, location)


def test_an_instance_that_is_gone_is_passed_over(caddy: Door) -> None:
    config = load_config(caddy.site.config, os.environ)
    gone = f"http://127.0.0.1:{free_port()}"
    config = msgspec.structs.replace(config, apps=tuple(msgspec.structs.replace(app, upstreams=(gone,)) for app in config.apps))
    tls, port = caddy.site.folder / "tls", free_port()
    options = Options(
        address="127.0.0.1", port=port, redirect_port=0, certificate=str(tls / "server.pem"), key=str(tls / "server.key")
    )
    with Caddy(caddy.site.folder / "several", render(config, options), port):
        for number in range(6):
            with Line(("127.0.0.1", port), tls=caddy.tls, sni=HOST) as line:
                line.send(caddy.head(f"/x/{number}", method=("GET", "POST")[number % 2]))
                assert line.reply().status == 200
    assert len(caddy.collect().hits) == 6

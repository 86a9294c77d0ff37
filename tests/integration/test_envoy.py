"""A real Envoy before the gateway, configured by `gateway front-config envoy`: what parity and attacks don't ask, both ways."""

import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.envoy import ENVOY, Envoy, Transport, by_socket, edited, with_envoy
from tests.support.fronts import NAVIGATION, SCRIPT, Door, OpenDoors, wait_until
from tests.support.fronts_site import HOST, PORTAL, Site, open_site
from tests.support.mutual import ServerCa
from tests.support.ports import free_port
from tests.support.raw import Line, NoReplyError
from tests.support.raw_upstream import Hit
from tests.support.served import resident

KEY = base64.b64encode(b"0123456789abcdef").decode()
HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
TRANSPORTS: tuple[Transport, ...] = ("http", "grpc")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
def door(transport: Transport, doors: OpenDoors) -> Iterator[Door]:
    found = doors(f"envoy-{transport}")
    found.begin()
    yield found
    found.assert_sound()


# ---- answers


def test_allowed_with_what_the_application_is_told(door: Door, transport: Transport) -> None:
    answered = door.get("/x?q=%E4%BD%90", f"Cookie: theme=dark; {door.cookie()}; list=2; =__Host-gw-bind=x", cookie="")
    assert (answered.status, answered.replies[0].body) == (200, b"from the application")
    (hit,) = answered.hits
    assert hit.target == b"/x?q=%E4%BD%90"
    fields = dict(hit.fields)
    assert len(fields) == len(hit.fields)
    assert fields["host"] == fields["x-forwarded-host"] == door.authority
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"]) == ("127.0.0.1", "https")
    assert (fields["x-remote-user"], fields["x-remote-name"]) == ("dr.sato", "%E4%BD%90%E8%97%A4 %E6%81%B5")
    assert fields["cookie"] == "theme=dark; list=2"
    told = {"host", "cookie", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-gateway-assertion", "x-request-id"}
    assert set(fields) == told | {"x-remote-user", "x-remote-name", "x-remote-department"}
    (record,) = answered.decisions
    assert (record["id"], record["outcome"]) == (fields["x-request-id"], "allow")
    source = record["source"]
    assert (source["address"], source["tls"], source["door"]) == ("127.0.0.1", "TLSv1.3", f"envoy_{transport}")
    assert source["port"] > 0
    assert answered.replies[0].values("Server") == []
    assert [name for name, _ in answered.replies[0].headers if name.startswith("x-envoy")] == []


def test_only_our_cookies_means_no_cookie(door: Door) -> None:
    assert door.get("/x").hits[0].values("Cookie") == []


def test_nobody_signed_in(door: Door) -> None:
    browser = door.get("/x?a=1", *NAVIGATION, cookie="")
    assert (browser.status, browser.replies[0].value("Location")) == (302, "/.gateway/sign-in?rd=%2Fx%3Fa%3D1")
    script = door.get("/x?a=1", *SCRIPT, cookie="")
    assert script.status == 401
    assert json.loads(script.replies[0].body)["sign_in"].startswith("/.gateway/sign-in?rd=")
    assert browser.hits == script.hits == []


def test_denied_with_the_page_and_its_fields(door: Door) -> None:
    admin = door.get("/admin", *NAVIGATION)
    assert admin.status == 403
    page = admin.replies[0]
    assert admin.decisions[0]["id"].encode() in page.body
    assert page.values("Content-Type") == ["text/html; charset=utf-8"]
    assert page.values("Cache-Control") == ["no-store"]
    assert page.values("Strict-Transport-Security") == ["max-age=31536000"]
    assert page.value("Content-Security-Policy").startswith("default-src 'none'")
    touch = door.get("/touch/1", *NAVIGATION)
    assert (touch.status, touch.hits) == (403, [])
    assert b"/.gateway/remedy?step=key_touch" in touch.replies[0].body


def test_a_question_about_a_head_has_no_body(door: Door) -> None:
    with door.line() as line:
        line.send(door.head("/admin", method="HEAD"))
        assert line.reply("HEAD").status == 403
        line.send(door.head("/x", method="HEAD"))
        assert line.reply("HEAD").status == 200


def test_our_own_pages_and_unknown_hosts(door: Door) -> None:
    begun = door.get("/.gateway/sign-in?rd=%2Fx", *NAVIGATION, cookie="")
    assert begun.status == 303
    assert begun.replies[0].value("Location").startswith(f"https://{PORTAL}:{door.site.port}/.gateway/go?flow=")
    assert begun.replies[0].value("Set-Cookie").startswith("__Host-gw-bind=")
    with door.line(sni=PORTAL) as line:
        keys = door.send(door.head("/.gateway/jwks.json", "Connection: close", host=f"{PORTAL}:{door.site.port}"), line=line)
    assert keys.status == 200
    door.site.forget()
    with door.line(sni="other.localhost") as line:
        unknown = door.send(door.head("/x", "Connection: close", host=f"other.localhost:{door.site.port}"), line=line)
    assert (unknown.status, unknown.hits) == (421, [])
    assert [record["reason"] for record in unknown.decisions] == ["host_unknown"]


# ---- what reaches the gateway and the application


@pytest.mark.parametrize(
    "name",
    [
        "X-Gateway-Assertion", "X_Gateway_Assertion", "x.gateway.assertion", "X-Gate-Way-Assertion-", "X-Remote-User",
        "X_Remote_User",
        "X-Remote.User", "X-Request-Id", "X-Forwarded-For", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Anything", "Client-Cert",
        "X-Gateway-Route", "X-Envoy-Original-Path", "X-Envoy-Auth-Headers-To-Remove", "X-Envoy-Upstream-Rq-Timeout-Ms", "Proxy",
    ],
)  # fmt: skip
def test_what_only_we_may_say_never_gets_through(door: Door, name: str) -> None:
    answered = door.get(
        "/x", f"{name}: forged", f"{name.upper()}: forged", "Connection: close, X-Gateway-Assertion, x-remote-user"
    )
    assert answered.status == 200
    assert b"forged" not in answered.hits[0].head
    assert answered.hits[0].values("X-Gateway-Assertion")[0].count(".") == 2
    assert answered.hits[0].values("X-Remote-User") == ["dr.sato"]


def test_nobody_chooses_routes_or_addresses(door: Door) -> None:
    lines = ("X-Gateway-Route: ehr.rest", "X-Forwarded-For: 10.20.0.9", "X-Forwarded-Tls-Server-Name: lab.localhost")
    answered = door.get("/admin", *lines, "X-Envoy-Original-Path: /x", "X-Original-Url: /x")
    (record,) = answered.decisions
    assert (answered.status, record["route"], record["source"]["address"]) == (403, "ehr.admin", "127.0.0.1")


def test_replies_carry_nothing_of_ours(door: Door) -> None:
    def answer(hit: Hit, connection: socket.socket) -> bool:
        lines = [
            b"HTTP/1.1 200 OK", b"Content-Length: 2", b"Set-Cookie: a=b", b"Set-Cookie: c=d", b"Set-Cookie: =__HOST-gw-bind=x",
            b"Set-Cookie: __Host-gw-session=planted; Path=/; Secure", b"X-Gateway-Assertion: x", b"X-Forwarded-For: x",
            b"Alt-Svc: h3", b"Strict-Transport-Security: max-age=0", b"Server: Tomcat",
        ]  # fmt: skip
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\nok")
        return True

    door.site.upstream.answer = answer
    reply = door.get("/x").replies[0]
    assert reply.values("Set-Cookie") == ["a=b", "c=d"]
    for name in ("X-Gateway-Assertion", "X-Forwarded-For", "Alt-Svc"):
        assert reply.values(name) == []
    assert reply.values("Strict-Transport-Security") == ["max-age=31536000"]
    assert reply.values("Server") == ["Tomcat"]


def test_a_large_body_is_streamed_and_never_held(door: Door) -> None:
    """The application has the beginning before the client has sent the end, and Envoy stays small."""
    size, piece = 24 * 2**20, b"x" * 2**16
    (pid,) = door.processes() - set(door.site.pids())
    before = resident(pid)
    with door.line() as line:
        line.send(door.head("/write/scan", f"Content-Length: {size}", method="POST"))
        line.send(piece)
        door.site.upstream.wait()
        for _ in range(size // len(piece) - 1):
            line.send(piece)
        assert line.reply("POST").status == 200
    assert len(door.site.upstream.hits[0].body) == size
    assert resident(pid) - before < 12 * 2**20


def test_a_large_body_that_is_refused_is_not_waited_for(door: Door) -> None:
    with door.line() as line:
        line.send(door.head("/write/scan", f"Content-Length: {2**30}", method="POST", cookie=""))
        line.send(b"x" * 2**20)
        assert line.reply("POST").status == 401
    assert door.collect().hits == []


# ---- streams stay under the decision, at the gateway's own proxy


def test_websockets_are_decided_and_carried_by_the_gateway(door: Door) -> None:
    with door.line() as line:
        line.send(door.head("/ws/a", *HANDSHAKE, f"Origin: https://{door.authority}"))
        assert line.reply().status == 101
    (record,) = door.collect().decisions
    assert (record["outcome"], record["route"], record["source"]["door"]) == ("allow", "ehr.ws", "proxy")
    assert record["source"]["address"] == "127.0.0.1"
    for cookie, origin, status in (("", door.authority, 401), (door.cookie(), "evil.example", 403)):
        door.site.forget()
        refused = door.send(door.head("/ws/a", *HANDSHAKE, f"Origin: https://{origin}", cookie=cookie))
        assert (refused.status, refused.hits) == (status, [])


@pytest.mark.parametrize("accept", ["text/event-stream", "Text/Event-Stream", "application/json, text/event-stream;q=0.5"])
def test_event_streams_are_carried_by_the_gateway(door: Door, accept: str) -> None:
    with door.line() as line:
        line.send(door.head("/x", f"Accept: {accept}"))
        assert line.reply().status == 200
    # Only the gateway's own proxy knows how an exchange ended.
    wait_until(lambda: any(record["type"] == "completion" for record in door.site.records()), "no completion record")


# ---- client certificates


def test_a_verified_certificate_is_the_devices_evidence(door: Door) -> None:
    file, der = door.site.devices.issue(f"ward-{door.name}")
    assert door.get("/ward/1").status == 403
    with door.line(certificate=file) as line:
        assert door.send(door.head("/ward/1", "Connection: close"), line=line).status == 403
    door.site.register(der)
    door.site.forget()
    with door.line(certificate=file) as line:
        known = door.send(door.head("/ward/1", "Connection: close"), line=line)
    assert known.status == 200
    assert known.hits[0].values("X-Forwarded-Tls-Client-Cert") == []
    assert known.decisions[0]["facts"]["device"]["evidence"] == "certificate"
    claim = base64.b64encode(der).decode()
    for spelling in ("X-Forwarded-Tls-Client-Cert", "X_Forwarded_Tls_Client_Cert", "X-Forwarded-Client-Cert", "Client-Cert"):
        door.site.forget()
        claimed = door.get("/ward/1", f"{spelling}: {claim}")
        assert (claimed.status, claimed.hits) == (403, []), spelling


def test_a_strangers_certificate_ends_the_handshake(door: Door) -> None:
    file, _ = door.others.issue(f"stranger-{door.name}")

    def ask() -> None:
        with door.line(certificate=file) as line:
            line.send(door.head("/x"))
            line.reply()  # in TLS 1.3 the client hears of it at its first read

    with pytest.raises((OSError, NoReplyError)):
        ask()
    assert door.collect().decisions == []


# ---- fails closed


@contextlib.contextmanager
def before(site: Site, transport: Transport, *change: str, **options: Any) -> Iterator[Door]:
    """An Envoy of the test's own; `change`: what is put in another's place in its configuration."""
    site.forget()
    text = edited(Envoy(site, **options).text, *change) if change else None
    with with_envoy(site, text=text, **options) as running:
        yield Door(f"envoy-{transport}", site, site.port, asked=True, pids=running.pids, errors=running.output)


@contextlib.contextmanager
def own(transport: Transport, *, server: str = "", **options: Any) -> Iterator[Door]:
    """A site of the test's own too, to break."""
    with open_site(server or by_socket(transport)) as site, before(site, transport, **options) as door:
        yield door


class Sites:
    """Sites without a front, opened when first asked for: on sockets, and on addresses with mTLS."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path) -> None:
        self._stack = stack
        self._open: dict[str, Site] = {}
        self.servers = ServerCa(folder / "servers")
        self.others = ServerCa(folder / "others")

    def on_sockets(self, transport: Transport) -> Site:
        return self._site(f"sockets {transport}", by_socket(transport))

    def on_addresses(self, transport: Transport) -> Site:
        return self._site(f"addresses {transport}", by_address(transport, self.servers))

    def _site(self, name: str, server: str) -> Site:
        if name not in self._open:
            self._open[name] = self._stack.enter_context(open_site(server))
        return self._open[name]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with contextlib.ExitStack() as stack:
        yield Sites(stack, tmp_path_factory.mktemp("authorities"))


def signalled(door: Door, number: signal.Signals) -> None:
    """Do something to the gateway's processes, the supervisor first."""
    pid = door.site.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (pid, *map(int, children)):
        os.kill(process, number)


def test_a_store_that_does_not_answer_is_a_503_with_our_page(transport: Transport) -> None:
    with own(transport) as door:
        cookie = door.cookie()
        assert door.get("/x", cookie=cookie).status == 200
        door.site.forget()
        door.site.redis.kill()
        answered = door.get("/x", *NAVIGATION, cookie=cookie)
        (record,) = answered.decisions
        assert (answered.status, answered.hits) == (503, [])
        assert (record["outcome"], record["reason"]) == ("unavailable", "session_store")
        assert record["id"].encode() in answered.replies[0].body
        assert answered.replies[0].values("Retry-After") == ["5"]


def test_a_gateway_that_hangs_or_is_gone_lets_nobody_in(transport: Transport) -> None:
    with own(transport, ask_seconds=1) as door:
        assert door.get("/x").status == 200
        door.site.forget()
        signalled(door, signal.SIGSTOP)
        try:
            hangs = door.get("/x", *SCRIPT)
        finally:
            signalled(door, signal.SIGCONT)
        assert (hangs.status, json.loads(hangs.replies[0].body)["error"]) == (503, "unavailable")
        assert hangs.replies[0].values("Retry-After") == ["5"]
        door.site.upstream.forget()
        signalled(door, signal.SIGKILL)
        wait_until(lambda: not door.site.alive(), "still there")
        page = door.get("/x", *NAVIGATION).replies[0]
        assert (page.status, page.values("Content-Type")) == (503, ["text/html; charset=utf-8"])
        assert "アクセスゲートウェイが応答していません" in page.body.decode()
        assert page.values("Strict-Transport-Security") == ["max-age=31536000"]
        assert door.get("/.gateway/sign-in", *NAVIGATION).status == 502
        assert door.site.upstream.hits == []
        door.site.redis.kill()
        door.site.start()
        cookie = door.site.cookie()
        wait_until(lambda: door.get("/x", cookie=cookie).status == 200, "not back")


def test_a_reload_of_the_gateway_loses_no_request(transport: Transport) -> None:
    with own(transport) as door:
        head, done = door.head("/x"), threading.Event()
        answers: list[int] = []

        def ask() -> None:
            with door.line() as line:
                while not done.is_set():
                    line.send(head)
                    answers.append(line.reply().status)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        for generation in (2, 3):
            os.kill(door.site.pid, signal.SIGHUP)
            wait_until(lambda: f"generation {generation - 1} has gone" in door.site.output(), "no reload", 60)  # noqa: B023
        done.set()
        for thread in asking:
            thread.join()
        assert set(answers) == {200}
        assert len(answers) > 100


def test_an_application_that_does_not_answer(door: Door) -> None:
    def hang_up(hit: Hit, connection: socket.socket) -> bool:
        connection.shutdown(socket.SHUT_RDWR)
        return False

    door.site.upstream.answer = hang_up
    answered = door.get("/x", *NAVIGATION)
    assert (answered.status, [record["outcome"] for record in answered.decisions]) == (502, ["allow"])
    assert "システムが応答していません" in answered.replies[0].body.decode()
    assert json.loads(door.get("/x", *SCRIPT).replies[0].body)["error"] == "upstream"


def test_another_route_than_ours_is_refused_CVE_2023_33189(transport: Transport, sites: Sites) -> None:  # noqa: N802  an id
    with before(sites.on_sockets(transport), transport, "ehr.admin_page", "ehr.rest_too") as door:
        answered = door.get("/admin/users", *SCRIPT)
        (record,) = answered.decisions
        assert (answered.status, answered.hits) == (421, [])
        assert (record["outcome"], record["reason"]) == ("refuse", "route_mismatch")
        assert door.get("/x").status == 200


def test_a_route_that_envoy_finds_and_we_do_not(transport: Transport, sites: Sites) -> None:
    """As if a pattern in Envoy took more than ours does."""
    with before(sites.on_sockets(transport), transport, '"/get/[^/]+"', '"/(?:get|admin)(?:/[^/]+)?"') as door:
        answered = door.get("/admin", *SCRIPT)
        assert (answered.status, answered.hits, answered.decisions[0]["reason"]) == (403, [], "policy_forbids")
        answered = door.get("/get", *SCRIPT)
        assert (answered.status, answered.hits, answered.decisions[-1]["reason"]) == (421, [], "route_mismatch")


def test_envoy_that_does_not_say_its_route_is_refused(transport: Transport, sites: Sites) -> None:
    with before(sites.on_sockets(transport), transport, '"x-gateway-route"', '"x-another-name"') as door:
        answered = door.get("/x", *SCRIPT)
        assert (answered.status, answered.hits) == (400, [])
        assert answered.decisions[0]["reason"] == "forwarded_missing"


def test_a_process_of_another_user_is_not_believed(transport: Transport) -> None:
    """The socket is open to everybody: who connects is asked of the kernel."""
    mine = f"trusted_uids = [{os.getuid()}]"
    assert by_socket(transport).count(mine) == 2
    with own(transport, server=by_socket(transport).replace(mine, f"trusted_uids = [{os.getuid() + 1}]")) as door:
        answered = door.get("/x", *SCRIPT)
        assert answered.status == (503 if transport == "grpc" else 403)
        assert answered.hits == []
        assert {record["reason"] for record in answered.decisions} == {"untrusted_peer"}
        assert door.get("/.gateway/sign-in", *SCRIPT).status == 403


# ---- on addresses: mTLS


def by_address(transport: Transport, ca: ServerCa) -> str:
    """`[server]` and a door on addresses, for a front named envoy.hospital.example."""
    certificate, key = ca.issue("127.0.0.1")
    files = f'certificate_file = "{certificate}"\nkey_file = "{key}"\nclient_ca_file = "{ca.file}"'
    place = f'host = "127.0.0.1"\nclient_names = ["envoy.hospital.example"]\n{files}\ntells_tls = true'
    field = 'certificate_field = "x-forwarded-tls-client-cert"'
    front = f"[server.front]\nport = {free_port()}\n{place}\n{field}\n"
    door = f'[[doors]]\nkind = "envoy-{transport}"\nport = {free_port()}\n{place}\n{field}\n'
    return f"[server]\npublic_port = {{port}}\n{front}{door}"


def shown(ca: ServerCa, trusted: ServerCa, name: str) -> dict[str, str]:
    certificate, key = ca.issue(name)
    return {"front_certificate": str(certificate), "front_key": str(key), "front_ca": str(trusted.file)}


def test_mtls_proves_the_front(transport: Transport, sites: Sites) -> None:
    options = shown(sites.servers, sites.servers, "envoy.hospital.example")
    with before(sites.on_addresses(transport), transport, **options) as door:
        answered = door.get("/x")
        assert answered.status == 200
        assert answered.decisions[0]["source"]["tls"] == "TLSv1.3"
        assert door.get("/.gateway/sign-in?rd=%2F", *NAVIGATION, cookie="").status == 303


@pytest.mark.parametrize("who", ["another_name", "another_ca"])
def test_mtls_of_somebody_else_is_refused(transport: Transport, sites: Sites, who: str) -> None:
    name = "nginx.hospital.example" if who == "another_name" else "envoy.hospital.example"
    options = shown(sites.others if who == "another_ca" else sites.servers, sites.servers, name)
    with before(sites.on_addresses(transport), transport, **options) as door:
        answered = door.get("/x", *SCRIPT)
        assert (answered.status, answered.hits) in ((503, []), (403, []))
        reasons = {record["reason"] for record in answered.decisions}
        assert reasons == ({"untrusted_peer"} if who == "another_name" else set())


def test_envoy_asks_nobody_but_the_gateway(transport: Transport, sites: Sites) -> None:
    """A listener without the gateway's certificate is no gateway."""
    options = shown(sites.servers, sites.others, "envoy.hospital.example")
    with before(sites.on_addresses(transport), transport, **options) as door:
        assert door.get("/x", *SCRIPT).status == 503
        assert door.collect().hits == []


# ---- the listener


def test_both_http_versions_and_no_other_tls(door: Door) -> None:
    context = ssl.create_default_context(cafile=door.ca)
    for offered, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")):
        context.set_alpn_protocols(offered)
        with socket.create_connection(door.address) as plain, context.wrap_socket(plain, server_hostname=HOST) as tls:
            assert (tls.selected_alpn_protocol(), tls.version()) == (chosen, "TLSv1.3")


def test_plain_http_is_sent_to_https(transport: Transport, sites: Sites) -> None:
    port = free_port()
    with (
        before(sites.on_sockets(transport), transport, redirect_port=port) as door,
        contextlib.closing(Line(("127.0.0.1", port))) as line,
    ):
        line.send(door.head("/x?a=b", host=HOST, cookie=""))
        reply = line.reply()
        assert (reply.status, reply.value("Location")) == (308, f"https://{HOST}:{door.site.port}/x?a=b")
        line.send(door.head("/x", host="evil.example", cookie=""))
        assert line.reply().status == 421


def test_a_configuration_with_everything_is_valid(transport: Transport, tmp_path: Path, sites: Sites) -> None:
    options: dict[str, Any] = {
        "preset": "compatible",
        "redirect_port": 8080,
        "log": "all",
        "access_log": str(tmp_path / "log"),
    }
    file = tmp_path / "envoy.json"
    file.write_text(Envoy(sites.on_sockets(transport), **options).text, "utf-8")
    assert ENVOY is not None
    done = subprocess.run([ENVOY, "--mode", "validate", "-c", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


def test_the_access_log_names_the_decision(transport: Transport, tmp_path: Path, sites: Sites) -> None:
    log = tmp_path / "access"
    with before(sites.on_sockets(transport), transport, log="all", access_log=str(log)) as door:
        answered = door.get('/x?secret=1"%0a')
        record = answered.decisions[0]
    (line,) = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert (line["decision"], line["route"], line["status"], line["path"]) == (record["id"], "ehr.rest", 200, "/x")
    assert "secret" not in log.read_text("utf-8")


def test_starts_where_its_output_is_a_socket_and_logs_there(tmp_path: Path, sites: Sites) -> None:
    # As under systemd: a socket can't be opened by the name /dev/stdout.
    ours, its = socket.socketpair()
    site = sites.on_sockets("http")
    site.forget()
    running = Envoy(site)
    with ours, its:
        try:
            running.start(stdout=its.fileno())
            door = Door("envoy-http", site, site.port, asked=True, pids=running.pids, errors=running.output)
            assert door.get("/%zz", cookie="").status == 400
        finally:
            running.stop()
        its.close()
        text = b"".join(iter(lambda: ours.recv(65_536), b""))
    (line,) = [json.loads(line) for line in text.splitlines()]
    assert line["status"] == 400


def test_what_envoy_refuses_by_itself_is_in_its_log(transport: Transport, tmp_path: Path, sites: Sites) -> None:
    log = tmp_path / "access"
    with before(sites.on_sockets(transport), transport, access_log=str(log)) as door:
        assert len(door.get("/x").decisions) == 1
        for refused in (door.get("/x#y"), door.send(b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n")):
            assert (refused.status, refused.decisions) == (400, [])
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [line["status"] for line in lines] == [400, 400]
    assert all(line["address"] == "127.0.0.1" and line["why"] for line in lines)

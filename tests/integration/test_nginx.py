"""The nginx door with Debian's nginx, configured by `gateway front-config nginx` alone: what only nginx does.

The same cases at every door are in `tests/parity` and `tests/attacks`.
"""

import contextlib
import os
import re
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest

from gateway.config import load_config
from gateway.frontconf.nginx import Options, render
from tests.support import nginx
from tests.support.clinician import Clinician
from tests.support.fronts import NAVIGATION, SCRIPT, Door, wait_until
from tests.support.fronts_certificates import client_context
from tests.support.fronts_site import HOST, Site, open_site
from tests.support.mutual import ServerCa
from tests.support.ports import free_port
from tests.support.raw import Line, Reply
from tests.support.raw_upstream import saying
from tests.support.served import WARD, Served, served, ward

FORM = ("Content-Type: application/x-www-form-urlencoded",)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Site, nginx.Nginx]]:
    with open_site(nginx.SERVER) as site, nginx.with_nginx(site) as front:
        yield site, front


@pytest.fixture
def door(running: tuple[Site, nginx.Nginx]) -> Door:
    site, front = running
    site.forget()
    return Door("nginx", site, site.port, asked=True, http2=True, pids=front.pids, errors=front.output)


# ---------------------------------------------------------------- a person


async def test_a_person_signs_in_and_works(tmp_path: Path) -> None:
    """Portal and provider are reached through nginx too; then nginx asks and forwards by itself."""
    async with ward() as app, served(tmp_path, WARD.format(upstream=app.port)) as site:
        behind_nginx(site)
        mori = await site.add("dr.mori", "森 あゆみ", "physician")
        with nginx.Nginx(tmp_path / "nginx", render_for(site), site.port):
            await site.start()
            doctor = site.clinician(mori)
            page = await doctor.register_device(await doctor.sign_in("ward", "/beds"))
            assert (page.status, page.text) == (200, "ward of dr.mori as physician")
            assert len(app.hits) == 1
            assert "__Host-gw" not in app.hits[0].get("Cookie", "")
            await signed_out_everywhere(doctor)
            await site.stop()
        decisions = [record for record in await site.log() if record["type"] == "decision"]
        assert {record["source"]["door"] for record in decisions if record["outcome"] == "allow"} == {"nginx"}
        assert (await site.verify()).status == 0


async def signed_out_everywhere(doctor: Clinician) -> None:
    await doctor.request("POST", doctor.url("ward", "/.gateway/sign-out"))
    assert (await doctor.get(doctor.url("ward", "/beds"))).status == 302


def behind_nginx(site: Served) -> None:
    """Have all connections come through nginx."""
    text = site.config.read_text("utf-8")
    (site.folder / "run").mkdir()
    site.config.write_text(nginx.SERVER.format(port=site.port) + text[text.index("[portal]") :], "utf-8")


def render_for(site: Served) -> str:
    folder = site.folder / "nginx"
    own = Options(
        listen=f"127.0.0.1:{site.port}", redirect_port=0, certificate=str(site.folder / "tls" / "server.pem"),
        key=str(site.folder / "tls" / "server.key"), stapling="off", files=0, worker_processes="1", worker_connections=512,
    )  # fmt: skip
    return render(load_config(site.config, os.environ), msgspec.structs.replace(own, **nginx.places(folder)))


# ---------------------------------------------------------------- what is not let through


def test_a_form_is_kept_on_the_page(door: Door) -> None:
    body = urlencode({"memo": "朝食後 2錠", "csrf": "<&>"}).encode()
    lines = (*NAVIGATION, *FORM, f"Content-Length: {len(body)}", f"Origin: https://{door.authority}")
    answered = door.send(door.head("/write/memo", *lines, method="POST", cookie="") + body)
    assert (answered.status, answered.hits) == (401, [])
    page = answered.replies[0].body.decode()
    assert '<textarea name="memo" hidden>\n朝食後 2錠</textarea>' in page
    assert '<textarea name="csrf" hidden>\n&lt;&amp;&gt;</textarea>' in page
    # Decided and recorded once, though the request came to the gateway twice.
    assert [record["outcome"] for record in answered.decisions] == ["challenge"]


def test_an_upload_is_refused_before_it_is_sent(door: Door) -> None:
    """nginx asks before it reads the body, so that a gigabyte that nobody may send is not sent, nor kept on nginx's disk."""
    head = door.head(
        "/write/scan", *SCRIPT, "Content-Type: application/dicom", "Content-Length: 1000000000", method="PUT", cookie=""
    )
    answered = door.send(head + b"x" * 100_000)
    assert (answered.status, answered.hits) == (401, [])


def test_an_answer_is_good_for_its_request_alone(running: tuple[Site, nginx.Nginx], door: Door) -> None:
    """Nobody but nginx speaks to the socket, and even nginx can't have one request answered with another's answer."""
    site, _ = running
    socket = site.folder / "run" / "nginx.sock"

    def said(endpoint: str, target: str, *more: str, method: str = "GET") -> Reply:
        with Line.unix(socket) as line:
            line.send(asked(endpoint, door, target, *more, method=method))
            return line.reply()

    first = said("/decide", "/x")
    assert first.status == 401
    sealed = f"X-Gateway-Answer: {first.value('X-Gateway-Answer')}"
    assert b"sign_in_required" in said("/answer", "/x", sealed).body
    others = [
        said("/answer", "/y", sealed),
        said("/answer", "/x", sealed, method="POST"),
        said("/answer", "/x", sealed, "Cookie: __Host-gw-session=another"),
        said("/answer", "/x", sealed[:-4] + "AAAA"),
        said("/answer", "/x", "X-Gateway-Answer: " + "a" * 100),
        said("/answer", "/x"),
        said("/answer", "/x", sealed, sealed),
    ]
    assert [reply.status for reply in others] == [400] * len(others)
    assert all(b"forwarded_malformed" in reply.body for reply in others)


def asked(endpoint: str, door: Door, target: str, *more: str, method: str = "GET") -> bytes:
    lines = [
        f"GET {endpoint} HTTP/1.1", "Host: gateway", f"X-Forwarded-Method: {method}", f"X-Forwarded-Uri: {target}",
        f"X-Forwarded-Host: {door.authority}", "X-Forwarded-Proto: https", "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Tls-Version: TLSv1.3", f"X-Forwarded-Tls-Server-Name: {HOST}", *SCRIPT, *more,
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


# ---------------------------------------------------------------- the gateway is down


def test_without_the_gateway_nobody_is_let_in() -> None:
    with open_site(nginx.SERVER) as site, nginx.with_nginx(site) as front:
        door = Door("nginx", site, site.port, asked=True, pids=front.pids, errors=front.output)
        assert door.get("/x").status == 200
        site.forget()
        site.stop_gateway(signal.SIGKILL)
        for target in ("/x", "/.gateway/sign-in?rd=%2F"):
            page = door.get(target, *NAVIGATION)
            assert page.status == 503
            text = page.replies[0].body.decode()
            assert "アクセスゲートウェイが応答していません" in text
            assert "The access gateway does not answer" in text
            script = door.get(target, *SCRIPT)
            assert (script.status, script.replies[0].value("Content-Type")) == (503, "application/json")
            assert b'"error":"unavailable"' in script.replies[0].body
        assert door.site.upstream.hits == []
        # It comes back, and so does everything, without a touch to nginx.
        site.start_gateway()
        wait_until(lambda: door.get("/x").status == 200, "the gateway is back")


def test_a_gateway_that_hangs_is_as_good_as_none() -> None:
    with open_site(nginx.SERVER) as site, nginx.with_nginx(site) as front:
        conf = front.file.read_text("utf-8").replace("proxy_read_timeout 30s;", "proxy_read_timeout 1s;")
        front.stop()
        front.file.write_text(conf, "utf-8")
        front.start()
        door = Door("nginx", site, site.port, asked=True, pids=front.pids, errors=front.output)
        door.cookie()
        for pid in site.pids():
            os.kill(pid, signal.SIGSTOP)
        try:
            answered = door.get("/x")
        finally:
            for pid in site.pids():
                os.kill(pid, signal.SIGCONT)
        assert (answered.status, answered.hits) == (503, [])


# ---------------------------------------------------------------- TLS


def test_one_connection_for_two_hosts_is_refused(door: Door) -> None:
    """HTTP/2 coalescing, and a client that says one name to TLS and another to HTTP."""
    assert door.get("/x", host="lab.localhost").status == 421
    with door.line(sni=None) as line:
        line.send(door.head("/x"))
        assert line.reply().status == 421
    assert door.site.upstream.hits == []


def test_a_certificate_counts_also_on_a_resumed_connection(door: Door) -> None:
    pem, der = door.site.devices.issue("resumed")
    device = door.site.register(der)
    context = client_context(door.site.ca, certificate=pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    assert door.get("/ward/1").status == 403
    with Line(door.address, tls=context, sni=HOST) as line:
        line.send(door.head("/ward/1"))
        assert line.reply().status == 200
        session = line.session()
    assert session is not None
    with Line(door.address, tls=context, sni=HOST, session=session) as line:
        assert line.resumed()
        line.send(door.head("/ward/1"))
        assert line.reply().status == 200
    door.site.block(device)
    wait_until(lambda: door.get("/ward/1", *SCRIPT).status == 403, "a blocked device")
    with Line(door.address, tls=context, sni=HOST, session=session) as line:
        line.send(door.head("/ward/1"))
        assert line.reply().status == 403


def test_a_certificate_of_strangers_gets_no_further_than_nginx(door: Door) -> None:
    pem, _ = door.others.issue("stranger")
    with Line(door.address, tls=client_context(door.site.ca, certificate=pem), sni=HOST) as line:
        line.send(door.head("/x"))
        assert line.reply().status == 400
    assert door.site.upstream.hits == []


# ---------------------------------------------------------------- who nginx is


@contextlib.contextmanager
def own(server: str, **more: str) -> Iterator[Door]:
    with open_site(server) as site, nginx.with_nginx(site, **more) as front:
        yield Door("nginx", site, site.port, asked=True, pids=front.pids, errors=front.output)


def test_a_process_of_another_user_is_not_believed() -> None:
    with own(nginx.SERVER.replace(f"[{os.getuid()}]", f"[{os.getuid() + 1}]")) as door:
        answered = door.get("/x", *SCRIPT)
        assert (answered.status, answered.hits) == (503, [])
        assert {record["reason"] for record in answered.decisions} == {"untrusted_peer"}
        assert door.get("/.gateway/sign-in", *SCRIPT).status == 403


def by_address(ca: ServerCa) -> str:
    """`[server]` and a door on addresses, for a front named nginx.hospital.example."""
    certificate, key = ca.issue("gateway.hospital.example")
    files = f'certificate_file = "{certificate}"\nkey_file = "{key}"\nclient_ca_file = "{ca.file}"'
    place = f'host = "127.0.0.1"\nclient_names = ["nginx.hospital.example"]\n{files}\ntells_tls = true'
    field = 'certificate_field = "x-forwarded-tls-client-cert"'
    front = f"[server.front]\nport = {free_port()}\n{place}\n{field}\n"
    return f'[server]\npublic_port = {{port}}\n{front}[[doors]]\nkind = "nginx"\nport = {free_port()}\n{place}\n{field}\n'


def shown(ca: ServerCa, trusted: ServerCa, name: str, gateway: str = "gateway.hospital.example") -> dict[str, str]:
    certificate, key = ca.issue(name)
    return {
        "front_certificate": str(certificate), "front_key": str(key), "front_ca": str(trusted.file), "front_name": gateway,
    }  # fmt: skip


def test_mtls_proves_nginx(tmp_path: Path) -> None:
    ca = ServerCa(tmp_path / "servers")
    with own(by_address(ca), **shown(ca, ca, "nginx.hospital.example")) as door:
        answered = door.get("/x")
        assert answered.status == 200, door.errors()[-1000:]
        assert answered.decisions[0]["source"]["tls"] == "TLSv1.3"
        assert door.get("/x", *NAVIGATION, cookie="").status == 302
        assert door.get("/.gateway/sign-in?rd=%2F", *NAVIGATION, cookie="").status == 303


@pytest.mark.parametrize("who", ["another name", "another CA", "not the gateway", "the gateway under another name"])
def test_mtls_of_somebody_else_is_refused(tmp_path: Path, who: str) -> None:
    ca, other = ServerCa(tmp_path / "servers"), ServerCa(tmp_path / "others")
    name = "envoy.hospital.example" if who == "another name" else "nginx.hospital.example"
    gateway = "app.hospital.example" if who == "the gateway under another name" else "gateway.hospital.example"
    options = shown(other if who == "another CA" else ca, other if who == "not the gateway" else ca, name, gateway)
    with own(by_address(ca), **options) as door:
        answered = door.get("/x", *SCRIPT)
        assert (answered.status, answered.hits) == (503, [])
        assert door.get("/.gateway/sign-in", *SCRIPT).status == (403 if who == "another name" else 503)


def test_plain_http_is_sent_to_https(running: tuple[Site, nginx.Nginx], tmp_path: Path) -> None:
    site, _ = running
    port = free_port()
    text = render(load_config(site.config, os.environ), nginx.options(site, tmp_path / "plain", redirect_port=port))
    text = text.replace(f"listen 127.0.0.1:{site.port} ssl", f"listen 127.0.0.1:{free_port()} ssl")
    (tmp_path / "plain").mkdir(exist_ok=True)
    with nginx.Nginx(tmp_path / "plain", text, port):
        for host, status, location in ((HOST, 308, f"https://{HOST}:{site.port}/x?a=%2F"), ("evil.example", 421, "")):
            with Line(("127.0.0.1", port)) as line:
                line.send(f"GET /x?a=%2F HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                reply = line.reply()
            assert (reply.status, reply.value("Location")) == (status, location)


# ---------------------------------------------------------------- what nginx adds


def test_nothing_that_an_application_says_steers_nginx(door: Door) -> None:
    said = b"X-Accel-Redirect: /admin\r\nX-Accel-Expires: 3600\r\nAlt-Svc: h3=:1\r\nStrict-Transport-Security: max-age=0\r\n"
    said += b"X-Gateway-Assertion: mine\r\nContent-Length: 2\r\n\r\nok"
    door.site.upstream.answer = saying(b"HTTP/1.1 200 OK\r\n" + said)
    reply = door.get("/x").replies[0]
    assert (reply.status, reply.body) == (200, b"ok")
    names = {name.lower() for name, _ in reply.headers}
    assert not names & {"alt-svc", "x-gateway-assertion", "x-accel-redirect"}
    assert reply.values("Strict-Transport-Security") == ["max-age=31536000"]


def test_every_option_makes_a_configuration_that_nginx_takes(running: tuple[Site, nginx.Nginx], tmp_path: Path) -> None:
    site, _ = running
    config = load_config(site.config, os.environ)
    folder = tmp_path / "nginx"
    for more in (
        {"preset": "compatible"},
        {"redirect_port": 8081},
        {"client_ca": ""},
        {"listen": "127.0.0.1:8443 [::1]:8443", "worker_processes": "auto"},
        {"resolver": "127.0.0.53", "stapling": "responder"},
    ):
        text = render(config, nginx.options(site, folder, **more))
        checked = nginx.Nginx(folder, text, site.port).check()
        assert checked.returncode == 0, checked.stderr
        assert not re.findall(r"\[(?:warn|emerg|alert|crit)\] (?!.*ssl_stapling)", checked.stderr), checked.stderr

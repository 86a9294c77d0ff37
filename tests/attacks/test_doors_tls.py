"""Facts, section 3, at every door: TLS for one host and HTTP for another, and who is believed to hold a device certificate.

CVE-2026-32305, CVE-2022-46153, CVE-2026-48491, -53622, -27586, -54730, CVE-2024-1052, Traefik's SNICheck, Pomerium's list.
"""

import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.fronts import NAVIGATION, Door, wait_until
from tests.support.fronts_certificates import client_context
from tests.support.fronts_site import HOST, OTHER_HOST, PORTAL
from tests.support.raw import Line, NoReplyError
from tests.support.raw_tls import H2Line, fragmented_hello

WARD = "/ward/7"
"""Only for devices with a certificate."""
NO = {400, 403, 404, 421}


@pytest.mark.parametrize("sni", [OTHER_HOST, PORTAL, "evil.example", None])
def test_another_name_in_tls_than_in_http(door: Door, sni: str | None) -> None:
    try:
        answered = door.send(door.head("/x"), line=door.line(sni=sni))
    except (ssl.SSLError, ConnectionError):
        answered = door.collect()  # a front may end the handshake for a name that it does not serve
    assert answered.status in NO | {0}, answered
    assert answered.hits == []
    assert all(record["outcome"] == "refuse" for record in answered.decisions)


def test_case_does_not_matter(door: Door) -> None:
    answered = door.send(door.head("/x", host=f"EHR.localhost:{door.site.port}"), line=door.line(sni="eHR.localhost"))
    assert answered.status == 200


def test_a_host_switch_on_a_kept_connection(door: Door) -> None:
    """The session is one of the first host, the second request is for another: TLS was not spoken for that one."""
    cookie = door.site.cookie(host=OTHER_HOST)
    with door.line() as line:
        line.send(door.head("/x"))
        assert line.reply().status == 200
        line.send(door.head("/y", host=f"{OTHER_HOST}:{door.site.port}", cookie=cookie))
        assert line.reply().status in NO
    answered = door.collect()
    assert [hit.target for hit in answered.hits] == [b"/x"]


def test_the_other_host_by_its_own_name(door: Door) -> None:
    """So that the tests above refuse for the name, and not because that host is out of order."""
    cookie = door.site.cookie(host=OTHER_HOST)
    answered = door.send(
        door.head("/y", "Connection: close", host=f"{OTHER_HOST}:{door.site.port}", cookie=cookie), line=door.line(sni=OTHER_HOST)
    )
    assert (answered.status, [hit.target for hit in answered.hits]) == (200, [b"/y"])


def test_a_session_of_another_host(door: Door) -> None:
    answered = door.send(
        door.head("/y", *NAVIGATION, "Connection: close", host=f"{OTHER_HOST}:{door.site.port}"), line=door.line(sni=OTHER_HOST)
    )
    assert answered.status == 302
    assert answered.hits == []


# ---------------------------------------------------------------- certificates


def test_a_registered_device(door: Door) -> None:
    file, der = door.site.devices.issue("ward-good")
    door.site.register(der)
    answered = door.send(door.head(WARD, "Connection: close"), line=door.line(certificate=file))
    assert answered.status == 200, (answered, door.errors()[-2000:])
    [record] = answered.decisions
    assert record["facts"]["device"]["evidence"] == "certificate"


def test_no_certificate(door: Door) -> None:
    answered = door.get(WARD)
    assert (answered.status, answered.hits) == (403, [])
    assert answered.decisions[0]["facts"]["device"]["evidence"] == "none"


def test_a_certificate_that_nobody_registered(door: Door) -> None:
    file, _ = door.site.devices.issue("ward-unregistered")
    answered = door.send(door.head(WARD, "Connection: close"), line=door.line(certificate=file))
    assert (answered.status, answered.hits) == (403, [])


def test_a_device_that_is_blocked(door: Door) -> None:
    """Revoked in the registry, by another process: from then on, on the very connection."""
    file, der = door.site.devices.issue("ward-blocked")
    device = door.site.register(der)
    with door.line(certificate=file) as line:

        def ask() -> int:
            line.send(door.head(WARD))
            return line.reply().status

        assert ask() == 200
        door.site.block(device)
        wait_until(lambda: ask() == 403, "a blocked device is still let in")
        assert ask() == 403
    answered = door.collect()
    outcomes = [record["outcome"] for record in answered.decisions]
    assert outcomes[-2:] == ["deny", "deny"]
    assert outcomes.count("allow") == len(answered.hits)
    assert answered.unjustified == []


def test_an_unknown_authority_and_an_expired_certificate(door: Door) -> None:
    strange, strange_der = door.others.issue("ward-strange")
    old, old_der = door.site.devices.issue("ward-old", days=-1)
    for file, der in ((strange, strange_der), (old, old_der)):
        device = door.site.register(der)  # even when somebody has put it into the ledger
        door.site.forget()
        try:
            answered = door.send(door.head(WARD, "Connection: close"), line=door.line(certificate=file))
        except (ssl.SSLError, ConnectionError):
            answered = door.collect()
        assert answered.status in {0, 400, 403}, answered
        assert answered.hits == []
        door.site.block(device)


@pytest.mark.parametrize("size", [1, 20, 100])
def test_a_hello_in_many_records_CVE_2026_32305(door: Door, size: int) -> None:  # noqa: N802  an id
    """Who does not find the server name must not fall back to a context that asks for less."""
    file, der = door.site.devices.issue(f"ward-fragments-{size}")
    door.site.register(der)
    for certificate, status in ((None, 403), (file, 200)):
        door.site.forget()
        tls = client_context(door.ca, certificate=certificate)
        with fragmented_hello(door.address, size) as address:
            try:
                answered = door.send(door.head(WARD, "Connection: close"), line=Line(address, tls=tls, sni=HOST))
            except (ssl.SSLError, ConnectionError):
                answered = door.collect()  # refusing such a hello is as good
        assert answered.status in {status, 0}, answered
        assert len(answered.hits) == (answered.status == 200)


def test_clear_text_where_tls_is_spoken(door: Door) -> None:
    with Line(door.address) as line:
        line.send(door.head("/x"))
        line.rest(2)
    answered = door.collect()
    assert answered.hits == []
    assert answered.decisions == []


# ---------------------------------------------------------------- HTTP/2, where a front speaks it


def fields(
    door: Door, path: str = "/x", *more: tuple[str, str], authority: str = "", method: str = "GET"
) -> list[tuple[str, str]]:
    return [
        (":method", method),
        (":scheme", "https"),
        (":authority", authority or door.authority),
        (":path", path),
        ("cookie", door.cookie()),
        *more,
    ]


def h2_line(door: Door, sni: str = HOST) -> Line:
    line = Line(door.address, tls=client_context(door.ca, alpn=("h2",) if door.http2 else ("http/1.1",)), sni=sni)
    assert (line.protocol() == "h2") == door.http2
    return line


def test_http_2_is_decided_like_everything(door: Door) -> None:
    if not door.http2:
        # This door offers none; that is what the preface test of the smuggling suite is about.
        with h2_line(door) as line:
            assert line.protocol() == "http/1.1"
        return
    with h2_line(door) as line:
        talk = H2Line(line)
        assert talk.ask(fields(door)).status == 200
        assert talk.ask(fields(door, "/admin")).status == 403
        assert talk.ask(fields(door, "/x", ("x-remote-user", "evil"), ("x-gateway-assertion", "evil"))).status == 200
    answered = door.collect()
    assert answered.unjustified == []
    assert [hit.values("X-Remote-User") for hit in answered.hits] == [["dr.sato"], ["dr.sato"]]


def test_h2_coalescing(door: Door) -> None:
    """A browser may use one connection for two names that the certificate has (RFC 9113 §9.1.1); here it gets a 421."""
    if not door.http2:
        assert door.get("/x", host=f"{OTHER_HOST}:{door.site.port}").status == 421
        return
    cookie = door.site.cookie(host=OTHER_HOST)
    with h2_line(door) as line:
        talk = H2Line(line)
        assert talk.ask(fields(door)).status == 200
        other = fields(door, "/y", authority=f"{OTHER_HOST}:{door.site.port}")
        other[4] = ("cookie", cookie)
        assert talk.ask(other).status in NO
    assert [hit.target for hit in door.collect().hits] == [b"/x"]


H2_TRICKS: dict[str, list[tuple[str, str]]] = {
    "another host field": [("host", OTHER_HOST)],
    "a length that lies": [("content-length", "100")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "connection": [("connection", "x-remote-user")],
    "upgrade": [("upgrade", "websocket"), ("connection", "upgrade")],
    "a line break in a value": [("x-a", "a\r\nX-Remote-User: evil")],
    "a line break in a name": [("x-a\r\nx-remote-user", "evil")],
    "upper case": [("X-Remote-User", "evil")],
    "a second path": [(":path", "/admin")],
    "an unknown pseudo-field": [(":evil", "1")],
    "underscore": [("x_remote_user", "evil")],
}


def ask_h2(door: Door, path: str, more: list[tuple[str, str]]) -> int:
    """The status of one request on a connection of its own; 0 when the stream or the connection is ended instead."""
    with h2_line(door) as line:
        try:
            return H2Line(line).ask(fields(door, path, *more)).status
        except NoReplyError:
            return 0


def test_http_2_downgraded(door: Door) -> None:
    """What HTTP/2 can carry and HTTP/1.1 can't (RFC 9113 §8.2, §10.3) never becomes another request behind the front."""
    if not door.http2:
        assert h2_speaks_not(door)
        return
    with ThreadPoolExecutor(len(H2_TRICKS)) as pool:  # Envoy takes a second to end a connection
        asked = {kind: pool.submit(ask_h2, door, f"/x?{number}", more) for number, (kind, more) in enumerate(H2_TRICKS.items())}
    statuses = {kind: future.result() for kind, future in asked.items()}
    assert set(statuses.values()) <= {0, 200, *NO}, statuses
    answered = door.collect()
    assert answered.unjustified == []
    assert answered.stray == []
    for hit in answered.hits:
        kind = list(H2_TRICKS)[int(hit.target.removeprefix(b"/x?"))]
        assert b"evil" not in hit.head, kind
        assert hit.values("X-Forwarded-Host") == [door.authority], kind
    assert len(answered.hits) == list(statuses.values()).count(200)


H2_PATHS = ["/public/../admin", "//admin", "/%61dmin", "/admin;x", "/x#y", "admin", "/x HTTP/1.1\r\nX: y", "/\x01", "*", ""]


def test_http_2_paths(door: Door) -> None:
    if not door.http2:
        assert h2_speaks_not(door)
        return
    with ThreadPoolExecutor(len(H2_PATHS)) as pool:
        asked = {path: pool.submit(ask_h2, door, path, []) for path in H2_PATHS}
    statuses = {path: future.result() for path, future in asked.items()}
    assert set(statuses.values()) <= {0, *NO}, statuses
    assert door.collect().hits == []


def h2_speaks_not(door: Door) -> bool:
    """Whether frames are refused as what they are not."""
    with h2_line(door) as line:
        line.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        received = line.rest(0.2)
    return received[:12] == b"HTTP/1.1 400" or received[:12] == b"HTTP/1.1 405" or received == b""

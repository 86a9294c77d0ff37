"""Facts, sections 1 and 9, at every door: two requests in one, and bytes that two servers read differently.

What must hold whatever a front makes of them: each request at the application carries the id of an Allow that was given for this
very method and target, nothing arrives there that is no request, and what can't be understood beyond doubt is refused.
CVE-2026-111750, -69243, -71324, -54273, -54277, -22815, CVE-2025-69223 to -69230, CVE-2025-53643, CVE-2024-52304, CVE-2023-49081.
"""

import gzip

import pytest

from tests.support.fronts import Answered, Door
from tests.support.fronts_site import HOST
from tests.support.raw_upstream import response, saying

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
NO = {400, 403, 404, 405, 411, 413, 414, 421, 431, 501}
BROKEN = {*NO, 0, 502}
"""A body that breaks off: a refusal, the end of the connection, or a front that has told the application and takes it back."""
TE_WINS = {"caddy"}
"""Fronts that take Transfer-Encoding where both are given, drop the length and frame anew (RFC 9112 §6.3 allows it): what follows
is then a request by itself, with a decision of its own."""


def second(door: Door, target: str = "/smuggled") -> bytes:
    """A request that would be allowed if anybody took it for one."""
    return door.head(target)


def assert_one_reading(answered: Answered, *targets: bytes) -> None:
    """Nothing has reached the application but what was allowed, and of that only `targets`."""
    assert answered.unjustified == [], answered
    assert answered.stray == [], answered
    assert {hit.target for hit in answered.hits} <= set(targets), answered


DOUBTFUL = [
    ("Content-Length: 4", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 4"),
    ("Transfer-Encoding: chunked", "Content-Length: 0"),
    ("Transfer-Encoding: Chunked", "Content-Length: 4"),
    ("Content-Length: 4", "Content-Length: 5"),
    ("Content-Length: 4", "content-length: 6"),
    ("Content-Length: 4, 5",),
    ("Content-Length: +4",),
    ("Content-Length: -1",),
    ("Content-Length: 0x4",),
    ("Content-Length: 4 4",),
    ("Content-Length: ４",),
    ("Content-Length: 1e1",),
    ("Content-Length: 99999999999999999999999",),
    ("Content-Length: 18446744073709551617",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    ("Transfer-Encoding: gzip, chunked",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: xchunked",),
    ("Transfer-Encoding: chunked-false",),
    ("Transfer-Encoding: chunked, chunked",),
    ("Transfer-Encoding: chun\u212aed",),
    ("Transfer-Encoding : chunked",),
    ("Transfer-Encoding\t: chunked",),
    ("Transfer-Encoding:\x0bchunked",),
    ("Content-Length : 4",),
]


@pytest.mark.parametrize("lines", DOUBTFUL, ids=" + ".join)
def test_CL_TE_and_TE_CL_and_doubtful_lengths(door: Door, lines: tuple[str, ...]) -> None:  # noqa: N802  names of attacks
    answered = door.send(door.head("/x", *lines, method="POST") + b"0\r\n\r\n" + second(door))
    both = len({line.partition(":")[0].lower() for line in lines}) == 2 and not any(" :" in line for line in lines)
    if both and door.name in TE_WINS:
        assert_one_reading(answered, b"/x", b"/smuggled")
        assert all(len(hit.values("Content-Length")) + len(hit.values("Transfer-Encoding")) <= 1 for hit in answered.hits)
        return
    assert answered.status in NO, answered
    assert answered.hits == []
    assert answered.stray == []
    assert len(answered.replies) == 1, "what follows a doubtful end is no request"
    assert answered.closed or answered.replies[0].value("Connection") == "close"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 4", "Content-Length: 4"),
        ("Content-Length: 4, 4",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ],
    ids=" + ".join,
)
def test_the_same_framing_twice(door: Door, lines: tuple[str, ...]) -> None:
    """RFC 9112 §6.3 lets a server take equal lengths for one: then it is one, for everybody."""
    answered = door.send(door.head("/x", *lines, "Connection: close", method="POST") + b"0\r\n\r\n")
    assert answered.status in {*NO, 200}
    assert_one_reading(answered, b"/x")
    for hit in answered.hits:
        assert len(hit.values("Content-Length")) + len(hit.values("Transfer-Encoding")) == 1


def test_TE_0(door: Door) -> None:  # noqa: N802  the attack's name
    """An OPTIONS or GET whose chunked body one server ignores: what stands in it must stay a body."""
    inner = second(door, "/smuggled").replace(b"\r\n\r\n", b"\r\nContent-Length: 10\r\n\r\n") + b"x="
    for method in ("OPTIONS", "GET", "POST", "DELETE"):
        door.site.forget()
        body = f"{len(inner):x}\r\n".encode() + inner + b"\r\n0\r\n\r\n"
        answered = door.send(
            door.head("/x", "Transfer-Encoding: chunked", "Connection: close", method=method) + body, method=method
        )
        assert_one_reading(answered, b"/x")
        assert answered.status in {*NO, 200}
        for hit in answered.hits:
            assert hit.body in {inner, b""}


def test_CL_0(door: Door) -> None:  # noqa: N802  the attack's name
    """A body where none is expected: it is read to its end, or the connection ends."""
    inner = second(door)
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        door.site.forget()
        answered = door.send(door.head("/x", f"Content-Length: {len(inner)}", method=method) + inner, method=method)
        assert_one_reading(answered, b"/x")
        assert len(answered.replies) == 1


CHUNKS = {
    "no_size": b"zz\r\nhello\r\n0\r\n\r\n",
    "negative": b"-1\r\nx\r\n0\r\n\r\n",
    "longer_than_said": b"5\r\nhelloo\r\n0\r\n\r\n",
    "blank_before_lf": b"5 \nhello\r\n0\r\n\r\n",
    "prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "overflow_64": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "overflow_32": b"fffffffffffffffffff\r\nhello",
    "lf_in_extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "cr_in_extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "lf_after_data": b"5\r\nhello\n0\r\n\r\n",
    "nul": b"5\x00\r\nhello\r\n0\r\n\r\n",
}


LENIENT = {"blank_before_lf", "lf_in_extension", "cr_in_extension", "lf_after_data"}
"""RFC 9112 §2.2 lets a recipient take a bare LF for a line's end: then what follows is a request by itself."""


@pytest.mark.parametrize("kind", CHUNKS)
def test_chunks_that_are_none(door: Door, kind: str) -> None:
    answered = door.send(door.head("/x", "Transfer-Encoding: chunked", method="POST") + CHUNKS[kind] + second(door))
    assert_one_reading(answered, b"/x", *([b"/smuggled"] if kind in LENIENT else []))
    if kind not in LENIENT:
        assert answered.status in BROKEN, answered
        assert len(answered.replies) <= 1, answered


@pytest.mark.parametrize("kind", CHUNKS)
def test_chunks_that_are_none_later(door: Door, kind: str) -> None:
    """The body begins well, so the application may have seen its head already."""
    with door.line() as line:
        line.send(door.head("/x", "Transfer-Encoding: chunked", method="POST") + b"2\r\nok\r\n")
        line.more(0.1)
        line.send(CHUNKS[kind] + second(door))
        line.rest(0.2)
    assert_one_reading(door.collect(), b"/x", *([b"/smuggled"] if kind in LENIENT else []))


@pytest.mark.parametrize("extension", [b";a=b", b";a", b';a="x\\"y"', b" ;a", b";" + b"a" * 300, b";a=\x80"])
def test_chunk_extensions(door: Door, extension: bytes) -> None:
    data = door.head("/x", "Transfer-Encoding: chunked", "Connection: close", method="POST")
    answered = door.send(data + b"5" + extension + b"\r\nhello\r\n0\r\n\r\n")
    assert_one_reading(answered, b"/x")
    assert answered.status in BROKEN | {200}
    for hit in answered.hits:
        assert hit.body in {b"hello", b""}


def test_endless_chunk_extensions_and_tiny_chunks(door: Door) -> None:
    """CVE-2023-39326 and its like: a body of mostly framing comes to an end in bounded memory."""
    with door.line() as line:
        line.send(door.head("/x", "Transfer-Encoding: chunked", "Connection: close", method="POST"))
        line.send(b"".join(b"1;" + b"a" * 200 + b"\r\nx\r\n" for _ in range(2000)) + b"0\r\n\r\n")
        reply = line.reply()
    answered = door.collect()
    assert reply.status in {*NO, 200}
    assert_one_reading(answered, b"/x")


def test_an_identity_header_in_trailers(door: Door) -> None:
    """Traefik 86b5642f: what comes behind the body says nothing about who asks."""
    data = door.head(
        "/x", "Transfer-Encoding: chunked", "Trailer: X-Remote-User", "TE: trailers", "Connection: close", method="POST"
    )
    answered = door.send(
        data + b"2\r\nok\r\n0\r\nX-Remote-User: evil\r\nX-Gateway-Assertion: evil\r\nX_Remote_User: evil\r\n\r\n"
    )
    assert answered.status in {*NO, 200}
    assert_one_reading(answered, b"/x")
    for hit in answered.hits:
        assert b"evil" not in hit.head + hit.trailers
        assert hit.values("X-Remote-User") == ["dr.sato"]
        assert door.asked or hit.values("Trailer") == []


def test_endless_trailers_CVE_2026_22815(door: Door) -> None:  # noqa: N802  an id
    with door.line() as line:
        line.send(door.head("/x", "Transfer-Encoding: chunked", "Connection: close", method="POST") + b"2\r\nok\r\n0\r\n")
        line.send(b"".join(b"X-%d: %s\r\n" % (number, b"a" * 500) for number in range(1000)) + b"\r\n")
        line.more(5)
        line.rest(0.1)
    assert_one_reading(door.collect(), b"/x")


LINES = {
    "bare_lf": b"GET /x HTTP/1.1\nOURS\nConnection: close\n\n",
    "bare_lf_hides_a_request": b"GET /x HTTP/1.1\r\nOURS\r\nX: a\n\nGET /smuggled HTTP/1.1\nOURS\n\n\r\n\r\n",
    "bare_cr": b"GET /x HTTP/1.1\rOURS\r\n\r\n",
    "bare_cr_in_a_value": b"GET /x HTTP/1.1\r\nOURS\r\nX-A: a\rX-Remote-User: evil\r\nConnection: close\r\n\r\n",
    "bare_lf_in_a_value": b"GET /x HTTP/1.1\r\nOURS\r\nX-A: a\nX-Remote-User: evil\r\nConnection: close\r\n\r\n",
    "http_2_0": b"GET /x HTTP/2.0\r\nOURS\r\nConnection: close\r\n\r\n",
    "http_1_10": b"GET /x HTTP/1.10\r\nOURS\r\n\r\n",
    "http_0_9": b"GET /x\r\n",
    "http_3_0": b"GET /x HTTP/3.0\r\nOURS\r\n\r\n",
    "lower_case": b"GET /x http/1.1\r\nOURS\r\n\r\n",
    "no_version": b"GET /x \r\nOURS\r\n\r\n",
    "nul_before": b"\x00GET /x HTTP/1.1\r\nOURS\r\n\r\n",
    "tab": b"GET\t/x HTTP/1.1\r\nOURS\r\n\r\n",
    "two_spaces": b"GET  /x  HTTP/1.1\r\nOURS\r\nConnection: close\r\n\r\n",
    "space_in_target": b"GET /x /admin HTTP/1.1\r\nOURS\r\n\r\n",
    "crlf_in_method_CVE_2023_49082": b"GET\r\nX: y /x HTTP/1.1\r\nOURS\r\n\r\n",
    "crlf_in_version_CVE_2023_49081": b"GET /x HTTP/1.1 X\r\nOURS\r\n\r\n",
    "unicode_digits_CVE_2025_69225": "GET /x HTTP/1.１\r\nOURS\r\n\r\n".encode(),
    "tls_in_tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "h2_preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "only_newlines": b"\r\n" * 500,
    "binary": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("kind", LINES)
def test_lines_that_two_servers_end_in_different_places(door: Door, kind: str) -> None:
    ours = b"Host: %s\r\nCookie: %s\r\n" % (door.authority.encode(), door.cookie().encode())
    data = LINES[kind].replace(b"OURS\r\n", ours).replace(b"OURS\n", ours.replace(b"\r\n", b"\n"))
    with door.line() as line:
        line.send(data)
        line.rest(0.2)
    answered = door.collect()
    assert_one_reading(answered, b"/x", b"/smuggled")
    assert all(b"evil" not in value.encode() for hit in answered.hits for value in hit.values("X-Remote-User"))
    if kind in {
        "space_in_target",
        "crlf_in_method_CVE_2023_49082",
        "crlf_in_version_CVE_2023_49081",
        "nul_before",
        "http_2_0",
        "bare_cr",
    }:
        assert answered.hits == []


def test_pipelining_across_a_refusal(door: Door) -> None:
    """After what is refused nothing on the connection is believed to be a request; after a plain deny each is its own."""
    answered = door.send(door.head("/public/../admin") + second(door) + door.head("/admin"))
    assert answered.status == 400
    assert_one_reading(answered, b"/smuggled")
    door.site.forget()
    answered = door.send(door.head("/admin") + door.head("/x") + door.head("/admin/1"))
    assert_one_reading(answered, b"/x")
    assert [reply.status for reply in answered.replies] == [403, 200, 403]


def test_many_pipelined_requests_CVE_2026_54273(door: Door) -> None:  # noqa: N802  an id
    """Each is answered in turn; whose answer is whose stays right."""
    answered = door.send(b"".join(door.head("/x" if number % 2 else "/admin") for number in range(60)), wait=0.5)
    assert_one_reading(answered, b"/x")
    statuses = [reply.status for reply in answered.replies]
    assert statuses == [200 if number % 2 else 403 for number in range(len(statuses))]
    assert len(statuses) == 60


def test_a_second_request_behind_a_length_that_is_too_short_is_its_own(door: Door) -> None:
    data = door.head("/x", "Content-Length: 2", method="POST") + b"ok" + door.head("/smuggled", cookie="")
    answered = door.send(data)
    assert [reply.status for reply in answered.replies] == [200, 401]
    assert_one_reading(answered, b"/x")


@pytest.mark.parametrize(
    "body", [("Content-Length: 2", b"ok"), ("Transfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n")], ids=["length", "chunks"]
)
def test_a_beginning_behind_a_body_belongs_to_the_next_request(door: Door, body: tuple[str, bytes]) -> None:
    """A byte that came with the request before must not be read after the ones that come with the next."""
    with door.line() as line:
        line.send(door.head("/a", body[0], method="POST") + body[1] + b"G")
        assert line.reply().status == 200
        line.send(door.head("/x"))
        line.rest(0.3)
    answered = door.collect()
    assert answered.unjustified == []
    assert [hit.method for hit in answered.hits] in (["POST"], ["POST", "GGET"])


def test_keep_alive_after_a_body_that_nobody_read(door: Door) -> None:
    body = second(door) * 50
    answered = door.send(door.head("/admin", f"Content-Length: {len(body)}", method="POST") + body)
    assert answered.status == 403
    assert_one_reading(answered)


# ---------------------------------------------------------------- upgrades and tunnels


def assert_bytes_of_the_tunnel(door: Door, target: str, data: bytes) -> None:
    """Envoy forgets a transfer coding on an upgrade, for itself and for us: what follows is the WebSocket's, and no request."""
    with door.line() as line:
        line.send(data)
        line.rest(0.3)
    answered = door.collect()
    assert [hit.target for hit in answered.hits] == ([b"/ws/x"] if target == "/ws/x" else [])
    assert answered.unjustified == []


def test_a_body_on_an_upgrade_CVE_2026_69243(door: Door) -> None:  # noqa: N802  an id
    body = second(door)
    for target in ("/ws/x", "/x", "/admin"):
        for more in ((f"Content-Length: {len(body)}",), ("Transfer-Encoding: chunked",)):
            door.site.forget()
            sent = body if "Length" in more[0] else f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
            if door.name.startswith("envoy") and "Length" not in more[0]:
                assert_bytes_of_the_tunnel(door, target, door.head(target, *HANDSHAKE, *more) + sent)
                continue
            answered = door.send(door.head(target, *HANDSHAKE, *more) + sent)
            assert answered.status in {*NO, 426}, answered
            assert_one_reading(answered)
            assert len(answered.replies) == 1


@pytest.mark.parametrize("target", ["/ws/x", "/elsewhere", "/admin"])
def test_bytes_behind_an_upgrade_that_is_not_allowed(door: Door, target: str) -> None:
    answered = door.send(door.head(target, *HANDSHAKE, cookie="") + second(door))
    assert answered.status in {400, 401, 403}
    assert_one_reading(answered, *([b"/smuggled"] if door.asked else []))


def test_bytes_behind_an_upgrade_that_the_application_rejects(door: Door) -> None:
    """What follows is no request of anybody's: not at the application, and not at the door unless it decides about it."""
    data = door.head("/ws/x", *HANDSHAKE) + b"\x81\x00" + second(door)
    door.site.upstream.answer = saying(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", keep=True)
    answered = door.send(data)
    assert answered.status in {403, 502}
    assert {hit.target for hit in answered.hits} <= {b"/ws/x"}
    assert answered.unjustified == []


@pytest.mark.parametrize(
    "lines",
    [
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Upgrade: h2c", "Connection: Upgrade"),
        ("upgrade: H2C", "connection: upgrade, http2-settings", "http2-settings: AAMAAABkAAQAAP__"),
        ("Upgrade: TLS/1.0", "Connection: Upgrade"),
        ("Upgrade: websocket, h2c", *HANDSHAKE[1:]),
        ("Upgrade: websoc\u212aet", *HANDSHAKE[1:]),
        HANDSHAKE[:3],
        (*HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3]),
        (*HANDSHAKE[:3], "Sec-WebSocket-Key: short"),
    ],
    ids=" + ".join,
)
def test_h2c_and_other_upgrades(door: Door, lines: tuple[str, ...]) -> None:
    """The application must never be told to switch to anything but a WebSocket: what follows would be out of our sight."""
    answered = door.send(door.head("/ws/x", *lines) + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert_one_reading(answered, b"/ws/x")
    # Go takes the Kelvin sign for a k, so that this is a WebSocket's handshake when it leaves Caddy, and decided as one.
    assert answered.status in {*NO, 200} | ({101} if "\u212a" in lines[0] else set())
    for hit in answered.hits:
        assert [value.lower() for value in hit.values("Upgrade")] in ([], ["websocket"])
        assert answered.status == 101 or hit.values("Upgrade") == []
        assert hit.values("HTTP2-Settings") == []


def test_a_websocket_handshake_by_post(door: Door) -> None:
    answered = door.send(door.head("/ws/x", *HANDSHAKE, "Content-Length: 0", method="POST"))
    assert answered.status in NO
    assert_one_reading(answered)


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "PRI", "get", "GET\x00", "\x16\x03\x01", "GET,POST", "A" * 40])
def test_methods_that_are_never_forwarded(door: Door, method: str) -> None:
    answered = door.get("/x", method=method)
    assert answered.status in NO | {0}, answered
    assert answered.hits == []


# ---------------------------------------------------------------- what the application says


def test_an_answer_that_nobody_asked_for_is_not_given_to_the_next_person_CVE_2026_71324(door: Door) -> None:  # noqa: N802  an id
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
    door.site.upstream.answer = saying(good + poison, keep=True)
    door.get("/a")
    door.site.upstream.answer = None
    for _ in range(3):
        answered = door.get("/b")
        assert answered.replies[0].body != b"poison"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: __Host-gw-session=planted; Path=/; Secure\r\nContent-Length: 2\r\n\r\nok",
        b"",
    ],
    ids=["two lengths", "negative length", "broken chunks", "no status", "no HTTP", "a huge head", "our cookie", "nothing"],
)
def test_an_application_that_misbehaves(door: Door, said: bytes) -> None:
    door.site.upstream.answer = saying(said)
    with door.line() as line:
        line.send(door.head("/x", "Connection: close"))
        received = line.rest()
    if door.name == "nginx":
        # nginx can't drop one Set-Cookie of several; without Secure, no browser keeps a cookie of such a name (RFC 6265bis §5.7).
        assert not any(b"planted" in line and b"secure" in line.lower() for line in received.split(b"\r\n"))
    else:
        assert b"planted" not in received
    answered = door.collect()
    assert answered.unjustified == []


def test_what_the_application_says_passes_and_is_kept_for_nobody_CVE_2026_54278_54279_47265(door: Door) -> None:  # noqa: N802  ids
    """A redirect is not followed, a packed body not unpacked (16 MiB of zeros in 16 KB), and nobody gets another one's cookie."""
    bomb = gzip.compress(bytes(16 << 20), mtime=0)
    fields = ("Location: https://evil.example/x", "Set-Cookie: mine=1", "Content-Encoding: gzip")
    door.site.upstream.answer = saying(response("302 Found", bomb, *fields), keep=True)
    answered = door.get("/a", "Accept-Encoding: gzip")
    reply = answered.replies[0]
    assert (reply.status, reply.value("Location"), reply.value("Set-Cookie")) == (302, "https://evil.example/x", "mine=1")
    assert reply.body == bomb
    assert [hit.target for hit in answered.hits] == [b"/a"]
    door.site.forget()
    [hit] = door.get("/b").hits
    assert hit.values("Cookie") == []


def test_the_first_line_stays_one(door: Door) -> None:
    """A value is never more than one field: the record and the application see the same."""
    answered = door.get("/x", "X-Note: a%0d%0aX-Remote-User: evil", f"Referer: https://{HOST}/%0d%0aX: y")
    [hit] = answered.hits
    assert hit.values("X-Remote-User") == ["dr.sato"]
    assert hit.values("X-Note") == ["a%0d%0aX-Remote-User: evil"]

import pytest

from gateway.doors.proxy.response import Chunks, ResponseError, parse_head


def head(*lines: bytes, method: str = "GET", first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return parse_head(b"\r\n".join([first, *lines, b"", b""]), method=method).passed


def test_lines_pass_byte_for_byte_in_their_order() -> None:
    lines = (b"X-B: 1", b"x-a: \x83\x65", b"X-B: 2", b'ETag: "a,b"')
    assert head(*lines) == b"\r\n".join(lines) + b"\r\n"


def test_what_is_not_the_applications_to_say_ends_here() -> None:
    kept = head(
        b"Connection: close, X-Drop", b"X-Drop: 1", b"Keep-Alive: timeout=5", b"Alt-Svc: h3", b"X-Gateway-Assertion: a", b"X: 1",
        b"Content-Length: 0", b"set-cookie: __Host-gw-session=evil", b"Set-Cookie: a=b", b"Upgrade: h2c", b"Trailer: X",
        b"Strict-Transport-Security: max-age=0",
    )  # fmt: skip
    assert kept == b"X: 1\r\nSet-Cookie: a=b\r\n"


@pytest.mark.parametrize("value", [b"\r", b"a\nb", b"\x00", b"\x7f", b"\x1b[2J"])
def test_a_line_that_is_malformed_is_no_line_also_when_it_comes_again(value: bytes) -> None:
    for _ in range(2):  # the second time it is remembered
        with pytest.raises(ResponseError):
            head(b"X-A: " + value)


@pytest.mark.parametrize(
    ("lines", "framing", "length", "reusable"),
    [
        ((b"Content-Length: 5",), "length", 5, True),
        ((b"content-length:5 ",), "length", 5, True),
        ((b"Transfer-Encoding: Chunked",), "chunked", None, True),
        ((), "close", None, False),
        ((b"Content-Length: 5", b"Connection: CLOSE"), "length", 5, False),
        ((b"Content-Length: 5", b"Connection: keep-alive"), "length", 5, True),
    ],
)
def test_where_the_body_ends(lines: tuple[bytes, ...], framing: str, length: int | None, *, reusable: bool) -> None:
    found = parse_head(b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""]), method="GET")
    assert (found.framing, found.length, found.reusable) == (framing, length, reusable)


@pytest.mark.parametrize(
    ("kind", "events"), [(b"text/event-stream", True), (b"Text/Event-Stream; charset=utf-8", True), (b"text/plain", False)]
)
def test_streams_of_events_are_known(kind: bytes, *, events: bool) -> None:
    assert parse_head(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n", method="GET").events is events


BODY = b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("step", range(1, len(BODY) + 1))
def test_chunks_are_the_same_however_they_come(step: int) -> None:
    chunks, payload = Chunks(), b""
    for start in range(0, len(BODY), step):
        piece, rest = chunks.feed(BODY[start : start + step])
        payload += piece
        assert rest == b""
    assert payload == b"hello!"
    assert chunks.done


def test_what_follows_a_body_is_not_taken() -> None:
    assert Chunks().feed(BODY + b"HTTP/1.1 200 OK\r\n") == (b"hello!", b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "body",
    [
        b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1 \nab\r\n", b" 1\r\n", b"\r\n", b"1\r\nab\r\n", b"1\r\nab", b"1;\x00\r\n",
        b"f" * 16 + b"\r\n", b"1;" + b"x" * 20_000,
        b"0\r\nX\r\n\r\n", b"0\r\nX: a\x00\r\n\r\n", b"0\r\n: a\r\n\r\n", b"0\r\n" + b"X: a\r\n" * 3_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 1_000_000])
def test_chunks_that_are_malformed(body: bytes, step: int) -> None:
    def read() -> None:
        chunks = Chunks()
        for start in range(0, len(body), step):
            chunks.feed(body[start : start + step])

    with pytest.raises(ResponseError):
        read()

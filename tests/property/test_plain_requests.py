"""What the plain reader takes, aiohttp's parser takes too, and reads the same."""

import asyncio

import pytest
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.doors.plain import PlainReader

NAMES = [
    "Accept",
    "cookie",
    "X-A",
    "X_B",
    "TE",
    "Content-Length",
    "Transfer-Encoding",
    "Expect",
    "Upgrade",
    "Sec-WebSocket-Key1",
    "Connection",
    "Host",
    "a b",
    "",
]
VALUES = [
    "",
    "a",
    "a, b",
    "keep-alive",
    "close",
    "Upgrade",
    "5",
    "chunked",
    "\t",
    "a\tb",
    "é",
    "a\rb",
    "\x00",
    " a ",
    "100-continue",
]
ENDS = ["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n "]
LINES = ["GET /a HTTP/1.1", "HEAD /a?b=c HTTP/1.1", "POST / HTTP/1.1", "GET  /a HTTP/1.1", "GET /a HTTP/1.0", "GET a HTTP/1.1",
         "GET /a b HTTP/1.1", "get / HTTP/1.1", "GET /\x7f HTTP/1.1", "GET /%zz HTTP/1.1", "GET /a# HTTP/1.1",
         "GET //a HTTP/1.1"]  # fmt: skip
fields = st.tuples(
    st.sampled_from(NAMES) | st.text("aZ-_.~!", min_size=1, max_size=6),
    st.sampled_from([": ", ": ", ":", " :", ""]),
    st.sampled_from(VALUES) | st.text(st.characters(max_codepoint=0x17F), max_size=8),
    st.sampled_from(ENDS),
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    first = draw(
        st.sampled_from(LINES)
        | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12).map("GET /{} HTTP/1.1".format)
    )
    host = draw(st.sampled_from(["Host: a\r\n", "Host: a\r\n", "host:a\r\n", ""]))
    more = "".join("".join(field) for field in draw(st.lists(fields, max_size=5)))
    tail = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "", "\n", "\r\nGET / HTTP/1.1\r\n\r\n"]))
    return (first + draw(st.sampled_from(ENDS)) + host + more + tail).encode("latin-1", "replace")


def by_aiohttp(data: bytes) -> list[RawRequestMessage] | None:
    """The heads that aiohttp's parser finds; None when it refuses."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(None, loop, 2**16, max_line_size=8_000, max_field_size=16_384, max_headers=100)
        messages, upgraded, tail = parser.feed_data(data)
    except HttpProcessingError:
        return None
    finally:
        loop.close()
    assert not upgraded or not tail
    return [message for message, _ in messages]


@settings(max_examples=1_500, deadline=None)
@given(heads())
def test_what_is_plain_is_the_same_to_aiohttp(data: bytes) -> None:
    read = PlainReader().read(data)
    if read is None:
        return
    method, target, headers = read
    found = by_aiohttp(data)
    assert found is not None, "aiohttp's parser refuses it"
    [message] = found
    assert (message.method, message.path, tuple(message.version)) == (method, target, (1, 1))
    assert tuple((name.decode(), value.decode()) for name, value in message.raw_headers) == headers
    assert not message.upgrade
    assert not message.chunked
    assert not message.should_close


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key1", "SEC-WEBSOCKET-KEY1"])
def test_the_draft_of_websockets_is_left_to_aiohttp_which_refuses_it(name: str) -> None:
    data = f"GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n".encode()
    assert by_aiohttp(data) is None
    assert PlainReader().read(data) is None


def test_usual_requests_are_plain() -> None:
    """Or the property above would say nothing."""
    reader = PlainReader()
    data = b"GET /a?b=%20 HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\nX-Empty:\r\n\r\n"
    read = reader.read(data)
    assert read is not None
    assert read == ("GET", "/a?b=%20", (("Host", "a"), ("Cookie", "a=b; c=d"), ("Connection", "keep-alive"), ("X-Empty", "")))
    again = reader.read(data.replace(b"/a?b=%20", b"/c"))
    assert again is not None
    assert again[2] is read[2], "fields that are repeated are the same object"
    other = reader.read(data.replace(b"c=d", b"c=e"))
    assert other is not None
    assert dict(other[2])["Cookie"] == "a=b; c=e"

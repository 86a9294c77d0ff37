"""The head of an upstream's response, read strictly. Pure.

Applications are ours more than clients are, but what they send may hold what somebody else wrote, and a response that two
readers delimit differently gives one person's page to another (RFC 9112 §11.1). So what is not plainly well-formed is an error
here, and becomes a 502. Header bytes are kept as they are: older systems send Shift_JIS file names.
"""

import base64
import functools
import hashlib
import re
from typing import Final, Literal

import msgspec

from gateway.domain.headers import passes_to_client

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ALLOWED: Final = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_SHORT: Final = 128
_LONGEST_STATUS: Final = 1_000
_SECRET: Final = frozenset({b"set", b"Set", b"SET"})
_FRAMES: Final = 1
_CONNECTION: Final = 2
_EVENTS: Final = 3
_KINDS: Final = {
    b"content-length": _FRAMES,
    b"transfer-encoding": _FRAMES,
    b"connection": _CONNECTION,
    b"content-type": _EVENTS,
}
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
_USUAL_OPTIONS: Final = frozenset({b"close", b"keep-alive"})
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_WEBSOCKET_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_FIELDS: Final = 200
MAX_LINE: Final = 16_384
MAX_TRAILERS: Final = 8_192

Framing = Literal["none", "length", "chunked", "close"]


class ResponseError(Exception):
    """The response can't be understood; the message says which rule it breaks, in our words."""


class ResponseHead(msgspec.Struct, frozen=True, kw_only=True):
    """A final or informational response's head, and where its body ends."""

    status: int
    reason: bytes
    passed: bytes
    """The field lines that the client may see, with their line ends, byte for byte and without framing."""
    framing: Framing
    length: int | None
    """Of the body with framing `length`; with `none` what a HEAD's reply says of the body that it does not have."""
    reusable: bool
    """Whether the connection may carry another request after this body. Not after an answer without a body that speaks of one: if
    the application sends it all the same, a moment later, it would be the answer to another request (RFC 9112 §11.1).
    """
    events: bool
    """Whether the body is a stream of events, which may be silent for ever."""
    block: bytes
    """All of the head."""

    def values(self, name: bytes) -> list[bytes]:
        """The values of a field, by name in lower case."""
        fields = (line.partition(b":") for line in self.block.split(b"\r\n")[1:])
        return [value.strip(b" \t") for key, _, value in fields if key.lower() == name]


def parse_head(block: bytes, *, method: str) -> ResponseHead:
    """Read a head that ends in an empty line (included). `method` is the request's. Raises ResponseError (RFC 9112 §4 to §6)."""
    lines = block.split(b"\r\n")
    first = _status(lines[0])
    if first is None:
        raise ResponseError("the status line is malformed")
    if len(lines) > MAX_FIELDS + 3:
        raise ResponseError("there are too many header fields")
    modern, status, reason = first
    passed = []
    framing_lines: list[bytes] = []
    connection_lines: list[bytes] = []
    events = False
    for line in lines[1:-2]:
        # Applications repeat most of their lines; cookies are not kept longer than needed.
        read = _remembered(line) if len(line) <= _SHORT and line[:3] not in _SECRET else _read(line)
        if read is None:
            raise ResponseError("a header field is malformed")
        text, kind = read
        if text:
            passed.append(text)
        if kind == _FRAMES:
            framing_lines.append(line)
        elif kind == _CONNECTION:
            connection_lines.append(line)
        elif kind == _EVENTS:
            events = True
    options = _options(connection_lines) if connection_lines else _NO_OPTIONS
    if not options <= _USUAL_OPTIONS:
        passed = [text for text in passed if text.partition(b":")[0].lower() not in options]
    framing, length, certain = _framing(status, method, framing_lines, modern=modern)
    return ResponseHead(
        status=status,
        reason=reason,
        passed=b"".join(passed),
        framing=framing,
        length=length,
        reusable=modern and b"close" not in options and certain,
        events=events,
        block=block,
    )


@functools.lru_cache(maxsize=256)
def _status(line: bytes) -> tuple[bool, int, bytes] | None:
    """Whether it is HTTP/1.1, the status and the reason; None for what is no status line."""
    found = _STATUS.fullmatch(line[:_LONGEST_STATUS])
    return (found[1] == b"1", int(found[2]), found[3] or b"") if found is not None else None


def _read(line: bytes) -> tuple[bytes, int] | None:
    """What the client may see of a field line (empty: nothing), and what it means; None when it is malformed (RFC 9112 §5)."""
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or value.translate(None, _ALLOWED):
        return None
    value = value.strip(b" \t")
    kind = _KINDS.get(name.lower(), 0)
    if kind == _EVENTS and value.lower().partition(b";")[0].strip() != b"text/event-stream":
        kind = 0
    return (b"%b: %b\r\n" % (name, value) if passes_to_client(name, value) else b""), kind


_remembered: Final = functools.lru_cache(maxsize=2048)(_read)


def _options(lines: list[bytes]) -> frozenset[bytes]:
    if len(lines) == 1 and len(lines[0]) <= _SHORT:
        return _remembered_options(lines[0])
    return frozenset().union(*map(_options_of, lines))


def _options_of(line: bytes) -> frozenset[bytes]:
    return frozenset(option.strip().lower() for option in line.partition(b":")[2].split(b","))


_remembered_options: Final = functools.lru_cache(maxsize=64)(_options_of)


def _framing(status: int, method: str, lines: list[bytes], *, modern: bool) -> tuple[Framing, int | None, bool]:
    """The framing, the length, and whether the application can mean no other end than this one."""
    length: bytes | None = None
    coding: bytes | None = None
    for line in lines:
        name, _, value = line.partition(b":")
        value = value.strip(b" \t")
        if name.lower() == b"content-length":
            if length is not None or not _LENGTH.fullmatch(value):
                raise ResponseError("its Content-Length is not one decimal number")
            length = value
        elif coding is not None or value.lower() != b"chunked" or not modern:
            raise ResponseError("it has a transfer coding other than chunked")
        else:
            coding = value
    if coding is not None and length is not None:
        raise ResponseError("it has Content-Length together with Transfer-Encoding")
    size = int(length) if length is not None else None
    if method == "HEAD" or status < 200 or status in {204, 304}:  # noqa: PLR2004  informational; no content; not modified
        # A GET's answer without either field has a body until the end of the connection, so for HEAD only a zero is beyond doubt.
        return "none", size, size == 0 or (size is None and coding is None and method != "HEAD")
    if coding is not None:
        return "chunked", None, True
    return ("length", size, True) if size is not None else ("close", None, False)


class Chunks:
    """Takes the payload out of a chunked body (RFC 9112 §7.1) as its bytes come. Trailers are checked and dropped."""

    __slots__ = ("_held", "_left", "_state", "_trailers")

    def __init__(self) -> None:
        self._held = b""
        """A line that has begun."""
        self._left = 0
        self._state = _SIZE
        self._trailers = 0

    @property
    def done(self) -> bool:
        """True after the last chunk and the trailers."""
        return self._state == _DONE

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the payload in these bytes, and what stands behind the body's end. Raises ResponseError."""
        if self._held:
            data, self._held = self._held + data, b""
        pieces = []
        position, size = 0, len(data)
        while self._state != _DONE:
            if self._state == _DATA:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = _END
            end = data.find(b"\r\n", position)
            if end < 0:
                self._hold(data[position:])
                position = size
                break
            self._line(data[position:end])
            position = end + 2
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), data[position:]

    def _hold(self, line: bytes) -> None:
        if len(line) > MAX_LINE or (self._state == _END and line not in {b"", b"\r"}):
            raise ResponseError("a chunk is longer than it says, or a line between chunks is too long")
        self._held = line

    def _line(self, line: bytes) -> None:
        if self._state == _END:
            if line:
                raise ResponseError("a chunk is longer than it says")
            self._state = _SIZE
        elif self._state == _SIZE:
            self._left = chunk_size(line)
            self._state = _DATA if self._left else _TRAILERS
        elif not line:
            self._state = _DONE
        else:
            self._trailers += len(line)
            name, colon, value = line.partition(b":")
            if self._trailers > MAX_TRAILERS:
                raise ResponseError("the trailers are too large")
            if not colon or not _TOKEN.fullmatch(name) or value.translate(None, _ALLOWED):
                raise ResponseError("a trailer field is malformed")


_SIZE: Final = 0
_DATA: Final = 1
_END: Final = 2
_TRAILERS: Final = 3
_DONE: Final = 4


def chunk_size(line: bytes) -> int:
    """Read the line before a chunk, without its line end. Raises ResponseError."""
    found = _CHUNK.fullmatch(line)
    if found is None:
        raise ResponseError("a chunk's size is malformed")
    return int(found[1], 16)


def check_switch(head: ResponseHead, *, key: str, protocols: str | None, extensions: str | None) -> None:
    """Raise ResponseError unless a 101 answers this WebSocket handshake (RFC 6455 §4.1).

    `key`, `protocols` and `extensions` are the request's Sec-WebSocket fields. An upstream may choose only what was offered:
    neither a subprotocol nor an extension (compression) that the client does not know.
    """
    accept = base64.b64encode(hashlib.sha1(key.encode("ascii") + _WEBSOCKET_GUID, usedforsecurity=False).digest())
    if [value.lower() for value in head.values(b"upgrade")] != [b"websocket"]:
        raise ResponseError("it switches to something else than WebSocket")
    if head.values(b"sec-websocket-accept") != [accept]:
        raise ResponseError("its Sec-WebSocket-Accept does not answer the key")
    chosen = head.values(b"sec-websocket-protocol")
    offered = {part.strip().encode() for part in (protocols or "").split(",")}
    if len(chosen) > 1 or any(value not in offered for value in chosen):
        raise ResponseError("it chose a WebSocket subprotocol that was not offered")
    names = {part.partition(";")[0].strip().lower().encode() for part in (extensions or "").split(",")}
    for value in head.values(b"sec-websocket-extensions"):
        if any(part.partition(b";")[0].strip().lower() not in names - {b""} for part in value.split(b",")):
            raise ResponseError("it chose a WebSocket extension that was not offered")

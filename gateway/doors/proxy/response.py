"""The head of an upstream's response, read strictly. Pure.

Applications are ours more than clients are, but what they send may hold what somebody else wrote, and a response that two
readers delimit differently gives one person's page to another (RFC 9112 §11.1). So what is not plainly well-formed is an error
here, and becomes a 502. Header bytes are kept as they are: older systems send Shift_JIS file names.
"""

import base64
import hashlib
import re
from typing import Final, Literal

import msgspec

from gateway.domain.headers import RawHeaders

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_WEBSOCKET_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_FIELDS: Final = 200

Framing = Literal["none", "length", "chunked", "close"]


class ResponseError(Exception):
    """The response can't be understood; the message says which rule it breaks, in our words."""


class ResponseHead(msgspec.Struct, frozen=True, kw_only=True):
    """A final or informational response's head, and where its body ends."""

    status: int
    reason: bytes
    headers: RawHeaders
    framing: Framing
    length: int | None
    """Of the body with framing `length`; with `none` what a HEAD's reply says of the body that it does not have."""
    reusable: bool
    """Whether the connection may carry another request after this body."""

    def values(self, name: bytes) -> list[bytes]:
        """The values of a field, by name in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


def parse_head(block: bytes, *, method: str) -> ResponseHead:
    """Read a head that ends in an empty line (included). `method` is the request's. Raises ResponseError (RFC 9112 §4 to §6)."""
    lines = block.removesuffix(b"\r\n\r\n").split(b"\r\n")
    first = _STATUS.fullmatch(lines[0])
    if first is None:
        raise ResponseError("the status line is malformed")
    if len(lines) > MAX_FIELDS + 1:
        raise ResponseError("there are too many header fields")
    headers: RawHeaders = []
    for line in lines[1:]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise ResponseError("a header field is malformed")
        headers.append((field[1], field[2]))
    status = int(first[2])
    framing, length = _framing(status, method, headers, modern=first[1] == b"1")
    options = {option.strip().lower() for name, value in headers if name.lower() == b"connection" for option in value.split(b",")}
    reusable = first[1] == b"1" and b"close" not in options and framing != "close"
    return ResponseHead(status=status, reason=first[3] or b"", headers=headers, framing=framing, length=length, reusable=reusable)


def _framing(status: int, method: str, headers: RawHeaders, *, modern: bool) -> tuple[Framing, int | None]:
    codings = [value.strip().lower() for name, value in headers if name.lower() == b"transfer-encoding"]
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    if codings and lengths:
        raise ResponseError("it has Content-Length together with Transfer-Encoding")
    if codings and (codings != [b"chunked"] or not modern):
        raise ResponseError("it has a transfer coding other than chunked")
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise ResponseError("its Content-Length is not one decimal number")
    length = int(lengths[0]) if lengths else None
    if method == "HEAD" or status < 200 or status in {204, 304}:  # noqa: PLR2004  informational; no content; not modified
        return "none", length
    if codings:
        return "chunked", None
    return ("length", length) if lengths else ("close", None)


def chunk_size(line: bytes) -> int:
    """Read the line before a chunk, without its line end. Raises ResponseError (RFC 9112 §7.1)."""
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

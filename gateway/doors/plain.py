"""Requests beyond doubt, read without aiohttp's parser.

Most of what a browser asks is a GET whose head arrives in one piece and is followed by nothing. `PlainReader` takes such a head
only when no two parsers could read it differently, and leaves everything else to aiohttp's parser: it refuses nothing itself, and
takes nothing that aiohttp's parser would refuse. What it takes:

- GET or HEAD, origin-form, HTTP/1.1, in lines that end in CRLF, all of printable ASCII, at most 8,000 bytes together;
- field names that are tokens, each once, Host among them;
- no body, and no field that could announce one or another protocol (Transfer-Encoding, Trailer, Expect, Upgrade, Content-Length
  but for the `content-length: 0` of Envoy's questions), or the draft of WebSockets that aiohttp refuses (Sec-WebSocket-Key1);
- `Connection` absent or `keep-alive`.
"""

import functools
import re
from typing import Final

from gateway.domain.request import Headers

MAX_HEAD: Final = 8_000
MAX_FIELDS: Final = 64
_FIRST: Final = re.compile(rb"(GET|HEAD) (/[!-~]*) HTTP/1\.1")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_NOT_PLAIN: Final = frozenset(
    {"content-length", "transfer-encoding", "trailer", "expect", "upgrade", "http2-settings", "sec-websocket-key1"}
)
_NO_BODY: Final = "content-length: 0"
_END: Final = b"\r\n\r\n"


class PlainReader:
    """Reads the heads of one connection. Browsers repeat their fields: those of the last request are remembered."""

    __slots__ = ("_block", "_fields")

    def __init__(self) -> None:
        self._block = b""
        self._fields: Headers = ()

    def read(self, data: bytes) -> tuple[str, str, Headers] | None:
        """Return method, target and fields when the bytes are one whole plain request; None when they are anything else.

        The fields are the same object as before when their bytes are.
        """
        end = end_of_first(data)
        first = first_of(data[:end]) if end else None
        if first is None:
            return None
        block = data[end + 2 :]
        if block != self._block:
            fields = fields_of(block)
            if fields is None:
                return None
            self._block, self._fields = block, fields
        return *first, self._fields


def end_of_first(data: bytes) -> int:
    """Return where the request line ends of what may be a whole plain head; 0 when it can't be one."""
    return data.find(b"\r\n") if len(data) <= MAX_HEAD and data.endswith(_END) else 0


def first_of(line: bytes) -> tuple[str, str] | None:
    """Return method and target of a plain request line; None when it is none."""
    found = _FIRST.fullmatch(line)
    return (found[1].decode("ascii"), found[2].decode("ascii")) if found is not None else None


def fields_of(block: bytes) -> Headers | None:
    """Return the field lines of a plain head, each with its line end, and the empty line after them; None when it is none."""
    if not block.isascii():
        return None
    lines = block.decode("ascii").split("\r\n")
    del lines[-2:]  # what stands behind the last two line ends: nothing, as the block ends in an empty line
    if len(lines) > MAX_FIELDS or not "".join(lines).isprintable():  # a lone CR or LF is not printable either
        return None
    fields: dict[str, tuple[str, str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        lower = "content-length" if line == _NO_BODY else _plain_name(name)
        if not colon or lower is None or lower in fields:
            return None
        fields[lower] = (name, value.strip(" "))
    if "host" not in fields or fields.get("connection", ("", "keep-alive"))[1].lower() != "keep-alive":
        return None
    return tuple(fields.values())


@functools.lru_cache(maxsize=1024)
def _plain_name(name: str) -> str | None:
    """The name in lower case; None when it is no token or announces something."""
    lower = name.lower()
    return lower if _TOKEN.fullmatch(name) and lower not in _NOT_PLAIN else None

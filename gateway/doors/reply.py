"""Replies byte for byte: a head that is written exactly as given, then a body or a stream."""

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from gateway.domain.headers import RawHeaders
from gateway.doors.contract import Reply

_BODYLESS: Final = frozenset({204, 304})
_INFORMATIONAL: Final = 200


class WireResponse(web.StreamResponse):
    """A response whose head goes out exactly as given (aiohttp's own would drop bytes that are not UTF-8, and adds fields).

    `length` is what the head promises: a number, or None for "until it ends" (chunked to HTTP/1.1 clients). `body` is sent with
    the head; more may follow by `write`.
    """

    def __init__(
        self,
        *,
        status: int,
        headers: RawHeaders,
        reason: bytes | None = None,
        length: int | None = 0,
        body: bytes = b"",
        close: bool = False,
    ) -> None:
        super().__init__(status=status)
        self._wire_reason = reason if reason is not None else _phrase(status)
        self._wire_headers = headers
        self._length = length
        self._first = body
        self._close = close
        self._out: AbstractStreamWriter | None = None
        self._mute = False
        self._ended = False
        self.bytes_out = 0
        """Body bytes handed to the connection so far."""

    @property
    def started(self) -> bool:
        """True once the head is on its way."""
        return self._out is not None

    @property
    def keep_alive(self) -> bool | None:
        """Whether another request may follow; never for HTTP/1.0, whose clients want to be told in other words."""
        return not self._close and self._req is not None and self._req.version >= (1, 1) and self._req.keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, and `body` with it. Raises ConnectionError when it was given up before."""
        if self._out is not None:
            return self._out
        if self._ended:
            raise ConnectionResetError("given up")
        self._req = request
        self._out = request.writer
        self._mute = request.method == "HEAD" or self.status in _BODYLESS or self.status < _INFORMATIONAL
        chunked = self._length is None and not self._mute and request.version >= (1, 1)
        if self._length is None and not self._mute and not chunked:
            self._close = True  # the end of the connection is the end of the body (RFC 9112 §6.3)
        await self._out.write(self._head(chunked=chunked, keep=bool(self.keep_alive)))
        if chunked:
            self._out.enable_chunking()
        if self._first:
            await self.write(self._first)
        return self._out

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece of the body, and wait while the client is slower than we are. Raises ConnectionError when it is gone."""
        if self._out is None:
            raise RuntimeError("the head was not sent")
        if not self._mute:
            await self._out.write(data)
            self.bytes_out += len(data)

    async def write_eof(self, data: bytes = b"") -> None:
        """End the body."""
        if self._ended or self._out is None:
            return
        self._ended = True
        await self._out.write_eof()

    def give_up(self) -> None:
        """The body can't be ended as promised: what follows is the end of the connection, never a well-formed end."""
        self._ended = True
        self._close = True

    def whole(self) -> bytes:
        """Head and body as bytes, for a connection that ends with them."""
        self._close = True
        return self._head(chunked=False, keep=False) + self._first

    def _head(self, *, chunked: bool, keep: bool) -> bytes:
        lines = [b"HTTP/1.1 %d %s" % (self.status, self._wire_reason)]
        lines += [b"%s: %s" % field for field in self._wire_headers]
        if chunked:
            lines.append(b"Transfer-Encoding: chunked")
        elif self._length is not None and self.status >= _INFORMATIONAL and self.status != HTTPStatus.NO_CONTENT:
            lines.append(b"Content-Length: %d" % self._length)
        if not keep and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            lines.append(b"Connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"


def from_reply(reply: Reply, *, close: bool) -> WireResponse:
    """Make the response of one of our own replies. Raises ValueError for a field that could not stand in a head."""
    headers = [(name.encode("ascii"), value.encode("utf-8")) for name, value in reply.headers]
    if any(set(name + value) & _BREAKERS for name, value in headers):
        raise ValueError("a header field of ours holds a line break")
    headers.append((b"Date", formatdate(usegmt=True).encode("ascii")))
    return WireResponse(status=reply.status, headers=headers, length=len(reply.body), body=reply.body, close=close)


_BREAKERS: Final = frozenset(b"\r\n\0")


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""

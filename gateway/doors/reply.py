"""Replies byte for byte: a head that is written exactly as given, then a body or a stream."""

import functools
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from gateway.doors.contract import Reply

_BODYLESS: Final = frozenset({204, 304})
_INFORMATIONAL: Final = 200
_NO_CONTENT: Final = 204
_SWITCHING: Final = 101
_MODERN: Final = (1, 1)


class Client(Protocol):
    """The other end of a client's connection: `gateway.doors.client.GatewayProtocol`."""

    @property
    def leaving(self) -> bool:
        """Whether the connection ends after this response, whatever it says itself."""
        ...

    @property
    def always(self) -> bytes:
        """A header field that every response on the connection has, without its line end; empty for none."""
        ...

    def send(self, data: bytes) -> None:
        """Send bytes without waiting. Raises ConnectionResetError when the client is gone."""
        ...

    async def drained(self) -> None:
        """Wait while the client is slower than we are. Raises ConnectionError when it is gone."""
        ...


class Wire:
    """A response on its way to one client: `begin`, then `write` as often as there are pieces, then `finish`; or `give_up`.

    `length` is what the head promises: a number, or None for "until it ends" (chunked to HTTP/1.1 clients). Nothing here waits:
    ask the client whether it is slower than we are.
    """

    __slots__ = (
        "_chunked",
        "_client",
        "_close",
        "_ended",
        "_length",
        "_mute",
        "body",
        "bytes_out",
        "fields",
        "reason",
        "status",
    )

    def __init__(
        self,
        *,
        status: int,
        fields: bytes = b"",
        reason: bytes | None = None,
        length: int | None = 0,
        body: bytes = b"",
        close: bool = False,
    ) -> None:
        """`fields` are field lines with their line ends, without framing."""
        self.status: Final = status
        self.fields: Final = fields
        self.reason: Final = _phrase(status) if reason is None else reason
        self.body: Final = body
        """What is sent with the head when nobody calls `begin` with something else."""
        self.bytes_out = 0
        """Body bytes handed to the connection so far."""
        self._length = length
        self._close = close
        self._client: Client | None = None
        self._mute = False
        self._chunked = False
        self._ended = False

    @property
    def started(self) -> bool:
        """True once the head is on its way."""
        return self._client is not None

    @property
    def keeps(self) -> bool:
        """Whether another request may follow on the connection."""
        return not self._close

    def begin(self, client: Client, *, method: str, modern: bool = True, keep: bool = True, piece: bytes, last: bool) -> None:
        """Send the head, and with it the first piece of the body (the whole of it, when it is the `last`).

        `modern` is false for HTTP/1.0, `keep` when the client wants to leave. Raises ConnectionResetError when it is gone, or the
        response was given up.
        """
        if self._ended:
            raise ConnectionResetError("given up")
        self._mute = mute = method == "HEAD" or self.status in _BODYLESS or self.status < _INFORMATIONAL
        length = self._length
        if length is None and not mute:
            self._chunked = modern
        # To HTTP/1.0 the end of the connection is the end of the body (RFC 9112 §6.3), and it wants to be told in other words.
        if not keep or not modern or client.leaving:
            self._close = True
        data = self._head(client.always)
        self._client = client
        if piece and not mute:
            self.bytes_out = len(piece)
            data += b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece
        if last:
            self._ended = True
            if self._chunked:
                data += b"0\r\n\r\n"
        client.send(data)

    def write(self, data: bytes) -> None:
        """Send a piece of the body. Raises ConnectionResetError when the client is gone."""
        client = self._client
        if client is None:
            raise RuntimeError("the head was not sent")
        if self._mute or not data:
            return
        client.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        self.bytes_out += len(data)

    def finish(self) -> None:
        """End the body."""
        if self._ended or self._client is None:
            return
        self._ended = True
        if self._chunked:
            self._client.send(b"0\r\n\r\n")

    def give_up(self) -> None:
        """The body can't be ended as promised: what follows is the end of the connection, never a well-formed end."""
        self._ended = True
        self._close = True

    def whole(self, always: bytes = b"") -> bytes:
        """Head and body as bytes, for a connection that ends with them. `always` as in `Client`."""
        self._close = True
        return self._head(always) + self.body

    def _head(self, always: bytes) -> bytes:
        more = always + b"\r\n" if always else b""
        if self._chunked:
            more += b"Transfer-Encoding: chunked\r\n"
        elif self._length is not None and self.status >= _INFORMATIONAL and self.status != _NO_CONTENT:
            more += b"Content-Length: %d\r\n" % self._length
        if self._close and self.status != _SWITCHING:
            more += b"Connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (self.status, self.reason, self.fields, more)


class WireResponse(web.StreamResponse):
    """A `Wire` as aiohttp's server wants to see it."""

    def __init__(
        self,
        *,
        status: int = 200,
        body: bytes = b"",
        close: bool = False,
        wire: Wire | None = None,
    ) -> None:
        """Of a `wire`, or of what to make one of."""
        self.wire: Final = wire or Wire(status=status, length=len(body), body=body, close=close)
        super().__init__(status=self.wire.status)

    @property
    def keep_alive(self) -> bool | None:
        """Whether another request may follow."""
        return self.wire.keeps

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it, unless that has been done. Raises ConnectionError when it was given up before."""
        client: Client = request.protocol  # type: ignore[assignment]  # aiohttp does not know what its listener makes
        if not self.wire.started:
            modern = request.version >= _MODERN
            self.wire.begin(
                client, method=request.method, modern=modern, keep=request.keep_alive, piece=self.wire.body, last=True
            )
            await client.drained()
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """End the body."""
        self.wire.finish()

    def whole(self, always: bytes = b"") -> bytes:
        """Head and body as bytes, for a connection that ends with them. `always` as in `Client`."""
        return self.wire.whole(always)


def wire_of(reply: Reply, *, close: bool) -> Wire:
    """Make the response of one of our own replies. Raises ValueError for a field that could not stand in a head."""
    text = "".join([f"{name}: {value}\r\n" for name, value in reply.headers])
    count = len(reply.headers)
    if text.count("\r") != count or text.count("\n") != count or "\0" in text:
        raise ValueError("a header field of ours holds a line break")
    if not text.isascii() and not all(name.isascii() for name, _ in reply.headers):
        raise ValueError("a name of a header field of ours is not ASCII")
    fields = text.encode("utf-8") + _date(int(time.time()))
    return Wire(status=reply.status, fields=fields, length=len(reply.body), body=reply.body, close=close)


def from_reply(reply: Reply, *, close: bool) -> WireResponse:
    """Make the response of one of our own replies, for aiohttp. Raises ValueError for a field that could not stand in a head."""
    return WireResponse(wire=wire_of(reply, close=close))


@functools.lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}\r\n".encode("ascii")


@functools.lru_cache(maxsize=128)
def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""

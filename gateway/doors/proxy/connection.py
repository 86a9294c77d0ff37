"""A connection to an application, read with back-pressure.

Why not aiohttp's client: it rewrites targets (`/a?` loses its question mark), drops header bytes that are not UTF-8, adds fields
of its own, waits for ever on an upstream that never says 100, and frames WebSockets anew. This one sends what it is given, and it
is what makes the door fast: see docs/performance.md.

Informational responses and trailers end here: docs/decisions/0013.
"""

import asyncio
import select
import socket
from typing import Final

from gateway.domain.reason import UpstreamProblem
from gateway.doors.proxy.response import Chunks, ResponseError, ResponseHead, parse_head

HIGH_WATER: Final = 131_072
"""More than this is not taken from an application while nobody asks for it."""
MAX_HEAD: Final = 65_536
MAX_INFORMATIONAL: Final = 16
FINISH_SECONDS: Final = 30.0
_END: Final = b"\r\n\r\n"


class UpstreamError(Exception):
    """The application could not be reached, or broke off, or is not to be understood."""

    def __init__(self, problem: UpstreamProblem, what: str) -> None:
        super().__init__(what)
        self.problem: Final = problem


class UpstreamConnection(asyncio.Protocol):
    """One connection to an application. What waits here has no time limit: whoever waits sets one, and calls `fail`."""

    __slots__ = (
        "_buffer", "_drains", "_ended", "_error", "_full", "_loop", "_paused", "_poll", "_transport", "_waiter",
        "_wants_head", "idle_since", "in_use", "instance", "silent", "used",
    )  # fmt: skip

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._buffer = b""
        self._ended = False
        """The application says nothing more."""
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wants_head = False
        self._paused = False
        """We do not read."""
        self._full = False
        """The application does not read."""
        self._drains: list[asyncio.Future[None]] = []
        self.in_use = True
        self.instance: object = None
        """Whose it is, for who made it."""
        self.used: bool = False
        """Whether it has carried a request before."""
        self.silent = True
        """Whether nothing has come back for the request under way."""
        self.idle_since: float = 0.0

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a connection to an application is a stream")
        self._transport = transport
        # A silent stream is legitimate; a dead machine behind it is found by TCP.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._poll.register(sock.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and wake up who waits for them."""
        if not self.in_use:
            # Nobody asked: it would be taken for the answer to the next request (CVE-2026-71324).
            self.abort()
            return
        self.silent = False
        buffer = self._buffer = self._buffer + data if self._buffer else data
        waiter = self._waiter
        if waiter is None:
            if len(buffer) > HIGH_WATER and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        elif not self._wants_head or _END in buffer or len(buffer) > MAX_HEAD:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def eof_received(self) -> bool:
        """The application has said everything. It may still be listening."""
        self._ended = True
        self._wake()
        return self.in_use and self._transport is not None and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self._ended = True
        self._transport = None
        if exc is not None and self._error is None:
            self._error = UpstreamError(UpstreamProblem.RESET, "the connection to the application broke")
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The application is slower than we are."""
        self._full = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._full = False
        for drain in self._drains:
            if not drain.done():
                drain.set_result(None)
        self._drains.clear()

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    # ---- what the door calls

    @property
    def usable(self) -> bool:
        """False once either side has ended it, or bytes are left that belong to no answer."""
        return not self._ended and self._error is None and not self._buffer and self._open() is not None

    @property
    def quiet(self) -> bool:
        """Whether it is usable and the application has sent nothing, neither bytes nor its end, that our loop has yet to see.

        Half a TLS record that has been read already is not seen.
        """
        transport = self._transport
        if transport is None or not self.usable:
            return False
        if self._paused and transport.get_extra_info("ssl_object") is not None:
            return False  # while we do not read, TLS may hold what the kernel no longer has
        return not self._poll.poll(0)

    def _open(self) -> asyncio.Transport | None:
        transport = self._transport
        return None if transport is None or transport.is_closing() else transport

    def send(self, data: bytes) -> None:
        """Send bytes without waiting. Raises UpstreamError."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise self._error or UpstreamError(UpstreamProblem.RESET, "the connection is closed")
        transport.write(data)

    def post(self, data: bytes) -> bool:
        """Send bytes; False when the application is slower than we are: `drained` before more. On an ended connection they are
        lost, as on any: the reading side tells.
        """
        transport = self._open()
        if transport is not None:
            transport.write(data)
        return not self._full

    async def drained(self) -> None:
        """Wait while the application is slower than we are. Raises UpstreamError."""
        if self._full and self._transport is not None:
            drain = self._loop.create_future()
            self._drains.append(drain)
            await drain
        if self._error is not None:
            raise self._error
        if self._transport is None:
            raise UpstreamError(UpstreamProblem.RESET, "the connection is closed")

    async def read_head(self, method: str) -> ResponseHead:
        """Wait for the head of the final response; informational ones (RFC 9110 §15.2) before it are dropped, except 101.

        Raises UpstreamError.
        """
        for _ in range(MAX_INFORMATIONAL):
            while (end := self._buffer.find(_END)) < 0 and len(self._buffer) <= MAX_HEAD:
                if self._ended:
                    raise self._error or UpstreamError(UpstreamProblem.RESET, "the application closed the connection")
                await self._arrival(head=True)
            if self._error is not None:
                raise self._error
            if not 0 <= end <= MAX_HEAD:
                raise UpstreamError(UpstreamProblem.PROTOCOL, "the response's head is too large")
            block, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
            try:
                head = parse_head(block, method=method)
            except ResponseError as error:
                raise UpstreamError(UpstreamProblem.PROTOCOL, str(error)) from None
            if head.status >= 200 or head.status == 101:  # noqa: PLR2004  a final response; switching protocols
                return head
        raise UpstreamError(UpstreamProblem.PROTOCOL, "there are too many informational responses")

    def take(self) -> bytes:
        """Return what has arrived, without waiting; empty when that is nothing."""
        data, self._buffer = self._buffer, b""
        return data

    def give_back(self, data: bytes) -> None:
        """Put back what was taken and does not belong to the body."""
        self._buffer = data + self._buffer

    async def read(self) -> bytes:
        """Return what has arrived, at least a byte; empty at the end of the connection. Raises UpstreamError."""
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._arrival(head=False)
        if self._error is not None:
            raise self._error
        return self.take()

    def _arrival(self, *, head: bool) -> "asyncio.Future[None]":
        """Something to wait for: more bytes (with `head`: a whole head), the end, or an error."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        self._wants_head = head
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def fail(self, error: UpstreamError) -> None:
        """Give whoever waits here an error, and end the connection."""
        self._error = self._error or error
        self.abort()
        self._wake()
        self.resume_writing()

    def finish(self) -> None:
        """End it when what was sent is out, in FINISH_SECONDS at the latest. Nothing more is read."""
        transport = self._open()
        if transport is not None and transport.get_write_buffer_size():
            self._transport = None
            transport.close()
            self._loop.call_later(FINISH_SECONDS, transport.abort)

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()


class Body:
    """The body of a response, piece by piece as it arrives."""

    __slots__ = ("_chunks", "_connection", "_left", "done")

    def __init__(self, connection: UpstreamConnection, head: ResponseHead) -> None:
        self._connection = connection
        self._chunks = Chunks() if head.framing == "chunked" else None
        self._left = head.length if head.framing == "length" else None
        self.done = head.framing == "none" or self._left == 0
        """True when all of the body has been returned."""

    def ready(self) -> bytes:
        """Return what is there already; empty when that is nothing. Raises UpstreamError."""
        if self.done:
            return b""
        data = self._connection.take()
        return self._payload(data) if data else b""

    async def read(self) -> bytes:
        """Return the next piece; empty when all of the body was there. Raises UpstreamError."""
        while not self.done:
            data = await self._connection.read()
            if not data:
                if self._left is None and self._chunks is None:
                    self.done = True
                    return b""
                raise UpstreamError(UpstreamProblem.RESET, "the application broke off in the middle of the body")
            piece = self._payload(data)
            if piece:
                return piece
        return b""

    def _payload(self, data: bytes) -> bytes:
        if self._left is not None:
            if len(data) > self._left:
                self._connection.give_back(data[self._left :])
                data = data[: self._left]
            self._left -= len(data)
            self.done = not self._left
            return data
        if self._chunks is None:
            return data
        try:
            piece, rest = self._chunks.feed(data)
        except ResponseError as error:
            raise UpstreamError(UpstreamProblem.PROTOCOL, str(error)) from None
        if rest:
            self._connection.give_back(rest)
        self.done = self._chunks.done
        return piece

"""Connections to the applications: kept, reused, and read with back-pressure.

Why not aiohttp's client: it rewrites targets (`/a?` loses its question mark), drops header bytes that are not UTF-8, adds fields
of its own, waits for ever on an upstream that never says 100, and frames WebSockets anew. This one sends what it is given.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from gateway.domain.reason import UpstreamProblem
from gateway.doors.proxy.response import ResponseError, ResponseHead, chunk_size, parse_head
from gateway.kernel.clock import Clock

T = TypeVar("T")

READ_SIZE: Final = 65_536
MAX_HEAD: Final = 65_536
MAX_TRAILERS: Final = 8_192
MAX_INFORMATIONAL: Final = 16


class UpstreamError(Exception):
    """The application could not be reached, or broke off, or is not to be understood."""

    def __init__(self, problem: UpstreamProblem, what: str) -> None:
        super().__init__(what)
        self.problem: Final = problem


class UpstreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long applications may take, in seconds, and how many connections each gets."""

    connect_seconds: float = 5.0
    response_seconds: float = 120.0
    """From the end of the request to the response's head."""
    stall_seconds: float = 300.0
    """Without a byte in the middle of a body, either way. Event streams and WebSockets may be silent for ever."""
    keep_seconds: float = 15.0
    """How long an idle connection is kept: shorter than servers usually do, so that theirs does not end under a request."""
    keep_connections: int = 64
    max_connections: int = 1024


class UpstreamConnection:
    """One connection to an application. Every method raises UpstreamError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: UpstreamLimits) -> None:
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self.used: bool = False
        """Whether it has carried a request before."""
        self.idle_since: float = 0.0

    @property
    def usable(self) -> bool:
        """False once either side has ended it, and when the application has said something that nobody asked for: it would be
        taken for the answer to the next request (CVE-2026-71324).
        """
        unasked = bool(self._reader._buffer)  # type: ignore[attr-defined]  # noqa: SLF001  there is no public way to look
        return not unasked and not self._writer.is_closing() and not self._reader.at_eof() and self._reader.exception() is None

    async def send(self, data: bytes) -> None:
        """Write bytes, and wait while the application is slower than we are."""
        if self._writer.is_closing():
            raise UpstreamError(UpstreamProblem.RESET, "the connection is closed")
        self._writer.write(data)
        await self._in_time(self._limits.stall_seconds, self._writer.drain())

    def write(self, data: bytes) -> bool:
        """Write bytes without waiting. False when the application is slower than we are: `drain` before writing more."""
        if self._writer.is_closing():
            return True  # they are lost, as on any connection that ends; the reader's side tells
        self._writer.write(data)
        return self._writer.transport.get_write_buffer_size() < READ_SIZE

    async def drain(self) -> None:
        """Wait until the application has taken most of what was written."""
        await self._in_time(self._limits.stall_seconds, self._writer.drain())

    async def read_head(self, method: str) -> ResponseHead:
        """Wait for the head of the final response; informational ones (RFC 9110 §15.2) before it are dropped, except 101."""
        for _ in range(MAX_INFORMATIONAL):
            try:
                block = await self._reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                raise UpstreamError(UpstreamProblem.RESET, "the application closed the connection") from None
            except asyncio.LimitOverrunError:
                raise UpstreamError(UpstreamProblem.PROTOCOL, "the response's head is too large") from None
            except OSError as error:
                raise UpstreamError(UpstreamProblem.RESET, "the connection to the application broke") from error
            head = _understood(block, method)
            if head.status >= 200 or head.status == 101:  # noqa: PLR2004  a final response; switching protocols
                return head
        raise UpstreamError(UpstreamProblem.PROTOCOL, "there are too many informational responses")

    async def read(self, size: int = READ_SIZE, *, wait: float | None = None) -> bytes:
        """Return what has arrived, at least a byte and at most `size`; empty at the end of the connection. `wait` is seconds."""
        return await self._in_time(wait, self._reader.read(size))

    async def read_line(self, *, wait: float | None = None) -> bytes:
        """Return a line without its end."""
        try:
            line = await self._in_time(wait, self._reader.readuntil(b"\r\n"))
        except asyncio.IncompleteReadError:
            raise UpstreamError(UpstreamProblem.RESET, "the application broke off in the middle of the body") from None
        except asyncio.LimitOverrunError:
            raise UpstreamError(UpstreamProblem.PROTOCOL, "a line between chunks is too long") from None
        return line[:-2]

    async def _in_time(self, seconds: float | None, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            raise UpstreamError(UpstreamProblem.TIMEOUT, "the application stalled") from None
        except OSError as error:
            raise UpstreamError(UpstreamProblem.RESET, "the connection to the application broke") from error

    def abort(self) -> None:
        """End it at once."""
        self._writer.transport.abort()


class Body:
    """The body of a response, piece by piece as it arrives."""

    def __init__(self, connection: UpstreamConnection, head: ResponseHead, *, wait: float | None) -> None:
        """`wait` is the longest silence in seconds; None: for ever."""
        self._connection = connection
        self._framing = head.framing
        self._left = head.length or 0 if head.framing == "length" else 0
        self._in_chunk = False
        self._wait = wait

    async def read(self) -> bytes:
        """Return the next piece; empty when all of the body was there. Trailers are dropped. Raises UpstreamError."""
        if self._framing == "close":
            return await self._connection.read(wait=self._wait)
        if not self._left and self._framing == "chunked":
            await self._next_chunk()
        if not self._left:
            return b""
        piece = await self._connection.read(min(self._left, READ_SIZE), wait=self._wait)
        if not piece:
            raise UpstreamError(UpstreamProblem.RESET, "the application broke off in the middle of the body")
        self._left -= len(piece)
        return piece

    async def _next_chunk(self) -> None:
        if self._in_chunk and await self._connection.read_line(wait=self._wait):
            raise UpstreamError(UpstreamProblem.PROTOCOL, "a chunk is longer than it says")
        self._in_chunk = True
        try:
            self._left = chunk_size(await self._connection.read_line(wait=self._wait))
        except ResponseError as error:
            raise UpstreamError(UpstreamProblem.PROTOCOL, str(error)) from None
        if self._left:
            return
        size = 0
        while line := await self._connection.read_line(wait=self._wait):
            size += len(line)
            if size > MAX_TRAILERS:
                raise UpstreamError(UpstreamProblem.PROTOCOL, "the trailers are too large")
        self._framing = "none"


class Upstream:
    """All connections to one application."""

    def __init__(self, origin: str, *, limits: UpstreamLimits, clock: Clock, tls: ssl.SSLContext | None) -> None:
        """`origin` is `http://host:port` or `https://...`; `tls` verifies the latter (None: the system's authorities)."""
        parts = urlsplit(origin)
        self._host: Final = parts.hostname or ""
        secure = parts.scheme == "https"
        self._port: Final = parts.port or (443 if secure else 80)
        self._tls: Final = (tls or ssl.create_default_context()) if secure else None
        self._limits = limits
        self._clock = clock
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._places = asyncio.Semaphore(limits.max_connections)

    async def acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """Return an idle connection, or a new one (always with `fresh`). Raises UpstreamError: CONNECT or TIMEOUT.

        Give it back with `release`, whatever happened.
        """
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable and self._clock.monotonic() - connection.idle_since < self._limits.keep_seconds:
                connection.used = True
                return connection
            self._forget(connection)
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                await self._places.acquire()
                return await self._connect()
        except TimeoutError:
            raise UpstreamError(UpstreamProblem.TIMEOUT, "the application does not accept the connection in time") from None

    async def _connect(self) -> UpstreamConnection:
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=MAX_HEAD)
        except BaseException as error:
            self._places.release()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):  # ssl.SSLError is one too
                raise UpstreamError(UpstreamProblem.CONNECT, "the application can't be reached") from error
            raise
        # A silent stream is legitimate; a dead machine behind it is found by TCP.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = UpstreamConnection(reader, writer, self._limits)
        self._open.add(connection)
        return connection

    def release(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """Take a connection back: keep it when it may carry another request, end it otherwise."""
        if reusable and connection.usable and len(self._idle) < self._limits.keep_connections:
            connection.idle_since = self._clock.monotonic()
            self._idle.append(connection)
        else:
            self._forget(connection)

    def _forget(self, connection: UpstreamConnection) -> None:
        if connection in self._open:
            self._open.remove(connection)
            self._places.release()
        connection.abort()

    async def close(self) -> None:
        """End every connection."""
        self._idle.clear()
        for connection in list(self._open):
            self._forget(connection)
        await asyncio.sleep(0)  # let the transports close their sockets


def _understood(block: bytes, method: str) -> ResponseHead:
    try:
        return parse_head(block, method=method)
    except ResponseError as error:
        raise UpstreamError(UpstreamProblem.PROTOCOL, str(error)) from None

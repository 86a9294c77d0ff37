"""The HTTP/1.1 server under the doors: aiohttp's, with its gaps closed.

- What aiohttp's parser refuses (two Host fields, two framings, a malformed head) never reaches a handler there. Here it is turned
  into a `Refusal` and handed to the door, so that it leaves a record like any other, and is answered by the one mapper.
- aiohttp puts no limit on the time that a request's head may take. Here a head that was begun and is not finished in time is
  refused (HEADERS_TOO_SLOW), and a connection on which nothing is ever said is closed.
- After a refused head nothing that follows on the connection is read as a request. The connection stays half open for a moment,
  so that a client that is still sending gets the reply instead of a reset.
- A body that stops being well-formed in the middle fails the handler that reads it (in aiohttp it waits for ever).
- Requests beyond doubt (`gateway.doors.plain`) can go to a handler of their own without aiohttp's parser, request and task.

The parser is the C one: the pure-Python one has framing flaws of its own (CVE-2026-111750), so its absence is a start-up error.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, BadStatusLine, HttpProcessingError, InvalidHeader, InvalidURLError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.domain.connection import Connection
from gateway.domain.reason import RefuseReason
from gateway.domain.request import DEFAULT_LIMITS, Headers, Limits, RawRequest, Refusal, Request
from gateway.domain.target import parse_target
from gateway.doors.accepting import Acceptor, bind_tcp, bind_unix
from gateway.doors.connection import describe
from gateway.doors.leaving import leave
from gateway.doors.plain import PlainReader
from gateway.doors.reply import Wire, WireResponse
from gateway.kernel.errors import ConfigError

_REQUEST_LINE: Final = re.compile(rb"([A-Z-]{1,32}) ([!-~]{1,8000}) HTTP/1\.[01]\r?\n")
_DUPLICATE: Final = re.compile(r"Duplicate '([A-Za-z-]{1,32})' header found\.")
_SNIFFED: Final = 8_192
LAST_SECONDS: Final = 1.0
"""For what is told to end at the end of a listener's grace."""


class ListenerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a client's head and time a listener takes. Times are seconds."""

    head: Limits = DEFAULT_LIMITS
    field_length: int = 16_384
    """Name and value of one field line."""
    head_seconds: float = 10.0
    """From the first byte of a head to its end; also from the connection to the first byte, and for the TLS handshake."""
    idle_seconds: float = 60.0
    """Between two requests of one connection."""
    linger_seconds: float = 2.0
    """How long a refused connection may still send before it is closed."""


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
RefusedHandler = Callable[[RawRequest, Refusal], Awaitable[WireResponse]]
"""Records a refused head and returns the reply. Must not raise."""
FailedHandler = Callable[[web.BaseRequest, BaseException], WireResponse]
"""Returns the reply to a request whose handler raised."""


class PlainRequest:
    """A whole request without a body that was read without aiohttp."""

    __slots__ = ("client", "headers", "method", "parsed", "raw_path")

    def __init__(self, client: "GatewayProtocol", method: str, raw_path: str, headers: Headers) -> None:
        self.client: Final = client
        self.method: Final = method
        self.raw_path: Final = raw_path
        """The target, byte for byte."""
        self.headers: Final = headers
        """The same object as in the connection's request before, when the fields' bytes are the same."""
        self.parsed: Request | None = None
        """For the handler: the canonical request, once it has taken it."""


class PlainHandler(Protocol):
    """Answers plain requests."""

    def takes(self, request: PlainRequest) -> bool:
        """Whether it answers this one; if not, aiohttp's parser reads it for the usual handler. Must not raise."""
        ...

    def answer(self, request: PlainRequest) -> Awaitable[Wire]:
        """Answer, or return what has been answered already."""
        ...

    def failed(self, request: PlainRequest, error: Exception) -> Wire:
        """Return the reply to a request on which `answer` raised."""
        ...


def assert_parser() -> None:
    """Raise ConfigError unless aiohttp parses requests with its C extension."""
    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise ConfigError(
            "aiohttp runs without its C extension",
            todo="Install a binary wheel of aiohttp, and unset AIOHTTP_NO_EXTENSIONS.",
        )


class BrokenBodyError(Exception):
    """The request's body is not well-formed from some point on."""


class GatewayProtocol(web.RequestHandler):
    """One client connection."""

    __slots__ = (
        "_body", "_deaf", "_gone", "_head", "_head_timer", "_held", "_late", "_listener", "_owed", "_plain",
        "_plain_count", "_reader", "connection", "finished", "memory", "on_half_closed", "on_lost",
    )  # fmt: skip

    def __init__(self, manager: "Listener", **options: Any) -> None:
        super().__init__(manager, **options)
        self._listener = manager
        self._head = b""
        """The beginning of a head that is not complete, for the record of its refusal."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Task[None] | None = None
        self._deaf = False
        self._gone = asyncio.Event()
        self._plain: asyncio.Task[None] | None = None
        """Answers a plain request; aiohttp knows nothing of it, and sees no bytes meanwhile."""
        self._plain_count = 0
        self._held = b""
        """What came meanwhile."""
        self._reader = PlainReader()
        self._body: StreamReader = EMPTY_PAYLOAD
        """Of the newest request that aiohttp's parser has read."""
        self._owed: int | None = 0
        """Bytes of a body that aiohttp's parser is to get yet. None: it may hold the beginning of another request."""
        self.connection = Connection(peer_address="")
        self.memory: object = None
        """For the plain handler: what it wants to remember of this connection."""
        self.on_lost: Callable[[], None] | None = None
        """Called once when the client is gone, while somebody works for it."""
        self.on_half_closed: Callable[[], bool] | None = None
        """Asked whether a client that says nothing more may still wait for its answer."""
        self.finished = False
        """The client says nothing more."""

    # ---- connection

    @property
    def always(self) -> bytes:
        """A header field that every response has, without its line end."""
        return self._listener.always

    @property
    def idle(self) -> bool:
        """Whether it waits for the first byte of a request (`gateway.doors.leaving`)."""
        return self._plain is None and not self._head and self._expects_head()

    @property
    def served(self) -> int:
        """How many heads were read on it."""
        return int(self._request_count) + self._plain_count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first head, but not for ever."""
        super().connection_made(transport)
        self.connection = describe(transport)
        self._start_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake up whoever works for this client."""
        self._stop_timer()
        self._gone.set()
        if self.on_lost is not None:
            self.on_lost()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp never keeps it open
        """Keep the connection open for the answer, if the client has said all of its request (RFC 9112 §9.6).

        Not over TLS, where asyncio can't, and not for a front: those end what nobody waits for any more in just this way.
        """
        transport = self.transport
        if transport is None or not self._listener.half_close or transport.get_extra_info("ssl_object") is not None:
            return False
        working = self._plain is not None or (self._request_count > 0 and (self._waiter is None or self._waiter.done()))
        if not self._body.is_eof():
            return False  # the rest of it will never come: whoever reads it is told so
        if not working or not (self.on_half_closed is None or self.on_half_closed()):
            return False
        self.finished = True
        if self._plain is None:
            self._close = True
        return True

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and watch what comes of it."""
        if self._plain is not None:
            self._hold(data)
            return
        if self._deaf:
            return
        if self._payload_parser is not None:  # a WebSocket's bytes
            super().data_received(data)
            return
        expecting, begun = self._expects_head(), self._head
        if expecting:
            if not begun and self._owed == 0 and self._begin_plain(data):
                return
            self._head = (self._head + data)[:_SNIFFED]
        count = self._request_count
        super().data_received(data)
        self._owed = self._owed_after(data, begun if expecting else None, self._request_count - count)
        if self._request_count > count:
            self._stop_timer()
            self._body = self._messages[-1][1] if self._messages else EMPTY_PAYLOAD
            if isinstance(self._messages[-1][0] if self._messages else None, RawRequestMessage):
                self._head = b""
            elif self._current_request is not None and not self._current_request.content.is_eof():
                # The parser has given up on the body that a handler is reading, and tells nobody else.
                self._current_request.content.set_exception(BrokenBodyError("malformed request body"))
        elif expecting and data and self._head_timer is None:
            self._start_timer()

    def _owed_after(self, data: bytes, begun: bytes | None, heads: int) -> int | None:
        """What aiohttp's parser is owed after `data`, in which it found so many `heads`; `begun` is what it had of the first.

        Only certain when there is one head that came into an empty parser, and a body whose length it says: bytes behind that
        would be the beginning of a request that the plain reader can't see.
        """
        if self._owed is None:
            return None
        if heads == 0:
            owed = self._owed - (0 if begun is not None else len(data))
            return owed if owed >= 0 else None
        message, content = self._messages[-1] if self._messages else (None, None)
        if heads > 1 or begun is None or len(begun) >= _SNIFFED or not isinstance(message, RawRequestMessage):
            return None
        length = "0" if content is EMPTY_PAYLOAD else message.headers.get("Content-Length", "")
        end = (begun + data).find(b"\r\n\r\n")
        if end < 0 or not length.isdecimal():
            return None
        owed = end + 4 + int(length) - len(begun) - len(data)
        return owed if owed >= 0 else None

    # ---- plain requests

    def _begin_plain(self, data: bytes) -> bool:
        """Have a plain request answered; False when it is none, or nobody wants it."""
        handler = self._listener.plain
        if handler is None or self._close or self._force_close:
            return False
        read = self._reader.read(data)
        if read is None:
            return False
        request = PlainRequest(self, *read)
        if not handler.takes(request):
            return False
        self._stop_timer()
        self._plain_count += 1
        self._plain = self._loop.create_task(self._answer_plain(handler, request))
        return True

    async def _answer_plain(self, handler: PlainHandler, request: PlainRequest) -> None:
        keeps = False
        try:
            try:
                wire = await handler.answer(request)
            except Exception as error:  # noqa: BLE001  whatever it was: the handler says how it is answered
                wire = handler.failed(request, error)
            if not wire.started:
                wire.begin(self, method=request.method, piece=wire.body, last=True)
                await self.drained()
            keeps = wire.keeps and not self.leaving
        except ConnectionError:
            keeps = False
        finally:
            self._plain = None
            if not keeps and self.transport is not None:
                self.transport.close()
        if keeps and not self._force_close:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            if self._held:
                self._go_on()

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > _SNIFFED and self.transport is not None:
            self.transport.pause_reading()

    def _go_on(self) -> None:
        data, self._held = self._held, b""
        if len(data) > _SNIFFED and self.transport is not None:
            self.transport.resume_reading()
        self.data_received(data)

    def _process_keepalive(self) -> None:
        if self._plain is None:
            super()._process_keepalive()
        else:  # it is not idle, though aiohttp thinks so
            self._keepalive_handle = self._loop.call_later(self._keepalive_timeout, self._process_keepalive)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109  aiohttp's interface
        """Let a request finish for some seconds, then end it and the connection."""
        plain = self._plain
        if plain is not None:
            self._close = True
            _, late = await asyncio.wait({plain}, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.wait({plain})
        await super().shutdown(timeout)

    # ---- the other way

    @property
    def leaving(self) -> bool:
        """Whether the connection ends after this response. A request that was sent before anybody said so is answered too."""
        return self._close or self._force_close or ((self._listener.leaving or self.finished) and not self._held)

    @property
    def slow(self) -> bool:
        """Whether the client is slower than we are: wait until it has `drained`."""
        return self._paused

    def send(self, data: bytes) -> None:
        """Send bytes without waiting. Raises ConnectionResetError when the client is gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(data)

    async def drained(self) -> None:
        """Wait while the client is slower than we are. Raises ConnectionError when it is gone."""
        if self._paused:
            await self._drain_helper()

    # ---- heads that never become requests

    def _expects_head(self) -> bool:
        """Whether the next byte belongs to a new head: nobody works on a request, and no body is being read to its end."""
        waiting = self._waiter is not None and not self._waiter.done()
        return self._current_request is None and not self._messages and (waiting or self._request_count == 0)

    def _start_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._listener.limits.head_seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        if self.transport is None or not self._expects_head():
            return
        if not self._head:
            self.force_close()  # a connection opened in advance and not used: no request, no record
            return
        self._deaf = True
        self._late = self._loop.create_task(self._refuse_late())

    async def _refuse_late(self) -> None:
        refusal = Refusal(reason=RefuseReason.HEADERS_TOO_SLOW, detail="the request's head was not complete in time")
        try:
            response = await self._listener.on_refused(self.raw_of_head(), refusal)
            if self.transport is not None and not self.transport.is_closing():
                self.transport.write(response.whole(self._listener.always))
                await self.linger()
        finally:
            self.force_close()

    def raw_of_head(self) -> RawRequest:
        """What is known of a head that did not parse: the request line, if it is one."""
        found = _REQUEST_LINE.match(self._head)
        method, target = (found[1].decode("ascii"), found[2].decode("ascii")) if found else ("", "")
        return RawRequest(method=method, target=target, headers=(), connection=describe(self.transport))

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse (status 400), or what a handler raised."""
        if isinstance(exc, HttpProcessingError) and status == 400:  # noqa: PLR2004  aiohttp's word for "did not parse"
            self._deaf = True
            raw = self.raw_of_head()
            return _RefusedHead(self, raw, refusal_of(exc, raw, self._listener.limits))
        response = self._listener.on_failed(request, exc or RuntimeError(message or "unknown"))
        if request.writer.output_size > 0:
            # Part of another response is out; a second head after it would be read as its body, or as the next response.
            self.force_close()
            raise ConnectionError("the response had begun")
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Leave out bodies that are malformed: anybody can send those, and each has its record."""
        if not isinstance(kw.get("exc_info"), BrokenBodyError):
            super().log_exception(*args, **kw)

    async def refuse_head(self, raw: RawRequest, refusal: Refusal) -> WireResponse:
        """Let the door record the refusal and say what to reply."""
        return await self._listener.on_refused(raw, refusal)

    async def linger(self, seconds: float | None = None) -> None:
        """Having answered a client that may still be sending: read on without looking, for a moment."""
        self._deaf = True
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        try:
            async with asyncio.timeout(self._listener.limits.linger_seconds if seconds is None else seconds):
                await self._gone.wait()
        except TimeoutError:
            return


class _RefusedHead(WireResponse):
    """The reply to a head that did not parse: recorded when it is about to be sent."""

    def __init__(self, protocol: GatewayProtocol, raw: RawRequest, refusal: Refusal) -> None:
        super().__init__(status=400, close=True)
        self._protocol = protocol
        self._raw = raw
        self._refusal = refusal

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Record, then send all of the reply."""
        response = await self._protocol.refuse_head(self._raw, self._refusal)
        await request.writer.write(response.whole(self._protocol.always))
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Give the client time to read it."""
        await self._protocol.linger()


def refusal_of(error: HttpProcessingError, raw: RawRequest, limits: ListenerLimits) -> Refusal:
    """Say in our words why aiohttp's parser refused. Its own message quotes what was sent, so it is never passed on."""
    if isinstance(error, LineTooLong):
        if error.args[1] == limits.head.target_length:
            return Refusal(reason=RefuseReason.TARGET_TOO_LONG, detail="the target is too long")
        return Refusal(reason=RefuseReason.HEADERS_TOO_LARGE, detail="a header field is too long")
    if isinstance(error, BadHttpMethod):
        return Refusal(reason=RefuseReason.METHOD, detail="the first word is no method")
    if isinstance(error, InvalidURLError):
        return _refused_target(raw, limits)
    if isinstance(error, BadStatusLine):
        return Refusal(reason=RefuseReason.FRAMING, detail="the request line is not of HTTP/1.1")
    if isinstance(error, InvalidHeader):
        return Refusal(reason=RefuseReason.HEADER_MALFORMED, detail="a malformed header field")
    return _refused_message(error.message)


def _refused_target(raw: RawRequest, limits: ListenerLimits) -> Refusal:
    if raw.target:
        found = parse_target(raw.target, max_length=limits.head.target_length, max_segments=limits.head.segments)
        if isinstance(found, Refusal):
            return found
    return Refusal(reason=RefuseReason.TARGET_BYTES, detail="the target is malformed")


def _refused_message(text: str) -> Refusal:
    # aiohttp tells these apart by text only; an unknown text is FRAMING, which refuses just as well.
    if text == "Missing 'Host' header in request.":
        return Refusal(reason=RefuseReason.HOST_MISSING, detail="no Host field")
    if text == "Too many headers received":
        return Refusal(reason=RefuseReason.HEADERS_TOO_LARGE, detail="too many header fields")
    twice = _DUPLICATE.fullmatch(text)
    if twice is not None and twice[1] == "Host":
        return Refusal(reason=RefuseReason.HOST_DUPLICATE, detail="more than one Host field")
    if twice is not None and twice[1] not in {"Content-Length", "Transfer-Encoding"}:
        return Refusal(reason=RefuseReason.HEADER_MALFORMED, detail=f"more than one {twice[1].lower()} field")
    return Refusal(reason=RefuseReason.FRAMING, detail="the request's head or its framing is malformed")


class Listener(web.Server):
    """Makes connections of one door. Use `listen` to bind it."""

    def __init__(
        self,
        handler: Handler,
        *,
        on_refused: RefusedHandler,
        on_failed: FailedHandler,
        limits: ListenerLimits,
        plain: PlainHandler | None = None,
        always: bytes = b"",
        half_close: bool = False,
    ) -> None:
        """`always`: a header field of every response, as in `gateway.doors.reply.Client`. `half_close`: a client that ends its
        side of the connection still gets its answer. Call it inside the event loop. Raises ConfigError without the C parser.
        """
        assert_parser()
        if limits.field_length == limits.head.target_length:
            raise ConfigError("field_length equals target_length: what was too long could not be told apart")
        super().__init__(handler, request_factory=self._make_our_request)
        self.limits: Final = limits
        self.on_refused: Final = on_refused
        self.on_failed: Final = on_failed
        self.plain: Final = plain
        self.always: Final = always
        self.half_close: Final = half_close
        self._bound: list[Acceptor] = []
        self.leaving = False
        """Whether every connection ends after its next response."""
        self._options: Final[dict[str, Any]] = {
            "keepalive_timeout": limits.idle_seconds,
            "max_line_size": limits.head.target_length,
            "max_field_size": limits.field_length,
            "max_headers": limits.head.header_count,
            "auto_decompress": False,
            "access_log": None,
        }

    def __call__(self) -> GatewayProtocol:
        """Make the protocol of a new connection."""
        return GatewayProtocol(self, loop=asyncio.get_running_loop(), **self._options)

    def leavers(self) -> list[GatewayProtocol]:
        """Return the open connections (`gateway.doors.leaving`)."""
        return [connection for connection in self.connections if isinstance(connection, GatewayProtocol)]

    def coming(self) -> int:
        """Return how many connections were accepted and are not open yet."""
        return sum(acceptor.coming for acceptor in self._bound)

    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Bind a TCP listener and return its port (the one that was chosen, when `port` is 0)."""
        sock = bind_tcp(host, port)
        await self.listen_socket(sock, tls=tls)
        return int(sock.getsockname()[1])

    async def listen_unix(self, path: str) -> None:
        """Bind a unix socket."""
        await self.listen_socket(bind_unix(path))

    async def listen_socket(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Accept on a socket that listens already, TCP or unix, and perhaps for other processes too. It is closed with us."""
        self._bound.append(Acceptor(sock, self, tls=tls, handshake_seconds=self.limits.head_seconds))

    async def close(self, grace_seconds: float, *, idle_seconds: float = 0.0) -> None:
        """Accept nothing more, let requests finish for `grace_seconds`, then end them.

        With `idle_seconds` somebody else accepts on the same socket from now on, and no request may be lost: connections that are
        idle stay open until they were silent for so long (see `gateway.doors.leaving`).
        """
        for acceptor in self._bound:
            acceptor.stop()
        if idle_seconds:
            self.leaving = True
            await leave(self, grace_seconds=grace_seconds, idle_seconds=idle_seconds)
            grace_seconds = LAST_SECONDS
        self.pre_shutdown()
        await self.shutdown(grace_seconds)

    def _make_our_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.Request:
        if self.leaving or (isinstance(protocol, GatewayProtocol) and protocol.finished):
            message = message._replace(should_close=True)
        # A `web.Request`, so that an embedded aiohttp application can be handed the request as it is.
        return web.Request(message, payload, protocol, writer, task, asyncio.get_running_loop())

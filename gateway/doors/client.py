"""One client connection: aiohttp's protocol, with its gaps closed (see `gateway.doors.listener`)."""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.domain.connection import Connection
from gateway.domain.reason import RefuseReason
from gateway.domain.request import RawRequest, Refusal
from gateway.doors.connection import describe
from gateway.doors.plain import PlainReader
from gateway.doors.plain_handler import PlainHandler, PlainRequest
from gateway.doors.refused_heads import refusal_of
from gateway.doors.reply import WireResponse

if TYPE_CHECKING:
    from gateway.doors.listener import Listener

_REQUEST_LINE: Final = re.compile(rb"([A-Z-]{1,32}) ([!-~]{1,8000}) HTTP/1\.[01]\r?\n")
_SNIFFED: Final = 8_192


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
        cutter = self._listener.cutter
        question = cutter.cut(data) if cutter is not None else None
        if question is not None:
            request = PlainRequest(self, question.method, question.target, (), question)
        else:
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

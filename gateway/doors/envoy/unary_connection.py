"""One connection of the gRPC door: unary calls over HTTP/2, of a front that has proved who it is.

Just what a question and its answer need: unary calls without compression, of bounded size, on the gateway's own event loop and
with its own proof of the peer, which a gRPC library's server would not let us ask for (docs/decisions/0012). The HTTP/2 machine
(frames, HPACK, flow control, its limits) is `h2`.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import msgspec

from gateway.domain.reason import RefuseReason
from gateway.domain.refusal import Refusal
from gateway.domain.request import RawRequest
from gateway.doors.connection import describe
from gateway.doors.trust import Fronts

logger = logging.getLogger(__name__)

Metadata = tuple[tuple[str, str], ...]
"""Header fields of a call, lower case, without HTTP/2's own."""
Method = Callable[[bytes, Metadata, str], Awaitable[bytes]]
"""Answers one message; the third argument is the front's proved name. What it raises becomes status INTERNAL."""
Refuse = Callable[[RawRequest, Refusal], Awaitable[object]]
"""Records that a call was not even looked at."""

OK: Final = 0
INVALID_ARGUMENT: Final = 3
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13

_PREFIX: Final = 5
"""Length of a message's prefix: whether it is compressed, and how long it is."""
_SOON: Final = struct.pack("!HBBBIII", 0, 8, 7, 0, 0, 2**31 - 1, 0)
"""A GOAWAY frame that refuses no call yet (RFC 9113 §6.8): the front opens its next connection, which a successor takes."""
_CONNECTION_WINDOW: Final = 1_048_576
"""What all calls of a connection may send beyond HTTP/2's first 64 KiB before they are read."""


class UnaryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a peer's time and memory a listener takes. Times are seconds."""

    message_size: int = 262_144
    concurrent_calls: int = 1024
    """On one connection."""
    handshake_seconds: float = 10.0
    """For TLS, and for the first call of a peer that has not proved itself."""


class BadMessageError(Exception):
    """The message can't be read."""


class Serving:
    """What all connections of a listener share."""

    def __init__(self, *, method: Method, path: str, refuse: Refuse, fronts: Fronts, limits: UnaryLimits) -> None:
        self.method: Final = method
        self.path: Final = path
        self.refuse: Final = refuse
        self.fronts: Final = fronts
        self.limits: Final = limits
        self.connections: Final[set[UnaryConnection]] = set()
        self.tasks: Final[set[asyncio.Task[None]]] = set()

    def start(self, running: Coroutine[Any, Any, None]) -> None:
        """Run a call. The task is retained: no decision is lost half made."""
        task = asyncio.get_running_loop().create_task(running)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class _Call:
    """One stream: what has come in, and what still has to go out."""

    __slots__ = ("body", "headers", "outgoing", "refused", "trailers")

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self.headers = headers
        self.body = bytearray()
        self.refused: int | None = None
        self.outgoing = b""
        self.trailers: list[tuple[str, str]] = []


class UnaryConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._transport: asyncio.Transport | None = None
        self._front = ""
        self._calls: dict[int, _Call] = {}
        self._unused: asyncio.TimerHandle | None = None
        self._deaf = False
        self._heard = 0.0
        # What goes out is only ever our own three fields; what comes in is checked.
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: serving.limits.concurrent_calls,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: serving.limits.message_size + _PREFIX,
            },
        )

    # ---- connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask who it is, and speak HTTP/2."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  what asyncio promises for streams
        self._transport = transport
        self._serving.connections.add(self)
        self._front = self._serving.fronts.prove(transport)
        if not self._front:
            seconds = self._serving.limits.handshake_seconds
            self._unused = asyncio.get_running_loop().call_later(seconds, transport.abort)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the calls; what was begun is decided all the same."""
        if self._unused is not None:
            self._unused.cancel()
        self._serving.connections.discard(self)
        self._calls.clear()
        self._transport = None

    def abort(self) -> None:
        """End the connection, whatever is on its way."""
        if self._transport is not None:
            self._transport.abort()

    def leave_soon(self) -> None:
        """Ask the front to bring its next calls elsewhere; those that still come are answered."""
        if self._transport is not None and not self._transport.is_closing():
            self._flush()
            self._transport.write(_SOON)

    def silent_since(self, moment: float) -> bool:
        """Whether nothing was said since `moment` (monotonic), and nothing is being answered."""
        return not self._calls and self._heard < moment

    def go_away(self) -> None:
        """Say that this is the end, send what was answered, and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._h2.close_connection()
            self._flush()
            self._close()

    def data_received(self, data: bytes) -> None:
        """Take frames, and do what they say."""
        if self._deaf:
            return
        self._heard = asyncio.get_running_loop().time()
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            logger.warning("a front's connection is not well-formed HTTP/2: %s", error)
            self._flush()
            self._close()
            return
        for event in events:
            if not self._deaf:
                self._on(event)
        self._flush()

    def _flush(self) -> None:
        if self._transport is not None:
            data = self._h2.data_to_send()
            if data:
                self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # ---- events

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            self._take(event)
        elif isinstance(event, h2.events.StreamEnded):
            self._ended(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._calls.pop(event.stream_id, None)  # the front does not wait any more; what was decided stays recorded
        elif isinstance(event, h2.events.WindowUpdated) and event.stream_id:
            self._send_more(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            for stream in list(self._calls):
                self._send_more(stream)
        elif isinstance(event, h2.events.ConnectionTerminated) and not self._calls:
            self._close()

    def _begin(self, event: h2.events.RequestReceived) -> None:
        headers = [(str(name), str(value)) for name, value in event.headers]
        self._calls[event.stream_id] = call = _Call(headers)
        if not self._front and not self._deaf:
            self._deaf = True
            self._serving.start(self._refuse(event.stream_id, dict(call.headers)))

    def _take(self, event: h2.events.DataReceived) -> None:
        call = self._calls.get(event.stream_id)
        if call is not None and call.refused is None:
            if len(call.body) + len(event.data) > self._serving.limits.message_size + _PREFIX:
                call.refused = RESOURCE_EXHAUSTED
                call.body.clear()
            else:
                call.body += event.data
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _ended(self, stream: int) -> None:
        call = self._calls.get(stream)
        if call is not None:
            self._serving.start(self._run(stream, call))

    async def _refuse(self, stream: int, fields: dict[str, str]) -> None:
        """Refuse a peer that is nobody, at its first word."""
        connection = describe(self._transport)
        raw = RawRequest(method=fields.get(":method", ""), target=fields.get(":path", ""), headers=(), connection=connection)
        await self._serving.refuse(raw, UNTRUSTED)
        self._end(stream, PERMISSION_DENIED)
        self._close()

    async def _run(self, stream: int, call: _Call) -> None:
        fields = dict(call.headers)
        if fields.get(":method") != "POST" or fields.get(":path") != self._serving.path:
            self._end(stream, UNIMPLEMENTED)
            return
        if call.refused is not None:
            self._end(stream, call.refused)
            return
        message = _message(call.body)
        if message is None:
            self._end(stream, INVALID_ARGUMENT)
            return
        metadata = tuple((name, value) for name, value in call.headers if not name.startswith(":"))
        try:
            answer = await self._serving.method(message, metadata, self._front)
        except BadMessageError:
            self._end(stream, INVALID_ARGUMENT)
        except Exception:
            logger.exception("a question could not be answered")
            self._end(stream, INTERNAL)
        else:
            self._end(stream, OK, answer)

    # ---- answers

    def _end(self, stream: int, status: int, message: bytes | None = None) -> None:
        call = self._calls.get(stream)
        if call is None or self._transport is None:
            return  # reset, or gone
        head = [(":status", "200"), ("content-type", "application/grpc")]
        trailers = [("grpc-status", str(status))]
        try:
            if message is None:
                self._h2.send_headers(stream, head + trailers, end_stream=True)
                del self._calls[stream]
            else:
                self._h2.send_headers(stream, head)
                call.outgoing = b"\0" + len(message).to_bytes(4, "big") + message
                call.trailers = trailers
                self._send_more(stream)
        except h2.exceptions.ProtocolError as error:
            logger.warning("an answer could not be sent: %s", error)
            self._calls.pop(stream, None)
        self._flush()

    def _send_more(self, stream: int) -> None:
        """Send as much of an answer as the front's window takes; the rest when it opens."""
        call = self._calls.get(stream)
        if call is None or not call.trailers:
            return
        while call.outgoing:
            size = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(call.outgoing))
            if size <= 0:
                return
            self._h2.send_data(stream, call.outgoing[:size])
            call.outgoing = call.outgoing[size:]
        self._h2.send_headers(stream, call.trailers, end_stream=True)
        del self._calls[stream]


UNTRUSTED: Final = Refusal(reason=RefuseReason.UNTRUSTED_PEER, detail="the peer is no front that is trusted here")


def _message(body: bytearray) -> bytes | None:
    """The one message of a call; None when there is none, more than one, or a compressed one."""
    if len(body) < _PREFIX or body[0] != 0 or int.from_bytes(body[1:_PREFIX], "big") != len(body) - _PREFIX:
        return None
    return bytes(body[_PREFIX:])

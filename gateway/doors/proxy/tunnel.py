"""WebSockets: after the handshake, bytes pass both ways untouched (frames, subprotocols, compression, pings, close codes).

Frames are only counted, so that when the decision changes a close frame of ours (1008, RFC 6455 §7.4.1) can stand between two of
the application's.
"""

import asyncio
from typing import Final

from gateway.domain.reason import UpstreamProblem
from gateway.doors.proxy.connection import UpstreamConnection, UpstreamError
from gateway.doors.proxy.exchange import Exchange
from gateway.doors.proxy.response import ResponseError, ResponseHead, check_switch
from gateway.doors.reply import Wire

GOODBYE_SECONDS: Final = 0.5
"""From our close frame to the end of the connection."""
CLEAR_UP_SECONDS: Final = 0.5
"""From our close frame to the end of the application's connection, from which nothing is read any more: when thousands are cut at
once, all of them are told before the first is cleared away."""
_CODES: Final = {UpstreamProblem.CUT: (1008, b"access ended"), UpstreamProblem.SHUTDOWN: (1001, b"restarting")}


class FrameCounter:
    """Follows one direction of a WebSocket and knows where frames end (RFC 6455 §5.2)."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self.closed = False
        """Whether a close frame has begun."""

    @property
    def between_frames(self) -> bool:
        """True when the bytes so far end with a whole frame."""
        return not self._header and not self._left

    def feed(self, data: bytes) -> None:
        """Count bytes. Never raises: what is no frame is for the receiver to refuse."""
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
                continue
            missing = self._missing()
            self._header += data[position : position + missing]
            position += missing
            if not self._missing():
                self._begin()

    def _missing(self) -> int:
        """How many bytes of the header are still to come."""
        header = self._header
        if len(header) < 2:  # noqa: PLR2004  the fixed part
            return 2 - len(header)
        length = {126: 2, 127: 8}.get(header[1] & 0x7F, 0) + (4 if header[1] & 0x80 else 0)
        return max(0, 2 + length - len(header))

    def _begin(self) -> None:
        short = self._header[1] & 0x7F
        extended = {126: 2, 127: 8}.get(short, 0)
        self._left = int.from_bytes(self._header[2 : 2 + extended], "big") if extended else short
        self.closed = self.closed or self._header[0] & 0x0F == 8  # noqa: PLR2004  opcode of a close frame
        self._header = b""


def close_frame(code: int, reason: bytes) -> bytes:
    """Return a server's close frame."""
    payload = code.to_bytes(2, "big") + reason
    return bytes((0x88, len(payload))) + payload


class TunnelExchange(Exchange):
    """An allowed WebSocket handshake and what follows it."""

    _frames: FrameCounter | None = None
    _clearing: asyncio.TimerHandle | None = None

    async def carry(self) -> Wire:
        """Shake hands with the application, then let bytes pass until either side ends."""
        connection = await self.connect(fresh=True)
        connection.send(self.head((("Connection", "Upgrade"), ("Upgrade", "websocket"))))
        head = await self.wait_for_head(connection)
        if head.status != 101:  # noqa: PLR2004  switching protocols
            return await self.stream(head)
        self._check(head)
        client = self.client
        own = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        self.status = 101
        self.response = response = Wire(status=101, reason=head.reason, fields=head.passed + own, close=True)
        response.begin(client, method="GET", piece=b"", last=False)
        self.wait(self.silence)
        self._frames = FrameCounter()
        sender = _Sender(self, connection)
        client.keep_alive(False)
        client.set_parser(sender)  # type: ignore[arg-type]  # aiohttp asks for its WebSocketReader and uses these two methods
        try:
            await self._receive(connection, self._frames)
        except UpstreamError:
            if self.problem not in _CODES:
                raise
        finally:
            sender.stop()
            if self._clearing is not None:
                self._clearing.cancel()
        if self.problem in _CODES:
            await client.linger(GOODBYE_SECONDS)
        return response

    def _check(self, head: ResponseHead) -> None:
        try:
            check_switch(
                head,
                key=self.request.header("sec-websocket-key") or "",
                protocols=self.request.header("sec-websocket-protocol"),
                extensions=self.request.header("sec-websocket-extensions"),
            )
        except ResponseError as error:
            raise UpstreamError(UpstreamProblem.PROTOCOL, str(error)) from None

    async def _receive(self, connection: UpstreamConnection, frames: FrameCounter) -> None:
        client = self.client
        while (data := await connection.read()) and not self.ended:
            frames.feed(data)
            self.bytes_out += len(data)
            client.send(data)
            if client.slow:
                self.wait(self.patience, client=True)
                await client.drained()
            self.wait(self.silence)

    @property
    def silence(self) -> float | None:
        """How long both sides may be silent; None: for ever."""
        return self.allow.route.idle_seconds or None

    def end(self, problem: UpstreamProblem) -> None:
        """End both sides; tell the client why where a frame of ours can stand."""
        transport = self.client.transport
        if self._clearing is not None and problem is UpstreamProblem.CLIENT_GONE:
            self._clear_up()  # it has answered our close frame, or is just gone
        if self.ended or self._frames is None or transport is None or problem not in _CODES:
            if problem is UpstreamProblem.CLIENT_GONE and self._frames is not None and self._frames.closed:
                problem = UpstreamProblem.NONE  # the closing handshake was done: this is how a WebSocket ends
            super().end(problem)
            return
        if not self._frames.between_frames:
            super().end(problem)
            return
        self.mark_ended(problem)
        transport.write(close_frame(*_CODES[problem]))
        if problem is UpstreamProblem.CUT:
            self._clearing = asyncio.get_running_loop().call_later(CLEAR_UP_SECONDS, self._clear_up)
        else:
            self._clear_up()

    def _clear_up(self) -> None:
        if self._clearing is not None:
            self._clearing.cancel()
        if self.connection is not None:
            self.connection.abort()


class _Sender:
    """What aiohttp feeds the client's bytes to after the handshake."""

    def __init__(self, exchange: TunnelExchange, connection: UpstreamConnection) -> None:
        self._exchange = exchange
        self._connection = connection
        self._waiting: asyncio.Task[None] | None = None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass bytes on; stop reading from the client while the application is slower."""
        if self._exchange.ended:
            return False, b""
        self._exchange.bytes_in += len(data)
        if self._exchange.silence is not None:
            self._exchange.wait(self._exchange.silence)
        if not self._connection.post(bytes(data)) and self._waiting is None:
            transport = self._exchange.client.transport
            if transport is not None:
                transport.pause_reading()
                self._waiting = asyncio.get_running_loop().create_task(self._resume(transport))
        return False, b""

    async def _resume(self, transport: asyncio.Transport) -> None:
        try:
            async with asyncio.timeout(self._exchange.patience):
                await self._connection.drained()
        except TimeoutError:
            self._exchange.end(UpstreamProblem.TIMEOUT)
            return
        except UpstreamError as error:
            self._exchange.end(error.problem)
            return
        finally:
            self._waiting = None
        if not transport.is_closing():
            transport.resume_reading()

    def feed_eof(self) -> None:
        """The client is gone; the protocol's `on_lost` has told the exchange."""

    def stop(self) -> None:
        """Stop waiting for the application."""
        if self._waiting is not None:
            self._waiting.cancel()

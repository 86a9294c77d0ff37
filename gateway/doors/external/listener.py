"""The listener of a door that is asked: who asks is proved before anything that is said counts."""

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.domain.connection import Connection
from gateway.domain.decision import Unavailable
from gateway.domain.reason import RefuseReason, UnavailableReason
from gateway.domain.request import RawRequest, Refusal
from gateway.doors.connection import connection_of
from gateway.doors.contract import Present
from gateway.doors.external.core import Asking
from gateway.doors.limits import ListenerLimits
from gateway.doors.listener import Listener
from gateway.doors.plain_handler import PlainRequest
from gateway.doors.repeated import Cutter, Question
from gateway.doors.reply import Wire, WireResponse, from_reply
from gateway.doors.trust import Fronts
from gateway.kernel.ids import new_id

logger = logging.getLogger(__name__)

Answer = Callable[[web.BaseRequest | None, RawRequest, str], Awaitable[WireResponse | Wire]]
"""Answers the question of a front that has proved itself; its name is the third argument. `raw` is the question's own request.
The first is None for a question that has no body and was read without aiohttp.
"""

Quick = Callable[[Question, str], Awaitable[Wire] | None]
"""Answers a question as `Answer` would, with what is known of the lines that it repeats; None when it has to be looked at."""


class FrontListener:
    """Listens for fronts. `listen`, `listen_unix` or `listen_socket`, and `close` once."""

    def __init__(
        self,
        answer: Answer,
        *,
        asking: Asking,
        present: Present,
        fronts: Fronts,
        limits: ListenerLimits,
        quick: Quick | None = None,
        cutter: Cutter | None = None,
    ) -> None:
        """`cutter`: where most of a question's head repeats; what it takes is shown to `quick` first."""
        self._answer = answer
        self._quick = quick
        self.cutter: Final = cutter
        self._asking = asking
        self._present = present
        self._fronts = fronts
        self._limits: Final = limits
        self._listener: Listener | None = None

    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext) -> int:
        """Serve on an address with mTLS (`gateway.doors.tls.mutual_context`); returns the port."""
        return await self._ready().listen(host, port, tls=tls)

    async def listen_unix(self, path: str) -> None:
        """Serve on a unix socket. The file's place and mode are the caller's; who asks is checked by user id (SO_PEERCRED)."""
        await self._ready().listen_unix(path)

    async def listen_socket(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a socket that is bound already: a unix socket, or with `tls` a TCP one."""
        await self._ready().listen_socket(sock, tls=tls)

    def _ready(self) -> Listener:
        if self._listener is None:
            self._listener = Listener(
                self._handle,
                on_refused=self.head_refused,
                on_failed=self._failed,
                limits=self._limits,
                plain=_Plain(self),
                cutter=self.cutter,
            )
        return self._listener

    async def close(self, grace_seconds: float = 5.0, *, idle_seconds: float = 0.0) -> None:
        """Accept nothing more and finish (as `gateway.doors.listener.Listener.close`). Safe to call twice."""
        if self._listener is not None:
            await self._listener.close(grace_seconds, idle_seconds=idle_seconds)
            self._listener = None

    def prove(self, transport: object) -> str:
        """Return which front is at the other end; empty when it is none that is trusted here."""
        return self._fronts.prove(transport)

    def answer_plain(self, request: PlainRequest, front: str) -> Awaitable[Wire]:
        """Answer a question without a body."""
        quick = self._quick(request.question, front) if self._quick is not None and request.question is not None else None
        return self._answer_plain(request, front) if quick is None else quick

    async def _answer_plain(self, request: PlainRequest, front: str) -> Wire:
        raw = RawRequest(
            method=request.method, target=request.raw_path, headers=request.headers, connection=request.client.connection
        )
        answer = await self._answer(None, raw, front)
        return answer if isinstance(answer, Wire) else answer.wire

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        raw = RawRequest(
            method=http.method, target=http.raw_path, headers=tuple(http.headers.items()), connection=connection_of(http)
        )
        front = self._fronts.prove(http.transport)
        if not front:
            refusal = Refusal(reason=RefuseReason.UNTRUSTED_PEER, detail="the peer is no front that is trusted here")
            return await self.refuse(raw, refusal)
        answer = await self._answer(http, raw, front)
        return WireResponse(wire=answer) if isinstance(answer, Wire) else answer

    async def refuse(self, raw: RawRequest, refusal: Refusal) -> WireResponse:
        """Record that a question was not even decided, answer so, and end the connection."""
        return from_reply(self._asking.reply(await self._asking.refuse(raw, refusal)), close=True)

    async def head_refused(self, raw: RawRequest, refusal: Refusal) -> WireResponse:
        """Answer a question whose head did not parse; nobody has proved anything yet."""
        return await self.refuse(raw, refusal)

    def _failed(self, http: web.BaseRequest, error: BaseException) -> WireResponse:
        return self.failed(http.method, http.raw_path, error)

    def failed(self, method: str, target: str, error: BaseException) -> WireResponse:
        """Return the answer to a question on which our own code failed: nobody is let in."""
        decision = Unavailable(id=new_id("dec"), reason=UnavailableReason.INTERNAL)
        logger.error("request failed, reference %s", decision.id, exc_info=error)
        raw = RawRequest(method=method, target=target, headers=(), connection=Connection(peer_address=""))
        return from_reply(self._present.reply(decision, request=None, raw=raw), close=True)


class _Plain:
    """Questions without a body of a front that has proved itself. Every other goes the usual way, and is refused there."""

    def __init__(self, listener: FrontListener) -> None:
        self._listener = listener

    def takes(self, request: PlainRequest) -> bool:
        """Whether a front has proved itself on this connection."""
        client = request.client
        if not client.memory:
            # Who is at the other end does not change while a connection lasts.
            client.memory = self._listener.prove(client.transport)
        return bool(client.memory)

    def answer(self, request: PlainRequest) -> Awaitable[Wire]:
        """Answer one that was taken."""
        return self._listener.answer_plain(request, str(request.client.memory))

    def failed(self, request: PlainRequest, error: Exception) -> Wire:
        """Say that something of ours is broken."""
        return self._listener.failed(request.method, request.raw_path, error).wire

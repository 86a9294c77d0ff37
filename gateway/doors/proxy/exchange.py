"""One allowed request on its way to the application and back: streamed both ways, under its decision all the while.

Times are watched from outside: `Exchanges` looks a few times a second at all that are open (a timer for each would cost more than
everything else here together).
"""

import asyncio
import logging
import math
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.streams import StreamReader

from gateway.domain.decision import Allow
from gateway.domain.reason import UpstreamProblem
from gateway.domain.request import Request
from gateway.doors.client import BrokenBodyError
from gateway.doors.proxy.around import Asked, ClientBodyError, Surroundings
from gateway.doors.proxy.connection import Body, UpstreamConnection, UpstreamError
from gateway.doors.proxy.head import client_fields, request_framing, request_head
from gateway.doors.proxy.response import ResponseHead
from gateway.doors.proxy.upstream import Upstream
from gateway.doors.reply import Wire, wire_of

logger = logging.getLogger(__name__)

WATCH_AFTER_SECONDS: Final = 0.25
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NEVER: Final = math.inf
_SWITCHING: Final = int(HTTPStatus.SWITCHING_PROTOCOLS)
_NO_PROBLEM: Final = UpstreamProblem.NONE


class Exchange:
    """Carries one allowed request. Use once: `run`, and from outside `end`."""

    problem = _NO_PROBLEM
    status = 0
    bytes_in = 0
    bytes_out = 0
    response: Wire | None = None
    connection: UpstreamConnection | None = None
    due: float = _NEVER
    """When what is being waited for is late, on the monotonic clock."""
    _ended = False
    _watching: "asyncio.Task[None] | None" = None
    _uploading: "asyncio.Task[bool] | None" = None
    _events = False
    """Whether the answer is a stream of events."""
    _to_client = False
    """Whether it is the client that is being waited for."""

    def __init__(self, asked: Asked, allow: Allow, *, upstream: Upstream, authority: str, around: Surroundings) -> None:
        self.asked: Final = asked
        self.client: Final = asked.client
        self.allow: Final = allow
        self.request: Final[Request] = allow.request
        self.limits: Final = around.limits
        self.began: float = around.clock.monotonic()
        self._upstream = upstream
        self._authority = authority
        self._around = around

    # ---- frame: watch, record, clean up

    async def run(self) -> Wire:
        """Carry the request, and return what was (or is to be) sent. Its completion is recorded, whatever happens.

        Raises ClientBodyError when the client's body was malformed and nothing was sent yet.
        """
        client, exchanges = self.client, self._around.exchanges
        client.on_lost, client.on_half_closed = self._client_lost, self._may_wait
        exchanges.add(self)
        try:
            if client.transport is None:  # it left while we decided
                self.end(UpstreamProblem.CLIENT_GONE)
            else:
                return await self.carry()
        except UpstreamError as error:
            return self._failed(error)
        except asyncio.CancelledError:
            self.end(UpstreamProblem.SHUTDOWN)
            raise
        except ConnectionError:
            # Writing to the client failed; the application's side never raises this (it raises UpstreamError).
            self.end(UpstreamProblem.CLIENT_GONE)
        except ClientBodyError:
            self.problem = UpstreamProblem.CLIENT_GONE
            if self.response is None:
                raise
            self.end(UpstreamProblem.CLIENT_GONE)
        except Exception:
            self.status = self.status or HTTPStatus.SERVICE_UNAVAILABLE
            if self.response is None:
                raise
            logger.exception("decision %s: unexpected error in the middle of a response", self.allow.id)
            self.end(UpstreamProblem.RESET)
        finally:
            client.on_lost = client.on_half_closed = None
            exchanges.discard(self)
            self._clean_up()
        return self._stopped()

    def _clean_up(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if self._uploading is not None:
            self._uploading.cancel()
        if self.connection is not None:
            self._upstream.release(self.connection, reusable=False)
        if self.response is not None:
            self.bytes_out = max(self.bytes_out, self.response.bytes_out)
        self._around.pipeline.completed(
            self.allow,
            status=self.status,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            started=self.began,
            problem=self.problem,
        )

    def tick(self, now: float) -> None:
        """Look at the clock: begin to watch, or end what is late."""
        if self._watching is None and now - self.began >= WATCH_AFTER_SECONDS:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        if now >= self.due:
            self.due = _NEVER
            self._late()
        total = self.allow.route.total_seconds
        if total and now >= self.began + total and self.connection is not None and not self._ended:
            if self.response is None:
                self.connection.fail(UpstreamError(UpstreamProblem.TIMEOUT, "it took longer than its route allows"))
            else:
                self.end(UpstreamProblem.TIMEOUT)

    @property
    def patience(self) -> float:
        """How long either side may be silent in the middle of something."""
        return self.allow.route.idle_seconds or self.limits.stall_seconds

    def _late(self) -> None:
        if self._to_client or self.connection is None:
            # A client that reads nothing holds the application's connection.
            self.end(UpstreamProblem.CLIENT_GONE)
        elif self.response is None:
            self.connection.fail(UpstreamError(UpstreamProblem.TIMEOUT, "the application does not answer in time"))
        else:
            self.connection.fail(UpstreamError(UpstreamProblem.TIMEOUT, "the application stalled"))

    async def _watch(self) -> None:
        # To watch means to be decided again. Most exchanges are over before that is worth anything; and what changed between the
        # decision and now is seen here too, because a watch begins with another decision.
        with self._around.pipeline.watch(self.allow) as watch:
            await watch.cut.wait()
            logger.info("decision %s no longer holds (%s): ending its stream", self.allow.id, watch.why)
            self.end(UpstreamProblem.CUT)

    def _client_lost(self) -> None:
        self.end(UpstreamProblem.CLIENT_GONE)

    def _may_wait(self) -> bool:
        """Whether a client that says nothing more may still have the answer: not to half a request, and not a stream for ever."""
        return self._client_may_go_on() and not self._events

    def end(self, problem: UpstreamProblem) -> None:
        """End both sides at once. The first reason stays; nothing after it is sent or read."""
        if self._ended:
            return
        self.mark_ended(problem)
        if self.connection is not None:
            self.connection.abort()
        if self.response is not None:
            self.response.give_up()
        if self.client.transport is not None:
            self.client.transport.abort()

    def mark_ended(self, problem: UpstreamProblem) -> None:
        """Note why it ends, for the record."""
        self._ended = True
        self.problem = problem

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def _failed(self, error: UpstreamError) -> Wire:
        if self._ended:
            return self._stopped()
        self.problem = error.problem
        logger.warning("decision %s: %s", self.allow.id, error)
        if self.response is not None and self.response.started:
            # Part of a body is out: the only honest thing left is not to end it.
            self.response.give_up()
            if self.client.transport is not None:
                self.client.transport.abort()
            return self.response
        reply = wire_of(self._around.present.upstream_problem(error.problem, self.request, self.allow.id), close=True)
        self.status = reply.status
        return reply

    def _stopped(self) -> Wire:
        if self.response is None:
            self.response = Wire(status=502, close=True)
        self.response.give_up()
        return self.response

    # ---- the request itself

    async def carry(self) -> Wire:
        """Send the request, then stream the response. Overridden for WebSockets."""
        asked = self.asked
        if asked.content is not None:
            framing, has_body = request_framing(self.request)
            return await self.stream(await self._ask(self.head(framing), has_body=has_body))
        connection = self._upstream.kept()
        if connection is None:
            return await self.stream(await self._ask(self.head(), has_body=False))
        # The usual case, with few steps: a request without a body on a kept connection.
        self.connection = connection
        head = self.head()
        try:
            connection.send(head)
            self.wait(self.allow.route.idle_seconds or self.limits.response_seconds)
            answer = self._expected(await connection.read_head(self.request.method))
        except UpstreamError as error:
            answer = await self._again(connection, head, error)
        return await self.stream(answer)

    def head(self, more: tuple[tuple[str, str], ...] = ()) -> bytes:
        """Return the head for the application; `more` is framing or the upgrade."""
        fields = self.asked.fields
        if fields is None:
            fields = client_fields(self.request.headers, self.request.connection, self._authority)
        return request_head(self.request, fields, (*self._around.pipeline.outgoing(self.allow), *more))

    async def connect(self, *, fresh: bool) -> UpstreamConnection:
        """Get a connection. If the exchange ended meanwhile, nothing is sent on it."""
        kept = None if fresh else self._upstream.kept()
        self.connection = kept or await self._upstream.connect()
        if self._ended:
            raise UpstreamError(self.problem, "ended while connecting")
        return self.connection

    async def _ask(self, head: bytes, *, has_body: bool) -> ResponseHead:
        # What may not be sent twice never goes on a kept connection: the application may be closing it this very moment.
        repeatable = self.request.method in IDEMPOTENT and not has_body
        connection = (self._upstream.kept() if repeatable else None) or await self.connect(fresh=True)
        self.connection = connection
        try:
            connection.send(head)
            return await self._answer_to_body(connection) if has_body else await self.wait_for_head(connection)
        except UpstreamError as error:
            if not repeatable:
                raise
            return await self._again(connection, head, error)

    async def _again(self, connection: UpstreamConnection, head: bytes, error: UpstreamError) -> ResponseHead:
        """Ask once more on a new connection, if the first one had died before it was used; otherwise raise the error."""
        died_idle = connection.used and connection.silent and error.problem is UpstreamProblem.RESET
        if self._ended or not died_idle:
            raise error
        self._upstream.release(connection, reusable=False)
        self.connection = None
        self.wait(None)  # connecting has its own limit
        connection = await self.connect(fresh=True)
        connection.send(head)
        return await self.wait_for_head(connection)

    def wait(self, seconds: float | None, *, client: bool = False) -> None:
        """Note how long what follows may take (None: for ever), and whether it is the client that is waited for."""
        self.due = _NEVER if seconds is None else self._around.clock.monotonic() + seconds
        self._to_client = client

    async def wait_for_head(self, connection: UpstreamConnection) -> ResponseHead:
        """Read the response's head within its time limit."""
        self.wait(self.allow.route.idle_seconds or self.limits.response_seconds)
        return self._expected(await connection.read_head(self.request.method))

    def _expected(self, head: ResponseHead) -> ResponseHead:
        if head.status == _SWITCHING and not self.request.websocket:
            raise UpstreamError(UpstreamProblem.PROTOCOL, "the application switches protocols without being asked")
        return head

    async def _answer_to_body(self, connection: UpstreamConnection) -> ResponseHead:
        """Send the body, and return the response's head, which may come before the body's end (413, 401, an echo)."""
        loop = asyncio.get_running_loop()
        self._uploading = upload = loop.create_task(self._upload(connection))
        answer = loop.create_task(connection.read_head(self.request.method))
        for task in (upload, answer):
            task.add_done_callback(_look)  # both may fail at once, and only one of them is asked
        try:
            await asyncio.wait({upload, answer}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                upload.result()  # raises what was wrong with the client's body
                self.wait(self.allow.route.idle_seconds or self.limits.response_seconds)
                await asyncio.wait({answer})
            upload.add_done_callback(self._upload_ended)
            return self._expected(answer.result())
        finally:
            if not answer.done():
                answer.cancel()

    def _upload_ended(self, upload: "asyncio.Task[bool]") -> None:
        if not upload.cancelled() and upload.exception() is not None:
            self.end(UpstreamProblem.CLIENT_GONE)

    async def _upload(self, connection: UpstreamConnection) -> bool:
        """Send the body on. True when all of it was sent; False when the application stopped listening."""
        content = self.asked.content
        if content is None:
            return True
        if (self.request.header("expect") or "").lower() == "100-continue" and self.asked.modern:
            self.client.send(CONTINUE)
        chunked = self.request.header("content-length") is None
        while piece := await self._piece(content):
            self.bytes_in += len(piece)
            if not await self._pass_on(connection, b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece):
                return False
        return await self._pass_on(connection, b"0\r\n\r\n") if chunked else True

    async def _piece(self, content: StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._around.body_seconds):
                return await content.readany()
        except (BrokenBodyError, web.RequestPayloadError) as error:
            raise ClientBodyError("the client's body is malformed") from error
        except OSError as error:  # the connection broke, or our own time limit
            raise ConnectionResetError("the client stopped sending") from error

    async def _pass_on(self, connection: UpstreamConnection, data: bytes) -> bool:
        """Send a piece of the body; False when the application has ended: its answer, if it gave one, decides."""
        try:
            connection.send(data)
            async with asyncio.timeout(self.patience):
                await connection.drained()
        except TimeoutError:
            raise UpstreamError(UpstreamProblem.TIMEOUT, "the application stalled") from None
        except UpstreamError as error:
            if error.problem is UpstreamProblem.TIMEOUT:
                raise
            return False
        return True

    async def stream(self, head: ResponseHead) -> Wire:
        """Send the response on as it arrives."""
        connection = self.connection
        if connection is None:
            raise UpstreamError(UpstreamProblem.RESET, "the connection is gone")
        self.status, self._events = head.status, head.events
        asked = self.asked
        self.response = response = Wire(
            status=head.status,
            reason=head.reason,
            fields=head.passed,
            length=head.length if head.framing in {"length", "none"} else None,
            close=not self._client_may_go_on(),
        )
        body = Body(connection, head)
        first = body.ready()
        response.begin(self.client, method=self.request.method, modern=asked.modern, keep=asked.keep, piece=first, last=body.done)
        if not body.done:
            await self._rest(
                body, response, self.allow.route.idle_seconds or (None if head.events else self.limits.stall_seconds)
            )
        if self.client.slow:
            self.wait(self.patience, client=True)
            await self.client.drained()
        upload = self._uploading
        if upload is not None and upload.done() and upload.result():
            connection.finish()
        # Where a body was read differently than it was meant, what comes next answers a request that nobody made: not kept.
        self._upstream.release(connection, reusable=head.reusable and upload is None)
        self.connection = None
        return response

    async def _rest(self, body: Body, response: Wire, patience: float | None) -> None:
        while not body.done:
            if self.client.slow:
                self.wait(self.patience, client=True)
                await self.client.drained()
            self.wait(patience)
            response.write(await body.read())
        response.finish()

    def _client_may_go_on(self) -> bool:
        """Whether another request may follow on the client's connection: its body has to be at its end by then."""
        content = self.asked.content
        return (content is None or content.is_eof()) and not self.request.websocket


def _look(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()

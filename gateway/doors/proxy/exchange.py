"""One allowed request on its way to the application and back: streamed both ways, under its decision all the while."""

import asyncio
import logging
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from gateway.domain.decision import Allow
from gateway.domain.headers import RawHeaders, response_headers, upstream_headers
from gateway.domain.reason import UpstreamProblem
from gateway.domain.request import Request
from gateway.doors.contract import Pipeline, Present
from gateway.doors.listener import BrokenBodyError, GatewayProtocol
from gateway.doors.proxy.response import ResponseHead
from gateway.doors.proxy.upstream import Body, Upstream, UpstreamConnection, UpstreamError, UpstreamLimits
from gateway.doors.reply import WireResponse, from_reply
from gateway.kernel.clock import Clock

logger = logging.getLogger(__name__)

WATCH_AFTER_SECONDS: Final = 0.25
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class ClientBodyError(Exception):
    """The client's body stopped being well-formed. Answer it as a refusal."""


class Exchange:
    """Carries one allowed request. Use once: `run`, and from outside `end`."""

    def __init__(
        self,
        *,
        http: web.BaseRequest,
        allow: Allow,
        upstream: Upstream,
        authority: str,
        pipeline: Pipeline,
        present: Present,
        limits: UpstreamLimits,
        body_seconds: float,
        clock: Clock,
    ) -> None:
        self.http: Final = http
        self.allow: Final = allow
        self.request: Final[Request] = allow.request
        self.problem = UpstreamProblem.NONE
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.response: WireResponse | None = None
        self.connection: UpstreamConnection | None = None
        self._upstream = upstream
        self._authority = authority
        self._pipeline = pipeline
        self._present = present
        self._limits = limits
        self._body_seconds = body_seconds
        self._clock = clock
        self._started = clock.monotonic()
        self._ended = False
        self._watching: asyncio.Task[None] | None = None
        self._uploading: asyncio.Task[bool] | None = None

    # ---- frame: watch, record, clean up

    async def run(self) -> web.StreamResponse:
        """Carry the request, and return what was (or is to be) sent. Its completion is recorded, whatever happens.

        Raises ClientBodyError when the client's body was malformed and nothing was sent yet.
        """
        protocol = self.http.protocol
        if isinstance(protocol, GatewayProtocol):
            protocol.on_lost = self._client_lost
        timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._start_watching)
        try:
            return await self._guarded()
        finally:
            timer.cancel()
            for task in (self._watching, self._uploading):
                if task is not None:
                    task.cancel()
            if isinstance(protocol, GatewayProtocol):
                protocol.on_lost = None
            if self.connection is not None:
                self._upstream.release(self.connection, reusable=False)
            if self.response is not None:
                self.bytes_out = max(self.bytes_out, self.response.bytes_out)
            self._pipeline.completed(
                self.allow,
                status=self.status,
                bytes_in=self.bytes_in,
                bytes_out=self.bytes_out,
                started=self._started,
                problem=self.problem,
            )

    async def _guarded(self) -> web.StreamResponse:
        try:
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
        return self._stopped()

    def _start_watching(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        # To watch means to be decided again. Most exchanges are over before that is worth anything; and what changed between the
        # decision and now is seen here too, because a watch begins with another decision.
        with self._pipeline.watch(self.allow) as watch:
            await watch.cut.wait()
            logger.info("decision %s no longer holds (%s): ending its stream", self.allow.id, watch.why)
            self.end(UpstreamProblem.CUT)

    def _client_lost(self) -> None:
        self.end(UpstreamProblem.CLIENT_GONE)

    def end(self, problem: UpstreamProblem) -> None:
        """End both sides at once. The first reason stays; nothing after it is sent or read."""
        if self._ended:
            return
        self.mark_ended(problem)
        if self.connection is not None:
            self.connection.abort()
        if self.response is not None:
            self.response.give_up()
        if self.http.transport is not None:
            self.http.transport.abort()

    def mark_ended(self, problem: UpstreamProblem) -> None:
        """Note why it ends, for the record."""
        self._ended = True
        self.problem = problem

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def _failed(self, error: UpstreamError) -> web.StreamResponse:
        if self._ended:
            return self._stopped()
        self.problem = error.problem
        logger.warning("decision %s: %s", self.allow.id, error)
        if self.response is not None and self.response.started:
            # Part of a body is out: the only honest thing left is not to end it.
            self.response.give_up()
            if self.http.transport is not None:
                self.http.transport.abort()
            return self.response
        reply = from_reply(self._present.upstream_problem(error.problem, self.request, self.allow.id), close=True)
        self.status = reply.status
        return reply

    def _stopped(self) -> web.StreamResponse:
        if self.response is None:
            self.response = WireResponse(status=502, headers=[], close=True)
        self.response.give_up()
        return self.response

    # ---- the request itself

    async def carry(self) -> web.StreamResponse:
        """Send the request, then stream the response. Overridden for WebSockets."""
        framing, has_body = self._request_framing()
        return await self.stream(await self._ask(self.request_head(framing), has_body=has_body))

    def _request_framing(self) -> tuple[list[tuple[str, str]], bool]:
        length = self.request.header("content-length")
        if length is not None:
            return [("Content-Length", length)], bool(length.strip("0"))
        if self.request.header("transfer-encoding") is not None:
            return [("Transfer-Encoding", "chunked")], True
        return [], False

    def request_head(self, more: list[tuple[str, str]]) -> bytes:
        """Return the head for the application; `more` is framing or the upgrade."""
        connection = self.request.connection
        forwarded = [
            ("X-Forwarded-For", connection.peer_address),
            ("X-Forwarded-Proto", "https" if connection.tls else "http"),
            ("X-Forwarded-Host", self._authority),
        ]
        fields = upstream_headers(
            self.request.headers, authority=self._authority, forwarded=forwarded, own=self._pipeline.outgoing(self.allow)
        )
        lines = [f"{self.request.method} {self.request.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (*fields, *more)]
        if any("\r" in line or "\n" in line or "\0" in line for line in lines):
            raise ValueError("a header field for the upstream holds a line break")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")

    async def connect(self, *, fresh: bool) -> UpstreamConnection:
        """Get a connection. If the exchange ended meanwhile, nothing is sent on it."""
        self.connection = await self._upstream.acquire(fresh=fresh)
        if self._ended:
            raise UpstreamError(self.problem, "ended while connecting")
        return self.connection

    async def _ask(self, head: bytes, *, has_body: bool) -> ResponseHead:
        # What may not be sent twice never goes on a kept connection: the application may be closing it this very moment.
        repeatable = self.request.method in IDEMPOTENT and not has_body
        connection = await self.connect(fresh=not repeatable)
        try:
            await connection.send(head)
            return await self._answer_to_body(connection) if has_body else await self.wait_for_head(connection)
        except UpstreamError as error:
            if self._ended or not repeatable or not connection.used or error.problem is not UpstreamProblem.RESET:
                raise
        self._upstream.release(connection, reusable=False)
        connection = await self.connect(fresh=True)
        await connection.send(head)
        return await self.wait_for_head(connection)

    async def wait_for_head(self, connection: UpstreamConnection) -> ResponseHead:
        """Read the response's head within its time limit."""
        try:
            async with asyncio.timeout(self._limits.response_seconds):
                head = await connection.read_head(self.request.method)
        except TimeoutError:
            raise UpstreamError(UpstreamProblem.TIMEOUT, "the application does not answer in time") from None
        return self._expected(head)

    def _expected(self, head: ResponseHead) -> ResponseHead:
        if head.status == HTTPStatus.SWITCHING_PROTOCOLS and not self.request.websocket:
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
                await asyncio.wait({answer}, timeout=self._limits.response_seconds)
            if not answer.done():
                raise UpstreamError(UpstreamProblem.TIMEOUT, "the application does not answer in time")
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
        if (self.request.header("expect") or "").lower() == "100-continue" and self.http.version >= (1, 1):
            await self.http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunked = self.request.header("content-length") is None
        content = self.http.content
        while True:
            try:
                async with asyncio.timeout(self._body_seconds):
                    piece = await content.readany()
            except (BrokenBodyError, web.RequestPayloadError) as error:
                raise ClientBodyError("the client's body is malformed") from error
            except OSError as error:  # the connection broke, or our own time limit
                raise ConnectionResetError("the client stopped sending") from error
            try:
                if not piece:
                    if chunked:
                        await connection.send(b"0\r\n\r\n")
                    return True
                self.bytes_in += len(piece)
                await connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            except UpstreamError as error:
                if error.problem is UpstreamProblem.TIMEOUT:
                    raise
                return False  # it may have answered already: that answer decides

    async def stream(self, head: ResponseHead) -> web.StreamResponse:
        """Send the response on as it arrives."""
        connection = self.connection
        if connection is None:
            raise UpstreamError(UpstreamProblem.RESET, "the connection is gone")
        self.status = head.status
        self.response = response = WireResponse(
            status=head.status,
            reason=head.reason,
            headers=response_headers(head.headers),
            length=head.length if head.framing in {"length", "none"} else None,
            close=not self._client_may_go_on(),
        )
        await self.in_client_time(response.prepare(self.http))
        if head.framing != "none":
            body = Body(connection, head, wait=None if _is_event_stream(head.headers) else self._limits.stall_seconds)
            while piece := await body.read():
                await self.in_client_time(response.write(piece))
        await self.in_client_time(response.write_eof())
        uploaded = self._uploading is None or (self._uploading.done() and self._uploading.result())
        self._upstream.release(connection, reusable=head.reusable and uploaded)
        self.connection = None
        return response

    async def in_client_time(self, writing: Awaitable[object]) -> None:
        """Wait for a write to the client, but not for ever: a client that reads nothing holds the application's connection."""
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await writing
        except TimeoutError:
            raise ConnectionResetError("the client does not read") from None

    def _client_may_go_on(self) -> bool:
        """Whether another request may follow on the client's connection: its body has to be at its end by then."""
        return self.http.content.is_eof() and not self.request.websocket


def _look(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


def _is_event_stream(headers: RawHeaders) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().partition(b";")[0].strip() == b"text/event-stream"
        for name, value in headers
    )

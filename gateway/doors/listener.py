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
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

from gateway.domain.request import RawRequest, Refusal
from gateway.doors.accepting import Acceptor, bind_tcp, bind_unix
from gateway.doors.client import GatewayProtocol
from gateway.doors.leaving import leave
from gateway.doors.limits import ListenerLimits
from gateway.doors.plain_handler import PlainHandler
from gateway.doors.repeated import Cutter
from gateway.doors.reply import WireResponse
from gateway.kernel.errors import ConfigError

LAST_SECONDS: Final = 1.0
"""For what is told to end at the end of a listener's grace."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
RefusedHandler = Callable[[RawRequest, Refusal], Awaitable[WireResponse]]
"""Records a refused head and returns the reply. Must not raise."""
FailedHandler = Callable[[web.BaseRequest, BaseException], WireResponse]
"""Returns the reply to a request whose handler raised."""


def assert_parser() -> None:
    """Raise ConfigError unless aiohttp parses requests with its C extension."""
    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise ConfigError(
            "aiohttp runs without its C extension",
            todo="Install a binary wheel of aiohttp, and unset AIOHTTP_NO_EXTENSIONS.",
        )


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
        cutter: Cutter | None = None,
    ) -> None:
        """`always`: a header field of every response, as in `gateway.doors.reply.Client`. `half_close`: a client that ends its
        side of the connection still gets its answer. `cutter`: for plain requests of which most of the
        head repeats. Call it inside the event loop. Raises ConfigError without the C parser.
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
        self.cutter: Final = cutter
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

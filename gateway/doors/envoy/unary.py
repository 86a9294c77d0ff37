"""The listener of the gRPC door: one unary method, for fronts that have proved who they are."""

import asyncio
import socket
import ssl
from typing import Final

from gateway.doors.accepting import Acceptor, bind_tcp, bind_unix
from gateway.doors.envoy.unary_connection import Method, Refuse, Serving, UnaryConnection, UnaryLimits
from gateway.doors.trust import Fronts

_LOOK_SECONDS: Final = 0.01
_GOODBYE_SECONDS: Final = 1.0
"""How long the last bytes of a connection may take."""


class UnaryListener:
    """Listens for one method. `listen`, `listen_unix` or `listen_socket`, and `close` once."""

    def __init__(self, method: Method, *, path: str, refuse: Refuse, fronts: Fronts, limits: UnaryLimits) -> None:
        """`path`: `/package.Service/Method`."""
        self._serving = Serving(method=method, path=path, refuse=refuse, fronts=fronts, limits=limits)
        self._bound: list[Acceptor] = []

    @property
    def connections(self) -> set[UnaryConnection]:
        """Those that are open."""
        return self._serving.connections

    def _protocol(self) -> UnaryConnection:
        return UnaryConnection(self._serving)

    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext) -> int:
        """Serve on an address with mTLS (`gateway.doors.tls.mutual_context`); returns the port."""
        sock = bind_tcp(host, port)
        await self.listen_socket(sock, tls=tls)
        return int(sock.getsockname()[1])

    async def listen_unix(self, path: str) -> None:
        """Serve on a unix socket. The file's place and mode are the caller's; who asks is checked by user id (SO_PEERCRED)."""
        await self.listen_socket(bind_unix(path))

    async def listen_socket(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a socket that listens already: a unix socket, or with `tls` a TCP one. It is closed with us."""
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        handshake = self._serving.limits.handshake_seconds
        self._bound.append(Acceptor(sock, self._protocol, tls=tls, handshake_seconds=handshake))

    async def close(self, grace_seconds: float = 5.0, *, idle_seconds: float = 0.0) -> None:
        """Accept nothing more, let calls finish for `grace_seconds`, then end them. Safe to call twice.

        `idle_seconds`: for the sake of a successor, keep each connection until its front has left it, or was silent for so long.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_seconds
        for acceptor in self._bound:
            acceptor.stop()
        if idle_seconds:
            for connection in self.connections:
                connection.leave_soon()
            await self._gone(until, idle_seconds)
        if self._serving.tasks:
            _done, late = await asyncio.wait(set(self._serving.tasks), timeout=max(0.0, until - loop.time()))
            for task in late:
                task.cancel()
        for connection in list(self.connections):
            connection.go_away()
        await self._gone(loop.time() + _GOODBYE_SECONDS, 0.0)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)

    async def _gone(self, until: float, idle_seconds: float) -> None:
        """Return when no connection is left, or at `until`."""
        loop = asyncio.get_running_loop()
        while (self.connections or any(acceptor.coming for acceptor in self._bound)) and loop.time() < until:
            for connection in list(self.connections):
                if idle_seconds and connection.silent_since(loop.time() - idle_seconds):
                    connection.go_away()
            await asyncio.sleep(_LOOK_SECONDS)

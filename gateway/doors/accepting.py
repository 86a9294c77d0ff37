"""Taking connections from a listening socket that other processes may share.

One connection in a turn of the event loop: so a burst is spread over the processes, where asyncio's own server takes all of it at
once. And it stops cleanly: what was accepted becomes a connection, and what was not waits for whoever has the socket too.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

BACKLOG: Final = 1_024
"""Connections that may wait to be accepted."""
PAUSE_SECONDS: Final = 1.0
"""When the process or the machine has no room for another connection."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts on one socket, which it owns, from its making until `stop`."""

    def __init__(
        self,
        sock: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        *,
        tls: ssl.SSLContext | None,
        handshake_seconds: float,
    ) -> None:
        """`sock` listens; `factory` makes the protocol of a connection."""
        self._loop = asyncio.get_running_loop()
        self._sock: Final = sock
        self._factory = factory
        self._tls = tls
        self._handshake_seconds = handshake_seconds if tls is not None else None
        self._coming: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._stopped = False
        sock.setblocking(False)
        self._loop.add_reader(sock, self._accept)

    @property
    def coming(self) -> int:
        """How many connections were accepted and can't carry anything yet: they shake hands."""
        return len(self._coming)

    def stop(self) -> None:
        """Accept nothing more. Handshakes under way go on. Safe to call twice."""
        if not self._stopped:
            self._stopped = True
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was first, or the client has gone
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            logger.error("no room for another connection: %s", error)  # noqa: TRY400  the reason is all there is to say
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(PAUSE_SECONDS, self._resume)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._open(connection))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    def _resume(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._factory, connection, ssl=self._tls, ssl_handshake_timeout=self._handshake_seconds
            )
        except OSError as error:
            # A client that goes, or can't agree on TLS, is its own affair: there was no request.
            logger.debug("a connection came to nothing: %s", error)
            connection.close()
        except Exception:
            connection.close()
            raise


def bind_tcp(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address. OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def bind_unix(path: str) -> socket.socket:
    """Return a unix socket that listens, in the place of one that is there."""
    if Path(path).is_socket():
        Path(path).unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock

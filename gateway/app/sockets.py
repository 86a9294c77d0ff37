"""The sockets that the doors listen on: bound once, and handed from process to process, so that their queues outlive each."""

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from gateway.config import Config
from gateway.config.locate import KeyPath
from gateway.doors.accepting import BACKLOG, bind_tcp
from gateway.kernel.errors import ConfigError

SOCKET_MODE: Final = 0o666
"""Other users may connect to a socket of ours: who they are is asked of the kernel (SO_PEERCRED), not of the file's mode."""
_PAUSE_SECONDS: Final = 0.05


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a listener of the configuration is."""

    path: KeyPath
    """Of the key that names it."""
    unix: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def name(self) -> str:
        """The same for the same address, whichever listener has it."""
        return f"unix:{self.unix}" if self.unix is not None else f"tcp:{self.host}:{self.port}"

    def __str__(self) -> str:
        """Write it as people do."""
        if self.unix is not None:
            return str(self.unix)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def server_place(config: Config) -> Place | None:
    """Return where clients connect to the gateway itself; None when all come through a front."""
    server = config.server
    return Place(path=("server", "port"), host=server.host, port=server.port) if server.port is not None else None


def front_place(config: Config) -> Place | None:
    """Return where fronts pass whole requests on; None when there are none."""
    front = config.server.front
    if front is None:
        return None
    return _place(("server", "front"), front.socket, front.host, front.port)


def door_place(config: Config, index: int) -> Place:
    """Return where a door of `[[doors]]` is asked."""
    door = config.doors[index]
    return _place(("doors", index), door.socket, door.host, door.port)


def places(config: Config) -> list[Place]:
    """Return every place that this configuration listens at."""
    found = [server_place(config), front_place(config), *(door_place(config, index) for index in range(len(config.doors)))]
    return [place for place in found if place is not None]


def _place(path: KeyPath, unix: Path | None, host: str | None, port: int | None) -> Place:
    if unix is not None:
        return Place(path=(*path, "socket"), unix=unix)
    if host is None or port is None:
        raise AssertionError("a listener without an address passed the rules")
    return Place(path=(*path, "port"), host=host, port=port)


class Sockets:
    """Sockets that are bound and listen, by the name of their place."""

    def __init__(self, bound: Mapping[str, socket.socket]) -> None:
        self._bound: Final = dict(bound)
        self._names: Final = set(bound)

    @classmethod
    def bind(cls, config: Config, *, known: "Sockets | None" = None, patience: float = 0.0) -> "Sockets":
        """Bind what a configuration names. What `known` has is taken from there, and belongs to both.

        `patience`: seconds to wait for an address that is taken; blocks. Raises ConfigError, and then binds nothing.
        """
        kept = known._bound if known is not None else {}  # noqa: SLF001  of the same class
        with contextlib.ExitStack() as undo:
            bound = {}
            for place in places(config):
                if place.name in kept:
                    bound[place.name] = kept[place.name]
                    continue
                try:
                    bound[place.name] = _patiently(place, time.monotonic() + patience)
                except OSError as error:
                    raise ConfigError(
                        f"can't listen on {place} ({error.strerror or error})",
                        where=config.where(*place.path),
                        todo="Choose a free place, or stop what uses it.",
                    ) from error
                undo.callback(_close, place.name, bound[place.name])
            undo.pop_all()
        return cls(bound)

    @classmethod
    def inherited(cls, descriptors: Mapping[str, int]) -> "Sockets":
        """Take over what another process bound."""
        return cls({name: socket.socket(fileno=descriptor) for name, descriptor in descriptors.items()})

    def descriptors(self) -> dict[str, int]:
        """Return them for another process."""
        return {name: sock.fileno() for name, sock in self._bound.items()}

    def take(self, place: Place) -> socket.socket:
        """Hand a socket to a listener, which closes it."""
        return self._bound.pop(place.name)

    def close(self, *, but: "Sockets | None" = None) -> None:
        """Close those that are still here, and remove the files of all, except what `but` has too. For who bound them."""
        for name in self._names - (but._names if but is not None else set()):  # noqa: SLF001  of the same class
            _close(name, self._bound.pop(name, None))


def _patiently(place: Place, until: float) -> socket.socket:
    while True:
        try:
            return _bind_unix(place.unix) if place.unix is not None else bind_tcp(place.host, place.port)
        except OSError as error:
            # Processes that were killed a moment ago may hold it still.
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                raise
        time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def _closed_on_failure(sock: socket.socket) -> Iterator[socket.socket]:
    try:
        yield sock
    except BaseException:
        sock.close()
        raise


def _bind_unix(path: Path) -> socket.socket:
    with _closed_on_failure(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        _remove_stale(path)
        sock.bind(str(path))
        path.chmod(SOCKET_MODE)
        sock.listen(BACKLOG)
        return sock


def _remove_stale(path: Path) -> None:
    """Remove a socket's file that a crash left. OSError when somebody listens there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _close(name: str, sock: socket.socket | None) -> None:
    if sock is not None:
        sock.close()
    kind, _, path = name.partition(":")
    if kind == "unix":
        Path(path).unlink(missing_ok=True)

"""Makes the doors that the configuration asks for, and lets them listen."""

import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from gateway.config import Config
from gateway.config.locate import KeyPath
from gateway.config.model import FrontListener
from gateway.doors.envoy import EnvoyGrpcDoor, EnvoyHttpDoor
from gateway.doors.forward_auth import ForwardAuthDoor
from gateway.doors.proxy import ProxyDoor
from gateway.doors.said import Says
from gateway.doors.tls import mutual_context, server_context
from gateway.doors.trust import Fronts
from gateway.kernel.errors import ConfigError
from gateway.pipeline import Pipeline
from gateway.present import Presenter

SOCKET_MODE: Final = 0o666


class Listening(Protocol):
    """The listener of a door that is asked."""

    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext) -> int:
        """Serve on an address with mTLS; returns the port."""
        ...

    async def listen_unix(self, path: str) -> None:
        """Serve on a unix socket."""
        ...

    async def close(self, grace_seconds: float = ...) -> None:
        """Accept nothing more and finish."""
        ...


def _forward_auth(pipeline: Pipeline, presenter: Presenter, fronts: Fronts, says: Says) -> Listening:
    return ForwardAuthDoor(pipeline=pipeline, present=presenter, fronts=fronts, says=says).listener


def _envoy_http(pipeline: Pipeline, presenter: Presenter, fronts: Fronts, says: Says) -> Listening:
    return EnvoyHttpDoor(pipeline=pipeline, present=presenter, fronts=fronts, says=says).listener


def _envoy_grpc(pipeline: Pipeline, presenter: Presenter, fronts: Fronts, says: Says) -> Listening:
    return EnvoyGrpcDoor(pipeline=pipeline, present=presenter, fronts=fronts, says=says).listener


_KINDS: Final[dict[str, Callable[[Pipeline, Presenter, Fronts, Says], Listening]]] = {
    "envoy-http": _envoy_http,
    "envoy-grpc": _envoy_grpc,
    "forward-auth": _forward_auth,
}


async def listen_proxy(config: Config, proxy: ProxyDoor) -> None:
    """Let the proxy listen for clients and for fronts, as configured. Raises ConfigError where it can't."""
    server = config.server
    if server.port is not None:
        tls = None
        if server.tls is not None:
            tls = server_context(
                certificate=server.tls.certificate_file,
                key=server.tls.key_file,
                client_ca=server.tls.client_ca_file,
                preset=server.tls.preset,
            )
        await _bind(config, ("server", "port"), proxy.listen(server.host, server.port, tls=tls))
    if server.front is not None:
        front, path = server.front, ("server", "front")
        context = front_context(front)
        if front.socket is not None:
            await _bind(config, (*path, "socket"), proxy.listen_unix(str(front.socket)))
            _let_them_in(front.socket)
        elif front.host is not None and front.port is not None:
            await _bind(config, (*path, "port"), proxy.listen(front.host, front.port, tls=context, fronted=True))


async def open_doors(config: Config, pipeline: Pipeline, presenter: Presenter, stack: contextlib.AsyncExitStack) -> None:
    """Open every door of `[[doors]]`; they close with the stack. Raises ConfigError where one can't listen."""
    for index, settings in enumerate(config.doors):
        path: KeyPath = ("doors", index)
        door = _KINDS[settings.kind](pipeline, presenter, fronts_of(config, path, settings), says_of(settings))
        stack.push_async_callback(door.close)
        if settings.socket is not None:
            await _bind(config, (*path, "socket"), door.listen_unix(str(settings.socket)))
            _let_them_in(settings.socket)
        elif settings.host is not None and settings.port is not None:
            context = front_context(settings)
            if context is None:
                raise AssertionError("an address without mTLS passed the rules")
            await _bind(config, (*path, "port"), door.listen(settings.host, settings.port, tls=context))


def fronts_of(config: Config, path: KeyPath, listener: FrontListener) -> Fronts:
    """Return who is believed on a listener."""
    return Fronts(uids=listener.trusted_uids, names=listener.client_names, where=config.where(*path))


def says_of(listener: FrontListener) -> Says:
    """Return what the fronts of a listener tell of their clients."""
    return Says(tls=listener.tells_tls, certificate=listener.certificate_field)


def front_context(listener: FrontListener) -> ssl.SSLContext | None:
    """Return the mTLS context of a listener on an address; None for a socket. ConfigError when a file can't be used."""
    files = (listener.certificate_file, listener.key_file, listener.client_ca_file)
    certificate, key, client_ca = files
    if certificate is None or key is None or client_ca is None:
        return None
    return mutual_context(certificate=certificate, key=key, client_ca=client_ca)


def _let_them_in(path: Path) -> None:
    """Let other users connect to a socket of ours: who they are is asked of the kernel (SO_PEERCRED), not of the file's mode."""
    path.chmod(SOCKET_MODE)


async def _bind(config: Config, path: KeyPath, binding: Awaitable[object]) -> None:
    try:
        await binding
    except OSError as error:
        raise ConfigError(
            f"can't listen there ({error.strerror or error})",
            where=config.where(*path),
            todo="Choose a free place, or stop what uses it.",
        ) from error

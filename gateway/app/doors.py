"""Makes the doors that the configuration asks for, and lets them listen."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from gateway.app.nginx import Nginx
from gateway.app.sockets import Sockets, door_place, front_place, server_place
from gateway.config import Config
from gateway.config.locate import KeyPath
from gateway.config.model import FrontListener
from gateway.doors.envoy import EnvoyGrpcDoor, EnvoyHttpDoor
from gateway.doors.forward_auth import ForwardAuthDoor
from gateway.doors.proxy import ProxyDoor
from gateway.doors.said import Says
from gateway.doors.tls import mutual_context, server_context
from gateway.doors.trust import Fronts
from gateway.pipeline import Pipeline
from gateway.present import Presenter

HURRY_SECONDS: Final = 2.0


class Listening(Protocol):
    """The listener of a door."""

    async def listen_socket(self, sock: socket.socket, *, tls: ssl.SSLContext | None = ...) -> None:
        """Serve on a socket that is bound already: a unix socket, or with `tls` a TCP one."""
        ...

    async def close(self, grace_seconds: float = ..., *, idle_seconds: float = ...) -> None:
        """Accept nothing more and finish; see `gateway.doors.listener.Listener.close`."""
        ...


class Farewell:
    """How the doors close: see `gateway.doors.listener.Listener.close`. Set it before the gateway is taken apart."""

    def __init__(self) -> None:
        self.grace_seconds = 5.0
        self.idle_seconds = 0.0
        self.hurry: Final = asyncio.Event()
        """Set it when there is no time any more for a successor's sake."""


class Doors:
    """The open doors. They close all at once: one that is still finishing must not keep another accepting."""

    def __init__(self) -> None:
        self.farewell: Final = Farewell()
        self._doors: list[Listening] = []

    def add(self, door: Listening) -> None:
        """Close this one too."""
        self._doors.append(door)

    async def close(self) -> None:
        """Close all of them; the first error of one is raised when all are closed."""
        farewell = self.farewell
        if not farewell.idle_seconds:
            await self._close(farewell.grace_seconds, 0.0)
            return
        loop = asyncio.get_running_loop()
        closing = loop.create_task(self._close(farewell.grace_seconds, farewell.idle_seconds))
        hurried = loop.create_task(farewell.hurry.wait())
        await asyncio.wait({closing, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not closing.done():
            closing.cancel()
            await asyncio.wait({closing})
            await self._close(HURRY_SECONDS, 0.0)
            return
        closing.result()

    async def _close(self, grace_seconds: float, idle_seconds: float) -> None:
        closing = [door.close(grace_seconds, idle_seconds=idle_seconds) for door in self._doors]
        for outcome in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome


def _forward_auth(pipeline: Pipeline, presenter: Presenter, fronts: Fronts, says: Says) -> Listening:
    return ForwardAuthDoor(pipeline=pipeline, present=presenter, fronts=fronts, says=says).listener


def _envoy_http(pipeline: Pipeline, presenter: Presenter, fronts: Fronts, says: Says) -> Listening:
    return EnvoyHttpDoor(pipeline=pipeline, present=presenter, fronts=fronts, says=says).listener


def _envoy_grpc(pipeline: Pipeline, presenter: Presenter, fronts: Fronts, says: Says) -> Listening:
    return EnvoyGrpcDoor(pipeline=pipeline, present=presenter, fronts=fronts, says=says).listener


_KINDS: Final[dict[str, Callable[[Pipeline, Presenter, Fronts, Says], Listening]]] = {  # beside nginx's: `open_doors`
    "envoy-http": _envoy_http,
    "envoy-grpc": _envoy_grpc,
    "forward-auth": _forward_auth,
}


async def listen_proxy(config: Config, proxy: ProxyDoor, sockets: Sockets) -> None:
    """Let the proxy listen for clients and for fronts, as configured. Raises ConfigError where a file can't be used."""
    server = config.server
    if (place := server_place(config)) is not None:
        tls = None
        if server.tls is not None:
            tls = server_context(
                certificate=server.tls.certificate_file,
                key=server.tls.key_file,
                client_ca=server.tls.client_ca_file,
                preset=server.tls.preset,
            )
        await proxy.listen_socket(sockets.take(place), tls=tls)
    if server.front is not None and (place := front_place(config)) is not None:
        await proxy.listen_socket(sockets.take(place), tls=front_context(server.front), fronted=True)


async def open_doors(
    config: Config, pipeline: Pipeline, presenter: Presenter, sockets: Sockets, doors: Doors, nginx: Nginx
) -> None:
    """Open every door of `[[doors]]`, and add it to `doors`. Raises ConfigError where a file can't be used."""
    kinds = {**_KINDS, "nginx": nginx.door}
    for index, settings in enumerate(config.doors):
        door = kinds[settings.kind](pipeline, presenter, fronts_of(config, ("doors", index), settings), says_of(settings))
        doors.add(door)
        context = front_context(settings)
        if context is None and settings.socket is None:
            raise AssertionError("an address without mTLS passed the rules")
        await door.listen_socket(sockets.take(door_place(config, index)), tls=context)


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

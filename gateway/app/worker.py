"""One process that serves. The supervisor (`gateway.app.supervisor`) starts it, and talks to it over a socket, line by line.

It gets what it needs first (`Start`, as JSON), says `ready` when it serves, and then obeys:

- `leave`: a successor accepts already; finish, without losing a request, and end.
- `slots`: there are more logs now; name them in this one, and say `named`.
- the end of the line: the supervisor is gone; end.
"""

import asyncio
import ctypes
import os
import signal
import socket
from pathlib import Path
from typing import Final

import msgspec

from gateway.app.assemble import Gateway, open_gateway
from gateway.app.following import lifecycle
from gateway.app.sockets import Sockets
from gateway.audit.slots import log_ids, logs_detail
from gateway.config import Config, load_config
from gateway.kernel.clock import SystemClock

READY: Final = b"ready\n"
LEAVE: Final = b"leave\n"
SLOTS: Final = b"slots\n"
NAMED: Final = b"named\n"

IDLE_SECONDS: Final = 3.0
"""How long a connection stays open for one more request when a successor has begun."""
UNSHARED_SECONDS: Final = 2.0
"""How long streams may go on whose sessions nobody but this process knows: their people can't sign out elsewhere."""
_LONGEST_LINE: Final = 8 << 20
_PR_SET_PDEATHSIG: Final = 1


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker begins with."""

    file: str
    text: str
    """Of the configuration: the same for all of a generation, whatever becomes of the file."""
    slot: int
    sockets: dict[str, int]


def die_with(parent: int) -> None:
    """End this process at once when its parent is gone: a crash of the supervisor is a crash of the service (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)  # it went before the kernel knew


async def run_worker(descriptor: int) -> None:
    """Serve until told to end. Raises what made a vital part die, or a GatewayError of the start."""
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=descriptor), limit=_LONGEST_LINE)
    start = msgspec.json.decode(await reader.readline(), type=Start)
    config = load_config(Path(start.file), os.environ, text=start.text)
    ending = _Ending(config)
    try:
        async with open_gateway(config, sockets=Sockets.inherited(start.sockets), slot=start.slot) as gateway:
            ending.gateway = gateway
            writer.write(READY)
            await _obey(gateway, ending, config, reader, writer)
    except asyncio.CancelledError:
        if not ending.told:
            raise
    finally:
        writer.close()


class _Ending:
    """How this process ends: by a signal (nobody comes after it), or by an order (somebody does)."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._task = asyncio.current_task()
        self.gateway: Gateway | None = None
        self.told = False
        self._leaving = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        # A terminal that is closed tells everybody; only the supervisor makes something of it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _signalled(self) -> None:
        if self._leaving and self.gateway is not None:
            self.gateway.farewell.hurry.set()
        elif not self.told and self._task is not None:
            self.told = True
            if self.gateway is not None:
                self.gateway.farewell.grace_seconds = self._config.server.drain_seconds
            self._task.cancel()

    def leave(self, gateway: Gateway) -> None:
        """Set how the doors close for a successor."""
        self._leaving = True
        shared = self._config.sessions.backend == "redis"
        grace = self._config.server.drain_seconds
        gateway.farewell.grace_seconds = grace if shared else min(grace, UNSHARED_SECONDS)
        gateway.farewell.idle_seconds = IDLE_SECONDS


async def _obey(
    gateway: Gateway, ending: _Ending, config: Config, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    orders = asyncio.get_running_loop().create_task(_orders(gateway, ending, config, reader, writer))
    try:
        await asyncio.wait({orders, gateway.failed}, return_when=asyncio.FIRST_COMPLETED)
        if gateway.failed.done():
            gateway.failed.result()
        orders.result()
    finally:
        orders.cancel()


async def _orders(
    gateway: Gateway, ending: _Ending, config: Config, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while order := await reader.readline():
        if order == LEAVE:
            ending.leave(gateway)
            return
        if order == SLOTS:
            await lifecycle(gateway.log, SystemClock(), "log.slots", logs_detail(log_ids(config.audit.dir)))
            writer.write(NAMED)

"""The supervisor's end of one worker process."""

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Any, Final

import msgspec

from gateway.app.sockets import Sockets
from gateway.app.worker import LEAVE, NAMED, READY, SLOTS, Start

logger = logging.getLogger(__name__)

NAMING_SECONDS: Final = 5.0
_ENTRY: Final = "gateway.cli.worker"


class EndedError(Exception):
    """A worker ended where it should have begun to serve. It has said why itself."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a worker ended with status {status}")
        self.status = status


class Child:
    """A worker: `spawn`, `ready`, then `leave` or `end`; `ended` whenever."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket, slot: int) -> None:
        """Use `spawn`."""
        self._process = process
        self._control = control
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._said: dict[bytes, asyncio.Future[None]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._end = asyncio.get_running_loop().create_task(process.wait())
        self.slot: Final = slot
        self.told = False
        """It was told to end: that it does is no surprise."""

    @classmethod
    async def spawn(cls, *, file: str, text: str, slot: int, sockets: Sockets) -> "Child":
        """Start a process on a configuration's text. OSError when the system can't."""
        ours, theirs = socket.socketpair()
        try:
            descriptors = sockets.descriptors()
            process = await asyncio.create_subprocess_exec(
                # -P: the folder that this was started in is no place to take modules from.
                *(sys.executable, "-P", "-m", _ENTRY, str(theirs.fileno()), str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *descriptors.values()),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = cls(process, ours, slot)
        child._reader, child._writer = await asyncio.open_unix_connection(sock=ours)
        child._writer.write(msgspec.json.encode(Start(file=file, text=text, slot=slot, sockets=descriptors)) + b"\n")
        child._listening = asyncio.get_running_loop().create_task(child._listen())
        return child

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self._end.done()

    async def ready(self) -> None:
        """Return when it serves. EndedError when it ended instead."""
        said = self._expect(READY)
        await first_of(said, self._end)
        if not said.done():
            raise EndedError(await self.ended())

    async def ended(self) -> int:
        """Return its exit status when it has ended, as shells say it: 128 and the number of a signal.

        That it was ended by our SIGTERM is no failure: so it is before it has begun, and when it has done everything.
        """
        status = await asyncio.shield(self._end)
        if self._listening is not None:
            await asyncio.wait({self._listening})
            self._writer.close()
        if status == -signal.SIGTERM and self.told:
            return 0
        return status if status >= 0 else 128 - status

    async def name_slots(self) -> None:
        """Let it name all logs in its own. When it can't, its log is broken, and it says so itself."""
        named = self._expect(NAMED)
        self._order(SLOTS)
        await first_of(named, self._end, timeout=NAMING_SECONDS)
        if not named.done():
            logger.error("worker %d did not name the new logs", self.pid)

    def leave(self) -> None:
        """Let it finish and end: a successor has begun."""
        self.told = True
        self._order(LEAVE)

    def end(self) -> None:
        """Let it end: nobody comes after it."""
        self.told = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self.told = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            self._process.send_signal(number)

    def _order(self, order: bytes) -> None:
        if self.alive and not self._writer.is_closing():
            self._writer.write(order)

    def _expect(self, word: bytes) -> "asyncio.Future[None]":
        return self._said.setdefault(word, asyncio.get_running_loop().create_future())

    async def _listen(self) -> None:
        try:
            while word := await self._reader.readline():
                said = self._expect(word)
                if not said.done():
                    said.set_result(None)
                if word != READY:
                    del self._said[word]
        except ConnectionError:
            return  # it was killed: its end is noticed elsewhere


async def first_of(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:  # noqa: ASYNC109  none of them is cancelled
    """Return when one is done, or after `timeout` seconds."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

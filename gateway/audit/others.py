"""What the other processes of this installation write into their logs, seen from here: for live pages.

Their files are looked at a few times a second, and only while somebody wants to know. Nothing is verified; what comes faster than
anybody reads is skipped.
"""

import asyncio
import contextlib
import heapq
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from gateway.audit import files
from gateway.audit.encoding import open_line
from gateway.audit.slots import slot_folder, slots_of
from gateway.domain.record import Record

LOOK_SECONDS: Final = 0.2
RETRY_SECONDS: Final = 5.0
KEEP: Final = 1000
"""Records of each log."""
MOST_BYTES: Final = 1 << 20
"""Read from one log at a time."""
_SLOTS_EVERY: Final = 10
"""Looks, between two at which logs there are."""

Listener = Callable[[int, int, Record], None]
"""Hears of (slot, index, record)."""

_log = logging.getLogger(__name__)


class Tail:
    """The end of one log's records, from its newest segment on."""

    def __init__(self, folder: Path) -> None:
        """OSError when there is no log."""
        self._folder = folder
        self._segment = max(files.segment_numbers(folder), default=1)
        self._offset = 0
        self._begun = False
        self._decode: Final[Callable[[bytes], Record]] = msgspec.json.Decoder(Record).decode

    def take(self) -> list[tuple[int, Record]]:
        """Return what is new since the last time, oldest first; the first time the newest that there is. Blocks. OSError."""
        found = self._read()
        while (self._folder / files.records_name(self._segment + 1)).exists():
            # Nothing is added to a segment that has a successor; what came meanwhile is read first.
            found += self._read()
            self._segment += 1
            self._offset = 0
            found += self._read()
        return found

    def _read(self) -> list[tuple[int, Record]]:
        with (self._folder / files.records_name(self._segment)).open("rb") as file:
            size = file.seek(0, 2)
            begin = min(self._offset, size)  # shorter than before: a start after a crash has set bytes aside
            skipped = size - begin > MOST_BYTES
            file.seek(size - MOST_BYTES if skipped else begin)
            data = file.read(MOST_BYTES)
        whole, _, rest = data.rpartition(b"\n")
        self._offset = size - len(rest)
        lines = whole.split(b"\n") if whole else []
        return self._decoded(lines[1:] if skipped else lines)

    def _decoded(self, lines: list[bytes]) -> list[tuple[int, Record]]:
        found = []
        for line in lines:
            opened = open_line(line)
            if opened is None:
                continue
            try:
                found.append((opened.index, self._decode(opened.record)))
            except msgspec.ValidationError:
                continue  # of a newer version, that goes on beside this one for a moment
        return found


class OtherLogs:
    """Follows every log of an installation but this process's own."""

    def __init__(self, folder: Path, slot: int) -> None:
        """`slot` is this process's own."""
        self.slot: Final = slot
        self._folder = folder
        self._tails: dict[int, Tail] = {}
        self._recent: dict[int, deque[tuple[int, Record]]] = {}
        self._listeners: list[Listener] = []
        self._followers = 0
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._looks = 0

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow them meanwhile. Inside, nothing falls between a `recent` and a `subscribe` without an await between them."""
        self._followers += 1
        try:
            async with self._starting:
                if self._task is None:
                    await self._look()
                    self._task = asyncio.get_running_loop().create_task(self._follow())
            yield
        finally:
            self._followers -= 1
            if not self._followers and self._task is not None:
                self._task.cancel()
                self._task = None
                self._looks = 0
                self._tails.clear()
                self._recent.clear()

    def recent(self, count: int) -> list[tuple[int, int, Record]]:
        """Return the newest records as (slot, index, record), at most `count` of each log, each log's in its order."""
        return [(slot, index, record) for slot, kept in self._recent.items() for index, record in list(kept)[-count:]]

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for each new record, in the event loop, merged by time; returns the unsubscriber."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except OSError as error:
                _log.warning("the other logs can't be followed right now: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _look(self) -> None:
        taken = await asyncio.to_thread(self._take)
        for slot, found in taken.items():
            self._recent.setdefault(slot, deque(maxlen=KEEP)).extend(found)
        for _, slot, index, record in heapq.merge(
            *(_timed(slot, found) for slot, found in taken.items()), key=lambda one: one[0]
        ):
            for listener in tuple(self._listeners):
                listener(slot, index, record)

    def _take(self) -> dict[int, list[tuple[int, Record]]]:
        if self._looks % _SLOTS_EVERY == 0:
            for slot in slots_of(self._folder):
                if slot != self.slot and slot not in self._tails:
                    self._tails[slot] = Tail(slot_folder(self._folder, slot))
        self._looks += 1
        found = {}
        for slot, tail in list(self._tails.items()):
            try:
                found[slot] = tail.take()
            except OSError:
                del self._tails[slot]  # it was moved away: its own writer says so; should it come back, it is found again
        return found


def _timed(slot: int, found: list[tuple[int, Record]]) -> Iterator[tuple[str, int, int, Record]]:
    """Yield one log's records with a time that never goes back: they keep their order."""
    latest = ""
    for index, record in found:
        latest = max(latest, record.at)
        yield latest, slot, index, record

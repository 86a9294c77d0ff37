"""Follows nginx's access log into our own: one process at a time, whatever restarts.

Where reading goes on is kept in a state file, written only once everything before is on the disk: after a crash lines may be
taken in twice (their records have the same process, connection and number), never not at all. The file's modification time is a
sign of life: leases are given only while somebody follows (`Outstanding`), because each request under one has to leave a record.
Where the file can't be written (a full disk), lines are taken in all the same, there are no leases, and it is tried again.
"""

import asyncio
import collections
import fcntl
import logging
import secrets
import time
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from gateway.domain.record import Actor, EventRecord, Record, Source
from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id
from gateway.leases.count import LOOKS, Count, Status, read_status
from gateway.leases.ingest import FRONT, Ingest, finding
from gateway.leases.mark import Marks
from gateway.leases.tail import Position, Tail
from gateway.leases.times import rfc3339
from gateway.ports import AuditLog

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.1
LINES_AT_A_TIME: Final = 128
"""Then others have their turn: about a millisecond. Their records are written together."""
SAVE_SECONDS: Final = 0.5
STATUS_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 5.0
"""After which the line of a request that has ended must have been read."""
RETRY_SECONDS: Final = 2.0
GAP_LOOKS: Final = 3
FOLLOWED_SECONDS: Final = 5.0
"""How old the sign of life may be."""


class _State(msgspec.Struct, frozen=True, kw_only=True):
    position: Position | None = None
    lines: int = 0
    base: int | None = None
    requests: int = 0


class _Look(msgspec.Struct, kw_only=True):
    """What nginx said, and how many lines stand before the line of this very question: those of the requests that had ended."""

    status: Status
    path: str
    lines: int | None = None
    passed_over: int = 0
    """Numbers of connections that were passed over then."""
    until: float
    """Monotonic time after which the line does not come any more."""


class Follower:
    """Takes the lines of one access log in."""

    def __init__(
        self, *, access_log: Path, state: Path, status_socket: Path | None, marks: Marks, log: AuditLog, clock: Clock
    ) -> None:
        """`access_log` and `status_socket` are nginx's, `state` is ours."""
        self._path: Final = access_log
        self._state: Final = state
        self._socket: Final = status_socket
        self._marks = marks
        self._log = log
        self._clock = clock
        self._ingest = Ingest(marks)
        self._count = Count()
        self._tail: Tail | None = None
        self._newest = -1
        self._look: _Look | None = None
        self._unanswered = 0
        self._drained = False
        self._gaps: collections.deque[int] = collections.deque(maxlen=GAP_LOOKS)
        self._next_save = self._next_status = 0.0
        self._warned = self._unsaved = False

    async def run(self) -> None:
        """Follow until cancelled. Raises AuditError when the log can't be written."""
        self._state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._state.with_name(f"{self._state.name}.lock").open("ab") as lock:
            while not _locked(lock):  # noqa: ASYNC110  another process holds it: there is nothing to wait for here
                await asyncio.sleep(RETRY_SECONDS)
            try:
                self._open()
                while True:
                    await self._turn()
            except asyncio.CancelledError:
                await self._save()  # so that nothing is taken in twice
                raise
            finally:
                if self._tail is not None:
                    self._tail.close()

    async def _turn(self) -> None:
        try:
            taken = await self._take()
        except OSError as error:
            if not self._warned:
                logger.error("the front's access log can't be read: %s", error)  # noqa: TRY400  the message says it all
            self._warned = True
            await asyncio.sleep(RETRY_SECONDS)
            return
        self._warned = False
        now = time.monotonic()
        if now >= self._next_save:
            self._next_save = now + SAVE_SECONDS
            await self._save()
        if self._socket is not None and now >= self._next_status:
            self._next_status = now + STATUS_SECONDS
            await self._compare(self._socket)
        await asyncio.sleep(0 if taken == LINES_AT_A_TIME else LOOK_SECONDS)

    async def _take(self) -> int:
        """Take some lines in; how many there were."""
        assert self._tail is not None  # noqa: S101  `run` opened it
        taken = 0
        at = rfc3339(self._clock.now())
        take, look = self._ingest.take, self._look
        found: list[Record] = []
        for data in self._tail.lines(LINES_AT_A_TIME):
            line, records = take(data, at=at)
            if look is not None and line is not None and line.way == "plain" and line.path == look.path:
                look.lines = self._count.lines + taken
                look.passed_over = sum(self._ingest.sequence.gaps().values())
            taken += 1
            found += records
        self._count.lines += taken
        for record in found:
            if isinstance(record, EventRecord) and record.event == "front.suspicious":
                logger.error("the front's access log does not add up: %s", record.detail)
        if found:
            self._newest = self._log.write_many(found)
        for problem in self._tail.problems:
            logger.error("the front's access log does not add up: %s", problem)
            self._newest = await self._log.append(finding("file", at=at, target=str(self._path), problem=problem))
        self._tail.problems.clear()
        self._drained = taken < LINES_AT_A_TIME
        return taken

    # ---- nginx's own count

    async def _compare(self, socket: Path) -> None:
        look = self._look
        if look is None:
            path = f"/{secrets.token_hex(16)}"
            try:
                status = await read_status(socket, path)
            except (OSError, TimeoutError) as error:
                logger.debug("nginx does not say how many requests there were: %s", error)
                return
            self._look = _Look(status=status, path=path, until=time.monotonic() + SETTLE_SECONDS)
            self._next_status = 0.0  # look at every turn
            return
        if look.lines is None and (time.monotonic() < look.until or not self._drained):
            self._next_status = 0.0
            return
        self._look = None
        at = rfc3339(self._clock.now())
        if look.lines is None:
            self._unanswered += 1
            if self._unanswered == LOOKS:
                logger.error("the front's access log does not add up: our own questions have no lines in it")
                self._newest = await self._log.append(finding("lost", at=at, target=str(self._path), lines=str(LOOKS), own="yes"))
            return
        self._unanswered = 0
        difference = self._count.compare(look.status, look.lines)
        if difference is None:
            self._newest = await self._log.append(
                EventRecord(
                    id=new_id("evt"), at=at, event="front.restarted", outcome="success", actor=Actor(),
                    source=Source(door=FRONT), target=str(self._path),
                )
            )  # fmt: skip
        elif difference:
            logger.error("the front's access log does not add up: %d lines lost", difference)
            what = finding("lost" if difference > 0 else "too_many", at=at, target=str(self._path), lines=str(abs(difference)))
            self._newest = await self._log.append(what)
        self._gaps.append(look.passed_over - look.status.running)
        if len(self._gaps) == GAP_LOOKS and min(self._gaps) > 0:
            await self._say_gaps(at)

    async def _say_gaps(self, at: str) -> None:
        """Numbers that are passed over must belong to requests that still run; these don't."""
        gaps = self._ingest.sequence.gaps()
        places = " ".join(f"{pid}/{connection}" for pid, connection in list(gaps)[:20])
        logger.error("the front's access log does not add up: lines are missing on connections %s", places)
        what = finding("gap", at=at, target=str(self._path), lines=str(self._gaps[-1]), connections=places)
        self._newest = await self._log.append(what)
        self._ingest.sequence.forget_gaps()
        self._gaps.clear()

    # ---- state

    def _open(self) -> None:
        state = _State()
        try:
            state = msgspec.json.decode(self._state.read_bytes(), type=_State)
        except FileNotFoundError:
            logger.info("following %s from its beginning", self._path)
        except msgspec.MsgspecError as error:
            # Then from the beginning: records that come twice say so themselves, missing ones don't.
            logger.error("%s can't be read, so the access log is taken in once more: %s", self._state, error)  # noqa: TRY400
        self._count = Count(lines=state.lines, base=state.base, requests=state.requests)
        self._tail = Tail(self._path, state.position)

    async def _save(self) -> None:
        """Write the state. Where it can't be written, say so once: the old one grows old, and then nobody gives leases."""
        if self._tail is None:
            return
        if self._newest >= 0:
            await self._log.synced(self._newest)
            self._newest = -1
        lines, base, requests = self._count.kept()
        state = _State(position=self._tail.position(), lines=lines, base=base, requests=requests)
        new = self._state.with_name(f"{self._state.name}.new")
        try:
            new.write_bytes(msgspec.json.encode(state))
            new.replace(self._state)
        except OSError as error:
            if not self._unsaved:
                logger.error("how far the access log was read can't be kept, so no leases are given: %s", error)  # noqa: TRY400
            self._unsaved = True
        else:
            if self._unsaved:
                logger.warning("how far the access log was read is kept again")
            self._unsaved = False


def followed(state: Path) -> bool:
    """True while some process follows: the state file is fresh."""
    try:
        return time.time() - state.stat().st_mtime < FOLLOWED_SECONDS
    except OSError:
        return False


def _locked(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

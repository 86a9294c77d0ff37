"""Replays for the console: one at a time on all processes, in child processes of its own, and their results by draft content.

Results and the state of the one that runs are in the database, so that whichever process a browser meets says the same, and the
second person sees what the author saw.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import msgspec

from gateway.audit.verify import Finding
from gateway.kernel.clock import Clock
from gateway.kernel.errors import BundleError, GatewayError, StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.lasting.port import Cursor, Lasting
from gateway.replay.report import ReplayReport
from gateway.replay.run import Cancelled, LogNotWhole, Wish, replay

PART: Final = "replays"
SCHEMA: Final = (
    """
    CREATE TABLE replay_result (content TEXT PRIMARY KEY, at BIGINT NOT NULL, body TEXT NOT NULL);
    CREATE TABLE replay_run (slot BIGINT PRIMARY KEY, id TEXT NOT NULL, at BIGINT NOT NULL, stop BIGINT NOT NULL,
        body TEXT NOT NULL);
    CREATE TABLE replay_failure (content TEXT PRIMARY KEY, at BIGINT NOT NULL, body TEXT NOT NULL);
    """,
)
KEPT: Final = 100
"""Results that are kept: the newest, one of each content."""
SILENT_SECONDS: Final = 30
"""Whoever runs one and says nothing for so long is gone."""
BEAT_SECONDS: Final = 0.5
NICE: Final = 10
"""Decisions go first."""
_FINDINGS: Final = 20

logger = logging.getLogger(__name__)


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The replay that runs."""

    id: str
    content: str
    days: int
    began_at: int
    by: str
    """Login of whoever began it."""
    done: int = 0
    """Bytes of the log."""
    total: int = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why the last replay of a content ended without a result."""

    kind: Literal["log", "policies", "unreadable", "cancelled", "internal"]
    """`log`: it does not verify; `unreadable`: there is none, or a process of ours ended."""
    what: str = ""
    findings: tuple[Finding, ...] = ()
    at: int = 0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a content."""

    running: Running | None = None
    """The one that runs, whichever content it is of."""
    failure: Failure | None = None
    report: ReplayReport | None = None


class _Compared(msgspec.Struct, frozen=True):
    """Of a report, what it was compared with."""

    before: str = ""


MakeWish = Callable[[Mapping[str, bytes], Mapping[str, bytes], int], Wish]
"""Makes a wish of the policies in force, the draft's and the days."""

_compared: Final = msgspec.json.Decoder(_Compared).decode
_report: Final = msgspec.json.Decoder(ReplayReport).decode
_running: Final = msgspec.json.Decoder(Running).decode
_failure: Final = msgspec.json.Decoder(Failure).decode


class ReplayOffice:
    """Belongs to one event loop. Every method raises StoreUnavailable when the database does not answer."""

    def __init__(self, lasting: Lasting, clock: Clock, wish: MakeWish) -> None:
        """Blocking, once, at the start."""
        lasting.prepare(PART, SCHEMA)
        self._lasting = lasting
        self._clock = clock
        self._wish = wish
        self._task: asyncio.Task[None] | None = None
        self._stop = threading.Event()

    async def standing(self, content: str) -> Standing:
        """Say what is known of a content."""

        def work(cursor: Cursor) -> Standing:
            result = cursor.one("SELECT body FROM replay_result WHERE content = ?", (content,))
            failure = cursor.one("SELECT body FROM replay_failure WHERE content = ?", (content,))
            return Standing(
                running=_alive(cursor, self._now()),
                failure=_failure(failure[0]) if failure is not None else None,
                report=_report(result[0]) if result is not None else None,
            )

        return await self._lasting.read(work)

    async def replayed(self, content: str, against: str | None = None) -> bool:
        """Whether there is a result of this content: compared with the bundle of version `against`, or with whichever."""
        query = "SELECT body FROM replay_result WHERE content = ?"
        result = await self._lasting.read(lambda cursor: cursor.one(query, (content,)))
        return result is not None and (against is None or _compared(result[0]).before == against)

    async def start(
        self,
        content: str,
        before: Mapping[str, bytes],
        after: Mapping[str, bytes],
        days: int,
        *,
        by: str,
        announce: Callable[[], Awaitable[None]],
        failed: Callable[[str], Awaitable[None]],
    ) -> bool:
        """Begin a replay of a content; False when one runs already. `announce` is awaited before it begins, and its error ends
        all; `failed` hears why it ended without a result.
        """
        run = Running(id=new_id("rpl"), content=content, days=days, began_at=self._now(), by=by)
        if not await self._lasting.write(lambda cursor: _claim(cursor, run, self._now())):
            return False
        try:
            await announce()
            wish = msgspec.structs.replace(self._wish(before, after, days), nice=NICE)
        except BaseException:
            await self._lasting.write(lambda cursor: _release(cursor, run))
            raise
        self._stop = threading.Event()
        self._task = asyncio.create_task(self._run(run, wish, self._stop, failed))
        return True

    async def cancel(self, content: str) -> None:
        """Give up the replay of this content, on whichever process it runs: within about a second."""

        def work(cursor: Cursor) -> None:
            running = _alive(cursor, self._now())
            if running is not None and running.content == content:
                cursor.run("UPDATE replay_run SET stop = 1 WHERE id = ?", (running.id,))

        await self._lasting.write(work)

    async def close(self) -> None:
        """Give up what runs here, and wait for its processes to end."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    # ------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._clock.now())

    async def _run(self, run: Running, wish: Wish, stop: threading.Event, failed: Callable[[str], Awaitable[None]]) -> None:
        told = [0, 0]

        def progress(done: int, total: int) -> None:
            told[:] = done, total

        # A thread of its own: those of the loop are few, and this takes long.
        result: asyncio.Future[ReplayReport] = asyncio.get_running_loop().create_future()
        thread = _Thread(lambda: replay(wish, progress=progress, cancelled=stop.is_set), result)
        thread.start()
        failure: Failure | None = None
        report: ReplayReport | None = None
        try:
            while not result.done():
                await asyncio.wait([result], timeout=BEAT_SECONDS)
                await self._beat(run, told, stop)
            report = msgspec.structs.replace(result.result(), content=run.content)
            if stop.is_set():
                # What was given up has no result, even where it was quicker than the word.
                report, failure = None, Failure(kind="cancelled")
        except Cancelled:
            failure = Failure(kind="cancelled")
        except LogNotWhole as error:
            failure = Failure(kind="log", what=str(error), findings=error.findings[:_FINDINGS])
        except BundleError as error:
            failure = Failure(kind="policies", what=str(error))
        except GatewayError as error:
            failure = Failure(kind="unreadable", what=str(error))
        except Exception as error:
            logger.exception("a replay ended unexpectedly")
            failure = Failure(kind="internal", what=type(error).__name__)
        await self._conclude(run, report, failure, failed)

    async def _beat(self, run: Running, told: list[int], stop: threading.Event) -> None:
        def work(cursor: Cursor) -> bool:
            body = msgspec.json.encode(msgspec.structs.replace(run, done=told[0], total=told[1])).decode()
            cursor.run("UPDATE replay_run SET at = ?, body = ? WHERE id = ?", (self._now(), body, run.id))
            row = cursor.one("SELECT stop FROM replay_run WHERE id = ?", (run.id,))
            return row is None or bool(row[0])

        try:
            if await self._lasting.write(work):
                stop.set()
        except StoreUnavailable as error:
            logger.warning("a replay can't say how far it is: %s", error)

    async def _conclude(
        self, run: Running, report: ReplayReport | None, failure: Failure | None, failed: Callable[[str], Awaitable[None]]
    ) -> None:
        now = self._now()

        def work(cursor: Cursor) -> None:
            _release(cursor, run)
            cursor.run("DELETE FROM replay_failure WHERE content = ?", (run.content,))
            if report is not None:
                _keep(cursor, "replay_result", run.content, now, msgspec.json.encode(report).decode())
            elif failure is not None:
                body = msgspec.json.encode(msgspec.structs.replace(failure, at=now)).decode()
                _keep(cursor, "replay_failure", run.content, now, body)

        try:
            if failure is not None:
                await failed(failure.kind)
            await self._lasting.write(work)
        except GatewayError:
            logger.exception("what a replay found could not be kept")


class _Thread(threading.Thread):
    """Does blocking work, and tells the loop what came of it."""

    def __init__(self, work: Callable[[], ReplayReport], result: asyncio.Future[ReplayReport]) -> None:
        super().__init__(name="replay", daemon=True)
        self._work = work
        self._result = result
        self._loop = result.get_loop()

    def run(self) -> None:
        try:
            found = self._work()
        except BaseException as error:  # noqa: BLE001  handed on
            self._tell(self._result.set_exception, error)
        else:
            self._tell(self._result.set_result, found)

    def _tell(self, tell: Callable[..., None], what: object) -> None:
        def now() -> None:
            if not self._result.done():
                tell(what)

        try:
            self._loop.call_soon_threadsafe(now)
        except RuntimeError:
            logger.warning("the event loop ended before a replay did")


def _alive(cursor: Cursor, now: int) -> Running | None:
    row = cursor.one("SELECT body, at FROM replay_run WHERE slot = 1")
    return _running(row[0]) if row is not None and abs(now - row[1]) <= SILENT_SECONDS else None


def _claim(cursor: Cursor, run: Running, now: int) -> bool:
    if _alive(cursor, now) is not None:
        return False
    cursor.run("DELETE FROM replay_run")
    cursor.run(
        "INSERT INTO replay_run (slot, id, at, stop, body) VALUES (1, ?, ?, 0, ?)",
        (run.id, now, msgspec.json.encode(run).decode()),
    )
    cursor.run("DELETE FROM replay_failure WHERE content = ?", (run.content,))
    return True


def _release(cursor: Cursor, run: Running) -> None:
    cursor.run("DELETE FROM replay_run WHERE id = ?", (run.id,))


def _keep(cursor: Cursor, table: Literal["replay_result", "replay_failure"], content: str, now: int, body: str) -> None:
    cursor.run(
        f"INSERT INTO {table} (content, at, body) VALUES (?, ?, ?) "  # noqa: S608  one of two names of ours
        "ON CONFLICT (content) DO UPDATE SET at = excluded.at, body = excluded.body",
        (content, now, body),
    )
    cursor.run(
        f"DELETE FROM {table} WHERE content NOT IN (SELECT content FROM {table} ORDER BY at DESC LIMIT ?)",  # noqa: S608
        (KEPT,),
    )

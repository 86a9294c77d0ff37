"""Long-lived streams stay under the decision: decided again when something changes, and at least every 30 seconds.

A stream whose answer is no longer Allow is cut; also one that can't be decided (fail closed).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Final, Self

from gateway.domain.decision import Allow, Decision
from gateway.kernel.errors import StoreUnavailable
from gateway.ports import SessionStore

logger = logging.getLogger(__name__)

RECHECK_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 0.5


class StreamWatch:
    """One open stream. `cut` is set when it must end; `why` then says why, for the log."""

    def __init__(self, allow: Allow, streams: "Streams") -> None:
        self.allow: Final = allow
        self.cut: Final = asyncio.Event()
        self.why = ""
        self._streams = streams

    def __enter__(self) -> Self:
        self._streams.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._streams.remove(self)

    def end(self, why: str) -> None:
        """Mark the stream as to be cut."""
        self.why = why
        self.cut.set()


class Streams:
    """All open streams of this process, by session."""

    def __init__(self, recheck: Callable[[Allow], Awaitable[Decision | None]], sessions: SessionStore) -> None:
        self._recheck = recheck
        self._sessions = sessions
        self._open: dict[str, set[StreamWatch]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted: set[str] = set()
        self._wake = asyncio.Event()

    def watch(self, allow: Allow) -> StreamWatch:
        """Make a watch; it counts from `__enter__`."""
        return StreamWatch(allow, self)

    def add(self, watch: StreamWatch) -> None:
        """Begin to watch. Decided again at once: a revocation between the decision and now must not be missed."""
        self._open.setdefault(watch.allow.handle.session.id, set()).add(watch)
        self.look_again(watch.allow.handle.session.id)

    def remove(self, watch: StreamWatch) -> None:
        """Stop watching."""
        session_id = watch.allow.handle.session.id
        watches = self._open.get(session_id)
        if watches is not None:
            watches.discard(watch)
            if not watches:
                del self._open[session_id]

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def look_again(self, session_id: str = "*") -> None:
        """Decide the streams of a session (or of all) again, soon. May be called from any listener on this loop."""
        self._wanted.add(session_id)
        self._wake.set()

    def start(self) -> None:
        """Begin to follow changes."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow()), loop.create_task(self._periodically()), loop.create_task(self._work())]

    async def stop(self) -> None:
        """Stop following; open streams are marked to end."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        for watch in self._all():
            watch.end("shutdown")

    async def _follow(self) -> None:
        while True:
            try:
                async for change in self._sessions.changes():
                    self.look_again(change.session_id)
            except StoreUnavailable as error:
                logger.warning("session changes are not followed right now: %s", error)
            # The feed broke: what happened meanwhile is unknown, so look at everything.
            self.look_again()
            await asyncio.sleep(RETRY_SECONDS)

    async def _periodically(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            self.look_again()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            wanted, self._wanted = self._wanted, set()
            watches = self._all() if "*" in wanted else [w for name in wanted for w in self._open.get(name, ())]
            await asyncio.gather(*(self._decide(watch) for watch in watches))

    async def _decide(self, watch: StreamWatch) -> None:
        decision = await self._recheck(watch.allow)
        if decision is not None:
            watch.end(str(getattr(decision, "reason", "changed")))

    def _all(self) -> list[StreamWatch]:
        return [watch for watches in _snapshot(self._open.values()) for watch in watches]


def _snapshot(sets: Iterable[set[StreamWatch]]) -> list[list[StreamWatch]]:
    return [list(watches) for watches in sets]

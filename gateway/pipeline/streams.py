"""Long-lived streams stay under the decision: decided again when something changes, and at least every 30 seconds.

A stream whose answer is no longer Allow is cut; also one that can't be decided (fail closed), or not in time. When its person's
identity proofing or break-glass ends by itself it is decided at that second.

Thousands of streams are decided a few at a time, so that requests are answered in between; those that something is known to have
happened to come before the rest.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from gateway.domain.decision import Allow, Decision
from gateway.kernel.clock import Clock
from gateway.kernel.errors import StoreUnavailable
from gateway.ports import SessionStore

logger = logging.getLogger(__name__)

RECHECK_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 0.5
DECIDE_SECONDS: Final = 5.0
"""How long one decision may take; the stores give up sooner."""
AT_A_TIME: Final = 16
"""Decisions that are begun before the event loop looks at the network again: about half a millisecond of work."""


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

    def __init__(self, recheck: Callable[[Allow], Awaitable[Decision | None]], sessions: SessionStore, clock: Clock) -> None:
        self._recheck = recheck
        self._sessions = sessions
        self._clock = clock
        self._open: dict[str, set[StreamWatch]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._first: OrderedDict[StreamWatch, None] = OrderedDict()
        """To be decided next, in order."""
        self._later: OrderedDict[StreamWatch, None] = OrderedDict()
        """To be decided when there is nothing in `_first`."""
        self._deciding: dict[StreamWatch, asyncio.Task[None]] = {}
        self._again: set[StreamWatch] = set()
        """Something happened while they were being decided: that decision may not have seen it."""
        self._wake = asyncio.Event()
        self._timers: dict[StreamWatch, asyncio.TimerHandle] = {}
        """Of streams whose proofing or break-glass ends soon."""

    def watch(self, allow: Allow) -> StreamWatch:
        """Make a watch; it counts from `__enter__`."""
        return StreamWatch(allow, self)

    def add(self, watch: StreamWatch) -> None:
        """Begin to watch. Decided again at once: a revocation between the decision and now must not be missed."""
        self._open.setdefault(watch.allow.handle.session.id, set()).add(watch)
        self._decide_soon(watch)

    def remove(self, watch: StreamWatch) -> None:
        """Stop watching."""
        session_id = watch.allow.handle.session.id
        watches = self._open.get(session_id)
        if watches is not None:
            watches.discard(watch)
            if not watches:
                del self._open[session_id]
        self._first.pop(watch, None)
        self._later.pop(watch, None)
        self._again.discard(watch)
        self._disarm(watch)

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def look_again(self, session_id: str = "*") -> None:
        """Decide the streams of a session (or of all) again, soon. May be called from any listener on this loop."""
        if session_id == "*":
            self._later.update(dict.fromkeys(self._all()))
        else:
            self._first.update(dict.fromkeys(self._open.get(session_id, ())))
        self._wake.set()

    def device_changed(self, device_id: str) -> None:
        """Decide all streams again, those of this device first."""
        self._first.update(dict.fromkeys(watch for watch in self._all() if _of_device(watch.allow, device_id)))
        self.look_again()

    def start(self) -> None:
        """Begin to follow changes."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow()), loop.create_task(self._periodically()), loop.create_task(self._work())]

    async def stop(self) -> None:
        """Stop following; open streams are marked to end."""
        tasks = [*self._tasks, *self._deciding.values()]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        for watch in self._all():
            self._disarm(watch)
            watch.end("shutdown")

    async def _follow(self) -> None:
        while True:
            try:
                async for change in self._sessions.changes():
                    self.look_again(change.session_id)
            except StoreUnavailable as error:
                logger.warning("session changes are not followed right now: %s", error)
            except Exception:
                # Whatever it was: who stops listening to revocations here would never hear of one again.
                logger.exception("session changes are not followed right now")
            # The feed broke: what happened meanwhile is unknown, so look at everything.
            self.look_again()
            await asyncio.sleep(RETRY_SECONDS)

    async def _periodically(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            self.look_again()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next():
                for watch in batch:
                    self._deciding[watch] = loop.create_task(self._decide(watch))
                await asyncio.sleep(0)

    def _next(self) -> list[StreamWatch]:
        """Take what is to be decided now; what is being decided already comes again when that is done."""
        batch: list[StreamWatch] = []
        while len(batch) < AT_A_TIME and (self._first or self._later):
            line = self._first or self._later
            watch, _ = line.popitem(last=False)
            self._later.pop(watch, None)
            if watch in self._deciding:
                self._again.add(watch)
            else:
                batch.append(watch)
        return batch

    async def _decide(self, watch: StreamWatch) -> None:
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                decision = await self._recheck(watch.allow)
            if decision is not None:
                watch.end(str(getattr(decision, "reason", "changed")))
            else:
                self._arm(watch)
        except TimeoutError:
            logger.warning("decision %s could not be made again in time", watch.allow.id)
            watch.end("undecided")
        except Exception:
            # Fail closed on what nobody expected, for this stream alone: the others still have to be looked at.
            logger.exception("decision %s could not be made again", watch.allow.id)
            watch.end("undecided")
        finally:
            del self._deciding[watch]
            if watch in self._again:
                self._again.discard(watch)
                self._decide_soon(watch)

    def _arm(self, watch: StreamWatch) -> None:
        """Have a stream decided when its proofing or break-glass ends, where that is before it would be decided anyway."""
        self._disarm(watch)
        handle, now = watch.allow.handle, self._clock.now()
        proofing, emergency = handle.proofing(), handle.emergency(now)
        ends = [
            *([proofing.expires_at] if proofing is not None and proofing.expires_at is not None else ()),
            *([emergency.until] if emergency is not None else ()),
        ]
        left = min((end - now for end in ends if end > now), default=0.0)
        if watch not in self._open.get(handle.session.id, ()):
            return
        if 0 < left <= 2 * RECHECK_SECONDS:
            self._timers[watch] = asyncio.get_running_loop().call_later(left, self._decide_soon, watch)

    def _disarm(self, watch: StreamWatch) -> None:
        timer = self._timers.pop(watch, None)
        if timer is not None:
            timer.cancel()

    def _decide_soon(self, watch: StreamWatch) -> None:
        self._first[watch] = None
        self._wake.set()

    def _all(self) -> list[StreamWatch]:
        return [watch for watches in self._open.values() for watch in watches]


def _of_device(allow: Allow, device_id: str) -> bool:
    shown = allow.posture.device
    return allow.handle.session.device_id == device_id or (shown is not None and shown.id == device_id)

"""Sees to it that a break-glass is over when it is over, in every process: at its time, with its session, after a crash.

By the wall clock a session's break-glass ends by itself (`Handle.emergency`). The keeper takes it out of the session too, and
measures it with the clock that never goes back: a machine's clock that is set back during one does not lengthen it. What it can't
measure is the time during which no process of the gateway ran; then what is left by the wall clock counts.
"""

import asyncio
import logging
from typing import Final

from gateway.domain.record import Actor, Source
from gateway.emergency.model import BreakGlass, EndedHow
from gateway.emergency.service import Emergencies
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError, StoreUnavailable
from gateway.ports import SessionStore

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 5.0
"""How often it is looked whether another process began one."""
OPEN_SECONDS: Final = 1.0
"""How often those that are open are looked at."""
LOST_SECONDS: Final = 60
"""After which one that is still beginning was lost with its process."""


class Keeper:
    """The task; each process runs one."""

    def __init__(self, emergencies: Emergencies, sessions: SessionStore, clock: Clock) -> None:
        self._emergencies: Final = emergencies
        self._sessions: Final = sessions
        self._clock: Final = clock
        self._wake: Final = asyncio.Event()
        self._stamp: int | None = None
        self._open: list[BreakGlass] = []
        self._ends: dict[str, float] = {}
        """When each is over, by the monotonic clock, as first seen."""
        self._gone: set[str] = set()
        """Those whose session was not there at the last look: whoever ends a session says a moment later how it ended."""
        emergencies.on_change = self._wake.set

    async def run(self) -> None:
        """Look for ever. What store and log may raise is tried again."""
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                logger.warning("break-glass is not looked after right now: %s", error)
            except AuditError as error:
                logger.debug("the end of a break-glass without its record: %s", error)
            self._wake.clear()
            try:
                async with asyncio.timeout(OPEN_SECONDS if self._open else IDLE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look at each that is open, and end what is over."""
        ledger = self._emergencies.ledger
        stamp = await ledger.stamp()
        if stamp != self._stamp:
            self._open = await ledger.open()
            self._stamp = stamp
        now, ticks = self._clock.now(), self._clock.monotonic()
        known = {one.id for one in self._open}
        self._ends = {break_id: at for break_id, at in self._ends.items() if break_id in known}
        self._gone &= known
        for one in self._open:
            longest = min(one.until - now, one.until - one.began_at)
            self._ends.setdefault(one.id, ticks + max(0.0, longest))
            await self._look_at(one, now, ticks)

    async def _look_at(self, one: BreakGlass, now: float, ticks: float) -> None:
        ledger = self._emergencies.ledger
        if now >= one.until or ticks >= self._ends[one.id]:
            await self._end(one, "time")
            return
        session = await self._sessions.get(one.session, now)
        holds = session is not None and session.emergency is not None and session.emergency.id == one.id
        if holds:
            self._gone.discard(one.id)
            if one.state == "beginning":
                await ledger.in_force(one.id, int(now))
            return
        if one.state == "running" and not one.problem:
            if one.id not in self._gone:
                self._gone.add(one.id)
                return
            # Ended by an officer or by its limits; or taken out by a process that could not say so any more.
            await self._end(one, "session")
        elif abs(now - one.began_at) > LOST_SECONDS:
            await ledger.void(one.id, one.problem or "it was lost when the gateway stopped", int(now))

    async def _end(self, one: BreakGlass, how: EndedHow) -> None:
        await self._emergencies.end(one, how, Actor(), Source(door="gateway"))

"""What is in force now, in memory: asked with every decision, so it never waits for the database.

Each process keeps its own picture of what waits, is approved or declared. It looks twice a second whether anybody has changed
something; whether a grant is in force at a moment is judged from its times, at each decision.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gateway.domain.record import EventRecord
from gateway.grants.events import grant_over, situation_over
from gateway.grants.ledger import Ledger
from gateway.grants.model import Emergency, Grant
from gateway.kernel.clock import Clock
from gateway.kernel.errors import StoreUnavailable
from gateway.ports import AuditLog, HospitalSituation

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
"""How often it is looked at whether somebody has changed something."""
STALE_SECONDS: Final = 30.0
"""After so long without being able to look, nobody knows what is in force."""


class _Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What waits, is approved or declared."""

    stamp: int
    approved: dict[str, tuple[Grant, ...]]
    """By the holder's subject."""
    waiting: dict[str, tuple[Grant, ...]]
    emergencies: tuple[Emergency, ...]

    def moments(self) -> Iterable[int]:
        """When something begins or ends by itself."""
        yield from (grant.begins for grants in self.approved.values() for grant in grants)
        yield from self.ends()

    def ends(self) -> Iterable[int]:
        """When something ends by itself, or has waited until it was of no use."""
        yield from (grant.until for one in (self.approved, self.waiting) for grants in one.values() for grant in grants)
        yield from (one.until for one in self.emergencies)


class GrantBook:
    """`Exceptional` from a ledger."""

    def __init__(self, ledger: Ledger, clock: Clock, log: AuditLog, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`log` gets an event of what has ended by itself. `monotonic` (seconds) measures how long ago it was looked."""
        self._monotonic = monotonic
        self._ledger = ledger
        self._clock = clock
        self._log = log
        self._picture = _Picture(stamp=-1, approved={}, waiting={}, emergencies=())
        self._looked_at: float | None = None
        """Monotonic; None: never."""
        self._judged_at = clock.now()
        self._listeners: list[Callable[[], None]] = []
        self._looking = asyncio.Lock()

    # ------------------------------------------------------------------ Exceptional

    def grants_of(self, subject: str, now: float) -> tuple[str, ...]:
        """Return the names of the grants in force for a person at `now`. StoreUnavailable when nobody knows."""
        picture = self._known()
        return tuple(sorted({grant.name for grant in picture.approved.get(subject, ()) if grant.in_force(now)}))

    def waiting_of(self, subject: str) -> tuple[str, ...]:
        """Return the names of the grants that wait for approval, as far as known."""
        return tuple(sorted({grant.name for grant in self._picture.waiting.get(subject, ())}))

    def situation(self, now: float) -> HospitalSituation:
        """Return what is declared for the whole hospital at `now`. StoreUnavailable when nobody knows."""
        return "emergency" if any(one.in_force(now) for one in self._known().emergencies) else "normal"

    def emergency_until(self, now: float) -> int:
        """Return until when an emergency is declared, as far as known; 0 for none."""
        return max((one.until for one in self._picture.emergencies if one.in_force(now)), default=0)

    def _known(self) -> _Picture:
        looked = self._looked_at
        if looked is None or self._monotonic() - looked > STALE_SECONDS:
            raise StoreUnavailable(
                "which grants are in force is not known: the database did not answer for long",
                where="records",
                todo="Check [policies] database or postgres_url",
            )
        return self._picture

    # ------------------------------------------------------------------ following

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener()` whenever something came into force or ended, on any node; in the event loop's thread."""
        self._listeners.append(listener)

    async def changed_here(self) -> None:
        """Look at once: this process has just changed the ledger. What can't be seen now is seen later."""
        with contextlib.suppress(StoreUnavailable):  # it is followed anyway, and logged there
            await self._look()

    async def start(self) -> None:
        """Look for the first time. StoreUnavailable when the database does not answer."""
        await self._look()

    async def follow(self) -> None:
        """Look twice a second, and when something begins or ends; runs until cancelled."""
        reported = False
        while True:
            try:
                await self._settle()
                await self._look()
                reported = False
            except StoreUnavailable as error:
                if not reported:
                    logger.warning("grants are not followed right now: %s", error)
                reported = True
            await self._pause()

    async def _look(self) -> None:
        async with self._looking:
            await self._look_once()

    async def _look_once(self) -> None:
        stamp = await asyncio.to_thread(self._ledger.stamp)
        changed = stamp != self._picture.stamp
        if changed:
            # The stamp is read first: what changes between the two is looked at again.
            grants, emergencies = await self._ledger.snapshot()
            self._picture = _picture(stamp, grants, emergencies)
        self._looked_at = self._monotonic()
        now = self._clock.now()
        low, high = sorted((self._judged_at, now))
        self._judged_at = now
        if changed or any(low < moment <= high for moment in self._picture.moments()):
            for listener in self._listeners:
                listener()

    async def _settle(self) -> None:
        """Mark what has ended by itself, and record it: once, by whichever process was first."""
        now = self._clock.now()
        if self._looked_at is not None and not any(until <= now for until in self._picture.ends()):
            return
        grants, emergencies = await self._ledger.settle(now)
        records: list[EventRecord] = [grant_over(one, now) for one in grants]
        records += [situation_over(one, now) for one in emergencies]
        for record in records:
            await self._log.append(record)

    async def _pause(self) -> None:
        now = self._clock.now()
        ahead = min((moment - now for moment in self._picture.moments() if moment > now), default=LOOK_SECONDS)
        await asyncio.sleep(min(LOOK_SECONDS, max(ahead, 0.01)))


def _picture(stamp: int, grants: Iterable[Grant], emergencies: Iterable[Emergency]) -> _Picture:
    approved: dict[str, tuple[Grant, ...]] = {}
    waiting: dict[str, tuple[Grant, ...]] = {}
    for grant in grants:
        group = approved if grant.state == "approved" else waiting
        group[grant.holder.subject] = (*group.get(grant.holder.subject, ()), grant)
    return _Picture(stamp=stamp, approved=approved, waiting=waiting, emergencies=tuple(emergencies))

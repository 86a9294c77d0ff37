"""Tells officers when policies were rolled back: at once, by nobody's approval, so the others have to hear of it.

Whoever did it, in the console or on the command line, it is seen here: each process looks, and the notice of a publication has an
id of its own, so it is put in once.
"""

import asyncio
import logging
from typing import Final

from gateway.changes.model import Publication
from gateway.changes.port import ChangeDesk
from gateway.changes.store import TOPIC
from gateway.emergency.service import Emergencies
from gateway.kernel.clock import Clock
from gateway.kernel.errors import StoreUnavailable
from gateway.lasting.port import Lasting

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
RECENT_SECONDS: Final = 86_400
"""What was rolled back longer ago, while no gateway ran, is no news."""


async def tell_rollbacks(desk: ChangeDesk, lasting: Lasting, emergencies: Emergencies, clock: Clock) -> None:
    """Look for ever."""
    seen: int | None = None
    while True:
        try:
            stamp = await asyncio.to_thread(lasting.stamp, TOPIC)
            if stamp != seen:
                newest, _ = await desk.in_force()
                await _tell(newest, emergencies, clock)
                seen = stamp
        except StoreUnavailable as error:
            logger.warning("rollbacks can't be told right now: %s", error)
        await asyncio.sleep(LOOK_SECONDS)


async def _tell(newest: Publication, emergencies: Emergencies, clock: Clock) -> None:
    if newest.kind == "rollback" and clock.now() - newest.at < RECENT_SECONDS:
        who = newest.author
        await emergencies.tell_rolled_back(
            newest.number, newest.returns_to, name=who.name, login=who.login, why=newest.why, at=newest.at
        )

"""Tells the embedder's log what was done to accounts, whichever process did it.

The embedder ends its own sessions on these events. They reach it in order and at least once: a crash between telling and
forgetting tells a change again, with the same number.
"""

import asyncio
import logging
from typing import Final

from gateway.kernel.errors import GatewayError
from idp.model import AccountChange, Event
from idp.ports import EventSink
from idp.store.accounts import SqliteAccounts

EVERY_SECONDS: Final = 0.25
"""How often to look for what another process did: the embedder's sessions of a person who was shut out end within a second."""
AGAIN_SECONDS: Final = 0.5
"""Pause after a failure."""
_TROUBLE: Final = "changed accounts can't be told right now; it is tried again every %g s: %s"

log = logging.getLogger(__name__)


class Changes:
    """One teller for one store."""

    def __init__(self, accounts: SqliteAccounts, events: EventSink) -> None:
        self._accounts = accounts
        self._events = events
        self._one_at_a_time = asyncio.Lock()

    async def tell(self) -> None:
        """Tell everything that was not told yet. What the log or the store raises comes through; the rest stays to be told."""
        async with self._one_at_a_time:
            while changes := await self._accounts.pending():
                for change in changes:
                    await self._events.record(_event(change))
                    await self._accounts.told(change.number)

    async def follow(self) -> None:
        """Tell changes as they come, until cancelled. Trouble is logged when it begins, and does not end this."""
        pause, trouble = EVERY_SECONDS, ""
        while True:
            await asyncio.sleep(pause)
            try:
                await self.tell()
            except Exception as error:
                # Whatever it is: were this to end, people who are shut out would stay in.
                if str(error) != trouble:
                    expected = isinstance(error, GatewayError)
                    log.error(_TROUBLE, AGAIN_SECONDS, error, exc_info=None if expected else error)  # noqa: TRY400  so it does
                pause, trouble = AGAIN_SECONDS, str(error)
            else:
                pause, trouble = EVERY_SECONDS, ""


def _event(change: AccountChange) -> Event:
    return Event(
        name=change.name, outcome="success", at=change.at, login=change.login, subject=change.user_id, by=change.by,
        detail={**change.detail, "change": str(change.number)},
    )  # fmt: skip

"""Tells the embedder's log what was done to accounts, whichever process did it.

The embedder ends its own sessions on these events. They reach it in order and at least once: a crash between telling and
forgetting tells a change again, with the same number. Of several processes on the same accounts one tells at a time.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from gateway.kernel.errors import GatewayError, StoreUnavailable
from idp.model import AccountChange, Event
from idp.ports import EventSink
from idp.store.accounts import SqliteAccounts
from idp.store.changes import OUTCOME

EVERY_SECONDS: Final = 0.25
"""How often to look for what another process did: the embedder's sessions of a person who was shut out end within a second."""
AGAIN_SECONDS: Final = 0.5
"""Pause after a failure."""
WAIT_SECONDS: Final = 3.0
"""For another process that tells."""
_LOOK_SECONDS: Final = 0.01
_TROUBLE: Final = "changed accounts can't be told right now; it is tried again every %g s: %s"

log = logging.getLogger(__name__)


class Changes:
    """One teller for one store, in each process."""

    def __init__(self, accounts: SqliteAccounts, events: EventSink, *, lock: Path) -> None:
        """`lock` is a file beside the accounts; it is made when it is missing."""
        self._accounts = accounts
        self._events = events
        self._lock = lock
        self._one_at_a_time = asyncio.Lock()

    async def tell(self) -> None:
        """Tell everything that was not told yet. What the log or the store raises comes through; the rest stays to be told."""
        if not await self._accounts.pending():
            return
        async with self._one_at_a_time, self._alone():
            deleted = False
            while changes := await self._accounts.pending():
                for change in changes:
                    await self._events.record(_event(change))
                    await self._accounts.told(change.number)
                    deleted = deleted or change.name == "proofing.deleted"
            if deleted:
                # Nor may what was told before it stay in the database's files.
                await self._accounts.fold()

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep other processes from telling the same meanwhile, but wait for none that hangs: twice is better than never."""
        try:
            file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            where = str(self._lock)
            raise StoreUnavailable(f"can't be used: {error.strerror}", where=where, todo="Check the directory.") from error
        try:
            for _ in range(int(WAIT_SECONDS / _LOOK_SECONDS)):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(file)

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


class NotedEvents:
    """`EventSink` of a process that does not write the log: the one that does, tells them, within a second or once it starts."""

    def __init__(self, accounts: SqliteAccounts, *, through: str = "") -> None:
        """`through`: who runs that process, for the detail of each event."""
        self._accounts = accounts
        self._through = through

    async def record(self, event: Event) -> None:
        """Keep the event until it is told."""
        if self._through:
            event = msgspec.structs.replace(event, detail={**event.detail, "through": self._through})
        await self._accounts.note(event)


def _event(change: AccountChange) -> Event:
    detail = {key: value for key, value in change.detail.items() if key != OUTCOME}
    return Event(
        name=change.name, outcome="failure" if change.detail.get(OUTCOME) == "failure" else "success", at=change.at,
        login=change.login, subject=change.user_id, by=change.by, detail={**detail, "change": str(change.number)},
    )  # fmt: skip

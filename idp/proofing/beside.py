"""The proofing office of a process that does not serve: beside a running provider, on the same files.

Who may do this is whoever may write these files. What is done is told by the running provider, or by the next one that starts.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.kernel.clock import Clock
from idp.changes import NotedEvents
from idp.files import DATABASE, RECHECKING, open_keys
from idp.proofing.office import ProofingOffice
from idp.proofing.port import ProofingBackend
from idp.settings import ProofingSettings
from idp.store import open_store


@contextlib.asynccontextmanager
async def open_office(
    data_dir: Path, *, clock: Clock, verifier: ProofingBackend | None, settings: ProofingSettings, through: str
) -> AsyncIterator[ProofingOffice]:
    """Open it; `through` is who runs this process. ConfigError when keys or database can't be used; missing ones are made."""
    keys = open_keys(data_dir, now=int(clock.now()))
    # Sessions are neither made nor read here, so that their limits don't matter.
    store = await open_store(data_dir / DATABASE, clock=clock, sealing_key=keys.sealing_key(), idle_seconds=0, seconds=0)
    office = ProofingOffice(
        store, keys, clock, NotedEvents(store.accounts, through=through), backend=verifier, lock=data_dir / RECHECKING,
        settings=settings, tell=_nothing,
    )  # fmt: skip
    try:
        yield office
    finally:
        await office.close()
        await store.close()


async def _nothing() -> None:
    """The process that serves tells."""

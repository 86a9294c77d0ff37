"""Grants: opened over the database, followed, and what they reach in this process."""

import asyncio
import contextlib
from collections.abc import Callable

from gateway.app.following import keep_running
from gateway.config import Config
from gateway.grants.book import GrantBook
from gateway.grants.ledger import Ledger
from gateway.grants.office import GrantOffice
from gateway.kernel.clock import Clock
from gateway.lasting.port import Lasting
from gateway.pipeline.decide import PolicySource
from gateway.ports import AuditLog
from gateway.present.help_desk import HelpDesk


async def open_grants(config: Config, lasting: Lasting, *, policies: PolicySource, log: AuditLog, clock: Clock) -> GrantOffice:
    """Open the ledger and see what is in force. StoreUnavailable when the database does not answer: then don't start."""
    ledger = Ledger(lasting, longest=config.grants.longest_hours * 3600)
    book = GrantBook(ledger, clock, log)
    await book.start()
    return GrantOffice(ledger, book, lambda: policies.current.reads.grants)


def follow_grants(
    office: GrantOffice | None, listener: Callable[[], None], failed: "asyncio.Future[None]", stack: contextlib.AsyncExitStack
) -> None:
    """Follow what changes, on whichever node, and what begins or ends by itself: `listener` is called then."""
    if office is not None:
        office.book.on_change(listener)
        keep_running(office.book.follow(), failed, stack)


def help_desk_of(config: Config) -> HelpDesk:
    """Return who is told only to ask the help desk."""
    settings = config.remedies
    return HelpDesk(
        roles=frozenset(settings.help_desk_roles),
        organization=settings.organization if settings.help_desk_other_organizations else None,
        ja=settings.help_desk_ja,
        en=settings.help_desk_en,
    )

"""What the console is built from. The composition root supplies it; the console names no adapter."""

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta, timezone
from typing import Final, Literal, Protocol
from zoneinfo import ZoneInfo

from gateway.audit.find import Searched
from gateway.audit.marked import Marked
from gateway.audit.query import Filters
from gateway.changes.port import ChangeDesk
from gateway.console.people_port import Account
from gateway.console.proofing_port import ProofingOffice
from gateway.domain.record import Record
from gateway.emergency.service import Emergencies
from gateway.grants.office import GrantOffice
from gateway.kernel.assertion import Claims
from gateway.kernel.clock import Clock
from gateway.kernel.i18n import Language
from gateway.kernel.web.site import Front
from gateway.pipeline.calendar import Calendar
from gateway.policy.evaluate import Policy
from gateway.policy.known import NOTHING, Known
from gateway.policy.steps import Outcomes
from gateway.ports import AuditLog, DeviceRegistry, SessionStore
from gateway.replay.office import ReplayOffice

JAPAN: Final = timezone(timedelta(hours=9), "JST")
CALENDAR: Final = Calendar(ZoneInfo("Asia/Tokyo"))

Format = Literal["csv", "jsonl"]


class Feed(Protocol):
    """The newest records of the log, and each new one."""

    def recent(self, count: int) -> list[tuple[int, Record]]:
        """Return the newest `count` records with their indexes (fewer when fewer are kept), oldest first."""
        ...

    def subscribe(self, listener: Callable[[int, Record], None]) -> Callable[[], None]:
        """Call `listener(index, record)` of each new record, in the event loop's thread; returns the unsubscriber."""
        ...


class Others(Protocol):
    """The logs of the processes beside this one (`gateway.audit.others`)."""

    @property
    def slot(self) -> int:
        """Which log is this process's own."""
        ...

    def following(self) -> AbstractAsyncContextManager[None]:
        """Follow them meanwhile; only inside do the two below know anything."""
        ...

    def recent(self, count: int) -> list[tuple[int, int, Record]]:
        """Return the newest records as (slot, index, record), at most `count` of each log."""
        ...

    def subscribe(self, listener: Callable[[int, int, Record], None]) -> Callable[[], None]:
        """Call `listener(slot, index, record)` of each new record, in the event loop's thread; returns the unsubscriber."""
        ...


class Exporter(Protocol):
    """Writes the log in a format for outside."""

    def __call__(self, form: Format, filters: Filters, language: Language) -> Iterator[bytes]:
        """Return the file's pieces, in the order of the log. It is stepped through, and closed, in worker threads, one step at a
        time. Raises AuditError, at the call or at any step.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class InForce:
    """The policies that decide now."""

    version: str
    """Content hash of the bundle."""
    loaded_at: float
    """Epoch seconds."""
    policies: tuple[Policy, ...]
    rejected: str = ""
    """Why newer files in the folder are not in force; empty when they are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsoleParts:
    """Everything that the console needs from outside."""

    front: Front
    verify: Callable[[str], Claims]
    """Who is behind an assertion; raises NotVerified (`gateway.kernel.assertion.Verifier`)."""
    clock: Clock
    sessions: SessionStore
    devices: DeviceRegistry
    audit: AuditLog
    feed: Feed
    """Of this process's own log."""
    policies: Callable[[], InForce]
    export: Exporter
    end_at_provider: Callable[[str], Awaitable[object]] | None = None
    """Ends the session of this id at the identity provider, so that the browser can't sign in again without a word. None: the
    provider is somebody else's, and the person is asked anew by our own word (`prompt=login`).
    """
    proofing: ProofingOffice | None = None
    """The embedded provider's office; None where another provider proofs people."""
    grants: GrantOffice | None = None
    """Where grants are decided; None where there is no database for them."""
    emergencies: Emergencies | None = None
    """Break-glass: its ledger, and how one is ended; None where there is no database for it."""
    marked: Callable[[str, float], Marked] | None = None
    """What the logs hold under a break-glass's id, written since a moment (epoch seconds); blocking. None: they can't be read."""
    desk: ChangeDesk | None = None
    """Where changes of the policies are made; None where they come from a folder only."""
    replays: ReplayOffice | None = None
    """Where drafts are put to what the log holds; None where there is no database for it."""
    known: Known = NOTHING
    """Names that the configuration knows: choices in the forms of templates."""
    accounts: Callable[[], Awaitable[Sequence[Account]]] | None = None
    """The embedded provider's accounts; None where another provider knows the people."""
    others: Others | None = None
    """The logs of the processes beside this one; None where there are none."""
    find_decision: Callable[[str], Awaitable[Searched]] | None = None
    """Looks for a decision's record in the logs, the newest first, as far back as it may. AuditError when they can't be read;
    None: they are not here.
    """
    calendar: Calendar = CALENDAR
    """What a moment means to policies."""
    possible: Outcomes = Outcomes()  # noqa: RUF009  frozen
    """What remedies can ask for here."""
    zone: timezone = JAPAN
    """The hospital's time zone: of what is shown, and of dates that are typed in."""
    viewer_roles: frozenset[str] = frozenset({"security_officer", "auditor"})
    """Who may see anything here. The gateway's policies decide first; this second lock holds when one of them is too wide."""
    officer_roles: frozenset[str] = frozenset({"security_officer"})
    """Who may change anything, and see both sides of a case; the same second lock."""
    simulated: bool = False
    """Say on every page that this is the demo."""

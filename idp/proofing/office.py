"""The proofing office: what officers do with identity proofings, and what a person may do with their own.

Every act is one transaction with the note that its event is made of, so it may be done by whatever process, beside the one that
serves: that one tells the log, and takes the proofing out of the person's open sessions, within a second.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.errors import GatewayError
from gateway.kernel.ids import new_id
from idp.keys import KeyFile
from idp.model import Event, ProofingCase, ProofingRecord, User
from idp.ports import EventSink
from idp.proofing.cases import Decided, NotDecided, Review, UnderReview
from idp.proofing.in_person import InPersonBackend, InPersonCounter, Looked, NotChecked
from idp.proofing.matching import Row, sides
from idp.proofing.own_data import own_data
from idp.proofing.port import ProofingBackend
from idp.proofing.recheck import ProofingError, Rechecker
from idp.settings import ProofingSettings
from idp.store import SqliteStore
from idp.store.changes import EndedWhy
from idp.store.invitations import Batch, Invitation
from idp.store.kept import Kept
from idp.store.rechecks import Recheck

__all__ = [
    "Batch",
    "CaseView",
    "Decided",
    "Invitation",
    "KeyUse",
    "Looked",
    "NotChecked",
    "NotDecided",
    "PersonStanding",
    "ProofingError",
    "ProofingOffice",
    "Recheck",
    "UnderReview",
]

SCHEDULE: Final = "schedule"
"""Who a run by schedule is by."""
_DAY: Final = 86_400
_LONGEST_INVITATION: Final = 400 * _DAY

log = logging.getLogger(__name__)


class PersonStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How an active or deactivated person stands with identity proofing."""

    user: User
    record: ProofingRecord | None
    """The newest, in force or not."""
    in_force: bool
    expiring: bool
    """In force, and over within `ProofingSettings.expiring_days` (or as many days as were asked for)."""
    open_case: str
    """Id of a case that waits for officers; empty: none."""
    invitation: Invitation | None
    """The newest one, also when it is done."""

    @property
    def invited_at(self) -> int | None:
        """When the person was last invited."""
        return self.invitation.invited_at if self.invitation is not None else None

    @property
    def due_at(self) -> int | None:
        """Until when they were to follow that invitation."""
        return self.invitation.due_at if self.invitation is not None else None


class CaseView(msgspec.Struct, frozen=True, kw_only=True):
    """A case, and, while it is open, what officers compare: for their eyes only."""

    case: ProofingCase
    user: User
    result: ProofingRecord | None
    """What would be kept."""
    rows: tuple[Row, ...]
    """Both sides, field by field; none where the case is over, or nothing of the card was read."""
    differences: tuple[str, ...]
    """`idp.proofing.matching`'s, and `new_card`."""


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """A key of person digests, and what it has made."""

    id: str
    """Empty: the installation's first one."""
    newest: bool
    there: bool
    """False: dropped or lost; the persons of these records are not recognised again."""
    living: int
    """Records that keep the key from being dropped: the newest of its account each, in force or expired."""
    others: int
    """Older records, and those that were ended."""


class ProofingOffice:
    """See the module. `by` is the login of who decided it (or the user of the operating system), for the log.

    Who may do what is for the caller to see to. ProofingError says what can't be done; trouble with the store or the log comes
    through.
    """

    def __init__(
        self, store: SqliteStore, keys: KeyFile, clock: Clock, events: EventSink, *,
        backend: ProofingBackend | None, lock: Path, settings: ProofingSettings, tell: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        """`tell` has what was noted told now; where another process does that, it does nothing."""
        self._store, self._keys, self._clock, self._events = store, keys, clock, events
        self._settings, self._tell = settings, tell
        self._review = Review(
            store, events, clock, keys.digest_keys, shared_cards=settings.shared_cards, case_days=settings.review_days,
            valid_seconds=settings.valid_days * _DAY,
        )  # fmt: skip
        self._counter: InPersonCounter | None = None
        if isinstance(backend, InPersonBackend):  # its codes and cases are in the store, where officers find them
            backend.use(store)
            self._counter = InPersonCounter(store, self._review, events, clock, backend.settings)
        self._rechecker = Rechecker(store, backend, clock, lock=lock)
        self._running: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ looking

    @property
    def documents(self) -> tuple[str, ...]:
        """What officers accept at the counter; empty where people are not proofed there."""
        return tuple(self._counter.documents) if self._counter is not None else ()

    async def standings(self, *, expiring_days: int | None = None) -> list[PersonStanding]:
        """Return everybody, by login, deactivated people included."""
        now = self._now()
        soon = now + _DAY * (self._settings.expiring_days if expiring_days is None else expiring_days)
        newest, invitations = await self._store.kept.newest(), await self._store.invitations.newest(now)
        cases = {case.user_id: case.id for case in await self._store.kept.cases(open_at=now)}
        found: list[PersonStanding] = []
        for user in await self._store.users.list():
            record = newest.get(user.id)
            in_force = record is not None and record.in_force(now)
            ends = record.expires_at if record is not None else None
            found.append(
                PersonStanding(
                    user=user, record=record, in_force=in_force, expiring=in_force and ends is not None and ends <= soon,
                    open_case=cases.get(user.id, ""), invitation=invitations.get(user.id),
                )
            )  # fmt: skip
        return found

    async def expiring(self, within_days: int | None = None) -> list[PersonStanding]:
        """Return active people whose proofing is over within so many days, the first to end first."""
        soon = [one for one in await self.standings(expiring_days=within_days) if one.expiring and one.user.active]
        return sorted(soon, key=lambda one: (one.record.expires_at or 0 if one.record is not None else 0, one.user.login))

    async def cases(self, *, all_of_them: bool = False) -> list[ProofingCase]:
        """Return the cases that wait for officers (or all that are kept), oldest first."""
        return await self._store.kept.cases(open_at=None if all_of_them else self._now())

    async def case(self, case_id: str) -> CaseView | None:
        """Return a case with both sides; None when it is unknown."""
        case = await self._store.cases.get(case_id)
        user = await self._store.users.get(case.user_id) if case is not None else None
        if case is None or user is None:
            return None
        held = await self._review.held(case_id)
        if held is None:
            return CaseView(case=case, user=user, result=None, rows=(), differences=())
        rows = sides(held.roster, held.verified) if held.verified is not None else ()
        return CaseView(case=case, user=user, result=held.record, rows=rows, differences=held.differences)

    async def keys_in_use(self) -> list[KeyUse]:
        """Return the keys of person digests, newest first, and then those that records name although they are gone."""
        living, used, ids = (
            await self._store.proofing.digest_keys_in_use(), await self._store.kept.digest_keys(), self._keys.digest_keys().ids
        )  # fmt: skip
        gone = sorted(set(used) - set(ids))
        return [
            KeyUse(
                id=name, newest=name == ids[0], there=name not in gone, living=living.get(name, 0),
                others=used.get(name, 0) - living.get(name, 0),
            )
            for name in (*ids, *gone)
        ]  # fmt: skip

    # ------------------------------------------------------------------ acts of officers

    async def invite(self, user_ids: Sequence[str] | None, *, by: str, due_at: int, batch: str = "") -> tuple[str, int]:
        """Invite these people, or (None) all active ones without a proofing in force; return the batch and how many were added.

        With the name of a `batch` of before, those are added who are not in it yet; said twice, it adds nobody twice.
        """
        now = self._now()
        if not now < due_at <= now + _LONGEST_INVITATION:
            raise ProofingError("the due date is not in the coming 400 days", todo="Choose another.")
        name = batch or new_id("inv")
        try:
            added = await self._store.invitations.invite(user_ids, batch=name, by=by, at=now, due_at=due_at)
        except ValueError as error:
            raise ProofingError(str(error)) from error
        # Told by and by: hundreds of them take seconds, for which no page waits.
        return name, added

    async def batches(self) -> list[Batch]:
        """Return how far the invitations are, newest batch first."""
        return await self._store.invitations.batches(self._now())

    async def invited(self, batch: str) -> list[Invitation]:
        """Return the active people of a batch, in the order in which they were invited; none: it is unknown."""
        return await self._store.invitations.of_batch(batch, self._now())

    async def invitations(self, user_id: str) -> list[Invitation]:
        """Return every invitation of an active person, newest first."""
        return await self._store.invitations.history(user_id, self._now())

    async def invitation_of(self, user_id: str) -> Invitation | None:
        """Return what a person is invited to and has not done; None: nothing."""
        return await self._store.invitations.of(user_id, self._now())

    async def decide(self, case_id: str, *, by: str, by_user: str = "", approve: bool, note: str = "") -> Decided | NotDecided:
        """Take an officer's word: `idp.proofing.cases.Review.decide`. `by_user` is their user id, where they have an account."""
        outcome = await self._review.decide(case_id, by, by_user, approve=approve, note=note)
        await self._tell()
        return outcome

    async def officer_check(
        self, login: str, code: str, looked: Looked, *, by: str, by_user: str = "", address: str = ""
    ) -> UnderReview | NotChecked:
        """Take the first officer's word on a person at the counter: `idp.proofing.in_person.counter`. The second one's is
        `decide`. ProofingError: people are not proofed at a counter here.
        """
        if self._counter is None:
            raise ProofingError("people are not proofed at a counter here", todo='Write [idp] proofing = "in-person".')
        outcome = await self._counter.check(login, code, looked, by=by, by_user=by_user, address=address)
        await self._tell()
        return outcome

    async def end(self, user_id: str, *, why: EndedWhy, by: str) -> int:
        """End a person's proofing that is in force; how many records ended (0: there was none)."""
        ended = await self._store.accounts.end_proofing(user_id, why=why, by=by, at=self._now())
        await self._tell()
        return ended

    async def rotate_key(self) -> str:
        """Make a new key for person digests; return its id."""
        return await self._keys.rotate_digest(self._now())

    async def drop_key(self, name: str) -> None:
        """Forget an old key that no living record uses (`KeyUse.living`). ConfigError when it can't be dropped."""
        await self._keys.drop_digest(name, in_use=await self._store.proofing.digest_keys_in_use())

    # ------------------------------------------------------------------ asking again

    async def recheck(self, *, by: str) -> None:
        """Begin to ask the verifier about every proofing in force, in the background: `rechecks` shows the progress.

        ProofingError: no verifier is configured, or a run is going on.
        """
        self._rechecker.check_free()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(by), name="idp-recheck")

    async def recheck_now(self, *, by: str) -> Recheck:
        """The same, and wait for its end."""
        return await self._rechecker.run(self._keys.digest_keys(), by=by)

    async def recheck_if_due(self) -> Recheck | None:
        """Go on with a run that was broken off, or begin one by schedule. None: nothing was to be done."""
        return await self._rechecker.run_if_due(self._keys.digest_keys(), every_hours=self._settings.recheck_hours, by=SCHEDULE)

    async def rechecks(self, limit: int = 20) -> list[Recheck]:
        """Return the runs, newest first, one that goes on included."""
        return await self._store.rechecks.list(limit)

    async def _run(self, by: str) -> None:
        try:
            await self._rechecker.run(self._keys.digest_keys(), by=by)
        except GatewayError:
            # Nobody waits for this task. The run stays unfinished, which shows, and is gone on with by the chores.
            log.exception("rechecking the proofings was broken off")

    # ------------------------------------------------------------------ a person's own

    async def own_view(self, user_id: str) -> Kept:
        """Return what is kept about a person's proofings."""
        return await self._store.kept.of(user_id)

    async def export(self, user_id: str, *, by: str = "", address: str = "") -> Mapping[str, object]:
        """Return all of it as JSON values; the log is told first. `by` empty: the person themselves."""
        user = await self._user(user_id)
        now = self._now()
        await self._events.record(
            Event(name="proofing.exported", outcome="success", at=now, login=user.login, subject=user.id, address=address, by=by)
        )
        kept = await self._store.kept.of(user_id)
        held = {case.id: await self._review.held(case.id) for case in kept.cases if case.state == "open"}
        return own_data(user, kept, {case: one for case, one in held.items() if one is not None}, now)

    async def delete(self, user_id: str, *, by: str) -> Kept:
        """Delete everything that is kept about a person's proofings; return what it was. The log says that it was done."""
        kept = await self._store.kept.delete(user_id, by=by, at=self._now())
        if kept is None:
            raise ProofingError("there is no such person any more")
        await self._tell()
        return kept

    # ------------------------------------------------------------------ housekeeping

    async def close(self) -> None:
        """Break off a run that goes on; another process, or the next start, goes on with it."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
            self._running = None

    async def find(self, name: str) -> User:
        """Return whom a login name or e-mail address means."""
        user = await self._store.users.by_login(name)
        if user is None:
            raise ProofingError(f"there is nobody called {name!r}", todo="The list of accounts shows who is there.")
        return user

    async def _user(self, user_id: str) -> User:
        user = await self._store.users.get(user_id)
        if user is None:
            raise ProofingError("there is no such person any more")
        return user

    def _now(self) -> int:
        return int(self._clock.now())

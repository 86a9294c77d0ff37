"""The embedded provider's proofing office, as the console wants it: plain values, nothing of `idp` in them."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import msgspec

from gateway.console.parts import JAPAN
from gateway.console.proofing_port import (
    Case,
    EndReason,
    History,
    Invited,
    KeyUse,
    OfficeRefusal,
    Person,
    Progress,
    Proof,
    Recheck,
    Seen,
    SideRow,
    Sides,
    Standing,
    State,
)
from gateway.kernel.clock import Clock
from idp.model import ProofingCase, ProofingRecord, User
from idp.proofing.in_person import Looked
from idp.proofing.letters import letter
from idp.proofing.office import Invitation, NotChecked, NotDecided, PersonStanding, ProofingError, ProofingOffice

_DAY: Final = 86_400


class ConsoleOffice:
    """Implements `gateway.console.proofing_port.ProofingOffice`."""

    def __init__(self, office: ProofingOffice, clock: Clock, *, verifier: str, expiring_days: int) -> None:
        self._office, self._clock = office, clock
        self.verifier: Final = verifier
        self.expiring_days: Final = expiring_days

    @property
    def documents(self) -> tuple[str, ...]:
        """What the counter accepts."""
        return self._office.documents

    # ------------------------------------------------------------------ looking

    async def standings(self, expiring_days: int | None = None) -> list[Standing]:
        """Return everybody."""
        return [self._standing(one) for one in await self._office.standings(expiring_days=expiring_days)]

    async def history(self, person_id: str) -> History | None:
        """Return what is kept of one person, newest first."""
        found = next((one for one in await self._office.standings() if one.user.id == person_id), None)
        if found is None:
            return None
        kept, person = await self._office.own_view(person_id), _person(found.user)
        return History(
            standing=self._standing(found),
            proofs=tuple(self._proof(record) for record in reversed(kept.records)),
            cases=tuple(_case(case, person) for case in reversed(kept.cases)),
            invitations=tuple(_invited(one) for one in await self._office.invitations(person_id)),
            bindings=len(kept.bindings),
        )  # fmt: skip

    async def cases(self, *, all_of_them: bool = False) -> list[Case]:
        """Return the cases, of people who are there."""
        people = {one.user.id: _person(one.user) for one in await self._office.standings()}
        cases = await self._office.cases(all_of_them=all_of_them)
        return [_case(case, people[case.user_id]) for case in cases if case.user_id in people]

    async def case(self, case_id: str) -> Case | None:
        """Return a case, and nothing of what it holds."""
        return next((case for case in await self.cases(all_of_them=True) if case.id == case_id), None)

    async def sides(self, case_id: str) -> Sides | None:
        """Return what a case holds."""
        view = await self._office.case(case_id)
        if view is None or view.result is None:
            return None
        rows = tuple(SideRow(field=row.field, roster=row.roster, card=row.card, equal=row.equal) for row in view.rows)
        return Sides(rows=rows, differences=view.differences, result=self._proof(view.result))

    # ------------------------------------------------------------------ acts

    async def decide(self, case_id: str, *, by: str, by_user: str, approve: bool, note: str) -> str:
        """Take an officer's word."""
        outcome = await self._office.decide(case_id, by=by, by_user=by_user, approve=approve, note=note)
        return f"not:{outcome.reason}" if isinstance(outcome, NotDecided) else outcome.state

    async def check(self, login: str, code: str, seen: Seen, *, by: str, by_user: str, address: str) -> str:
        """Take the first officer's word at the counter."""
        try:
            looked = msgspec.convert(msgspec.to_builtins(seen), Looked)
        except msgspec.ValidationError:  # a document that there is none of
            return "not:not_accepted"
        try:
            outcome = await self._office.officer_check(login, code, looked, by=by, by_user=by_user, address=address)
        except ProofingError as error:
            raise OfficeRefusal(str(error)) from error
        return f"not:{outcome.reason}" if isinstance(outcome, NotChecked) else outcome.case_id

    async def invite(self, people: Sequence[str] | None, *, by: str, due_at: int, batch: str) -> int:
        """Invite people."""
        try:
            _, added = await self._office.invite(people, by=by, due_at=due_at, batch=batch)
        except ProofingError as error:
            raise OfficeRefusal(str(error)) from error
        return added

    async def batches(self) -> list[Progress]:
        """Return the batches."""
        return [
            Progress(
                id=one.id, by=one.invited_by, at=one.invited_at, due_at=one.due_at, invited=one.invited, done=one.done,
                review=one.review, open=one.open, overdue=one.overdue,
            )
            for one in await self._office.batches()
        ]  # fmt: skip

    async def invited(self, batch: str) -> list[Invited]:
        """Return a batch's people."""
        return [_invited(one) for one in await self._office.invited(batch)]

    async def recheck(self, *, by: str) -> None:
        """Begin a run."""
        try:
            await self._office.recheck(by=by)
        except ProofingError as error:
            raise OfficeRefusal(str(error)) from error

    async def rechecks(self) -> list[Recheck]:
        """Return the runs."""
        return [
            Recheck(
                number=one.number, started_at=one.started_at, by=one.started_by, finished_at=one.finished_at, total=one.total,
                asked=one.asked, valid=one.valid, revoked=one.revoked, expired=one.expired, unknown=one.unknown,
            )
            for one in await self._office.rechecks()
        ]  # fmt: skip

    async def keys(self) -> list[KeyUse]:
        """Return the keys of person digests."""
        return [
            KeyUse(id=one.id, newest=one.newest, there=one.there, living=one.living, others=one.others)
            for one in await self._office.keys_in_use()
        ]

    async def end(self, person_id: str, *, why: EndReason, by: str) -> int:
        """End a person's proofing."""
        return await self._office.end(person_id, why=why, by=by)

    async def delete(self, person_id: str, *, by: str) -> bool:
        """Delete a person's proofings."""
        try:
            await self._office.delete(person_id, by=by)
        except ProofingError:  # the person went meanwhile
            return False
        return True

    # ------------------------------------------------------------------ values

    def _standing(self, one: PersonStanding) -> Standing:
        proof = self._proof(one.record) if one.record is not None else None
        state: State = "none" if proof is None else proof.state
        if one.in_force:  # "soon" as it was asked for
            state = "expiring" if one.expiring else "in_force"
        return Standing(
            person=_person(one.user), proof=proof, state=state, open_case=one.open_case,
            invited=_invited(one.invitation) if one.invitation is not None else None,
        )  # fmt: skip

    def _proof(self, record: ProofingRecord) -> Proof:
        now = int(self._clock.now())
        state: State = "in_force" if record.in_force(now) else "ended" if record.ended_at is not None else "expired"
        if state == "in_force" and record.expires_at is not None and record.expires_at <= now + self.expiring_days * _DAY:
            state = "expiring"
        return Proof(
            level=record.level, method=record.method, evidence=record.evidence, verifier=record.verifier,
            transaction=record.transaction, verified_at=record.verified_at, expires_at=record.expires_at,
            checked_at=record.checked_at or None, ended_at=record.ended_at, ended_why=record.ended_why, state=state,
            letter_then=letter(record.method, _day(record.verified_at)), letter_now=letter(record.method, _day(now)),
        )  # fmt: skip


def _day(at: int) -> date:
    return datetime.fromtimestamp(at, JAPAN).date()  # the law's days


def _person(user: User) -> Person:
    return Person(id=user.id, login=user.login, name=user.name, department=user.department, active=user.active)


def _case(case: ProofingCase, person: Person) -> Case:
    return Case(
        id=case.id, person=person, kind=case.kind, state=case.state, opened_at=case.opened_at, expires_at=case.expires_at,
        first_by=case.first_by, first_at=case.first_at, decided_by=case.decided_by, decided_at=case.decided_at, note=case.note,
    )  # fmt: skip


def _invited(one: Invitation) -> Invited:
    return Invited(
        person_id=one.user_id, batch=one.batch, by=one.invited_by, at=one.invited_at, due_at=one.due_at, state=one.state
    )

"""The proofing office as the console sees it: plain values, and what an officer may ask of it.

The composition root adapts the embedded provider's office; where another provider proofs people, there is none. Times are epoch
seconds. `by` is the officer's login and `by_user` their id at the provider, both out of the assertion, never out of a form.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

State = Literal["none", "in_force", "expiring", "expired", "ended"]
"""How somebody stands: `expiring` is in force, and over soon; `ended`: before its time."""
EndReason = Literal["officer", "revoked", "withdrawn"]
"""Why an officer ends a proofing: the house's own reason, the verifier's word by another way, the person's wish."""
InvitationState = Literal["open", "review", "done", "overdue"]
CaseState = Literal["open", "approved", "rejected", "expired", "replaced"]


class OfficeRefusal(Exception):  # noqa: N818  it names an answer, not a fault
    """What was asked can't be done; the message says why, in the office's English."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an account."""

    id: str
    login: str
    name: str
    department: str
    active: bool


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One proofing, in force or not."""

    level: int
    method: str
    evidence: str
    verifier: str
    transaction: str
    verified_at: int
    expires_at: int | None
    checked_at: int | None
    """When the verifier last said that it holds; None: it was never asked."""
    ended_at: int | None
    ended_why: str
    state: State
    letter_then: str | None
    """The method's letter in the law on criminal proceeds on the day of the proofing, for information only; None: it has none."""
    letter_now: str | None
    """The same today."""


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's part of a batch of invitations."""

    person_id: str
    batch: str
    by: str
    at: int
    due_at: int
    state: InvitationState


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, and how they stand."""

    person: Person
    proof: Proof | None
    """The newest."""
    state: State
    open_case: str
    """Id of a case that waits for officers; empty: none."""
    invited: Invited | None
    """The newest invitation, also when it is done."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A result that officers have to look at, or had to."""

    id: str
    person: Person
    kind: str
    """`near_miss`, `new_card`, `in_person`."""
    state: CaseState
    opened_at: int
    expires_at: int
    first_by: str
    """Login of the first of two officers; empty: none, or one is enough."""
    first_at: int | None
    decided_by: str
    decided_at: int | None
    note: str


class SideRow(msgspec.Struct, frozen=True, kw_only=True):
    """One field of both sides; what can't be seen is written out."""

    field: str
    roster: str
    card: str
    equal: bool | None
    """None where a side has none."""


class Sides(msgspec.Struct, frozen=True, kw_only=True):
    """What officers compare of an open case: for the eyes of officers only."""

    rows: tuple[SideRow, ...]
    """Empty where nothing of the card was read."""
    differences: tuple[str, ...]
    result: Proof
    """What would be kept."""

    def __repr__(self) -> str:
        return "Sides(***)"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch of invitations is."""

    id: str
    by: str
    at: int
    due_at: int
    invited: int
    done: int
    review: int
    open: int
    overdue: int


class Recheck(msgspec.Struct, frozen=True, kw_only=True):
    """One run of asking the verifier again; `finished_at` None: it goes on, or was broken off and will be gone on with."""

    number: int
    started_at: int
    by: str
    finished_at: int | None
    total: int
    asked: int
    valid: int
    revoked: int
    expired: int
    unknown: int


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """A key of person digests, and how many records have one of it."""

    id: str
    """Empty: the first one."""
    newest: bool
    there: bool
    living: int
    others: int


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is kept of one person's proofings, newest first."""

    standing: Standing
    proofs: tuple[Proof, ...]
    cases: tuple[Case, ...]
    invitations: tuple[Invited, ...]
    bindings: int
    """How many authenticators are bound to them."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the first officer typed from a document at the counter."""

    document: str
    name: str
    birth_date: str
    kana: str

    def __repr__(self) -> str:
        return "Seen(***)"


class ProofingOffice(Protocol):
    """See the module. Trouble with store or log comes through as StoreUnavailable and AuditError."""

    @property
    def verifier(self) -> str:
        """What `[idp] proofing` names; `none`: nobody is proofed here now, but records of before may be there."""
        ...

    @property
    def expiring_days(self) -> int:
        """How long before its end a proofing counts as ending soon, unless asked otherwise."""
        ...

    @property
    def documents(self) -> tuple[str, ...]:
        """What officers accept at the counter; empty: there is no counter."""
        ...

    async def standings(self, expiring_days: int | None = None) -> list[Standing]:
        """Return everybody, by login, deactivated people included."""
        ...

    async def history(self, person_id: str) -> History | None:
        """Return everything about one person; None: there is no such person."""
        ...

    async def cases(self, *, all_of_them: bool = False) -> list[Case]:
        """Return the cases that wait for officers (or all that are kept), oldest first."""
        ...

    async def case(self, case_id: str) -> Case | None:
        """Return a case without what is held with it; None: it is unknown."""
        ...

    async def sides(self, case_id: str) -> Sides | None:
        """Return what is held with a case; None unless it is open and not expired."""
        ...

    async def decide(self, case_id: str, *, by: str, by_user: str, approve: bool, note: str) -> str:
        """Take an officer's word. Return the state after it (`approved`, `rejected`, `open`), or `not:` and why it has no
        effect.
        """
        ...

    async def check(self, login: str, code: str, seen: Seen, *, by: str, by_user: str, address: str) -> str:
        """Take the first officer's word on somebody at the counter. Return the id of the case that waits for the second one, or
        `not:` and why there is none.
        """
        ...

    async def invite(self, people: Sequence[str] | None, *, by: str, due_at: int, batch: str) -> int:
        """Invite these people, or (None) all active ones without a proofing in force; return how many were added to the batch.
        Said twice, nobody is added twice. OfficeRefusal.
        """
        ...

    async def batches(self) -> list[Progress]:
        """Return how far the invitations are, newest batch first."""
        ...

    async def invited(self, batch: str) -> list[Invited]:
        """Return the active people of a batch; none: it is unknown."""
        ...

    async def recheck(self, *, by: str) -> None:
        """Begin to ask the verifier about everything in force, beside this. OfficeRefusal: a run goes on, or nobody can be
        asked.
        """
        ...

    async def rechecks(self) -> list[Recheck]:
        """Return the newest runs, newest first."""
        ...

    async def keys(self) -> list[KeyUse]:
        """Return the keys of person digests, newest first."""
        ...

    async def end(self, person_id: str, *, why: EndReason, by: str) -> int:
        """End what is in force of a person; how many ended."""
        ...

    async def delete(self, person_id: str, *, by: str) -> bool:
        """Delete everything about a person's proofings; False: there is no such person."""
        ...

"""What identity proofing needs from storage: results, cases that wait for officers, and bound authenticators.

The rules of `idp.ports` hold, where these stand with the others.
"""

from collections.abc import Collection
from typing import Literal, Protocol

import msgspec

from gateway.kernel.secret import Secret
from idp.model import PersonDigest, ProofingCase, ProofingRecord

KeepRefusal = Literal["inactive", "over", "used", "keys_unknown", "person_of_other_account", "new_card"]
"""Why a result is not kept: its account is deactivated or gone; it has ended by itself; its reference was recorded before; living
records have digests of keys that were not looked under; the person was proofed on another active account; another card of this
account is in force."""
CaseRefusal = Literal["unknown", "decided", "expired", "replaced", "own_case", "same_officer", KeepRefusal]
"""Why an officer's word has no effect."""
CaseVerdict = Literal["approved", "rejected", "open"]
"""What an officer's word makes of a case; `open`: the first of two said yes."""


class ProofingStore(Protocol):
    """Results of identity proofing."""

    async def latest(self, user_id: str) -> ProofingRecord | None:
        """Return the newest record of a person, expired or not."""
        ...

    async def judge(
        self, record: ProofingRecord, digests: Collection[PersonDigest], *, now: int, shared: bool = False, rebind: bool = False
    ) -> KeepRefusal | None:
        """Return why `keep` would refuse, at this moment; None when it would not."""
        ...

    async def keep(
        self, record: ProofingRecord, digests: Collection[PersonDigest], *, now: int, by: str = "", shared: bool = False,
        rebind: bool = False,
    ) -> ProofingRecord | KeepRefusal:  # fmt: skip
        """Keep a result that may be kept, and return it with its number, in one transaction: of two results for one person on two
        accounts at the same instant one is refused. `digests` are all that records of this
        person may have (`DigestKeys.candidates`).

        `shared` lets one person have several accounts, `rebind` another card replace the one in force. What was in force before
        ends (`replaced`), also on a deactivated account with the same card; older records of the person move to the newest
        digest, open cases of the account close; the running provider tells `proofing.added`, with `by`.
        """
        ...

    async def known(self, user_id: str, digests: Collection[PersonDigest]) -> bool:
        """Whether an earlier record of this account is of one of these, and did not end by revocation, reset, an officer or the
        person.
        """
        ...

    async def rekey(self, number: int, digest: PersonDigest) -> None:
        """Give the record with this number the newest key's digest of the same person."""
        ...

    async def digest_keys_in_use(self) -> dict[str, int]:
        """Return how many living records use which digest key (by id). Living: the newest of its account, in force or expired."""
        ...


class CaseRuling(msgspec.Struct, frozen=True, kw_only=True):
    """What an officer says to a case."""

    by: str
    """The officer's login."""
    by_user: str
    """The officer's user id, where there is one here; else empty."""
    approve: bool
    note: str
    at: int


class CaseStore(Protocol):
    """Results that wait for officers. What is held with a case is encrypted, bound to it, and deleted once it is not open."""

    async def open(self, case: ProofingCase, held: Secret) -> None:
        """Store a new case. It closes whatever was open of the same person."""
        ...

    async def get(self, case_id: str) -> ProofingCase | None:
        """Return a case, open or not."""
        ...

    async def held(self, case_id: str, now: int) -> Secret | None:
        """Return what is held with a case; None unless it is open and not expired."""
        ...

    async def waiting(self, now: int) -> list[ProofingCase]:
        """Return the open cases that are not expired, oldest first."""
        ...

    async def judge(
        self, case_id: str, ruling: CaseRuling, record: ProofingRecord, digests: Collection[PersonDigest], *, shared: bool
    ) -> CaseVerdict | CaseRefusal:
        """Return what `decide` would make of the case at this moment."""
        ...

    async def decide(
        self, case_id: str, ruling: CaseRuling, record: ProofingRecord, digests: Collection[PersonDigest], *, shared: bool
    ) -> tuple[CaseVerdict, ProofingRecord | None] | CaseRefusal:
        """Apply a ruling in one transaction, or refuse it and change nothing; return the state after it, and what was kept.

        Nobody decides on themselves, whatever login they use. One officer rejects; approving `in_person` takes two: the first
        one's word leaves it open. A result that is approved is judged as in `ProofingStore.keep`, but may replace another card.
        """
        ...

    async def expire(self, now: int) -> int:
        """Close cases whose time is over, and delete what they hold; how many."""
        ...


class BindingStore(Protocol):
    """Which authenticators a proofing is bound to, under the names of `idp.protocol.binding`. What is removed, or replaced, is no
    longer bound.
    """

    async def of(self, proofing: int) -> frozenset[str]:
        """Return what is bound to the proofing of this number (`ProofingRecord.number`)."""
        ...

    async def bind(self, proofing: int, authenticators: Collection[str], at: int) -> None:
        """Bind authenticators; those that the person does not have (any more) are passed over, and nothing is bound to a proofing
        that was ended.
        """
        ...

    async def hold(self, case_id: str, authenticators: Collection[str]) -> None:
        """Remember what is to be bound when officers approve a case."""
        ...

    async def held(self, case_id: str) -> frozenset[str]:
        """Return what waits for a case, and forget it."""
        ...

    async def confirm(self, proofing: int, claims: Collection[str]) -> None:
        """Remember which entries of the ledger (`name`, `birthdate`) a proofing confirmed. It is over when the entry changes."""
        ...

    async def confirmed(self, proofing: int) -> frozenset[str]:
        """Return which entries a proofing confirmed that were not changed since."""
        ...

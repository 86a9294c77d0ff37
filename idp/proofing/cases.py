"""Review: results that officers have to look at before they count. Never a silent yes, never a bare no.

A case holds both sides and the result that waits, encrypted, until it is decided or its time is over; then they are deleted.
"""

import unicodedata
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from idp.bindings import Binder
from idp.model import CaseKind, Event, PersonDigest, ProofingCase, ProofingRecord, User
from idp.ports import EventSink, Store
from idp.proofing.digest import DigestKeys
from idp.proofing.matching import Roster, Same, match, roster_of
from idp.proofing.port import Proofed, Verified
from idp.stored_proofing import CaseRefusal, CaseRuling, CaseVerdict

CASE_DAYS: Final = 14
_DAY: Final = 86_400
_LONGEST_NOTE: Final = 500


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed in a case."""

    record: ProofingRecord
    """The result as it will be kept."""
    digests: tuple[PersonDigest, ...]
    """What its person may be known by, for each key."""
    roster: Roster
    """The staff ledger's side, as it was when the case was opened."""
    verified: Verified | None
    """The card's side; None where nothing of it was read."""
    differences: tuple[str, ...]


class UnderReview(msgspec.Struct, frozen=True, kw_only=True):
    """The result waits for an officer."""

    case_id: str
    kind: CaseKind


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """An officer's word counts."""

    case_id: str
    user_id: str
    state: CaseVerdict
    record: ProofingRecord | None = None
    """What is kept, of a case that was approved."""


class NotDecided(msgspec.Struct, frozen=True, kw_only=True):
    """An officer's word has no effect, and why. Where the case is still open, it can still be rejected."""

    reason: CaseRefusal


def result_of(
    user: User, proofed: Proofed, keys: DigestKeys, *, valid_seconds: int = 0
) -> tuple[ProofingRecord, tuple[PersonDigest, ...]]:
    """Return what is to be kept of a result, and what its person may be known by.

    `valid_seconds` limits it, counted from the verification; 0: its verifier's own limit is all.
    """
    digests = keys.candidates(proofed.verifier, proofed.person)
    limits = [proofed.expires_at] if proofed.expires_at is not None else []
    limits += [proofed.verified_at + valid_seconds] if valid_seconds else []
    record = ProofingRecord(
        user_id=user.id, level=proofed.level, method=proofed.method, verified_at=proofed.verified_at,
        expires_at=min(limits) if limits else None, verifier=proofed.verifier, transaction=proofed.transaction,
        person_digest=digests[0].digest, digest_key=digests[0].key, evidence=proofed.evidence,
    )  # fmt: skip
    return record, digests


def confirmed(user: User, notes: Collection[str]) -> frozenset[str]:
    """Return the entries of the ledger that a card confirms which is the same but for `notes`, under the names of claims: what
    may be stated to others. A former name, or substitutes for letters that the card lacks, do not confirm the name as it stands.
    """
    found = {"birthdate"} if user.birth_date else set()
    return frozenset(found if {"former_name", "substitute"} & set(notes) else found | {"name"})


class Review:
    """Opens cases and takes officers' decisions. Who is an officer is for the caller to know."""

    def __init__(
        self, store: Store, events: EventSink, clock: Clock, keys: Callable[[], DigestKeys], *, shared_cards: bool = False,
        case_days: int = CASE_DAYS, valid_seconds: int = 0,
    ) -> None:  # fmt: skip
        """`keys` returns the digest keys of now; `shared_cards` lets one person be proofed on several active accounts."""
        self._store, self._events, self._clock, self._keys = store, events, clock, keys
        self._shared, self._case_seconds, self._valid = shared_cards, case_days * _DAY, valid_seconds
        self._binder = Binder(store, events, clock)

    async def open(
        self, user: User, kind: CaseKind, proofed: Proofed, *, differences: tuple[str, ...] = (), address: str = "",
        first_by: str = "",
    ) -> UnderReview:  # fmt: skip
        """Have a result looked at. `first_by`: login of the officer who made it, whose word is the first of two (`in_person`).

        The log is told first. A case that was open of this person closes.
        """
        now = int(self._clock.now())
        record, digests = result_of(user, proofed, self._keys(), valid_seconds=self._valid)
        held = Held(record=record, digests=digests, roster=roster_of(user), verified=proofed.attributes, differences=differences)
        case = ProofingCase(
            id=new_id("case"), user_id=user.id, kind=kind, opened_at=now, expires_at=now + self._case_seconds,
            first_by=first_by, first_at=now if first_by else None,
        )  # fmt: skip
        detail = {"method": proofed.method, "case": case.id, "kind": kind}
        if differences:
            detail["differences"] = " ".join(differences)
        await self._tell("proofing.review", user, first_by, detail, address=address)
        await self._store.cases.open(case, Secret(msgspec.json.encode(held).decode()))
        return UnderReview(case_id=case.id, kind=kind)

    async def held(self, case_id: str) -> Held | None:
        """Return what officers have to compare; None unless the case is open and not expired."""
        found = await self._store.cases.held(case_id, int(self._clock.now()))
        return msgspec.json.decode(found.reveal(), type=Held) if found is not None else None

    async def decide(
        self, case_id: str, officer_login: str, officer_user_id: str, *, approve: bool, note: str = ""
    ) -> Decided | NotDecided:
        """Take an officer's word: in one transaction what was held is deleted and, if approved, the result kept.

        `officer_user_id` is empty for an officer without an account here. The rules of `ProofingStore.keep` hold again.
        ValueError when no officer is named. A decision that can't be logged is not made.
        """
        if not officer_login.strip():
            raise ValueError("a decision needs an officer")
        case, held = await self._store.cases.get(case_id), await self.held(case_id)
        if case is None:
            return NotDecided(reason="unknown")
        user = await self._store.users.get(case.user_id)
        if user is None:
            return NotDecided(reason="unknown")
        if held is None:
            return await self._not_decided(user, case, officer_login, await self._why_over(case_id))
        ruling = CaseRuling(
            by=officer_login, by_user=officer_user_id, approve=approve, note=_clean(note), at=int(self._clock.now())
        )
        if approve and held.record.digest_key not in self._keys().ids:
            return await self._not_decided(user, case, officer_login, "keys_unknown")
        record, digests, shared = held.record, held.digests, self._shared
        verdict = await self._store.cases.judge(case_id, ruling, record, digests, shared=shared)
        if verdict != "approved" and verdict != "rejected" and verdict != "open":  # noqa: PLR1714  so that the type is told
            return await self._not_decided(user, case, officer_login, verdict)
        decision = "confirmed" if verdict == "open" else verdict
        await self._tell("proofing.decided", user, officer_login, {"case": case_id, "kind": case.kind, "decision": decision})
        outcome = await self._store.cases.decide(case_id, ruling, record, digests, shared=shared)
        if isinstance(outcome, str):  # somebody was quicker
            return await self._not_decided(user, case, officer_login, outcome)
        kept = outcome[1]
        if kept is not None:
            await self._binder.approved(user, kept, case_id)
            today = datetime.fromtimestamp(self._clock.now(), UTC).date()
            read = match(held.roster, held.verified, today=today) if held.verified is not None else None
            if isinstance(read, Same) and held.roster == roster_of(user):
                await self._store.bindings.confirm(kept.number, confirmed(user, read.notes))
        return Decided(case_id=case_id, user_id=case.user_id, state=outcome[0], record=kept)

    async def _why_over(self, case_id: str) -> CaseRefusal:
        case = await self._store.cases.get(case_id)
        match case.state if case is not None else None:
            case None:
                return "unknown"
            case "replaced":
                return "replaced"
            case "open" | "expired":
                return "expired"
            case _:
                return "decided"

    async def _not_decided(self, user: User, case: ProofingCase, officer: str, reason: CaseRefusal) -> NotDecided:
        detail = {"case": case.id, "kind": case.kind, "reason": reason}
        await self._tell("proofing.decided", user, officer, detail, failed=True)
        return NotDecided(reason=reason)

    async def _tell(
        self, name: Literal["proofing.review", "proofing.decided"], user: User, by: str, detail: dict[str, str], *,
        address: str = "", failed: bool = False,
    ) -> None:  # fmt: skip
        await self._events.record(
            Event(
                name=name, outcome="failure" if failed else "success", at=int(self._clock.now()), login=user.login,
                subject=user.id, address=address, by=by, detail=detail,
            )
        )  # fmt: skip


def _clean(note: str) -> str:
    """Return an officer's note on one line, without characters that are not seen."""
    shown = "".join(" " if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} else char for char in note)
    return " ".join(shown.split())[:_LONGEST_NOTE]

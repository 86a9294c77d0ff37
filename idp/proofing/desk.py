"""What happens around any backend: its state is used once, by the browser that it belongs to; the card is compared with the staff
ledger; the result is kept, and no more, or waits for an officer (`cases`).
"""

import asyncio
import logging
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Final, Literal

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.errors import GatewayError
from gateway.kernel.secret import hash_token
from idp.model import Event, PersonDigest, ProofingRecord, User
from idp.ports import EventSink, Store
from idp.proofing.cases import CASE_DAYS, Review, UnderReview, confirmed, result_of
from idp.proofing.digest import DigestKeys
from idp.proofing.faults import told
from idp.proofing.handover import Ended, HandOver, InProgress, State
from idp.proofing.matching import Different, Near, Same, match, roster_of
from idp.proofing.port import (
    Broken,
    NotProofed,
    NotProofedReason,
    Outcome,
    Person,
    Proofed,
    ProofingBackend,
    Purpose,
    Show,
)
from idp.stored_proofing import KeepRefusal

__all__ = ["Ended", "HandOver", "Pending", "ProofingDesk", "Refused", "RefusedReason", "Taken", "UnderReview"]

_JAPAN: Final = timezone(timedelta(hours=9))
_LONGEST_DETAIL: Final = 200
_WITHHELD: Final = "the backend failed, and put personal data into its report"

RefusedReason = Literal[NotProofedReason, "stale", "person_of_other_account"]
"""`stale`: unknown, used, expired, another browser's or another person's state; what was in it does not matter."""
_REFUSED: Final[dict[KeepRefusal, RefusedReason]] = {
    "inactive": "stale", "used": "stale", "over": "card_expired", "person_of_other_account": "person_of_other_account",
}  # fmt: skip
"""`used`: the verifier's reference was recorded before, an old answer has come back."""

log = logging.getLogger(__name__)


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A proofing in progress: the page to show, and the name to give back with the answer."""

    show: Show
    name: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The person is not proofed, and why."""

    reason: RefusedReason


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A proofing that this browser took over from another one: whose it is, what to show, and the number to compare."""

    user: User
    pending: Pending
    number: str


class ProofingDesk:
    """Runs proofings with one backend and keeps their results.

    One natural person, one active account, unless `shared_cards` says otherwise: a person who was proofed on another active
    account is refused, and of two at the same instant one is. Another card than the one in force is neither refused nor taken
    silently.
    """

    def __init__(
        self, backend: ProofingBackend, store: Store, events: EventSink, clock: Clock, keys: Callable[[], DigestKeys], *,
        shared_cards: bool = False, case_days: int = CASE_DAYS, valid_days: int = 0, ttl_seconds: int = 600,
        answer_seconds: float = 30.0,
    ) -> None:  # fmt: skip
        """`keys` returns the digest keys of now: losing them loses only the recognition of the same person. A proofing may take
        `ttl_seconds`, the backend's verdict `answer_seconds`; a result counts for `valid_days` at the longest (0: as long as its
        verifier says), a case waits for `case_days`.
        """
        self.backend: Final = backend
        self._store, self._events, self._clock, self._keys = store, events, clock, keys
        self._shared, self._valid, self._patience = shared_cards, valid_days * 86_400, answer_seconds
        self._progress = InProgress(store.once, clock, ttl_seconds=ttl_seconds)
        self.review: Final = Review(
            store, events, clock, keys, shared_cards=shared_cards, case_days=case_days, valid_seconds=self._valid
        )

    # ---------------------------------------------------------------- begin

    async def begin(
        self, user: User, purpose: Purpose, browser: str, address: str, *, transaction_id: str = "", consent: str = ""
    ) -> Pending | Broken:
        """Start for one person in one browser (`browser`: the value of its binding cookie), for a sign-in or for none.

        `consent`: a mark of the text that the person agreed to, for the log; empty: nobody was asked.
        """
        await self._tell("proofing.started", user, address, {"purpose": purpose} | ({"consent": consent} if consent else {}))
        person = Person(user_id=user.id, name=user.name, birth_date=user.birth_date, kana=user.kana)
        try:
            async with asyncio.timeout(self._patience):
                started = await self.backend.begin(person, purpose)
        except TimeoutError:
            started = Broken(detail="no answer in time at the start")
        except Exception as error:  # noqa: BLE001  whatever a backend's fault is: it says nothing about the person
            started = Broken(detail=told(error))
        if isinstance(started, Broken):
            return await self._broken(user, address, started)
        state = State(
            user_id=user.id, browser=hash_token(browser), method=self.backend.method, purpose=purpose, state=started.state,
            show=started.show, transaction_id=transaction_id, begun_at=int(self._clock.now()),
        )  # fmt: skip
        name = await self._progress.begin(state, started)
        if name is None:
            return await self._broken(user, address, Broken(detail="the backend gave the same handle twice"))
        return Pending(show=started.show, name=name)

    async def pending(self, user: User, name: str, browser: str) -> Pending | None:
        """Return what `begin` returned, to show it again; None when it is over, or of another person or browser."""
        state = self._own(await self._progress.look(name, browser), user)
        return Pending(show=state.show, name=name) if state is not None else None

    async def returned(self, query: Mapping[str, str], browser: str) -> tuple[str, str] | None:
        """Return the name of what this browser comes back from the verifier with, and the id of its sign-in (empty: none). The
        query itself is the answer to `complete` it with. None: nothing is in progress here that it belongs to.
        """
        name = query.get("state", "")
        state = await self._progress.look(name, browser)
        return (name, state.transaction_id) if state is not None else None

    # ---------------------------------------------------------------- hand-over

    async def hand_over(self, user: User, name: str, browser: str) -> HandOver | None:
        """Let the person go on with their phone: a token that works once, for minutes. None: nothing to hand over."""
        state = self._own(await self._progress.look(name, browser), user)
        return await self._progress.hand_over(name, state) if state is not None else None

    async def take_over(self, token: str, browser: str) -> Taken | None:
        """Bind a proofing to this browser instead of the one that began it. The token is used up, whatever comes of it.

        None: it was used, is late or unknown; or the proofing is over. Whoever sees what it returns must see the number, too.
        """
        moved = await self._progress.take_over(token, browser)
        user = await self._store.users.get(moved[1].user_id) if moved is not None else None
        if moved is None or user is None or not user.active or self._own(moved[1], user) is None:
            return None
        name, state = moved
        return Taken(user=user, pending=Pending(show=state.show, name=name), number=state.number)

    async def ended(self, user: User, name: str, browser: str) -> Ended | None:
        """Return how a proofing ended that was begun in this browser and taken over by another; None while it has not."""
        return await self._progress.ended(user.id, name, browser)

    # ---------------------------------------------------------------- end

    async def complete(
        self, user: User, name: str, browser: str, answer: Mapping[str, str], address: str
    ) -> ProofingRecord | UnderReview | Refused | Broken:
        """Take the state, whatever comes of it, and end: a record that has been stored (with its `number`), a case for an
        officer, a refusal, or no answer at all. A state of another person or browser stays theirs.
        """
        state = await self._take(user, name, browser)
        if state is None:
            return await self._refuse(user, address, "stale")
        try:
            result = await self._judge(user, name, state, answer, address)
        except GatewayError:
            await self._progress.end(name, state, "broken")
            raise
        await self._progress.end(name, state, *_outcome(result))
        return result

    async def leave(self, user: User, name: str, browser: str, address: str) -> Refused:
        """End it because the person will not go on, without asking the backend. Nothing is kept."""
        state = await self._take(user, name, browser)
        if state is None:
            return await self._refuse(user, address, "stale")
        await self._progress.judged(name)
        await self._progress.end(name, state, "cancelled")
        return await self._refuse(user, address, "cancelled")

    # ----------------------------------------------------------------

    async def _judge(
        self, user: User, name: str, state: State, answer: Mapping[str, str], address: str
    ) -> ProofingRecord | UnderReview | Refused | Broken:
        outcome: Outcome
        try:
            async with asyncio.timeout(self._patience):
                outcome = await self.backend.complete(state.state, answer)
        except TimeoutError:
            outcome = Broken(detail="no answer in time at the end")
        except Exception as error:  # noqa: BLE001  whatever a backend's fault is: it says nothing about the person
            outcome = Broken(detail=told(error))
        if not await self._progress.judged(name):  # the account was reset, or its proofings deleted, while the verifier was asked
            return await self._refuse(user, address, "stale")
        if isinstance(outcome, Broken):
            return await self._broken(user, address, outcome)
        if isinstance(outcome, NotProofed):
            return await self._refuse(user, address, outcome.reason)
        if not outcome.vouched and outcome.attributes is not None:
            match match(roster_of(user), outcome.attributes, today=self._today()):
                case Same(notes=notes):
                    return await self._keep(user, state, outcome, address, notes=notes)
                case Near(differences=differences):
                    return await self._keep(user, state, outcome, address, differences=differences)
                case Different(differences=differences):
                    return await self._refuse(user, address, "name_mismatch", differences)
        return await self._keep(user, state, outcome, address)

    async def _keep(
        self, user: User, state: State, proofed: Proofed, address: str, *, notes: tuple[str, ...] = (),
        differences: tuple[str, ...] = (),
    ) -> ProofingRecord | UnderReview | Refused | Broken:  # fmt: skip
        """Keep a result, or have it looked at where something differs."""
        record, digests = result_of(user, proofed, self._keys(), valid_seconds=self._valid)
        if not proofed.vouched and proofed.attributes is None and not await self._store.proofing.known(user.id, digests):
            return await self._refuse(user, address, "unknown_card")
        now = int(self._clock.now())
        refusal = await self._store.proofing.judge(record, digests, now=now, shared=self._shared)
        if refusal == "used" and proofed.vouched and (kept := await self._kept_meanwhile(record, state)) is not None:
            return kept
        if refusal is not None and refusal != "new_card":
            return await self._not_kept(user, address, refusal)
        if differences or refusal == "new_card":
            also = (*differences, "new_card") if refusal == "new_card" else differences
            return await self.review.open(
                user, "near_miss" if differences else "new_card", proofed, differences=also, address=address
            )
        detail = {"level": str(record.level), "transaction": record.transaction, **({"notes": " ".join(notes)} if notes else {})}
        await self._tell("proofing.succeeded", user, address, detail)
        return await self._keep_told(user, proofed, record, digests, address, notes)

    async def _keep_told(
        self, user: User, proofed: Proofed, record: ProofingRecord, digests: tuple[PersonDigest, ...], address: str,
        notes: tuple[str, ...],
    ) -> ProofingRecord | UnderReview | Refused | Broken:  # fmt: skip
        kept = await self._store.proofing.keep(record, digests, now=int(self._clock.now()), shared=self._shared)
        if isinstance(kept, ProofingRecord):
            await self._store.bindings.confirm(kept.number, _confirmed(user, proofed, notes))
            return kept
        if kept == "new_card":  # another card was proofed for this account in the same moment
            return await self.review.open(user, "new_card", proofed, differences=("new_card",), address=address)
        return await self._not_kept(user, address, kept)

    async def _kept_meanwhile(self, result: ProofingRecord, state: State) -> ProofingRecord | None:
        """Return the record of this very result that officers have had kept while this proofing went on (`in_person`)."""
        latest = await self._store.proofing.latest(result.user_id)
        if latest is None or (latest.verifier, latest.transaction) != (result.verifier, result.transaction):
            return None
        # Whoever comes with an answer from before it began gets nothing by it.
        return latest if state.begun_at < latest.verified_at and latest.in_force(int(self._clock.now())) else None

    async def _not_kept(self, user: User, address: str, refusal: KeepRefusal) -> Refused | Broken:
        if refusal == "keys_unknown":
            log.error(
                "living proofings have digests of keys that are not in the key file: nobody can be proofed until it is restored"
            )
            return await self._broken(user, address, Broken(detail="a key of the person digests is missing"))
        return await self._refuse(user, address, _REFUSED[refusal])

    async def _take(self, user: User, name: str, browser: str) -> State | None:
        own = self._own(await self._progress.look(name, browser), user)
        return await self._progress.take(name, browser) if own is not None else None

    def _own(self, state: State | None, user: User) -> State | None:
        """Return a state if it was begun for this person, by this backend."""
        own = state is not None and state.user_id == user.id and state.method == self.backend.method
        return state if own else None

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.now(), _JAPAN).date()

    async def _broken(self, user: User, address: str, broken: Broken) -> Broken:
        told = Broken(detail=_without_person(broken.detail, user)[:_LONGEST_DETAIL], kind=broken.kind)
        await self._tell("proofing.broken", user, address, {"detail": told.detail}, failed=True)
        return told

    async def _refuse(self, user: User, address: str, reason: RefusedReason, differences: tuple[str, ...] = ()) -> Refused:
        detail = {"reason": reason, **({"differences": " ".join(differences)} if differences else {})}
        await self._tell("proofing.refused", user, address, detail, failed=True)
        return Refused(reason=reason)

    async def _tell(
        self, name: Literal["proofing.started", "proofing.succeeded", "proofing.refused", "proofing.broken"], user: User,
        address: str, detail: Mapping[str, str], *, failed: bool = False,
    ) -> None:  # fmt: skip
        await self._events.record(
            Event(
                name=name, outcome="failure" if failed else "success", at=int(self._clock.now()), login=user.login,
                subject=user.id, address=address, detail={"method": self.backend.method, **detail},
            )
        )  # fmt: skip


def _without_person(detail: str, user: User) -> str:
    """Return a backend's word on its fault, or nothing of it where the person's own data got into it."""
    said = "".join(char for char in unicodedata.normalize("NFKC", detail) if char.isalnum())
    for own in (user.name, user.kana, user.birth_date, *user.former_names, *user.licences):
        plain = "".join(char for char in unicodedata.normalize("NFKC", own or "") if char.isalnum())
        if plain and plain in said:
            return _WITHHELD
    return " ".join("".join(char if char.isprintable() else " " for char in detail).split())


def _confirmed(user: User, proofed: Proofed, notes: tuple[str, ...]) -> frozenset[str]:
    """Return what a result without differences confirmed. A card that was known before and not read confirms nothing now."""
    return confirmed(user, notes) if proofed.vouched or proofed.attributes is not None else frozenset()


def _outcome(result: ProofingRecord | UnderReview | Refused | Broken) -> tuple[str, str]:
    """Return what the first browser learns, and of which record or case."""
    match result:
        case ProofingRecord(transaction=transaction):
            return "done", transaction
        case UnderReview(case_id=case_id):
            return "review", case_id
        case Refused(reason=reason):
            return reason, ""
        case Broken(kind=kind):
            return "reader_failed" if kind == "reader" else "broken", ""

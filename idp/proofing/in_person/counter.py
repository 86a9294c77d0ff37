"""The first officer's part: what stands in the document is typed from it, unseen by what the ledger says, and then compared.

Typed, so that nobody nods at a screen that shows what should be there. Equal or close, the result waits for a second officer, who
sees both sides (`idp.proofing.cases`), and with it what was proved in the sitting that showed the code, to be bound by their yes;
clearly somebody else, it ends here. Who is an officer is for the caller to know.
"""

import unicodedata
from datetime import date, datetime, timedelta, timezone
from typing import Final, Literal

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.secret import Secret
from idp.bindings import Binder
from idp.model import Event, User
from idp.ports import EventSink, Store
from idp.proofing.cases import Review, UnderReview
from idp.proofing.in_person.settings import Document, InPersonSettings
from idp.proofing.in_person.visits import Visit, Visits
from idp.proofing.matching import Different, Near, match, roster_of
from idp.proofing.port import Proofed, Verified

METHOD: Final = "in_person"
METHOD_CHIP: Final = "in_person_ic"
METHOD_DOCUMENT: Final = "in_person_document"
_JAPAN: Final = timezone(timedelta(hours=9))
_DAY: Final = 86_400
_MOST_TEXT: Final = 100
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

NotCheckedReason = Literal["unknown_code", "own_case", "not_accepted", "malformed", "name_mismatch"]
"""`unknown_code`: no such account, nobody on the way, or not their code: which, is not told; `own_case`: nobody checks
themselves; `not_accepted`: the settings do not list the document; `malformed`: a name or birth date that is none;
`name_mismatch`: the document names somebody else.
"""


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What an officer saw, as it is in the document."""

    document: Document
    name: str
    birth_date: str
    """YYYY-MM-DD."""
    kana: str = ""
    """Where the document has it."""

    def __repr__(self) -> str:
        return f"Looked({self.document!r}, ***)"


class NotChecked(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing came of it, and why."""

    reason: NotCheckedReason


class InPersonCounter:
    """See the module."""

    def __init__(self, store: Store, review: Review, events: EventSink, clock: Clock, settings: InPersonSettings) -> None:
        self._store, self._review, self._events, self._clock, self._settings = store, review, events, clock, settings
        self._visits = Visits(store.once, seconds=settings.code_seconds)
        self._binder = Binder(store, events, clock)

    @property
    def documents(self) -> tuple[Document, ...]:
        """What is accepted, as the settings list it."""
        return tuple(self._settings.levels)

    async def check(
        self, login: str, code: str, looked: Looked, *, by: str, by_user: str = "", address: str = ""
    ) -> UnderReview | NotChecked:
        """Take the first officer's word (`by`: their login; `by_user`: their user id, if they have an account).

        ValueError when no officer is named. What can't be logged does not happen. A right code is used up unless nothing came of
        it.
        """
        if not by.strip():
            raise ValueError("a check needs an officer")
        user = await self._store.users.by_login(login)
        officer = await self._store.users.by_login(by)
        if user is None or not user.active:
            return NotChecked(reason="unknown_code")
        if user.id in {by_user, officer.id if officer is not None else ""}:
            return await self._refuse(user, "own_case", by, address)
        visit = await self._visits.knock(user.id, "".join(code.split()))
        if visit is None:
            return await self._refuse(user, "unknown_code", by, address)
        if looked.document not in self._settings.levels:
            return await self._refuse(user, "not_accepted", by, address)
        seen = self._seen(looked)
        if seen is None:
            return await self._refuse(user, "malformed", by, address)
        compared = match(roster_of(user), seen, today=self._today())
        if isinstance(compared, Different):
            return await self._refuse(user, "name_mismatch", by, address, compared.differences)
        if not await self._visits.end(user.id, visit.id):  # another officer was quicker
            return await self._refuse(user, "unknown_code", by, address)
        differences = compared.differences if isinstance(compared, Near) else ()
        return await self._open(user, visit, looked.document, seen, differences, by, address)

    async def _open(
        self, user: User, visit: Visit, document: Document, seen: Verified, differences: tuple[str, ...], by: str, address: str
    ) -> UnderReview:
        now = int(self._clock.now())
        chip = document == "ic_chip"
        proofed = Proofed(
            level=self._settings.levels[document], method=METHOD_CHIP if chip else METHOD_DOCUMENT,
            evidence="electronic_record" if chip else "document", verified_at=now,
            expires_at=now + self._settings.valid_days * _DAY, verifier=METHOD, transaction=visit.id,
            # Of a document nothing is kept that would recognise it; the account's person stands in for it.
            person=Secret(user.id), attributes=seen, vouched=True,
        )  # fmt: skip
        review = await self._review.open(user, "in_person", proofed, differences=differences, address=address, first_by=by)
        await self._binder.hold(review.case_id, visit.proved)
        await self._visits.note_case(visit.id, review.case_id)
        return review

    def _seen(self, looked: Looked) -> Verified | None:
        name, kana = looked.name.strip(), looked.kana.strip()
        if not name or len(name) > _MOST_TEXT or len(kana) > _MOST_TEXT or _unseen(name + kana):
            return None
        try:
            born = date.fromisoformat(looked.birth_date.strip())
        except ValueError:
            return None
        return Verified(name=name, kana=kana, birth_date=born.isoformat()) if born <= self._today() else None

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.now(), _JAPAN).date()

    async def _refuse(
        self, user: User, reason: NotCheckedReason, by: str, address: str, differences: tuple[str, ...] = ()
    ) -> NotChecked:
        detail = {"method": METHOD, "reason": reason, **({"differences": " ".join(differences)} if differences else {})}
        await self._events.record(
            Event(
                name="proofing.refused", outcome="failure", at=int(self._clock.now()), login=user.login, subject=user.id,
                address=address, by=by, detail=detail,
            )
        )  # fmt: skip
        return NotChecked(reason=reason)


def _unseen(text: str) -> bool:
    """True when a text has characters that nobody sees: nobody typed them from a document."""
    return any(unicodedata.category(character) in _UNSEEN for character in text)

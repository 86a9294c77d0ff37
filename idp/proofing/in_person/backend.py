"""The person's part: a code to show at the counter, and where to go. Nothing personal is opened, asked for or sent anywhere.

What officers do goes through `InPersonCounter` and the review (`idp.proofing.cases`): the second officer's yes keeps the result,
so that nobody need wait at a screen for it, and the page only looks. What this backend says at the end is what they decided.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.errors import GatewayError
from gateway.kernel.secret import Secret
from idp.model import ProofingRecord
from idp.ports import Store
from idp.proofing.in_person.counter import METHOD
from idp.proofing.in_person.settings import InPersonSettings, check
from idp.proofing.in_person.visits import Visits
from idp.proofing.port import (
    Broken,
    Expired,
    NotProofed,
    Outcome,
    Person,
    Proofed,
    Purpose,
    Recorded,
    Show,
    Standing,
    Started,
    Unknown,
)

_UNATTACHED: Final = "the counter has no store: it was not given one at the start"


class _State(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    visit_id: str


def in_person_backend(settings: InPersonSettings, clock: Clock) -> "InPersonBackend":
    """Return the backend; `use` gives it the store. ConfigError: the settings make no sense."""
    check(settings)
    return InPersonBackend(settings, clock)


class InPersonBackend:
    """See the module."""

    def __init__(self, settings: InPersonSettings, clock: Clock) -> None:
        self.settings: Final = settings
        self._clock = clock
        self._store: Store | None = None
        self._visits: Visits | None = None

    def use(self, store: Store) -> None:
        """Work on this store: codes and cases are there, for officers in other processes too."""
        self._store, self._visits = store, Visits(store.once, seconds=self.settings.code_seconds)

    @property
    def method(self) -> str:
        """Of the proofing in progress; the record says `in_person_ic` or `in_person_document`."""
        return METHOD

    @property
    def simulated(self) -> bool:
        """Never."""
        return False

    async def begin(self, person: Person, purpose: Purpose) -> Started | Broken:
        """Make a code. One that the person had before is worth nothing any more."""
        if self._visits is None:
            return Broken(detail=_UNATTACHED)
        try:
            visit = await self._visits.open(person.user_id)
        except GatewayError as error:
            return Broken(detail=f"the counter's store does not work ({type(error).__name__})")
        if visit is None:
            return Broken(detail="two visits of one person began in the same moment")
        shown = {
            "code": f"{visit.code[:3]} {visit.code[3:]}", "place_ja": self.settings.place_ja, "place_en": self.settings.place_en,
            "documents": " ".join(self.settings.levels), "minutes": str(self.settings.code_seconds // 60),
            "visit": visit.id,  # for whoever shows the page, to know what officers decide about: not shown
        }  # fmt: skip
        state = _State(user_id=person.user_id, visit_id=visit.id)
        return Started(show=Show(template="in_person.html", values=shown), state=msgspec.json.encode(state))

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        """Say what the officers decided. As long as they have not, there is nothing to say: `unusable_answer`."""
        if self._store is None or self._visits is None:
            return Broken(detail=_UNATTACHED)
        try:
            begun = msgspec.json.decode(state, type=_State)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Broken(detail="the beginning is not of the counter: the configuration changed in between")
        try:
            if answer.get("cancel") == "1":
                await self._visits.end(begun.user_id, begun.visit_id)
                return NotProofed(reason="cancelled")
            return await self._decided(self._store, self._visits, begun)
        except GatewayError as error:
            return Broken(detail=f"the counter's store does not work ({type(error).__name__})")

    async def recheck(self, record: Recorded) -> Standing:
        """Tell what has ended by itself. Of anything else nobody can be asked: officers looked once."""
        over = record.expires_at is not None and record.expires_at <= self._clock.now()
        return Expired() if over else Unknown(detail="what officers saw can't be asked again")

    async def close(self) -> None:
        """Do nothing: the store is not ours."""

    async def _decided(self, store: Store, visits: Visits, begun: _State) -> Outcome:
        case_id = await visits.case_of(begun.visit_id)
        case = await store.cases.get(case_id) if case_id is not None else None
        if case is None or case.user_id != begun.user_id or case.state not in {"approved", "rejected"}:
            return NotProofed(reason="unusable_answer")
        if case.state == "rejected":
            return NotProofed(reason="not_confirmed")
        record = await store.proofing.latest(begun.user_id)
        if record is None or record.transaction != begun.visit_id or not record.in_force(int(self._clock.now())):
            return NotProofed(reason="unusable_answer")  # ended, or replaced by another one, since
        return _proofed(record)


def _proofed(record: ProofingRecord) -> Proofed:
    return Proofed(
        level=record.level, method=record.method,
        evidence="electronic_record" if record.evidence == "electronic_record" else "document", verified_at=record.verified_at,
        expires_at=record.expires_at, verifier=record.verifier, transaction=record.transaction,
        person=Secret(record.user_id), vouched=True,
    )  # fmt: skip

"""A counter on a real store: a backend, officers, and people on the way."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from idp.model import User
from idp.proofing.cases import Decided, NotDecided, Review, UnderReview
from idp.proofing.digest import DigestKeys
from idp.proofing.in_person import InPersonBackend, InPersonCounter, InPersonSettings, Looked, NotChecked, in_person_backend
from idp.proofing.port import NotProofedReason, Person, Proofed, Started
from idp.store import SqliteStore, open_store
from tests.support.idp_site import Events

KEYS: Final = DigestKeys([("", Secret("k" * 40))])
FIRST: Final = User(id="usr_mori", login="hr.mori", name="森 直子", roles=("officer",))
SECOND: Final = User(id="usr_hara", login="hr.hara", name="原 誠", roles=("officer",))


def settings(**more: Any) -> InPersonSettings:
    """Return good settings, changed as asked."""
    return InPersonSettings(**{"place_ja": "本館1階 総務課", "place_en": "Personnel, main building, ground floor", **more})


class CounterBench:
    """Officers at a counter, and, for the suite that every backend passes, how they make it answer."""

    def __init__(self, store: SqliteStore, clock: ManualClock, **more: Any) -> None:
        self.store, self.clock, self.events = store, clock, Events()
        self.backend: InPersonBackend = in_person_backend(settings(**more), clock)
        self.backend.use(store)
        self.review = Review(store, self.events, clock, lambda: KEYS)
        self.counter = InPersonCounter(store, self.review, self.events, clock, self.backend.settings)

    async def add(self, person: Person) -> User:
        """Give a person of the suite an account, once."""
        user = User(
            id=person.user_id, login=person.user_id.removeprefix("usr_"), name=person.name, roles=("physician",),
            birth_date=person.birth_date, kana=person.kana,
        )  # fmt: skip
        if await self.store.users.get(user.id) is None:
            await self.store.users.add(user)
        return user

    async def check(self, person: Person, code: str, *, by: User = FIRST, **changed: Any) -> UnderReview | NotChecked:
        """Have an officer check a person's own driving licence."""
        saw = {"document": "driving_licence", "name": person.name, "birth_date": person.birth_date, **changed}
        return await self.counter.check(person.user_id.removeprefix("usr_"), code, Looked(**saw), by=by.login, by_user=by.id)

    async def checked(self, begun: Started, person: Person, **changed: Any) -> str:
        """The same, which has to open a case; return it."""
        await self.add(person)
        review = await self.check(person, begun.show.values["code"], **changed)
        assert isinstance(review, UnderReview), review
        return review.case_id

    async def decide(self, case_id: str, *, by: User = SECOND, approve: bool = True) -> Decided | NotDecided:
        """Have an officer decide."""
        return await self.review.decide(case_id, by.login, by.id, approve=approve)

    async def success(self, begun: Started, person: Person) -> Mapping[str, str]:
        decided = await self.decide(await self.checked(begun, person))
        assert isinstance(decided, Decided)
        assert decided.state == "approved"
        return {}

    def refusals(self) -> tuple[NotProofedReason, ...]:
        return ("cancelled", "not_confirmed", "unusable_answer")

    async def refused(self, begun: Started, reason: NotProofedReason) -> Mapping[str, str]:
        if reason == "not_confirmed":
            person = Person(user_id="usr_sato", name="佐藤 恵", birth_date="1984-05-12")
            assert isinstance(await self.decide(await self.checked(begun, person), approve=False), Decided)
        return {"cancel": "1"} if reason == "cancelled" else {}

    async def outage(self, begun: Started) -> Mapping[str, str]:
        await self.store.close()
        return {}

    async def revoke(self, proofed: Proofed) -> bool:
        return False


@asynccontextmanager
async def counter_bench(clock: ManualClock) -> AsyncIterator[CounterBench]:
    """Open a counter with two officers."""
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(
            Path(folder) / "idp.sqlite3", clock=clock, sealing_key=b"s" * 32, idle_seconds=900, seconds=43_200
        )
        for officer in (FIRST, SECOND):
            await store.users.add(officer)
        try:
            yield CounterBench(store, clock)
        finally:
            await store.close()

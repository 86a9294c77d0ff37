"""One card, one account: also when two answers for two accounts come at the same instant, or in two processes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from idp.model import Event, ProofingRecord, User
from idp.proofing.desk import ProofingDesk, Refused, UnderReview
from idp.store import open_store
from tests.support.idp_site import Events
from tests.support.proofing import CARD_OF_SATO, SATO, SUZUKI, Bench, Scripted, opened

TWIN = User(
    id="usr_twin", login="dr.sato2", name=SATO.name, roles=("auditor",), birth_date=SATO.birth_date, kana=SATO.kana
)  # a second account of the same person


class Together(Events):
    """Nobody is kept before two results were found to be good: both have judged when the first one is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = asyncio.Barrier(2)

    async def record(self, event: Event) -> None:
        await super().record(event)
        if event.name == "proofing.succeeded":
            await self.barrier.wait()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        await made.store.users.add(TWIN)
        made.backend.holds(CARD_OF_SATO)
        yield made


def _one_wins(ends: list[ProofingRecord | UnderReview | Refused | object]) -> None:
    assert sum(isinstance(end, ProofingRecord) for end in ends) == 1
    assert ends.count(Refused(reason="person_of_other_account")) == 1


async def test_two_accounts_with_one_card_at_the_same_instant(bench: Bench) -> None:
    events = Together()
    desk = ProofingDesk(bench.backend, bench.store, events, bench.clock, lambda: bench.keys)
    names = [(user, await bench.begin(user, browser=user.id)) for user in (SATO, TWIN)]
    ends = await asyncio.gather(*(desk.complete(user, name, user.id, {}, "") for user, name in names))
    _one_wins(list(ends))
    assert events.names().count("proofing.succeeded") == 2
    assert events.last("proofing.refused").detail["reason"] == "person_of_other_account"
    winner = next(end for end in ends if isinstance(end, ProofingRecord))
    loser = TWIN if winner.user_id == SATO.id else SATO
    assert events.last("proofing.refused").subject == loser.id  # the log says who it was not, after all
    assert await bench.store.proofing.latest(loser.id) is None


async def test_also_in_two_processes(bench: Bench) -> None:
    events = Together()
    other = await open_store(bench.path, clock=bench.clock, sealing_key=bytes(range(32)), idle_seconds=900, seconds=43_200)
    try:
        desks = [ProofingDesk(bench.backend, store, events, bench.clock, lambda: bench.keys) for store in (bench.store, other)]
        names = [(user, await bench.begin(user, browser=user.id)) for user in (SATO, TWIN)]
        ends = await asyncio.gather(
            *(desk.complete(user, name, user.id, {}, "") for desk, (user, name) in zip(desks, names, strict=True))
        )
    finally:
        await other.close()
    _one_wins(list(ends))


async def test_an_officer_can_not_give_a_card_to_a_second_account(bench: Bench) -> None:
    near = msgspec.structs.replace(CARD_OF_SATO, kana="サトウ メクミ")
    bench.backend.holds(near)
    reviews = [await bench.case(user) for user in (SATO, TWIN)]
    decisions = await asyncio.gather(
        *(bench.desk.review.decide(review.case_id, "hr.mori", "usr_mori", approve=True) for review in reviews)
    )
    assert sorted(type(decision).__name__ for decision in decisions) == ["Decided", "NotDecided"]
    records = [await bench.store.proofing.latest(user.id) for user in (SATO, TWIN)]
    assert records.count(None) == 1


async def test_two_cards_for_one_account_at_the_same_instant_need_an_officer(bench: Bench) -> None:
    events, other = Together(), Scripted(bench.clock)
    other.holds(CARD_OF_SATO, "another card")
    other.seen.append((b"", {}))  # so that its next reference is another one
    desks = [ProofingDesk(backend, bench.store, events, bench.clock, lambda: bench.keys) for backend in (bench.backend, other)]
    names = [await bench.begin(browser=browser) for browser in ("one", "two")]
    ends = await asyncio.gather(
        desks[0].complete(SATO, names[0], "one", {}, ""), desks[1].complete(SATO, names[1], "two", {}, "")
    )
    assert sorted(type(end).__name__ for end in ends) == ["ProofingRecord", "UnderReview"]


async def test_deactivating_and_activating_again_does_not_give_two_accounts_one_card(bench: Bench) -> None:
    await bench.kept(SATO)
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=False))
    await bench.kept(TWIN)
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=True))
    assert await bench.prove(SATO) == Refused(reason="person_of_other_account")


async def test_the_same_card_at_another_account_stays_refused_after_it_expired(bench: Bench) -> None:
    await bench.kept(SATO)
    bench.clock.advance(10_000)
    assert await bench.prove(TWIN) == Refused(reason="person_of_other_account")
    bench.backend.holds(None)
    assert await bench.prove(SUZUKI) == Refused(reason="unknown_card")


async def test_where_cards_may_be_shared_a_deactivated_account_keeps_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path, shared_cards=True) as bench:
        await bench.store.users.add(TWIN)
        first = await bench.kept(SATO)
        await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=False))
        await bench.kept(TWIN)
        assert await bench.store.proofing.latest(SATO.id) == first

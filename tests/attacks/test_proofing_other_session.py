"""An answer belongs to one person in one browser: nobody answers for another, and nobody is made to answer another's."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from idp.model import ProofingRecord
from idp.proofing.desk import Refused
from tests.support.proofing import CARD_OF_SATO, CARD_OF_SUZUKI, SATO, SUZUKI, Bench, opened

STALE = Refused(reason="stale")
HANDLE = "h" * 43


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        yield made


async def test_another_browser_can_not_answer(bench: Bench) -> None:
    for browser in ("browser-2", "", "browser-1 ", "BROWSER-1"):
        assert await bench.complete(await bench.begin(), browser=browser) == STALE
    assert await bench.complete(await bench.begin(browser=""), browser="") == STALE
    assert bench.backend.seen == []
    assert "proofing.succeeded" not in bench.events.names()


async def test_another_person_can_not_answer_in_the_same_browser(bench: Bench) -> None:
    # A shared ward terminal: Suzuki signs in where Sato has begun.
    bench.backend.holds(CARD_OF_SUZUKI, "card-of-suzuki")
    assert await bench.complete(await bench.begin(SATO), SUZUKI) == STALE
    assert await bench.desk.pending(SUZUKI, await bench.begin(SATO), "browser-1") is None
    assert bench.backend.seen == []


async def test_a_stranger_who_tries_ends_nothing(bench: Bench) -> None:
    name = await bench.begin()
    for user, browser in ((SATO, "attacker"), (SUZUKI, "attacker"), (SUZUKI, "browser-1"), (SATO, "")):
        assert await bench.complete(name, user, browser) == STALE
    assert isinstance(await bench.complete(name), ProofingRecord)


async def test_the_attackers_handle_does_not_work_in_the_victims_browser(bench: Bench) -> None:
    bench.backend.handle = HANDLE
    name = await bench.begin(SUZUKI, browser="attacker")
    # The victim is lured to /login/proofing/return?state=HANDLE&code=..., signed in, with their own browser.
    assert await bench.desk.returned({"state": HANDLE, "code": "of the victim's card"}, "victim") is None
    assert await bench.complete(name, SATO, "victim") == STALE
    assert await bench.complete(name, SUZUKI, "victim") == STALE
    assert bench.backend.seen == []


async def test_the_victims_card_does_not_prove_the_attackers_account(bench: Bench) -> None:
    # The verifier's link itself is fixed on the victim, who reads a card; the attacker comes back with the answer.
    bench.backend.handle = HANDLE
    name = await bench.begin(SUZUKI, browser="attacker")
    bench.backend.holds(CARD_OF_SATO)
    assert await bench.complete(name, SUZUKI, "attacker") == Refused(reason="name_mismatch")
    assert await bench.store.proofing.latest(SUZUKI.id) is None


async def test_nor_does_a_card_that_says_nothing(bench: Bench) -> None:
    bench.backend.holds(CARD_OF_SATO)
    await bench.kept(SATO)
    bench.backend.holds(None)
    name = await bench.begin(SUZUKI, browser="attacker")
    assert await bench.complete(name, SUZUKI, "attacker") == Refused(reason="unknown_card")


async def test_a_hand_over_link_of_the_attacker_does_not_take_the_victims_card(bench: Bench) -> None:
    name = await bench.begin(SUZUKI, browser="attacker")
    over = await bench.desk.hand_over(SUZUKI, name, "attacker")
    assert over is not None
    taken = await bench.desk.take_over(over.token.reveal(), "victims-phone")
    assert taken is not None
    assert taken.user == SUZUKI  # the page says whose it is, and the number is on the attacker's screen only
    bench.backend.holds(CARD_OF_SATO)
    assert await bench.complete(name, SATO, "victims-phone") == STALE
    assert await bench.store.proofing.latest(SUZUKI.id) is None


async def test_and_is_refused_where_the_victim_goes_on_all_the_same(bench: Bench) -> None:
    name = await bench.begin(SUZUKI, browser="attacker")
    over = await bench.desk.hand_over(SUZUKI, name, "attacker")
    assert over is not None
    taken = await bench.desk.take_over(over.token.reveal(), "victims-phone")
    assert taken is not None
    bench.backend.holds(CARD_OF_SATO)
    assert await bench.complete(name, taken.user, "victims-phone") == Refused(reason="name_mismatch")
    ended = await bench.desk.ended(SUZUKI, name, "attacker")
    assert ended is not None
    assert ended.outcome == "name_mismatch"  # all that the attacker learns


async def test_a_proofing_of_another_verifier_is_not_answered(bench: Bench) -> None:
    name = await bench.begin()
    bench.backend.method = "another"  # the installation was switched meanwhile
    assert await bench.complete(name) == STALE

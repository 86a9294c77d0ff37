"""A hand-over's token, seen by somebody else: it works once, for minutes, and only while the proofing is where it was made."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from idp.model import ProofingRecord
from idp.proofing.desk import HandOver, Refused
from tests.support.proofing import CARD_OF_SATO, CARD_OF_SUZUKI, SATO, SUZUKI, Bench, opened


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        made.backend.holds(CARD_OF_SATO)
        yield made


async def handed(bench: Bench, name: str) -> HandOver:
    over = await bench.desk.hand_over(SATO, name, "browser-1")
    assert over is not None
    return over


async def test_it_works_once(bench: Bench) -> None:
    name = await bench.begin()
    token = (await handed(bench, name)).token.reveal()
    assert await bench.desk.take_over(token, "phone") is not None
    for browser in ("phone", "thief", "browser-1"):
        assert await bench.desk.take_over(token, browser) is None
    assert await bench.complete(name, SATO, "thief") == Refused(reason="stale")


async def test_of_two_at_once_one_has_it(bench: Bench) -> None:
    name = await bench.begin()
    token = (await handed(bench, name)).token.reveal()
    taken = await asyncio.gather(*(bench.desk.take_over(token, f"phone-{n}") for n in range(6)))
    assert sum(one is not None for one in taken) == 1


async def test_of_two_tokens_for_one_proofing_one_works(bench: Bench) -> None:
    name = await bench.begin()
    tokens = [(await handed(bench, name)).token.reveal() for _ in range(4)]
    taken = await asyncio.gather(*(bench.desk.take_over(token, f"phone-{n}") for n, token in enumerate(tokens)))
    (winner,) = (n for n, one in enumerate(taken) if one is not None)
    assert isinstance(await bench.complete(name, SATO, f"phone-{winner}"), ProofingRecord)


async def test_it_is_late_after_five_minutes(bench: Bench) -> None:
    name = await bench.begin()
    token = (await handed(bench, name)).token.reveal()
    bench.clock.advance(300)
    assert await bench.desk.take_over(token, "phone") is None
    assert isinstance(await bench.complete(name), ProofingRecord)  # the computer is where it was


async def test_a_thief_who_is_first_gets_nowhere_with_his_own_card(bench: Bench) -> None:
    name = await bench.begin()
    token = (await handed(bench, name)).token.reveal()
    stolen = await bench.desk.take_over(token, "thief")
    assert stolen is not None
    bench.backend.holds(CARD_OF_SUZUKI, "card-of-the-thief")
    assert await bench.complete(name, stolen.user, "thief") == Refused(reason="name_mismatch")
    assert await bench.complete(name, SUZUKI, "thief") == Refused(reason="stale")


async def test_only_whose_it_is_can_hand_it_over(bench: Bench) -> None:
    name = await bench.begin()
    for user, browser in ((SUZUKI, "browser-1"), (SATO, "thief"), (SATO, "")):
        assert await bench.desk.hand_over(user, name, browser) is None
    assert await bench.desk.hand_over(SATO, "x", "browser-1") is None


async def test_a_token_that_was_changed_is_worth_nothing(bench: Bench) -> None:
    name, other = await bench.begin(), await bench.begin(SUZUKI, browser="browser-2")
    token = (await handed(bench, name)).token.reveal()
    key = token.partition(".")[0]
    assert await bench.desk.take_over(token, "") is None
    for changed in (
        "",
        ".",
        key,
        f"{key}.",
        f"{key}.{other}",
        f".{name}",
        f"x.{name}",
        name,
        f"{key}.{'x' * 100_000}",
        "\ud800.x",
    ):
        token = (await handed(bench, name)).token.reveal()
        made = changed.replace(key, token.partition(".")[0])
        assert await bench.desk.take_over(made, "thief") is None
    assert isinstance(await bench.complete(name), ProofingRecord)
    assert await bench.desk.pending(SUZUKI, other, "browser-2") is not None


async def test_a_token_is_for_the_proofing_that_it_was_made_for(bench: Bench) -> None:
    name, other = await bench.begin(), await bench.begin()
    key = (await handed(bench, name)).token.reveal().partition(".")[0]
    assert await bench.desk.take_over(f"{key}.{other}", "thief") is None
    assert await bench.desk.pending(SATO, other, "browser-1") is not None


async def test_the_end_is_told_to_the_first_browser_alone_and_says_one_word(bench: Bench) -> None:
    name = await bench.begin()
    token = (await handed(bench, name)).token.reveal()
    await bench.desk.take_over(token, "phone")
    await bench.complete(name, SATO, "phone")
    for user, browser in ((SUZUKI, "browser-1"), (SATO, "phone"), (SATO, "thief"), (SATO, "")):
        assert await bench.desk.ended(user, name, browser) is None
    ended = await bench.desk.ended(SATO, name, "browser-1")
    assert ended is not None
    assert ended.outcome == "done"

"""An answer counts once: sent again, at the same moment, from another process, or after the verifier repeated itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.secret import Secret
from idp.model import PasswordCredential, ProofingRecord, TotpCredential
from idp.proofing.cases import NotDecided
from idp.proofing.desk import ProofingDesk, Refused
from idp.proofing.port import Broken, NotProofed
from idp.store import open_store
from tests.support.proofing import CARD_OF_SATO, CARD_OF_SUZUKI, NEAR_SATO, NOW, SATO, SUZUKI, Bench, opened

STALE = Refused(reason="stale")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        yield made


async def test_an_answer_is_taken_once(bench: Bench) -> None:
    name = await bench.begin()
    assert isinstance(await bench.complete(name), ProofingRecord)
    assert await bench.complete(name) == STALE
    assert len(bench.backend.seen) == 1


@pytest.mark.parametrize("outcome", [NotProofed(reason="cancelled"), Broken(detail="502")])
async def test_also_after_a_no_or_an_outage(bench: Bench, outcome: NotProofed | Broken) -> None:
    name = await bench.begin()
    bench.backend.outcome = outcome
    await bench.complete(name)
    bench.backend.outcome = None
    assert await bench.complete(name) == STALE
    assert await bench.store.proofing.latest(SATO.id) is None


async def test_a_callback_that_comes_twice_at_once_counts_once(bench: Bench) -> None:
    bench.backend.handle = "h" * 43
    name = await bench.begin()
    found = await asyncio.gather(*(bench.desk.returned({"state": "h" * 43}, "browser-1") for _ in range(5)))
    assert found == [(name, "")] * 5
    ends = await asyncio.gather(*(bench.complete(name) for _ in range(5)))
    assert sum(isinstance(end, ProofingRecord) for end in ends) == 1
    assert ends.count(STALE) == 4
    assert len(bench.backend.seen) == 1


async def test_also_in_two_processes(bench: Bench) -> None:
    name = await bench.begin()
    other_store = await open_store(bench.path, clock=bench.clock, sealing_key=bytes(range(32)), idle_seconds=900, seconds=43_200)
    try:
        other = ProofingDesk(bench.backend, other_store, bench.events, bench.clock, lambda: bench.keys)
        ends = await asyncio.gather(
            *(desk.complete(SATO, name, "browser-1", {}, "") for desk in (bench.desk, other) for _ in range(3))
        )
    finally:
        await other_store.close()
    assert sum(isinstance(end, ProofingRecord) for end in ends) == 1
    assert len(bench.backend.seen) == 1


async def test_a_verifiers_old_answer_does_not_count_again(bench: Bench) -> None:
    bench.backend.outcome = bench.backend.proofed("the same reference")
    await bench.kept()
    assert await bench.prove() == STALE


async def test_an_old_answer_for_another_account_does_not_either(bench: Bench) -> None:
    bench.backend.holds(CARD_OF_SATO)
    bench.backend.outcome = bench.backend.proofed("the same reference")
    await bench.kept()
    bench.backend.holds(CARD_OF_SUZUKI, "card-of-suzuki")
    bench.backend.outcome = bench.backend.proofed("the same reference")
    assert await bench.prove(SUZUKI) == STALE
    assert await bench.store.proofing.latest(SUZUKI.id) is None


async def test_a_late_answer_is_stale(bench: Bench) -> None:
    name = await bench.begin()
    bench.clock.advance(600)
    assert await bench.complete(name) == STALE
    assert bench.backend.seen == []


async def test_an_answer_to_nothing_is_stale(bench: Bench) -> None:
    for name in ("", "x", "A" * 43, "x" * 100_000, "\ud800", "\x00"):
        assert await bench.complete(name) == STALE
    assert bench.backend.seen == []


async def test_what_was_under_way_when_the_account_was_reset_counts_for_nothing(bench: Bench) -> None:
    # The account was in wrong hands; the one who had it still holds the phone, and an officer's queue a result.
    bench.backend.holds(NEAR_SATO)
    review = await bench.case()
    name = await bench.begin()
    over = await bench.desk.hand_over(SATO, name, "browser-1")
    assert over is not None
    assert await bench.desk.take_over(over.token.reveal(), "phone") is not None
    other = await bench.begin(SUZUKI, browser="browser-2")
    new = PasswordCredential(user_id=SATO.id, encoded="$argon2id$", changed_at=NOW)
    totp = TotpCredential(user_id=SATO.id, secret=Secret("JBSWY3DPEHPK3PXP"), created_at=NOW)
    await bench.store.accounts.reset(SATO.id, password=new, totp=totp, by="hr.mori", at=NOW)
    assert await bench.complete(name, SATO, "phone") == STALE
    assert await bench.desk.review.decide(review.case_id, "hr.mori", "usr_mori", approve=True) == NotDecided(reason="replaced")
    assert await bench.desk.pending(SUZUKI, other, "browser-2") is not None

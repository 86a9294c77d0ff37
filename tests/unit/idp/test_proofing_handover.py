from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.errors import AuditError
from idp.model import ProofingRecord
from idp.proofing.desk import Ended, HandOver, Refused, UnderReview
from idp.proofing.port import Broken, NotProofed
from tests.support.proofing import CARD_OF_SATO, CARD_OF_SUZUKI, NEAR_SATO, SATO, SUZUKI, Bench, opened


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        yield made


async def handed(bench: Bench) -> tuple[str, HandOver]:
    name = await bench.begin()
    over = await bench.desk.hand_over(SATO, name, "browser-1")
    assert over is not None
    return name, over


async def test_the_phone_goes_on_where_the_computer_was(bench: Bench) -> None:
    name, over = await handed(bench)
    assert over.number.isdigit()
    assert len(over.number) == 2
    assert over.token.reveal() not in repr(over)
    taken = await bench.desk.take_over(over.token.reveal(), "phone")
    assert taken is not None
    assert (taken.user, taken.number, taken.pending.name) == (SATO, over.number, name)
    assert taken.pending.show.template == "x.html"
    assert await bench.desk.ended(SATO, name, "browser-1") is None
    record = await bench.complete(name, taken.user, "phone")
    assert isinstance(record, ProofingRecord)
    assert await bench.desk.ended(SATO, name, "browser-1") == Ended(outcome="done", reference=record.transaction)


async def test_a_return_from_a_verifier_is_found_on_the_phone(bench: Bench) -> None:
    bench.backend.handle = "h" * 43
    name, over = await handed(bench)
    assert await bench.desk.take_over(over.token.reveal(), "phone") is not None
    assert await bench.desk.returned({"state": "h" * 43}, "phone") == (name, "")
    assert await bench.desk.returned({"state": "h" * 43}, "browser-1") is None


async def test_the_computer_may_go_on_itself_until_the_phone_took_over(bench: Bench) -> None:
    name, over = await handed(bench)
    assert await bench.desk.pending(SATO, name, "browser-1") is not None
    assert isinstance(await bench.complete(name), ProofingRecord)
    assert await bench.desk.take_over(over.token.reveal(), "phone") is None
    assert await bench.desk.ended(SATO, name, "browser-1") is None  # it was told itself


async def test_afterwards_only_the_phone_can(bench: Bench) -> None:
    name, over = await handed(bench)
    await bench.desk.take_over(over.token.reveal(), "phone")
    assert await bench.desk.pending(SATO, name, "browser-1") is None
    assert await bench.desk.hand_over(SATO, name, "browser-1") is None
    assert await bench.desk.hand_over(SATO, name, "phone") is not None


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (NotProofed(reason="cancelled"), "cancelled"),
        (Broken(detail="502"), "broken"),
        (Broken(detail="no card", kind="reader"), "reader_failed"),
    ],
)
async def test_the_computer_learns_how_it_ended(bench: Bench, outcome: NotProofed | Broken, told: str) -> None:
    name, over = await handed(bench)
    await bench.desk.take_over(over.token.reveal(), "phone")
    bench.backend.outcome = outcome
    await bench.complete(name, SATO, "phone")
    assert await bench.desk.ended(SATO, name, "browser-1") == Ended(outcome=told)
    assert await bench.desk.ended(SUZUKI, name, "browser-1") is None
    assert await bench.desk.ended(SATO, name, "phone") is None
    assert await bench.desk.ended(SATO, name, "") is None
    assert await bench.desk.ended(SATO, "x" * 100_000, "browser-1") is None
    bench.clock.advance(600)
    assert await bench.desk.ended(SATO, name, "browser-1") is None


async def test_also_that_an_officer_looks_or_that_the_log_failed(bench: Bench) -> None:
    name, over = await handed(bench)
    await bench.desk.take_over(over.token.reveal(), "phone")
    bench.backend.holds(NEAR_SATO)
    review = await bench.complete(name, SATO, "phone")
    assert isinstance(review, UnderReview)
    assert await bench.desk.ended(SATO, name, "browser-1") == Ended(outcome="review", reference=review.case_id)
    name, over = await handed(bench)
    await bench.desk.take_over(over.token.reveal(), "phone")
    bench.events.fail = AuditError("the disk is full")
    with pytest.raises(AuditError):
        await bench.complete(name, SATO, "phone")
    assert await bench.desk.ended(SATO, name, "browser-1") == Ended(outcome="broken")


async def test_nobody_takes_over_for_who_was_deactivated(bench: Bench) -> None:
    _, over = await handed(bench)
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=False))
    assert await bench.desk.take_over(over.token.reveal(), "phone") is None


async def test_a_hand_over_gives_no_more_time(bench: Bench) -> None:
    name = await bench.begin()
    bench.clock.advance(400)
    over = await bench.desk.hand_over(SATO, name, "browser-1")
    assert over is not None
    bench.clock.advance(199)
    assert await bench.desk.take_over(over.token.reveal(), "phone") is not None
    bench.clock.advance(1)
    assert await bench.complete(name, SATO, "phone") == Refused(reason="stale")


async def test_the_card_is_compared_with_whom_it_was_begun_for(bench: Bench) -> None:
    name, over = await handed(bench)
    taken = await bench.desk.take_over(over.token.reveal(), "phone")
    assert taken is not None
    bench.backend.holds(CARD_OF_SUZUKI)
    assert await bench.complete(name, taken.user, "phone") == Refused(reason="name_mismatch")
    bench.backend.holds(CARD_OF_SATO)
    await bench.kept()

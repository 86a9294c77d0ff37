"""Officers: nobody decides on themselves, one is not two, a case is decided once and in time; the log is told of attempts."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.errors import StoreUnavailable
from idp.model import CaseKind
from idp.proofing.cases import Decided, NotDecided, Review
from idp.store import open_store
from idp.stored_proofing import CaseRefusal
from tests.support.proofing import NEAR_SATO, OFFICER, SATO, SECOND, Bench, opened


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        made.backend.holds(NEAR_SATO)
        made.backend.seconds = None
        yield made


async def opened_case(bench: Bench, kind: CaseKind = "near_miss", first_by: str = "") -> str:
    review = await bench.desk.review.open(SATO, kind, bench.backend.proofed("visit-1"), first_by=first_by)
    return review.case_id


async def refused(
    bench: Bench, case_id: str, reason: CaseRefusal, login: str, user_id: str = "", *, approve: bool = True
) -> None:
    """An officer's word has no effect, and the log says so."""
    assert await bench.desk.review.decide(case_id, login, user_id, approve=approve) == NotDecided(reason=reason)
    told = bench.events.last("proofing.decided")
    assert (told.outcome, told.by, told.detail["reason"]) == ("failure", login, reason)
    assert await bench.store.proofing.latest(SATO.id) is None


@pytest.mark.parametrize("kind", ["near_miss", "new_card", "in_person"])
@pytest.mark.parametrize("approve", [True, False])
async def test_nobody_decides_on_themselves_under_any_name(bench: Bench, kind: CaseKind, *, approve: bool) -> None:
    case_id = await opened_case(bench, kind)
    for login, user_id in ((SATO.login, SATO.id), ("DR.SATO", ""), (SATO.email, ""), ("ｄｒ．sato", ""), ("hr.mori", SATO.id)):
        await refused(bench, case_id, "own_case", login, user_id, approve=approve)


async def test_who_was_renamed_does_not_either(bench: Bench) -> None:
    case_id = await opened_case(bench)
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, login="dr.sato9"))
    await refused(bench, case_id, "own_case", "dr.sato9")


async def test_one_officer_is_not_two(bench: Bench) -> None:
    case_id = await opened_case(bench, "in_person")
    first = await bench.desk.review.decide(case_id, OFFICER.login, OFFICER.id, approve=True)
    assert first == Decided(case_id=case_id, user_id=SATO.id, state="open")
    for login, user_id in ((OFFICER.login, OFFICER.id), (OFFICER.login, ""), ("HR.MORI", ""), ("another.name", OFFICER.id)):
        await refused(bench, case_id, "same_officer", login, user_id)
    assert isinstance(await bench.desk.review.decide(case_id, SECOND.login, SECOND.id, approve=True), Decided)


async def test_who_looked_at_the_card_is_one_of_the_two(bench: Bench) -> None:
    case_id = await opened_case(bench, "in_person", OFFICER.login)
    await refused(bench, case_id, "same_officer", OFFICER.login, OFFICER.id)


async def test_who_looked_at_their_own_card_gains_nothing_by_a_second_officer(bench: Bench) -> None:
    case_id = await opened_case(bench, "in_person", SATO.login)
    await refused(bench, case_id, "own_case", OFFICER.login, OFFICER.id)


async def test_a_case_is_decided_once(bench: Bench) -> None:
    case_id = await opened_case(bench)
    assert isinstance(await bench.desk.review.decide(case_id, OFFICER.login, OFFICER.id, approve=False), Decided)
    for approve in (True, False):
        await refused(bench, case_id, "decided", SECOND.login, SECOND.id, approve=approve)


async def test_also_at_the_same_instant_and_in_two_processes(bench: Bench) -> None:
    case_id = await opened_case(bench)
    other = await open_store(bench.path, clock=bench.clock, sealing_key=bytes(range(32)), idle_seconds=900, seconds=43_200)
    try:
        desks = [Review(store, bench.events, bench.clock, lambda: bench.keys) for store in (bench.store, other)]
        words = [
            desk.decide(case_id, officer.login, officer.id, approve=approve)
            for desk in desks for officer in (OFFICER, SECOND) for approve in (True, False)
        ]  # fmt: skip
        ends = await asyncio.gather(*words)
    finally:
        await other.close()
    assert sum(isinstance(end, Decided) for end in ends) == 1
    assert ends.count(NotDecided(reason="decided")) == 7


async def test_nothing_is_decided_after_its_time(bench: Bench) -> None:
    case_id = await opened_case(bench)
    bench.clock.advance(14 * 86_400)
    for approve in (True, False):
        await refused(bench, case_id, "expired", OFFICER.login, OFFICER.id, approve=approve)
    await bench.store.purge()
    await refused(bench, case_id, "expired", OFFICER.login, OFFICER.id)


async def test_the_first_word_does_not_give_more_time(bench: Bench) -> None:
    case_id = await opened_case(bench, "in_person", OFFICER.login)
    bench.clock.advance(14 * 86_400)
    await refused(bench, case_id, "expired", SECOND.login, SECOND.id)


async def test_a_sealed_result_moved_to_another_case_does_not_open(bench: Bench) -> None:
    case_id, other = await opened_case(bench), "case_other"
    with sqlite3.connect(bench.path) as connection:
        connection.execute(
            "INSERT INTO proofing_case (id, user_id, kind, opened_at, expires_at, sealed) "
            "SELECT ?, 'usr_suzuki', kind, opened_at, expires_at, sealed FROM proofing_case WHERE id=?",
            (other, case_id),
        )
    connection.close()
    with pytest.raises(StoreUnavailable):
        await bench.desk.review.decide(other, OFFICER.login, OFFICER.id, approve=True)

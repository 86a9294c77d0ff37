from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.errors import AuditError
from gateway.kernel.secret import Secret
from idp.model import ProofingCase
from idp.proofing.cases import Decided, NotDecided
from idp.proofing.desk import Refused
from idp.proofing.digest import DigestKeys
from tests.support.proofing import CARD_OF_SATO, NEAR_SATO, OFFICER, SATO, SECOND, SUZUKI, Bench, opened


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        made.backend.holds(NEAR_SATO)
        made.backend.seconds = None
        yield made


async def decide(bench: Bench, case_id: str, *, approve: bool = True, note: str = "") -> Decided | NotDecided:
    return await bench.desk.review.decide(case_id, OFFICER.login, OFFICER.id, approve=approve, note=note)


async def stored(bench: Bench, case_id: str) -> ProofingCase:
    case = await bench.store.cases.get(case_id)
    assert case is not None
    return case


async def test_an_officer_sees_both_sides(bench: Bench) -> None:
    review = await bench.case()
    held = await bench.desk.review.held(review.case_id)
    assert held is not None
    assert held.verified == NEAR_SATO
    assert (held.roster.name, held.roster.birth_date) == (SATO.name, SATO.birth_date)
    assert held.differences == ("birth_date",)
    assert [case.id for case in await bench.store.cases.waiting(int(bench.clock.now()))] == [review.case_id]


async def test_a_yes_keeps_the_result_as_it_was(bench: Bench) -> None:
    review = await bench.case()
    at = int(bench.clock.now())
    bench.clock.advance(3600)
    decided = await decide(bench, review.case_id, note="計算違い。\x00 \u202e確認済み\n ")
    assert isinstance(decided, Decided)
    record = await bench.store.proofing.latest(SATO.id)
    assert decided == Decided(case_id=review.case_id, user_id=SATO.id, state="approved", record=record)
    assert record is not None
    assert (record.verified_at, record.transaction, record.ended_at) == (at, "reference-1", None)
    assert (await stored(bench, review.case_id)).note == "計算違い。 確認済み"
    told = bench.events.last("proofing.decided")
    assert (told.by, told.subject, told.outcome) == (OFFICER.login, SATO.id, "success")
    assert told.detail == {"case": review.case_id, "kind": "near_miss", "decision": "approved"}
    (change,) = await bench.store.accounts.pending()
    assert (change.name, change.by, change.user_id) == ("proofing.added", OFFICER.login, SATO.id)
    assert await bench.desk.review.held(review.case_id) is None


async def test_a_no_keeps_nothing(bench: Bench) -> None:
    review = await bench.case()
    decided = await decide(bench, review.case_id, approve=False)
    assert decided == Decided(case_id=review.case_id, user_id=SATO.id, state="rejected")
    assert await bench.store.proofing.latest(SATO.id) is None
    assert await bench.desk.review.held(review.case_id) is None
    assert bench.events.last("proofing.decided").detail["decision"] == "rejected"
    assert await bench.store.accounts.pending() == []


async def test_a_new_card_replaces_the_one_before(bench: Bench) -> None:
    bench.backend.holds(CARD_OF_SATO)
    first = await bench.kept()
    bench.backend.holds(CARD_OF_SATO, "new-card")
    review = await bench.case()
    assert review.kind == "new_card"
    assert isinstance(await decide(bench, review.case_id), Decided)
    latest = await bench.store.proofing.latest(SATO.id)
    assert latest is not None
    assert latest.person_digest != first.person_digest
    await bench.kept()  # the new card is this account's now


async def test_a_decision_that_can_not_be_logged_is_not_made(bench: Bench) -> None:
    review = await bench.case()
    bench.events.fail = AuditError("the disk is full")
    with pytest.raises(AuditError):
        await decide(bench, review.case_id)
    bench.events.fail = None
    assert (await stored(bench, review.case_id)).state == "open"
    assert await bench.store.proofing.latest(SATO.id) is None
    assert isinstance(await decide(bench, review.case_id), Decided)


async def test_a_word_without_an_officer_is_a_fault(bench: Bench) -> None:
    review = await bench.case()
    for nobody in ("", "  "):
        with pytest.raises(ValueError, match="needs an officer"):
            await bench.desk.review.decide(review.case_id, nobody, "", approve=True)


async def test_what_is_unknown_is_told_as_such(bench: Bench) -> None:
    assert await decide(bench, "case_unknown") == NotDecided(reason="unknown")
    assert await bench.desk.review.held("case_unknown") is None


async def test_the_rules_hold_again_at_the_decision(bench: Bench) -> None:
    review = await bench.case()
    bench.backend.holds(None)
    bench.backend.vouched = True
    await bench.kept(SUZUKI)  # with the same card, meanwhile
    assert await decide(bench, review.case_id) == NotDecided(reason="person_of_other_account")
    assert bench.events.last("proofing.decided").outcome == "failure"
    assert bench.events.last("proofing.decided").detail["reason"] == "person_of_other_account"
    assert (await stored(bench, review.case_id)).state == "open"
    assert isinstance(await decide(bench, review.case_id, approve=False), Decided)


async def test_a_result_that_has_ended_meanwhile_can_only_be_rejected(bench: Bench) -> None:
    bench.backend.seconds = 1000
    review = await bench.case()
    bench.clock.advance(1000)
    assert await decide(bench, review.case_id) == NotDecided(reason="over")
    assert isinstance(await decide(bench, review.case_id, approve=False), Decided)


async def test_for_who_was_deactivated_meanwhile_nothing_is_kept(bench: Bench) -> None:
    review = await bench.case()
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=False))
    assert await decide(bench, review.case_id) == NotDecided(reason="inactive")


async def test_a_rotation_of_digest_keys_leaves_open_cases_decidable_until_theirs_is_dropped(bench: Bench) -> None:
    review = await bench.case()
    both = DigestKeys([("k2", Secret("z" * 40)), ("", Secret("k" * 40))])
    bench.keys = DigestKeys([("k2", Secret("z" * 40))])
    assert await decide(bench, review.case_id) == NotDecided(reason="keys_unknown")
    bench.keys = both
    assert isinstance(await decide(bench, review.case_id), Decided)


async def test_a_card_proofed_under_a_newer_key_meanwhile_is_not_overlooked(bench: Bench) -> None:
    review = await bench.case()
    bench.keys = DigestKeys([("k2", Secret("z" * 40)), ("", Secret("k" * 40))])
    bench.backend.holds(None)
    bench.backend.vouched = True
    await bench.kept(SUZUKI)
    assert await decide(bench, review.case_id) == NotDecided(reason="keys_unknown")


async def test_in_person_the_officer_who_looked_is_the_first_of_two(bench: Bench) -> None:
    review = await bench.desk.review.open(SATO, "in_person", bench.backend.proofed("visit-1"), first_by=OFFICER.login)
    assert review.kind == "in_person"
    assert bench.events.last("proofing.review").by == OFFICER.login
    assert await decide(bench, review.case_id) == NotDecided(reason="same_officer")
    decided = await bench.desk.review.decide(review.case_id, SECOND.login, SECOND.id, approve=True)
    assert isinstance(decided, Decided)
    assert decided.record is not None
    case = await stored(bench, review.case_id)
    assert (case.first_by, case.decided_by) == (OFFICER.login, SECOND.login)


async def test_in_person_the_first_yes_is_told_and_changes_nothing_yet(bench: Bench) -> None:
    review = await bench.desk.review.open(SATO, "in_person", bench.backend.proofed("visit-1"))
    decided = await decide(bench, review.case_id)
    assert decided == Decided(case_id=review.case_id, user_id=SATO.id, state="open")
    assert bench.events.last("proofing.decided").detail["decision"] == "confirmed"
    assert await bench.store.proofing.latest(SATO.id) is None
    assert await bench.desk.review.held(review.case_id) is not None


async def test_a_newer_case_takes_the_place_of_an_older_one(bench: Bench) -> None:
    first, second = await bench.case(), await bench.case()
    assert await decide(bench, first.case_id) == NotDecided(reason="replaced")
    assert await bench.desk.review.held(first.case_id) is None
    assert isinstance(await decide(bench, second.case_id), Decided)


async def test_a_person_who_was_proofed_meanwhile_has_no_case_any_more(bench: Bench) -> None:
    review = await bench.case()
    bench.backend.holds(CARD_OF_SATO)
    await bench.kept()
    assert await decide(bench, review.case_id) == NotDecided(reason="replaced")


async def test_in_person_the_page_gets_the_record_that_the_officers_had_kept(bench: Bench) -> None:
    name = await bench.begin()
    bench.clock.advance(60)
    bench.backend.vouched, bench.backend.attributes = True, None
    looked = bench.backend.proofed("visit-1")
    review = await bench.desk.review.open(SATO, "in_person", looked, first_by=OFFICER.login)
    decided = await bench.desk.review.decide(review.case_id, SECOND.login, SECOND.id, approve=True)
    assert isinstance(decided, Decided)
    bench.backend.outcome = looked
    assert await bench.complete(name) == decided.record
    assert await bench.prove() == Refused(reason="stale")  # for what began later it is an old answer
    again = await bench.begin()
    await bench.store.accounts.end_proofing(SATO.id, why="officer", by=OFFICER.login, at=int(bench.clock.now()))
    assert await bench.complete(again) == Refused(reason="stale")


async def test_what_a_dropped_case_held_is_gone_at_once(bench: Bench) -> None:
    for replace in (bench.case, bench.kept):
        bench.backend.holds(NEAR_SATO)
        await bench.case()
        sealed = bench.sealed()
        assert sealed in bench.files()
        bench.backend.holds(NEAR_SATO if replace == bench.case else CARD_OF_SATO)
        await replace()
        assert sealed not in bench.files()

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.errors import AuditError
from gateway.kernel.secret import Secret
from idp.model import ProofingRecord
from idp.proofing.cases import Decided
from idp.proofing.desk import Refused
from idp.proofing.digest import DigestKeys
from idp.proofing.port import Broken, NotProofed, Verified
from idp.store.changes import EndedWhy
from tests.support.proofing import CARD_OF_SATO, CARD_OF_SUZUKI, NEAR_SATO, SATO, SUZUKI, Bench, opened

KEPT = {
    "id", "user_id", "level", "method", "verified_at", "expires_at", "verifier", "transaction_id", "person_digest", "evidence",
    "digest_key", "ended_at", "ended_why", "checked_at",
}  # fmt: skip
"""All that there is of a proofing. A column more is a decision of its own, about people's data: docs/decisions first."""
MARKED = Verified(
    name="佐藤\u3000恵", kana="サトウ\u3000メグミ", birth_date="1984-05-12",
    former_names=("MARKFORMER 東京都千代田区1-1",), licences=("MARKLICENCE",),
)  # fmt: skip


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        yield made


# ---------------------------------------------------------------- what is kept


async def test_a_success_is_kept_without_anything_personal(bench: Bench) -> None:
    result = await bench.prove()
    assert isinstance(result, ProofingRecord)
    assert result == await bench.store.proofing.latest(SATO.id)
    assert (result.level, result.method, result.verifier, result.transaction) == (
        3,
        "scripted",
        "verifier.example",
        "reference-1",
    )
    assert result.evidence == "electronic_signature"
    assert result.number > 0
    assert len(result.person_digest) == 64
    assert "card-of-sato" not in msgspec.json.encode(result).decode()
    assert bench.events.names() == ["proofing.started", "proofing.succeeded"]
    assert bench.events.all[1].detail == {"method": "scripted", "level": "3", "transaction": "reference-1"}
    assert bench.backend.seen == [(b"state", {"a": "b"})]


def test_nothing_else_is_kept(bench: Bench) -> None:
    with sqlite3.connect(bench.path) as connection:
        assert {row[1] for row in connection.execute("PRAGMA table_info(proofing)")} == KEPT
    connection.close()


async def test_what_the_card_says_is_nowhere_afterwards(bench: Bench) -> None:
    bench.backend.holds(MARKED, "MARKCARD")
    await bench.kept()
    told = msgspec.json.encode(bench.events.all).decode()
    for mark in ("MARK", "千代田", "サトウ\u3000メグミ", "佐藤\u3000恵"):
        assert mark not in told
        assert mark.encode() not in bench.files()


async def test_of_a_case_it_is_sealed_and_gone_after_the_decision(bench: Bench) -> None:
    unreadable = msgspec.structs.replace(MARKED, birth_date="31984MARK0512")
    bench.backend.holds(unreadable, "MARKCARD")
    review = await bench.case()
    held = await bench.desk.review.held(review.case_id)
    assert held is not None
    assert held.verified == unreadable
    sealed = _sealed(bench, review.case_id)
    assert sealed is not None
    assert sealed[20:60] in bench.files()
    assert isinstance(await bench.desk.review.decide(review.case_id, "hr.mori", "usr_mori", approve=True), Decided)
    assert _sealed(bench, review.case_id) is None
    assert sealed[20:60] not in bench.files()
    told = msgspec.json.encode(bench.events.all).decode()
    for mark in ("MARK", "千代田", "サトウ\u3000メグミ", "佐藤\u3000恵"):
        assert mark not in told
        assert mark.encode() not in bench.files()


async def test_of_a_case_that_nobody_decides_it_is_gone_when_its_time_is_over(bench: Bench) -> None:
    bench.backend.holds(NEAR_SATO)
    sealed = _sealed(bench, (await bench.case()).case_id)
    assert sealed is not None
    bench.clock.advance(14 * 86_400)
    await bench.store.purge()
    assert sealed[20:60] not in bench.files()


def _sealed(bench: Bench, case_id: str) -> bytes | None:
    with sqlite3.connect(bench.path) as connection:
        row = connection.execute("SELECT sealed FROM proofing_case WHERE id=?", (case_id,)).fetchone()
    connection.close()
    found: bytes | None = row[0]
    return found


# ---------------------------------------------------------------- how it ends


async def test_a_no_is_a_no_with_its_reason(bench: Bench) -> None:
    bench.backend.outcome = NotProofed(reason="wrong_person")
    assert await bench.prove() == Refused(reason="wrong_person")
    assert await bench.store.proofing.latest(SATO.id) is None
    assert bench.events.last("proofing.refused").detail["reason"] == "wrong_person"


async def test_an_outage_is_told_as_one_at_both_ends(bench: Bench) -> None:
    bench.backend.down_at_start = True
    assert await bench.desk.begin(SATO, "sign_in", "browser-1", "") == Broken(detail="no line")
    bench.backend.down_at_start = False
    bench.backend.outcome = Broken(detail="502")
    assert await bench.prove() == Broken(detail="502")
    assert bench.events.names() == ["proofing.started", "proofing.broken", "proofing.started", "proofing.broken"]


async def test_a_reader_that_fails_is_told_apart_from_a_service(bench: Bench) -> None:
    bench.backend.outcome = Broken(detail="no card", kind="reader")
    assert await bench.prove() == Broken(detail="no card", kind="reader")
    assert bench.events.last("proofing.broken").detail["detail"] == "no card"


@pytest.mark.parametrize("personal", ["佐藤\u3000恵", "佐藤恵", "ｻﾄｳ ﾒｸﾞﾐ", "1984-05-12", "19840512"])
async def test_a_backend_that_reports_the_person_is_not_repeated(bench: Bench, personal: str) -> None:
    bench.backend.outcome = Broken(detail=f"no such record: {personal}!")
    broken = await bench.prove()
    assert isinstance(broken, Broken)
    assert bench.events.last("proofing.broken").detail["detail"] == broken.detail
    assert "record" not in broken.detail


async def test_a_fault_is_told_on_one_short_line(bench: Bench) -> None:
    bench.backend.outcome = Broken(detail="a\r\nb\u202e " + "x" * 300)
    assert await bench.prove() == Broken(detail="a b " + "x" * 196)


async def test_an_outage_takes_nothing_away(bench: Bench) -> None:
    before = await bench.kept()
    bench.backend.outcome = Broken(detail="502")
    await bench.prove()
    assert await bench.store.proofing.latest(SATO.id) == before


async def test_a_verifier_that_hangs_is_an_outage(bench: Bench) -> None:
    name = await bench.begin()
    bench.backend.hang = True
    assert isinstance(await bench.complete(name), Broken)
    assert isinstance(await bench.desk.begin(SATO, "sign_in", "browser-1", ""), Broken)


async def test_what_can_not_be_logged_does_not_happen(bench: Bench) -> None:
    name = await bench.begin()
    bench.events.fail = AuditError("the disk is full")
    with pytest.raises(AuditError):
        await bench.complete(name)
    assert await bench.store.proofing.latest(SATO.id) is None
    with pytest.raises(AuditError):
        await bench.desk.begin(SATO, "sign_in", "browser-1", "")


async def test_a_result_has_the_installations_limit_too(tmp_path: Path) -> None:
    async with opened(tmp_path, valid_days=2) as bench:
        bench.backend.seconds = None
        record = await bench.kept()
        assert record.expires_at == record.verified_at + 2 * 86_400
        bench.backend.seconds = 86_400
        record = await bench.kept()
        assert record.expires_at == record.verified_at + 86_400


async def test_a_result_that_has_ended_already_is_none(bench: Bench) -> None:
    bench.backend.seconds = 0
    assert await bench.prove() == Refused(reason="card_expired")


# ---------------------------------------------------------------- from a card to a person


async def test_a_card_that_names_the_person_of_the_ledger_counts(bench: Bench) -> None:
    bench.backend.holds(CARD_OF_SATO)
    await bench.kept()
    assert "notes" in bench.events.last("proofing.succeeded").detail  # the space between the names is another one


async def test_a_card_that_clearly_names_somebody_else_is_refused(bench: Bench) -> None:
    bench.backend.holds(CARD_OF_SUZUKI)
    assert await bench.prove() == Refused(reason="name_mismatch")
    assert bench.events.last("proofing.refused").detail["differences"] == "name kana birth_date"


async def test_a_near_miss_goes_to_an_officer(bench: Bench) -> None:
    bench.backend.holds(NEAR_SATO)
    review = await bench.case()
    assert review.kind == "near_miss"
    assert await bench.store.proofing.latest(SATO.id) is None
    detail = {"method": "scripted", "case": review.case_id, "kind": "near_miss", "differences": "birth_date"}
    assert bench.events.last("proofing.review").detail == detail
    assert "proofing.succeeded" not in bench.events.names()


async def test_a_case_that_can_not_be_logged_is_not_opened(bench: Bench) -> None:
    bench.backend.holds(NEAR_SATO)
    name = await bench.begin()
    bench.events.fail = AuditError("the disk is full")
    with pytest.raises(AuditError):
        await bench.complete(name)
    assert await bench.store.cases.waiting(int(bench.clock.now())) == []


async def test_a_card_that_says_nothing_counts_only_where_it_was_used_before(bench: Bench) -> None:
    bench.backend.holds(None)
    assert await bench.prove() == Refused(reason="unknown_card")
    bench.backend.holds(CARD_OF_SATO)
    await bench.kept()
    bench.backend.holds(None)
    await bench.kept()
    bench.clock.advance(2000)  # expired: it is still the same card
    await bench.kept()
    bench.backend.holds(None, "another card")
    assert await bench.prove() == Refused(reason="unknown_card")


@pytest.mark.parametrize("why", ["revoked", "reset", "officer", "withdrawn"])
async def test_a_proofing_that_was_taken_back_makes_no_card_known(bench: Bench, why: EndedWhy) -> None:
    await bench.kept()
    await bench.store.accounts.end_proofing(SATO.id, why=why, by="hr.mori", at=int(bench.clock.now()))
    bench.backend.holds(None)
    assert await bench.prove() == Refused(reason="unknown_card")


async def test_nor_does_what_it_had_replaced(bench: Bench) -> None:
    await bench.kept()
    await bench.kept()
    await bench.store.accounts.end_proofing(SATO.id, why="revoked", by="hr.mori", at=int(bench.clock.now()))
    bench.backend.holds(None)
    assert await bench.prove() == Refused(reason="unknown_card")


# ---------------------------------------------------------------- one card, one account


async def test_the_same_person_may_renew(bench: Bench) -> None:
    first = await bench.kept()
    second = await bench.kept()
    assert second.number > first.number
    with sqlite3.connect(bench.path) as connection:
        rows = connection.execute("SELECT ended_why FROM proofing ORDER BY id").fetchall()
    connection.close()
    assert rows == [("replaced",), ("",)]


async def test_a_reissued_card_goes_to_an_officer(bench: Bench) -> None:
    first = await bench.kept()
    bench.backend.person = "new-card-of-sato"
    review = await bench.case()
    assert review.kind == "new_card"
    assert bench.events.last("proofing.review").detail["differences"] == "new_card"
    assert await bench.store.proofing.latest(SATO.id) == first
    bench.clock.advance(2000)  # the first result is over: nothing is replaced any more
    await bench.kept()


async def test_a_near_miss_with_another_card_says_both(bench: Bench) -> None:
    await bench.kept()
    bench.backend.holds(NEAR_SATO, "new-card")
    assert (await bench.case()).kind == "near_miss"
    assert bench.events.last("proofing.review").detail["differences"] == "birth_date new_card"


async def test_one_person_is_not_proofed_on_two_active_accounts(bench: Bench) -> None:
    await bench.kept()
    assert await bench.prove(SUZUKI) == Refused(reason="person_of_other_account")
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=False))
    await bench.kept(SUZUKI)


async def test_a_near_miss_with_a_card_of_another_account_does_not_bother_an_officer(bench: Bench) -> None:
    await bench.kept(SUZUKI)
    bench.backend.holds(NEAR_SATO)
    assert await bench.prove() == Refused(reason="person_of_other_account")


@pytest.mark.parametrize("why", ["officer", "withdrawn"])
async def test_what_was_taken_back_leaves_the_card_free(bench: Bench, why: EndedWhy) -> None:
    await bench.kept()
    await bench.kept()  # a renewal: what it replaced was taken back with it
    assert await bench.store.accounts.end_proofing(SATO.id, why=why, by="hr.mori", at=int(bench.clock.now())) == 1
    await bench.kept(SUZUKI)
    assert await bench.prove() == Refused(reason="person_of_other_account")


async def test_a_card_that_was_revoked_stays_whose_it_was(bench: Bench) -> None:
    await bench.kept()
    await bench.store.accounts.end_proofing(SATO.id, why="revoked", by="hr.mori", at=int(bench.clock.now()))
    assert await bench.prove(SUZUKI) == Refused(reason="person_of_other_account")


async def test_a_deactivated_account_does_not_come_back_with_a_card_that_is_anothers_now(bench: Bench) -> None:
    await bench.kept()
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=False))
    await bench.kept(SUZUKI)
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=True))
    latest = await bench.store.proofing.latest(SATO.id)
    assert latest is not None
    assert (latest.ended_at, latest.ended_why) == (int(bench.clock.now()), "replaced")
    told = [change for change in await bench.store.accounts.pending() if change.name == "proofing.ended"]
    assert [(change.user_id, change.detail["why"]) for change in told] == [(SATO.id, "replaced")]


async def test_the_rule_may_allow_several_accounts(tmp_path: Path) -> None:
    async with opened(tmp_path, shared_cards=True) as bench:
        await bench.kept()
        await bench.kept(SUZUKI)


async def test_who_was_deactivated_meanwhile_is_not_proofed(bench: Bench) -> None:
    name = await bench.begin()
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, active=False))
    assert await bench.complete(name) == Refused(reason="stale")


async def test_a_missing_digest_key_is_an_outage_and_says_nothing_of_the_person(bench: Bench) -> None:
    await bench.kept()
    before, bench.keys = bench.keys, DigestKeys([("k2", Secret("z" * 40))])
    broken = Broken(detail="a key of the person digests is missing")
    assert await bench.prove() == broken
    assert await bench.prove(SUZUKI) == broken
    bench.keys = before
    await bench.kept()


async def test_a_proofing_moves_to_the_newest_key(bench: Bench) -> None:
    first = await bench.kept()
    bench.keys = DigestKeys([("k2", Secret("z" * 40)), ("", Secret("k" * 40))])
    assert await bench.prove(SUZUKI) == Refused(reason="person_of_other_account")
    second = await bench.kept()
    assert (first.digest_key, second.digest_key) == ("", "k2")
    assert await bench.store.proofing.digest_keys_in_use() == {"k2": 1}
    assert await bench.prove(SUZUKI) == Refused(reason="person_of_other_account")


# ---------------------------------------------------------------- returning from a verifier


async def test_a_return_finds_what_was_begun_in_this_browser(bench: Bench) -> None:
    bench.backend.handle = "h" * 43
    name = await bench.begin(transaction_id="tx_1")
    query = {"state": "h" * 43, "code": "c"}
    assert await bench.desk.returned(query, "browser-1") == (name, "tx_1")
    assert await bench.desk.returned(query, "browser-1") == (name, "tx_1")  # looking uses nothing up
    for wrong in ({}, {"state": ""}, {"state": "h"}, {"state": "x" * 100_000}, {"state": "\ud800"}, {"code": "c"}):
        assert await bench.desk.returned(wrong, "browser-1") is None
    assert isinstance(await bench.complete(name), ProofingRecord)
    assert await bench.desk.returned(query, "browser-1") is None


async def test_a_handle_that_comes_twice_is_a_fault_of_the_backend(bench: Bench) -> None:
    bench.backend.handle = "h" * 43
    await bench.begin()
    assert isinstance(await bench.desk.begin(SUZUKI, "sign_in", "browser-2", ""), Broken)


async def test_what_is_pending_can_be_shown_again(bench: Bench) -> None:
    name = await bench.begin()
    pending = await bench.desk.pending(SATO, name, "browser-1")
    assert pending is not None
    assert (pending.name, pending.show.template) == (name, "x.html")
    assert await bench.desk.pending(SUZUKI, name, "browser-1") is None
    assert await bench.desk.pending(SATO, name, "browser-2") is None
    bench.clock.advance(600)
    assert await bench.desk.pending(SATO, name, "browser-1") is None


async def test_names_of_proofings_are_kept_as_hashes_only(bench: Bench) -> None:
    name = await bench.begin()
    token = await bench.desk.hand_over(SATO, name, "browser-1")
    assert token is not None
    for secret in (name, token.token.reveal().partition(".")[0], "browser-1"):
        assert secret.encode() not in bench.files()

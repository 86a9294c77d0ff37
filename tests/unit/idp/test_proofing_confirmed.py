"""What a proofing confirmed of the staff ledger, and what an approved case binds."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.errors import AuditError
from gateway.kernel.secret import Secret
from idp.bindings import Binder
from idp.model import AuthEvent, PasswordCredential, ProofingRecord, TotpCredential
from idp.proofing.cases import Decided
from idp.proofing.port import Verified
from tests.support.proofing import CARD_OF_SATO, NEAR_SATO, NOW, SATO, Bench, opened

BOTH = {"name", "birthdate"}
PROVED = (AuthEvent(kind="pwd", at=NOW), AuthEvent(kind="otp", at=NOW), AuthEvent(kind="recovery", at=NOW))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as made:
        await made.store.credentials.set_password(PasswordCredential(user_id=SATO.id, encoded="x", changed_at=0))
        await made.store.credentials.set_totp(TotpCredential(user_id=SATO.id, secret=Secret("JBSWY3DPEHPK3PXP"), created_at=0))
        yield made


async def confirmed(bench: Bench, record: ProofingRecord | None) -> frozenset[str]:
    assert record is not None
    return await bench.store.bindings.confirmed(record.number)


async def approved(bench: Bench, case_id: str) -> ProofingRecord:
    decided = await bench.desk.review.decide(case_id, "hr.mori", "usr_mori", approve=True)
    assert isinstance(decided, Decided), decided
    assert decided.record is not None
    return decided.record


async def test_a_card_that_is_the_same_confirms_name_and_date_of_birth(bench: Bench) -> None:
    bench.backend.holds(CARD_OF_SATO)
    assert await confirmed(bench, await bench.kept()) == BOTH


async def test_who_vouches_for_the_ledgers_person_confirms_them_and_no_date_that_is_not_there(bench: Bench) -> None:
    assert await confirmed(bench, await bench.kept()) == BOTH
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, birth_date=None))
    user = await bench.store.users.get(SATO.id)
    assert user is not None
    assert await confirmed(bench, await bench.kept(user)) == {"name"}


async def test_a_card_with_a_former_name_does_not_confirm_the_name_of_now(bench: Bench) -> None:
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, name="山田 恵", kana=None, former_names=("佐藤 恵",)))
    user = await bench.store.users.get(SATO.id)
    assert user is not None
    bench.backend.holds(Verified(name="佐藤\u3000恵", birth_date="1984-05-12"))
    assert await confirmed(bench, await bench.kept(user)) == {"birthdate"}


async def test_a_card_that_was_known_and_is_not_read_again_confirms_nothing(bench: Bench) -> None:
    bench.backend.holds(CARD_OF_SATO)
    await bench.kept()
    bench.backend.holds(None)
    assert await confirmed(bench, await bench.kept()) == frozenset()


async def test_what_an_officer_let_pass_though_it_differed_is_not_confirmed(bench: Bench) -> None:
    bench.backend.holds(NEAR_SATO)
    review = await bench.case()
    assert await confirmed(bench, await approved(bench, review.case_id)) == frozenset()


async def test_another_card_of_the_same_person_confirms_unless_the_ledger_was_changed_meanwhile(bench: Bench) -> None:
    bench.backend.holds(CARD_OF_SATO)
    await bench.kept()
    bench.backend.holds(CARD_OF_SATO, "new-card-of-sato")
    review = await bench.case()
    assert await confirmed(bench, await approved(bench, review.case_id)) == BOTH
    bench.backend.holds(CARD_OF_SATO, "newest-card-of-sato")
    review = await bench.case()
    await bench.change(SATO, lambda user: msgspec.structs.replace(user, name="山田 恵"))
    assert await confirmed(bench, await approved(bench, review.case_id)) == frozenset()


async def test_an_approved_case_binds_what_its_sitting_used(bench: Bench) -> None:
    binder = Binder(bench.store, bench.events, bench.clock)
    bench.backend.holds(NEAR_SATO)
    review = await bench.case()
    await binder.hold(review.case_id, PROVED)
    record = await approved(bench, review.case_id)
    assert await bench.store.bindings.of(record.number) == {"pwd", "otp"}
    told = [event.detail["kind"] for event in bench.events.all if event.name == "proofing.bound"]
    assert told == ["otp", "pwd"]
    assert await bench.store.bindings.held(review.case_id) == frozenset()


async def test_a_rejected_case_binds_nothing_and_an_unknown_one_holds_nothing(bench: Bench) -> None:
    binder = Binder(bench.store, bench.events, bench.clock)
    bench.backend.holds(CARD_OF_SATO)
    before = await bench.kept()
    bench.backend.holds(NEAR_SATO)
    review = await bench.case()
    await binder.hold(review.case_id, PROVED)
    await binder.hold("case_unknown", PROVED)
    assert await bench.store.bindings.held("case_unknown") == frozenset()
    assert isinstance(await bench.desk.review.decide(review.case_id, "hr.mori", "usr_mori", approve=False), Decided)
    assert await bench.store.bindings.of(before.number) == frozenset()


async def test_what_the_log_does_not_take_is_not_bound(bench: Bench) -> None:
    binder = Binder(bench.store, bench.events, bench.clock)
    record = await bench.kept()
    bench.events.fail = AuditError("disk full")
    with pytest.raises(AuditError):
        await binder.proofed(SATO, record, PROVED, "192.0.2.1")
    assert await bench.store.bindings.of(record.number) == frozenset()


async def test_nothing_is_bound_to_a_proofing_that_has_ended(bench: Bench) -> None:
    record = await bench.kept()
    await bench.kept()  # which replaces it
    await bench.store.bindings.bind(record.number, {"pwd"}, NOW)
    assert await bench.store.bindings.of(record.number) == frozenset()

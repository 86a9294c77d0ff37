"""At the counter: a code, an officer who types what stands in the document, a second one who confirms; and what goes wrong."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError, ConfigError
from gateway.kernel.secret import Secret
from idp.model import AuthEvent, Fido2Credential, ProofingRecord, TotpCredential, User
from idp.proofing.cases import Decided, NotDecided, UnderReview
from idp.proofing.desk import Pending, ProofingDesk, Refused
from idp.proofing.in_person import Looked, NotChecked, in_person_backend
from idp.proofing.in_person.visits import TRIES, Visits
from idp.proofing.port import Broken, NotProofed, Person, Proofed, Started
from tests.support.in_person import FIRST, KEYS, SECOND, CounterBench, counter_bench, settings

NOW = 1_800_000_000
SATO = Person(user_id="usr_sato", name="佐藤 恵", birth_date="1984-05-12", kana="サトウ メグミ")
SUZUKI = Person(user_id="usr_suzuki", name="鈴木 翔", birth_date="1990-01-02")


@pytest.fixture
async def bench() -> AsyncIterator[CounterBench]:
    async with counter_bench(ManualClock(NOW)) as made:
        await made.add(SATO)
        await made.add(SUZUKI)
        yield made


async def begun(bench: CounterBench, person: Person = SATO) -> Started:
    started = await bench.backend.begin(person, "sign_in")
    assert isinstance(started, Started)
    return started


async def kept(bench: CounterBench, person: Person = SATO, **changed: Any) -> ProofingRecord:
    case = await bench.checked(await begun(bench, person), person, **changed)
    decided = await bench.decide(case)
    assert isinstance(decided, Decided)
    assert decided.record is not None
    return decided.record


def reasons(bench: CounterBench) -> list[str]:
    return [event.detail["reason"] for event in bench.events.all if event.name == "proofing.refused"]


# ---------------------------------------------------------------------- the way through


async def test_two_officers_make_a_proofing(bench: CounterBench) -> None:
    started = await begun(bench)
    assert re.fullmatch(r"\d{3} \d{3}", started.show.values["code"])
    case = await bench.checked(started, SATO)
    assert await bench.store.proofing.latest(SATO.user_id) is None, "one officer is not enough"
    assert isinstance(await bench.decide(case), Decided)
    record = await bench.store.proofing.latest(SATO.user_id)
    assert record is not None
    assert (record.level, record.method, record.evidence, record.verifier) == (2, "in_person_document", "document", "in_person")
    assert (record.verified_at, record.expires_at) == (NOW, NOW + 1825 * 86_400)
    outcome = await bench.backend.complete(started.state, {})
    assert isinstance(outcome, Proofed)
    assert outcome.transaction == record.transaction
    assert outcome.vouched


async def test_a_chip_that_was_read_counts_for_more(bench: CounterBench) -> None:
    record = await kept(bench, document="ic_chip")
    assert (record.level, record.method, record.evidence) == (3, "in_person_ic", "electronic_record")


async def test_the_second_officer_sees_both_sides(bench: CounterBench) -> None:
    case = await bench.checked(await begun(bench), SATO, name="佐藤\u3000惠", kana="サトウ メグミ")
    held = await bench.review.held(case)
    assert held is not None
    assert held.verified is not None
    assert (held.verified.name, held.roster.name) == ("佐藤\u3000惠", "佐藤 恵")
    stored = await bench.store.cases.get(case)
    assert stored is not None
    assert (stored.kind, stored.first_by) == ("in_person", FIRST.login)


async def test_a_near_miss_says_what_differs(bench: CounterBench) -> None:
    case = await bench.checked(await begun(bench), SATO, birth_date="1984-05-21")
    held = await bench.review.held(case)
    assert held is not None
    assert held.differences == ("birth_date",)


async def test_a_no_is_the_second_officers_too(bench: CounterBench) -> None:
    started = await begun(bench)
    case = await bench.checked(started, SATO)
    assert isinstance(await bench.decide(case, approve=False), Decided)
    assert await bench.store.proofing.latest(SATO.user_id) is None
    assert await bench.backend.complete(started.state, {}) == NotProofed(reason="not_confirmed")


async def test_the_page_opens_nothing_personal(bench: CounterBench) -> None:
    started = await begun(bench)
    shown = repr(started)
    for personal in (SATO.name, SATO.birth_date, SATO.kana):
        assert personal is not None
        assert personal not in shown
    assert started.show.values["documents"].split() == list(settings().levels)


async def test_what_officers_typed_is_in_no_log_and_in_no_text(bench: CounterBench) -> None:
    await kept(bench)
    looked = Looked(document="passport", name=SATO.name, birth_date="1984-05-12")
    assert SATO.name not in repr(looked)
    for event in bench.events.all:
        assert SATO.name not in repr(event.detail)
        assert "1984" not in repr(event.detail)


# ---------------------------------------------------------------------- what is bound


async def own(bench: CounterBench, at: int) -> None:
    """Give the person a generator and a key, both new."""
    generator = TotpCredential(user_id=SATO.user_id, secret=Secret("A" * 32), created_at=at)
    await bench.store.credentials.set_totp(generator)
    await bench.store.credentials.remove_fido2(SATO.user_id, "AA")
    key = Fido2Credential(id="AA", user_id=SATO.user_id, label="", public_data=b"x", sign_count=0, created_at=at)
    await bench.store.credentials.add_fido2(key)


async def proved(bench: CounterBench, started: Started, at: int) -> None:
    """Say, as the page does, what was proved in the sitting that shows the code."""
    events = [
        AuthEvent(kind="otp", at=at),
        AuthEvent(kind="fido2", at=at - 60, authenticator="fido2:AA"),
        AuthEvent(kind="fido2", at=at, authenticator="fido2:AA"),
        AuthEvent(kind="recovery", at=at),
    ]
    visits = Visits(bench.store.once, seconds=600)
    await visits.remember(SATO.user_id, started.show.values["visit"], events)


async def bound(bench: CounterBench, case: str) -> frozenset[str]:
    decided = await bench.decide(case)
    assert isinstance(decided, Decided)
    assert decided.record is not None
    return await bench.store.bindings.of(decided.record.number)


async def test_what_showed_the_code_is_bound_by_the_second_officer(bench: CounterBench) -> None:
    await own(bench, NOW)
    started = await begun(bench)
    await proved(bench, started, NOW)
    bench.clock.advance(60)
    case = await bench.checked(started, SATO)
    assert "proofing.bound" not in bench.events.names()
    bench.clock.advance(86_400)
    assert await bound(bench, case) == {"otp", "fido2:AA"}
    assert bench.events.last("proofing.bound").detail["how"] == "ceremony"


@pytest.mark.parametrize("when", ["before the check", "before the decision"])
async def test_what_came_after_the_code_was_shown_is_not_bound(bench: CounterBench, when: str) -> None:
    await own(bench, NOW)
    started = await begun(bench)
    await proved(bench, started, NOW)
    if when == "before the check":
        await own(bench, NOW + 60)
    case = await bench.checked(started, SATO)
    if when == "before the decision":
        await own(bench, NOW + 60)
    assert await bound(bench, case) == frozenset()


async def test_what_was_proved_for_another_visit_is_not_bound(bench: CounterBench) -> None:
    await own(bench, NOW)
    elsewhere = await begun(bench)
    await proved(bench, elsewhere, NOW)
    started = await begun(bench)
    await proved(bench, elsewhere, NOW)  # late: that visit is over
    assert await bound(bench, await bench.checked(started, SATO)) == frozenset()


async def test_a_refused_case_binds_nothing_and_leaves_nothing(bench: CounterBench) -> None:
    await own(bench, NOW)
    started = await begun(bench)
    await proved(bench, started, NOW)
    case = await bench.checked(started, SATO)
    assert isinstance(await bench.decide(case, approve=False), Decided)
    again = await begun(bench)
    assert await bound(bench, await bench.checked(again, SATO)) == frozenset(), "the next visit is another one"


# ---------------------------------------------------------------------- who may not


async def test_the_same_officer_does_not_confirm(bench: CounterBench) -> None:
    case = await bench.checked(await begun(bench), SATO)
    assert await bench.decide(case, by=FIRST) == NotDecided(reason="same_officer")
    shouting = User(id=FIRST.id, login="HR.MORI", name="", roles=())
    assert await bench.decide(case, by=shouting) == NotDecided(reason="same_officer")
    assert await bench.store.proofing.latest(SATO.user_id) is None


async def test_nobody_checks_or_confirms_themselves(bench: CounterBench) -> None:
    sato = await bench.add(SATO)
    code = (await begun(bench)).show.values["code"]
    assert await bench.check(SATO, code, by=sato) == NotChecked(reason="own_case")
    console = User(id="", login=sato.login, name="", roles=())  # an officer's console that knows logins only
    assert await bench.check(SATO, code, by=console) == NotChecked(reason="own_case")
    shouting = User(id="", login="SATO", name="", roles=())
    assert await bench.check(SATO, code, by=shouting) == NotChecked(reason="own_case")
    review = await bench.check(SATO, code)
    assert isinstance(review, UnderReview)
    assert await bench.decide(review.case_id, by=sato) == NotDecided(reason="own_case")


async def test_a_check_without_an_officer_is_a_fault(bench: CounterBench) -> None:
    for nobody in ("", " "):
        with pytest.raises(ValueError, match="needs an officer"):
            await bench.check(SATO, "000000", by=User(id="", login=nobody, name="", roles=()))


# ---------------------------------------------------------------------- the code


async def test_a_code_works_once(bench: CounterBench) -> None:
    code = (await begun(bench)).show.values["code"]
    assert isinstance(await bench.check(SATO, code), UnderReview)
    assert await bench.check(SATO, code) == NotChecked(reason="unknown_code")


async def test_of_two_officers_at_the_same_moment_one_has_it(bench: CounterBench) -> None:
    code = (await begun(bench)).show.values["code"]
    both = await asyncio.gather(bench.check(SATO, code), bench.check(SATO, code, by=SECOND))
    assert sorted(type(one).__name__ for one in both) == ["NotChecked", "UnderReview"]


async def test_a_code_is_one_accounts_only(bench: CounterBench) -> None:
    code = (await begun(bench, SUZUKI)).show.values["code"]
    assert await bench.check(SATO, code) == NotChecked(reason="unknown_code")
    await begun(bench, SATO)
    assert (await bench.check(SATO, code)) == NotChecked(reason="unknown_code")
    assert isinstance(await bench.check(SUZUKI, code), UnderReview)


async def test_a_new_code_ends_the_one_before(bench: CounterBench) -> None:
    first, second = await begun(bench), await begun(bench)
    if first.show.values["code"] != second.show.values["code"]:
        assert await bench.check(SATO, first.show.values["code"]) == NotChecked(reason="unknown_code")
    await bench.success(second, SATO)
    assert await bench.backend.complete(first.state, {}) == NotProofed(reason="unusable_answer")
    assert isinstance(await bench.backend.complete(second.state, {}), Proofed)


async def test_a_code_ends(bench: CounterBench) -> None:
    code = (await begun(bench)).show.values["code"]
    bench.clock.advance(600)
    assert await bench.check(SATO, code) == NotChecked(reason="unknown_code")


async def test_a_code_can_not_be_guessed(bench: CounterBench) -> None:
    code = (await begun(bench)).show.values["code"].replace(" ", "")
    wrong = [f"{(int(code) + step) % 1_000_000:06}" for step in range(1, TRIES + 1)]
    for guess in wrong:
        assert await bench.check(SATO, guess) == NotChecked(reason="unknown_code")
    assert await bench.check(SATO, code) == NotChecked(reason="unknown_code"), "the tries are used up"
    assert reasons(bench) == ["unknown_code"] * (TRIES + 1)


@pytest.mark.parametrize("code", ["", " ", "abc", "０１２３４５", "\x00", "1" * 10_000, "%s", "' OR 1=1"])
async def test_a_code_that_is_none(bench: CounterBench, code: str) -> None:
    await begun(bench)
    assert await bench.check(SATO, code) == NotChecked(reason="unknown_code")


async def test_a_cancelled_visit_is_over(bench: CounterBench) -> None:
    started = await begun(bench)
    assert await bench.backend.complete(started.state, {"cancel": "1"}) == NotProofed(reason="cancelled")
    assert await bench.check(SATO, started.show.values["code"]) == NotChecked(reason="unknown_code")


async def test_cancelling_an_old_visit_leaves_the_new_one(bench: CounterBench) -> None:
    old, new = await begun(bench), await begun(bench)
    await bench.backend.complete(old.state, {"cancel": "1"})
    assert isinstance(await bench.check(SATO, new.show.values["code"]), UnderReview)


async def test_somebody_whom_nobody_knows_and_somebody_who_has_left(bench: CounterBench) -> None:
    code = (await begun(bench)).show.values["code"]
    looked = Looked(document="passport", name=SATO.name, birth_date="1984-05-12")
    assert await bench.counter.check("nobody", code, looked, by=FIRST.login) == NotChecked(reason="unknown_code")
    await bench.store.users.update(SATO.user_id, lambda old: msgspec.structs.replace(old, active=False))
    assert await bench.check(SATO, code) == NotChecked(reason="unknown_code")


# ---------------------------------------------------------------------- what was looked at


@pytest.mark.parametrize(
    "changed",
    [
        {"name": ""},
        {"name": "　"},
        {"name": "佐" * 101},
        {"name": "佐藤\u202e恵"},
        {"name": "佐藤\n恵"},
        {"name": "佐藤\u200b恵"},
        {"kana": "サトウ\x00"},
        {"birth_date": ""},
        {"birth_date": "12.5.1984"},
        {"birth_date": "1984-02-30"},
        {"birth_date": "319840512"},
        {"birth_date": "2999-01-01"},
    ],
)
async def test_what_stands_in_no_document(bench: CounterBench, changed: dict[str, Any]) -> None:
    code = (await begun(bench)).show.values["code"]
    assert await bench.check(SATO, code, **changed) == NotChecked(reason="malformed")
    assert isinstance(await bench.check(SATO, code), UnderReview), "the code still works for a slip of the fingers"


async def test_another_persons_document(bench: CounterBench) -> None:
    started = await begun(bench)
    refused = await bench.check(SATO, started.show.values["code"], name=SUZUKI.name, birth_date=SUZUKI.birth_date)
    assert refused == NotChecked(reason="name_mismatch")
    event = bench.events.all[-1]
    assert (event.name, event.outcome, event.by, event.subject) == ("proofing.refused", "failure", FIRST.login, SATO.user_id)
    assert event.detail["differences"]
    assert await bench.backend.complete(started.state, {}) == NotProofed(reason="unusable_answer")


async def test_a_document_that_is_not_accepted(bench: CounterBench) -> None:
    code = (await begun(bench)).show.values["code"]
    assert await bench.check(SATO, code, document="photo_document") == NotChecked(reason="not_accepted")


# ---------------------------------------------------------------------- attacks on the end


async def test_the_officers_word_on_one_visit_ends_no_other(bench: CounterBench) -> None:
    """Cross-person and cross-session: what was decided belongs to one visit of one person."""
    sato, suzuki = await begun(bench, SATO), await begun(bench, SUZUKI)
    await bench.success(sato, SATO)
    assert await bench.backend.complete(suzuki.state, {}) == NotProofed(reason="unusable_answer")
    assert isinstance(await bench.backend.complete(sato.state, {}), Proofed)


@pytest.mark.parametrize("answer", [{}, {"case": "case_1", "decision": "approved"}, {"level": "3"}, {"cancel": "0"}])
async def test_waiting_is_no_answer_whatever_the_browser_says(bench: CounterBench, answer: dict[str, str]) -> None:
    started = await begun(bench)
    await bench.checked(started, SATO)
    assert await bench.backend.complete(started.state, answer) == NotProofed(reason="unusable_answer")


@pytest.mark.parametrize("state", [b"", b"{}", b"\xff", b"[]", b'{"user_id":1}'])
async def test_a_state_of_something_else_is_no_answer(bench: CounterBench, state: bytes) -> None:
    assert isinstance(await bench.backend.complete(state, {}), Broken)


async def test_a_result_that_ended_since_proofs_nobody(bench: CounterBench) -> None:
    started = await begun(bench)
    await bench.success(started, SATO)
    await bench.store.accounts.end_proofing(SATO.user_id, why="officer", by="admin", at=NOW)
    assert await bench.backend.complete(started.state, {}) == NotProofed(reason="unusable_answer")


async def test_a_second_proofing_replaces_the_first(bench: CounterBench) -> None:
    first = await kept(bench)
    second = await kept(bench, document="ic_chip")
    assert second.transaction != first.transaction
    latest = await bench.store.proofing.latest(SATO.user_id)
    assert latest is not None
    assert latest.level == 3


async def test_what_can_not_be_logged_does_not_happen(bench: CounterBench) -> None:
    code = (await begun(bench)).show.values["code"]
    bench.events.fail = AuditError("the disk is full")
    with pytest.raises(AuditError):
        await bench.check(SATO, code)
    with pytest.raises(AuditError):
        await bench.check(SATO, "000000")
    assert await bench.store.cases.waiting(NOW) == []


# ---------------------------------------------------------------------- with the desk around it


async def test_at_the_desk_the_page_looks_and_the_state_stays(bench: CounterBench) -> None:
    desk = ProofingDesk(bench.backend, bench.store, bench.events, bench.clock, lambda: KEYS)
    user = await bench.add(SATO)
    pending = await desk.begin(user, "sign_in", "browser-1", "192.0.2.1")
    assert isinstance(pending, Pending)
    case = await bench.check(SATO, pending.show.values["code"])
    assert isinstance(case, UnderReview)
    assert await desk.pending(user, pending.name, "browser-1") == pending, "looking takes nothing"
    assert await desk.pending(user, pending.name, "browser-2") is None
    assert isinstance(await bench.decide(case.case_id), Decided)
    record = await bench.store.proofing.latest(user.id)
    assert record is not None
    assert record.in_force(NOW)
    after = await desk.complete(user, pending.name, "browser-1", {}, "192.0.2.1")
    assert after == Refused(reason="stale"), "the officers' decision was the end: another answer adds nothing"
    assert await bench.store.proofing.latest(user.id) == record


# ---------------------------------------------------------------------- not working


async def test_without_a_store_nothing_begins() -> None:
    backend = in_person_backend(settings(), ManualClock())
    assert isinstance(await backend.begin(SATO, "sign_in"), Broken)
    assert isinstance(await backend.complete(b"{}", {}), Broken)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"place_ja": ""}, "place_ja"),
        ({"place_en": "x" * 301}, "place_en"),
        ({"place_en": "\u202e"}, "place_en"),
        ({"levels": {}}, "level"),
        ({"levels": {"passport": 4}}, "level"),
        ({"levels": {"passport": 0}}, "level"),
        ({"code_seconds": 59}, "limit"),
        ({"code_seconds": 86_400}, "limit"),
        ({"valid_days": 0}, "limit"),
    ],
)
def test_settings_that_make_no_sense(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        in_person_backend(settings(**changed), ManualClock())

"""What happens to an account while its proofing is under way: nothing of before counts for what is there after it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.kernel.secret import Secret
from idp.bindings import Binder
from idp.model import AuthEvent, PasswordCredential, ProofingRecord, TotpCredential
from idp.proofing.cases import Decided
from idp.proofing.desk import Refused
from idp.proofing.digest import DigestKeys
from idp.proofing.in_person import InPersonCounter, Looked, NotChecked, in_person_backend
from idp.proofing.port import Broken, Outcome, Person, Recorded, Revoked, Standing, Started, Valid, Verified
from idp.proofing.recheck import Rechecker
from tests.support import in_person
from tests.support.proofing import CARD_OF_SATO, NEAR_SATO, NOW, OFFICER, SATO, Bench, Scripted, opened

OTP = AuthEvent(kind="otp", at=NOW)


class Slow(Scripted):
    """Reads the card, and says so when the test lets it."""

    def __init__(self, bench: Bench, card: Verified) -> None:
        super().__init__(bench.clock)
        self.asked_now, self.go_on = asyncio.Event(), asyncio.Event()
        self.holds(card)

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        self.asked_now.set()
        await self.go_on.wait()
        return await super().complete(state, answer)


def generator(at: int = NOW) -> TotpCredential:
    return TotpCredential(user_id=SATO.id, secret=Secret("A" * 32), created_at=at)


async def reset(bench: Bench) -> None:
    password = PasswordCredential(user_id=SATO.id, encoded="x", changed_at=NOW)
    await bench.store.accounts.reset(SATO.id, password=password, totp=generator(), by="admin", at=NOW)


@pytest.mark.parametrize("card", [CARD_OF_SATO, NEAR_SATO], ids=["same", "near"])
@pytest.mark.parametrize("act", ["reset", "delete"])
async def test_a_verdict_that_comes_after_a_reset_or_a_deletion_counts_for_nothing(
    tmp_path: Path, card: Verified, act: str
) -> None:
    async with opened(tmp_path, answer_seconds=5) as bench:
        slow = Slow(bench, card)
        bench.desk.backend = slow  # type: ignore[misc]  # the bench's own answers at once
        waiting = asyncio.create_task(bench.complete(await bench.begin()))
        await slow.asked_now.wait()
        if act == "reset":
            await reset(bench)
        else:
            await bench.store.kept.delete(SATO.id, by=SATO.login, at=NOW)
        slow.go_on.set()
        assert await waiting == Refused(reason="stale")
        assert await bench.store.proofing.latest(SATO.id) is None
        assert await bench.store.cases.waiting(NOW) == []


async def test_nobody_else_sees_a_verdict_that_is_awaited(tmp_path: Path) -> None:
    async with opened(tmp_path, answer_seconds=5) as bench:
        slow = Slow(bench, CARD_OF_SATO)
        bench.desk.backend = slow  # type: ignore[misc]
        name = await bench.begin()
        waiting = asyncio.create_task(bench.complete(name))
        await slow.asked_now.wait()
        for guess in (name, f"judging {name}"):
            assert await bench.complete(guess) == Refused(reason="stale")
            assert await bench.desk.pending(SATO, guess, "browser-1") is None
        slow.go_on.set()
        assert isinstance(await waiting, ProofingRecord)


async def test_the_code_for_the_counter_does_not_outlive_a_reset(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        backend = in_person_backend(in_person.settings(), bench.clock)
        backend.use(bench.store)
        started = await backend.begin(Person(user_id=SATO.id, name=SATO.name), "sign_in")
        assert isinstance(started, Started)
        await reset(bench)
        counter = InPersonCounter(bench.store, bench.desk.review, bench.events, bench.clock, backend.settings)
        looked = Looked(document="ic_chip", name=SATO.name, birth_date=SATO.birth_date or "")
        checked = await counter.check(SATO.login, started.show.values["code"], looked, by=OFFICER.login, by_user=OFFICER.id)
        assert checked == NotChecked(reason="unknown_code")


async def test_a_generator_that_came_after_the_ceremony_is_not_bound_by_its_case(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        bench.backend.holds(NEAR_SATO)
        await bench.store.credentials.set_totp(generator())
        case = await bench.case()
        await Binder(bench.store, bench.events, bench.clock).hold(case.case_id, [OTP])
        await bench.store.credentials.set_totp(generator(NOW + 60))
        decided = await bench.desk.review.decide(case.case_id, OFFICER.login, OFFICER.id, approve=True)
        assert isinstance(decided, Decided)
        assert decided.record is not None
        assert await bench.store.bindings.of(decided.record.number) == frozenset()


async def test_a_generator_that_came_after_its_code_was_shown_is_not_bound(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await bench.store.credentials.set_totp(generator(NOW + 60))
        record, binder = await bench.kept(), Binder(bench.store, bench.events, bench.clock)
        await binder.proofed(SATO, record, [OTP], "")
        assert await bench.store.bindings.of(record.number) == frozenset()
        await binder.proofed(SATO, record, [AuthEvent(kind="otp", at=NOW + 60)], "")
        assert await bench.store.bindings.of(record.number) == {"otp"}


class OnTheList(Scripted):
    """Every card is on its list of revoked ones."""

    async def recheck(self, record: Recorded) -> Standing:
        return Revoked() if record.is_person(Secret(self.person)) else Valid()


async def test_without_the_key_of_its_digest_no_card_is_said_to_be_in_force(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await bench.kept()
        bench.clock.advance(10)
        rechecker = Rechecker(bench.store, OnTheList(bench.clock), bench.clock, lock=tmp_path / "lock")
        run = await rechecker.run(DigestKeys([("another", Secret("n" * 40))]), by="hr.mori")
        assert (run.valid, run.revoked, run.unknown) == (0, 0, 1)
        bench.clock.advance(10)
        assert (await rechecker.run(bench.keys, by="hr.mori")).revoked == 1


@pytest.mark.parametrize("when", ["begin", "complete"])
async def test_a_backend_that_fails_is_an_outage_and_its_words_are_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async def fails(*_: object) -> Outcome:
        raise ValueError(SATO.name)

    async with opened(tmp_path) as bench:
        if when == "begin":
            monkeypatch.setattr(bench.backend, "begin", fails)
            ended: object = await bench.desk.begin(SATO, "sign_in", "browser-1", "192.0.2.1")
        else:
            name = await bench.begin()
            monkeypatch.setattr(bench.backend, "complete", fails)
            ended = await bench.complete(name)
        assert ended == Broken(detail="the backend failed (ValueError)")
        assert bench.events.last("proofing.broken").detail["detail"] == "the backend failed (ValueError)"
        assert "fails" in caplog.text
        assert SATO.name not in caplog.text

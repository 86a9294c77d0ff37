"""Asking the verifier again: what each answer does, one run at a time, and runs that were broken off."""

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import TestServer

import idp.app
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.secret import Secret
from idp.model import PersonDigest, ProofingRecord
from idp.proofing.office import ProofingError, ProofingOffice
from idp.proofing.port import Expired, Revoked, Unknown, Valid
from idp.proofing.recheck import AT_A_TIME
from idp.proofing.rehearsal import Rehearsal
from idp.settings import ProofingSettings
from idp.store.rechecks import SqliteRechecks
from tests.support.office import OfficeBench, Verifier, office_bench, standing, until
from tests.support.oidc import Events as ProviderEvents
from tests.support.oidc import PlainPages, settings_in
from tests.support.proofing import SATO, SUZUKI

BY = "hr.mori"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[OfficeBench]:
    async with office_bench(tmp_path) as made:
        yield made


async def finished(bench: OfficeBench) -> bool:
    return (await bench.office.rechecks())[0].finished_at is not None


async def ask(bench: OfficeBench, office: ProofingOffice | None = None) -> tuple[int, int, int, int, int]:
    done = await (office or bench.office).recheck_now(by=BY)
    assert done.finished_at is not None
    return done.total, done.valid, done.revoked, done.expired, done.unknown


async def test_each_answer_has_its_consequence(bench: OfficeBench, caplog: pytest.LogCaptureFixture) -> None:
    users = await bench.crowd(5)
    records = {user.id: await bench.store.proofing.latest(user.id) for user in users}
    revoked, expired, unknown, broken, valid = (record.transaction for record in records.values() if record is not None)
    bench.verifier.says = {
        revoked: Revoked(), expired: Expired(), unknown: Unknown(detail="no line"), broken: RuntimeError("a fault"),
        valid: Valid(),
    }  # fmt: skip
    bench.clock.advance(100)
    with caplog.at_level(logging.WARNING):
        assert await ask(bench) == (5, 1, 1, 1, 2)
    assert "the backend failed (RuntimeError)" in caplog.text
    assert "a fault" not in caplog.text  # what an error says may be personal data
    states = [await standing(bench, user) for user in users]
    assert states == [
        (False, False, "revoked"),
        (False, False, "expired"),
        (True, False, ""),
        (True, False, ""),
        (True, False, ""),
    ]
    checked = [(await bench.office.own_view(user.id)).records[0].checked_at for user in users]
    assert checked == [0, 0, 0, 0, bench.now]
    await bench.teller.tell()
    ended = [(event.login, event.detail["why"]) for event in bench.events.all if event.name == "proofing.ended"]
    assert sorted(ended) == [("n0", "revoked"), ("n1", "expired")]
    told = bench.events.last("proofing.rechecked")
    assert (told.by, told.detail["total"], told.detail["revoked"], told.detail["unknown"]) == (BY, "5", "1", "2")
    caplog.clear()


async def test_only_proofings_in_force_of_active_people_are_asked_about(bench: OfficeBench) -> None:
    users = await bench.crowd(4)
    await bench.store.accounts.set_active(users[0].id, active=False, by=BY, at=bench.now)
    await bench.office.end(users[1].id, why="officer", by=BY)
    await bench.proofed(SATO, seconds=5)
    bench.clock.advance(5)
    assert await ask(bench) == (2, 2, 0, 0, 0)
    living = [await bench.store.proofing.latest(user.id) for user in users[2:]]
    assert sorted(bench.verifier.rechecked) == sorted(record.transaction for record in living if record is not None)


async def test_what_another_verifier_made_stays_and_has_no_answer(bench: OfficeBench) -> None:
    await bench.proofed()
    bench.verifier.method = "another"
    assert await ask(bench) == (1, 0, 0, 0, 1)
    assert bench.verifier.rechecked == []
    assert await standing(bench) == (True, False, "")


async def test_a_rehearsed_verifier_is_asked_about_what_it_proofed_in_the_rehearsal(bench: OfficeBench) -> None:
    rehearsal = Rehearsal(bench.verifier)
    await bench.proofed()
    office = bench.another(backend=rehearsal)
    assert await ask(bench, office) == (1, 0, 0, 0, 1)  # the verifier's own records are not the rehearsal's
    assert bench.verifier.rechecked == []
    bench.desk.desk.backend = rehearsal  # type: ignore[misc]  # from now on it is rehearsed
    rehearsed = await bench.desk.kept(SATO)
    assert (rehearsed.level, rehearsed.evidence) == (1, "none")
    bench.verifier.persons[rehearsed.transaction] = bench.verifier.person
    bench.verifier.says = {rehearsed.transaction: Revoked()}
    assert await ask(bench, office) == (1, 0, 1, 0, 0)


async def test_a_few_are_asked_at_a_time_and_progress_can_be_read(bench: OfficeBench) -> None:
    await bench.crowd(10)
    bench.clock.advance(60)
    bench.verifier.gate = asyncio.Event()
    await bench.office.recheck(by=BY)
    await until(lambda: bench.verifier.running == AT_A_TIME)
    (run,) = await bench.office.rechecks()
    assert (run.total, run.asked, run.finished_at, run.started_by) == (10, 0, None, BY)
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.verifier.most == AT_A_TIME
    bench.verifier.gate.set()
    await until(lambda: finished(bench))
    assert (await bench.office.rechecks())[0].valid == 10


async def test_who_does_not_answer_in_time_has_not_answered(bench: OfficeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.proofed()
    bench.verifier.gate = asyncio.Event()
    monkeypatch.setattr(bench.office._rechecker, "_patience", 0.05)
    assert await ask(bench) == (1, 0, 0, 0, 1)
    assert await standing(bench) == (True, False, "")


async def test_one_run_at_a_time_whoever_makes_it(bench: OfficeBench) -> None:
    await bench.proofed()
    with bench.lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for attempt in (bench.office.recheck, bench.office.recheck_now):
            with pytest.raises(ProofingError, match="rechecked already"):
                await attempt(by=BY)
        assert await bench.office.recheck_if_due() is None
    assert bench.verifier.rechecked == []
    assert await ask(bench) == (1, 1, 0, 0, 0)


async def test_without_a_verifier_nobody_can_be_asked(bench: OfficeBench) -> None:
    office = bench.another(without=True)
    for attempt in (office.recheck, office.recheck_now):
        with pytest.raises(ProofingError, match="no verifier"):
            await attempt(by=BY)
    assert await office.recheck_if_due() is None


async def test_a_run_that_was_broken_off_is_gone_on_with(bench: OfficeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    users = await bench.crowd(12)
    bench.clock.advance(60)
    first = await bench.store.proofing.latest(users[0].id)
    second = await bench.store.proofing.latest(users[1].id)
    assert first is not None
    assert second is not None
    bench.verifier.says = {first.transaction: Revoked(), second.transaction: Unknown(detail="no line")}
    settle, settled = SqliteRechecks.settle, 0

    async def failing(self: SqliteRechecks, *arguments: object, **options: object) -> None:
        nonlocal settled
        if settled == 5:
            raise StoreUnavailable("the disk is full", where="idp.sqlite3")
        settled += 1
        await settle(self, *arguments, **options)  # type: ignore[arg-type]  # passed through as they come

    monkeypatch.setattr(SqliteRechecks, "settle", failing)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await bench.office.recheck_now(by=BY)
    monkeypatch.undo()
    (broken,) = await bench.office.rechecks()
    assert (broken.finished_at, broken.total, broken.asked, broken.revoked, broken.unknown) == (None, 12, 5, 1, 1)
    before = list(bench.verifier.rechecked)
    bench.clock.advance(3600)
    done = await bench.another().recheck_if_due()  # after a restart, although nothing is scheduled
    assert done is not None
    assert (done.number, done.total, done.valid, done.revoked, done.unknown) == (broken.number, 12, 10, 1, 1)
    assert done.finished_at == bench.now
    again = bench.verifier.rechecked[len(before) :]
    assert second.transaction in again, "no answer is asked for again"
    assert first.transaction not in again
    assert len(again) == 8, "what was answered is not asked again: five of twelve were settled, one without an answer"


async def test_what_somebody_ends_meanwhile_is_not_counted(bench: OfficeBench) -> None:
    await bench.proofed(SATO)
    await bench.proofed(SUZUKI)
    bench.verifier.gate = asyncio.Event()
    run = asyncio.create_task(bench.office.recheck_now(by=BY))
    await until(lambda: bench.verifier.running == 2)
    await bench.office.end(SATO.id, why="officer", by=BY)
    bench.verifier.gate.set()
    done = await run
    assert (done.total, done.valid) == (1, 1)
    assert await standing(bench) == (False, False, "officer")


async def test_a_proofing_whose_time_comes_while_the_verifier_is_asked_ends_as_it_says(bench: OfficeBench) -> None:
    record = await bench.proofed(seconds=10)
    bench.verifier.says = {record.transaction: Revoked()}
    bench.verifier.gate = asyncio.Event()
    run = asyncio.create_task(bench.office.recheck_now(by=BY))
    await until(lambda: bench.verifier.running == 1)
    bench.clock.advance(10)
    bench.verifier.gate.set()
    assert (await run).revoked == 1
    assert await standing(bench) == (False, False, "revoked")


async def test_the_schedule_is_kept_by_whoever_looks(tmp_path: Path) -> None:
    async with office_bench(tmp_path, recheck_hours=24) as bench:
        await bench.proofed()
        first = await bench.office.recheck_if_due()
        assert first is not None
        assert (first.started_by, first.valid) == ("schedule", 1)
        for office in (bench.office, bench.another()):
            assert await office.recheck_if_due() is None
        bench.clock.advance(24 * 3600 - 1)
        assert await bench.office.recheck_if_due() is None
        bench.clock.advance(1)
        two = await asyncio.gather(bench.office.recheck_if_due(), bench.another().recheck_if_due())
        assert sorted(run is not None for run in two) == [False, True]
        assert len(await bench.office.rechecks()) == 2


async def test_without_a_schedule_nothing_begins_by_itself(bench: OfficeBench) -> None:
    await bench.proofed()
    assert await bench.office.recheck_if_due() is None
    assert await bench.office.rechecks() == []


async def test_a_run_of_the_background_is_broken_off_when_the_office_closes(bench: OfficeBench) -> None:
    await bench.proofed()
    bench.verifier.gate = asyncio.Event()
    await bench.office.recheck(by=BY)
    await until(lambda: bench.verifier.running == 1)
    await bench.office.close()
    (run,) = await bench.office.rechecks()
    assert (run.finished_at, bench.verifier.running) == (None, 0)


async def test_who_is_recognised_moves_to_the_newest_digest_key(bench: OfficeBench) -> None:
    satos, suzukis = await bench.proofed(SATO), await bench.proofed(SUZUKI)
    bench.verifier.says = {suzukis.transaction: Unknown(detail="no line")}
    newest = await bench.office.rotate_key()
    bench.clock.advance(100)
    assert await ask(bench) == (2, 1, 0, 0, 1)
    assert await bench.store.proofing.digest_keys_in_use() == {newest: 1, "": 1}
    moved = await bench.store.proofing.latest(SATO.id)
    assert moved is not None
    assert bench.key_file.digest_keys().same_person(moved, Secret(f"card of {SATO.id}"))
    assert (moved.number, moved.transaction, moved.ended_at) == (satos.number, satos.transaction, None)
    with pytest.raises(ConfigError, match="in use"):
        await bench.office.drop_key("")
    bench.verifier.says = {}
    bench.clock.advance(100)
    assert await ask(bench) == (2, 2, 0, 0, 0)
    await bench.office.drop_key("")
    assert bench.key_file.digest_keys().ids == (newest,)


# ---------------------------------------------------------------- in the provider that runs


async def test_the_running_provider_asks_by_schedule_goes_on_after_trouble_and_stops_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(idp.app, "_CHORES_EVERY_SECONDS", 0.02)
    settings = settings_in(tmp_path, proofing=ProofingSettings(recheck_hours=1))
    clock = ManualClock()
    verifier, events = Verifier(clock), ProviderEvents()
    provider = await idp.app.open_provider(
        settings, clock=clock, events=events, pages=PlainPages(), address_of=lambda request: "", verifier=verifier
    )
    user = await provider.seed_user(login="dr.sato", name="佐藤 恵", roles=("physician",))
    record = ProofingRecord(
        user_id=user.id, level=3, method=verifier.method, verified_at=int(clock.now()), expires_at=None, verifier="v",
        transaction="t1", person_digest="d",
    )  # fmt: skip
    digests = (PersonDigest(key="", digest="d"),)
    assert not isinstance(await provider.store.proofing.keep(record, digests, now=record.verified_at), str)
    verifier.says = {"t1": Revoked()}
    server = TestServer(provider.app)
    with caplog.at_level(logging.ERROR):
        settle = SqliteRechecks.settle

        async def failing(self: SqliteRechecks, *arguments: object, **options: object) -> None:
            raise StoreUnavailable("the disk is full", where="idp.sqlite3")

        monkeypatch.setattr(SqliteRechecks, "settle", failing)
        await server.start_server()
        try:
            await until(lambda: "proofings can't be rechecked" in caplog.text)
            monkeypatch.setattr(SqliteRechecks, "settle", settle)
            await until(lambda: {"proofing.ended", "proofing.rechecked"} <= set(events.names()))
            (run,) = await provider.office.rechecks()
            assert (run.started_by, run.total, run.revoked) == ("schedule", 1, 1)
            verifier.gate = asyncio.Event()
            again = msgspec.structs.replace(record, transaction="t2")
            assert not isinstance(await provider.store.proofing.keep(again, digests, now=record.verified_at), str)
            clock.advance(3600)
            await until(lambda: verifier.running == 1)
        finally:
            await server.close()
            await provider.close()
    assert verifier.running == 0
    caplog.clear()

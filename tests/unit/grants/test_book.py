"""What is in force, in memory: by the clock at each decision, by the database within half a second, after 30 s by nobody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.audit.memory import MemoryAuditLog
from gateway.domain.record import EventRecord
from gateway.grants.book import STALE_SECONDS, GrantBook
from gateway.grants.ledger import Ledger
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import StoreUnavailable
from gateway.lasting.sqlite import SqliteLasting
from tests.support.emergency import until
from tests.support.grants import NOW, OFFICER, VENDOR, a_grant, an_emergency, approved

SUBJECT = VENDOR.subject


class Bench:
    """Two nodes over one database: `book` is one's, `ledger` the other's."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(NOW)
        self.log = MemoryAuditLog()
        self.seconds = 0.0
        self.ledger = Ledger(SqliteLasting(folder / "grants.sqlite3"))
        self.lasting = SqliteLasting(folder / "grants.sqlite3")
        self.book = GrantBook(Ledger(self.lasting), self.clock, self.log, monotonic=lambda: self.seconds)
        self.changes = 0
        self.book.on_change(self.count)

    def count(self) -> None:
        self.changes += 1

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        await self.book.start()
        task = asyncio.get_running_loop().create_task(self.book.follow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def events(self) -> list[EventRecord]:
        return [record for _, record in self.log.recent(100) if isinstance(record, EventRecord)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def take_away(folder: Path) -> None:
    for file in folder.glob("grants.sqlite3*"):
        file.rename(folder / f"away-{file.name}")
    (folder / "grants.sqlite3").mkdir()


def bring_back(folder: Path) -> None:
    (folder / "grants.sqlite3").rmdir()
    for file in folder.glob("away-*"):
        file.rename(folder / file.name.removeprefix("away-"))


async def test_what_is_in_force_is_judged_by_the_time_of_each_decision(bench: Bench) -> None:
    await approved(bench.ledger, asked_from=NOW + 100, asked_until=NOW + 200)
    await approved(bench.ledger, name="night", asked_until=NOW + 150)
    await bench.book.start()
    assert bench.book.grants_of(SUBJECT, NOW) == ("night",)
    assert bench.book.grants_of(SUBJECT, NOW + 100) == ("ehr-maintenance", "night")
    assert bench.book.grants_of(SUBJECT, NOW + 199.9) == ("ehr-maintenance",)
    assert bench.book.grants_of(SUBJECT, NOW + 200) == ()
    assert bench.book.grants_of("usr_other", NOW + 100) == ()


async def test_two_grants_of_one_name_are_one_name(bench: Bench) -> None:
    await approved(bench.ledger)
    await approved(bench.ledger)
    await bench.book.start()
    assert bench.book.grants_of(SUBJECT, NOW) == ("ehr-maintenance",)


async def test_what_waits_is_known_and_lifts_nothing(bench: Bench) -> None:
    await bench.ledger.ask(a_grant())
    await bench.book.start()
    assert bench.book.grants_of(SUBJECT, NOW) == ()
    assert bench.book.waiting_of(SUBJECT) == ("ehr-maintenance",)
    assert bench.book.waiting_of("usr_other") == ()


async def test_the_emergency(bench: Bench) -> None:
    await bench.book.start()
    assert (bench.book.situation(NOW), bench.book.emergency_until(NOW)) == ("normal", 0)
    await bench.ledger.declare(an_emergency())
    await bench.book.start()
    assert (bench.book.situation(NOW), bench.book.emergency_until(NOW)) == ("emergency", NOW + 3600)
    assert bench.book.situation(NOW + 3600) == "normal"


async def test_what_another_node_changes_is_seen_and_said(bench: Bench) -> None:
    async with bench.following():
        one = await approved(bench.ledger)
        await until(lambda: bench.book.grants_of(SUBJECT, NOW) == ("ehr-maintenance",))
        before = bench.changes
        assert before
        await bench.ledger.end(one.id, OFFICER, NOW)
        await until(lambda: bench.book.grants_of(SUBJECT, NOW) == ())
        assert bench.changes > before


async def test_it_is_said_when_a_grant_begins_and_when_it_ends_by_itself(bench: Bench) -> None:
    one = await approved(bench.ledger, asked_from=NOW + 100, asked_until=NOW + 200)
    async with bench.following():
        await asyncio.sleep(0.05)
        before = bench.changes
        bench.clock.advance(100)
        await until(lambda: bench.changes > before)
        before = bench.changes
        bench.clock.advance(100)
        await until(lambda: bench.changes > before)
        await until(lambda: len(bench.events()) == 1)
    (event,) = bench.events()
    assert (event.event, event.target, event.detail["how"], event.detail["login"]) == (
        "grant.ended",
        one.id,
        "time",
        "vendor.ito",
    )


async def test_what_nobody_decided_in_time_is_said_to_be_so(bench: Bench) -> None:
    one = await bench.ledger.ask(a_grant())
    async with bench.following():
        bench.clock.advance(7200)
        await until(lambda: len(bench.events()) == 1)
    assert [(event.event, event.target) for event in bench.events()] == [("grant.declined", one.id)]
    assert bench.book.waiting_of(SUBJECT) == ()


async def test_an_emergency_that_ends_by_itself_is_recorded(bench: Bench) -> None:
    one = await bench.ledger.declare(an_emergency())
    async with bench.following():
        bench.clock.advance(3600)
        await until(lambda: len(bench.events()) == 1)
    assert [(event.event, event.target, event.detail["situation"]) for event in bench.events()] == [
        ("situation.changed", one.id, "normal")
    ]


async def test_a_clock_that_jumps_ahead_and_back_brings_nothing_back(bench: Bench) -> None:
    await approved(bench.ledger)
    async with bench.following():
        bench.clock.advance(86_400)
        await until(lambda: len(bench.events()) == 1)
        await until(lambda: bench.book.grants_of(SUBJECT, NOW + 60) == ())


async def test_before_the_first_look_nobody_knows(bench: Bench) -> None:
    with pytest.raises(StoreUnavailable):
        bench.book.grants_of(SUBJECT, NOW)
    with pytest.raises(StoreUnavailable):
        bench.book.situation(NOW)
    assert bench.book.waiting_of(SUBJECT) == ()


async def test_after_thirty_seconds_without_the_database_nobody_knows(bench: Bench, tmp_path: Path) -> None:
    await approved(bench.ledger)
    async with bench.following():
        bench.seconds = 29.0
        assert bench.book.grants_of(SUBJECT, NOW) == ("ehr-maintenance",), "it is not asked at each decision"
        take_away(tmp_path)
        bench.lasting.close()
        await asyncio.sleep(0.7)
        assert bench.book.grants_of(SUBJECT, NOW) == ("ehr-maintenance",)
        bench.seconds += STALE_SECONDS + 1
        with pytest.raises(StoreUnavailable):
            bench.book.grants_of(SUBJECT, NOW)
        bring_back(tmp_path)

        def known() -> bool:
            with contextlib.suppress(StoreUnavailable):
                return bench.book.grants_of(SUBJECT, NOW) == ("ehr-maintenance",)
            return False

        await until(known)

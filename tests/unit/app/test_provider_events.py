"""What the provider tells reaches sessions: which lose their proofing, which end, and what was under way meanwhile."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from gateway.app.provider_events import ProviderEvents
from gateway.domain.identity import Proofing, Session
from gateway.domain.record import EventRecord, Record
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import StoreUnavailable
from gateway.sessions.memory import MemorySessions
from idp.model import Event
from tests.support.sessions import EHR, new_session, proofed

ADDED = {"level": "3", "method": "jpki_sign", "verifier": "pf", "transaction": "t2", "expires_at": "1800090000"}


class Log:
    """Remembers what is written."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def append(self, record: Record) -> int:
        self.records.append(record)
        return len(self.records)

    def last(self) -> EventRecord:
        record = self.records[-1]
        assert isinstance(record, EventRecord)
        return record


class Sessions(MemorySessions):
    """May be out of order."""

    broken = 0

    async def withdraw_proofing(self, subject: str, which: Callable[[Proofing], bool]) -> int:
        if self.broken:
            self.broken -= 1
            raise StoreUnavailable("no line", where="session_store")
        return await super().withdraw_proofing(subject, which)


class World:
    """A teller with its log and sessions."""

    def __init__(self) -> None:
        self.clock, self.log = ManualClock(), Log()
        self.sessions = Sessions(clock=self.clock)
        self.events = self.teller()

    def teller(self, again_seconds: float = 60.0) -> ProviderEvents:
        return ProviderEvents(self.log, self.sessions, self.clock, again_seconds=again_seconds)  # type: ignore[arg-type]  # a log

    async def session(self, transaction: str = "t1", **changes: object) -> Session:
        session = proofed(new_session(self.clock.now()), transaction)
        assert session.identity.proofing is not None
        proofing = msgspec.structs.replace(session.identity.proofing, **changes)
        session = msgspec.structs.replace(session, identity=msgspec.structs.replace(session.identity, proofing=proofing))
        await self.sessions.create(session, EHR)
        return session

    async def holds(self, session: Session) -> bool:
        found = await self.sessions.get(session.id, self.clock.now())
        assert found is not None, "it goes on"
        return found.identity.proofing is not None

    def event(self, name: str, detail: dict[str, str], **more: object) -> Event:
        values = {"name": name, "outcome": "success", "at": int(self.clock.now()), "login": "dr.sato", "subject": "usr_sato"}
        return msgspec.convert({**values, "detail": detail, **more}, Event)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.events.close()


ENDED = {"why": "revoked", "level": "3", "method": "jpki_sign", "verifier": "pf", "transaction": "t1"}


@pytest.mark.parametrize(("name", "detail"), [("proofing.ended", ENDED), ("proofing.deleted", {"records": "1"})])
async def test_an_ended_proofing_leaves_all_sessions_and_the_log_says_how_many(
    world: World, name: str, detail: dict[str, str]
) -> None:
    one, older = await world.session("t1"), await world.session("t0")
    await world.events.record(world.event(name, detail, by="sec.abe"))
    assert not await world.holds(one)
    assert not await world.holds(older), "what a renewal left there has ended with it"
    record = world.log.last()
    assert (record.event, record.actor.login, record.target, record.detail["sessions_changed"]) == (
        name, "sec.abe", "dr.sato", "2",
    )  # fmt: skip


async def test_it_is_not_written_as_done_when_the_sessions_can_not_be_changed(world: World) -> None:
    session = await world.session()
    world.sessions.broken = 1
    with pytest.raises(StoreUnavailable):
        await world.events.record(world.event("proofing.ended", ENDED))
    assert world.log.records == []
    await world.events.record(world.event("proofing.ended", ENDED))  # the provider tells again
    assert not await world.holds(session)


async def test_a_sign_in_that_was_under_way_loses_it_too_and_a_new_proofing_stays(world: World) -> None:
    events = world.teller(again_seconds=0.05)
    await events.record(world.event("proofing.ended", ENDED))
    late, new = await world.session("t1"), await world.session("t2")
    async with asyncio.timeout(5):
        while await world.holds(late):  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.01)
    assert await world.holds(new)
    await events.close()


async def test_of_a_deletion_what_is_newer_stays(world: World) -> None:
    await world.events.record(world.event("proofing.deleted", {"records": "1"}))
    late = await world.session("t1")
    new = await world.session("t9", verified_at=int(world.clock.now()) + 1)
    await world.events.close()  # looks at once for what it would have looked for later
    assert (await world.holds(late), await world.holds(new)) == (False, True)


async def test_an_outage_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("gateway.app.provider_events._RETRY_SECONDS", 0.01)
    events = world.teller(again_seconds=0.02)
    await events.record(world.event("proofing.ended", ENDED))
    late = await world.session("t1")
    world.sessions.broken = 3
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(5):
            while await world.holds(late):  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.01)
    assert "could not be looked at" in caplog.text
    caplog.clear()
    await events.close()


async def test_closing_does_not_wait_for_an_outage(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.events.record(world.event("proofing.ended", ENDED))
    world.sessions.broken = 1_000
    async with asyncio.timeout(5):
        await world.events.close()
    assert "could not be looked at" in caplog.text
    caplog.clear()
    world.sessions.broken = 0


@pytest.mark.parametrize(
    ("held", "stays"),
    [
        ({}, True),
        ({"level": 2}, True),
        ({"expires_at": 1_800_090_000}, True),
        ({"expires_at": 1_800_089_999}, True),
        ({"expires_at": 1_800_090_001}, False),
        ({"expires_at": None}, False),
        ({"method": "in_person"}, False),
        ({"transaction": "t2", "expires_at": None}, True),
    ],
)
async def test_a_new_proofing_takes_out_what_claims_more(world: World, held: dict[str, object], *, stays: bool) -> None:
    session = await world.session(**{"expires_at": 1_800_080_000, **held})  # type: ignore[arg-type]  # one of them is the name
    await world.events.record(world.event("proofing.added", ADDED))
    assert await world.holds(session) is stays
    assert world.log.last().detail["sessions_changed"] == ("0" if stays else "1")


async def test_a_lower_level_takes_a_higher_one_out_and_no_end_outlasts_every_end(world: World) -> None:
    high = await world.session("t1", expires_at=1_800_080_000)
    await world.events.record(world.event("proofing.added", {**ADDED, "level": "2"}))
    assert not await world.holds(high)
    endless = await world.session("t1", expires_at=None)
    await world.events.record(world.event("proofing.added", {**ADDED, "expires_at": ""}))
    assert await world.holds(endless)


@pytest.mark.parametrize("name", ["account.deactivated", "account.roles", "account.reset"])
async def test_what_changes_more_ends_the_sessions(world: World, name: str) -> None:
    session = await world.session()
    await world.events.record(world.event(name, {}))
    assert await world.sessions.get(session.id, world.clock.now()) is None
    assert world.log.last().detail["sessions_ended"] == "1"


@pytest.mark.parametrize("name", ["proofing.invited", "proofing.exported", "proofing.rechecked", "proofing.succeeded"])
async def test_nothing_else_touches_sessions(world: World, name: str) -> None:
    session = await world.session()
    await world.events.record(world.event(name, {}))
    assert await world.holds(session)

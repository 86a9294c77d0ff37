"""A break-glass begins in an order in which nothing is lifted unrecorded, and is over when it is over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.audit.memory import MemoryAuditLog
from gateway.domain.identity import Session
from gateway.domain.record import Actor, EventRecord, Source
from gateway.emergency.keeper import LOST_SECONDS, Keeper
from gateway.emergency.ledger import Ledger
from gateway.emergency.model import REASONS, BreakGlass, NotPossible, plain_text, unseen_in, without_unseen
from gateway.emergency.notices import OutboxNotices
from gateway.emergency.service import GRACE_SECONDS, Asked, Emergencies
from gateway.emergency.words import Manner
from gateway.kernel.errors import AuditError, StoreUnavailable
from gateway.kernel.secret import Secret
from gateway.lasting.sqlite import SqliteLasting
from gateway.sessions.memory import MemorySessions
from tests.support.sessions import PORTAL, new_session

START = 1_800_000_000


class TwoClocks:
    """The wall's, which somebody may set, and the one that never goes back."""

    def __init__(self) -> None:
        self.wall = self.ticks = float(START)

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds


class Log(MemoryAuditLog):
    full = False

    async def synced(self, index: int) -> None:
        if self.full:
            raise AuditError("the disk is full")
        await super().synced(index)


class Sessions(MemorySessions):
    broken = False

    async def change(self, session_id: str, change: Callable[[Session], Session], host: str) -> Secret | None:
        if self.broken:
            raise StoreUnavailable("no line", where="session_store")
        return await super().change(session_id, change, host)

    async def withdraw_emergency(self, session_id: str, emergency_id: str) -> bool:
        if self.broken:
            raise StoreUnavailable("no line", where="session_store")
        return await super().withdraw_emergency(session_id, emergency_id)


class World:
    def __init__(self, folder: Path) -> None:
        self.clock, self.log = TwoClocks(), Log()
        self.sessions = Sessions(clock=self.clock)
        self.lasting = SqliteLasting(folder / "policies.sqlite3")
        self.ledger = Ledger(self.lasting)
        self.woken = 0
        self.service = self.process()
        self.keeper = Keeper(self.service, self.sessions, self.clock)

    def process(self) -> Emergencies:
        def wake() -> None:
            self.woken += 1

        manner = Manner(language="ja", zone=ZoneInfo("Asia/Tokyo"), hospital="h", patient_id=False, link=lambda _: "", apps={})
        return Emergencies(
            ledger=self.ledger, sessions=self.sessions, log=self.log, clock=self.clock, seconds=3600, reasons=REASONS,
            notices=OutboxNotices(self.ledger.outbox, ("mail",), clock=self.clock, wake=wake), manner=manner,
        )  # fmt: skip

    async def session(self, absolute: int = 80_000) -> Session:
        session = new_session(self.clock.now(), idle=80_000, absolute=absolute)
        await self.sessions.create(session, PORTAL)
        return session

    def asked(self, session: Session, **changes: Any) -> Asked:
        actor = Actor(subject=session.identity.subject, login=session.identity.login, session=session.id)
        usual = Asked(
            session=session, actor=actor, source=Source(address="192.0.2.1", door="portal"), reason=REASONS[0], text="急変",
            patient="P1001", app="ehr", route="ehr.chart", method="GET", path="/patients/P1001",
        )  # fmt: skip
        return msgspec.structs.replace(usual, **changes)

    async def begin(self, session: Session) -> BreakGlass:
        one, _ = await self.service.begin(self.asked(session), PORTAL)
        return one

    async def lifted(self, session: Session) -> bool:
        found = await self.sessions.get(session.id, self.clock.now())
        return found is not None and found.emergency is not None

    async def kept(self, one: BreakGlass) -> BreakGlass:
        found = await self.ledger.get(one.id)
        assert found is not None
        return found

    def events(self) -> list[tuple[str, str]]:
        return [(record.event, record.outcome) for record in self.log.records if isinstance(record, EventRecord)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    world.lasting.close()


async def test_it_lifts_one_session_with_a_new_token_and_a_higher_generation(world: World) -> None:
    session = await world.session()
    one, token = await world.service.begin(world.asked(session), PORTAL)
    handle = await world.sessions.resolve(token.reveal(), PORTAL, world.clock.now())
    assert handle is not None
    emergency = handle.emergency(world.clock.now())  # type: ignore[union-attr]
    assert emergency is not None
    assert (emergency.id, emergency.until, emergency.patient) == (one.id, START + 3600, "P1001")
    assert handle.session.generation == session.generation + 1  # type: ignore[union-attr]
    assert (await world.kept(one)).state == "running"
    assert world.events() == [("breakglass.began", "success")]
    assert world.woken == 1
    assert await world.ledger.outbox.take(START) is not None


async def test_it_lasts_no_longer_than_the_session(world: World) -> None:
    session = await world.session(absolute=600)
    assert (await world.begin(session)).until == START + 600


async def test_two_begins_at_once_are_one(world: World) -> None:
    session = await world.session()
    other = world.process()
    outcomes = await asyncio.gather(
        *(each.begin(world.asked(session), PORTAL) for each in (world.service, other, world.service, other)),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in outcomes) == ["NotPossible"] * 3 + ["tuple"]
    assert world.events() == [("breakglass.began", "success")]


async def test_without_a_log_nothing_is_lifted_and_the_row_says_so(world: World) -> None:
    session = await world.session()
    world.log.full = True
    with pytest.raises(AuditError):
        await world.begin(session)
    assert not await world.lifted(session)
    (one,) = await world.ledger.past()
    assert (one.state, one.problem) == ("void", "the log could not be written")
    assert await world.ledger.outbox.take(START + 3600) is None


async def test_without_a_session_nothing_is_lifted_and_the_row_says_so(world: World) -> None:
    session = await world.session()
    await world.sessions.revoke(session.id)
    with pytest.raises(NotPossible):
        await world.begin(session)
    (one,) = await world.ledger.past()
    assert (one.state, one.problem) == ("void", "the session had ended")
    assert world.events() == [("breakglass.began", "success"), ("breakglass.ended", "failure")]


async def test_where_the_session_store_does_not_answer_the_row_stays_and_officers_are_told(world: World) -> None:
    session = await world.session()
    world.sessions.broken = True
    with pytest.raises(StoreUnavailable):
        await world.begin(session)
    (one,) = await world.ledger.open()
    assert "did not answer" in one.problem
    assert await world.ledger.outbox.take(START + GRACE_SECONDS) is not None
    world.sessions.broken = False
    await world.keeper.look()
    world.clock.advance(LOST_SECONDS + 1)
    await world.keeper.look()
    assert (await world.kept(one)).state == "void"


# ---------------------------------------------------------------- the end


async def test_it_ends_at_its_time_once_in_however_many_processes(world: World) -> None:
    session = await world.session()
    one = await world.begin(session)
    other = Keeper(world.process(), world.sessions, world.clock)
    await asyncio.gather(world.keeper.look(), other.look())
    world.clock.advance(3599)
    await asyncio.gather(world.keeper.look(), other.look())
    assert await world.lifted(session)
    world.clock.advance(1)
    await asyncio.gather(world.keeper.look(), other.look())
    assert not await world.lifted(session)
    assert (await world.kept(one)).ended_how == "time"
    assert world.events().count(("breakglass.ended", "success")) == 1


@pytest.mark.parametrize("back", [30, 1800, 86_400])
async def test_a_wall_clock_that_is_set_back_lengthens_nothing(world: World, back: int) -> None:
    session = await world.session()
    await world.begin(session)
    await world.keeper.look()
    world.clock.advance(1800)
    world.clock.wall -= back
    await world.keeper.look()
    assert await world.lifted(session)
    world.clock.advance(1799)
    await world.keeper.look()
    assert await world.lifted(session)
    world.clock.advance(1)
    await world.keeper.look()
    assert not await world.lifted(session)


async def test_a_wall_clock_that_jumps_forward_ends_it(world: World) -> None:
    session = await world.session()
    one = await world.begin(session)
    world.clock.wall += 3600
    await world.keeper.look()
    assert not await world.lifted(session)
    assert (await world.kept(one)).state == "ended"


async def test_a_process_that_starts_later_measures_what_is_left(world: World) -> None:
    session = await world.session()
    await world.begin(session)
    world.clock.advance(3000)
    later = Keeper(world.process(), world.sessions, world.clock)
    await later.look()
    world.clock.wall -= 2000
    world.clock.advance(600)
    await later.look()
    assert not await world.lifted(session)


async def test_with_the_session_it_ends(world: World) -> None:
    session = await world.session()
    one = await world.begin(session)
    await world.sessions.revoke(session.id)
    await world.keeper.look()
    assert (await world.kept(one)).state == "running"
    await world.keeper.look()
    assert (await world.kept(one)).ended_how == "session"
    assert ("breakglass.ended", "success") in world.events()


async def test_what_was_lost_with_its_process_is_settled(world: World) -> None:
    """It died after the ledger, before the session; and after the session, before it could say so."""
    session = await world.session()
    one = await world.begin(session)
    lost = msgspec.structs.replace(one, id="brk_lost", session="ses_lost", state="beginning")
    await world.ledger.begin(lost)
    await world.keeper.look()
    assert (await world.kept(lost)).state == "beginning"
    world.clock.advance(LOST_SECONDS + 1)
    await world.keeper.look()
    assert (await world.kept(lost)).state == "void"
    world.lasting.write_now(
        lambda cursor: cursor.run(
            "UPDATE breakglass SET state = 'beginning', body = replace(body, '\"running\"', '\"beginning\"') WHERE id = ?",
            (one.id,),
        )
    )
    other = Keeper(world.process(), world.sessions, world.clock)
    await other.look()
    assert (await world.kept(one)).state == "running"


async def test_an_end_that_the_session_store_did_not_take_is_tried_again(world: World) -> None:
    session = await world.session()
    one = await world.begin(session)
    world.clock.advance(3600)
    world.sessions.broken = True
    with pytest.raises(StoreUnavailable):
        await world.keeper.look()
    assert (await world.kept(one)).state == "running"
    world.sessions.broken = False
    await world.keeper.look()
    assert (await world.kept(one)).state == "ended"


async def test_the_keeper_goes_on_when_the_store_does_not_answer(world: World) -> None:
    session = await world.session()
    one = await world.begin(session)
    world.clock.advance(3600)
    world.sessions.broken = True
    task = asyncio.create_task(world.keeper.run())
    await asyncio.sleep(0.2)
    assert not task.done()
    world.sessions.broken = False
    world.service.on_change()
    async with asyncio.timeout(5):
        while (await world.kept(one)).state != "ended":  # noqa: ASYNC110  a row of the database
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# ---------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  患者が\r\n意識不明  ", "患者が 意識不明"), ("abc", None), ("....", None), ("a" * 500, "a" * 500), ("a" * 501, None),
        ("abc\x00d", None), ("abc\u202ed", None), ("abcd\u200b", None), ("", None),
    ],
)  # fmt: skip
def test_what_people_type_is_one_line_that_can_be_read(text: str, kept: str | None) -> None:
    assert plain_text(text, least=4) == kept


def test_a_character_that_nobody_sees_is_named_and_taken_out() -> None:
    typed = "意識\u202e不明\r\n搬送\u200b"
    assert unseen_in(typed) == "U+202E"
    assert unseen_in(without_unseen(typed)) == ""
    assert without_unseen(typed) == "意識不明\r\n搬送"
    assert plain_text(without_unseen(typed), least=4) == "意識不明 搬送"

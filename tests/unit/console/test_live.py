import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from gateway.audit.feed import Feed
from gateway.audit.others import OtherLogs
from gateway.console.live import ROWS
from gateway.console.parts import JAPAN
from gateway.console.rows import local, row_event
from gateway.domain.record import Actor, CompletionRecord, DecisionRecord, EventName, EventRecord, Record, Source
from gateway.kernel.web.events import Event, Outbox
from tests.support.console import OFFICER, World
from tests.support.logs import decision
from tests.support.slots import Slots
from tests.unit.console.conftest import Client, Visit


class Stream:
    """Reads server-sent events."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self.reply = reply

    async def event(self) -> dict[str, Any]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(5):
            while True:
                line = (await self.reply.content.readline()).decode().rstrip("\n")
                if not line and "data" in fields:
                    return {**fields, "data": json.loads(fields["data"])}
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value


def event_record(name: EventName, **changes: Any) -> EventRecord:
    actor = Actor(login="dr.sato", name="佐藤 恵")
    values: dict[str, Any] = {
        "id": "evt_1",
        "at": "2027-01-15T08:00:00.000Z",
        "event": name,
        "outcome": "success",
        "actor": actor,
    }
    return EventRecord(**(values | changes))


async def test_kept_decisions_come_first_then_new_ones_as_they_are_written(officer: Client, world: World) -> None:
    await world.decision(path="/patients/P1001")
    await world.audit.append(CompletionRecord(id="dec_1", at="", status=200, bytes_in=0, bytes_out=1, duration_ms=2))
    stream = Stream(await officer.get("/decisions/stream"))
    assert stream.reply.content_type == "text/event-stream"
    assert stream.reply.headers["Cache-Control"] == "no-store"
    first = await stream.event()
    assert (first["event"], first["id"], first["data"]["path"]) == ("decision", "0", "/patients/P1001")
    assert first["data"]["outcome_text"] == "許可"
    assert first["data"]["at"] == "2027-01-15 17:00:00"
    await world.decision(outcome="deny", reason="no_policy_permits", remedy=("key_touch",), policies=())
    second = await stream.event()
    assert second["data"]["reason"] == "許可するポリシーがない"
    assert second["data"]["remedy"] == ["セキュリティキーへのタッチ"]
    await world.audit.append(event_record("signin.failed", outcome="failure", target="dr.sato"))
    third = await stream.event()
    assert (third["event"], third["data"]["event"], third["data"]["outcome_text"]) == ("happening", "サインイン失敗", "失敗")
    stream.reply.close()


async def test_a_returning_reader_gets_only_what_it_has_not_seen(officer: Client, world: World) -> None:
    for number in range(5):
        await world.decision(path=f"/{number}")
    stream = Stream(await officer.get("/decisions/stream", headers={"Last-Event-ID": "2"}))
    assert [(await stream.event())["data"]["path"] for _ in range(2)] == ["/3", "/4"]
    stream.reply.close()


async def test_what_other_processes_decide_is_shown_too_and_not_twice(visit: Visit, world: World, tmp_path: Path) -> None:
    slots = Slots(tmp_path / "logs")
    slots.prepare(1, 2)
    other = await slots.open(2)
    client = await visit(OFFICER, others=OtherLogs(slots.folder, 1))
    await world.decision(path="/here/0", at="2027-01-15T08:00:00.000Z")
    await other.append(decision(1, path="/there/0", at="2027-01-15T08:00:01.000Z"))
    await world.decision(path="/here/1", at="2027-01-15T08:00:02.000Z")
    stream = Stream(await client.get("/decisions/stream"))
    rows = [await stream.event() for _ in range(3)]
    assert [row["data"]["path"] for row in rows] == ["/here/0", "/there/0", "/here/1"]
    await other.append(decision(2, path="/there/1", at="2027-01-15T08:00:03.000Z"))
    last = await stream.event()
    assert last["data"]["path"] == "/there/1"
    stream.reply.close()
    await world.decision(path="/here/2", at="2027-01-15T08:00:04.000Z")
    # Back again, after the second one; and after all of them.
    stream = Stream(await client.get("/decisions/stream", headers={"Last-Event-ID": rows[1]["id"]}))
    assert [(await stream.event())["data"]["path"] for _ in range(3)] == ["/here/1", "/there/1", "/here/2"]
    stream.reply.close()
    stream = Stream(await client.get("/decisions/stream", headers={"Last-Event-ID": last["id"]}))
    assert (await stream.event())["data"]["path"] == "/here/2"
    stream.reply.close()
    await other.close()


@pytest.mark.parametrize("seen", ["", "x", "-1", "9" * 400, "٣", "1 "])
async def test_an_invented_last_event_id(officer: Client, world: World, seen: str) -> None:
    await world.decision()
    await world.decision()
    stream = Stream(await officer.get("/decisions/stream", headers={"Last-Event-ID": seen}))
    # The second one, at index 1, is new to every reader but one that says it saw 1 (a header's outer spaces are no content).
    await world.decision(path="/new")
    found = (await stream.event())["data"]["path"]
    assert found == ("/new" if seen.strip() == "1" else "/patients/P1001")
    stream.reply.close()


async def test_a_large_log_starts_with_the_newest_rows_only(officer: Client, world: World) -> None:
    for number in range(ROWS + 50):
        await world.decision(path=f"/{number}")
    stream = Stream(await officer.get("/decisions/stream"))
    first = await stream.event()
    assert (first["event"], first["data"]["path"]) == ("decision", "/50")
    stream.reply.close()


class SlowFeed(Feed):
    """A feed that shows who listens."""

    listeners: int = 0

    def subscribe(self, listener: Callable[[int, Record], None]) -> Callable[[], None]:
        end = super().subscribe(listener)
        self.listeners += 1

        def unsubscribe() -> None:
            self.listeners -= 1
            end()

        return unsubscribe


async def test_a_reader_who_leaves_is_not_kept(visit: Visit, world: World) -> None:
    feed = SlowFeed()
    client = await visit(OFFICER, feed=feed)
    replies = [await client.get("/decisions/stream") for _ in range(3)]
    for _ in range(100):
        if feed.listeners == 3:
            break
        await asyncio.sleep(0.01)
    assert feed.listeners == 3
    for reply in replies:
        reply.close()
    for number in range(200):  # a stream that nobody reads is noticed when it is written to
        if feed.listeners == 0:
            break
        feed.publish(number, event_record("signout"))
        await asyncio.sleep(0.01)
    assert feed.listeners == 0


def test_what_waits_for_a_slow_reader_is_bounded_and_the_gap_is_told() -> None:
    async def scenario() -> None:
        outbox = Outbox(limit=10)
        for number in range(5000):
            outbox.put(Event(name="decision", data=number))
        assert len(outbox) == 10
        events = await outbox.take(1)
        assert events is not None
        assert (events[0].name, events[0].data) == ("skipped", {"count": 4990})
        assert [event.data for event in events[1:]] == list(range(4990, 5000))
        assert await outbox.take(0.01) == []
        outbox.close()
        assert await outbox.take(1) is None

    asyncio.run(scenario())


async def test_a_reader_that_stops_reading_costs_no_memory(visit: Visit, world: World) -> None:
    feed = Feed(keep=10)
    client = await visit(OFFICER, feed=feed)
    stream = Stream(await client.get("/decisions/stream"))
    record = event_record("signout", target="x" * 120)
    for number in range(60_000):
        feed.publish(number, record)
        if number % 1000 == 0:
            await asyncio.sleep(0)
    kinds = set()
    async with asyncio.timeout(20):
        while "skipped" not in kinds:
            kinds.add((await stream.event())["event"])
    stream.reply.close()


async def test_stopping_the_console_ends_its_streams(world: World, aiohttp_client: Any) -> None:
    server = TestServer(world.application())
    client: Client = await aiohttp_client(server, headers=world.headers(OFFICER))
    reply = await client.get("/decisions/stream")
    async with asyncio.timeout(10):
        await server.close()
        await reply.content.read()


# ------------------------------------------------------------------ what a row says

NASTY = "<img src=x onerror=alert(1)>\u202e\u2066\u200b\x00\r\ndata: forged\u2028"


async def test_no_field_can_break_out_of_its_place(officer: Client, world: World) -> None:
    actor = Actor(login=NASTY, name=NASTY, roles=(NASTY,), device=NASTY)
    await world.decision(
        path=NASTY * 30, method=NASTY, host=NASTY, app=NASTY, route=NASTY, reason=NASTY, action=NASTY, policies=(NASTY,),
        errors=(NASTY,), remedy=(NASTY,), actor=actor, source=Source(address=NASTY), id=NASTY, at=NASTY, outcome="refuse",
    )  # fmt: skip
    await world.audit.append(event_record("device.refused", target=NASTY, actor=actor, source=Source(address=NASTY)))
    await world.decision(path="/last")
    stream = Stream(await officer.get("/decisions/stream"))
    rows = [await stream.event() for _ in range(3)]
    stream.reply.close()
    assert [row["event"] for row in rows] == ["decision", "happening", "decision"]
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    shown = json.dumps([row["data"] for row in rows], ensure_ascii=False)
    assert not set(shown) & set("\u202e\u2066\u200b\u2028\r\n\0")
    assert "\\\\u{202e}" in shown
    assert len(rows[0]["data"]["path"]) <= 201 * 8


def test_a_row_is_bounded_however_large_the_record() -> None:
    actor = Actor(login="x" * 9999, name="x" * 9999, roles=("x" * 999,) * 999, device="x" * 9999)
    record = DecisionRecord(
        id="x" * 9999, at="x" * 9999, outcome="deny", reason="x", actor=actor, source=Source(address="x" * 9999), host="x" * 9999,
        method="x" * 9999, path="x" * 9999, app="x" * 9999, route="x" * 9999, action="read", policies=("x" * 9999,) * 999,
        errors=("x" * 9999,) * 999, remedy=("key_touch",) * 999,
    )  # fmt: skip
    row = row_event("0", record, lambda key: key, JAPAN)
    assert row is not None
    assert len(row.encode()) < 8192


def test_looking_at_the_console_does_not_fill_the_live_page() -> None:
    assert row_event("0", event_record("console.view"), str, JAPAN) is None
    assert row_event("0", event_record("console.export"), str, JAPAN) is not None
    for name in get_args(EventName):
        row = row_event("0", event_record(name), str, JAPAN)
        assert (row is None) == (name == "console.view")


@pytest.mark.parametrize(
    ("at", "shown"), [("2027-01-15T16:30:00.500Z", "2027-01-16 01:30:00"), ("", ""), ("\u202enow", "\\u{202e}now")]
)
def test_times_are_the_hospitals(at: str, shown: str) -> None:
    assert local(at, JAPAN) == shown

"""What the office of replays promises, shown over each database."""

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Final

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_id
from gateway.lasting.port import Lasting
from gateway.lasting.postgres import PostgresLasting
from gateway.lasting.sqlite import SqliteLasting
from gateway.replay.office import KEPT, SILENT_SECONDS, ReplayOffice
from tests.support.logs import START, Place
from tests.support.policy import policy
from tests.support.replay import files, record, wish

ANY: Final = "principal, action, resource"
BEFORE: Final = files(policy("read", "context.network.tls", scope=ANY))
AFTER: Final = files(policy("nurses", scope='principal in Role::"nurse", action, resource'))


@pytest.fixture(params=["sqlite", "postgres"])
def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lasting]:
    if request.param == "postgres":
        one: Lasting = PostgresLasting(request.getfixturevalue("postgres").database(new_id("test")))
    else:
        one = SqliteLasting(tmp_path / "policies.sqlite3")
    yield one
    one.close()


class Desk:
    """Two processes' offices over one log, and what was announced."""

    def __init__(self, lasting: Lasting, folder: Path) -> None:
        self.clock = ManualClock(START)
        self.heard: list[str] = []
        self.first, self.second = (
            ReplayOffice(lasting, self.clock, lambda before, after, days: wish(folder, before, after, days=days))
            for _ in range(2)
        )

    async def announce(self) -> None:
        self.heard.append("began")

    async def failed(self, why: str) -> None:
        self.heard.append(why)

    def start(self, office: ReplayOffice, content: str) -> Awaitable[bool]:
        return office.start(content, BEFORE, AFTER, 7, by="sec.yamamoto", announce=self.announce, failed=self.failed)

    async def over(self) -> None:
        async with asyncio.timeout(120):
            while (await self.first.standing("x")).running is not None:  # noqa: ASYNC110  the database announces nothing
                await asyncio.sleep(0.05)


@pytest.fixture
async def desk(lasting: Lasting, tmp_path: Path) -> Desk:
    place = Place(tmp_path / "log")
    await place.write([record(number=number) for number in range(20)])
    return Desk(lasting, place.folder)


async def test_a_result_is_kept_by_content_for_every_process(desk: Desk) -> None:
    assert await desk.start(desk.first, "a" * 64)
    running = (await desk.second.standing("b")).running
    assert running is not None
    assert (running.content, running.days, running.by) == ("a" * 64, 7, "sec.yamamoto")
    await desk.over()
    report = (await desk.second.standing("a" * 64)).report
    assert report is not None
    assert (report.lost, report.content) == (20, "a" * 64)
    assert (await desk.second.standing("b")).report is None
    assert await desk.second.replayed("a" * 64)
    assert await desk.second.replayed("a" * 64, report.before)
    assert not await desk.second.replayed("a" * 64, "another in force")
    assert desk.heard == ["began"]


async def test_of_many_at_once_one_begins(desk: Desk) -> None:
    begun = await asyncio.gather(
        *(desk.start(office, content) for office in (desk.first, desk.second) for content in ("a", "b", "c"))
    )
    assert sum(begun) == 1
    assert desk.heard == ["began"]
    await desk.over()
    assert await desk.start(desk.second, "d")
    await desk.over()


async def test_cancelled_by_another_process(desk: Desk) -> None:
    assert await desk.start(desk.first, "a")
    await desk.second.cancel("b")
    await desk.second.cancel("a")
    await desk.over()
    standing = await desk.second.standing("a")
    assert standing.report is not None or (standing.failure is not None and standing.failure.kind == "cancelled")
    assert (desk.heard == ["began", "cancelled"]) is (standing.failure is not None)


async def test_a_failure_goes_with_the_next_result(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "log" / "log" / "segment-000001.jsonl"
    honest = path.read_bytes()
    path.write_bytes(honest.replace(b'"allow"', b'"deny"', 1))
    assert await desk.start(desk.first, "a")
    await desk.over()
    failure = (await desk.second.standing("a")).failure
    assert failure is not None
    assert failure.kind == "log"
    assert failure.findings[0].line == 1
    path.write_bytes(honest)
    assert await desk.start(desk.second, "a")
    await desk.over()
    standing = await desk.first.standing("a")
    assert standing.failure is None
    assert standing.report is not None


async def test_whoever_says_nothing_any_more_is_gone(desk: Desk, lasting: Lasting) -> None:
    said = '{"id":"rpl_dead","content":"a","days":7,"began_at":0,"by":"x","done":0,"total":0}'
    await lasting.write(
        lambda cursor: cursor.run(
            "INSERT INTO replay_run (slot, id, at, stop, body) VALUES (1, 'rpl_dead', ?, 0, ?)", (int(START), said)
        )
    )
    assert not await desk.start(desk.first, "b")
    desk.clock.advance(SILENT_SECONDS + 1)
    assert (await desk.first.standing("a")).running is None
    assert await desk.start(desk.first, "b")
    await desk.over()


async def test_the_newest_results_are_kept(desk: Desk, lasting: Lasting) -> None:
    def many(count: int) -> None:
        lasting.write_now(
            lambda cursor: [
                cursor.run("INSERT INTO replay_result (content, at, body) VALUES (?, ?, '{}')", (f"old-{number}", number))
                for number in range(count)
            ]
        )

    await asyncio.to_thread(many, KEPT + 3)
    assert await desk.start(desk.first, "new")
    await desk.over()
    assert await desk.first.replayed("new")
    assert not await desk.first.replayed("old-0")
    assert await desk.first.replayed(f"old-{KEPT + 2}")

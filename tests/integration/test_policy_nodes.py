"""Policies that are published reach every process, whole or not at all; who dies or can't load them harms nobody."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.changes.model import NodeState
from gateway.lasting.sqlite import SqliteLasting
from tests.integration.test_workers import Load, at_work, until
from tests.support.changes import new_desk
from tests.support.clinician import Clinician
from tests.support.redis import RedisServer
from tests.support.served import START_SECONDS, WARD, Done, Served, Ward, served, ward

WORKERS = 2
CLOSED = """\
@id("ward-closed")
@title_ja("病棟システムの閲覧を止めます")
@title_en("Nobody reads in the ward's system")
forbid (principal, action == Action::"read", resource in App::"ward");
"""


@pytest.fixture
async def app() -> AsyncIterator[Ward]:
    async with ward() as running:
        yield running


class Hospital:
    """An installation with a database of policies, and what its desk says."""

    def __init__(self, site: Served) -> None:
        self.site = site
        self.database = site.folder / "state" / "policies.sqlite3"
        text = site.config.read_text("utf-8")
        site.config.write_text(
            text.replace('dir = "policies"', 'dir = "policies"\ndatabase = "state/policies.sqlite3"', 1), "utf-8"
        )
        self.open = site.folder / "policies"
        self.closed = site.folder / "closed"
        shutil.copytree(self.open, self.closed)
        (self.closed / "ward-closed.cedar").write_text(CLOSED, "utf-8")

    async def start(self) -> None:
        await self.site.start()
        self.lasting = SqliteLasting(self.database)
        self.desk = new_desk(self.lasting)
        for login in ("sec.abe", "sec.kato"):
            await self.site.add(login, login, "security_officer")

    async def publish(self, folder: Path) -> Done:
        return await self.site.command(
            *("policy", "publish", str(folder), "--config", str(self.site.config)),
            *("--by", "sec.abe", "--approved-by", "sec.kato", "--why", "Ticket 4711"),
        )

    async def nodes(self, number: int, count: int = WORKERS) -> list[NodeState]:
        """Wait until so many processes have this publication in force."""
        async with asyncio.timeout(60):
            while True:
                nodes = [node for node in await self.desk.nodes() if node.number == number]
                if len(nodes) == count:
                    return nodes
                await asyncio.sleep(0.05)

    async def decisions(self) -> list[dict[str, Any]]:
        return [record for record in await self.site.log() if record.get("app") == "ward" and record["phase"] == "request"]


@pytest.fixture
async def hospital(app: Ward, redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Hospital]:
    async with served(tmp_path / "site", WARD.format(upstream=app.port), redis_url=redis_server.url, workers=WORKERS) as site:
        made = Hospital(site)
        await made.start()
        yield made
        made.lasting.close()


def children_of(pid: int) -> list[int]:
    """Of all of its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += (int(child) for child in (task / "children").read_text("ascii").split())
    return found


async def everywhere(hospital: Hospital, doctor: Clinician, status: int) -> None:
    """New connections go to any of the processes."""
    answers = await asyncio.gather(*(doctor.get(doctor.url("ward", "/beds")) for _ in range(40)))
    assert {answer.status for answer in answers} == {status}


async def test_a_publication_reaches_every_process_and_no_request_sees_half_of_it(hospital: Hospital) -> None:
    site = hospital.site
    before = await hospital.nodes(1)
    assert {node.version for node in before} == {before[0].version}
    assert {node.node.rpartition("/")[2] for node in before} == {"1", "2"}
    doctor = await at_work(site)
    await everywhere(hospital, doctor, 200)
    async with Load(site, doctor) as load:
        await asyncio.sleep(0.5)
        done = await hospital.publish(hospital.closed)
        assert done.status == 0, done.err
        after = await hospital.nodes(2)
        await asyncio.sleep(0.5)
    assert load.broken == []
    assert set(load.statuses) == {200, 403}, load.statuses
    await everywhere(hospital, doctor, 403)

    closed = {node.version for node in after}
    assert len(closed) == 1
    # Before the terminal was registered the doctor was not let in anyway.
    known = [one for one in await hospital.decisions() if one["facts"] and one["facts"]["device"]["registered"]]
    reads = [one for one in known if one["action"] == "read"]
    outcomes = {(record["bundle"], record["outcome"]) for record in reads}
    assert outcomes == {(before[0].version, "allow"), (after[0].version, "deny")}
    assert {record["policies"][0] for record in reads if record["outcome"] == "deny"} == {"ward-closed"}

    # Who, why and who approved stands in the log of each process.
    loaded = [event for event in await site.events("policy.loaded") if event["target"] == after[0].version]
    assert len(loaded) == WORKERS
    for event in loaded:
        assert event["detail"] == {
            "replaced": before[0].version, "publication": "2", "kind": "publish", "title": "Ticket 4711", "why": "Ticket 4711",
            "author": "sec.abe", "approved_by": "sec.kato",
        }  # fmt: skip

    # Back by one officer, at once.
    done = await site.command(
        *("policy", "rollback", "1", "--config", str(site.config), "--by", "sec.kato", "--why", "Ward 3 can't work")
    )
    assert done.status == 0, done.err
    await hospital.nodes(3)
    await everywhere(hospital, doctor, 200)
    # After a new start what was published last is in force, not the folder.
    shutil.rmtree(hospital.open)
    shutil.copytree(hospital.closed, hospital.open)
    await site.stop()
    assert await hospital.desk.nodes() == [], "a process that ends in order takes back what it said"
    await site.start()
    await hospital.nodes(3)
    await everywhere(hospital, doctor, 200)
    assert site.said().count("holds others, and that is not taken over") == WORKERS
    await site.stop()
    assert (await site.verify()).status == 0


async def test_a_process_that_is_killed_meanwhile_comes_back_with_what_is_in_force(hospital: Hospital) -> None:
    site = hospital.site
    await hospital.nodes(1)
    doctor = await at_work(site)
    victim = site.workers[0]
    publishing = asyncio.create_task(hospital.publish(hospital.closed))
    await asyncio.sleep(0.3)
    os.kill(victim, signal.SIGKILL)
    done = await publishing
    assert done.status == 0, done.err
    await until(lambda: victim not in site.workers and len(site.workers) == WORKERS, 60)
    await hospital.nodes(2)
    await everywhere(hospital, doctor, 403)
    await site.stop()
    assert (await site.verify()).status == 0


async def test_a_process_that_can_not_load_says_so_and_keeps_what_it_had(hospital: Hospital) -> None:
    site = hospital.site
    before = (await hospital.nodes(1))[0].version
    # One process is out of luck: what checks the new policies for it is killed.
    poor = site.workers[0]
    publishing = asyncio.create_task(hospital.publish(hospital.closed))
    children: list[int] = []
    async with asyncio.timeout(60):
        while not children:
            await asyncio.sleep(0.001)
            children = children_of(poor)
    os.kill(children[0], signal.SIGKILL)
    assert (await publishing).status == 0
    await hospital.nodes(2, WORKERS - 1)
    left: list[NodeState] = []
    async with asyncio.timeout(30):
        while not left:
            await asyncio.sleep(0.05)
            left = [node for node in await hospital.desk.nodes() if node.error]
    assert [(node.number, node.version) for node in left] == [(1, before)]
    assert "publication 2: checking it ended with status -9 and no answer" in left[0].error
    # Its people are served, by the policies of before: it tells the log.
    [rejected] = await site.events("policy.rejected")
    assert (rejected["target"], rejected["outcome"]) == (before, "failure")
    # The next publication it can load again.
    assert (await hospital.publish(hospital.open)).status == 0
    assert {node.error for node in await hospital.nodes(3)} == {""}
    await site.stop()


async def test_a_database_that_goes_away_leaves_what_is_in_force_and_comes_back(hospital: Hospital) -> None:
    site = hospital.site
    await hospital.nodes(1)
    doctor = await at_work(site)
    assert (await hospital.publish(hospital.closed)).status == 0
    await hospital.nodes(2)
    await site.stop()
    hospital.lasting.close()
    with hospital.database.open("r+b") as file:  # the disk turns bad
        head = file.read(100)
        file.seek(0)
        file.write(b"\1" * 100)
    process = site._launched()
    assert await asyncio.to_thread(process.wait, START_SECONDS) != 0, "without its database it does not start"
    assert "policies.sqlite3: file is not a database" in site.output()
    with hospital.database.open("r+b") as file:
        file.write(head)
    await site.start()
    await hospital.nodes(2)
    await everywhere(hospital, doctor, 403)
    await site.stop()

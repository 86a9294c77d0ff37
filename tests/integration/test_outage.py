"""What the gateway depends on fails in the middle: nobody is let through, people are told; it recovers, or says what to do."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.support.clinician import Clinician
from tests.support.redis import RedisServer
from tests.support.served import WARD, Served, Ward, served, ward


@pytest.fixture
async def app() -> AsyncIterator[Ward]:
    async with ward() as running:
        yield running


async def at_work(site: Served, login: str = "dr.mori") -> Clinician:
    """A physician who has everything that the ward asks for."""
    doctor = site.clinician(await site.add(login, "森 あゆみ", "physician"))
    assert (await doctor.register_device(await doctor.sign_in("ward"))).status == 200
    return doctor


async def nobody_gets_through(site: Served, app: Ward, doctor: Clinician) -> None:
    """Not who was signed in, not to read and not to write; nobody signs in; each is told on a page in their language."""
    hits = len(app.hits)
    stranger = site.clinician(doctor.person)
    pages = [
        await doctor.get(doctor.url("ward", "/beds")),
        await doctor.request("PUT", doctor.url("ward", "/bulk"), b"x" * 3000),
        await doctor.open("console"),
        await stranger.open("ward"),
        await stranger.open("portal"),
    ]
    assert [page.status for page in pages] == [503] * len(pages), [(page.url, page.status) for page in pages]
    for page in pages:
        assert '<html lang="ja">' in page.text
        assert "<title>ただいま確認できません</title>" in page.text
        assert "非常時手順" in page.text
        assert "Redis" not in page.text
        assert str(site.folder) not in page.text
    assert len(app.hits) == hits


async def let_in_again(doctor: Clinician, seconds: float) -> None:
    """Wait until the doctor gets through, with the cookies of before."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (page := await doctor.get(doctor.url("ward", "/beds"))).status != 200:
        assert page.status == 503, "signed out"
        assert loop.time() - began < seconds
        await asyncio.sleep(0.05)


async def out_within(person: Clinician, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (await person.get(person.url("ward"))).status != 302:
        assert loop.time() - began < seconds


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_redis_dies_in_the_middle(tmp_path: Path, own_redis: RedisServer, app: Ward, how: str) -> None:
    async with served(tmp_path, WARD.format(upstream=app.port), redis_url=own_redis.url) as site:
        await site.start()
        doctor, shut_out = await at_work(site), await at_work(site, "dr.kato")
        url = doctor.url("ward", "/stream")
        async with site.http.get(url, headers=doctor.headers("GET", url)) as stream:
            assert await stream.content.readline() == b"data: beat\n"
            if how == "killed":
                own_redis.kill()
            else:
                own_redis.pause()
            # What can't be decided any more does not go on.
            with pytest.raises(aiohttp.ClientPayloadError):
                async with asyncio.timeout(4):
                    await stream.content.read()
        await nobody_gets_through(site, app, doctor)
        # Shut out while the sessions can't be reached: they end as soon as they can be.
        await site.people("deactivate", "dr.kato")
        if how == "killed":
            own_redis.start()
        else:
            own_redis.resume()
        await let_in_again(doctor, 3)
        await out_within(shut_out, 1.5)
        await site.stop()
        [event] = await site.events("account.deactivated")
        assert event["detail"]["sessions_ended"] == "1"
        assert "redis" in site.output().lower()
        refused = [record for record in await site.log("--outcome", "unavailable") if record["host"].startswith("ward.")]
        assert {record["reason"] for record in refused} == {"session_store"}
        assert (await site.verify()).status == 0


def fill_disk(site: Served) -> None:
    """Let no file of the gateway grow beyond what the log has now, and a few bytes: so the next record is torn."""
    size = max(path.stat().st_size for path in (site.folder / "audit").glob("segment-*.jsonl"))
    [worker] = site.workers
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (size + 100, size + 100))


def lose_the_anchors_disk(site: Served) -> None:
    """As when the storage is unmounted that the copies of the checkpoints go to."""
    (site.folder / "anchor").rename(site.folder / "unmounted")


def mount_it_again(site: Served) -> None:
    (site.folder / "unmounted").rename(site.folder / "anchor")


def move_the_log(site: Served) -> None:
    """What is written to it from now on is not where anybody looks."""
    (site.folder / "audit").rename(site.folder / "moved")


def put_it_back(site: Served) -> None:
    (site.folder / "moved").rename(site.folder / "audit")


@pytest.mark.parametrize(
    ("fail", "mend"),
    [(fill_disk, lambda site: None), (lose_the_anchors_disk, mount_it_again), (move_the_log, put_it_back)],
    ids=["disk full", "anchor lost", "log moved"],
)
async def test_the_log_can_not_be_written_in_the_middle(
    tmp_path: Path, own_redis: RedisServer, app: Ward, fail: Callable[[Served], None], mend: Callable[[Served], None]
) -> None:
    async with served(tmp_path, WARD.format(upstream=app.port), redis_url=own_redis.url) as site:
        await site.start()
        doctor = await at_work(site)
        fail(site)
        # Where the log and its anchor are is looked at with each checkpoint, at most a second after a record.
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (await doctor.get(doctor.url("ward"))).status != 503:
            assert loop.time() - began < 3
            await asyncio.sleep(0.05)
        await nobody_gets_through(site, app, doctor)
        critical = [line for line in site.output().splitlines() if " CRITICAL " in line]
        assert "the log can't be written" in critical[0]
        assert "nothing is let through until the gateway is restarted" in critical[0]

        mend(site)
        await nobody_gets_through(site, app, doctor)
        ended = await site.end()
        assert ended == 2, "it could not close its log, and says so"
        assert site.output().splitlines()[-1].startswith("gateway: ")
        await site.start()
        await let_in_again(doctor, 1)
        await site.stop()
        verified = await site.verify()
        assert verified.status == 0, verified.out
        allowed = {record["id"] for record in await site.log("--app", "ward", "--outcome", "allow")}
        assert set(app.request_ids()) <= allowed

"""The gateway ends in the middle, in order or not: who was signed in goes on, nobody else gets in, the log tells all of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

from tests.support.clinician import Clinician
from tests.support.redis import RedisServer
from tests.support.served import WARD, Served, Ward, served, ward


@pytest.fixture
async def app() -> AsyncIterator[Ward]:
    async with ward() as running:
        yield running


async def at_work(site: Served, *logins: str) -> list[Clinician]:
    """Physicians who have everything that the ward asks for."""
    found = []
    for login in logins:
        doctor = site.clinician(await site.add(login, "森 あゆみ", "physician"))
        assert (await doctor.register_device(await doctor.sign_in("ward"))).status == 200
        found.append(doctor)
    return found


class Load:
    """Requests one after another, by several tabs at once, until told to stop."""

    def __init__(self, doctor: Clinician) -> None:
        self._doctor = doctor
        self._tasks: list[asyncio.Task[None]] = []
        self.statuses: list[int] = []
        self.broken = 0

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._tab("GET" if tab % 2 else "PUT")) for tab in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _tab(self, method: str) -> None:
        url = self._doctor.url("ward", "/bulk" if method == "PUT" else "/beds")
        while True:
            try:
                page = await self._doctor.request(method, url, b"x" * 3000 if method == "PUT" else None)
                self.statuses.append(page.status)
            except (aiohttp.ClientError, OSError):
                self.broken += 1
                await asyncio.sleep(0.05)

    async def answered(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.statuses) + count
        async with asyncio.timeout(20):
            while len(self.statuses) < wanted:  # noqa: ASYNC110  nobody else could tell when
                await asyncio.sleep(0.01)


def reached_only_by_decision(records: list[dict[str, Any]], app: Ward) -> None:
    """Every request that the application saw has its own record of an allow, which was there first."""
    allowed = [record["id"] for record in records if record.get("outcome") == "allow" and record["app"] == "ward"]
    assert len(set(allowed)) == len(allowed)
    seen = app.request_ids()
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(allowed)


async def test_sessions_in_redis_outlive_a_crash_and_a_stop(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with served(tmp_path, WARD.format(upstream=app.port), redis_url=own_redis.url) as site:
        await site.start()
        staying, left, shut_out = await at_work(site, "dr.mori", "dr.kato", "dr.ueda")
        before = left.cookies["ward.localhost"].copy()
        await left.request("POST", left.url("ward", "/.gateway/sign-out"))
        left.cookies["ward.localhost"] = before

        async with Load(staying) as load:
            await load.answered(100)
            await site.kill()
            down = await site.command("people", "deactivate", "dr.ueda", "--config", str(site.config))
            assert down.status == 0
            await site.start()
            await load.answered(50)
            # Who had left or was shut out meanwhile comes with what they had.
            hits = len([hit for hit in app.hits if hit["X-Remote-User"] != "dr.mori"])
            assert (await left.get(left.url("ward"))).status == 302
            assert (await shut_out.get(shut_out.url("ward"))).status == 302
            assert len([hit for hit in app.hits if hit["X-Remote-User"] != "dr.mori"]) == hits
            assert (await site.verify()).status == 0, "while it runs"
            await load.answered(50)
            await site.stop()
        assert load.broken
        assert set(load.statuses) == {200}, "signed in once, before the crash"

        await site.start()
        assert (await staying.open("ward")).status == 200
        for gone in (left, shut_out):
            assert (await gone.get(gone.url("ward"))).status == 302
        await site.stop()
        verified = await site.verify()
        assert verified.status == 0, verified.out + verified.err
        records = await site.log()
        reached_only_by_decision(records, app)
        [told] = [record for record in records if record.get("event") == "account.deactivated"]
        assert (told["target"], told["detail"]["sessions_ended"]) == ("dr.ueda", "1")
        # The crash left some requests without an end; the order of starts and ends is what happened.
        lifecycle = [record["event"] for record in records if record.get("event", "").startswith("gateway.")]
        assert lifecycle == ["gateway.started", "gateway.started", "gateway.stopped", "gateway.started", "gateway.stopped"]


async def test_sessions_in_memory_end_with_the_process(tmp_path: Path, app: Ward) -> None:
    async with served(tmp_path, WARD.format(upstream=app.port)) as site:
        await site.start()
        staying, left = await at_work(site, "dr.mori", "dr.kato")
        page = await left.request("POST", left.url("ward", "/.gateway/sign-out"))
        onward = next(value for name, value in page.headers if name == "Refresh").partition("url=")[2]
        await left.follow(await left.get(onward))
        hits = len(app.hits)
        await site.kill()
        await site.start()
        for host in ("ward", "portal"):
            assert (await staying.get(staying.url(host))).status in {302, 303}
        assert len(app.hits) == hits
        # Everybody signs in again. The provider, whose sessions are on disk, still knows who did not leave, and vouches anew.
        assert (await staying.open("ward")).text == "ward of dr.mori as physician"
        assert (await left.open("ward")).host == "id.localhost"
        assert len(app.hits) == hits + 1
        await site.stop()
        records = await site.log()
        reached_only_by_decision(records, app)
        restarted = records[[record.get("event") for record in records].index("gateway.started", 1) :]
        challenged = [record["reason"] for record in restarted if record.get("outcome") == "challenge"]
        assert challenged == ["cookie_unknown", "cookie_unknown", "sign_in_required"]
        signed_in = [record for record in restarted if record.get("event") == "signin.succeeded"]
        assert {record["actor"]["login"] for record in signed_in} == {"dr.mori"}
        assert (await site.verify()).status == 0

"""Several processes on one port: they share who is signed in, hand over to their successors, are replaced when they die."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import pytest

from tests.integration.test_nginx import behind_nginx, render_for
from tests.support import nginx
from tests.support.clinician import Clinician
from tests.support.gate import read_answer
from tests.support.redis import RedisServer
from tests.support.served import WARD, Served, Ward, served, ward


@pytest.fixture
async def app() -> AsyncIterator[Ward]:
    async with ward() as running:
        yield running


@contextlib.asynccontextmanager
async def two_workers(folder: Path, redis: RedisServer, app: Ward, **options: Any) -> AsyncIterator[Served]:
    async with served(folder, WARD.format(upstream=app.port), redis_url=redis.url, workers=2, **options) as site:
        await site.start()
        yield site


async def at_work(site: Served, login: str = "dr.mori") -> Clinician:
    """A physician who has everything that the ward asks for."""
    doctor = site.clinician(await site.add(login, "森 あゆみ", "physician"))
    assert (await doctor.register_device(await doctor.sign_in("ward"))).status == 200
    return doctor


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  nobody else could tell when
            await asyncio.sleep(0.05)


async def killed_and_replaced(site: Served, worker: int) -> None:
    """End a worker as a crash would, and wait for the one in its place."""
    os.kill(worker, signal.SIGKILL)
    said = f"worker {worker} "
    await site.until_said(said)
    await site.until_said(") serves", site.output().index(said))


class Line:
    """A connection that is used again and again, without the second tries that a client's library makes of its own."""

    def __init__(self, site: Served, doctor: Clinician) -> None:
        self._site, self._doctor = site, doctor
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.opened = 0

    async def request(self, method: str, path: str) -> int:
        """Send one, on the connection of before if there is one. Raises what goes wrong."""
        if self._open is None:
            self._open = await asyncio.open_connection(
                "127.0.0.1", self._site.port, ssl=self._site.trusted, server_hostname="ward.localhost"
            )
            self.opened += 1
        reader, writer = self._open
        url = self._doctor.url("ward", path)
        body = b"x" * 3000 if method == "PUT" else b""
        lines = {
            "Host": f"ward.localhost:{self._site.port}",
            **self._doctor.headers(method, url),
            "Content-Length": str(len(body)),
        }
        if not body:
            del lines["Content-Length"]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        answer = await read_answer(reader)
        if "close" in answer.values("Connection"):
            await self.close()
        return answer.status

    async def close(self) -> None:
        if self._open is not None:
            _, writer = self._open
            self._open = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Load:
    """Requests one after another, on kept connections and on new ones, until told to stop."""

    def __init__(self, site: Served, doctor: Clinician) -> None:
        self._site, self._doctor = site, doctor
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []
        self.statuses: Counter[int] = Counter()
        self.broken: list[str] = []

    async def __aenter__(self) -> Self:
        plan = [("GET", True), ("PUT", True), ("GET", True), ("GET", False), ("PUT", False)]
        self._tasks = [asyncio.create_task(self._tab(method, keep=keep)) for method, keep in plan]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _tab(self, method: str, *, keep: bool) -> None:
        line = Line(self._site, self._doctor)
        while not self._stop:
            try:
                self.statuses[await line.request(method, "/bulk" if method == "PUT" else "/beds")] += 1
            except (OSError, EOFError, ssl.SSLError) as error:
                self.broken.append(f"{method} {'kept' if keep else 'new'}: {error!r}")
                await line.close()
            if not keep:
                await line.close()
            await asyncio.sleep(0.002)
        await line.close()

    async def answered(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = self.statuses.total() + count
        await until(lambda: self.statuses.total() >= wanted)


async def everything_is_in_the_log(site: Served, app: Ward) -> list[dict[str, Any]]:
    """All logs verify, and each request that the application saw has its own record of an allow. Returns the rows."""
    verified = await site.verify()
    assert verified.status == 0, verified.out + verified.err
    rows = await site.rows()
    allowed = [row["record"]["id"] for row in rows if row["record"].get("outcome") == "allow" and row["record"]["app"] == "ward"]
    assert len(set(allowed)) == len(allowed)
    seen = app.request_ids()
    assert len(set(seen)) == len(seen)
    assert set(seen) == set(allowed)
    return rows


async def stream(site: Served, doctor: Clinician, stack: contextlib.AsyncExitStack) -> aiohttp.ClientResponse:
    url = doctor.url("ward", "/stream")
    reply = await stack.enter_async_context(site.http.get(url, headers=doctor.headers("GET", url)))
    assert await reply.content.readline() == b"data: beat\n"
    return reply


def slots_that_decided(site: Served, ids: list[str]) -> set[str]:
    """Which logs hold these decisions."""
    found = set()
    for path in (site.folder / "audit").rglob("segment-*.jsonl"):
        if any(f'"{id_}"' in path.read_text("utf-8") for id_ in ids):
            found.add(path.parent.name)
    return found


async def test_two_workers_share_a_port_and_who_is_signed_in(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app) as site:
        assert len(site.workers) == 2
        staying, leaving = await at_work(site), await at_work(site, "dr.kato")
        async with contextlib.AsyncExitStack() as stack:
            streams: list[aiohttp.ClientResponse] = []
            while len(slots_that_decided(site, app.request_ids()[-len(streams) :] if streams else [])) < 2:
                assert len(streams) < 60, "one worker takes everything"
                streams.append(await stream(site, leaving, stack))
            other = await stream(site, staying, stack)
            # Signed out at whichever worker: the other one's next request says so, and its streams are cut.
            old = leaving.cookies["ward.localhost"].copy()
            await leaving.request("POST", leaving.url("ward", "/.gateway/sign-out"))
            leaving.cookies["ward.localhost"] = old
            assert {(await leaving.get(leaving.url("ward"))).status for _ in range(12)} == {302}
            async with asyncio.timeout(3):
                for cut in streams:
                    with pytest.raises(aiohttp.ClientPayloadError):
                        await cut.content.read()
            assert b"beat" in await other.content.readline() + await other.content.readline()
        await site.stop()
        rows = await everything_is_in_the_log(site, app)
        assert {row["slot"] for row in rows if row["record"]["type"] == "decision"} == {1, 2}
        told = [row["record"] for row in rows if row["record"].get("event", "").startswith("account.")]
        assert [record["target"] for record in told] == ["dr.mori", "dr.kato"], "each change is told once, by one of them"


async def test_a_reload_under_load_loses_no_request(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app) as site:
        doctor = await at_work(site)
        first = site.workers
        async with Load(site, doctor) as load:
            await load.answered(100)
            await site.reload()
            await load.answered(100)
            await site.reload()
            await load.answered(100)
            await until(lambda: set(site.workers).isdisjoint(first))
        assert load.broken == []
        assert set(load.statuses) == {200}
        assert load.statuses.total() > 300
        await until(lambda: len(site.workers) == 2)
        await site.stop()
        rows = await everything_is_in_the_log(site, app)
        # Six processes, no two of them in one log at a time; the third generation has the first one's again, or new ones.
        started = [row for row in rows if row["record"].get("event") == "gateway.started"]
        assert len(started) == 6
        assert {row["slot"] for row in started} >= {1, 2, 3, 4}
        assert len([row for row in rows if row["record"].get("event") == "gateway.stopped"]) == 6


async def test_a_single_process_with_its_sessions_in_redis_is_reloaded_without_a_lost_request(
    tmp_path: Path, own_redis: RedisServer, app: Ward
) -> None:
    async with served(tmp_path, WARD.format(upstream=app.port), redis_url=own_redis.url) as site:
        await site.start()
        doctor = await at_work(site)
        async with Load(site, doctor) as load, contextlib.AsyncExitStack() as stack:
            open_ = await stream(site, doctor, stack)
            await load.answered(50)
            await site.reload()
            await load.answered(50)
            assert b"beat" in await open_.content.readline() + await open_.content.readline(), "a stream has its time"
        assert (load.broken, set(load.statuses)) == ([], {200})
        await site.stop()
        rows = await everything_is_in_the_log(site, app)
        named = [row["record"] for row in rows if row["record"].get("event") == "log.slots"]
        assert [sorted(record["detail"]) for record in named] == [["log.1", "log.2"]], "the first process names the second's log"
        shutil.rmtree(site.folder / "audit" / "slot-02")
        assert (await site.command("audit", "verify", str(site.folder / "audit"))).status == 1


async def test_a_stream_that_outlasts_its_time_is_cut(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app, drain=2) as site:
        doctor = await at_work(site)
        async with contextlib.AsyncExitStack() as stack:
            open_ = await stream(site, doctor, stack)
            first = site.workers
            await site.reload()
            with pytest.raises(aiohttp.ClientPayloadError):
                async with asyncio.timeout(10):
                    await open_.content.read()
            await until(lambda: set(site.workers).isdisjoint(first))
        await site.stop()
        rows = await everything_is_in_the_log(site, app)
        [ended] = [row["completion"] for row in rows if row["completion"] and row["completion"]["problem"]]
        assert ended["problem"] == "shutdown"


async def test_sessions_in_memory_end_with_a_reload_and_so_do_their_streams(tmp_path: Path, app: Ward) -> None:
    """The new process does not know them: nobody could sign out any more, so what they opened does not go on either."""
    async with served(tmp_path, WARD.format(upstream=app.port), drain=30) as site:
        await site.start()
        doctor = await at_work(site)
        async with contextlib.AsyncExitStack() as stack:
            open_ = await stream(site, doctor, stack)
            await site.reload()
            with pytest.raises(aiohttp.ClientPayloadError):
                async with asyncio.timeout(6):
                    await open_.content.read()
        hits = len(app.hits)
        assert (await doctor.get(doctor.url("ward"))).status == 302
        assert len(app.hits) == hits
        # The provider, whose sessions are on disk, vouches for them without a word.
        assert (await doctor.open("ward")).status == 200
        await site.stop()
        await everything_is_in_the_log(site, app)


async def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app) as site:
        doctor = await at_work(site)
        victim, survivor = site.workers
        async with Load(site, doctor) as load:
            await load.answered(60)
            await killed_and_replaced(site, victim)
            await load.answered(60)
        # What it was working on is lost with it, and nothing else: at most one request of each of the five tabs.
        assert len(load.broken) <= 5
        assert set(load.statuses) == {200}
        assert survivor in site.workers
        assert victim not in site.workers
        assert len(site.workers) == 2
        await site.stop()
        verified = await site.verify()
        assert verified.status == 0, verified.out + verified.err
        rows = await site.rows()
        allowed = {row["record"]["id"] for row in rows if row["record"].get("outcome") == "allow"}
        assert set(app.request_ids()) <= allowed
        started = Counter(row["slot"] for row in rows if row["record"].get("event") == "gateway.started")
        assert started.total() == 3
        assert set(started) == {1, 2}, "the new one goes on with the log of the one that died"


async def test_a_wrong_configuration_changes_nothing(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app) as site:
        doctor = await at_work(site)
        before, good = site.workers, site.config.read_text("utf-8")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            elsewhere = good.replace(f"\nport = {site.port}\n", f"\nport = {taken.getsockname()[1]}\n")
            async with Load(site, doctor) as load:
                for wrong, why in (
                    (good.replace("workers = 2", "workers = many"), "this is not TOML"),
                    (good.replace('key_file = "tls/server.key"', 'key_file = "tls/ca.pem"'), "tls/ca.pem"),
                    (elsewhere, "can't listen on"),
                ):
                    assert wrong != good
                    site.config.write_text(wrong, "utf-8")
                    since = len(site.output())
                    await site.reload("reload refused: ")
                    await site.until_said("the workers of before go on", since)
                    assert why in site.output()[since:]
                    assert site.workers == before
                    await load.answered(20)
        assert (load.broken, set(load.statuses)) == ([], {200})
        # A worker that dies meanwhile comes back as its generation was, not as the file is now.
        await killed_and_replaced(site, before[0])
        assert (await doctor.get(doctor.url("ward"))).status == 200
        site.config.write_text(good, "utf-8")
        await site.reload("generation 2 serves")
        assert (await doctor.get(doctor.url("ward"))).status == 200
        await site.stop()
        assert (await site.verify()).status == 0


async def test_a_reload_opens_and_closes_listeners(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app, drain=1) as site:
        front = f'\n[server.front]\nsocket = "front.sock"\ntrusted_uids = [{os.geteuid()}]\n'
        good = site.config.read_text("utf-8")
        site.config.write_text(good.replace("\n[portal]\n", f"{front}[portal]\n"), "utf-8")
        await site.reload()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "front.sock")
        writer.write(b"GET / HTTP/1.1\r\nHost: ward.localhost\r\n\r\n")
        assert (await read_answer(reader)).status == 400, "it speaks, and misses what a front has to say"
        writer.close()
        site.config.write_text(good, "utf-8")
        await site.reload()
        await until(lambda: not (tmp_path / "front.sock").exists())
        await site.stop()


async def test_a_reload_begins_a_log_elsewhere(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app, drain=1) as site:
        text = site.config.read_text("utf-8").replace('dir = "audit"', 'dir = "second"')
        site.config.write_text(text.replace('"anchor/checkpoint"', '"anchor/second"'), "utf-8")
        await site.reload()
        await site.stop()
        assert (await site.verify()).status == 0
        second = await site.command("audit", "verify", str(tmp_path / "second"), "--anchor", str(tmp_path / "anchor/second"))
        assert second.status == 0, second.out + second.err
        assert "whole: 3 logs" in second.out, "that of the folder itself, and those that the new workers have"


async def test_workers_that_end_as_soon_as_they_begin_end_the_service(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app) as site:
        (tmp_path / "keys" / "audit.pem").chmod(0o644)
        os.kill(site.workers[0], signal.SIGKILL)
        await site.until_said("is replaced")
        assert await site.outcome() == 2
        said = site.said()
        assert "audit.pem" in said, "each of them says why"
        assert "workers end as soon as they have begun; the service ends" in said


SLOW: Final = """\
import sys, gateway.app.supervisor as s
s.FIRST_PAUSE_SECONDS, s.MOST_FAILURES = 4, 1
from gateway.cli import main
sys.exit(main())
"""
"""`gateway`, with a long pause after a crash, and the end after the second."""


@pytest.mark.parametrize("when", ["in a pause", "before the last failure"])
async def test_a_reload_ends_a_crash_loop(when: str, tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    """The log of the one that died stays its successor's, and no failure of the old workers ends what the new ones serve."""
    async with served(tmp_path, WARD.format(upstream=app.port), redis_url=own_redis.url, workers=2) as site:
        site.launcher = [sys.executable, "-c", SLOW]
        await site.start()
        first, staying = site.workers
        os.kill(first, signal.SIGKILL)
        await site.until_said("is replaced")
        if when == "in a pause":
            await site.reload()
        else:
            await until(lambda: len(site.workers) == 2)
            [last] = set(site.workers) - {staying}
            renewal = asyncio.create_task(site.reload())
            await asyncio.sleep(0)  # it is told
            os.kill(last, signal.SIGKILL)
            await renewal
        await site.until_said("generation 1 has gone")
        assert "refused" not in site.said()
        assert "the service ends" not in site.said()
        assert len(site.workers) == 2
        doctor = await at_work(site)
        assert (await doctor.get(doctor.url("ward"))).status == 200
        await site.stop()
        await everything_is_in_the_log(site, app)
        started = Counter(row["slot"] for row in await site.rows() if row["record"].get("event") == "gateway.started")
        assert set(started) == {1, 2, 3, 4}, "no log of the workers that are there, or are to come back"


async def test_without_the_supervisor_no_worker_goes_on(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app) as site:
        pids = site.workers
        await site.kill()
        await until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids), 5)
        await site.start()
        await site.stop()
        assert (await site.verify()).status == 0


HURRIED = "import sys, gateway.app.supervisor as s; s.LATE_SECONDS = 0.5; from gateway.cli import main; sys.exit(main())"
"""`gateway`, with less patience for workers that hang."""


async def test_a_worker_that_hangs_is_killed(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with served(tmp_path, WARD.format(upstream=app.port), redis_url=own_redis.url, workers=2, drain=0) as site:
        usual, site.launcher = site.launcher, [sys.executable, "-c", HURRIED]
        await site.start()
        old = site.workers
        os.kill(old[0], signal.SIGSTOP)
        await site.reload()
        await site.until_said(f"worker {old[0]} does not end, and is killed")
        await site.until_said("generation 1 has gone")
        assert set(site.workers).isdisjoint(old)
        os.kill(site.workers[1], signal.SIGSTOP)
        assert await site.end() == 128 + signal.SIGKILL
        site.launcher = usual
        await site.start()
        await site.stop()
        assert (await site.verify()).status == 0


async def shown(stream: aiohttp.ClientResponse) -> tuple[str, dict[str, Any]]:
    """The next row of the live page, with the position after it."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(10):
        while True:
            line = (await stream.content.readline()).decode().rstrip("\n")
            if not line and "data" in fields:
                return fields["id"], json.loads(fields["data"])
            name, _, value = line.partition(": ")
            fields[name] = value


async def test_the_live_page_shows_what_every_worker_decides(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    async with two_workers(tmp_path, own_redis, app) as site:
        officer = site.clinician(await site.add("sec.abe", "阿部 誠", "security_officer"))
        assert (await officer.touch_key(await officer.sign_in("console"))).status == 200
        doctor = await at_work(site)
        url = officer.url("console", "/decisions/stream")
        position, seen = "", set[str]()
        for _ in range(2):  # and again where the reader was, whichever worker that reaches
            new: dict[str, None] = {}
            headers = officer.headers("GET", url) | ({"Last-Event-ID": position} if position else {})
            async with site.http.get(url, headers=headers) as stream:
                assert stream.status == 200
                for number in range(20):
                    assert (await doctor.get(doctor.url("ward", f"/beds/{number}"))).status == 200
                wanted = set(app.request_ids())
                while not wanted <= seen | new.keys():
                    position, row = await shown(stream)
                    if row.get("id") in wanted:
                        assert row["id"] not in seen, "shown before"
                        assert row["id"] not in new
                        new[row["id"]] = None
            seen |= new.keys()
        assert seen == set(app.request_ids())
        assert set(re.findall(r"s(\d+)i", position)) == {"1", "2"}
        await site.stop()


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_it_tells_systemd(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "n"))
        told.setblocking(False)

        def messages() -> list[list[str]]:
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.append([line.partition("=")[0] for line in told.recv(4096).decode().split("\n")])
            return found

        async with served(tmp_path, WARD.format(upstream=app.port), redis_url=own_redis.url) as site:
            site.environment["NOTIFY_SOCKET"] = str(tmp_path / "n")
            await site.start()
            assert messages() == [["READY", "STATUS"]]
            assert b"NOTIFY_SOCKET" not in environment(site.workers[0]), "a worker does not speak for the service"
            await site.reload()
            heard: list[list[str]] = []
            async with asyncio.timeout(20):
                while len(heard) < 2:
                    heard += messages()
                    await asyncio.sleep(0.01)
            assert heard == [["RELOADING", "MONOTONIC_USEC"], ["READY", "STATUS"]]
            await site.stop()
            assert messages() == [["STOPPING"]]


async def test_a_reload_behind_nginx_loses_no_request(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    """nginx keeps connections to the socket it asks at, and asks on them while their workers leave."""
    async with served(tmp_path, WARD.format(upstream=app.port), redis_url=own_redis.url) as site:
        behind_nginx(site)
        site.config.write_text(site.config.read_text("utf-8").replace("[server]\n", "[server]\nworkers = 2\n", 1), "utf-8")
        with nginx.Nginx(tmp_path / "nginx", render_for(site), site.port):
            await site.start()
            doctor = await at_work(site)
            async with Load(site, doctor) as load:
                await load.answered(100)
                await site.reload()
                await load.answered(100)
                await site.reload()
                await load.answered(200)
            await site.stop()
        assert (load.broken, set(load.statuses)) == ([], {200})
        rows = await everything_is_in_the_log(site, app)
        doors = {row["record"]["source"]["door"] for row in rows if row["record"].get("outcome") == "allow"}
        assert doors == {"nginx"}

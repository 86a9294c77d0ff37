"""Several instances of one application: who gets a request, who gets none any more, and what is under way meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.domain.route import App, HealthCheck
from tests.integration.test_data_path import OK, Application, before, say

QUICK = HealthCheck(path="/well", interval_seconds=0.05)


def checked(app: App) -> App:
    return msgspec.structs.replace(app, health=QUICK)


class Named(Application):
    """Answers with its name; its health is the test's to say."""

    def __init__(self, name: bytes) -> None:
        super().__init__(self._speak)
        self.name = name
        self.well = True
        self.go = asyncio.Event()
        self.asked: list[bytes] = []

    async def _speak(self, head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = head.split(b" ")[1]
        if target == b"/well":
            await say(writer, OK if self.well else b"HTTP/1.1 503 Draining\r\nContent-Length: 0\r\n\r\n")
            return
        self.asked.append(target)
        if target == b"/slow":
            await self.go.wait()
        await say(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + self.name)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(500):
        if await true():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


async def test_requests_are_dealt_out(tmp_path: Path) -> None:
    one, two = Named(b"1"), Named(b"2")
    async with before(tmp_path, one, two) as gate:
        got = [(await gate.get("/x")).body for _ in range(10)]
        assert sorted(got) == [b"1"] * 5 + [b"2"] * 5


async def test_the_least_busy_one_is_asked(tmp_path: Path) -> None:
    one, two = Named(b"1"), Named(b"2")
    async with before(tmp_path, one, two) as gate:
        slow = [asyncio.create_task(gate.get("/slow"))]

        async def begun() -> bool:
            return b"/slow" in one.asked + two.asked

        await until(begun)
        busy, free = (one, two) if one.asked else (two, one)
        assert {(await gate.get("/x")).body for _ in range(6)} == {free.name}
        busy.go.set()
        assert (await slow[0]).body == busy.name


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_one_that_does_not_accept_connections_is_passed_over(tmp_path: Path, method: str) -> None:
    one, two = Named(b"1"), Named(b"2")
    async with before(tmp_path, one, two) as gate:
        await one.stop()
        answers = [await gate.get("/x", method=method) for _ in range(6)]
        assert {(answer.status, answer.body) for answer in answers} == {(200, b"2")}
        await one.start(one.port)


async def test_all_that_do_not_accept_connections_are_tried(tmp_path: Path) -> None:
    one, two = Named(b"1"), Named(b"2")
    async with before(tmp_path, one, two) as gate:
        await one.stop()
        await two.stop()
        assert (await gate.get("/x")).status == 502
        await one.start(one.port)
        await two.start(two.port)
        assert (await gate.get("/x")).status == 200, "left alone is who has others to stand in"


async def test_one_that_fails_its_check_gets_nothing_new_and_finishes_what_it_has(tmp_path: Path) -> None:
    one, two = Named(b"1"), Named(b"2")
    async with before(tmp_path, one, two, change=checked) as gate:
        slow = asyncio.create_task(gate.get("/slow"))

        async def begun() -> bool:
            return b"/slow" in one.asked + two.asked

        await until(begun)
        draining, other = (one, two) if one.asked else (two, one)
        draining.well = False

        async def drained() -> bool:
            before_that = len(draining.asked)
            for _ in range(4):
                await gate.get("/x")
            return len(draining.asked) == before_that

        await until(drained)
        for _ in range(6):
            assert (await gate.get("/x")).body == other.name
        draining.go.set()
        assert (await slow).body == draining.name, "what was under way is not cut"

        draining.well = True

        async def back() -> bool:
            return {(await gate.get("/x")).body for _ in range(4)} == {b"1", b"2"}

        await until(back)


async def test_when_none_is_well_nobody_is_asked(tmp_path: Path) -> None:
    one = Named(b"1")
    one.well = False
    async with before(tmp_path, one, change=checked) as gate:

        async def refused() -> bool:
            return (await gate.get("/x")).status == 502

        await until(refused)
        asked = len(one.asked)
        assert (await gate.get("/x")).status == 502
        assert len(one.asked) == asked
        completions = await gate.completions()
        assert completions[-1].problem == "connect"


async def test_a_check_shows_no_person(tmp_path: Path) -> None:
    one = Named(b"1")
    async with before(tmp_path, one, change=checked):

        async def checked_once() -> bool:
            return bool(one.heads)

        await until(checked_once)
    assert one.heads[0] == b"GET /well HTTP/1.1\r\nHost: ehr.localhost\r\nUser-Agent: gateway-health\r\nConnection: close\r\n\r\n"

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.kernel.clock import ManualClock
from tests.support.console import AUDITOR, OFFICER, World, opened

Client = TestClient[web.Request, web.Application]
Visit = Callable[..., Awaitable[Client]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000)


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    async with opened(tmp_path, clock) as found:
        yield found


@pytest.fixture
async def visit(aiohttp_client: Callable[..., Awaitable[Client]], world: World) -> Visit:
    """Open the console as somebody, through the gateway."""

    async def go(person: dict[str, Any], claims: dict[str, Any] | None = None, **parts: Any) -> Client:
        return await aiohttp_client(TestServer(world.application(**parts)), headers=world.headers(person, **(claims or {})))

    return go


@pytest.fixture
async def officer(visit: Visit) -> Client:
    return await visit(OFFICER)


@pytest.fixture
async def auditor(visit: Visit) -> Client:
    return await visit(AUDITOR)

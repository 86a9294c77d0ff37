"""Starts one of `tests/standins` as the process that it is, and talks to its control endpoints."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 60.0


class StandIn:
    """A running stand-in."""

    def __init__(self, origin: str, http: aiohttp.ClientSession) -> None:
        self.origin: Final = origin
        self.http: Final = http

    async def control(self, what: str, **asked: Any) -> Any:
        """POST to `/_standin/WHAT` and return the answer."""
        async with self.http.post(f"{self.origin}/_standin/{what}", json=asked) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def mode(self, mode: str, **more: Any) -> None:
        """Switch a failure on; `ok` switches it off."""
        await self.control("mode", mode=mode, **more)

    async def calls(self) -> list[dict[str, Any]]:
        """Everything that it was asked so far."""
        async with self.http.get(f"{self.origin}/_standin/calls") as response:
            found: list[dict[str, Any]] = await response.json()
            return found


@contextlib.asynccontextmanager
async def standin(name: str, *options: str, scheme: str = "http", host: str = "127.0.0.1") -> AsyncIterator[StandIn]:
    """Run `python -m tests.standins.NAME` on a free port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.standins.{name}", "--port", "0", *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        port = json.loads(line)["port"]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=scheme != "https")) as http:
            yield StandIn(f"{scheme}://{host}:{port}", http)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()

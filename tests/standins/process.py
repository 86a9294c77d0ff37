"""Starts a stand-in as a process of its own and speaks to it from a test."""

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 30.0


class StandIn:
    """A running stand-in."""

    def __init__(self, base: str, hello: dict[str, Any], http: aiohttp.ClientSession) -> None:
        self.base = base
        self.hello = hello
        """The JSON line that it printed."""
        self.http = http

    async def control(self, what: str, /, **body: Any) -> dict[str, Any]:
        """Call `POST /_standin/<what>`."""
        async with self.http.post(f"{self.base}/_standin/{what}", json=body) as reply:
            assert reply.status == 200, await reply.text()
            found: dict[str, Any] = await reply.json()
            return found


@contextlib.asynccontextmanager
async def standing_in(name: str, *options: str, scheme: str = "http", ca: Path | None = None) -> AsyncIterator[StandIn]:
    """Run `python -m tests.standins.<name> --port 0 <options>` until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.standins.{name}", "--port", "0", *options, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        assert line, f"the stand-in {name} did not start"
        hello: dict[str, Any] = json.loads(line)
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca)) if ca is not None else aiohttp.TCPConnector()
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield StandIn(f"{scheme}://127.0.0.1:{hello['port']}", hello, http)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()

"""Which browser the tests drive: the machine's own. Playwright's would be a download."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

if TYPE_CHECKING:
    from playwright.async_api import Browser

FLAGS: Final = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""The same as in deploy/dev/servers.sh."""


def find_chromium() -> str:
    """Return the path of the first that is there."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("there is no Chromium: run `make setup-test`, or install the Debian package chromium")
    return found


@pytest.fixture
async def chromium() -> AsyncIterator["Browser"]:
    """A Chromium of a test's own."""
    # Not at the top: most tests need no browser.
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield found
        await found.close()


@contextlib.asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[None]:
    """Serve an application on loopback meanwhile."""
    runner = web.AppRunner(app, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()

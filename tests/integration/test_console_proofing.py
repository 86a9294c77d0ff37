"""Identity proofing in the console, in a real browser: two officers, an auditor, both languages, phone width, no scripts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.chromium import find_chromium
from tests.support.console import OFFICER
from tests.support.console_proofing import ProofingWorld, opened
from tests.support.office import DAY
from tests.support.proofing import SUZUKI

ARTEFACTS: Final = Path(__file__).parents[2] / "test-artefacts" / "console-proofing"
FLAGS: Final = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
NASTY: Final = "佐藤\u202e恵<script>alert(1)</script>\u200b"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield found
        await found.close()


@contextlib.asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


class Visitor:
    """Somebody at the console, without scripts; what went wrong on the pages is kept."""

    def __init__(self, page: Page, origin: str, language: str) -> None:
        self.page, self.origin, self.language = page, origin, language
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda message: self.wrong.append(message.text) if "Content Security Policy" in message.text else None)
        page.on("dialog", lambda dialog: self.wrong.append("dialog"))

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.origin}{path}")

    async def look(self, name: str) -> None:
        """Take pictures at two widths; nothing may stick out."""
        await asyncio.to_thread(ARTEFACTS.mkdir, parents=True, exist_ok=True)
        for width in (1280, 390):
            await self.page.set_viewport_size({"width": width, "height": 900})
            await self.page.screenshot(path=ARTEFACTS / f"{name}-{self.language[:2]}-{width}.png", full_page=True)
            wide = await self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert wide[0] <= wide[1], (name, width)
        await self.page.set_viewport_size({"width": 1280, "height": 900})


async def visitor(browser: Browser, world: ProofingWorld, person: dict[str, Any], language: str = "ja-JP") -> Visitor:
    signed = world.world.signer.headers(world.world.clock.now(), exp=int(world.world.clock.now()) + 290, **person)
    context = await browser.new_context(locale=language, extra_http_headers=signed)
    return Visitor(await context.new_page(), world.world.origin, language)


@contextlib.asynccontextmanager
async def site(folder: Path, port: int, **options: Any) -> AsyncIterator[ProofingWorld]:
    async with opened(folder, origin=f"http://console.localhost:{port}", **options) as world, serving(world.application(), port):
        yield world


async def crowd(world: ProofingWorld) -> None:
    """People in every state."""
    bench = world.bench
    await bench.proofed(SUZUKI, seconds=10 * DAY)
    users = await bench.crowd(6)
    await bench.office.end(users[0].id, why="officer", by="sec.yamamoto")
    await bench.proofed(users[1], seconds=None)
    await world.near()


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_an_officer_sees_how_everybody_stands(
    browser: Browser, tmp_path: Path, unused_tcp_port: int, language: str
) -> None:
    async with site(tmp_path, unused_tcp_port) as world:
        await crowd(world)
        officer = await visitor(browser, world, OFFICER, language)
        page = officer.page
        await officer.open("/")
        await officer.look("home")
        await page.click(".notice a[href='/proofing?kind=expiring']")
        rows = page.locator("table tbody tr")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("鈴木 翔")
        await page.click(".kinds a[href^='?kind=all']")
        await expect(rows).to_have_count(12)
        await officer.look("staff")
        await page.fill("[name=q]", "ｓａｔｏ")
        await page.keyboard.press("Enter")
        await expect(rows).to_have_count(1)
        async with page.expect_download() as download:
            await page.click("a[href^='/proofing/export']")
        content = await asyncio.to_thread((await (await download.value).path()).read_text, "utf-8-sig")
        assert "dr.sato" in content
        assert "nurse.suzuki" not in content
        assert officer.wrong == []

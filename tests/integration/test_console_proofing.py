"""Identity proofing in the console, in a real browser: two officers, an auditor, both languages, phone width, no scripts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect

from idp.model import User
from idp.proofing.port import Revoked, Verified
from tests.support.chromium import serving
from tests.support.console import AUDITOR, OFFICER
from tests.support.console_proofing import SECOND_OFFICER, ProofingWorld, opened
from tests.support.office import DAY, until
from tests.support.proofing import SATO, SUZUKI

ARTEFACTS: Final = Path(__file__).parents[2] / "test-artefacts" / "console-proofing"
NASTY: Final = "佐藤\u202e恵<script>alert(1)</script>\u200b"


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


async def visitor(chromium: Browser, world: ProofingWorld, person: dict[str, Any], language: str = "ja-JP") -> Visitor:
    signed = world.world.signer.headers(world.world.clock.now(), exp=int(world.world.clock.now()) + 290, **person)
    context = await chromium.new_context(locale=language, extra_http_headers=signed)
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
    chromium: Browser, tmp_path: Path, unused_tcp_port: int, language: str
) -> None:
    async with site(tmp_path, unused_tcp_port) as world:
        await crowd(world)
        officer = await visitor(chromium, world, OFFICER, language)
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


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_an_officer_compares_both_sides_refuses_with_a_note_and_another_finds_it_decided(
    chromium: Browser, tmp_path: Path, unused_tcp_port: int, language: str
) -> None:
    async with site(tmp_path, unused_tcp_port) as world:
        case = await world.near(SATO, Verified(name=NASTY, kana="サトウ メグミ", birth_date="1984-05-12"))
        first = await visitor(chromium, world, OFFICER, language)
        second = await visitor(chromium, world, SECOND_OFFICER, language)
        page = first.page
        await first.open("/proofing/review")
        await first.look("review")
        await page.click("table a.button")
        await expect(page.locator(".sides .differs")).to_have_count(1)
        row = page.locator(".sides tr", has_text="佐藤").last
        await expect(row.locator(".value").first).to_have_text("佐藤 恵")
        await expect(row.locator(".value").last).to_have_text("佐藤⟨U+202E⟩恵<script>alert(1)</script>⟨U+200B⟩")
        await expect(row.locator(".tag")).to_have_text("不一致" if first.language == "ja-JP" else "DIFFERENT")
        await first.look("case")
        await second.open(f"/proofing/cases/{case}")  # has the form open when the first one decides

        await page.locator("button[value=refuse]").focus()  # by keyboard, and without a note at first
        await page.keyboard.press("Enter")
        await expect(page.locator("#note-wrong")).to_be_visible()
        await expect(page.locator("#note")).to_be_focused()
        await first.look("case-note-missing")
        await page.keyboard.type("氏名に余計な文字")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/proofing/review?done=case_rejected")
        await expect(page.locator(".notice.ok")).to_be_visible()
        await first.look("review-decided")

        await second.page.click("button[value=approve]")
        await second.page.wait_for_url("**/proofing/review?done=not_decided")
        await expect(second.page.locator(".notice.warn")).to_be_visible()
        await second.open(f"/proofing/cases/{case}")
        assert "U+202E" not in await second.page.content()
        await expect(second.page.locator("form.decide")).to_have_count(0)
        await expect(second.page.locator("main")).to_contain_text("氏名に余計な文字")
        await second.look("case-over")
        assert await world.bench.store.proofing.latest(SATO.id) is None
        assert first.wrong + second.wrong == []


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_two_officers_proof_somebody_at_the_counter(
    chromium: Browser, tmp_path: Path, unused_tcp_port: int, language: str
) -> None:
    async with site(tmp_path, unused_tcp_port, counter=True) as world:
        code = await world.at_counter()
        first = await visitor(chromium, world, OFFICER, language)
        second = await visitor(chromium, world, SECOND_OFFICER, language)
        page = first.page
        await first.open("/proofing")
        await page.click(".tabs a[href='/proofing/counter']")
        await first.look("counter")
        await page.fill("#login", "dr.sato")
        await page.fill("#code", "000 000" if code != "000 000" else "111 111")
        await page.check("[value=driving_licence]")
        await page.fill("#name", "佐藤 惠")  # the old form of a kanji, as a licence may have it
        await page.fill("#birth_date", "1984-05-21")
        await page.click("main button")
        await expect(page.locator(".notice.error")).to_be_visible()
        await expect(page.locator("#name")).to_have_value("佐藤 惠")
        await expect(page.locator("#code")).to_have_value("")
        await first.look("counter-wrong-code")
        await page.fill("#code", code)
        await page.click("main button")
        await page.wait_for_url("**/proofing/review?done=checked")
        await page.click("table a.button")
        await expect(page.locator("button[value=approve]")).to_have_count(0)  # they were the first
        await first.look("case-first-officer")

        await second.open("/proofing/review")
        await second.page.click("table a.button")
        await expect(second.page.locator(".differs")).to_have_count(1)
        await expect(second.page.locator(".differs")).to_contain_text("1984-05-21")
        await second.look("case-second-officer")
        await second.page.click("button[value=approve]")
        await second.page.wait_for_url("**/proofing/review?done=case_approved")
        record = await world.bench.store.proofing.latest(SATO.id)
        assert record is not None
        assert (record.method, record.level, record.in_force(world.bench.now)) == ("in_person_document", 2, True)
        assert first.wrong + second.wrong == []


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_an_officer_invites_many_and_watches(
    chromium: Browser, tmp_path: Path, unused_tcp_port: int, language: str
) -> None:
    async with site(tmp_path, unused_tcp_port) as world:
        await crowd(world)
        for number in range(3):
            await world.add(
                User(id=f"usr_w{number}", login=f"w{number}", name=f"病棟 {number}", roles=("nurse",), department="3東病棟")
            )
        officer = await visitor(chromium, world, OFFICER, language)
        page = officer.page
        await officer.open("/proofing/batches")
        await page.click("a[href='/proofing/invite']")
        await officer.look("invite")
        await page.select_option("#department", "3東病棟")
        await page.locator("form", has=page.locator("#department")).locator("button").click()
        await expect(page.locator("tbody tr")).to_have_count(3)
        await officer.look("invite-confirm")
        await page.fill("#due", "2027-02-15")
        await page.locator("main form button").click()
        await page.wait_for_url("**/proofing/batches/inv_*?done=invited")
        await expect(page.locator("tbody tr")).to_have_count(3)
        await officer.look("batch")
        ward = next(user for user in await world.bench.store.users.list() if user.login == "w1")
        world.bench.verifier.vouched = True
        world.bench.clock.advance(60)
        await world.bench.proofed(ward)
        officer = await visitor(chromium, world, AUDITOR, language)
        page = officer.page
        await officer.open("/proofing/batches")
        await expect(page.locator("tbody")).to_contain_text("1" if language == "ja-JP" else "1 of 3 done")
        await officer.look("batches")
        await page.click("tbody a")
        await expect(page.locator(".tag", has_text="完了" if language == "ja-JP" else "done")).to_have_count(2)
        assert officer.wrong == []


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_the_verifier_is_asked_again_with_progress_and_a_person_is_ended_and_deleted(
    chromium: Browser, tmp_path: Path, unused_tcp_port: int, language: str
) -> None:
    async with site(tmp_path, unused_tcp_port) as world:
        users = await world.bench.crowd(9)
        record = await world.bench.store.proofing.latest(users[0].id)
        assert record is not None
        world.bench.verifier.says[record.transaction] = Revoked()
        world.bench.verifier.gate = asyncio.Event()
        officer = await visitor(chromium, world, OFFICER, language)
        page = officer.page
        await officer.open("/proofing/rechecks")
        await officer.look("rechecks-none")
        await page.click("summary")
        await page.click("details form button")
        await page.wait_for_url("**/proofing/rechecks?done=recheck_started")
        await page.wait_for_url("**/proofing/rechecks?tick=1")  # by itself, without scripts
        await expect(page.locator("progress").first).to_be_visible()
        await expect(page.locator("summary")).to_have_count(0)
        await officer.look("rechecks-going")
        world.bench.verifier.gate.set()

        async def finished() -> bool:
            return (await world.port.rechecks())[0].finished_at is not None

        await until(finished)
        await page.wait_for_url("**/proofing/rechecks?tick=2")
        await expect(page.locator("progress")).to_have_count(0)
        await officer.look("rechecks-done")

        await officer.open(f"/proofing/people/{users[1].id}")
        await officer.look("person")
        await page.click("summary >> nth=0")
        await page.check("[value=withdrawn]")
        await officer.look("person-end")
        await page.click("details[open] button")
        await page.wait_for_url("**?done=proofing_ended")
        await officer.look("person-ended")
        await page.click("summary")
        await page.fill("#login", "somebody")
        await page.click("details[open] button")
        await expect(page.locator("#login-wrong")).to_be_visible()
        await officer.look("person-delete-wrong")
        await page.fill("#login", users[1].login)
        await page.click("details[open] button")
        await page.wait_for_url("**?done=proofing_deleted")
        assert (await world.office.own_view(users[1].id)).records == ()
        assert officer.wrong == []

"""Break-glass in Chromium: on a phone in both languages, and the officer's pages at a desk and on a tablet."""

import asyncio
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from gateway.audit.marked import Marked
from gateway.emergency.ledger import Ledger
from gateway.emergency.model import REASONS
from gateway.emergency.notices import OutboxNotices
from gateway.emergency.outbox import Message
from gateway.emergency.service import Emergencies
from gateway.emergency.words import Manner
from gateway.kernel.clock import SystemClock
from gateway.lasting.sqlite import SqliteLasting
from tests.support import whole as support
from tests.support.chromium import serving
from tests.support.console import OFFICER, World, opened
from tests.support.emergency import a_break_glass
from tests.support.glass import CHART, FORM, TYPED, confirmed, emergencies, ready, settle

ARTEFACTS: Final = Path(__file__).parents[2] / "test-artefacts" / "break-glass"
NASTY: Final = "佐藤\u202e恵<script>alert(1)</script>\u200b"


def watched(page: Page) -> list[str]:
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None)
    page.on("dialog", lambda dialog: wrong.append("dialog"))
    return wrong


async def look(page: Page, name: str, *widths: int) -> None:
    """Take pictures; nothing may stick out."""
    await asyncio.to_thread(ARTEFACTS.mkdir, parents=True, exist_ok=True)
    for width in widths:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.screenshot(path=ARTEFACTS / f"{name}-{width}.png", full_page=True)
        wide = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1], (name, width)


async def moved(context: BrowserContext, browser: support.Browser) -> None:
    """Give Chromium what the browser without a screen holds."""
    for host, jar in browser.cookies.items():
        for name, value in jar.items():
            await context.add_cookies(
                [{"name": name, "value": value, "domain": host, "path": "/", "secure": True, "httpOnly": True, "sameSite": "Lax"}]
            )


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_clinician_on_a_phone(chromium: Browser, tmp_path_factory: pytest.TempPathFactory, language: str) -> None:
    async with support.open_whole(tmp_path_factory.mktemp("whole") / "data") as whole:
        nobody = whole.browser()
        form = await confirmed(nobody, await ready(nobody))
        assert form.status == 200
        context = await chromium.new_context(
            viewport={"width": 390, "height": 844}, locale="ja-JP" if language == "ja" else "en-GB", java_script_enabled=False
        )
        await moved(context, nobody)
        page = await context.new_page()
        wrong = watched(page)
        await page.goto(nobody.url("ehr", CHART))
        await look(page, f"denied-{language}", 390)
        await page.click("#last-resort")
        await expect(page).to_have_url(f"{nobody.url('portal', FORM)}?flow=" + page.url.partition("flow=")[2])
        await look(page, f"form-{language}", 390)
        await page.check("[name=reason][value=critical]")
        await page.fill("[name=text]", TYPED["text"])
        await expect(page.locator("[name=patient]")).to_have_value("P1001")
        await page.click("#begin")
        await expect(page.locator("body")).to_contain_text("upstream dr.sato")
        assert len(await emergencies(whole)) == 1
        await page.goto(nobody.url("portal"))
        await expect(page.locator(".emergency")).to_contain_text("緊急アクセス中" if language == "ja" else "Break-glass until")
        await look(page, f"portal-{language}", 390, 1280)
        await page.click("#end-emergency")
        await expect(page.locator(".emergency")).to_have_count(0)
        assert await emergencies(whole) == []
        await settle(whole)
        assert wrong == []
        await context.close()


def service(world: World, lasting: SqliteLasting) -> Emergencies:
    ledger = Ledger(lasting)
    manner = Manner(language="ja", zone=ZoneInfo("Asia/Tokyo"), hospital="h", patient_id=False, link=lambda _: "", apps={})
    return Emergencies(
        ledger=ledger, sessions=world.sessions, log=world.audit, clock=world.clock, seconds=3600, reasons=REASONS, manner=manner,
        notices=OutboxNotices(ledger.outbox, (), clock=world.clock, wake=lambda: None),
    )  # fmt: skip


async def filled(emergencies: Emergencies, now: int) -> str:
    """One that runs, one to review, one that is reviewed by a name full of tricks, and a notice that fails."""
    ledger = emergencies.ledger
    running = a_break_glass(
        session="ses_1", began_at=now - 600, until=now + 3000, name="鈴木 翔", login="nurse.suzuki", department="ICU"
    )
    over = a_break_glass(session="ses_2", began_at=now - 9000, until=now - 5400)
    odd = a_break_glass(session="ses_3", began_at=now - 19000, until=now - 15400, name=NASTY, text=NASTY * 8, patient=NASTY)
    for one in (running, over, odd):
        await ledger.begin(one)
        await ledger.in_force(one.id, one.began_at)
    await ledger.end(over.id, "time", now)
    await ledger.end(odd.id, "person", now - 16000)
    message = Message(id="ntc_1", channel="mail", kind="break_glass.began", subject="s", text="t", at="2027-01-15T08:00:00.000Z")
    await ledger.outbox.put([message], about=running.id, now=now)
    taken = await ledger.outbox.take(now)
    assert taken is not None
    await ledger.outbox.failed(taken, "the mail server answered 451 (SMTPDataError)", now)
    return over.id


def done(break_id: str, since: float) -> Marked:
    rows: tuple[dict[str, Any], ...] = (
        {"type": "event", "at": "2027-01-15T08:00:00.000Z", "event": "breakglass.began", "outcome": "success"},
        *(
            {
                "type": "decision", "at": f"2027-01-15T08:0{number}:01.000Z", "outcome": "allow",
                "patient": f"P100{1 + number // 3}", "method": "GET", "app": "ehr",
                "path": f"/patients/P100{1 + number // 3}/documents/{'a' * 30 * number}",
                "completion": {"status": 200},
            }
            for number in range(5)
        ),
    )  # fmt: skip
    return Marked(rows=rows, decisions=5, patients=(("P1001", 3), ("P1002", 2)), everything=True)


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_an_officer_reviews_one(chromium: Browser, tmp_path: Path, unused_tcp_port: int, language: str) -> None:
    clock, origin = SystemClock(), f"http://console.localhost:{unused_tcp_port}"
    async with opened(tmp_path, clock, origin) as world:
        world.load_policies()
        lasting = SqliteLasting(tmp_path / "policies.sqlite3")
        emergencies = service(world, lasting)
        over = await filled(emergencies, int(clock.now()))
        async with serving(world.application(emergencies=emergencies, marked=done), unused_tcp_port):
            signed = world.signer.headers(clock.now(), exp=int(clock.now()) + 290, **OFFICER)
            context = await chromium.new_context(locale="ja-JP" if language == "ja" else "en-GB", extra_http_headers=signed)
            page = await context.new_page()
            wrong = watched(page)
            await page.goto(origin)
            await expect(page.locator("#glass-running")).to_be_visible()
            await expect(page.locator("#glass-unsent")).to_be_visible()
            await look(page, f"console-home-{language}", 1280, 820)
            await page.click("#glass-review a")
            await look(page, f"console-list-{language}", 1280, 820, 390)
            await page.click(f"a[href='/emergencies/{over}']")
            await look(page, f"console-one-{language}", 1280, 820, 390)
            await page.keyboard.press("Tab")
            await page.check("[name=word][value=justified]")
            await page.fill("[name=text]", "担当医に確認し、急変への対応と判断した")
            await page.click("form.decide button[type=submit]")
            await expect(page.locator(".notice.ok")).to_be_visible()
            kept = await emergencies.ledger.get(over)
            assert kept is not None
            assert kept.finding is not None
            await look(page, f"console-closed-{language}", 1280)
            assert wrong == []
            await context.close()
        lasting.close()

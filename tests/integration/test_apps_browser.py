"""The console and the demo apps in a real browser: scripts work under the strict policy, and nothing from outside runs."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from gateway.console.live import ROWS
from gateway.demo.assertion import AssertionVerifier
from gateway.demo.ehr import create_ehr
from gateway.demo.imaging import create_imaging
from gateway.domain.record import Actor, Source
from gateway.kernel.clock import SystemClock
from gateway.kernel.web.site import Front
from tests.support.assertions import PORTAL, TestSigner
from tests.support.chromium import serving
from tests.support.console import OFFICER, opened

ARTEFACTS = Path(__file__).parents[2] / "test-artefacts" / "apps"
NASTY = "<img src=x onerror=alert(1)><script>alert(1)</script>\u202e"


def assertion(signer: TestSigner, **claims: Any) -> dict[str, str]:
    now = SystemClock().now()
    return signer.headers(now, **({"exp": int(now) + 290} | claims))


class Visitor:
    """A page, and what went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda message: self.wrong.append(message.text) if "Content Security Policy" in message.text else None)
        page.on("dialog", self._dialog)

    async def _dialog(self, dialog: Any) -> None:
        self.wrong.append("dialog")
        await dialog.dismiss()

    async def picture(self, name: str) -> None:
        await asyncio.to_thread(ARTEFACTS.mkdir, parents=True, exist_ok=True)
        await self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)

    async def fits(self) -> bool:
        return bool(await self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


async def visitor(chromium: Browser, headers: dict[str, str], language: str = "ja-JP", width: int = 1280) -> Visitor:
    context = await chromium.new_context(viewport={"width": width, "height": 900}, locale=language, extra_http_headers=headers)
    return Visitor(await context.new_page())


# ------------------------------------------------------------------ console


async def test_the_live_page_shows_filters_pauses_and_runs_nothing(
    chromium: Browser, tmp_path: Path, unused_tcp_port: int
) -> None:
    origin = f"http://console.localhost:{unused_tcp_port}"
    async with opened(tmp_path, SystemClock(), origin) as world, serving(world.application(), unused_tcp_port):
        await world.decision(path="/oldest")
        officer = await visitor(chromium, assertion(world.signer, **OFFICER))
        page = officer.page
        await page.goto(f"{origin}/")
        rows = page.locator("[data-decisions] tr")
        await expect(rows).to_have_count(1)
        await expect(page.locator("[data-state]")).to_have_text("受信中")

        actor = Actor(login="nurse.suzuki", name=NASTY)
        await world.decision(
            path=f"/{NASTY}", actor=actor, outcome="deny", reason="policy_forbids", source=Source(address=NASTY), app="imaging"
        )
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("<script>alert(1)</script>\\u{202e}")
        await expect(rows.last).to_contain_text("/oldest")
        assert await page.locator("[data-decisions] img, [data-decisions] script").count() == 0

        shown = page.locator("[data-decisions] tr:visible")
        await page.select_option("[name=outcome]", "deny")
        await expect(shown).to_have_count(1)
        await page.fill("[name=person]", "SATO")
        await expect(shown).to_have_count(0)
        await expect(page.locator("[data-empty]")).to_be_visible()
        await page.select_option("[name=outcome]", "")
        await expect(shown).to_have_count(1)
        await page.fill("[name=person]", "")
        await page.select_option("[name=app]", "imaging")
        await expect(shown).to_have_count(1)
        await page.select_option("[name=app]", "")

        await world.decision(path="/static/live.js", route="console.static")
        await expect(rows).to_have_count(3)
        await expect(shown).to_have_count(2)
        await page.uncheck("[name=quiet]")
        await expect(shown).to_have_count(3)

        await page.click("[data-toggle]")
        await world.decision(path="/while-paused")
        await expect(page.locator("[data-counter]")).to_contain_text("(+1)")
        await expect(rows).to_have_count(3)
        await page.click("[data-toggle]")
        await expect(rows.first).to_contain_text("/while-paused")

        for number in range(ROWS + 20):
            await world.decision(path=f"/many/{number}")
            if number % 20 == 0:
                await asyncio.sleep(0)
        await expect(rows.first).to_contain_text(f"/many/{ROWS + 19}")
        assert await rows.count() <= ROWS
        assert officer.wrong == []


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_an_officer_works_with_the_keyboard_in_both_languages(
    chromium: Browser, tmp_path: Path, unused_tcp_port: int, language: str
) -> None:
    origin = f"http://console.localhost:{unused_tcp_port}"
    async with opened(tmp_path, SystemClock(), origin) as world, serving(world.application(), unused_tcp_port):
        world.load_policies()
        session = await world.session(user_agent=NASTY)
        device = await world.device(label=NASTY, status="pending")
        officer = await visitor(chromium, assertion(world.signer, **OFFICER), language)
        page = officer.page

        await page.goto(f"{origin}/sessions")
        await page.locator("summary").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/sessions?done=revoked")
        await expect(page.locator(".notice.ok")).to_be_visible()
        assert await world.sessions.get(session.id, world.clock.now()) is None

        await page.goto(f"{origin}/devices")
        await page.locator("main form button").first.focus()
        await page.keyboard.press("Space")
        await page.wait_for_url("**/devices?done=approve")
        found = await world.devices.get(device.id)
        assert found is not None
        assert found.status == "active"

        await page.goto(f"{origin}/export")
        async with page.expect_download() as download:
            await page.click("main button[type=submit]")
        assert (await download.value).suggested_filename.startswith("gateway-log-")
        assert world.exported[0][2] == language[:2]

        for width in (1280, 820, 390):
            await page.set_viewport_size({"width": width, "height": 900})
            for path in ("", "sessions", "devices", "policies", "export"):
                await page.goto(f"{origin}/{path}")
                assert await officer.fits(), (path, width)
                await officer.picture(f"console-{path or 'home'}-{language[:2]}-{width}")
        assert officer.wrong == []


# ------------------------------------------------------------------ the sample EHR and the imaging viewer


def verifier(signer: TestSigner, audience: str) -> AssertionVerifier:
    async def fetch() -> bytes:
        return msgspec.json.encode(signer.jwks())

    return AssertionVerifier(fetch, issuer=PORTAL, audience=audience, clock=SystemClock())


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_a_clinician_sees_prescribes_and_uploads(
    chromium: Browser, tmp_path: Path, unused_tcp_port: int, language: str
) -> None:
    signer, origin = TestSigner(), f"http://ehr.localhost:{unused_tcp_port}"
    ehr = create_ehr(tmp_path, verifier(signer, "ehr"), SystemClock(), front=Front(origin=origin, portal=PORTAL))
    async with serving(ehr, unused_tcp_port):
        doctor = await visitor(chromium, assertion(signer), language)
        page = doctor.page
        await page.goto(f"{origin}/patients")
        await page.click("text=見本 花子" if language == "ja-JP" else "text=Mihon Hanako")
        heart_rate = page.locator("[data-value=heart_rate]")
        await expect(heart_rate).not_to_have_text("--")
        await expect(page.locator("#vitals")).to_have_attribute("data-now", "live")
        await expect(page.locator("[data-list] li").first).to_be_visible()

        await page.click(".actions a[href$='/prescriptions/new']")
        await page.select_option("#drug", "furosemide-20")
        await page.fill("#amount", "１")
        await page.fill("#days", "7")
        await page.select_option("#timing", "bid")
        await page.fill("#comment", NASTY)
        await page.click("main button[type=submit]")
        await page.wait_for_url("**/patients/P1001?prescription=*")
        await expect(page.locator(".saved")).to_be_visible()
        await expect(page.locator("#prescriptions .new")).to_contain_text("<script>alert(1)</script>\\u{202e}")

        upload: Any = {"name": "紹介状<b>.pdf", "mimeType": "application/pdf", "buffer": bytes(1_200_000)}
        await page.set_input_files("#file", upload)
        await page.click(".upload button")
        await page.wait_for_url("**/patients/P1001?document=*")
        await expect(page.locator("#documents")).to_contain_text("1.1 MiB")

        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 900})
            for name, path in (
                ("home", "/"),
                ("list", "/patients"),
                ("chart", "/patients/P1001"),
                ("order", "/patients/P1001/prescriptions/new"),
            ):
                await page.goto(origin + path)
                if name == "chart":
                    await expect(heart_rate).not_to_have_text("--")
                assert await doctor.fits(), (path, width)
                await doctor.picture(f"ehr-{name}-{language[:2]}-{width}")
        assert doctor.wrong == []


async def test_old_vital_signs_are_taken_away_and_an_ended_session_clears_the_screen(
    chromium: Browser, tmp_path: Path, unused_tcp_port: int
) -> None:
    signer, origin = TestSigner(), f"http://ehr.localhost:{unused_tcp_port}"

    def ehr() -> web.Application:
        return create_ehr(tmp_path, verifier(signer, "ehr"), SystemClock(), front=Front(origin=origin, portal=PORTAL))

    doctor = await visitor(chromium, assertion(signer))
    page = doctor.page
    async with serving(ehr(), unused_tcp_port):
        await page.goto(f"{origin}/patients/P1001")
        await expect(page.locator("[data-value=spo2]")).not_to_have_text("--")
    await expect(page.locator("[data-value=spo2]")).to_have_text("--")
    await expect(page.locator("#vitals")).to_have_attribute("data-now", "lost")
    async with serving(ehr(), unused_tcp_port):  # the streams come back by themselves
        await expect(page.locator("[data-value=spo2]")).not_to_have_text("--", timeout=20_000)
    await page.context.set_extra_http_headers({})
    async with serving(ehr(), unused_tcp_port):  # and now nobody is signed in any more
        await expect(page.locator("h1")).to_have_text("このページは直接開けません", timeout=30_000)
        assert "見本 花子" not in await page.content()


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_images_are_drawn_and_stepped_through(chromium: Browser, unused_tcp_port: int, language: str) -> None:
    signer, origin = TestSigner(), f"http://imaging.localhost:{unused_tcp_port}"
    imaging = create_imaging(verifier(signer, "imaging"), front=Front(origin=origin, portal=PORTAL))
    async with serving(imaging, unused_tcp_port):
        doctor = await visitor(chromium, assertion(signer, aud="imaging"), language)
        page = doctor.page
        await page.goto(f"{origin}/")
        await doctor.picture(f"imaging-home-{language[:2]}")
        await page.click("a[href='/studies/CT-2001']")
        viewer = page.locator("#viewer")
        await expect(viewer).to_have_attribute("data-ready", "9")
        before = await page.evaluate("document.querySelector('canvas').toDataURL()")
        await page.locator("canvas").focus()
        await page.keyboard.press("ArrowDown")
        await expect(viewer).to_have_attribute("data-ready", "10")
        assert await page.evaluate("document.querySelector('canvas').toDataURL()") != before
        await page.click("#reset")
        await expect(viewer).to_have_attribute("data-ready", "9")
        assert await page.evaluate("document.querySelector('canvas').toDataURL()") == before
        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 900})
            assert await doctor.fits()
            await doctor.picture(f"imaging-study-{language[:2]}-{width}")
        assert doctor.wrong == []

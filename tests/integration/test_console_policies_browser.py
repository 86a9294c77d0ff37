"""The policy editor and the page that watches, in a real browser: typing, input methods, keys, conflicts, no scripts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from gateway.changes.bundle_files import snapshot_of
from gateway.domain.record import Beside
from gateway.kernel.clock import SystemClock
from gateway.policy.compile import version_of
from tests.support.chromium import serving
from tests.support.console import AUDITOR, OFFICER
from tests.support.console_policies import FIRST_PERSON, SECOND_PERSON, PoliciesWorld, policies_world

ARTEFACTS: Final = Path(__file__).parents[2] / "test-artefacts" / "console-policies"
SIZES: Final = ((1280, 900), (820, 1180), (390, 844))


@pytest.fixture
async def world(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[PoliciesWorld]:
    port = unused_tcp_port
    origin = f"http://console.localhost:{port}"
    async with policies_world(tmp_path, SystemClock(), origin) as found, serving(found.application(), port):
        yield found


class Visitor:
    """Somebody at the console; what went wrong on the pages is kept."""

    def __init__(self, page: Page, world: PoliciesWorld, language: str) -> None:
        self.page, self.world, self.language = page, world, language
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda message: self.wrong.append(message.text) if "Content Security Policy" in message.text else None)

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.world.world.origin}{path}")

    async def look(self, name: str) -> None:
        """Take pictures at three widths; nothing may stick out."""
        await asyncio.to_thread(ARTEFACTS.mkdir, parents=True, exist_ok=True)
        for width, height in reversed(SIZES):
            await self.page.set_viewport_size({"width": width, "height": height})
            await self.page.screenshot(path=ARTEFACTS / f"{name}-{self.language}-{width}.png")
            wide = await self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert wide[0] <= wide[1], (name, width)


async def visitor(chromium: Browser, world: PoliciesWorld, person: dict[str, Any] = OFFICER, language: str = "ja",
                  **options: Any) -> Visitor:  # fmt: skip
    now = world.world.clock.now()
    signed = world.world.signer.headers(now, exp=int(now) + 290, **person)
    locale = {"ja": "ja-JP", "en": "en-GB"}[language]
    desk: ViewportSize = {"width": 1280, "height": 900}
    context = await chromium.new_context(locale=locale, extra_http_headers=signed, viewport=desk, **options)
    return Visitor(await context.new_page(), world, language)


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_the_editor_says_what_is_wrong_while_it_is_typed(chromium: Browser, world: PoliciesWorld, language: str) -> None:
    draft = await world.draft()
    someone = await visitor(chromium, world, language=language)
    page = someone.page
    await someone.open(f"/policies/drafts/{draft.id}/edit/ehr.cedar")
    area, said = page.locator("textarea[name=text]"), page.locator("[data-said]")
    text = draft.files["ehr.cedar"].decode()
    assert await area.input_value() == text
    assert await page.locator(".shown .t-effect", has_text="permit").count() == text.count("\npermit (")
    assert await page.locator(".numbers .number").count() == text.count("\n") + 1
    await someone.look("editor")

    # A wrong word: said beside its line, in the list, and to screen readers; a click on it goes there.
    at = text.index("context.proofing.level") + len("context.pro")
    line = text[:at].count("\n") + 1
    await area.evaluate("(area, at) => { area.focus(); area.setSelectionRange(at, at); }", at)
    await page.keyboard.type("x")
    await expect(page.locator(".shown .line.error")).to_have_count(1, timeout=15_000)
    assert await page.locator(".number.error").inner_text() == str(line)
    assert str(line) in await said.inner_text()
    assert await said.get_attribute("aria-live") == "polite"
    await area.evaluate("(area) => area.setSelectionRange(0, 0)")
    await page.locator("[data-list] a").first.click()
    chosen = await area.evaluate("(area) => area.value.slice(area.selectionStart, area.selectionEnd)")
    assert "context.proxofing.level" in chosen
    await someone.look("editor-problem")

    # Put right, it is quiet again; the newest answer wins, however many were asked.
    await area.evaluate("(area, at) => area.setSelectionRange(at + 1, at + 1)", at)
    await page.keyboard.press("Backspace")
    await expect(page.locator(".shown .line.error")).to_have_count(0, timeout=15_000)
    await expect(page.locator("[data-list] li.error")).to_have_count(0)

    # A number that cases contradict: they are named here, too.
    number = text.index("< 300") + 2
    await area.evaluate("(area, at) => area.setSelectionRange(at, at + 3)", number)
    await page.keyboard.type("120")
    await expect(page.locator("[data-list] li.error")).to_contain_text(
        "a touch of 299 seconds ago still prescribes", timeout=15_000
    )
    assert await world.desk.draft(draft.id) == draft, "nothing is saved before it is saved"
    assert someone.wrong == []


async def test_keys_of_the_editor(chromium: Browser, world: PoliciesWorld) -> None:
    draft = await world.draft()
    someone = await visitor(chromium, world)
    page = someone.page
    await someone.open(f"/policies/drafts/{draft.id}/edit/guards.cedar")
    area = page.locator("textarea[name=text]")
    text = draft.files["guards.cedar"].decode()
    await area.evaluate("(area) => { area.focus(); area.setSelectionRange(0, 0); }")
    await page.keyboard.press("Tab")
    assert await area.input_value() == f"  {text}", "Tab inserts spaces"
    await page.keyboard.press("Shift+Tab")
    assert await area.input_value() == text
    await page.keyboard.press("Control+z")
    assert await area.input_value() == f"  {text}", "the browser's undo works"
    await page.keyboard.press("Control+z")
    await page.keyboard.press("Escape")
    await page.keyboard.press("Tab")
    assert await page.evaluate("() => document.activeElement.tagName") != "TEXTAREA", "Escape, then Tab leaves"

    # An input method: nothing is checked, inserted or left while it composes.
    await area.evaluate("(area) => { area.focus(); area.setSelectionRange(0, 0); }")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/check") else None)
    session = await page.context.new_cdp_session(page)
    for part in ("//", "// しょ", "// しょほう", "// 処方"):
        await session.send("Input.imeSetComposition", {"text": part, "selectionStart": len(part), "selectionEnd": len(part)})
        await page.wait_for_timeout(250)
    assert asked == [], "half a word is no text yet"
    assert "処方" in await page.locator(".shown .line").first.inner_text(), "what is composed is seen"
    await session.send("Input.insertText", {"text": "// 処方\n"})
    await page.wait_for_timeout(1500)
    assert len(asked) == 1
    assert (await area.input_value()).startswith("// 処方\n")

    # Saved with a key, where one is; the caret stays, and so does the undo.
    await page.keyboard.press("Control+s")
    await expect(page.locator("[data-dirty]")).to_have_text("保存しました", timeout=15_000)
    assert (await world.desk.draft(draft.id)).files["guards.cedar"] == (await area.input_value()).encode()
    assert page.url.endswith("/edit/guards.cedar")
    assert someone.wrong == []


async def test_somebody_else_saved_the_same_file(chromium: Browser, world: PoliciesWorld) -> None:
    draft = await world.draft()
    someone = await visitor(chromium, world)
    page = someone.page
    await someone.open(f"/policies/drafts/{draft.id}/edit/ehr.cedar")
    area = page.locator("textarea[name=text]")
    await area.evaluate("(area) => { area.focus(); area.setSelectionRange(0, 0); }")
    await page.keyboard.type("// mine\n")
    theirs = b"// theirs\n" + draft.files["ehr.cedar"]
    await world.desk.save(SECOND_PERSON, draft.id, revision=draft.revision, files={**draft.files, "ehr.cedar": theirs})
    async with page.expect_navigation():
        await page.keyboard.press("Control+s")
    boxes = page.locator("textarea")
    assert (await boxes.nth(0).input_value()).startswith("// mine\n")
    assert (await boxes.nth(1).input_value()).startswith("// theirs\n")
    await someone.look("conflict")
    await boxes.nth(0).fill("// mine\n" + theirs.decode())
    async with page.expect_navigation():
        await page.locator("main button[type=submit]").click()
    assert "保存しました" in await page.locator("main").inner_text()
    assert (await world.desk.draft(draft.id)).files["ehr.cedar"] == b"// mine\n" + theirs
    assert someone.wrong == []


async def test_without_scripts_it_is_a_form_that_saves(chromium: Browser, world: PoliciesWorld) -> None:
    draft = await world.draft()
    someone = await visitor(chromium, world, java_script_enabled=False)
    page = someone.page
    await someone.open(f"/policies/drafts/{draft.id}/edit/imaging.cedar")
    text = draft.files["imaging.cedar"].decode()
    assert await page.locator("textarea[name=text]").input_value() == text
    await page.fill("textarea[name=text]", text.replace("context.", "contxt.", 1))
    await page.click(".toolbar button")
    assert "保存しました" in await page.locator("main").inner_text()
    assert "imaging.cedar:" in await page.locator(".verdict").inner_text(), "what is wrong is said after saving"
    await someone.look("without-scripts")
    auditor = await visitor(chromium, world, AUDITOR)
    await auditor.open(f"/policies/drafts/{draft.id}/edit/imaging.cedar")
    assert await auditor.page.locator("textarea[readonly]").count() == 1
    assert await auditor.page.locator(".toolbar button").count() == 0


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_what_would_have_happened_is_counted_live(chromium: Browser, world: PoliciesWorld, language: str) -> None:
    version = world.world.in_force.version
    draft = await world.changed()
    draft = await world.desk.try_out(FIRST_PERSON, draft.id, content=draft.content)
    trial = version_of(snapshot_of(draft.files).policies)
    would_stop = Beside(allowed=False, policies=("personal-device-outside",))
    await world.world.decision(report_only=would_stop, bundle=version)
    await world.world.decision(report_only=Beside(allowed=True, policies=()), bundle=version)  # the same answer: nothing to see
    someone = await visitor(chromium, world, language=language)
    page = someone.page
    await someone.open("/policies/watch")
    total = page.locator("[data-kind=report_only] [data-total]")
    await expect(total).to_have_text("1")
    for _ in range(3):
        await world.world.decision(report_only=would_stop, bundle=version)
    await expect(total).to_have_text("4")
    await world.world.decision(
        outcome="deny", reason="no_policy_permits", bundle=version, trial=Beside(allowed=True, bundle=trial)
    )
    await expect(page.locator("[data-kind=trial] [data-total]")).to_have_text("1")
    await expect(page.locator("[data-kind=denied] [data-total]")).to_have_text("1")
    await world.world.decision(outcome="deny", reason="no_policy_permits", bundle="0" * 64)  # by another bundle
    await world.world.decision(report_only=would_stop, bundle="0" * 64, trial=Beside(allowed=False, bundle="b" * 64))  # long past
    await expect(page.locator("span[data-looked]")).to_contain_text("8", timeout=10_000)
    await expect(page.locator("[data-kind=denied] [data-total]")).to_have_text("1")
    await expect(page.locator("[data-kind=trial] [data-total]")).to_have_text("1")
    await expect(total).to_have_text("4")
    policy = page.locator("[data-kind=report_only] [data-by=policy] li")
    await expect(policy).to_contain_text("personal-device-outside")
    await page.locator("[data-kind=report_only] details summary").click()
    row = page.locator("[data-kind=report_only] tbody tr").first
    await expect(row.locator("a", has_text="佐藤 恵")).to_have_attribute("href", "/people/usr_sato")
    assert "/policies/explain?decision=dec_" in (await row.locator("a").last.get_attribute("href") or "")
    await someone.look("watch")
    assert someone.wrong == []


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_the_pages_fit_desk_tablet_and_phone(chromium: Browser, world: PoliciesWorld, language: str) -> None:
    published = await world.published()
    draft = await world.draft(by=SECOND_PERSON)
    await world.world.session()
    await world.world.decision(outcome="deny", reason="no_policy_permits")
    someone = await visitor(chromium, world, language=language)
    changed, other = f"/policies/drafts/{published.id}", f"/policies/drafts/{draft.id}"
    pages = {
        "policies": "/policies", "drafts": "/policies/drafts?policy=ehr-prescribe-physician", "draft": other, "done": changed,
        "policy": f"{other}/policies/ehr-prescribe-physician", "template": f"{other}/templates/touch-before-action",
        "history": "/policies/history", "version": "/policies/versions/2", "compare": "/policies/compare?from=1&to=2",
        "back": "/policies/versions/1/back", "people": "/people", "person": "/people/usr_sato", "home": "/",
    }  # fmt: skip
    for name, path in pages.items():
        await someone.open(path)
        await someone.look(name)
        assert await someone.page.locator("h1:visible").count() == 1, name
    await someone.open("/policies")
    await someone.page.fill("form[data-search] input", "7.0/ops/14-5 ehr-pres")
    await expect(someone.page.locator("li[data-item]:visible")).to_have_count(2)  # physician's and resident's
    assert someone.wrong == []

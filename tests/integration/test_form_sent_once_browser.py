"""A form that begins something is sent once, however often it is clicked: in Chromium, at a whole gateway."""

import pytest
from playwright.async_api import Browser, BrowserContext, Request, Route, expect

from tests.support.glass import CHART, FORM, TYPED, confirmed, emergencies, ready
from tests.support.whole import Browser as Person
from tests.support.whole import open_whole

DEVICE = "/.gateway/device"


def _count(posts: list[str], request: Request, path: str) -> None:
    if request.method == "POST" and request.url.endswith(path):
        posts.append(request.url)


async def _as(chromium: Browser, person: Person) -> BrowserContext:
    """Chromium with what the browser without a screen holds."""
    context = await chromium.new_context(locale="ja-JP")
    for host, jar in person.cookies.items():
        for name, value in jar.items():
            await context.add_cookies(
                [{"name": name, "value": value, "domain": host, "path": "/", "secure": True, "httpOnly": True, "sameSite": "Lax"}]
            )
    return context


async def test_a_double_click_begins_one_break_glass_and_loses_nothing(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with open_whole(tmp_path_factory.mktemp("whole") / "data") as whole:
        nobody = whole.browser()
        form = await confirmed(nobody, await ready(nobody))
        context = await _as(chromium, nobody)
        page = await context.new_page()
        posts: list[str] = []

        async def no_answer(route: Route) -> None:
            await route.fulfill(status=204)

        page.on("request", lambda request: _count(posts, request, FORM))
        await page.goto(form.url)
        await page.check("[name=reason][value=critical]")
        await page.fill("[name=text]", TYPED["text"])
        # An answer that leaves the page where it is: it can't be sent again before the page is shown again.
        await page.route(f"**{FORM}", no_answer)
        await page.dblclick("#begin")
        await expect(page.locator("#begin")).to_be_disabled()
        assert len(posts) == 1
        await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        await expect(page.locator("#begin")).to_be_enabled()
        await page.unroute(f"**{FORM}")
        await page.dblclick("#begin")
        await expect(page.locator("body")).to_contain_text("upstream dr.sato")
        assert len(posts) == 2
        assert page.url == nobody.url("ehr", CHART)
        await page.goto(nobody.url("portal"))
        await expect(page.locator(".emergency")).to_contain_text("P1001")
        assert len(await emergencies(whole)) == 1
        await context.close()


async def test_a_double_click_registers_one_device_and_loses_nothing(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with open_whole(tmp_path_factory.mktemp("whole") / "data") as whole:
        nobody = whole.browser()
        asked = await nobody.sign_in("ehr", CHART, login="dr.sato")
        form = await nobody.follow(await nobody.get(asked.remedy("register_device")))
        context = await _as(chromium, nobody)
        page = await context.new_page()
        posts: list[str] = []
        page.on("request", lambda request: _count(posts, request, DEVICE))
        await page.goto(form.url)
        await page.fill("[name=label]", "ward")
        await page.select_option("[name=ownership]", "hospital")
        await page.dblclick("#register button")
        await expect(page).to_have_url(nobody.url("ehr", CHART))
        assert len(posts) == 1
        assert len(whole.events("device.registered")) == 1
        await page.goto(nobody.url("portal"))
        await expect(page.locator("body")).to_contain_text("佐藤 恵")
        await context.close()

"""Through the sign-in's own pages to the Digital Agency's stand-in and back: by a client of few words, and in Chromium."""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, async_playwright

from gateway.kernel.clock import ManualClock
from idp.proofing.digital_agency.backend import DigitalAgencyBackend
from tests.support.chromium import find_chromium
from tests.support.digital_agency import Agency, agency
from tests.support.idp_site import PASSWORD, Browser, IdpSite, Reply, idp_site

PROOFED = "urn:zt-gateway:acr:proofed"


@pytest.fixture
async def service() -> AsyncIterator[Agency]:
    async with agency() as running:
        yield running


@pytest.fixture
async def site(service: Agency, tmp_path: Path) -> AsyncIterator[IdpSite]:
    clock = ManualClock()
    await service.control("clock", now=int(clock.now()))
    made: list[DigitalAgencyBackend] = []

    def backend(issuer: str) -> DigitalAgencyBackend:
        service.redirect = f"{issuer}/login/proofing/return"
        made.append(service.backend(clock))
        return made[0]

    async with idp_site(tmp_path, clock=clock, backend=backend) as running:
        await service.register()
        await running.person(birth_date="1984-05-12", kana="サトウ メグミ")
        yield running
    await made[0].close()


async def at_the_verifiers_page(browser: Browser) -> tuple[Reply, str]:
    """Sign in as far as the page with the button; return it and where the button leads."""
    page = await browser.submit(await browser.sign_in(acr_values=PROOFED), "/login/proofing", consent="yes")
    assert page.status == 200
    (link,) = re.findall(r'href="([^"]+)" rel="noreferrer" data-verifier', page.text)
    return page, html.unescape(link)


async def come_back(browser: Browser, answer: dict[str, str]) -> Reply:
    return await browser.get(f"/login/proofing/return?{urlencode(answer)}")


@pytest.mark.parametrize(("language", "says"), [("ja", "マイナアプリ"), ("en", "four-digit PIN")])
async def test_from_the_button_to_a_proofed_sign_in(site: IdpSite, service: Agency, language: str, says: str) -> None:
    async with Browser(site, language=language) as browser:
        page, link = await at_the_verifiers_page(browser)
        assert says in page.text
        done = await come_back(browser, await service.choose(link, "sato"))
        assert done.status == 200
        assert site.events.last("proofing.succeeded").detail["transaction"] in done.text
        onward = re.search(r'<a class="button full" href="([^"]+)"', done.text)
        assert onward is not None
        claims = await browser.tokens(await browser.get(html.unescape(onward[1])))
    assert claims["acr"] == PROOFED
    assert (claims["proofing"]["level"], claims["proofing"]["method"]) == (3, "jpki_auth_oidc")
    assert claims["proofing"]["verifier"] == service.issuer


async def test_leaving_on_our_page_and_at_the_service(site: IdpSite, service: Agency) -> None:
    async with Browser(site) as browser:
        page, _ = await at_the_verifiers_page(browser)
        back = await browser.submit(page, "/login/proofing/answer", cancel="1")
        assert back.actions[0] == "/login/proofing"
        again = await browser.submit(back, "/login/proofing", consent="yes")
        (link,) = re.findall(r'href="([^"]+)" rel="noreferrer" data-verifier', again.text)
        back = await come_back(browser, await service.choose(html.unescape(link), "cancelled"))
        assert back.actions[0] == "/login/proofing"
    assert "proofing.succeeded" not in site.events.names()


async def test_the_service_is_down_and_then_it_is_not(site: IdpSite, service: Agency) -> None:
    async with Browser(site) as browser:
        page, link = await at_the_verifiers_page(browser)
        answer = await service.choose(link, "sato")
        await service.mode("down_token")
        ended = await come_back(browser, answer)
        assert ended.status == 503
        assert "確認サービスが応答しません" in ended.text
        await service.mode("ok")
        (again,) = re.findall(r'<a class="button" href="([^"]+)" autofocus>', ended.text)
        page = await browser.submit(await browser.get(html.unescape(again)), "/login/proofing", consent="yes")
        (link,) = re.findall(r'href="([^"]+)" rel="noreferrer" data-verifier', page.text)
        assert (await come_back(browser, await service.choose(html.unescape(link), "sato"))).status == 200
    assert site.events.names().count("proofing.succeeded") == 1


async def test_somebody_elses_card(site: IdpSite, service: Agency) -> None:
    async with Browser(site) as browser:
        _, link = await at_the_verifiers_page(browser)
        ended = await come_back(browser, await service.choose(link, "suzuki"))
        assert ended.status == 403
    assert site.events.last("proofing.refused").detail["reason"] == "name_mismatch"


async def test_a_callback_in_another_browser_twice_or_with_a_parameter_twice(site: IdpSite, service: Agency) -> None:
    async with Browser(site) as browser, Browser(site, address="192.0.2.2") as other:
        _, link = await at_the_verifiers_page(browser)
        answer = await service.choose(link, "sato")
        assert (await come_back(other, answer)).status == 410
        twice = await browser.get(f"/login/proofing/return?{urlencode(answer)}&code=another")
        assert twice.status == 410
        assert "proofing.succeeded" not in site.events.names()
        assert (await come_back(browser, answer)).status == 200
        events = list(site.events.names())
        await come_back(browser, answer)
        assert site.events.names().count("proofing.succeeded") == events.count("proofing.succeeded") == 1


# ---------------------------------------------------------------- in Chromium


ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts" / "proofing"


@pytest.fixture(params=[("ja-JP", 390), ("en-GB", 1100)], ids=["ja-phone", "en-wide"])
async def page(request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    locale, width = request.param
    complaints: list[str] = []
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=find_chromium(), args=ARGS)
        context = await chromium.new_context(locale=locale, viewport={"width": width, "height": 800})
        context.set_default_timeout(20_000)
        opened = await context.new_page()
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda message: complaints.append(message.text) if "Content" in message.text else None)
        yield opened
        await chromium.close()
    assert complaints == []


async def to_the_service(page: Page, site: IdpSite) -> None:
    """Sign in, agree, and press the button that leads to the service."""
    query = {
        "response_type": "code", "client_id": "gateway", "redirect_uri": site.callback, "scope": "openid profile", "state": "s",
        "nonce": "n", "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
        "acr_values": PROOFED,
    }  # fmt: skip
    await page.goto(f"{site.issuer}/authorize?{urlencode(query)}")
    await page.fill("[name=login]", "dr.sato")
    await page.fill("[name=password]", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("[data-code]")
    await page.fill("[data-code]", site.code())
    await page.wait_for_selector("[name=consent]", state="attached")
    await page.click("form[action='/login/proofing'] button")
    await page.wait_for_selector("[data-verifier]")
    await saw(page, "01-before")
    await page.click("[data-verifier]")
    await page.wait_for_selector("button[value=sato]")


async def saw(page: Page, name: str) -> None:
    """Keep a picture, and check that nothing hangs over the edge."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    language = await page.evaluate("document.documentElement.lang")
    await page.screenshot(path=ARTEFACTS / f"digital-agency-{name}-{language}.png", full_page=True)
    assert await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


async def test_a_browser_goes_to_another_site_and_comes_back_proofed(site: IdpSite, service: Agency, page: Page) -> None:
    await to_the_service(page, site)
    assert page.url.startswith(service.issuer)
    await page.click("button[value=sato]")
    await page.wait_for_selector("[role=status]")
    assert page.url.startswith(site.issuer)
    assert "code=" not in page.url
    await saw(page, "02-proofed")
    await page.click("a.button.full")
    await page.wait_for_url(f"{site.callback}?code=*")
    record = await site.store.proofing.latest(site.events.last("proofing.succeeded").subject)
    assert record is not None
    assert record.verifier == service.issuer


async def test_a_browser_comes_back_without_and_is_told_what_to_do(site: IdpSite, service: Agency, page: Page) -> None:
    await to_the_service(page, site)
    await service.mode("down_userinfo")
    await page.click("button[value=sato]")
    await page.wait_for_selector("[role=alert]")
    await saw(page, "03-down")
    await page.click("a.button[autofocus]")
    await page.click("form[action='/login/proofing'] button")
    await page.click("[data-verifier]")
    await service.mode("ok")
    await page.click("button[value=suzuki]")
    await page.wait_for_selector("[role=alert]")
    await saw(page, "04-somebody-else")
    assert site.events.last("proofing.refused").detail["reason"] == "name_mismatch"
    await page.click("a.button[autofocus]")
    await page.click("form[action='/login/proofing'] button")
    await page.click("[data-verifier]")
    await page.click("button[value=cancelled]")
    await page.wait_for_url(f"{site.issuer}/login*")
    assert "proofing.succeeded" not in site.events.names()

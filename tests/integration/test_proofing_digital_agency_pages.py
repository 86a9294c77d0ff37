"""Through the sign-in's own pages to the Digital Agency's stand-in and back, by a client of few words."""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gateway.kernel.clock import ManualClock
from tests.support.digital_agency import Agency, agency
from tests.support.idp_site import Browser, IdpSite, Reply, idp_site

PROOFED = "urn:zt-gateway:acr:proofed"


@pytest.fixture
async def service() -> AsyncIterator[Agency]:
    async with agency() as running:
        yield running


@pytest.fixture
async def site(service: Agency, tmp_path: Path) -> AsyncIterator[IdpSite]:
    clock = ManualClock()
    await service.control("clock", now=int(clock.now()))
    backend = service.backend(clock)
    async with idp_site(tmp_path, clock=clock, backend=backend) as running:
        await running.person(birth_date="1984-05-12", kana="サトウ メグミ")
        yield running
    await backend.close()


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

"""Many tabs whose session has ended come back at once: one sign-in, every tab on its own page, no pile of cookies, no loop."""

import asyncio
import html
import json
import random
import re
from collections.abc import AsyncIterator
from urllib.parse import urljoin

import pytest
import pytest_asyncio

from gateway.domain.cookies import ARRIVALS_COOKIE, BINDING_COOKIE, SESSION_COOKIE
from tests.support.whole import Browser, Page, Whole, open_whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABS = 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with open_whole(tmp_path_factory.mktemp("whole") / "data") as whole:
        yield whole


@pytest.fixture
def whole(running: Whole) -> Whole:
    running.records.clear()
    running.hits.clear()
    return running


def path_of(tab: int) -> str:
    return f"/patients?tab={tab}"


async def restore(browser: Browser) -> list[Page]:
    """Open all tabs at once, as a browser that starts does: every request carries the cookies of its moment."""
    return list(await asyncio.gather(*(browser.open("ehr", path_of(tab)) for tab in range(TABS))))


async def look(browser: Browser, page: Page) -> Page:
    """What the script of a sign-in page that was left open does by itself: ask, and go on when there is nothing to do here."""
    tx = page.form("/login/password")["tx"]
    asked = await browser.get(browser.url("id", f"/login/elsewhere?tx={tx}"))
    assert asked.status == 200, asked.text
    return await browser.follow(await browser.get(page.url)) if json.loads(asked.text)["elsewhere"] else page


def asks(page: Page) -> bool:
    return 'action="/login/password"' in page.text


def sign_ins(whole: Whole) -> int:
    """How often a person was asked; a sign-in that the provider remembers is none."""
    found = [event for event in whole.events("signin.succeeded") if event.source.door == "idp"]
    return len([event for event in found if event.detail["how"] != "session"])


def assert_few_cookies(browser: Browser) -> None:
    for host, jar in browser.cookies.items():
        assert len(jar) <= 5, (host, jar)
        assert sum(len(name) + len(value) for name, value in jar.items()) < 1024


async def come_back(whole: Whole, browser: Browser, pages: list[Page], first: int, status: int) -> None:
    """Sign in once, in one tab; all others must come to their own page without being asked."""
    assert all(asks(page) for page in pages)
    back = await browser.credentials(pages[first])
    end = await browser.follow(back)
    assert (end.url, end.status) == (browser.url("ehr", path_of(first)), status)
    assert sign_ins(whole) == 1
    others = [tab for tab in range(TABS) if tab != first]
    random.Random(first).shuffle(others)  # noqa: S311  an order, not a secret
    half = len(others) // 2
    ends = {tab: await look(browser, pages[tab]) for tab in others[:half]}  # one after the other
    ends |= dict(zip(others[half:], await asyncio.gather(*(look(browser, pages[tab]) for tab in others[half:])), strict=True))
    for tab, page in ends.items():
        assert (page.url, page.status) == (browser.url("ehr", path_of(tab)), status), page.text[:400]
    assert sign_ins(whole) == 1
    assert_few_cookies(browser)


@pytest.mark.parametrize("first", [0, 17, TABS - 1])
async def test_after_the_session_has_run_out(whole: Whole, first: int) -> None:
    browser = whole.browser()
    await browser.enter()
    whole.clock.advance(901)
    whole.records.clear()
    whole.hits.clear()
    before = {host: set(jar) for host, jar in browser.cookies.items()}
    pages = await restore(browser)
    whole.clock.advance(5)
    await come_back(whole, browser, pages, first, 200)
    assert sorted(whole.hits) == sorted(path_of(tab) for tab in range(TABS))
    assert {host: set(jar) - {"gw-lang"} for host, jar in browser.cookies.items() if host != "id.localhost"} == {
        host: (names | {ARRIVALS_COOKIE} if host == "ehr.localhost" else names) - {"gw-lang"}
        for host, names in before.items()
        if host != "id.localhost"
    }


async def test_in_a_browser_that_has_none_of_our_cookies_yet(whole: Whole) -> None:
    """Each tab is given a cookie of its own then, and the browser keeps the last."""
    browser = whole.browser()
    pages = await restore(browser)
    # The pages find out by themselves that they belong to a cookie that is gone, and begin anew.
    pages = [await look(browser, page) for page in pages]
    whole.clock.advance(5)
    await come_back(whole, browser, pages, 11, 403)  # 403: this device is not registered
    assert set(browser.cookies["ehr.localhost"]) == {SESSION_COOKIE, BINDING_COOKIE, ARRIVALS_COOKIE}


async def test_a_tab_that_was_opened_in_the_very_second_of_the_sign_in(whole: Whole) -> None:
    """A password manager fills the first tab in while the browser still opens the others."""
    browser = whole.browser()
    await browser.open("ehr", path_of(0))
    whole.clock.advance(5)
    # The clock stands still: the sign-in and the opening of these are of one second.
    pages = [await browser.open("ehr", path_of(tab)) for tab in range(3)]
    end = await browser.follow(await browser.credentials(pages[0]))
    assert end.url == browser.url("ehr", path_of(0))
    whole.clock.advance(3)
    for tab in (1, 2):
        assert (await look(browser, pages[tab])).url == browser.url("ehr", path_of(tab))
    assert sign_ins(whole) == 1


async def test_a_tab_that_was_left_on_the_way_goes_on_from_where_it_is(whole: Whole) -> None:
    browser = whole.browser()
    steps = ("/.gateway/sign-in", "/.gateway/go", "/authorize", "id.localhost")
    left = [await browser.open("ehr", path_of(tab), until=until) for tab, until in enumerate(steps)]
    whole.clock.advance(5)
    await browser.sign_in("ehr", path_of(99))
    for tab, page in enumerate(left):
        end = await browser.follow(page)
        assert (end.url, end.status) == (browser.url("ehr", path_of(tab)), 403), end.text[:400]
    assert sign_ins(whole) == 1


async def test_tabs_that_were_left_for_a_night_come_back_to_their_own_page(whole: Whole) -> None:
    """A sign-in page that nobody used begins anew by itself, before it runs out."""
    browser = whole.browser()
    pages = [await browser.open("ehr", path_of(tab)) for tab in range(3)]
    for _ in range(20):
        whole.clock.advance(1770)
        pages = [await browser.follow(await browser.get(urljoin(page.url, refresh(page)))) for page in pages]
        assert all(asks(page) for page in pages)
    whole.clock.advance(5)
    end = await browser.follow(await browser.credentials(pages[1]))
    assert end.url == browser.url("ehr", path_of(1))
    for tab in (0, 2):
        assert (await look(browser, pages[tab])).url == browser.url("ehr", path_of(tab))
    assert_few_cookies(browser)


async def test_a_page_that_was_open_for_long_is_good_until_it_begins_anew(whole: Whole) -> None:
    browser = whole.browser()
    page = await browser.open("ehr", path_of(0))
    whole.clock.advance(1700)
    assert (await browser.follow(await browser.credentials(page))).url == browser.url("ehr", path_of(0))


def refresh(page: Page) -> str:
    found = re.search(r'http-equiv="refresh" content="(\d+);url=([^"]+)"', page.text)
    assert found
    assert 60 <= int(found[1]) <= 1770
    return html.unescape(found[2])


async def test_scripts_and_streams_of_all_tabs_are_told_not_sent_away(whole: Whole) -> None:
    browser = whole.browser()
    for more in ({"Sec_Fetch_Mode": "cors", "Accept": "*/*"}, {"Sec_Fetch_Mode": "same-origin", "Accept": "text/event-stream"}):
        page = await browser.get(browser.url("ehr", "/patients"), **more, Referer=browser.url("ehr", path_of(3)))
        assert page.status == 401
        assert json.loads(page.text)["sign_in"] == "/.gateway/sign-in?rd=%2Fpatients%3Ftab%3D3"


# ---- browsers that keep nothing


class Forgetful(Browser):
    """Keeps no cookie of some names at the application's host; `*` for any."""

    def __init__(self, whole: Whole, *names: str) -> None:
        super().__init__(whole)
        self.names = names

    async def request(self, method: str, url: str, data: object = None, **headers: str) -> Page:
        page = await super().request(method, url, data, **headers)
        jar = self.cookies.get("ehr.localhost", {})
        for name in list(jar):
            if name in self.names or "*" in self.names:
                del jar[name]
        return page


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_browser_without_cookies_is_told_so(whole: Whole, language: str) -> None:
    browser = Forgetful(whole, "*")
    page = await browser.sign_in("ehr", f"/patients?lang={language}")
    assert page.status == 400
    assert "Cookie" in page.text or "cookies" in page.text
    assert whole.events("handoff.refused")


async def test_a_browser_that_does_not_keep_its_session_is_stopped(whole: Whole) -> None:
    browser = Forgetful(whole, SESSION_COOKIE)
    page = await browser.sign_in("ehr", "/patients")  # `follow` fails after twenty redirects
    assert page.status == 400
    assert page.url.startswith(browser.url("ehr", "/.gateway/sign-in"))
    assert sign_ins(whole) == 1
    assert whole.events("page.refused")[-1].detail == {"why": "flow.loop"}
    # Once it does keep it, it is let in at once.
    browser.names = ()
    assert (await browser.open("ehr", "/patients")).url == browser.url("ehr", "/patients")


async def test_a_provider_that_never_asks_is_not_asked_for_ever(whole: Whole) -> None:
    browser = whole.browser()
    page = await browser.open("ehr", "/patients")
    for attempt in range(8):
        if asks(page):
            # The provider's own cookie is lost each time: it sends the browser back without an answer.
            browser.cookies["id.localhost"]["__Host-idp-browser"] = f"{attempt}" * 43
            page = await browser.follow(await browser.get(page.url))
    assert page.status == 400
    assert whole.events("page.refused")[-1].detail == {"why": "flow.loop"}

"""People who break the glass at a whole gateway (`tests/support/whole.py`)."""

import asyncio
import html
import re
import weakref
from urllib.parse import urljoin

from gateway.domain.identity import Emergency
from gateway.emergency.ledger import Ledger
from gateway.lasting.sqlite import SqliteLasting
from tests.support.whole import Browser, Page, Whole

CHART = "/patients/P1001"
FORM = "/.gateway/emergency"
_settled: weakref.WeakKeyDictionary[Whole, float] = weakref.WeakKeyDictionary()
TYPED = {"reason": "critical", "text": "意識のない患者さんの既往歴を確認するため", "patient": "P1001"}


def offered(page: Page) -> str:
    """The address of break-glass on a denial page."""
    found = re.search(r'href="(/\.gateway/remedy\?step=break_glass[^"]*)"', page.text)
    assert found, f"no break-glass on {page.url} ({page.status}):\n{page.text[:3000]}"
    return urljoin(page.url, html.unescape(found[1]))


async def settle(whole: Whole) -> None:
    """Let what follows the database by the real clock look again, if the tests' clock was moved since."""
    if whole.clock.now() != _settled.get(whole):
        await asyncio.sleep(0.7)
        _settled[whole] = whole.clock.now()


async def ready(browser: Browser, login: str = "dr.sato", path: str = CHART) -> Page:
    """Sign in on a registered device, without a proofing; return the denial."""
    await browser.register_device(await browser.sign_in("ehr", path, login=login))
    await settle(browser.whole)
    return await browser.open("ehr", path)


async def confirmed(browser: Browser, page: Page, login: str = "dr.sato") -> Page:
    """From a denial to the form: through a fresh second factor."""
    page = await browser.follow(await browser.get(offered(page)))
    await settle(browser.whole)
    if "/login/password" in page.text:
        page = await browser.follow(await browser.credentials(page, login))
    elif "/login/code" in page.text:
        page = await browser.follow(await browser.submit(page, "/login/code", code=await browser.code()))
    return page


async def broken(browser: Browser, login: str = "dr.sato", path: str = CHART) -> Page:
    """Everything until the page that was wanted."""
    page = await confirmed(browser, await ready(browser, login, path), login)
    return await browser.follow(await browser.submit(page, FORM, **TYPED))


async def emergencies(whole: Whole) -> list[Emergency]:
    """Those in force in any session."""
    now = whole.clock.now()
    sessions = await whole.gateway.sessions.list(now)
    return [one.emergency for one in sessions if one.emergency is not None and one.emergency.until > now]


def ledger_of(whole: Whole) -> Ledger:
    """The ledger, as another process sees it."""
    return Ledger(SqliteLasting(whole.folder / "policies.sqlite3"))

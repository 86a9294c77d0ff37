"""Authelia 9dc3eb6d9 and the like: a code is good once, in one place, also when two ask at the same instant."""

import asyncio
import re

import pytest

from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite, Reply


async def at_code(browser: Browser) -> Reply:
    return await browser.submit(await browser.authorize(), "/login/password", login="dr.sato", password=PASSWORD)


async def test_the_same_code_in_many_browsers_at_once_opens_one(site: IdpSite, open_browser: OpenBrowser) -> None:
    browsers = [await open_browser() for _ in range(4)]
    pages = [await at_code(browser) for browser in browsers]
    code = site.code()
    replies = await asyncio.gather(
        *(browser.submit(page, "/login/code", code=code) for browser, page in zip(browsers, pages, strict=True))
    )
    assert sorted(reply.status for reply in replies) == [303, 403, 403, 403]
    assert site.events.names().count("signin.succeeded") == 1


@pytest.mark.parametrize("later", [0, 30])
async def test_a_used_code_is_not_good_again(site: IdpSite, browser: Browser, open_browser: OpenBrowser, later: int) -> None:
    code = site.code()
    await browser.submit(await at_code(browser), "/login/code", code=code)
    site.later(later)
    other = await open_browser()
    reply = await other.submit(await at_code(other), "/login/code", code=code)
    assert reply.status == 403
    assert "すでに使われています" in reply.text


async def test_an_older_code_than_the_used_one_is_not_good(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    older, newer = site.code(), site.code(1)
    await browser.submit(await at_code(browser), "/login/code", code=newer)
    other = await open_browser()
    assert (await other.submit(await at_code(other), "/login/code", code=older)).status == 403


async def test_the_code_that_confirmed_an_app_does_not_sign_in(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    await browser.sign_in()
    enrol = await browser.submit(await browser.get("/account"), "/account/totp")
    secret = "".join(re.findall(r'<p class="mono">([A-Z2-7 ]+)</p>', enrol.text)).replace(" ", "")
    code = site.code_of(secret)
    assert (await browser.submit(enrol, "/account/totp/confirm", code=code)).url.endswith("?saved")
    other = await open_browser()
    assert (await other.submit(await at_code(other), "/login/code", code=code)).status == 403
    site.later(30)
    assert (await other.submit(await at_code(other), "/login/code", code=site.code_of(secret))).status == 303


async def test_an_enrolment_is_of_one_session_and_once(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    await browser.sign_in()
    enrol = await browser.submit(await browser.get("/account"), "/account/totp")
    secret = "".join(re.findall(r'<p class="mono">([A-Z2-7 ]+)</p>', enrol.text)).replace(" ", "")
    site.later(30)
    other = await open_browser()
    await other.sign_in()
    own = (await other.get("/account")).form("/account/totp")["csrf"]
    stolen = enrol.form("/account/totp/confirm") | {"csrf": own, "code": site.code_of(secret)}
    assert (await other.post("/account/totp/confirm", stolen)).status == 410
    assert (await browser.submit(enrol, "/account/totp/confirm", code=site.code_of(secret))).url.endswith("?saved")
    assert (await browser.submit(enrol, "/account/totp/confirm", code=site.code_of(secret, 1))).status == 410


async def test_a_recovery_code_at_two_places_at_once_opens_one(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    await browser.sign_in()
    shown = await browser.submit(await browser.get("/account"), "/account/recovery")
    code = re.findall(r"<li>([0-9A-Z-]{19})</li>", shown.text)[0]
    browsers = [await open_browser() for _ in range(3)]
    pages = [await at_code(other) for other in browsers]
    replies = await asyncio.gather(
        *(other.submit(page, "/login/code", code=code) for other, page in zip(browsers, pages, strict=True))
    )
    assert sorted(reply.status for reply in replies) == [303, 403, 403]
    late = await open_browser()
    assert (await late.submit(await at_code(late), "/login/code", code=code)).status == 403
    assert "残り9個" in (await browser.get("/account")).text


async def test_new_recovery_codes_end_the_old_ones(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    await browser.sign_in()
    page = await browser.get("/account")
    old = re.findall(r"<li>([0-9A-Z-]{19})</li>", (await browser.submit(page, "/account/recovery")).text)
    new = re.findall(r"<li>([0-9A-Z-]{19})</li>", (await browser.submit(page, "/account/recovery")).text)
    assert not set(old) & set(new)
    other = await open_browser()
    page = await other.submit(await at_code(other), "/login/code", code=old[0])
    assert page.status == 403
    assert (await other.submit(page, "/login/code", code=new[0])).status == 303

"""CVE-2025-64102, CVE-2025-64103 (ZITADEL), GHSA-qgqp-xh8r-v73r (authentik): codes can't be guessed by who knows the password."""

from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite, Reply


async def at_code(browser: Browser) -> Reply:
    return await browser.submit(await browser.authorize(), "/login/password", login="dr.sato", password=PASSWORD)


async def test_guesses_are_few_and_the_password_in_between_does_not_help(site: IdpSite, open_browser: OpenBrowser) -> None:
    guesses = 0
    for _ in range(12):
        browser = await open_browser()
        page = await at_code(browser)
        if page.status == 429:
            break
        page = await browser.submit(page, "/login/code", code="000000")
        if page.status == 429:
            break
        assert page.status == 403
        guesses += 1
    assert guesses <= 5
    assert "signin.locked" in site.events.names()


async def test_a_locked_account_takes_the_right_code_no_more(site: IdpSite, browser: Browser) -> None:
    page = await at_code(browser)
    for _ in range(5):
        page = await browser.submit(page, "/login/code", code="000000")
    page = await browser.submit(page, "/login/code", code=site.code())
    assert page.status == 429


async def test_recovery_codes_count_on_the_same_counter(site: IdpSite, browser: Browser) -> None:
    page = await at_code(browser)
    for code in ("0000-0000-0000-0000", "000000", "1111-1111-1111-1111", "111111", "2222222222222222"):
        page = await browser.submit(page, "/login/code", code=code)
        assert page.status == 403
    assert (await browser.submit(page, "/login/code", code="000000")).status == 429


async def test_the_account_pages_confirmation_counts_there_too(site: IdpSite, browser: Browser) -> None:
    await browser.sign_in()
    site.later(400)
    page = await browser.get("/account")
    for _ in range(5):
        page = await browser.submit(page, "/account/confirm/code", code="000000")
        assert page.status == 403
    page = await browser.submit(page, "/account/confirm/code", code=site.code())
    assert page.status == 429
    assert "/account/totp" not in page.actions


async def test_a_whole_sign_in_clears_the_failures(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    for _ in range(4):
        page = await browser.submit(page, "/login/password", login="dr.sato", password="wrong-4821")
    page = await browser.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    await browser.submit(page, "/login/code", code=site.code())
    site.later(30)
    page = await browser.authorize(prompt="login")
    page = await browser.submit(page, "/login/start-over")
    for _ in range(4):
        page = await browser.submit(page, "/login/password", login="dr.sato", password="wrong-4821")
        assert page.status == 403

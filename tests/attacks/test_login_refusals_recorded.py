"""What the sign-in pages turn away is in the log before the browser reads so, and nothing secret with it."""

import pytest

from gateway.kernel.errors import AuditError
from idp.model import Event
from tests.support.authenticator import SoftKey
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite


def only_new(site: IdpSite, before: int) -> Event:
    (event,) = site.events.all[before:]
    assert (event.name, event.outcome, event.address) == ("signin.failed", "failure", "192.0.2.1")
    return event


@pytest.mark.parametrize("path", ["/login", "/login?tx=", "/login?tx=tx_nobody", "/login?tx=a&tx=b", "/login?tx=%00%0d%0a"])
async def test_an_unknown_sign_in(site: IdpSite, browser: Browser, path: str) -> None:
    assert (await browser.get(path)).status == 410
    assert only_new(site, 0).detail == {"reason": "transaction_unknown", "at": "/login"}


async def test_a_sign_in_of_another_browser(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    page = await browser.authorize()
    thief = await open_browser()
    await thief.authorize()
    before = len(site.events.all)
    assert (await thief.get(page.url)).status == 303  # in its first minute it may be another tab's: back to the client
    assert only_new(site, before).detail == {"client": "gateway", "reason": "other_browser"}
    site.later(61)
    before = len(site.events.all)
    assert (await thief.get(page.url)).status == 410
    assert only_new(site, before).detail == {"reason": "transaction_unknown", "at": "/login"}
    before = len(site.events.all)
    assert (await thief.post("/login/password", page.form("/login/password") | {"password": PASSWORD})).status == 410
    assert only_new(site, before).detail == {"reason": "transaction_unknown", "at": "/login/password"}


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "CSRF-of-somebody-else"])
@pytest.mark.parametrize("path", ["/login/password", "/login/code", "/login/key", "/login/cancel", "/login/proofing/answer"])
async def test_a_forged_or_missing_form_token(site: IdpSite, browser: Browser, csrf: str | None, path: str) -> None:
    page = await browser.authorize()
    fields = {"tx": page.form("/login/password")["tx"], "login": "dr.sato", "password": PASSWORD, "code": "123456"}
    before = len(site.events.all)
    assert (await browser.post(path, fields if csrf is None else fields | {"csrf": csrf})).status == 403
    assert only_new(site, before).detail == {"reason": "form_token", "at": path}


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ("https://evil.test", "https://evil.test"),
        ("https://user:hunter2@evil.test:8443/path?code=s3cret#x", "https://evil.test:8443"),
        ("https://evil.test/\u202ex".encode().decode("latin-1"), "https://evil.test"),
        ("https://" + "e" * 500, "https://" + "e" * 120 + "…"),
        ("null", None),
        ("http://[no-address", None),
    ],
)
async def test_another_sites_form(site: IdpSite, browser: Browser, origin: str, told: str | None) -> None:
    page = await browser.authorize()
    before = len(site.events.all)
    fields = page.form("/login/password") | {"login": "dr.sato", "password": PASSWORD}
    assert (await browser.post("/login/password", fields, {"Origin": origin})).status == 403
    expected = {"reason": "cross_site", "at": "/login/password"}
    assert only_new(site, before).detail == (expected if told is None else expected | {"origin": told})


async def test_a_body_that_is_no_form(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    before = len(site.events.all)
    assert (await browser.post("/login/password", page.form("/login/password"), {"Content-Type": "text/plain"})).status == 400
    assert only_new(site, before).detail == {"reason": "malformed", "at": "/login/password"}


async def test_the_account_page_without_a_session_and_with_a_forged_form(site: IdpSite, browser: Browser) -> None:
    assert (await browser.post("/account/recovery", {"csrf": "0" * 64})).status == 403
    assert only_new(site, 0).detail == {"reason": "not_completed", "at": "/account/recovery"}
    await browser.sign_in()
    await browser.get("/account")
    before = len(site.events.all)
    assert (await browser.post("/account/recovery", {"csrf": "0" * 64})).status == 403
    assert only_new(site, before).detail == {"reason": "form_token", "at": "/account/recovery"}


async def test_a_key_that_can_not_be_registered(site: IdpSite, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/account")
    before = len(site.events.all)
    assert (await browser.register(page, SoftKey(), "/account/keys", origin="https://evil.test")).status == 403
    event = only_new(site, before)
    assert (event.login, event.detail) == ("dr.sato", {"factor": "fido2", "reason": "origin"})


async def test_what_can_not_be_recorded_is_not_answered(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    site.events.fail = AuditError("the disk is full")
    forged = page.form("/login/password") | {"csrf": "0" * 64}
    for reply in (
        await browser.get("/login?tx=tx_nobody"),
        await browser.post("/login/password", forged),
        await browser.post("/login/password", forged, {"Origin": "https://evil.test"}),
        await browser.post("/account/recovery", {"csrf": "0" * 64}),
    ):
        assert reply.status == 503
        assert "サインインできません" in reply.text


async def test_nothing_secret_is_told(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    form = page.form("/login/password")
    await browser.post("/login/password", form | {"csrf": "forged", "login": "dr.sato", "password": PASSWORD})
    await browser.get("/login?tx=tx_secret-of-somebody")
    told = repr(site.events.all)
    for secret in (PASSWORD, form["csrf"], form["tx"], "forged", "tx_secret-of-somebody", "state-of-the-test"):
        assert secret not in told

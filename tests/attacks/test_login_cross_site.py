"""Sign-in pages against other sites and other browsers: forged forms, login CSRF, others' transactions (CVE-2025-52553)."""

import pytest

from idp.web.cookies import BROWSER_COOKIE
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": ""},
        {"Origin": "ISSUER.evil.test"},
        {"Origin": "PORTAL"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_a_form_from_another_place_is_refused(site: IdpSite, browser: Browser, headers: dict[str, str | None]) -> None:
    page = await browser.authorize()
    sent = {
        name: value.replace("ISSUER", site.issuer).replace("PORTAL", site.portal) if value is not None else None
        for name, value in headers.items()
    }
    fields = page.form("/login/password") | {"login": "dr.sato", "password": PASSWORD}
    reply = await browser.post("/login/password", fields, sent)
    assert reply.status == 403
    refused = site.events.all[-1]
    assert (refused.name, refused.outcome, refused.login, refused.address) == ("signin.failed", "failure", "", "192.0.2.1")
    assert refused.detail.items() >= {"reason": "cross_site", "at": "/login/password"}.items()
    assert site.events.names().count("signin.failed") == 1  # and the password was not looked at
    assert (await browser.post("/login/password", fields)).actions[0] == "/login/code"


@pytest.mark.parametrize("token", ["", "0" * 64, None])
async def test_a_form_without_this_flows_token_is_refused(browser: Browser, token: str | None) -> None:
    page = await browser.authorize()
    fields = page.form("/login/password") | {"login": "dr.sato", "password": PASSWORD}
    if token is None:
        fields["csrf"] = (await browser.authorize()).form("/login/password")["csrf"]  # of another flow of this browser
    else:
        fields["csrf"] = token
    assert (await browser.post("/login/password", fields)).status == 403


async def test_a_transaction_is_of_no_use_in_another_browser(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    page = await browser.authorize()
    thief = await open_browser()
    await thief.authorize()
    sent_away = await thief.get(page.url)  # it could be the thief's own, of another tab: the client may ask anew
    assert (sent_away.status, "error=interaction_required" in sent_away.location) == (303, True)
    assert "code=" not in sent_away.location
    fields = page.form("/login/password") | {"login": "nurse.suzuki", "password": PASSWORD}
    assert (await thief.post("/login/password", fields)).status == 410
    assert (await thief.post("/login/cancel", fields)).status == 410
    assert (await browser.get(page.url)).status == 200


async def test_an_attackers_half_done_sign_in_can_not_be_planted(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    attacker = await open_browser()
    page = await attacker.submit(await attacker.authorize(), "/login/password", login="nurse.suzuki", password=PASSWORD)
    victim = browser
    await victim.authorize()
    seen = await victim.get(page.url)
    assert (seen.status, "error=interaction_required" in seen.location) == (303, True)
    assert "鈴木" not in seen.text
    assert (await victim.post("/login/code", page.form("/login/code") | {"code": site.code()})).status == 410


async def test_a_browser_without_the_binding_is_refused(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    assert browser.cookie(BROWSER_COOKIE)
    browser.session.cookie_jar.clear()
    assert (await browser.get(page.url)).status == 410


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x"])
async def test_only_a_plain_form_is_read(browser: Browser, kind: str) -> None:
    page = await browser.authorize()
    reply = await browser.post("/login/password", page.form("/login/password"), {"Content-Type": kind})
    assert reply.status == 400


async def test_duplicate_fields_are_refused(browser: Browser) -> None:
    page = await browser.authorize()
    fields = [*page.form("/login/password").items(), ("login", "dr.sato"), ("password", PASSWORD)]
    for name in ("tx", "csrf", "login", "password"):
        assert (await browser.post("/login/password", [*fields, (name, "x")])).status == 400
    tx = page.form("/login/password")["tx"]
    assert (await browser.get(f"/login?tx={tx}&tx={tx}")).status == 410


async def test_an_endless_form_is_refused(browser: Browser) -> None:
    page = await browser.authorize()
    fields = page.form("/login/password") | {"login": "dr.sato", "password": "x" * 70_000}
    assert (await browser.post("/login/password", fields)).status == 400


async def test_the_account_page_takes_no_forged_form(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    await browser.sign_in()
    page = await browser.get("/account")
    fields = page.form("/account/recovery")
    assert (await browser.post("/account/recovery", fields, {"Origin": "https://evil.test"})).status == 403
    assert (await browser.post("/account/recovery", {"csrf": "0" * 64})).status == 403
    other = await open_browser()
    site.later(30)
    await other.sign_in("nurse.suzuki")
    assert (await other.post("/account/recovery", fields)).status == 403
    assert "factor.registered" not in site.events.names()
    assert (await browser.post("/account/recovery", fields)).status == 200

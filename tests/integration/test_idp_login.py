"""The whole sign-in over HTTP, without a browser's help: pages, forms, cookies, code, token."""

import re
from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.kernel.secret import Secret
from idp.factors.password import HashParameters, Passwords
from idp.model import PasswordCredential
from idp.web.cookies import BROWSER_COOKIE, SESSION_COOKIE
from tests.support.authenticator import SoftKey
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite

PROOFED = "urn:zt-gateway:acr:proofed"


async def test_password_and_code_end_in_a_token(site: IdpSite, browser: Browser) -> None:
    redirect = await browser.sign_in()
    assert redirect.status == 303
    assert redirect.location.startswith(f"{site.callback}?code=")
    claims = await browser.tokens(redirect)
    assert claims["preferred_username"] == "dr.sato"
    assert claims["acr"] == "urn:zt-gateway:acr:mfa"
    assert {event["kind"] for event in claims["auth_events"]} == {"pwd", "otp"}
    assert site.events.names() == ["signin.started", "signin.succeeded"]


async def test_the_second_sign_in_from_the_same_browser_asks_nothing(browser: Browser) -> None:
    first = await browser.tokens(await browser.sign_in())
    again = await browser.authorize()
    assert again.status == 303
    assert (await browser.tokens(again))["sub"] == first["sub"]


async def test_a_step_up_registers_a_key_then_touches_it_then_only_touches(site: IdpSite, browser: Browser) -> None:
    signed_in = await browser.tokens(await browser.sign_in())
    site.later(60)
    page = await browser.step_up(signed_in["_id_token"])
    assert page.actions[0] == "/login/code"
    page = await browser.submit(page, "/login/code", code=site.code())
    key = SoftKey()
    page = await browser.register(page, key)
    assert "data-auto" in page.text
    redirect = await browser.touch(page, key)
    claims = await browser.tokens(redirect)
    assert claims["acr"] == "phr"
    assert claims["sub"] == signed_in["sub"]
    assert {event["kind"]: event["phishing_resistant"] for event in claims["auth_events"]}["fido2"] is True
    site.later(600)
    page = await browser.step_up(signed_in["_id_token"])
    assert page.actions == ["/login/key", "/login/lost-key", "/login/cancel"]
    claims = await browser.tokens(await browser.touch(page, key))
    assert claims["auth_time"] == int(site.clock.now())
    assert site.events.names().count("stepup.succeeded") == 2
    assert site.events.last("factor.registered").detail["kind"] == "fido2"


async def test_a_key_alone_signs_in_without_a_name(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = await enrolled(site, browser)
    another_terminal = await open_browser()
    page = await another_terminal.authorize()
    claims = await another_terminal.tokens(await another_terminal.touch(page, key))
    assert claims["preferred_username"] == "dr.sato"
    assert claims["amr"] == ["pop", "user", "mfa"]


async def test_a_lost_key_is_replaced_with_a_recovery_code(site: IdpSite, browser: Browser) -> None:
    await enrolled(site, browser)
    page = await browser.get("/account")
    shown = await browser.submit(page, "/account/recovery")
    codes = re.findall(r"<li>([0-9A-Z-]{19})</li>", shown.text)
    assert len(codes) == 10
    token = (await browser.tokens(await browser.authorize()))["_id_token"]
    page = await browser.step_up(token)
    page = await browser.submit(page, "/login/lost-key")
    assert page.actions[:2] == ["/login/code", "/login/found-key"]
    page = await browser.submit(page, "/login/code", code=codes[3].lower())
    new_key = SoftKey(b"the-new-key")
    page = await browser.register(page, new_key)
    assert (await browser.touch(page, new_key)).location.startswith(f"{site.callback}?code=")


async def test_a_recovery_code_signs_in_instead_of_the_app(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    await browser.sign_in()
    shown = await browser.submit(await browser.get("/account"), "/account/recovery")
    code = re.findall(r"<li>([0-9A-Z-]{19})</li>", shown.text)[0]
    other = await open_browser()
    page = await other.submit(await other.authorize(), "/login/password", login="dr.sato", password=PASSWORD)
    claims = await other.tokens(await other.submit(page, "/login/code", code=code))
    assert {event["kind"] for event in claims["auth_events"]} == {"pwd", "recovery"}


async def test_proofing_is_done_once_and_named_in_the_token(site: IdpSite, browser: Browser) -> None:
    page = await browser.sign_in(acr_values=PROOFED)
    assert "模擬の本人確認です" in page.text
    page = await browser.submit(page, "/login/proofing")
    page = await browser.submit(page, "/login/proofing/answer", outcome="success")
    assert "本人確認ができました" in page.text
    link = re.search(r'href="(/login\?tx=[^"]+)"', page.text)
    assert link is not None
    claims = await browser.tokens(await browser.get(link[1]))
    assert claims["acr"] == PROOFED
    assert claims["proofing"]["level"] == 3
    assert claims["proofing"]["method"] == "simulated"
    assert claims["proofing"]["verified_at"] == int(site.clock.now())
    assert "person_digest" not in claims["proofing"]
    again = await browser.authorize(acr_values=PROOFED)
    assert (await browser.tokens(again))["proofing"] == claims["proofing"]
    told = [name for name in site.events.names() if name.startswith("proofing") and name != "proofing.added"]  # told by and by
    assert told == ["proofing.started", "proofing.succeeded", "proofing.bound", "proofing.bound"]


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        ("wrong_person", 403, "ご本人のカードではありません"),
        ("expired", 403, "カードの有効期限が切れています"),
        ("down", 503, "カードやご本人に問題があるわけではありません"),
    ],
)
async def test_a_proofing_that_fails_says_what_to_do(browser: Browser, outcome: str, status: int, text: str) -> None:
    page = await browser.sign_in(acr_values=PROOFED)
    page = await browser.submit(page, "/login/proofing")
    page = await browser.submit(page, "/login/proofing/answer", outcome=outcome)
    assert page.status == status
    assert text in page.text
    cancelled = await browser.submit(page, "/login/cancel")
    assert dict(parse_qsl(urlsplit(cancelled.location).query))["error"] == "unmet_authentication_requirements"


async def test_cancelling_goes_back_to_the_client_with_an_error(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    page = await browser.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    redirect = await browser.submit(page, "/login/cancel")
    assert dict(parse_qsl(urlsplit(redirect.location).query)) == {
        "error": "access_denied", "state": "state-of-the-test", "iss": site.issuer,
    }  # fmt: skip


async def test_somebody_else_can_take_over_the_form(browser: Browser) -> None:
    page = await browser.submit(await browser.authorize(), "/login/password", login="dr.sato", password=PASSWORD)
    page = await browser.submit(page, "/login/start-over")
    assert page.actions[0] == "/login/password"
    assert "佐藤" not in page.text


async def test_a_lock_says_how_long_and_leaves_the_key_usable(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = await enrolled(site, browser)
    other = await open_browser()
    page = await other.authorize()
    for _ in range(5):
        page = await other.submit(page, "/login/password", login="dr.sato", password="wrong-4821")
        assert page.status == 403
    page = await other.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    assert page.status == 429
    assert page.headers["Retry-After"] == "30"
    assert "30秒ほど待って" in page.text
    for _ in range(5):
        site.later(2000)
        page = await other.submit(await other.authorize(), "/login/password", login="dr.sato", password="wrong-4821")
    page = await other.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    assert page.status == 429
    assert "30分ほどで自動的に解除" in page.text
    assert site.events.last("signin.locked").detail == {"scope": "account"}
    assert (await other.touch(page, key)).location.startswith(site.callback)
    site.later(1800)
    third = await open_browser()
    assert (await third.sign_in()).location.startswith(site.callback)


async def test_pages_speak_the_language_that_was_chosen_last(browser: Browser, open_browser: OpenBrowser) -> None:
    page = await browser.authorize(ui_locales="en")
    assert '<html lang="en">' in page.text
    page = await browser.get(f"{page.url}&lang=ja")
    assert '<html lang="ja">' in page.text
    page = await browser.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    assert '<html lang="ja">' in page.text
    other = await open_browser(language="en-GB,en;q=0.9,ja;q=0.5")
    assert '<html lang="en">' in (await other.authorize()).text


async def test_every_page_is_locked_down_and_never_stored(browser: Browser) -> None:
    pages = [await browser.authorize()]
    pages.append(await browser.submit(pages[0], "/login/password", login="dr.sato", password="wrong-4821"))
    pages.append(await browser.submit(pages[0], "/login/password", login="dr.sato", password=PASSWORD))
    pages.append(await browser.get("/login?tx=unknown"))
    for page in pages:
        assert page.headers["Cache-Control"] == "no-store"
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|javascript:", page.text)
        assert PASSWORD not in page.text


async def test_nothing_but_the_language_and_two_session_cookies_stays_in_the_browser(browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.authorize()
    assert page.status == 303
    names = {cookie.key for cookie in browser.session.cookie_jar}
    assert names == {BROWSER_COOKIE, SESSION_COOKIE}
    assert all(not cookie["expires"] and not cookie["max-age"] for cookie in browser.session.cookie_jar)
    assert all(cookie["httponly"] and cookie["secure"] and cookie["samesite"] == "Lax" for cookie in browser.session.cookie_jar)


async def test_the_static_files_are_served_with_their_type(browser: Browser) -> None:
    page = await browser.authorize()
    for address, kind in (("base.css", "text/css"), ("idp.css", "text/css"), ("webauthn.js", "text/javascript")):
        found = re.search(rf'"(/static/{re.escape(address)}\?v=[0-9a-f]{{12}})"', page.text)
        assert found is not None
        reply = await browser.get(found[1])
        assert reply.status == 200
        assert reply.headers["Content-Type"] == f"{kind}; charset=utf-8"
    for wrong in ("/static/none.css", "/static/..%2fpages.py", "/static/ja.toml"):
        assert (await browser.get(wrong)).status == 404


async def test_a_password_stored_with_other_parameters_is_stored_anew(site: IdpSite, browser: Browser) -> None:
    user = await site.store.users.by_login("dr.sato")
    assert user is not None
    older = Passwords(bytes(16), HashParameters(time_cost=2, memory_kib=512, parallelism=1)).hash(Secret(PASSWORD), bytes(16))
    await site.store.credentials.set_password(PasswordCredential(user_id=user.id, encoded=older, changed_at=7))
    assert (await browser.sign_in()).location.startswith(site.callback)
    stored = await site.store.credentials.password(user.id)
    assert stored is not None
    assert "$m=1024,t=1,p=1$" in stored.encoded
    assert stored.changed_at == 7
    site.later(30)
    other = await browser.submit(await browser.authorize(prompt="login"), "/login/password", password=PASSWORD)
    assert other.actions[0] == "/login/code"


async def test_an_unknown_address_gets_a_page(browser: Browser) -> None:
    page = await browser.get("/nothing/here")
    assert page.status == 404
    assert "ページが見つかりません" in page.text


async def test_a_form_left_open_is_begun_anew_before_it_runs_out(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    found = re.search(r'<meta http-equiv="refresh" content="(\d+);url=([^"]+)">', page.text)
    assert found is not None
    assert int(found[1]) < 1800
    site.later(int(found[1]))
    renewed = await browser.get(found[2])
    assert (renewed.status, renewed.location.startswith(f"{site.callback}?error=interaction_required&")) == (303, True)
    assert (await browser.get(page.url)).status == 410

    # In the middle of a sign-in nothing is taken away.
    half = await browser.submit(await browser.authorize(), "/login/password", login="dr.sato", password=PASSWORD)
    tx = half.form("/login/code")["tx"]
    assert (await browser.get(f"/login/renew?tx={tx}")).actions[0] == "/login/code"


async def test_looking_with_head_ends_nothing(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    async with browser.session.head(page.url, headers=browser.headers) as reply:
        assert reply.status == 405
    async with browser.session.head(f"{site.issuer}/account", headers=browser.headers) as reply:
        assert reply.status == 405


async def test_a_hint_fills_in_the_name(browser: Browser) -> None:
    page = await browser.authorize(login_hint="dr.sato")
    assert page.form("/login/password")["login"] == "dr.sato"


async def test_the_account_page_signs_in_first_and_comes_back(site: IdpSite, browser: Browser) -> None:
    page = await browser.get("/account")
    assert page.actions[0] == "/login/password"
    page = await browser.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    page = await browser.submit(page, "/login/code", code=site.code())
    assert page.status == 200
    assert "サインイン方法の管理" in page.text
    cancelled = await browser.submit(await browser.authorize(prompt="login"), "/login/cancel")
    assert "error=access_denied" in cancelled.location


async def test_the_account_page_changes_factors_after_a_fresh_one(site: IdpSite, browser: Browser) -> None:
    await browser.sign_in()
    key = SoftKey()
    page = await browser.register(await browser.get("/account"), key, "/account/keys")
    assert "名札のキー" in page.text
    assert "/account/keys/remove" not in page.actions  # now a key is asked for, not the code of before
    page = await browser.touch(page, key, "/account/confirm/key")
    assert "/account/keys/remove" in page.actions
    enrol = await browser.submit(page, "/account/totp")
    secret = "".join(re.findall(r'<p class="mono">([A-Z2-7 ]+)</p>', enrol.text)).replace(" ", "")
    wrong = await browser.submit(enrol, "/account/totp/confirm", code="000000")
    assert wrong.status == 403
    assert "番号が正しくありません" in wrong.text
    page = await browser.submit(wrong, "/account/totp/confirm", code=site.code_of(secret))
    assert page.url.endswith("/account?saved")
    page = await browser.submit(page, "/account/keys/remove", key=page.form("/account/keys/remove")["key"])
    assert "まだ登録されていません" in page.text
    assert [event.detail["kind"] for event in site.events.all if event.name.startswith("factor")] == ["fido2", "otp", "fido2"]
    site.later(301)
    page = await browser.get("/account")
    assert "/account/keys" not in page.actions
    assert "/account/confirm/code" in page.actions


async def enrolled(site: IdpSite, browser: Browser) -> SoftKey:
    """Sign Dr. Sato in and register a key on the account page."""
    await browser.sign_in()
    key = SoftKey()
    page = await browser.register(await browser.get("/account"), key, "/account/keys")
    assert "名札のキー" in page.text
    page = await browser.touch(page, key, "/account/confirm/key")
    assert "/account/recovery" in page.actions
    return key

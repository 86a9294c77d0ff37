"""CVE-2026-33525 (Authelia), CVE-2026-42849 (authentik): nothing of a request comes back as markup."""

import pytest

from tests.support.idp_site import PASSWORD, Browser, IdpSite

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


async def test_the_name_as_typed_is_text(browser: Browser) -> None:
    page = await browser.submit(await browser.authorize(), "/login/password", login=EVIL, password="wrong-4821")
    assert page.status == 403
    assert "<script>alert" not in page.text
    assert "onerror=alert(1)>" not in page.text.replace("&gt;", "")
    assert "&lt;script&gt;" in page.text


async def test_state_and_query_are_not_in_the_page(browser: Browser) -> None:
    page = await browser.authorize(state="<script>state", nonce="<script>nonce", login_hint="<script>hint")
    assert "<script>state" not in page.text
    assert "nonce" not in page.text
    assert "<script>hint" not in page.text
    page = await browser.get(f"{page.url}&x=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&lang=%3Cscript%3E")
    assert page.status == 200
    assert "<script>alert" not in page.text


async def test_a_persons_name_is_text_and_hides_nothing(site: IdpSite, browser: Browser) -> None:
    await site.person("evil", "<b>太郎</b>\u202e\u200b")
    page = await browser.submit(await browser.authorize(), "/login/password", login="evil", password=PASSWORD)
    assert "<b>" not in page.text
    assert "\u202e" not in page.text
    assert "&lt;b&gt;太郎" in page.text


@pytest.mark.parametrize("label", ["", " ", "x" * 41, "a\u202eb", "a\x00b", "\u200b"])
async def test_a_keys_name_is_checked(site: IdpSite, browser: Browser, label: str) -> None:
    await browser.sign_in()
    page = await browser.get("/account")
    reply = await browser.submit(page, "/account/keys", label=label, ceremony="x", response="{}")
    assert reply.status == 400
    assert "1〜40文字" in reply.text


async def test_unknown_addresses_are_not_reflected(browser: Browser) -> None:
    page = await browser.get("/static/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert page.status == 404
    assert "alert(1)" not in page.text

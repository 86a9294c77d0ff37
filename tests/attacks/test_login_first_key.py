"""Who is asked for a key and has none is told why a code is asked for, and what it leads to; nobody else is."""

import pytest

from tests.support.authenticator import SoftKey
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import IdpSite

NONE = {"ja": "まだ登録されていません", "en": "no passkey or security key registered yet"}
ONCE = {"ja": "登録が必要なのは今回だけです", "en": "needed only this once"}


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_the_first_step_up_says_what_comes(site: IdpSite, open_browser: OpenBrowser, language: str) -> None:
    browser = await open_browser(language=language)
    page = await browser.sign_in()
    token = (await browser.tokens(page))["_id_token"]
    site.later(30)
    code = await browser.step_up(token)
    register = await browser.submit(code, "/login/code", code=site.code())
    assert register.actions[0] == "/login/register"
    for seen in (code, register):
        assert NONE[language] in seen.text
        assert ONCE[language] in seen.text
        assert seen.text.count('aria-current="step"') == 1
    wrong = await browser.submit(await browser.step_up(token), "/login/code", code="000000")
    assert NONE[language] in wrong.text  # still said when the code was wrong


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_who_has_a_key_or_needs_none_is_told_nothing_of_it(site: IdpSite, open_browser: OpenBrowser, language: str) -> None:
    browser = await open_browser(language=language)
    page = await browser.authorize()
    code = await browser.submit(page, "/login/password", login="dr.sato", password="kawasemi-4821-hotaru")
    assert NONE[language] not in code.text
    token = (await browser.tokens(await browser.submit(code, "/login/code", code=site.code())))["_id_token"]
    await browser.register(await browser.get("/account"), SoftKey(), "/account/keys")
    touch = await browser.step_up(token)
    assert touch.actions[0] == "/login/key"
    assert NONE[language] not in touch.text

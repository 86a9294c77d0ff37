"""Somebody else ends a person's session, or a session outlives its end (CVE-2024-21492, RP-Initiated Logout §6)."""

from idp.web.cookies import SESSION_COOKIE
from tests.support.oidc import SIGNED_OUT, World


async def test_a_link_without_hint_only_asks(oidc: World) -> None:
    browser = oidc.browser()
    await oidc.sign_in(browser, await oidc.person())
    asked = await browser.get("/end-session")
    assert (asked.status, asked.body[:8]) == (200, "confirm=")
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 1
    done = await browser.send("POST", "/end-session/confirm", form=[("token", asked.body[8:])])
    assert done.body == "signed-out"
    assert await oidc.parts.store.sessions.list(oidc.now) == []


async def test_a_hint_of_another_session_only_asks_and_then_goes_where_it_may(oidc: World) -> None:
    user, browser, elsewhere = await oidc.person(), oidc.browser(), oidc.browser()
    hint = (await oidc.tokens(elsewhere, user))["id_token"]
    await oidc.sign_in(browser, user)
    asked = await browser.get("/end-session", [("id_token_hint", hint), ("post_logout_redirect_uri", SIGNED_OUT)])
    assert asked.body.startswith("confirm=")
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 2
    done = await browser.send("POST", "/end-session/confirm", form=[("token", asked.body[8:])])
    assert (done.status, done.location) == (303, SIGNED_OUT)
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 1


async def test_a_confirmation_of_another_browser_ends_nothing(oidc: World) -> None:
    user, victim, attacker = await oidc.person(), oidc.browser(), oidc.browser()
    await oidc.sign_in(victim, user)
    await oidc.sign_in(attacker, await oidc.person("clerk.tanaka"))
    asked = await attacker.get("/end-session")
    reply = await victim.send("POST", "/end-session/confirm", form=[("token", asked.body[8:])])
    assert reply.body == "problem=sign_out_malformed"
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 2


async def test_a_confirmation_works_once_and_not_by_guessing(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.sign_in(browser, user)
    for token in ("", "x" * 43, "tx"):
        assert (await browser.send("POST", "/end-session/confirm", form=[("token", token)])).status == 400
    asked = await browser.get("/end-session")
    await browser.send("POST", "/end-session/confirm", form=[("token", asked.body[8:])])
    await oidc.sign_in(browser, user)
    assert (await browser.send("POST", "/end-session/confirm", form=[("token", asked.body[8:])])).status == 400
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 1


async def test_a_get_confirms_nothing(oidc: World) -> None:
    browser = oidc.browser()
    await oidc.sign_in(browser, await oidc.person())
    asked = await browser.get("/end-session")
    assert (await browser.get("/end-session/confirm", [("token", asked.body[8:])])).status == 405
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 1


async def test_after_sign_out_the_old_cookie_is_worthless(oidc: World) -> None:
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, await oidc.person())
    kept = dict(browser.cookies)
    await browser.get("/end-session", [("id_token_hint", tokens["id_token"])])
    assert SESSION_COOKIE not in browser.cookies
    browser.cookies = kept
    assert (await browser.get("/authorize", oidc.ask().pairs)).location.startswith("/login?tx=")

"""Something that a sign-in needs is broken: nothing is issued, nothing is skipped, and the answer says that it is us."""

import pytest

from gateway.kernel.errors import AuditError
from idp.web.cookies import BROWSER_COOKIE, SESSION_COOKIE
from tests.support.oidc import World, transaction_of


async def test_no_log_no_code(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    reply = await browser.get("/authorize", oidc.ask().pairs)
    await oidc.prove(browser, reply.location, user, "fido2")
    oidc.events.broken = True
    with pytest.raises(AuditError):
        await oidc.parts.flows.complete(transaction_of(reply.location), browser.cookies[BROWSER_COOKIE], "", "")
    assert await oidc.parts.store.sessions.list(oidc.now) == []


async def test_no_log_no_silent_sign_in_no_start_and_no_sign_out(oidc: World) -> None:
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, await oidc.person())
    oidc.events.broken = True
    for who in (browser, oidc.browser()):
        reply = await who.get("/authorize", oidc.ask().pairs)
        assert (reply.status, reply.location, reply.body) == (503, "", "problem=unavailable")
    out = await browser.get("/end-session", [("id_token_hint", tokens["id_token"])])
    assert (out.status, out.body) == (503, "problem=unavailable")
    assert SESSION_COOKIE in browser.cookies


async def test_no_log_no_refusal_without_a_trace(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    oidc.events.broken = True
    reply = await oidc.redeem(ask, code, code_verifier="w" * 43)
    assert (reply.status, reply.json()["error"]) == (503, "temporarily_unavailable")


async def test_no_store_no_answer(oidc: World) -> None:
    browser = oidc.browser()
    ask, code = await oidc.sign_in(browser, await oidc.person())
    tokens = (await oidc.redeem(ask, code)).json()
    await oidc.provider.close()
    assert (await browser.get("/authorize", oidc.ask().pairs)).status == 503
    assert (await oidc.redeem(ask, code)).status == 503
    assert (await oidc.userinfo(tokens["access_token"])).status == 503
    assert (await browser.get("/end-session", [("id_token_hint", tokens["id_token"])])).status == 503
    assert (await browser.send("POST", "/end-session/confirm", form=[("token", "x" * 43)])).status == 503

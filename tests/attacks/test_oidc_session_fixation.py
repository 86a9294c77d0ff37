"""The browser's session is planted, kept over a sign-in, or swapped under one (mod_auth_openidc 2026, ZITADEL CVE-2024-28197)."""

import pytest

from gateway.kernel.errors import ProtocolError
from idp.login import start_over
from idp.model import User
from idp.web.cookies import BROWSER_COOKIE, SESSION_COOKIE
from tests.support.oidc import Browser, Reply, World, transaction_of


async def lives(oidc: World, token: str) -> bool:
    return await oidc.parts.store.sessions.resolve(token, oidc.now) is not None


async def sign_in_as_somebody_else(oidc: World, browser: Browser, user: User) -> Reply:
    """What the page does when the person says "I am not who was here before"."""
    reply = await browser.get("/authorize", oidc.ask(prompt="login").pairs)
    await oidc.parts.flows.update(transaction_of(reply.location), browser.cookies[BROWSER_COOKIE], start_over)
    await oidc.prove(browser, reply.location, user, "pwd", "otp")
    return await oidc.finish(browser, reply.location)


async def test_a_planted_unknown_token_is_never_adopted(oidc: World) -> None:
    browser = oidc.browser()
    browser.cookies[SESSION_COOKIE] = "p" * 43
    await oidc.sign_in(browser, await oidc.person())
    assert browser.cookies[SESSION_COOKIE] != "p" * 43
    assert not await lives(oidc, "p" * 43)
    assert await lives(oidc, browser.cookies[SESSION_COOKIE])


async def test_a_planted_session_of_the_attacker_ends_when_the_victim_signs_in(oidc: World) -> None:
    attacker, victim = await oidc.person("clerk.tanaka"), await oidc.person("dr.sato")
    theirs = oidc.browser()
    await oidc.sign_in(theirs, attacker)
    planted = theirs.cookies[SESSION_COOKIE]
    browser = oidc.browser()
    browser.cookies[SESSION_COOKIE] = planted
    done = await sign_in_as_somebody_else(oidc, browser, victim)
    assert "code" in done.answer
    assert not await lives(oidc, planted)
    session = await oidc.parts.store.sessions.resolve(browser.cookies[SESSION_COOKIE], oidc.now)
    assert session is not None
    assert session.user_id == victim.id
    assert [found.user_id for found in await oidc.parts.store.sessions.list(oidc.now)] == [victim.id]
    assert "session.revoked" in oidc.events.names()


async def test_every_proof_changes_the_token_and_kills_the_one_before(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.sign_in(browser, user)
    seen = [browser.cookies[SESSION_COOKIE]]
    for _ in range(3):
        oidc.clock.advance(10)
        await oidc.sign_in(browser, user, "fido2", ask=oidc.ask(acr_values="phr", max_age="0"))
        seen.append(browser.cookies[SESSION_COOKIE])
    assert len(set(seen)) == len(seen)
    assert [await lives(oidc, token) for token in seen] == [False, False, False, True]


async def test_a_session_swapped_during_a_step_up_lends_it_nothing(oidc: World) -> None:
    """The sign-in began on Dr. Sato's session; by its end the browser shows another session, or none."""
    user = await oidc.person()
    await oidc.proofed(user)
    for swap in ("none", "own_new"):
        browser = oidc.browser()
        await oidc.sign_in(browser, user)
        before = oidc.parts.flows
        reply = await browser.get("/authorize", oidc.ask(acr_values="phr").pairs)
        binding, transaction = browser.cookies[BROWSER_COOKIE], transaction_of(reply.location)
        other = oidc.browser()
        await oidc.sign_in(other, user)
        token = "" if swap == "none" else other.cookies[SESSION_COOKIE]
        with pytest.raises(ProtocolError):
            await before.complete(transaction, binding, token, "192.0.2.1")
        assert await before.load(transaction, binding) is not None


async def test_a_truncated_or_extended_token_is_no_token(oidc: World) -> None:
    browser = oidc.browser()
    await oidc.sign_in(browser, await oidc.person())
    token = browser.cookies[SESSION_COOKIE]
    for wrong in (token[:-1], token + "A", token.lower(), token.swapcase(), token + "=", "", "*", "%"):
        stranger = oidc.browser()
        stranger.cookies[SESSION_COOKIE] = wrong
        reply = await stranger.get("/authorize", oidc.ask().pairs)
        assert reply.location.startswith("/login?tx="), wrong


async def test_idle_and_old_sessions_sign_nobody_in(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.sign_in(browser, user)
    oidc.clock.advance(899)
    assert "code" in (await browser.get("/authorize", oidc.ask().pairs)).answer
    oidc.clock.advance(900)
    assert (await browser.get("/authorize", oidc.ask().pairs)).location.startswith("/login?tx=")
    await oidc.sign_in(browser, user)
    for _ in range(60):
        oidc.clock.advance(719)
        await browser.get("/authorize", oidc.ask().pairs)
    assert "code" in (await browser.get("/authorize", oidc.ask().pairs)).answer
    oidc.clock.advance(60)
    assert (await browser.get("/authorize", oidc.ask().pairs)).location.startswith("/login?tx=")

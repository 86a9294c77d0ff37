"""A sign-in in progress, seen in a URL, goes on in another browser (CVE-2025-52553, skipper GHSA-7g9f-57qp-jhgx)."""

import asyncio

import pytest

from gateway.kernel.errors import ProtocolError
from idp.web.cookies import BROWSER_COOKIE, SESSION_COOKIE
from tests.support.oidc import World, transaction_of


async def test_another_browser_sees_no_transaction(oidc: World) -> None:
    victim, thief = oidc.browser(), oidc.browser()
    reply = await victim.get("/authorize", oidc.ask().pairs)
    await thief.get("/authorize", oidc.ask().pairs)
    assert (await victim.get(reply.location)).status == 200
    assert (await thief.get(reply.location)).status == 410
    assert (await oidc.browser().get(reply.location)).status == 410


@pytest.mark.parametrize("binding", ["", "x", "b" * 43, "%"])
async def test_no_binding_but_the_own_one_opens_it(oidc: World, binding: str) -> None:
    user, browser = await oidc.person(), oidc.browser()
    reply = await browser.get("/authorize", oidc.ask().pairs)
    await oidc.prove(browser, reply.location, user, "pwd", "otp")
    flows, transaction = oidc.parts.flows, transaction_of(reply.location)
    for wrong in (binding, browser.cookies[BROWSER_COOKIE][:-1]):
        assert await flows.load(transaction, wrong) is None
        assert await flows.update(transaction, wrong, lambda old: old) is None
        assert await flows.complete(transaction, wrong, "", "192.0.2.1") is None
        assert await flows.cancel(transaction, wrong, "access_denied", "192.0.2.1") is None
    assert (await oidc.finish(browser, reply.location)).status == 303


async def test_the_victim_can_not_be_signed_in_as_the_attacker(oidc: World) -> None:
    attacker = await oidc.person("clerk.tanaka")
    theirs, victim = oidc.browser(), oidc.browser()
    reply = await theirs.get("/authorize", oidc.ask().pairs)
    await oidc.prove(theirs, reply.location, attacker, "pwd", "otp")
    assert (await oidc.finish(victim, reply.location)).status == 410
    assert SESSION_COOKIE not in victim.cookies


async def test_a_finished_sign_in_is_finished(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    reply = await browser.get("/authorize", oidc.ask().pairs)
    await oidc.prove(browser, reply.location, user, "pwd", "otp")
    replies = await asyncio.gather(*(oidc.finish(browser, reply.location) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [303] + [410] * 7
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 1


async def test_a_sign_in_that_takes_too_long_is_over(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    reply = await browser.get("/authorize", oidc.ask().pairs)
    await oidc.prove(browser, reply.location, user, "pwd", "otp")
    oidc.clock.advance(1800)
    assert (await oidc.finish(browser, reply.location)).status == 410


async def test_nothing_proved_gives_nothing(oidc: World) -> None:
    """Empty steps (authentik CVE-2026-49443): whatever is posted, only proofs count."""
    user, browser = await oidc.person(), oidc.browser()
    for kinds in ((), ("pwd",), ("otp",), ("recovery",), ("otp", "recovery")):
        reply = await browser.get("/authorize", oidc.ask().pairs)
        await oidc.prove(browser, reply.location, user, *kinds)
        with pytest.raises(ProtocolError, match="not complete: mfa"):
            await oidc.parts.flows.complete(transaction_of(reply.location), browser.cookies[BROWSER_COOKIE], "", "")
    assert await oidc.parts.store.sessions.list(oidc.now) == []

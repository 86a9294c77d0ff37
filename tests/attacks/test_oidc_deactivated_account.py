"""A deactivated account goes on getting tokens (authentik CVE-2025-64521, -53942), or old claims are told (CVE-2021-41230)."""

import msgspec
import pytest

from gateway.kernel.errors import AuditError, ProtocolError
from idp.model import Event
from idp.web.cookies import BROWSER_COOKIE
from tests.support.oidc import World, transaction_of


async def test_code_from_before_gives_nothing(oidc: World) -> None:
    user = await oidc.person()
    ask, code = await oidc.sign_in(oidc.browser(), user)
    assert await oidc.provider.deactivate_user(user.id, by="sec.yamamoto")
    assert (await oidc.redeem(ask, code)).json()["error"] == "invalid_grant"


async def test_access_token_and_session_from_before_are_dead_and_stay_so(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    tokens = await oidc.tokens(browser, user)
    await oidc.provider.deactivate_user(user.id, by="sec.yamamoto")
    told = oidc.events.seen[-1]
    assert (told.name, told.subject, told.by) == ("account.deactivated", user.id, "sec.yamamoto")
    assert (await oidc.userinfo(tokens["access_token"])).status == 401
    assert (await browser.get("/authorize", oidc.ask().pairs)).location.startswith("/login?tx=")
    await oidc.provider.activate_user(user.id, by="sec.yamamoto")
    assert (await oidc.userinfo(tokens["access_token"])).status == 401
    assert (await browser.get("/authorize", oidc.ask().pairs)).location.startswith("/login?tx=")


async def test_sign_in_in_progress_can_not_be_completed(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    reply = await browser.get("/authorize", oidc.ask().pairs)
    await oidc.prove(browser, reply.location, user, "fido2")
    await oidc.provider.deactivate_user(user.id, by="sec.yamamoto")
    with pytest.raises(ProtocolError, match="deactivated"):
        await oidc.parts.flows.complete(transaction_of(reply.location), browser.cookies[BROWSER_COOKIE], "", "")


async def test_deactivating_nobody_says_so(oidc: World) -> None:
    assert not await oidc.provider.deactivate_user("usr_nobody", by="sec.yamamoto")
    assert oidc.events.seen == []


async def test_a_broken_log_keeps_nobody_in(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    tokens = await oidc.tokens(browser, user)
    oidc.events.broken = True
    with pytest.raises(AuditError):
        await oidc.provider.deactivate_user(user.id, by="sec.yamamoto")
    assert (await oidc.userinfo(tokens["access_token"])).status == 503  # the refusal can't be recorded either
    oidc.events.broken = False
    assert (await oidc.userinfo(tokens["access_token"])).status == 401


async def test_whoever_hears_of_a_deactivation_finds_it_done(oidc: World, monkeypatch: pytest.MonkeyPatch) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.sign_in(browser, user)
    answers: list[str] = []

    async def try_again(event: Event) -> None:
        answers.append((await browser.get("/authorize", oidc.ask(prompt="none").pairs)).answer["error"])

    monkeypatch.setattr(oidc.events, "record", try_again)
    await oidc.provider.deactivate_user(user.id, by="sec.yamamoto")
    assert answers == ["login_required"]


async def test_claims_are_those_of_the_moment_the_token_is_made(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.proofed(user, expires_in=30)
    ask, code = await oidc.sign_in(browser, user)
    await oidc.parts.store.users.update(user.id, lambda old: msgspec.structs.replace(old, roles=("clerk",), name="佐藤 次郎"))
    oidc.clock.advance(30)
    tokens = (await oidc.redeem(ask, code)).json()
    claims = await oidc.verified(tokens)
    assert (claims["roles"], claims["name"]) == (["clerk"], "佐藤 次郎")
    assert "proofing" not in claims
    await oidc.parts.store.users.update(user.id, lambda old: msgspec.structs.replace(old, roles=()))
    assert (await oidc.userinfo(tokens["access_token"])).json()["roles"] == []

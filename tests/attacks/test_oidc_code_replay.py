"""A code is used twice, late, by another client, or by nobody in particular (RFC 6749 §4.1.2, §10.5; ZITADEL CVE-2026-55672)."""

import asyncio

import pytest

from gateway.kernel.secret import Secret, hash_token
from idp.model import AccessGrant, CodeGrant
from tests.support.oidc import CALLBACK, OTHER_CALLBACK, OTHER_SECRET, World


async def test_second_use_is_refused_and_takes_back_what_the_first_gave(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    tokens = (await oidc.redeem(ask, code)).json()
    assert (await oidc.userinfo(tokens["access_token"])).status == 200
    again = await oidc.redeem(ask, code)
    assert (again.status, again.json()["error"]) == (400, "invalid_grant")
    assert oidc.events.seen[-1].detail == {"reason": "token_code_reused", "at": "/token", "client": "gateway"}
    assert (await oidc.userinfo(tokens["access_token"])).status == 401


async def test_parallel_uses_leave_no_token_alive(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    replies = await asyncio.gather(*(oidc.redeem(ask, code) for _ in range(12)))
    good = [reply.json() for reply in replies if reply.status == 200]
    assert len(good) <= 1
    assert {reply.json()["error"] for reply in replies if reply.status != 200} == {"invalid_grant"}
    for tokens in good:
        assert (await oidc.userinfo(tokens["access_token"])).status == 401


async def test_reuse_between_redeeming_and_storing_the_token_still_kills_it(oidc: World) -> None:
    user = await oidc.person()
    _, code = await oidc.sign_in(oidc.browser(), user)
    grants = oidc.provider.store.grants

    given = await grants.redeem(hash_token(code), "gateway", oidc.now)
    assert isinstance(given, CodeGrant)
    assert await grants.redeem(hash_token(code), "gateway", oidc.now) == "reused"
    access = AccessGrant(
        issuer="i", audience="a", client_id="gateway", user_id=user.id, session_id=given.session_id, scope="openid",
        issued_at=oidc.now, expires_at=oidc.now + 300,
    )  # fmt: skip
    assert not await grants.put_access("h" * 64, hash_token(code), access, oidc.now)


async def test_expired_code_gives_nothing(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    oidc.clock.advance(60)
    assert (await oidc.redeem(ask, code)).json()["error"] == "invalid_grant"


async def test_another_client_can_neither_use_nor_spoil_a_code(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    for redirect_uri in (CALLBACK, OTHER_CALLBACK):
        stolen = await oidc.redeem(ask, code, client="other", secret=OTHER_SECRET, redirect_uri=redirect_uri)
        assert stolen.json()["error"] == "invalid_grant"
    assert (await oidc.redeem(ask, code)).status == 200


async def test_whoever_has_no_client_secret_can_neither_use_nor_spoil_a_code(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    for secret in ("", "x" * 43, OTHER_SECRET.reveal()):
        reply = await oidc.redeem(ask, code, secret=Secret(secret))
        assert (reply.status, reply.json()["error"]) == (401, "invalid_client")
        assert reply.headers["WWW-Authenticate"].startswith("Basic ")
    assert (await oidc.redeem(ask, code)).status == 200


@pytest.mark.parametrize("redirect_uri", [CALLBACK + "/", CALLBACK + "?", OTHER_CALLBACK, CALLBACK.upper()])
async def test_code_is_bound_to_its_redirect_uri(oidc: World, redirect_uri: str) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    assert (await oidc.redeem(ask, code, redirect_uri=redirect_uri)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("cut", [1, 10, 42])
async def test_truncated_code_gives_nothing_and_spoils_nothing(oidc: World, cut: int) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    assert (await oidc.redeem(ask, code[:-cut])).json()["error"] == "invalid_grant"
    assert (await oidc.redeem(ask, code)).status == 200


async def test_signing_out_between_code_and_token_leaves_no_token(oidc: World) -> None:
    browser = oidc.browser()
    ask, code = await oidc.sign_in(browser, await oidc.person())
    (session,) = await oidc.parts.store.sessions.list(oidc.now)
    await oidc.parts.store.sessions.revoke(session.id)
    assert (await oidc.redeem(ask, code)).json()["error"] == "invalid_grant"

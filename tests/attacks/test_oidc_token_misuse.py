"""A token used where it was not meant (mod_auth_openidc GHSA-wcvh-g65p-v576), cut short (ZITADEL CVE-2026-27840), or in a URL."""

import msgspec
import pytest

from gateway.kernel.secret import hash_token
from tests.support.oidc import World


async def test_only_the_access_token_opens_userinfo(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    tokens = (await oidc.redeem(ask, code)).json()
    access = tokens["access_token"]
    for wrong in (
        tokens["id_token"], code, access[:-1], access + "A", access.swapcase(), "", "a" * 43, hash_token(access),
    ):  # fmt: skip
        reply = await oidc.userinfo(wrong)
        assert reply.status == 401, wrong
        assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]
    assert (await oidc.userinfo(access)).status == 200


async def test_token_in_query_or_form_is_not_read(oidc: World) -> None:
    tokens = await oidc.tokens(oidc.browser(), await oidc.person())
    pairs = [("access_token", tokens["access_token"])]
    for reply in (
        await oidc.browser().get("/userinfo", pairs), await oidc.browser().send("POST", "/userinfo", form=pairs),
    ):  # fmt: skip
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, 'Bearer realm="userinfo"')


async def test_expired_access_token_opens_nothing(oidc: World) -> None:
    tokens = await oidc.tokens(oidc.browser(), await oidc.person())
    oidc.clock.advance(300)
    assert (await oidc.userinfo(tokens["access_token"])).status == 401


@pytest.mark.parametrize("field", ["audience", "issuer"])
async def test_token_for_another_resource_or_from_another_issuer_is_refused(oidc: World, field: str) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    tokens = (await oidc.redeem(ask, code)).json()
    grants = oidc.provider.store.grants
    genuine = await grants.access(hash_token(tokens["access_token"]), oidc.now)
    assert genuine is not None
    for value, status in ((getattr(genuine, field), 200), ("http://elsewhere.test", 401)):
        stored = msgspec.structs.replace(genuine, **{field: value})
        token = field[0] * 42 + str(status)[0]
        assert await grants.put_access(hash_token(token), hash_token(code), stored, oidc.now)
        assert (await oidc.userinfo(token)).status == status


async def test_two_authorization_headers_are_refused(oidc: World) -> None:
    tokens = await oidc.tokens(oidc.browser(), await oidc.person())
    header = ("Authorization", f"Bearer {tokens['access_token']}")
    async with oidc.http.get(oidc.base + "/userinfo", headers=[header, header]) as reply:
        assert reply.status == 401


async def test_ending_the_session_ends_its_tokens(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    tokens = await oidc.tokens(browser, user)
    assert await oidc.parts.store.sessions.revoke_user(user.id) == 1
    assert (await oidc.userinfo(tokens["access_token"])).status == 401

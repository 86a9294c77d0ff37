"""Redirect URIs that look like the registered one (Authlib 1.8, CVE-2026-41569, CVE-2021-21291 and kin): never a redirect."""

import pytest

from tests.support.oidc import CALLBACK, OTHER_CALLBACK, SIGNED_OUT, World

NEAR = [
    "", CALLBACK + "/", CALLBACK + "?", CALLBACK + "?x=1", CALLBACK + "#", CALLBACK + "/../x", CALLBACK + "%2f",
    CALLBACK + ".evil",
    CALLBACK.upper(), CALLBACK.replace("portal", "PORTAL"), " " + CALLBACK, CALLBACK + " ", CALLBACK + "\n", CALLBACK + "\x00",
    CALLBACK.replace("http:", "https:"), CALLBACK.replace("//portal", "//portal.localhost:8080@evil.test"),
    "http://localhost:80@attacker.test/cb", "http://[not-an-ip]/", "//portal.localhost:8080/.gateway/callback",
    "/.gateway/callback", "/\\evil.test", "javascript:alert(1)", "http://portal.localhost:8080.evil.test/.gateway/callback",
    "http://portal.localhost.:8080/.gateway/callback", 'http://evil.test/"\\', OTHER_CALLBACK,
    "http://ｐortal.localhost:8080/.gateway/callback", "http://evil.test/<script>",
]  # fmt: skip


@pytest.mark.parametrize("redirect_uri", NEAR, ids=repr)
async def test_authorize_shows_a_page_instead(oidc: World, redirect_uri: str) -> None:
    reply = await oidc.browser().get("/authorize", oidc.ask(redirect_uri=redirect_uri).pairs)
    assert (reply.status, reply.location, reply.body) == (400, "", "problem=redirect_uri_unknown")


async def test_authorize_without_redirect_uri_does_not_fall_back_to_the_only_registered_one(oidc: World) -> None:
    reply = await oidc.browser().get("/authorize", oidc.ask(redirect_uri=None).pairs)
    assert (reply.status, reply.location) == (400, "")


@pytest.mark.parametrize("client_id", [None, "", "nobody", "Gateway", "gateway ", "gateway\x00", "' OR 1=1 --", "<script>"])
async def test_unknown_client_never_redirects(oidc: World, client_id: str | None) -> None:
    reply = await oidc.browser().get("/authorize", oidc.ask(client_id=client_id).pairs)
    assert (reply.status, reply.location, reply.body) == (400, "", "problem=client_unknown")


async def test_another_clients_redirect_uri_is_not_ones_own(oidc: World) -> None:
    reply = await oidc.browser().get("/authorize", oidc.ask(client_id="other").pairs)
    assert (reply.status, reply.location) == (400, "")


@pytest.mark.parametrize(
    "uri", [SIGNED_OUT + "/", "http://evil.test/", "//evil.test", CALLBACK, SIGNED_OUT + "#x", SIGNED_OUT.upper()]
)
async def test_sign_out_redirects_nowhere_but_to_the_registered_place(oidc: World, uri: str) -> None:
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, await oidc.person())
    reply = await browser.get("/end-session", [("id_token_hint", tokens["id_token"]), ("post_logout_redirect_uri", uri)])
    assert (reply.status, reply.location) == (400, "")
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 1


async def test_sign_out_without_hint_redirects_nowhere(oidc: World) -> None:
    for browser in (oidc.browser(), oidc.browser()):
        reply = await browser.get("/end-session", [("post_logout_redirect_uri", SIGNED_OUT), ("client_id", "gateway")])
        assert (reply.status, reply.location) == (200, "")


async def test_state_is_carried_as_text_and_can_not_break_out(oidc: World) -> None:
    state = 'a&code=evil#x"><script>%0d%0aSet-Cookie: a=b'
    reply = await oidc.browser().get("/authorize", oidc.ask(state=state, prompt="none").pairs)
    assert reply.answer["state"] == state
    assert "code" not in reply.answer
    assert "Set-Cookie" not in reply.headers


@pytest.mark.parametrize("state", ["x" * 513, "a\r\nLocation: http://evil.test", "ａ", "a\x7f"])
async def test_unusable_state_is_refused_and_not_echoed(oidc: World, state: str) -> None:
    reply = await oidc.browser().get("/authorize", oidc.ask(state=state).pairs)
    assert reply.answer["error"] == "invalid_request"
    assert "state" not in reply.answer

"""The same parameter twice: some parser takes the first, another the last (mod_auth_openidc change log; RFC 6749 §3.1, §3.2)."""

import pytest

from tests.support.oidc import CALLBACK, SECRET, World, basic


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
async def test_authorize_does_not_redirect_when_the_place_is_ambiguous(oidc: World, name: str) -> None:
    ask = oidc.ask()
    for value in (dict(ask.pairs)[name], "http://evil.test/"):
        reply = await oidc.browser().get("/authorize", [*ask.pairs, (name, value)])
        assert (reply.status, reply.location, reply.body) == (400, "", "problem=request_malformed")


@pytest.mark.parametrize(
    "name",
    ["response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "acr_values", "max_age", "prompt",
     "id_token_hint", "ui_locales", "unheard_of"],
)  # fmt: skip
async def test_authorize_refuses_any_other_duplicate(oidc: World, name: str) -> None:
    ask = oidc.ask()
    value = dict(ask.pairs).get(name, "1")
    once = ask.pairs if name in dict(ask.pairs) else [*ask.pairs, (name, value)]
    reply = await oidc.browser().get("/authorize", [*once, (name, value)])
    assert reply.location.startswith(CALLBACK + "?")
    assert reply.answer["error"] == "invalid_request"
    assert reply.answer.get("state") == (None if name == "state" else ask.state)


@pytest.mark.parametrize("name", ["grant_type", "code", "redirect_uri", "code_verifier", "client_id", "unheard_of"])
async def test_token_refuses_duplicates_and_keeps_the_code(oidc: World, name: str) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", ask.verifier)]
    once = form if name in dict(form) else [*form, (name, "gateway")]
    doubled = [*once, (name, dict(once)[name])]
    reply = await oidc.browser().send("POST", "/token", form=doubled, headers=basic("gateway", SECRET))
    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
    assert (await oidc.redeem(ask, code)).status == 200


@pytest.mark.parametrize("name", ["id_token_hint", "post_logout_redirect_uri", "state", "client_id"])
async def test_sign_out_refuses_duplicates(oidc: World, name: str) -> None:
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, await oidc.person())
    pairs = [("id_token_hint", tokens["id_token"]), (name, "x"), (name, "y")]
    assert (await browser.get("/end-session", pairs)).status == 400
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 1


async def test_parameters_in_both_query_and_form_are_refused(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", ask.verifier)]
    reply = await oidc.browser().send("POST", "/token", query=[("code", code)], form=form, headers=basic("gateway", SECRET))
    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
    mixed = await oidc.browser().send("POST", "/authorize", query=[("state", "x")], form=oidc.ask().pairs)
    assert (mixed.status, mixed.location) == (400, "")

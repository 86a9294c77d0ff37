"""What the protocol endpoints turn away is in the log before the caller reads so, and nothing secret with it."""

import pytest

from gateway.kernel.secret import Secret
from idp.model import Event
from tests.support.oidc import CALLBACK, OTHER_SECRET, SECRET, SIGNED_OUT, Browser, Pairs, Reply, World, basic

EVIL = "https://user:hunter2@evil.test:8443/cb?code=s3cret#frag"
CUT = "https://evil.test:8443"


def only_new(oidc: World, before: int = 0) -> Event:
    (event,) = oidc.events.seen[before:]
    assert (event.name, event.outcome, event.address) == ("signin.failed", "failure", "127.0.0.1")
    return event


def changed(pairs: Pairs, *more: tuple[str, str], **changes: str) -> Pairs:
    return [(name, changes.get(name, value)) for name, value in pairs] + list(more)


@pytest.mark.parametrize(
    ("changes", "more", "detail"),
    [
        ({"redirect_uri": EVIL}, (), {"reason": "redirect_uri_unknown", "client": "gateway", "origin": CUT}),
        ({"redirect_uri": "javascript:alert(1)"}, (), {"reason": "redirect_uri_unknown", "client": "gateway"}),
        ({"redirect_uri": "http://[x"}, (), {"reason": "redirect_uri_unknown", "client": "gateway"}),
        ({"client_id": "nobody"}, (), {"reason": "client_unknown", "client": "nobody", "origin": "http://portal.localhost:8080"}),
        ({"client_id": "x" * 500}, (), {
            "reason": "client_unknown", "client": "x" * 64 + "…", "origin": "http://portal.localhost:8080",
        }),
        ({"client_id": "a\nb\u202e"}, (), {
            "reason": "client_unknown", "client": r"a\u{a}b\u{202e}", "origin": "http://portal.localhost:8080",
        }),
        ({}, (("client_id", "gateway"),), {"reason": "request_malformed", "origin": "http://portal.localhost:8080"}),
        ({}, (("redirect_uri", EVIL),), {"reason": "request_malformed", "client": "gateway"}),
        ({}, (("scope", "openid"),), {"reason": "request_refused", "client": "gateway", "error": "invalid_request"}),
        ({"code_challenge_method": "plain"}, (), {"reason": "request_refused", "client": "gateway", "error": "invalid_request"}),
        ({"response_type": "token"}, (), {
            "reason": "request_refused", "client": "gateway", "error": "unsupported_response_type",
        }),
        ({"state": "s" * 513}, (), {"reason": "request_refused", "client": "gateway", "error": "invalid_request"}),
        ({}, (("id_token_hint", "e30.e30.x"),), {"reason": "request_refused", "client": "gateway", "error": "invalid_request"}),
    ],
)  # fmt: skip
async def test_authorize(oidc: World, changes: dict[str, str], more: tuple[tuple[str, str], ...], detail: dict[str, str]) -> None:
    asked = oidc.ask()
    await oidc.browser().get("/authorize", changed(asked.pairs, *more, **changes))
    event = only_new(oidc)
    assert event.detail == {"at": "/authorize", **detail}
    for secret in (asked.state, asked.nonce, "hunter2", "s3cret", "frag", "e30"):
        assert secret not in repr(event)


@pytest.mark.parametrize("query", ["?%ff=1", "?a", "?" + "&".join(f"p{number}=1" for number in range(99))])
async def test_authorize_that_can_not_be_read(oidc: World, query: str) -> None:
    async with oidc.http.get(oidc.base + "/authorize" + query) as reply:
        assert reply.status == 400
    assert only_new(oidc).detail == {"reason": "request_malformed", "at": "/authorize"}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "bearer_missing"),
        ({"Authorization": "Bearer " + "a" * 43}, "bearer_invalid"),
        ({"Authorization": "Bearer x"}, "bearer_invalid"),
        (basic("gateway", SECRET), "bearer_invalid"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_userinfo(oidc: World, headers: dict[str, str], reason: str, method: str) -> None:
    assert (await oidc.browser().send(method, "/userinfo", headers=headers)).status == 401
    event = only_new(oidc)
    assert event.detail == {"reason": reason, "at": "/userinfo"}
    assert "a" * 43 not in repr(event)


async def test_userinfo_of_somebody_who_was_shut_out(oidc: World) -> None:
    user = await oidc.person()
    granted = await oidc.tokens(oidc.browser(), user)
    await oidc.provider.deactivate_user(user.id, by="sec.yamamoto")
    before = len(oidc.events.seen)
    assert (await oidc.userinfo(granted["access_token"])).status == 401
    assert only_new(oidc, before).detail["reason"] == "bearer_invalid"


@pytest.mark.parametrize(
    ("client", "secret", "told"),
    [
        ("nobody", SECRET, {"client": "nobody"}),
        ("gateway", Secret("w" * 43), {"client": "gateway"}),
        ("gateway", OTHER_SECRET, {"client": "gateway"}),
        ("x" * 200, SECRET, {"client": "x" * 64 + "…"}),
        ("a%0Ab%1B", SECRET, {"client": r"a\u{a}b\u{1b}"}),
        ("", SECRET, {}),
    ],
)
async def test_token_names_the_client_that_did_not_authenticate(
    oidc: World, client: str, secret: Secret, told: dict[str, str]
) -> None:
    reply = await oidc.redeem(oidc.ask(), "c" * 43, client=client, secret=secret)
    assert reply.status == 401
    event = only_new(oidc)
    assert event.detail == {"reason": "token_client", "at": "/token", **told}
    for hidden in (secret.reveal(), "c" * 43):
        assert hidden not in repr(event)


async def test_token_without_any_client(oidc: World) -> None:
    assert (await oidc.browser().send("POST", "/token", form=[("grant_type", "authorization_code")])).status == 401
    assert only_new(oidc).detail == {"reason": "token_client", "at": "/token"}


@pytest.mark.parametrize(
    ("changes", "drop", "reason"),
    [
        ({"code": "n" * 43}, "", "token_code"),
        ({"code": "no code"}, "", "token_code"),
        ({"code_verifier": "w" * 43}, "", "token_grant"),
        ({"redirect_uri": CALLBACK + "/"}, "", "token_grant"),
        ({}, "code_verifier", "token_request"),
        ({}, "code", "token_request"),
        ({"grant_type": "password"}, "", "token_request"),
        ({"client_secret": "s" * 43}, "", "token_request"),
    ],
)
async def test_token_with_a_bad_request(oidc: World, changes: dict[str, str], drop: str, reason: str) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    before = len(oidc.events.seen)
    form = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": ask.verifier, **changes,
    }  # fmt: skip
    form.pop(drop, None)
    reply = await oidc.browser().send("POST", "/token", form=list(form.items()), headers=basic("gateway", SECRET))
    assert reply.status == 400
    event = only_new(oidc, before)
    assert event.detail == {"reason": reason, "at": "/token", "client": "gateway"}
    for hidden in (code, ask.verifier, "n" * 43, "w" * 43):
        assert hidden not in repr(event)


async def test_token_that_is_no_form(oidc: World) -> None:
    async with oidc.http.post(oidc.base + "/token", json={"a": 1}) as reply:
        assert reply.status == 400
    assert only_new(oidc).detail == {"reason": "token_request", "at": "/token"}


def sign_out(hint: str) -> list[tuple[Pairs, dict[str, str]]]:
    forged = hint.rpartition(".")[0] + "." + "A" * 86
    return [
        ([("id_token_hint", forged)], {"reason": "sign_out_hint"}),
        ([("id_token_hint", "none.of.ours")], {"reason": "sign_out_hint"}),
        ([("id_token_hint", hint), ("client_id", "other")], {"reason": "sign_out_client", "client": "other"}),
        (
            [("id_token_hint", hint), ("post_logout_redirect_uri", EVIL)],
            {"reason": "sign_out_redirect_uri_unknown", "origin": CUT},
        ),
        ([("id_token_hint", hint), ("id_token_hint", hint)], {"reason": "sign_out_malformed"}),
        ([("state", "s" * 513)], {"reason": "sign_out_malformed"}),
    ]


async def test_end_session(oidc: World) -> None:
    browser = oidc.browser()
    hint = (await oidc.tokens(browser, await oidc.person()))["id_token"]
    for pairs, detail in sign_out(hint):
        before = len(oidc.events.seen)
        assert (await browser.get("/end-session", pairs)).status == 400
        event = only_new(oidc, before)
        assert event.detail == {"at": "/end-session", **detail}
        for hidden in (hint.rpartition(".")[2], hint.split(".")[1], "hunter2", "s3cret"):
            assert hidden not in repr(event)


async def test_a_forged_confirmation_of_the_sign_out(oidc: World) -> None:
    assert (await oidc.browser().send("POST", "/end-session/confirm", form=[("token", "x" * 43)])).status == 400
    assert only_new(oidc).detail == {"reason": "sign_out_ticket", "at": "/end-session/confirm"}


async def refusals(oidc: World, browser: Browser) -> list[Reply]:
    return [
        await browser.get("/authorize", oidc.ask(redirect_uri=EVIL).pairs),
        await browser.get("/authorize", oidc.ask(client_id="nobody").pairs),
        await browser.get("/authorize", oidc.ask(response_type="token").pairs),
        await browser.get("/userinfo"),
        await oidc.userinfo("a" * 43),
        await oidc.redeem(oidc.ask(), "c" * 43, client="nobody"),
        await oidc.redeem(oidc.ask(), "c" * 43),
        await oidc.redeem(oidc.ask(), "c" * 43, drop="code_verifier"),
        await browser.get("/end-session", [("id_token_hint", "none.of.ours")]),
        await browser.send("POST", "/end-session/confirm", form=[("token", "x" * 43)]),
    ]


async def test_what_can_not_be_recorded_is_not_answered(oidc: World) -> None:
    oidc.events.broken = True
    for reply in await refusals(oidc, oidc.browser()):
        assert (reply.status, reply.location) == (503, "")


async def test_an_honest_request_records_no_refusal(oidc: World) -> None:
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, await oidc.person())
    assert (await oidc.userinfo(tokens["access_token"])).status == 200
    out = [("id_token_hint", tokens["id_token"]), ("post_logout_redirect_uri", SIGNED_OUT)]
    assert (await browser.get("/end-session", out)).status == 303
    assert "signin.failed" not in oidc.events.names()

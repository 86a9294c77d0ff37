"""What a relying party may count on, seen by one that shares no code with the provider: on the wire, with python-jose."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import msgspec
from aiohttp.test_utils import TestServer

from idp.app import open_provider
from idp.model import ACR_MFA, ACR_PROOFED
from idp.protocol.framework import TRUST_FRAMEWORK
from tests.support.oidc import CALLBACK, ISSUER, SIGNED_OUT, TOTP, Browser, PlainPages, World, transaction_of

SCHEMA = json.loads((Path(__file__).parents[1] / "support" / "verified_claims.json").read_text("utf-8"))


async def test_discovery_is_consistent_with_what_is_served(oidc: World) -> None:
    browser = oidc.browser()
    metadata = (await browser.get("/.well-known/openid-configuration")).json()
    assert metadata == (await browser.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == ISSUER
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["id_token_signing_alg_values_supported"] == ["ES256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    for name in ("authorization_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint"):
        reply = await browser.get(metadata[name].removeprefix(ISSUER))
        assert reply.status != 404, name
    assert (await browser.send("POST", metadata["token_endpoint"].removeprefix(ISSUER), form=[("a", "b")])).status == 401


async def test_the_published_keys_are_public_and_for_signing(oidc: World) -> None:
    keys = (await oidc.browser().get("/jwks.json")).json()["keys"]
    assert [set(key) for key in keys] == [{"kty", "crv", "x", "y", "kid", "use", "alg"}]
    assert (keys[0]["crv"], keys[0]["use"], keys[0]["alg"]) == ("P-256", "sig", "ES256")


async def test_a_sign_in_gives_the_agreed_id_token(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    ask, code = await oidc.sign_in(browser, user, "pwd", "otp")
    reply = await oidc.redeem(ask, code)
    assert reply.headers["Cache-Control"] == "no-store"
    tokens = reply.json()
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 300, "openid profile")
    claims = await oidc.verified(tokens)
    now = oidc.now
    (session,) = await oidc.parts.store.sessions.list(now)
    digest = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert claims == {
        "iss": ISSUER, "sub": user.id, "aud": "gateway", "nonce": ask.nonce, "iat": now, "exp": now + 300, "auth_time": now,
        "acr": ACR_MFA, "amr": ["pwd", "otp", "mfa"], "sid": session.id,
        "at_hash": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), "name": "佐藤 健", "preferred_username": "dr.sato",
        "roles": ["physician"], "organization": "中央病院", "department": "内科",
        "auth_events": [
            {"kind": "otp", "at": now, "phishing_resistant": False, "bound": False},
            {"kind": "pwd", "at": now, "phishing_resistant": False, "bound": False},
        ],
    }  # fmt: skip


async def test_proofing_in_force_is_a_claim_and_expired_proofing_is_not(oidc: World) -> None:
    user = await oidc.person()
    await oidc.proofed(user, expires_in=600)
    ask = oidc.ask(acr_values=ACR_PROOFED)
    claims = await oidc.verified(await oidc.tokens(oidc.browser(), user, ask=ask))
    assert claims["acr"] == ACR_PROOFED
    assert claims["proofing"] == {
        "level": 3, "method": "simulated", "verified_at": oidc.now, "expires_at": oidc.now + 600, "verifier": "simulation",
        "transaction": claims["proofing"]["transaction"],
    }  # fmt: skip
    oidc.clock.advance(600)
    assert "proofing" not in await oidc.verified(await oidc.tokens(oidc.browser(), user))


async def test_what_is_bound_to_the_proofing_in_force_is_said_of_each_event_and_not_which_one_it_was(oidc: World) -> None:
    user = await oidc.person()
    await oidc.proofed(user, expires_in=600)
    store = oidc.parts.store
    record = await store.proofing.latest(user.id)
    assert record is not None
    await store.bindings.bind(record.number, {"otp", "pwd"}, oidc.now)
    claims = await oidc.verified(await oidc.tokens(oidc.browser(), user))
    assert {event["kind"]: event["bound"] for event in claims["auth_events"]} == {"otp": True, "pwd": False}, "no password is set"
    assert claims["bound_kinds"] == ["otp"]
    assert all(set(event) == {"kind", "at", "phishing_resistant", "bound"} for event in claims["auth_events"])
    oidc.clock.advance(600)
    claims = await oidc.verified(await oidc.tokens(oidc.browser(), user))
    assert not any(event["bound"] for event in claims["auth_events"])
    assert "bound_kinds" not in claims


VERIFIED = {"verification": {"trust_framework": None, "evidence": [{"type": None}]}, "claims": {"name": None}}


async def test_verified_claims_are_told_where_they_are_asked_for_and_to_nobody_else(oidc: World) -> None:
    user = await oidc.person()
    record = await oidc.proofed(user, method="jpki_sign", evidence="electronic_signature")
    await oidc.parts.store.bindings.confirm(record.number, {"name"})
    assert "verified_claims" not in await oidc.verified(await oidc.tokens(oidc.browser(), user))
    for place in ("id_token", "userinfo"):
        asked = oidc.ask(scope="openid", claims=json.dumps({place: {"verified_claims": VERIFIED, "department": None}}))
        tokens = await oidc.tokens(oidc.browser(), user, ask=asked)
        said = {"id_token": await oidc.verified(tokens), "userinfo": (await oidc.userinfo(tokens["access_token"])).json()}
        found = said.pop(place)
        assert "verified_claims" not in said.popitem()[1]
        jsonschema.validate(found["verified_claims"], SCHEMA)
        assert found["verified_claims"]["verification"]["trust_framework"] in (await metadata(oidc))["trust_frameworks_supported"]
        assert found["verified_claims"]["claims"] == {"name": "佐藤 健"}
        assert found["department"] == "内科", "asked for by name, without the scope"
        assert "roles" not in found


async def test_a_name_that_was_changed_in_the_ledger_is_not_stated(oidc: World) -> None:
    user = await oidc.person()
    record = await oidc.proofed(user, method="jpki_sign", evidence="electronic_signature")
    store = oidc.parts.store
    await store.bindings.confirm(record.number, {"name", "birthdate"})
    await store.users.update(user.id, lambda old: msgspec.structs.replace(old, department="外科"))
    assert await store.bindings.confirmed(record.number) == {"name", "birthdate"}
    await store.users.update(user.id, lambda old: msgspec.structs.replace(old, name="山田 健", birth_date="1980-05-17"))
    assert await store.bindings.confirmed(record.number) == frozenset()
    asked = oidc.ask(claims=json.dumps({"id_token": {"verified_claims": VERIFIED}}))
    claims = await oidc.verified(await oidc.tokens(oidc.browser(), user, ask=asked))
    assert claims["name"] == "山田 健"
    assert "verified_claims" not in claims


async def test_a_simulated_proofing_is_never_stated(oidc: World) -> None:
    user = await oidc.person()
    record = await oidc.proofed(user)
    await oidc.parts.store.bindings.confirm(record.number, {"name"})
    asked = oidc.ask(claims=json.dumps({"id_token": {"verified_claims": VERIFIED}}))
    assert "verified_claims" not in await oidc.verified(await oidc.tokens(oidc.browser(), user, ask=asked))


async def test_the_claims_parameter_is_held_to_its_words(oidc: World) -> None:
    user = await oidc.person()
    for wrong in ("{", "[]", '{"id_token": {"verified_claims": {}}}', '{"userinfo": {"name": 5}}'):
        reply = await oidc.browser().get("/authorize", oidc.ask(claims=wrong).pairs)
        assert reply.answer["error"] == "invalid_request", reply
    # One person, whoever signs in.
    asked = oidc.ask(claims=json.dumps({"id_token": {"sub": {"value": user.id}}}))
    assert (await oidc.verified(await oidc.tokens(oidc.browser(), user, ask=asked)))["sub"] == user.id
    tokens = await oidc.tokens(oidc.browser(), user)
    other = json.dumps({"id_token": {"sub": {"value": "usr_other"}}})
    reply = await oidc.browser().get("/authorize", oidc.ask(claims=other, id_token_hint=tokens["id_token"]).pairs)
    assert reply.answer["error"] == "invalid_request"
    # A class that is essential.
    unknown = json.dumps({"id_token": {"acr": {"essential": True, "values": ["urn:x:loa4"]}}})
    reply = await oidc.browser().get("/authorize", oidc.ask(claims=unknown).pairs)
    assert reply.answer["error"] == "unmet_authentication_requirements"
    wished = oidc.ask(claims=json.dumps({"id_token": {"acr": {"values": ["urn:x:loa4", "phr"]}}}))
    assert (await oidc.verified(await oidc.tokens(oidc.browser(), user, "fido2", ask=wished)))["acr"] == "phr"


async def metadata(oidc: World) -> dict[str, Any]:
    return (await oidc.browser().get("/.well-known/openid-configuration")).json()


async def test_the_metadata_says_what_can_be_verified(oidc: World) -> None:
    told = await metadata(oidc)
    assert told["claims_parameter_supported"] is True
    assert told["verified_claims_supported"] is True
    assert told["trust_frameworks_supported"] == [TRUST_FRAMEWORK]
    assert told["claims_in_verified_claims_supported"] == ["name", "birthdate"]
    assert told["evidence_supported"] == ["electronic_signature", "electronic_record", "document", "vouch"]
    assert "verified_claims" in told["claims_supported"]


async def test_proofing_without_expiry_says_null(oidc: World) -> None:
    user = await oidc.person()
    await oidc.proofed(user, expires_in=None)
    claims = await oidc.verified(await oidc.tokens(oidc.browser(), user))
    assert claims["proofing"]["expires_at"] is None


async def test_a_signed_in_browser_gets_a_code_at_once(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    first = await oidc.verified(await oidc.tokens(browser, user))
    oidc.clock.advance(100)
    ask = oidc.ask()
    reply = await browser.get("/authorize", ask.pairs)
    assert reply.location.startswith(CALLBACK)
    second = await oidc.verified((await oidc.redeem(ask, reply.answer["code"])).json())
    assert (second["sid"], second["sub"], second["auth_time"]) == (first["sid"], first["sub"], first["auth_time"])
    assert second["iat"] == first["iat"] + 100


async def test_prompt_none_answers_without_a_page(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    nobody = await browser.get("/authorize", oidc.ask(prompt="none").pairs)
    assert (nobody.answer["error"], nobody.answer["iss"]) == ("login_required", ISSUER)
    await oidc.sign_in(browser, user)
    assert "code" in (await browser.get("/authorize", oidc.ask(prompt="none").pairs)).answer
    unproofed = await browser.get("/authorize", oidc.ask(prompt="none", acr_values=ACR_PROOFED).pairs)
    assert unproofed.answer["error"] == "interaction_required"
    keyless = await browser.get("/authorize", oidc.ask(prompt="none", acr_values="phr").pairs)
    assert keyless.answer["error"] == "login_required"


async def test_max_age_asks_again_when_the_sign_in_is_older(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    await oidc.sign_in(browser, user)
    oidc.clock.advance(300)
    assert (await browser.get("/authorize", oidc.ask(max_age="300").pairs)).location.startswith(CALLBACK)
    oidc.clock.advance(1)
    reply = await browser.get("/authorize", oidc.ask(max_age="300").pairs)
    assert reply.location.startswith("/login?tx=")


async def test_a_key_touch_step_up_keeps_the_session_and_asks_for_nothing_else(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    first = await oidc.tokens(browser, user, "pwd", "otp")
    began = oidc.now
    oidc.clock.advance(400)
    ask = oidc.ask(acr_values="phr", max_age="0", id_token_hint=first["id_token"])
    reply = await browser.get("/authorize", ask.pairs)
    transaction = await oidc.parts.flows.load(transaction_of(reply.location), browser.cookies["__Host-idp-browser"])
    assert transaction is not None
    assert await oidc.parts.flows.missing(transaction) == ("phr",)
    await oidc.prove(browser, reply.location, user, "fido2")
    done = await oidc.finish(browser, reply.location)
    claims = await oidc.verified((await oidc.redeem(ask, done.answer["code"])).json())
    before = await oidc.verified(first)
    assert claims["sid"] == before["sid"]
    assert (claims["acr"], claims["auth_time"]) == ("phr", oidc.now)
    assert claims["amr"] == ["pwd", "otp", "pop", "user", "mfa"]
    assert [(event["kind"], event["at"], event["phishing_resistant"]) for event in claims["auth_events"]] == [
        ("otp", began, False), ("pwd", began, False), ("fido2", oidc.now, True),
    ]  # fmt: skip
    assert oidc.events.names()[-1] == "stepup.succeeded"


async def test_userinfo_tells_the_same_person(oidc: World) -> None:
    user = await oidc.person()
    tokens = await oidc.tokens(oidc.browser(), user)
    reply = await oidc.userinfo(tokens["access_token"])
    assert reply.status == 200
    assert reply.json() == {
        "sub": user.id, "name": "佐藤 健", "preferred_username": "dr.sato", "roles": ["physician"], "organization": "中央病院",
        "department": "内科",
    }  # fmt: skip


async def test_without_the_profile_scope_there_is_no_profile(oidc: World) -> None:
    user = await oidc.person()
    tokens = await oidc.tokens(oidc.browser(), user, ask=oidc.ask(scope="openid email"))
    assert tokens["scope"] == "openid"
    assert not {"name", "preferred_username", "roles"} & set(await oidc.verified(tokens))
    assert (await oidc.userinfo(tokens["access_token"])).json() == {"sub": user.id}


async def test_signing_out_ends_the_session_without_a_question(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, user)
    reply = await browser.get(
        "/end-session",
        [("id_token_hint", tokens["id_token"]), ("post_logout_redirect_uri", SIGNED_OUT), ("state", "a b&c")],
    )
    assert (reply.status, reply.location) == (303, f"{SIGNED_OUT}?state=a+b%26c")
    assert "__Host-idp-session" not in browser.cookies
    assert await oidc.parts.store.sessions.list(oidc.now) == []
    assert oidc.events.names()[-1] == "signout"
    assert (await oidc.userinfo(tokens["access_token"])).status == 401
    assert (await browser.get("/authorize", oidc.ask().pairs)).location.startswith("/login?tx=")


async def test_an_expired_hint_still_signs_out(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, user)
    oidc.clock.advance(600)
    reply = await browser.get("/end-session", [("id_token_hint", tokens["id_token"])])
    assert (reply.status, reply.body) == (200, "signed-out")
    assert await oidc.parts.store.sessions.list(oidc.now) == []


async def test_cancelling_tells_the_client(oidc: World) -> None:
    browser = oidc.browser()
    ask = oidc.ask()
    reply = await browser.get("/authorize", ask.pairs)
    flows, binding = oidc.parts.flows, browser.cookies["__Host-idp-browser"]
    location = await flows.cancel(transaction_of(reply.location), binding, "access_denied", "192.0.2.1")
    assert location == f"{CALLBACK}?error=access_denied&state={ask.state}&iss={quote(ISSUER, safe='')}"
    assert await flows.cancel(transaction_of(reply.location), binding, "access_denied", "192.0.2.1") is None
    assert oidc.events.names()[-1] == "signin.failed"


async def test_authorize_takes_a_form_too(oidc: World) -> None:
    reply = await oidc.browser().send("POST", "/authorize", form=oidc.ask().pairs)
    assert (reply.status, reply.location[:10]) == (303, "/login?tx=")


async def test_key_rotation_keeps_earlier_tokens_verifiable_and_signs_with_the_new_key(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    old = await oidc.tokens(browser, user)
    await oidc.provider.rotate_keys()
    await oidc.verified(old)
    ask = oidc.ask(id_token_hint=old["id_token"])
    reply = await browser.get("/authorize", ask.pairs)
    new = (await oidc.redeem(ask, reply.answer["code"])).json()
    await oidc.verified(new)
    keys = (await browser.get("/jwks.json")).json()["keys"]
    assert len(keys) == 2
    await oidc.provider.rotate_keys()
    kids = {key["kid"] for key in (await browser.get("/jwks.json")).json()["keys"]}
    assert len(kids) == 2
    assert keys[1]["kid"] not in kids
    refused = await browser.get("/authorize", oidc.ask(id_token_hint=old["id_token"]).pairs)
    assert refused.answer["error"] == "invalid_request"


async def test_a_key_that_another_process_made_is_published_accepted_and_used_at_once(oidc: World) -> None:
    user = await oidc.person()
    beside = await open_provider(
        oidc.parts.settings, clock=oidc.clock, events=oidc.events, pages=PlainPages(), address_of=lambda request: ""
    )
    server = TestServer(beside.app)
    await server.start_server()
    try:
        other = Browser(str(server.make_url("")).rstrip("/"), oidc.http)
        await oidc.provider.rotate_keys()
        signed = await oidc.tokens(oidc.browser(), user)
        kids = [key["kid"] for key in (await other.get("/jwks.json")).json()["keys"]]
        header = signed["id_token"].partition(".")[0]
        assert json.loads(base64.urlsafe_b64decode(header + "=="))["kid"] == kids[0]
        assert (await other.get("/authorize", oidc.ask(id_token_hint=signed["id_token"]).pairs)).status == 303
        assert (await oidc.browser().get("/jwks.json")).json()["keys"] == (await other.get("/jwks.json")).json()["keys"]
    finally:
        await server.close()
        await beside.close()


async def test_keys_people_and_sessions_survive_a_restart(oidc: World) -> None:
    user = await oidc.person()
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, user)
    await oidc.provider.close()
    again = await open_provider(
        oidc.parts.settings, clock=oidc.clock, events=oidc.events, pages=PlainPages(), address_of=lambda request: ""
    )
    server = TestServer(again.app)
    await server.start_server()
    try:
        back = Browser(str(server.make_url("")).rstrip("/"), oidc.http)
        back.cookies = dict(browser.cookies)
        reply = await back.get("/authorize", oidc.ask(id_token_hint=tokens["id_token"]).pairs)
        assert reply.location.startswith(CALLBACK)
        assert await again.seed_user(login="DR.SATO", name="somebody else", roles=("clerk",)) == user
        stored = await again.store.credentials.totp(user.id)
        assert stored is not None
        assert stored.secret == TOTP
    finally:
        await server.close()
        await again.close()

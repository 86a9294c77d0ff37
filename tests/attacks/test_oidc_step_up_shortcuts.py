"""Step-up answered with something old, something weaker, or somebody else (Kratos CVE-2024-45042; the shared ward terminal)."""

import msgspec
import pytest

from gateway.kernel.errors import ProtocolError
from idp.model import ACR_MFA, ACR_PROOFED, AuthEvent, LoginTransaction
from idp.web.cookies import BROWSER_COOKIE, SESSION_COOKIE
from tests.support.oidc import Browser, World, transaction_of


async def refused(oidc: World, browser: Browser, location: str, because: str) -> None:
    before = await oidc.parts.store.sessions.list(oidc.now)
    with pytest.raises(ProtocolError, match=because):
        await oidc.parts.flows.complete(
            transaction_of(location), browser.cookies[BROWSER_COOKIE], browser.cookies.get(SESSION_COOKIE, ""), "192.0.2.1"
        )
    assert await oidc.parts.store.sessions.list(oidc.now) == before


async def test_an_old_touch_is_not_a_fresh_one(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.sign_in(browser, user, "fido2")
    for ask in (oidc.ask(acr_values="phr", max_age="0"), oidc.ask(prompt="login"), oidc.ask(max_age="0")):
        reply = await browser.get("/authorize", ask.pairs)
        assert reply.location.startswith("/login?tx="), "in the same second, too"
        await refused(oidc, browser, reply.location, "not complete")


async def test_a_code_does_not_do_instead_of_a_key(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.sign_in(browser, user)
    reply = await browser.get("/authorize", oidc.ask(acr_values="phr").pairs)
    await oidc.prove(browser, reply.location, user, "pwd", "otp", "recovery")
    await refused(oidc, browser, reply.location, "not complete: phr")


async def test_one_fresh_factor_does_not_make_two_old_ones_young(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.sign_in(browser, user)
    reply = await browser.get("/authorize", oidc.ask(acr_values=ACR_MFA, max_age="0").pairs)
    await oidc.prove(browser, reply.location, user, "otp")
    await refused(oidc, browser, reply.location, "not complete: mfa")


async def test_a_proof_from_before_the_sign_in_does_not_count(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    reply = await browser.get("/authorize", oidc.ask(acr_values="phr", max_age="0").pairs)

    def smuggle(old: LoginTransaction) -> LoginTransaction:
        event = AuthEvent(kind="fido2", at=oidc.now - 1, phishing_resistant=True)
        return msgspec.structs.replace(old, user_id=user.id, proved=(event,))

    await oidc.parts.flows.update(transaction_of(reply.location), browser.cookies[BROWSER_COOKIE], smuggle)
    await refused(oidc, browser, reply.location, "older than the sign-in")


async def test_only_the_hinted_person_can_complete(oidc: World) -> None:
    doctor, clerk = await oidc.person("dr.sato"), await oidc.person("clerk.tanaka")
    theirs = oidc.browser()
    hint = (await oidc.tokens(theirs, doctor))["id_token"]
    browser = oidc.browser()
    reply = await browser.get("/authorize", oidc.ask(acr_values="phr", max_age="0", id_token_hint=hint).pairs)
    await oidc.prove(browser, reply.location, clerk, "fido2")
    await refused(oidc, browser, reply.location, "another person")


async def test_a_session_of_another_person_brings_nothing_to_the_hinted_one(oidc: World) -> None:
    doctor, clerk = await oidc.person("dr.sato"), await oidc.person("clerk.tanaka")
    theirs, browser = oidc.browser(), oidc.browser()
    hint = (await oidc.tokens(theirs, doctor))["id_token"]
    await oidc.sign_in(browser, clerk)
    reply = await browser.get("/authorize", oidc.ask(id_token_hint=hint).pairs)
    assert reply.location.startswith("/login?tx=")
    transaction = await oidc.parts.flows.load(transaction_of(reply.location), browser.cookies[BROWSER_COOKIE])
    assert transaction is not None
    assert (transaction.user_id, transaction.session_id, transaction.session_events) == ("", "", ())
    assert transaction.hint_subject == doctor.id
    assert (await browser.get("/authorize", oidc.ask(id_token_hint=hint, prompt="none").pairs)).answer[
        "error"
    ] == "login_required"


async def test_proofing_is_looked_up_at_the_end_not_believed(oidc: World) -> None:
    user, browser = await oidc.person(), oidc.browser()
    reply = await browser.get("/authorize", oidc.ask(acr_values=ACR_PROOFED).pairs)
    await oidc.prove(browser, reply.location, user, "pwd", "otp")
    await refused(oidc, browser, reply.location, "not complete: proofing")
    await oidc.proofed(user, expires_in=60)
    oidc.clock.advance(60)
    await refused(oidc, browser, reply.location, "not complete: proofing")
    await oidc.proofed(user, expires_in=60)
    assert (await oidc.finish(browser, reply.location)).status == 303


@pytest.mark.parametrize("values", ["urn:unknown", "0", "urn:zt-gateway:acr:mfa2 PHR", "phr2"])
async def test_an_unknown_class_is_never_taken_for_met(oidc: World, values: str) -> None:
    user, browser = await oidc.person(), oidc.browser()
    await oidc.sign_in(browser, user, "fido2")
    reply = await browser.get("/authorize", oidc.ask(acr_values=values).pairs)
    assert reply.answer["error"] == "unmet_authentication_requirements"


@pytest.mark.parametrize("max_age", ["-1", "1.5", "0x10", "1e3", "９", " 1", "1" * 10, "none"])
async def test_a_strange_max_age_is_refused_not_ignored(oidc: World, max_age: str) -> None:
    reply = await oidc.browser().get("/authorize", oidc.ask(max_age=max_age).pairs)
    assert reply.answer["error"] == "invalid_request"


@pytest.mark.parametrize(
    "prompt", ["none login", "login none", "consent", "select_account", "NONE", "login consent", "none consent", "create"]
)
async def test_a_prompt_that_is_not_offered_is_refused(oidc: World, prompt: str) -> None:
    reply = await oidc.browser().get("/authorize", oidc.ask(prompt=prompt).pairs)
    assert reply.answer["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": 'x"\\'}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"nonce": None}, "invalid_request"),
        ({"nonce": "n" * 513}, "invalid_request"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"request_uri": "http://evil.test/r"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
    ],
    ids=str,
)
async def test_what_is_not_offered_is_an_error_for_the_client(oidc: World, changes: dict[str, str | None], error: str) -> None:
    ask = oidc.ask(**changes)
    reply = await oidc.browser().get("/authorize", ask.pairs)
    assert (reply.answer["error"], reply.answer["state"]) == (error, ask.state)
    assert reply.answer["iss"] == "http://id.localhost:8080"

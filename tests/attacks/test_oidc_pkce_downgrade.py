"""PKCE left out or weakened at either end (authentik CVE-2023-48228, CVE-2024-23647)."""

import base64
import hashlib

import pytest

from tests.support.oidc import CALLBACK, World


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge_method": "none"},
        {"code_challenge": ""},
        {"code_challenge": "short"},
        {"code_challenge": "a" * 42},
        {"code_challenge": "a" * 44},
        {"code_challenge": "a" * 42 + "="},
        {"code_challenge": "a" * 42 + "+"},
    ],
    ids=str,
)
async def test_authorize_without_s256_is_an_error_for_the_client(oidc: World, changes: dict[str, str | None]) -> None:
    ask = oidc.ask(**changes)
    reply = await oidc.browser().get("/authorize", ask.pairs)
    assert reply.location.startswith(CALLBACK + "?")
    assert (reply.answer["error"], reply.answer["state"]) == ("invalid_request", ask.state)


async def test_token_without_verifier_is_refused_and_the_code_stays(oidc: World) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    assert (await oidc.redeem(ask, code, drop="code_verifier")).json()["error"] == "invalid_request"
    assert (await oidc.redeem(ask, code, code_verifier="")).json()["error"] == "invalid_request"
    assert (await oidc.redeem(ask, code)).status == 200


@pytest.mark.parametrize("which", ["another", "challenge_itself", "padded"])
async def test_wrong_verifier_spends_the_code(oidc: World, which: str) -> None:
    ask, code = await oidc.sign_in(oidc.browser(), await oidc.person())
    challenge = base64.urlsafe_b64encode(hashlib.sha256(ask.verifier.encode()).digest()).rstrip(b"=").decode()
    wrong = {"another": "b" * 43, "challenge_itself": challenge, "padded": ask.verifier + "a"}[which]
    assert (await oidc.redeem(ask, code, code_verifier=wrong)).json()["error"] == "invalid_grant"
    assert (await oidc.redeem(ask, code)).json()["error"] == "invalid_grant"

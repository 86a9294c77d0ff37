"""The token endpoint's own checks, where the store would have refused already: each holds by itself."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.jwk import ECKey

from gateway.kernel.secret import Secret
from idp.model import ACR_MFA, AuthEvent, CodeGrant, User
from idp.protocol import token
from idp.protocol.grant import Redeemed, Server
from idp.protocol.keyset import KeySet
from idp.protocol.parameters import Answer, Parameters
from idp.settings import Client, IdpSettings
from tests.support.oidc import basic

NOW = 1_800_000_000
CALLBACK, SECRET, VERIFIER = "https://portal.example/cb", Secret("s" * 43), "v" * 43
SETTINGS = IdpSettings(
    issuer="https://id.example", data_dir=Path("unused"),
    clients=tuple(Client.registered(name, SECRET, redirect_uris=(CALLBACK,)) for name in ("gateway", "other")),
)  # fmt: skip
SERVER = Server(SETTINGS, KeySet([ECKey.generate_key("P-256", auto_kid=True)]))
USER = User(id="usr_a", login="a", name="A", roles=())
GRANT = CodeGrant(
    client_id="gateway", redirect_uri=CALLBACK, scope="openid profile", nonce="n",
    code_challenge=create_s256_code_challenge(VERIFIER), user_id="usr_a", session_id="sid_1", acr=ACR_MFA, auth_time=NOW,
    events=(AuthEvent(kind="pwd", at=NOW), AuthEvent(kind="otp", at=NOW)), issued_at=NOW, expires_at=NOW + 60,
)  # fmt: skip


def issue(grant: CodeGrant | None, user: User | None, **changes: str) -> token.Issued | Answer:
    form = {"grant_type": "authorization_code", "code": "c" * 43, "redirect_uri": CALLBACK, "code_verifier": VERIFIER, **changes}
    prepared = token.prepare(SERVER, Parameters(form.items()), basic("gateway", SECRET)["Authorization"])
    assert isinstance(prepared, token.Prepared)
    redeemed = Redeemed(grant=grant, user=user, proofing=None, access_token=Secret("t" * 43), now=NOW)
    return token.issue(SERVER, prepared, redeemed)


def test_the_good_case_gives_tokens_and_says_what_to_store() -> None:
    issued = issue(GRANT, USER)
    assert isinstance(issued, token.Issued)
    assert (issued.access.client_id, issued.access.user_id, issued.access.session_id) == ("gateway", "usr_a", "sid_1")
    assert (issued.access.audience, issued.access.expires_at) == ("https://id.example/userinfo", NOW + 300)
    assert "t" * 43 not in repr(issued), "not even in a traceback"


@pytest.mark.parametrize(
    "changes",
    [{"client_id": "other"}, {"redirect_uri": CALLBACK + "/"}, {"code_challenge": "x" * 43}, {"user_id": "usr_b"}],
    ids=str,
)
def test_a_code_for_something_else_gives_nothing(changes: dict[str, Any]) -> None:
    refused = issue(msgspec.structs.replace(GRANT, **changes), USER)
    assert isinstance(refused, Answer)
    assert refused.body == {"error": "invalid_grant", "error_description": "the code is not valid"}


@pytest.mark.parametrize("user", [None, msgspec.structs.replace(USER, active=False), msgspec.structs.replace(USER, id="usr_b")])
def test_nobody_deactivated_or_another_person_gets_nothing(user: User | None) -> None:
    refused = issue(GRANT, user)
    assert isinstance(refused, Answer)
    assert refused.body["error"] == "invalid_grant"


def test_no_code_no_token() -> None:
    refused = issue(None, USER)
    assert isinstance(refused, Answer)
    assert refused.body["error"] == "invalid_grant"


def test_a_token_that_would_be_too_long_is_not_made() -> None:
    refused = issue(GRANT, msgspec.structs.replace(USER, name="x" * 8192))
    assert isinstance(refused, Answer)
    assert (refused.status, refused.body["error"]) == (500, "server_error")

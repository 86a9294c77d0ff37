"""Whatever arrives at the OpenID Connect side, there is an answer, and it goes nowhere but to the registered place."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from gateway.kernel.errors import ProtocolError
from gateway.kernel.secret import Secret
from idp.protocol import authorize, end_session, token, userinfo
from idp.protocol.grant import Server, basic_credentials
from idp.protocol.keyset import KeySet
from idp.protocol.parameters import Answer, Parameters, with_query
from idp.protocol.tokens import verify_own
from idp.settings import Client, IdpSettings

ISSUER, CALLBACK = "https://id.example", "https://portal.example/cb"
SETTINGS = IdpSettings(
    issuer=ISSUER, data_dir=Path("unused"),
    clients=(Client.registered("gateway", Secret("s" * 32), redirect_uris=(CALLBACK,), post_logout_redirect_uris=(CALLBACK,)),),
)  # fmt: skip
KEYS = KeySet([ECKey.generate_key("P-256", auto_kid=True)])
SERVER = Server(SETTINGS, KEYS)
VALID = {
    "response_type": "code", "client_id": "gateway", "redirect_uri": CALLBACK, "scope": "openid", "state": "s", "nonce": "n",
    "code_challenge": "a" * 43, "code_challenge_method": "S256",
}  # fmt: skip
NAMES = (*VALID, "prompt", "max_age", "acr_values", "id_token_hint", "ui_locales", "login_hint", "request", "response_mode",
         "code", "grant_type", "code_verifier", "client_secret", "post_logout_redirect_uri")  # fmt: skip
texts = st.text(max_size=60) | st.sampled_from(("none", "login", "0", "phr", "openid", CALLBACK, "gateway", "code", "a.b.c", ""))
pairs = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(max_size=10), texts), max_size=8)


@given(pairs)
def test_authorize_answers_and_redirects_only_to_the_registered_place(changes: list[tuple[str, str]]) -> None:
    names = {name for name, _ in changes}
    request = [(name, value) for name, value in VALID.items() if name not in names] + changes
    answer = authorize.parse(SERVER, KEYS, "GET", Parameters(request))
    if isinstance(answer, authorize.Redirect):
        assert answer.location.startswith(CALLBACK + "?")
        sent = parse_qs(urlsplit(answer.location).query, strict_parsing=True)
        assert sent["iss"] == [ISSUER]
        assert "code" not in sent
        assert all(len(values) == 1 for values in sent.values())
    elif isinstance(answer, authorize.Asked):
        assert (answer.client_id, answer.redirect_uri) == ("gateway", CALLBACK)
        assert len(answer.code_challenge) == 43
        assert len(request) == len({name for name, _ in request})


def test_the_valid_request_is_taken() -> None:
    assert isinstance(authorize.parse(SERVER, KEYS, "GET", Parameters(VALID.items())), authorize.Asked)


@given(pairs, st.text(max_size=80))
def test_token_answers(request: list[tuple[str, str]], authorization: str) -> None:
    answer = token.prepare(SERVER, Parameters(request), authorization)
    assert isinstance(answer, Answer)
    assert answer.status in {400, 401}
    json.dumps(answer.body)


@given(pairs)
def test_sign_out_answers_and_sends_nobody_anywhere_without_a_hint(request: list[tuple[str, str]]) -> None:
    answer = end_session.parse(SETTINGS, KEYS, Parameters(request), None)
    assert isinstance(answer, end_session.Malformed) or answer.location == ""


@given(st.text() | st.from_regex(r"\A[A-Za-z0-9_-]{1,60}\.[A-Za-z0-9_-]{1,60}\.[A-Za-z0-9_-]{1,90}\Z"))
def test_no_text_is_a_token_of_ours(text: str) -> None:
    with pytest.raises(ProtocolError):
        verify_own(text, KEYS, ISSUER)


@given(st.text() | st.binary().map(lambda raw: "Basic " + raw.decode("latin-1")))
def test_readers_of_the_authorization_header_never_fail(header: str) -> None:
    basic_credentials(header)
    assert len(userinfo.bearer(header)) in {0, 43}


@given(
    st.lists(st.tuples(st.sampled_from(("code", "state", "iss")), st.text(st.characters(codec="utf-8"), min_size=1)), max_size=3)
)
def test_values_in_a_redirect_stay_values(values: list[tuple[str, str]]) -> None:
    location = with_query(CALLBACK, values)
    parsed = parse_qs(urlsplit(location).query, keep_blank_values=True)
    assert sorted((name, value) for name, found in parsed.items() for value in found) == sorted(values)
    assert location.isascii()
    assert location.isprintable()

"""Whatever arrives from the browser or the Digital Agency's service: a judgement, no exception, and no yes by chance."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ProtocolError
from idp.proofing.digital_agency.answers import Code, Tokens, read_attributes, read_query, read_tokens, reference_of
from idp.proofing.digital_agency.backend import digital_agency_backend
from idp.proofing.digital_agency.id_token import Expected, verify_id_token
from idp.proofing.digital_agency.keys import VerifyingKey, parse_keys
from idp.proofing.digital_agency.settings import DigitalAgencySettings
from idp.proofing.port import Broken, NotProofed, Started, Verified
from idp.proofing.strict import StrictError, holds_individual_number, parse_object
from idp.proofing.wire import Answer, WireError
from tests.support.digital_agency import CLIENT, KEYS, REDIRECT, SATO

ISSUER, NONCE, ACCESS, NOW = "https://auth-and-sign.go.jp/api/realms/main", "n" * 43, "access", 1_800_000_000
KEY = ECKey.generate_key("P-256", private=True)
VERIFYING = {"k": VerifyingKey(key=KEY, algorithm="ES256")}
EXPECTED = Expected(issuer=ISSUER, client_id=CLIENT, nonce=NONCE, access_token=ACCESS, begun_at=NOW - 30, acr_values="aal3 crl")
SETTINGS = DigitalAgencySettings(issuer="production", client_id=CLIENT, redirect_uri=REDIRECT, private_key=KEYS["ES256"])
CLAIMS: dict[str, Any] = {
    "iss": ISSUER, "aud": CLIENT, "azp": CLIENT, "sub": "s", "nonce": NONCE, "iat": NOW, "exp": NOW + 300, "nbf": NOW,
    "auth_time": NOW, "acr": "aal3 crl", "jti": "j",
}  # fmt: skip
GOOD = jws.serialize_compact({"alg": "ES256", "kid": "k"}, json.dumps(CLAIMS).encode(), KEY, algorithms=["ES256"])

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3), max_leaves=8
)
names = st.sampled_from(["state", "code", "error", "iss", "session_state", "cancel"]) | st.text(max_size=10)
texts = st.sampled_from(["mine", "access_denied", "server_error", ISSUER, "1", "code-1", ""]) | st.text(max_size=40)


def test_the_good_token_is_good() -> None:
    assert verify_id_token(GOOD, VERIFYING, EXPECTED, now=NOW)["sub"] == "s"


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_no_token(token: str) -> None:
    with pytest.raises(ProtocolError):
        verify_id_token(token, VERIFYING, EXPECTED, now=NOW)


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("AZaz09-_.=% \n"))
def test_a_token_with_any_character_changed_is_none(at: int, character: str) -> None:
    changed = GOOD[:at] + character + GOOD[at + 1 :]
    if changed != GOOD:
        with pytest.raises(ProtocolError):
            verify_id_token(changed, VERIFYING, EXPECTED, now=NOW)


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_a_token_with_any_part_missing_is_none(start: int, end: int) -> None:
    if start < end:
        with pytest.raises(ProtocolError):
            verify_id_token(GOOD[:start] + GOOD[end:], VERIFYING, EXPECTED, now=NOW)


@given(
    st.dictionaries(st.sampled_from([*CLAIMS, "at_hash", "sid", "x"]), values, max_size=3), st.sets(st.sampled_from(list(CLAIMS)))
)
def test_signed_claims_of_any_kind_are_held_against_what_was_asked(changes: dict[str, Any], dropped: set[str]) -> None:
    said = {name: value for name, value in {**CLAIMS, **changes}.items() if name not in dropped}
    token = jws.serialize_compact({"alg": "ES256", "kid": "k"}, json.dumps(said).encode(), KEY, algorithms=["ES256"])
    try:
        claims = verify_id_token(token, VERIFYING, EXPECTED, now=NOW)
    except ProtocolError as error:
        assert error.where.startswith("step ")  # noqa: PT017  either is right, but nothing else
        return
    assert {"iss": ISSUER, "nonce": NONCE}.items() <= claims.items()
    assert claims["aud"] in (CLIENT, [CLIENT]) or (CLIENT in claims["aud"] and claims["azp"] == CLIENT)
    assert NOW - 90 <= claims["iat"] <= NOW + 60
    assert NOW - 60 < claims["exp"] <= claims["iat"] + 86_400
    assert isinstance(claims["sub"], str)
    assert claims["sub"]
    assert "at_hash" not in claims
    try:
        assert reference_of(claims, NONCE).isprintable()
    except WireError:
        assert "jti" in claims or "sid" in claims


@given(st.dictionaries(st.text(max_size=8), values, max_size=6))
def test_any_header_over_a_good_payload(header: dict[str, Any]) -> None:
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    token = ".".join((head, *GOOD.split(".")[1:]))
    with pytest.raises(ProtocolError):
        verify_id_token(token, VERIFYING, EXPECTED, now=NOW)


@given(st.dictionaries(names, texts, max_size=6))
def test_any_query_is_judged_and_only_ours_gives_a_code(query: dict[str, str]) -> None:
    judged = read_query(query, state="mine", issuer=ISSUER)
    if isinstance(judged, Code):
        assert query["state"] == "mine"
        assert query.get("iss", ISSUER) == ISSUER
        assert "error" not in query
    else:
        assert isinstance(judged, NotProofed | Broken)
        if isinstance(judged, Broken):
            assert judged.detail.isascii()
            assert judged.detail.isprintable()


@given(st.dictionaries(names, texts, max_size=6))
async def test_any_answer_to_a_beginning_that_is_not_ours_proofs_nobody_and_asks_nobody(query: dict[str, str]) -> None:
    backend = digital_agency_backend(SETTINGS, ManualClock())
    started = await backend.begin(SATO, "sign_in")
    assert isinstance(started, Started)
    outcome = await backend.complete(started.state, query)  # a request to the real service would fail: there is no line here
    assert outcome in (NotProofed(reason="unusable_answer"), NotProofed(reason="cancelled"))
    await backend.close()


@given(st.sampled_from([200, 400, 401, 500]), st.binary(max_size=120) | values.map(lambda value: json.dumps(value).encode()))
def test_any_answer_of_the_token_endpoint(status: int, body: bytes) -> None:
    try:
        read = read_tokens(Answer(status=status, body=body))
    except WireError as error:
        assert error.what.isprintable()  # noqa: PT017  either is right, but nothing else
        return
    assert isinstance(read, Tokens | NotProofed)


@given(st.dictionaries(st.sampled_from(["sub", "name", "birthdate", "x"]), values | st.just("s"), max_size=4))
def test_any_attributes(body: dict[str, Any]) -> None:
    try:
        read = read_attributes(body, "s", SETTINGS)
    except WireError:
        return
    assert isinstance(read, Verified)
    assert body["sub"] == "s"
    assert read.name == body["name"]
    assert len(read.birth_date) in {9, 10}


@given(values)
def test_any_key_set(document: Any) -> None:
    try:
        assert parse_keys({"keys": document}, ("ES256", "RS256")) == {}
    except ValueError as error:
        assert str(error)  # noqa: PT017  either is right


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_strict_json_reads_what_json_reads_or_refuses(data: bytes) -> None:
    try:
        read = parse_object(data)
    except StrictError:
        return
    assert read == json.loads(data)
    assert not holds_individual_number(read)
    json.dumps(read, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "name",
    ["individual_number", "individualNumber", "INDIVIDUAL-NUMBER", "individual_number_unicode", "my_number", "MyNumber",
     "個人番号", "マイナンバー", "ﾏｲﾅﾝﾊﾞｰ", "ｉｎｄｉｖｉｄｕａｌ＿ｎｕｍｂｅｒ", "kojin_bango"],
)  # fmt: skip
def test_the_individual_number_by_any_name(name: str) -> None:
    assert holds_individual_number({"a": [{name: "1"}]})
    with pytest.raises(StrictError):
        parse_object(json.dumps({"a": [{name: "1"}]}).encode())


@pytest.mark.parametrize("name", ["name", "number", "phone_number", "my_number_card", "マイナンバーカード", "individual"])
def test_other_names_are_other_names(name: str) -> None:
    assert not holds_individual_number({name: "1"})

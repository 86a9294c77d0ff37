"""ID tokens, answers and callbacks that fooled other relying parties, against the Digital Agency's backend.

Each is Broken or NotProofed as the table in `idp.proofing.digital_agency.backend` says, and leaves nobody proofed: at the
verifier, at a server process that answers so, and with the desk and its store around it.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from gateway.kernel.clock import SystemClock
from gateway.kernel.errors import ProtocolError
from idp.model import ProofingRecord
from idp.proofing.desk import Pending, ProofingDesk, Refused, UnderReview
from idp.proofing.digital_agency.answers import read_attributes, read_query, read_tokens, reference_of
from idp.proofing.digital_agency.backend import DigitalAgencyBackend
from idp.proofing.digital_agency.id_token import Expected, acr_reaches, verify_id_token
from idp.proofing.digital_agency.keys import VerifyingKey, parse_keys
from idp.proofing.digital_agency.settings import DigitalAgencySettings
from idp.proofing.port import Broken, NotProofed, Proofed, Started
from idp.proofing.wire import Answer, WireError
from tests.standins.faults import PRESETS
from tests.support.digital_agency import CLIENT, KEYS, REDIRECT, SATO, SUZUKI, Agency, agency
from tests.support.proofing import KEYS as DIGEST_KEYS
from tests.support.proofing import SATO as LEDGER_SATO
from tests.support.proofing import Bench, opened

ISSUER, NONCE, NOW, ACCESS = "https://auth-and-sign.go.jp/api/realms/main", "nonce-of-this-request", 1_800_000_000, "access-token"
KEY = ECKey.generate_key("P-256", private=True)
OTHER = ECKey.generate_key("P-256", private=True)
RSA = RSAKey.generate_key(2048, private=True)
EXPECTED = Expected(
    issuer=ISSUER, client_id=CLIENT, nonce=NONCE, access_token=ACCESS, begun_at=NOW - 30, acr_values="aal3 crl"
)  # fmt: skip
VERIFYING = {"current": VerifyingKey(key=KEY, algorithm="ES256"), "rsa": VerifyingKey(key=RSA, algorithm="RS256")}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


AT_HASH = b64(hashlib.sha256(ACCESS.encode()).digest()[:16])


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "iss": ISSUER, "aud": CLIENT, "azp": CLIENT, "sub": "pairwise-1", "nonce": NONCE, "iat": NOW, "exp": NOW + 300,
        "auth_time": NOW - 5, "at_hash": AT_HASH, "acr": "aal3 crl", "jti": "jti-1",
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def signed(payload: dict[str, Any] | bytes, key: ECKey = KEY, **header: Any) -> str:
    """Correctly signed over whatever header: with the library below joserfc, which would refuse some."""
    head = {name: value for name, value in {"alg": "ES256", "kid": "current", "typ": "JWT", **header}.items() if value is not ...}
    return over(json.dumps(head).encode(), payload if isinstance(payload, bytes) else json.dumps(payload).encode(), key)


def over(head: bytes, body: bytes, key: ECKey = KEY) -> str:
    made = f"{b64(head)}.{b64(body)}"
    algorithm = jws.JWSRegistry(algorithms=["ES256"]).get_alg("ES256")
    return f"{made}.{b64(algorithm.sign(made.encode(), key))}"


def rs256(payload: dict[str, Any], kid: str = "rsa") -> str:
    return jws.serialize_compact({"alg": "RS256", "kid": kid}, json.dumps(payload).encode(), RSA, algorithms=["RS256"])


def raw(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}.{b64(signature)}"


def hs256(secret: bytes) -> str:
    head, body = b64(json.dumps({"alg": "HS256", "kid": "current"}).encode()), b64(json.dumps(claims()).encode())
    return f"{head}.{body}.{b64(hmac.digest(secret, f'{head}.{body}'.encode(), hashlib.sha256))}"


def public(encoding: serialization.Encoding) -> bytes:
    key = serialization.load_pem_public_key(KEY.as_pem(private=False))
    return key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def verify(token: str, *, now: float = NOW, expected: Expected = EXPECTED) -> dict[str, Any]:
    return verify_id_token(token, VERIFYING, expected, now=now)


GOOD = {
    "as it should be": signed(claims()),
    "one audience in a list": signed(claims(aud=[CLIENT])),
    "among audiences, for us": signed(claims(aud=[CLIENT, "other"])),
    "no azp": signed(claims(azp=...)),
    "no at_hash": signed(claims(at_hash=...)),
    "no acr": signed(claims(acr=...)),
    "no auth_time": signed(claims(auth_time=...)),
    "no typ": signed(claims(), typ=...),
    "within the skew": signed(claims(iat=NOW + 59, nbf=NOW + 59, exp=NOW + 100)),
    "another order of words": signed(claims(acr="crl aal3")),
}


@pytest.mark.parametrize("token", GOOD.values(), ids=GOOD.keys())
def test_a_good_token_is_accepted(token: str) -> None:
    assert verify(token)["sub"] == "pairwise-1"


BAD = {
    "alg none": ("step 1", raw({"alg": "none"}, claims())),
    "alg none, some signature": ("step 2", raw({"alg": "none", "kid": "current"}, claims(), b"x")),
    "alg NONE": ("step 2", raw({"alg": "NONE", "kid": "current"}, claims(), b"x" * 64)),
    "no alg": ("step 2", signed(claims(), alg=...)),
    "alg a list": ("step 2", signed(claims(), alg=["ES256"])),
    "HS256, public key in PEM (CVE-2024-33663)": ("step 2", hs256(public(serialization.Encoding.PEM))),
    "HS256, public key in DER (CVE-2026-85394)": ("step 2", hs256(public(serialization.Encoding.DER))),
    "HS256, the JWK as text": ("step 2", hs256(json.dumps(KEY.as_dict(private=False)).encode())),
    "HS256, empty key (CVE-2026-120459)": ("step 2", hs256(b"")),
    "RS256, which nobody allowed": ("step 2", rs256(claims())),
    "ES256 with the RSA key's name": ("step 3", signed(claims(), kid="rsa")),
    "key in the header (CVE-2026-27962)": ("step 2", signed(claims(), OTHER, jwk=OTHER.as_dict(private=False))),
    "jku": ("step 2", signed(claims(), jku="https://evil.example/jwks")),
    "x5u": ("step 2", signed(claims(), x5u="https://evil.example/x")),
    "x5c": ("step 2", signed(claims(), x5c=["AAAA"])),
    "unknown crit (CVE-2025-59420)": ("step 2", signed(claims(), crit=["bork"], bork=1)),
    "empty crit": ("step 2", signed(claims(), crit=[])),
    "b64": ("step 2", signed(claims(), b64=False)),
    "zip": ("step 2", signed(claims(), zip="DEF")),
    "an access token (RFC 9068)": ("step 2", signed(claims(), typ="at+jwt")),
    "alg twice": ("step 2", over(b'{"alg":"none","alg":"ES256","kid":"current"}', json.dumps(claims()).encode())),
    "a header that is a list": ("step 2", over(b'["ES256"]', json.dumps(claims()).encode())),
    "kid with a path": ("step 3", signed(claims(), kid="../../dev/null")),
    "kid with SQL": ("step 3", signed(claims(), kid="' OR 1=1 --")),
    "kid of a wrong type": ("step 3", signed(claims(), kid=7)),
    "kid a list": ("step 3", signed(claims(), kid=["current"])),
    "no kid": ("step 3", signed(claims(), kid=...)),
    "signed with another key": ("step 4", signed(claims(), OTHER)),
    "trailing data": ("step 4", signed(claims()) + "A"),
    "a second spelling of the signature": ("step 1", signed(claims())[:-1] + "B"),
    "padding": ("step 1", signed(claims()) + "=="),
    "four parts": ("step 1", signed(claims()) + ".x"),
    "five parts": ("step 1", "a.b.c.d.e"),
    "1 MB": ("step 1", signed(claims(pad="x" * 1_000_000))),
    "not ASCII": ("step 1", "é.é.é"),
    "a line end behind it": ("step 1", signed(claims()) + "\n"),
    "empty": ("step 1", ""),
    "payload is a list": ("step 5", signed(b"[]")),
    "payload is no JSON": ("step 5", signed(b"{")),
    "a token within the token": ("step 5", signed(signed(claims()).encode())),
    "NaN": ("step 5", signed(b'{"exp": NaN}')),
    "a lone surrogate": ("step 5", signed(claims(name="\ud800"))),
    "names twice": ("step 5", signed(json.dumps(claims()).encode()[:-1] + b', "sub": "somebody"}')),
    "names twice, deep": ("step 5", signed(json.dumps(claims()).encode()[:-1] + b', "a": {"b": 1, "b": 2}}')),
    "nested a thousand times": ("step 5", signed(b'{"a":' * 1_000 + b"1" + b"}" * 1_000)),
    "the Individual Number": ("step 5", signed(claims(individual_number="123456789018"))),
    "the Individual Number, deep": ("step 5", signed(claims(a=[{"個人番号": "1"}]))),
    "other issuer": ("step 6", signed(claims(iss=ISSUER + "/"))),
    "the sandbox's": ("step 6", signed(claims(iss="https://sb-auth-and-sign.go.jp/api/realms/main"))),
    "no issuer": ("step 6", signed(claims(iss=...))),
    "other audience": ("step 7", signed(claims(aud="RP2", azp=...))),
    "no audience": ("step 7", signed(claims(aud=...))),
    "two audiences, no azp": ("step 7", signed(claims(aud=[CLIENT, "RP2"], azp=...))),
    "for another party": ("step 7", signed(claims(aud=[CLIENT, "RP2"], azp="RP2"))),
    "alone, for another party": ("step 7", signed(claims(azp="RP2"))),
    "azp null": ("step 7", signed(claims(azp=None))),
    "audience true": ("step 7", signed(claims(aud=True, azp=...))),
    "expired": ("step 8", signed(claims(exp=NOW - 61, iat=NOW - 70))),
    "no exp": ("step 8", signed(claims(exp=...))),
    "exp as text": ("step 8", signed(claims(exp=str(NOW + 300)))),
    "exp as float": ("step 8", signed(claims(exp=NOW + 300.5))),
    "exp true": ("step 8", signed(claims(exp=True))),
    "exp negative": ("step 8", signed(claims(exp=-1))),
    "exp 10^20": ("step 8", signed(claims(exp=10**20))),
    "no iat": ("step 8", signed(claims(iat=...))),
    "from the future": ("step 8", signed(claims(iat=NOW + 61))),
    "not yet": ("step 8", signed(claims(nbf=NOW + 61))),
    "nbf as text": ("step 8", signed(claims(nbf="now"))),
    "older than our question": ("step 8", signed(claims(iat=NOW - 91))),
    "ends before it begins": ("step 8", signed(claims(iat=NOW + 40, exp=NOW + 20))),
    "other nonce": ("step 9", signed(claims(nonce="x"))),
    "no nonce": ("step 9", signed(claims(nonce=...))),
    "nonce a list": ("step 9", signed(claims(nonce=[NONCE]))),
    "another access token": ("step 10", signed(claims(at_hash="A" * 22))),
    "at_hash null": ("step 10", signed(claims(at_hash=None))),
    "weaker": ("step 11", signed(claims(acr="aal2 crl"))),
    "without a look at the list": ("step 11", signed(claims(acr="aal3"))),
    "two levels": ("step 11", signed(claims(acr="aal3 aal1 crl"))),
    "a level of its own": ("step 11", signed(claims(acr="1"))),
    "acr a list": ("step 11", signed(claims(acr=["aal3", "crl"]))),
    "acr null": ("step 11", signed(claims(acr=None))),
    "read for whoever sat here before": ("step 12", signed(claims(auth_time=NOW - 3_600))),
    "auth_time as text": ("step 12", signed(claims(auth_time="now"))),
    "no subject": ("step 13", signed(claims(sub=...))),
    "empty subject": ("step 13", signed(claims(sub=""))),
    "a subject of control characters": ("step 13", signed(claims(sub="a\nb"))),
    "a subject of 256 characters": ("step 13", signed(claims(sub="a" * 256))),
    "a number as subject": ("step 13", signed(claims(sub=1))),
}


@pytest.mark.parametrize(("step", "token"), BAD.values(), ids=BAD.keys())
def test_refused_at_the_step_named(step: str, token: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        verify(token)
    assert caught.value.where == step
    assert "pairwise" not in str(caught.value)


def test_rs256_holds_only_where_it_was_allowed_and_with_its_own_key() -> None:
    both = msgspec.structs.replace(EXPECTED, algorithms=("ES256", "RS256"))
    assert verify(rs256(claims()), expected=both)["sub"] == "pairwise-1"
    with pytest.raises(ProtocolError) as caught:
        verify(rs256(claims(), kid="current"), expected=both)
    assert caught.value.where == "step 3"


def test_a_level_is_required_or_accepted_where_the_settings_say_so() -> None:
    with pytest.raises(ProtocolError) as caught:
        verify(signed(claims(acr=...)), expected=msgspec.structs.replace(EXPECTED, acr_required=True))
    assert caught.value.where == "step 11"
    assert verify(signed(claims(acr="1")), expected=msgspec.structs.replace(EXPECTED, acr_accepted=("1",)))


@pytest.mark.parametrize(
    ("said", "asked", "reaches"),
    [
        ("aal3 crl", "aal3 crl", True), ("aal3 crl", "aal2 crl", True), ("aal3", "aal2", True), ("anything", "", True),
        ("aal2 crl", "aal3 crl", False), ("aal4 crl", "aal3 crl", False), ("AAL3 crl", "aal3 crl", False), ("", "aal1", False),
        ("aal3crl", "aal3 crl", False), ("aal3 aal2 crl", "aal3 crl", False),
    ],
)  # fmt: skip
def test_what_reaches_a_level(said: str, asked: str, *, reaches: bool) -> None:
    assert acr_reaches(said, asked) is reaches


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"keys": {}},
        {"keys": ["x"]},
        {"keys": [{"kty": 7}]},
        {"keys": [{}] * 65},
        {"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "AAAA", "y": "AAAA"}]},
        {"keys": [{**KEY.as_dict(private=False), "kid": "a"}] * 2},
    ],
)
def test_a_key_set_with_two_readings_or_none(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"JWK Set|key"):
        parse_keys(document, ("ES256",))


def test_a_short_rsa_key() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    numbers = rsa.generate_private_key(65_537, 1024).public_key().public_numbers()  # noqa: S505  that is the point
    jwk = {"kty": "RSA", "kid": "a", "n": b64(numbers.n.to_bytes(128, "big")), "e": "AQAB"}
    with pytest.raises(ValueError, match="too short"):
        parse_keys({"keys": [jwk]}, ("RS256",))


def test_keys_of_another_kind_are_no_keys() -> None:
    secret = {"kty": "oct", "kid": "a", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}
    encryption = {**KEY.as_dict(private=False), "kid": "b", "use": "enc"}
    foreign = {**KEY.as_dict(private=False), "kid": "c", "alg": "ES384"}
    nameless = KEY.as_dict(private=False)
    assert parse_keys({"keys": [secret, encryption, foreign, {**nameless, "kid": ""}]}, ("ES256", "RS256")) == {}


# ---------------------------------------------------------------- callbacks and answers


QUERIES: list[dict[str, str]] = [
    {},
    {"code": "x"},
    {"state": "", "code": "x"},
    {"state": "another", "code": "x"},
    {"state": "mine"},
    {"state": "mine", "code": ""},
    {"state": "mine", "code": "a b"},
    {"state": "mine", "code": "\x00"},
    {"state": "mine", "code": "x" * 2_049},
    {"state": "mine", "code": "x", "error": "access_denied"},
    {"state": "mine", "code": "x", "iss": "https://elsewhere.example"},
    {"state": "mine", "error": "<script>"},
    {"state": "mine", "error": "e\r\nSet-Cookie: a=b"},
    {"state": "mine", "id_token": "a.b.c", "access_token": "x"},
    {"state": "mine", "cancel": "1"},
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_callback_that_makes_no_sense(query: dict[str, str]) -> None:
    assert read_query(query, state="mine", issuer=ISSUER) == NotProofed(reason="unusable_answer")


@pytest.mark.parametrize(
    "error", ["server_error", "temporarily_unavailable", "invalid_scope", "unauthorized_client", "new_error"]
)
def test_an_error_of_theirs_says_nothing_about_the_person(error: str) -> None:
    assert isinstance(read_query({"state": "mine", "error": error}, state="mine", issuer=ISSUER), Broken)


def body(**changes: Any) -> bytes:
    good = {"id_token": "a.b.c", "access_token": "x", "token_type": "Bearer"}
    return json.dumps({name: value for name, value in {**good, **changes}.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, body(id_token=...)), (200, body(id_token=["a"])), (200, body(access_token=...)), (200, body(access_token="a b")),
        (200, body(access_token="x" * 9_000)), (200, body(token_type="DPoP")), (200, body(token_type=...)),
        (200, body(my_number="1")), (200, b"[]"), (200, b""), (200, b"<html>"), (201, body()), (204, b""), (302, b""),
        (400, b'{"error": "invalid_client"}'), (400, b'{"error": ["invalid_grant"]}'), (400, b'{"error": "<script>"}'),
        (400, b""),
        (401, b'{"error": "invalid_grant"}'), (429, b"{}"), (500, b'{"error": "invalid_grant"}'), (503, b""),
    ],
)  # fmt: skip
def test_an_answer_of_the_token_endpoint_that_gives_nothing(status: int, answer: bytes) -> None:
    with pytest.raises(WireError) as caught:
        read_tokens(Answer(status=status, body=answer))
    assert "<script>" not in str(caught.value)


SETTINGS = DigitalAgencySettings(client_id=CLIENT, redirect_uri=REDIRECT, private_key=KEYS["ES256"])


@pytest.mark.parametrize(
    "answer",
    [
        {"name": "佐藤 恵", "birthdate": "19840512"}, {"sub": "other", "name": "佐藤 恵", "birthdate": "19840512"},
        {"sub": 1, "name": "佐藤 恵", "birthdate": "19840512"}, {"sub": "s", "birthdate": "19840512"},
        {"sub": "s", "name": "", "birthdate": "19840512"}, {"sub": "s", "name": "　", "birthdate": "19840512"},
        {"sub": "s", "name": ["佐藤"], "birthdate": "19840512"}, {"sub": "s", "name": "佐" * 257, "birthdate": "19840512"},
        {"sub": "s", "name": "佐藤 恵"}, {"sub": "s", "name": "佐藤 恵", "birthdate": 19840512},
        {"sub": "s", "name": "佐藤 恵", "birthdate": "19840231"}, {"sub": "s", "name": "佐藤 恵", "birthdate": "1984"},
        {"sub": "s", "name": "佐藤 恵", "birthdate": "１９８４０５１２"},
        {"sub": "s", "name": "佐藤 恵", "birthdate": "1984-W19-6"},
        {"sub": "s", "name": "佐藤 恵", "birthdate": "0000-00-00"},
    ],
)  # fmt: skip
def test_attributes_of_somebody_else_or_nobody(answer: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        read_attributes(answer, "s", SETTINGS)
    assert "佐" not in str(caught.value)


def test_what_was_not_asked_for_is_left_where_it_is() -> None:
    sent = {"sub": "s", "name": "佐藤 恵", "birthdate": "19840512", "address": "東京都", "gender": "2", "name_kana": "サトウ"}
    read = read_attributes(sent, "s", SETTINGS)
    assert (read.name, read.birth_date, read.kana) == ("佐藤 恵", "1984-05-12", "")


@pytest.mark.parametrize("name", ["jti", "sid"])
@pytest.mark.parametrize("value", ["", "a\nb", "x" * 129, 7, None, "\u202e"])
def test_a_reference_that_could_not_be_logged(name: str, value: object) -> None:
    with pytest.raises(WireError):
        reference_of({name: value, "iat": NOW}, NONCE)


# ---------------------------------------------------------------- at a running service


@pytest.fixture
async def service() -> AsyncIterator[Agency]:
    async with agency() as running:
        yield running


@pytest.fixture
async def backend(service: Agency) -> AsyncIterator[DigitalAgencyBackend]:
    made = service.backend(SystemClock())
    yield made
    await made.close()


BROKEN = [
    "wrong_issuer", "wrong_audience", "other_clients_token", "wrong_nonce", "no_nonce", "no_subject", "wrong_at_hash",
    "weaker_acr", "remembered", "alg_none", "hs256_pem", "hs256_der", "hs256_jwk", "hs256_empty", "rs256", "other_key",
    "unknown_kid",
    "bad_signature", "crit", "far_ahead", "far_behind", "other_person", "no_name", "no_birthdate", "not_a_day",
    "number_in_userinfo", "number_in_id_token", "number_in_token",
]  # fmt: skip


@pytest.mark.parametrize("mode", BROKEN)
async def test_a_service_that_answers_so_is_broken(service: Agency, backend: DigitalAgencyBackend, mode: str) -> None:
    outcome = await service.run(backend, mode=mode)
    assert isinstance(outcome, Broken)
    assert not any(personal in outcome.detail for personal in ("佐藤", "1984", "123456789018"))
    if mode.startswith("number"):
        assert "MUST NOT BE SENT" in outcome.detail


@pytest.mark.parametrize("mode", ["ok", "ahead", "behind", "no_acr", "renewed"])
async def test_and_one_that_does_not_is_not(service: Agency, backend: DigitalAgencyBackend, mode: str) -> None:
    assert isinstance(await service.run(backend, mode=mode), Proofed)


async def test_an_issuer_of_another_service_in_the_callback(service: Agency, backend: DigitalAgencyBackend) -> None:
    """Mix-up (RFC 9207)."""
    started = await backend.begin(SATO, "sign_in")
    assert isinstance(started, Started)
    await service.mode("other_issuer_in_callback")
    answer = await service.choose(started.show.link, "sato")
    assert await backend.complete(started.state, answer) == NotProofed(reason="unusable_answer")
    assert await service.seen("token") == []


async def test_a_code_of_somebody_elses_beginning(service: Agency, backend: DigitalAgencyBackend) -> None:
    """Code injection: another's code with one's own state. PKCE holds it (RFC 9700 §4.5)."""
    mine, theirs = await backend.begin(SATO, "sign_in"), await backend.begin(SUZUKI, "sign_in")
    assert isinstance(mine, Started)
    assert isinstance(theirs, Started)
    own = await service.choose(mine.show.link, "sato")
    stolen = await service.choose(theirs.show.link, "suzuki")
    assert await backend.complete(mine.state, {**own, "code": stolen["code"]}) == NotProofed(reason="unusable_answer")
    # And fixation: their whole callback in my browser, with my state in the store.
    assert await backend.complete(mine.state, stolen) == NotProofed(reason="unusable_answer")


async def test_a_code_that_another_client_got(service: Agency, backend: DigitalAgencyBackend) -> None:
    await service.register(client_id="RP2")
    other = service.backend(SystemClock(), client_id="RP2")
    try:
        mine, theirs = await backend.begin(SATO, "sign_in"), await other.begin(SATO, "sign_in")
        assert isinstance(mine, Started)
        assert isinstance(theirs, Started)
        own, stolen = await service.choose(mine.show.link, "sato"), await service.choose(theirs.show.link, "sato")
        assert await backend.complete(mine.state, {**own, "code": stolen["code"]}) == NotProofed(reason="unusable_answer")
    finally:
        await other.close()


async def test_the_stand_in_refuses_whoever_asks_for_the_individual_number(
    service: Agency, backend: DigitalAgencyBackend
) -> None:
    started = await backend.begin(SATO, "sign_in")
    assert isinstance(started, Started)
    for more in (
        "&scope=individual_number",
        "&claims=%7B%22individual-number%22%3Anull%7D",
        "&my_number=1",
        "&x=%E5%80%8B%E4%BA%BA%E7%95%AA%E5%8F%B7",
    ):
        async with service.stand_in.http.get(started.show.link + more) as reply:
            assert reply.status == 400
    refused = [item["refused"] for item in await service.seen("auth")]
    assert refused == ["individual_number"] * 4


def test_no_mode_lacks_a_test() -> None:
    """Every failure that the stand-in knows by name is in some test."""
    here = Path(__file__)
    text = here.read_text("utf-8") + (here.parents[1] / "integration/test_proofing_digital_agency.py").read_text("utf-8")
    plain = [name for name in PRESETS if not name.endswith(("_token", "_certs", "_userinfo", "_discovery", "_auth"))]
    assert len(plain) > 30
    assert [name for name in plain if f'"{name}"' not in text] == []


# ---------------------------------------------------------------- with the desk around it


class Around:
    """The desk on a real store, with this backend."""

    def __init__(self, bench: Bench, service: Agency) -> None:
        self.store, self.events, self.service = bench.store, bench.events, service
        self.desk = ProofingDesk(service.backend(bench.clock), bench.store, bench.events, bench.clock, lambda: DIGEST_KEYS)

    async def begin(self, browser: str = "browser-1") -> Pending:
        pending = await self.desk.begin(LEDGER_SATO, "sign_in", browser, "192.0.2.1", transaction_id="tx-1")
        assert isinstance(pending, Pending)
        return pending

    async def comes_back(self, answer: dict[str, str], browser: str = "browser-1") -> object:
        found = await self.desk.returned(answer, browser)
        if found is None:
            return None
        return await self.desk.complete(LEDGER_SATO, found[0], browser, answer, "192.0.2.1")


@pytest.fixture
async def around(tmp_path: Path, service: Agency) -> AsyncIterator[Around]:
    async with opened(tmp_path) as bench:
        await service.control("clock", now=int(bench.clock.now()))
        made = Around(bench, service)
        yield made
        await made.desk.backend.close()


async def test_no_failure_leaves_anything_recorded(around: Around) -> None:
    faults = [
        "expired_code",
        "down_token",
        "error_userinfo",
        "broken_json_userinfo",
        "redirect_token",
        "duplicate_names_userinfo",
    ]
    for mode in [*BROKEN, *faults]:
        pending = await around.begin()
        answer = await around.service.choose(pending.show.link, "sato")
        await around.service.mode(mode)
        result = await around.comes_back(answer)
        assert isinstance(result, Broken | Refused), mode
        assert await around.store.proofing.latest(LEDGER_SATO.id) is None
        await around.service.mode("ok")
    assert "proofing.succeeded" not in around.events.names()
    told = msgspec.json.encode(around.events.all).decode()
    assert not any(personal in told for personal in ("恵", "1984", "19840512", "code-", "access-", "123456789018"))


async def test_one_callback_counts_once_in_one_browser(around: Around) -> None:
    pending = await around.begin()
    answer = await around.service.choose(pending.show.link, "sato")
    assert await around.comes_back(answer, "another-browser") is None
    assert await around.comes_back({**answer, "state": "x" * 43}) is None
    record = await around.comes_back(answer)
    assert isinstance(record, ProofingRecord)
    assert await around.comes_back(answer) is None
    assert await around.store.proofing.latest(LEDGER_SATO.id) == record
    assert around.events.names().count("proofing.succeeded") == 1


async def test_somebody_elses_card_is_somebody_elses(around: Around) -> None:
    pending = await around.begin()
    result = await around.comes_back(await around.service.choose(pending.show.link, "suzuki"))
    assert result == Refused(reason="name_mismatch")
    assert await around.store.proofing.latest(LEDGER_SATO.id) is None


async def test_a_token_that_comes_a_second_time_is_no_second_result(around: Around) -> None:
    """The service's reference is recorded once, whatever the service says."""
    first = await around.begin()
    await around.service.mode("ok", claims={"jti": "the-same"})
    assert isinstance(await around.comes_back(await around.service.choose(first.show.link, "sato")), ProofingRecord)
    second = await around.begin()
    result = await around.comes_back(await around.service.choose(second.show.link, "sato"))
    assert result == Refused(reason="stale")


async def test_a_renewed_card_with_another_subject_goes_to_an_officer(around: Around) -> None:
    first = await around.begin()
    assert isinstance(await around.comes_back(await around.service.choose(first.show.link, "sato")), ProofingRecord)
    second = await around.begin()
    await around.service.mode("renewed")
    result = await around.comes_back(await around.service.choose(second.show.link, "sato"))
    assert isinstance(result, UnderReview)
    assert result.kind == "new_card"

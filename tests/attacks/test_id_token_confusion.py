"""ID tokens that fooled other relying parties (facts on JOSE libraries and OIDC flows): each refused at the step named."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jws
from joserfc.jwk import ECKey, KeySet

from gateway.kernel.errors import ProtocolError
from gateway.pipeline.gather import authentication_facts
from gateway.rp.token import events_of, identity_of, verify_id_token

ISSUER, CLIENT, NONCE, NOW = "http://id.localhost:8080", "gateway", "nonce-of-this-request", 1_800_000_000
KEY = ECKey.generate_key("P-256", {"kid": "current", "use": "sig"}, private=True)
OTHER = ECKey.generate_key("P-256", {"kid": "current"}, private=True)
KEYS = KeySet.import_key_set({"keys": [{**KEY.as_dict(private=False), "kid": "current"}]})


def claims(**changes: Any) -> dict[str, Any]:
    good = {"iss": ISSUER, "aud": CLIENT, "sub": "usr_1", "nonce": NONCE, "iat": NOW, "exp": NOW + 300, "auth_time": NOW}
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: dict[str, Any] | bytes, key: ECKey = KEY, **header: Any) -> str:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head = {"alg": "ES256", "kid": "current", "typ": "JWT"}
    return jws.serialize_compact(head | header, body, key, algorithms=["ES256"])


def raw(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}.{b64(signature)}"


def with_header(**header: Any) -> str:
    """A correctly signed token over a header that joserfc would not write itself."""
    head = b64(json.dumps({"alg": "ES256", "kid": "current"} | header).encode())
    body = b64(json.dumps(claims()).encode())
    signature = jws.serialize_compact({"alg": "ES256"}, b"x", KEY, algorithms=["ES256"]).rpartition(".")[2]
    return f"{head}.{body}.{signature}"


def hs256(secret: bytes, kid: str = "current") -> str:
    head, body = b64(json.dumps({"alg": "HS256", "kid": kid}).encode()), b64(json.dumps(claims()).encode())
    return f"{head}.{body}.{b64(hmac.digest(secret, f'{head}.{body}'.encode(), hashlib.sha256))}"


def verify(token: str, now: float = NOW) -> dict[str, Any]:
    return verify_id_token(token, KEYS, issuer=ISSUER, client_id=CLIENT, nonce=NONCE, now=now)


def public(encoding: serialization.Encoding) -> bytes:
    key = serialization.load_pem_public_key(KEY.as_pem(private=False))
    return key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_a_good_token_is_accepted() -> None:
    assert verify(signed(claims()))["sub"] == "usr_1"
    assert verify(signed(claims(aud=[CLIENT])))["sub"] == "usr_1"
    assert verify(signed(claims(aud=[CLIENT, "other"], azp=CLIENT)))["sub"] == "usr_1"


BAD = {
    "alg none": ("step 1", raw({"alg": "none"}, claims())),
    "alg None": ("step 1", raw({"alg": "None"}, claims())),
    "alg NONE with blank signature": ("step 1", raw({"alg": "NONE", "kid": "current"}, claims())),
    "no alg": ("step 1", raw({"kid": "current"}, claims())),
    "HS256 with the public key in PEM (CVE-2024-33663)": ("step 1", hs256(public(serialization.Encoding.PEM))),
    "HS256 with the public key in DER (CVE-2026-85394)": ("step 1", hs256(public(serialization.Encoding.DER))),
    "HS256 with the JWK as text": ("step 1", hs256(json.dumps(KEY.as_dict(private=False)).encode())),
    "HS256 with the empty key (CVE-2026-120459)": ("step 1", hs256(b"")),
    "key in the header (CVE-2026-27962)": ("step 1", with_header(jwk=OTHER.as_dict(private=False))),
    "jku": ("step 1", with_header(jku="https://evil.example/jwks")),
    "x5u": ("step 1", with_header(x5u="https://evil.example/x")),
    "x5c": ("step 1", with_header(x5c=["AAAA"])),
    "unknown crit (CVE-2025-59420)": ("step 1", with_header(crit=["bork"], bork=1)),
    "zip": ("step 1", with_header(zip="DEF")),
    "kid with a path": ("step 2", with_header(kid="../../dev/null")),
    "kid with SQL": ("step 2", with_header(kid="' OR 1=1 --")),
    "kid of a wrong type": ("step 2", with_header(kid=7)),
    "signed with another key": ("step 3", signed(claims(), OTHER)),
    "trailing data": ("step 3", signed(claims()) + "AAAA"),
    "four parts": ("step 1", signed(claims()) + ".x"),
    "1 MB": ("step 1", signed(claims(pad="x" * 1_000_000))),
    "not ASCII": ("step 1", "é.é.é"),
    "payload is a list": ("step 4", signed(b"[]")),
    "a lone surrogate": ("step 4", signed(claims(name="\ud800"))),
    "a lone surrogate as a name": ("step 4", signed(json.dumps(claims(x={"\udfff": 1})).encode())),
    "duplicate names": ("step 4", signed(json.dumps(claims()).encode()[:-1] + b', "sub": "usr_admin"}')),
    "other issuer": ("step 5", signed(claims(iss=ISSUER + "/"))),
    "no issuer": ("step 5", signed(claims(iss=...))),
    "other audience": ("step 6", signed(claims(aud="other"))),
    "no audience": ("step 6", signed(claims(aud=...))),
    "two audiences, no azp": ("step 6", signed(claims(aud=[CLIENT, "other"]))),
    "other azp": ("step 6", signed(claims(azp="other"))),
    "expired": ("step 7", signed(claims(exp=NOW - 61))),
    "no exp": ("step 7", signed(claims(exp=...))),
    "exp as text": ("step 7", signed(claims(exp=str(NOW + 300)))),
    "exp as float": ("step 7", signed(claims(exp=NOW + 300.5))),
    "exp true": ("step 7", signed(claims(exp=True))),
    "no iat": ("step 7", signed(claims(iat=...))),
    "from the future": ("step 7", signed(claims(iat=NOW + 61))),
    "other nonce": ("step 8", signed(claims(nonce="x"))),
    "no nonce": ("step 8", signed(claims(nonce=...))),
    "no subject": ("step 9", signed(claims(sub=...))),
    "empty subject": ("step 9", signed(claims(sub=""))),
}


@pytest.mark.parametrize(("step", "token"), BAD.values(), ids=BAD.keys())
def test_refused(step: str, token: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        verify(token)
    assert caught.value.where == step


def test_a_key_that_is_not_elliptic_is_never_used() -> None:
    keys = KeySet.import_key_set({"keys": [{"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "kid": "current"}]})
    with pytest.raises(ProtocolError) as caught:
        verify_id_token(signed(claims()), keys, issuer=ISSUER, client_id=CLIENT, nonce=NONCE, now=NOW)
    assert caught.value.where == "step 2"


@pytest.mark.parametrize(
    "wrong",
    [{"roles": "physician"}, {"roles": [""]}, {"roles": [7]}, {"roles": ["r"] * 65}, {"name": 7}, {"proofing": []}]
    + [{"proofing": {"level": level, "verified_at": NOW, "expires_at": None}} for level in (0, 4, True, "3", None)],
)
def test_claims_of_a_wrong_type_are_not_guessed(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        identity_of(claims(**wrong), roles_claim="roles")


def test_no_roles_means_no_roles() -> None:
    assert identity_of(claims(), roles_claim="roles").roles == ()


@pytest.mark.parametrize(
    "wrong", ["pwd", [7], [{"kind": "magic", "at": NOW}], [{"kind": "pwd", "at": "now"}], [{"kind": "pwd", "at": True}]]
)
def test_authentication_events_that_cannot_be_read_prove_nothing(wrong: Any) -> None:
    with pytest.raises(ProtocolError):
        events_of(claims(auth_events=wrong), 1, NOW)


def test_an_event_from_the_future_is_at_most_now() -> None:
    (event,) = events_of(claims(auth_events=[{"kind": "fido2", "at": NOW + 10_000, "phishing_resistant": True}]), 1, NOW)
    assert event.at == NOW


def test_a_token_that_does_not_say_when_proves_nothing_fresh() -> None:
    """A provider that remembers somebody issues a new token at once: its `iat` is no touch of a key."""
    (touch,) = events_of(claims(amr=["hwk", "user"], auth_time=..., iat=NOW), 1, NOW)
    assert touch.at == 0
    assert authentication_facts((touch,), NOW).key_touch_age_seconds == NOW


@pytest.mark.parametrize("at", ["now", True, 1.5, None])
def test_a_time_of_a_wrong_type_is_not_guessed(at: Any) -> None:
    with pytest.raises(ProtocolError):
        events_of(claims(amr=["pwd"], auth_time=at), 1, NOW)


def test_another_providers_words() -> None:
    kinds = [event.kind for event in events_of(claims(amr=["pwd", "otp", "blood"]), 1, NOW)]
    assert kinds == ["pwd", "otp"]
    assert events_of(claims(amr=["hwk"]), 1, NOW) == ()  # no user verification said: proves no FIDO2 sign-in
    (strong,) = events_of(claims(amr=["hwk", "user"]), 1, NOW)
    assert strong.kind == "fido2"
    assert strong.phishing_resistant

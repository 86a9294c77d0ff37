import hashlib
import hmac
import json
from typing import Any

import pytest
from jose import jwt as other_jwt
from joserfc.jwk import ECKey

from gateway.kernel.assertion import NotVerified, Verifier, only_one, parse_keys, verify_assertion
from gateway.kernel.clock import ManualClock
from tests.support.assertions import PORTAL, TestSigner, b64, segment

NOW = 1_800_000_000


@pytest.fixture(scope="module")
def signer() -> TestSigner:
    return TestSigner()


def why(signer: TestSigner, token: str, now: float = NOW) -> str:
    with pytest.raises(NotVerified) as caught:
        verify_assertion(token, parse_keys(signer.jwks()), issuer=PORTAL, audience="ehr", now=now)
    return caught.value.why


def test_a_good_assertion_gives_its_claims(signer: TestSigner) -> None:
    claims = verify_assertion(signer.sign(signer.claims(NOW)), parse_keys(signer.jwks()), issuer=PORTAL, audience="ehr", now=NOW)
    assert (claims.sub, claims.login, claims.name, claims.roles, claims.jti) == (
        "usr_sato",
        "dr.sato",
        "佐藤 恵",
        ("physician",),
        "dec_1",
    )


def test_another_library_agrees_about_what_is_good(signer: TestSigner) -> None:
    token = signer.sign(signer.claims(NOW))
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    assert (
        other_jwt.decode(token, signer.jwks(), algorithms=["ES256"], audience="ehr", issuer=PORTAL, options=options)["sub"]
        == "usr_sato"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "http://portal.localhost:8081"}, "issuer"),
        ({"iss": PORTAL + "/"}, "issuer"),
        ({"aud": "imaging"}, "audience"),
        ({"aud": ["ehr", "imaging"]}, "malformed"),
        ({"aud": ["ehr"]}, "malformed"),
        ({"aud": ...}, "malformed"),
        ({"exp": NOW - 5}, "expired"),
        ({"exp": NOW - 3600, "iat": NOW - 3660, "nbf": NOW - 3660}, "expired"),
        ({"exp": NOW + 301}, "expired"),
        ({"exp": 10**20}, "expired"),
        ({"exp": -1}, "expired"),
        ({"exp": str(NOW + 60)}, "malformed"),
        ({"exp": NOW + 60.5}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"exp": ...}, "malformed"),
        ({"nbf": NOW + 6}, "not_yet_valid"),
        ({"iat": NOW + 6}, "not_yet_valid"),
        ({"iat": ...}, "malformed"),
        ({"nbf": ...}, "malformed"),
        ({"sub": ""}, "malformed"),
        ({"sub": 7}, "malformed"),
        ({"login": ""}, "malformed"),
        ({"jti": ""}, "malformed"),
        ({"roles": "physician"}, "malformed"),
        ({"roles": [["physician"]]}, "malformed"),
        ({"roles": ...}, "malformed"),
    ],
)
def test_a_wrong_claim_is_refused(signer: TestSigner, changes: dict[str, Any], expected: str) -> None:
    assert why(signer, signer.sign(signer.claims(NOW, **changes))) == expected


@pytest.mark.parametrize("now", [NOW - 5, NOW, NOW + 64])
def test_clocks_may_differ_by_five_seconds(signer: TestSigner, now: float) -> None:
    token = signer.sign(signer.claims(NOW))
    assert verify_assertion(token, parse_keys(signer.jwks()), issuer=PORTAL, audience="ehr", now=now).sub == "usr_sato"


@pytest.mark.parametrize("now", [NOW - 6, NOW + 65])
def test_and_by_no_more(signer: TestSigner, now: float) -> None:
    assert why(signer, signer.sign(signer.claims(NOW)), now) in {"not_yet_valid", "expired"}


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "ES384", "HS256", "RS256", "es256"])
def test_the_header_does_not_choose_the_algorithm(signer: TestSigner, algorithm: str) -> None:
    header = {"alg": algorithm, "kid": signer.kid}
    assert why(signer, signer.sign(signer.claims(NOW), header)) == "algorithm"
    unsigned = f"{segment(header)}.{segment(signer.claims(NOW))}."
    assert why(signer, unsigned) == "malformed"


def test_no_algorithm_at_all(signer: TestSigner) -> None:
    assert why(signer, signer.sign(signer.claims(NOW), {"kid": signer.kid})) == "malformed"


@pytest.mark.parametrize("form", ["pem", "der", "jwk", "empty"])
def test_hs256_with_the_public_key_as_secret(signer: TestSigner, form: str) -> None:
    secrets = {
        "pem": signer.key.as_pem(private=False),
        "der": signer.key.as_der(private=False),
        "jwk": json.dumps(signer.key.as_dict(private=False)).encode(),
        "empty": b"",
    }
    signing_input = f"{segment({'alg': 'HS256', 'kid': signer.kid})}.{segment(signer.claims(NOW))}"
    token = f"{signing_input}.{b64(hmac.new(secrets[form], signing_input.encode(), hashlib.sha256).digest())}"
    assert why(signer, token) == "algorithm"


def test_somebody_elses_key_under_our_kid(signer: TestSigner) -> None:
    forger = TestSigner(kid=signer.kid)
    assert why(signer, forger.sign(forger.claims(NOW))) == "signature"


@pytest.mark.parametrize("kid", ["key-2", "", "../../etc/passwd", "key-1' OR '1'='1", "key-1\u0000"])
def test_an_unknown_kid(signer: TestSigner, kid: str) -> None:
    assert why(signer, signer.sign(signer.claims(NOW), {"alg": "ES256", "kid": kid})) == "unknown_key"


@pytest.mark.parametrize(
    "extra",
    [
        {"jwk": "own"},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"crit": ["bork"], "bork": True},
        {"b64": False, "crit": ["b64"]},
        {"zip": "DEF"},
        {"x": "y" * 400},
    ],
)
def test_a_header_that_brings_more_than_it_should(signer: TestSigner, extra: dict[str, Any]) -> None:
    forger = TestSigner()
    if "jwk" in extra:
        extra = {"jwk": forger.key.as_dict(private=False)}
    header = {"alg": "ES256", "kid": signer.kid, **extra}
    assert why(signer, signer.sign(signer.claims(NOW), header)) == "malformed"
    assert why(signer, forger.sign(forger.claims(NOW), header)) == "malformed"


def test_texts_that_are_no_compact_token(signer: TestSigner) -> None:
    good = signer.sign(signer.claims(NOW))
    head, body, signature = good.split(".")
    wrong_shape = [
        "",
        ".",
        "..",
        "a.b",
        f"{head}.{body}",
        f"{good}.",
        f"{good}.x",
        "{}",
        "null",
        good.replace(".", "。"),
        "é" * 20,
    ]
    surrounded = [f"{good} ", f" {good}", f"{good}\n", f"Bearer {good}", f"{good},{good}"]
    empty_parts = [f"{head}.{body}.", f".{body}.{signature}", f"{head}..{signature}"]
    padded = [f"{head}=.{body}.{signature}", f"{head}.{body}.{signature}=="]
    for bad in (*wrong_shape, *surrounded, *empty_parts, *padded, f"{head}.{body}.{'A' * 8192}"):
        assert why(signer, bad) == "malformed", bad


def test_a_second_spelling_of_the_same_signature(signer: TestSigner) -> None:
    good = signer.sign(signer.claims(NOW))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(good[-1])
    assert last % 4 == 0  # 64 bytes leave four spare bits, which must be zero; here two of them
    assert why(signer, good[:-1] + alphabet[last + 1]) == "malformed"


@pytest.mark.parametrize("cut", [1, 2, 3, 20])
def test_a_truncated_signature(signer: TestSigner, cut: int) -> None:
    assert why(signer, signer.sign(signer.claims(NOW))[:-cut]) in {"malformed", "signature"}


def test_a_changed_claim(signer: TestSigner) -> None:
    head, _, signature = signer.sign(signer.claims(NOW)).split(".")
    assert why(signer, f"{head}.{segment(signer.claims(NOW, roles=['security_officer']))}.{signature}") == "signature"


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'"x"', b"{", b"\xff\xfe", b'{"iss":"\\ud800"}', b"[" * 5000])
def test_a_payload_that_is_no_claims_object(signer: TestSigner, payload: bytes) -> None:
    header = json.dumps({"alg": "ES256", "kid": signer.kid}).encode()
    assert why(signer, signer.sign_raw(header, payload).decode()) == "malformed"


@pytest.mark.parametrize(
    "header", [b"null", b"[]", b"\xff", b"{", b'{"alg":["ES256"],"kid":"key-1"}', b'{"alg":"ES256","kid":1}']
)
def test_a_header_that_is_no_header(signer: TestSigner, header: bytes) -> None:
    assert why(signer, signer.sign_raw(header, b"{}").decode()) == "malformed"


def test_a_token_within_a_token(signer: TestSigner) -> None:
    inner = signer.sign(signer.claims(NOW))
    header = json.dumps({"alg": "ES256", "kid": signer.kid, "cty": "JWT"}).encode()
    assert why(signer, signer.sign_raw(header, inner.encode()).decode()) == "malformed"


# ------------------------------------------------------------------ keys


def test_keys_of_other_kinds_are_left_out(signer: TestSigner) -> None:
    good = signer.jwks()["keys"]
    assert isinstance(good, list)
    jwk: dict[str, object] = good[0]
    others = [
        {**jwk, "kid": "a", "use": "enc"},
        {**jwk, "kid": "b", "alg": "ES384"},
        {**jwk, "kid": ""},
        {"kty": "oct", "kid": "c", "k": "AAAA"},
        {"kty": "EC", "crv": "P-384", "kid": "d", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "e", "n": "AQAB", "e": "AQAB"},
    ]
    assert list(parse_keys({"keys": [*others, jwk]})) == [signer.kid]
    assert list(parse_keys(json.dumps({"keys": [jwk]}))) == [signer.kid]


@pytest.mark.parametrize(
    "jwks",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":{}}',
        b'{"keys":[{"kty":"EC"}]}',
        b"\xff",
        {"keys": [{"kid": 3}]},
        {"keys": None},
        3,
    ],
)
def test_what_is_no_key_set(jwks: object) -> None:
    with pytest.raises(ValueError, match="JWK Set"):
        parse_keys(jwks)


def test_two_keys_of_one_kid_and_a_point_off_the_curve(signer: TestSigner) -> None:
    keys = signer.jwks()["keys"]
    assert isinstance(keys, list)
    with pytest.raises(ValueError, match="two keys of one kid"):
        parse_keys({"keys": keys * 2})
    with pytest.raises(ValueError, match="no P-256 point"):
        parse_keys({"keys": [{**keys[0], "y": keys[0]["x"]}]})


def test_a_private_key_in_the_set_is_used_as_public_only(signer: TestSigner) -> None:
    private = {**signer.key.as_dict(private=True), "kid": signer.kid, "use": "sig", "alg": "ES256"}
    found = parse_keys({"keys": [private]})[signer.kid]
    assert isinstance(found, ECKey)
    assert not found.is_private


# ------------------------------------------------------------------ the verifier of the same process, and the header


def test_the_local_verifier_follows_the_signers_keys() -> None:
    clock = ManualClock(NOW)
    old, new = TestSigner("old"), TestSigner("new")
    published = [old.jwks()]
    verify = Verifier(lambda: published[-1], issuer=PORTAL, audience="ehr", clock=clock)
    assert verify(old.sign(old.claims(NOW))).sub == "usr_sato"
    published.append(new.jwks())
    assert verify(new.sign(new.claims(NOW))).sub == "usr_sato"
    with pytest.raises(NotVerified, match="unknown_key"):
        verify(old.sign(old.claims(NOW)))
    clock.advance(66)
    with pytest.raises(NotVerified, match="expired"):
        verify(new.sign(new.claims(NOW)))


@pytest.mark.parametrize(
    ("values", "expected"), [([], "missing"), ([""], "missing"), (["a", "b"], "repeated"), (["a", "a"], "repeated")]
)
def test_only_one_assertion(values: list[str], expected: str) -> None:
    with pytest.raises(NotVerified, match=expected):
        only_one(values)

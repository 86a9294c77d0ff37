"""Registering a device: names, certificates, browser keys, and the signatures that WebCrypto makes."""

import base64
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.secret import Secret, hash_token
from gateway.posture import ledger
from gateway.posture.enrol import (
    EnrolmentError,
    challenge_text,
    check_certificate,
    clean_label,
    new_device,
    parse_public_jwk,
    verify_key_signature,
)
from gateway.posture.observe import certificate_sha256
from tests.support.devices import NOW, client_certificate
from tests.support.devices import new_device as stored_device

ORIGIN = "http://portal.localhost:8080"
CHALLENGE = "aGVsbG8gd29ybGQgdGhpcyBpcyBhIGNoYWxsZW5nZSE"
COMMON: dict[str, Any] = {
    "device_id": "dev_1",
    "label": "病棟端末",
    "ownership": "hospital",
    "attested": True,
    "registered_by": "usr_sato",
    "now": NOW,
}
PRIVATE = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def members(key: ec.EllipticCurvePrivateKey = PRIVATE) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32, "big"))}


JWK = json.dumps(members())


def signed(text: bytes, key: ec.EllipticCurvePrivateKey = PRIVATE, algorithm: SHA256 | SHA384 | None = None) -> str:
    """Sign as WebCrypto does: r||s, each 32 bytes."""
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(algorithm or SHA256())))
    return b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


GOOD = {"purpose": "enrol", "origin": ORIGIN, "challenge": CHALLENGE}


def verify(signature: str, **changes: Any) -> None:
    verify_key_signature(**{"key_jwk": JWK, **GOOD, "signature": signature, **changes})


# ---------------------------------------------------------------- devices


def test_self_service_is_active_at_once_and_compliant_by_the_persons_own_word() -> None:
    device = new_device(mode="self-service", cookie=Secret("cookie"), **COMMON)
    assert (device.status, device.compliance, device.compliance_source) == ("active", "compliant", "self-attested")
    assert (device.compliance_at, device.registered_at, device.version) == (int(NOW), int(NOW), 1)
    assert device.cookie_hash == hash_token("cookie")
    assert "cookie" not in repr(device).replace("cookie_hash", "")


def test_without_attestation_compliance_is_unknown() -> None:
    device = new_device(mode="self-service", cookie=Secret("cookie"), **{**COMMON, "attested": False})
    assert (device.status, device.compliance) == ("active", "unknown")


def test_officer_approval_waits_whatever_the_person_says() -> None:
    device = new_device(mode="officer-approval", cookie=Secret("cookie"), **COMMON)
    assert (device.status, device.compliance) == ("pending", "unknown")
    approved = ledger.approve(device, login="sec.yamamoto", now=NOW + 60)
    assert (approved.status, approved.compliance) == ("active", "compliant")
    assert (approved.compliance_source, approved.compliance_at) == ("officer:sec.yamamoto", int(NOW) + 60)


def test_a_device_without_any_means_of_proof_is_refused() -> None:
    with pytest.raises(EnrolmentError, match="cookie, a key or a certificate"):
        new_device(mode="self-service", **COMMON)


def test_a_device_may_have_several_means() -> None:
    der = client_certificate()
    device = new_device(mode="self-service", cookie=Secret("c"), key_jwk=parse_public_jwk(JWK), certificate=der, **COMMON)
    assert device.certificate_sha256 == certificate_sha256(der)
    assert json.loads(device.key_jwk) == members()


@pytest.mark.parametrize(
    ("label", "clean"),
    [
        ("  端末1　", "端末1"),
        ("x" * 64, "x" * 64),
        ("ﾀﾌﾞﾚｯﾄ", "ﾀﾌﾞﾚｯﾄ"),
        ("か\u3099", "が"),
        ("Dr. O'Neil <PC>", "Dr. O'Neil <PC>"),
    ],
)
def test_a_name_is_kept_as_written(label: str, clean: str) -> None:
    assert clean_label(label) == clean


@pytest.mark.parametrize(
    "label", ["", "   ", "　", "x" * 65, "a\nb", "a\x00", "a\x1b[31m", "a\u202eb", "a\u200bb", "\ud800", "a\u2028b"]
)
def test_a_name_that_would_deceive_or_break_a_page_or_log_is_refused(label: str) -> None:
    with pytest.raises(EnrolmentError, match="name"):
        clean_label(label)


# ---------------------------------------------------------------- certificates


def test_a_certificate_that_is_valid_now_is_named_by_its_hash() -> None:
    der = client_certificate()
    assert check_certificate(der, NOW) == certificate_sha256(der)


@pytest.mark.parametrize("start", [NOW + 1, NOW - 31 * 86_400])
def test_a_certificate_that_is_not_valid_now_is_refused(start: float) -> None:
    with pytest.raises(EnrolmentError, match="not valid now"):
        check_certificate(client_certificate(start=start), NOW)


@pytest.mark.parametrize(
    "spoil", [lambda der: b"", lambda der: der[:-1], lambda der: der + b"\x00", lambda der: b"x" * 100, lambda der: der * 2]
)
def test_what_is_not_exactly_one_certificate_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(EnrolmentError, match="can't be read"):
        check_certificate(spoil(client_certificate()), NOW)


# ---------------------------------------------------------------- keys


def test_a_key_is_brought_into_one_spelling() -> None:
    one = parse_public_jwk(json.dumps(members(), indent=3))
    other = parse_public_jwk(json.dumps(dict(reversed(members().items()))))
    assert one == other
    assert list(json.loads(one)) == ["crv", "kty", "x", "y"]


def _with(**changes: Any) -> str:
    return json.dumps({**members(), **changes})


_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_OFF_CURVE = b64((int.from_bytes(base64.urlsafe_b64decode(members()["y"] + "="), "big") ^ 1).to_bytes(32, "big"))
_LEADING_ZERO_KEY = next(
    key
    for key in (ec.derive_private_key(number, ec.SECP256R1()) for number in range(1, 5000))
    if key.public_key().public_numbers().x < 2**248
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "{",
        '"x"',
        "1e999",
        "NaN",
        "[" * 500,
        "\ud800",
        JWK[:-1],
        JWK + "x",
        JWK + JWK,
        JWK.replace("}", ', "x": "AAAA"}'),
        JWK.replace("{", '{"x": "AAAA", '),
        JWK.replace("{", '{"kty": "EC", '),
        _with(d=b64(bytes(32))),
        _with(ext=True),
        _with(key_ops=["verify"]),
        _with(kid="1"),
        _with(kty="oct"),
        _with(kty="ec"),
        _with(kty=["EC"]),
        _with(crv="P-384"),
        _with(crv="p-256"),
        _with(crv=None),
        _with(x=""),
        _with(x=1),
        _with(x=None),
        _with(x=["A"]),
        _with(x=members()["x"] + "="),
        _with(x=members()["x"] + "A"),
        _with(x=members()["x"][:-1]),
        _with(x=members()["x"][:-1] + "+"),
        _with(x=" " + members()["x"][1:]),
        _with(x="Ａ" + members()["x"][1:]),
        _with(x="\ud800" + members()["x"][1:]),
        _with(x=b64(bytes(32)), y=b64(bytes(32))),
        _with(y=_OFF_CURVE),
        _with(x=b64(_P.to_bytes(32, "big"))),
        _with(x=b64(b"\xff" * 32), y=b64(b"\xff" * 32)),
        _with(x=b64(_LEADING_ZERO_KEY.public_key().public_numbers().x.to_bytes(31, "big"))),
        _with(x="A" * 10_000),
        json.dumps({name: value for name, value in members().items() if name != "y"}),
    ],
)
def test_what_is_not_exactly_a_public_p256_key_is_refused(text: str) -> None:
    with pytest.raises(EnrolmentError, match="device key"):
        parse_public_jwk(text)


def test_a_coordinate_with_a_leading_zero_byte_is_taken() -> None:
    assert parse_public_jwk(json.dumps(members(_LEADING_ZERO_KEY)))


def test_two_spellings_of_the_spare_bits_are_not_both_taken() -> None:
    x = members()["x"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    raw = base64.urlsafe_b64decode(x + "=")
    others = [x[:-1] + last for last in alphabet if base64.urlsafe_b64decode(x[:-1] + last + "=") == raw and last != x[-1]]
    assert others
    for other in others:
        with pytest.raises(EnrolmentError):
            parse_public_jwk(_with(x=other))


@given(
    text=st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps), st.binary().map(b64))
)
def test_no_text_makes_the_parser_raise_anything_else(text: str) -> None:
    with pytest.raises(EnrolmentError):
        parse_public_jwk(text)


# ---------------------------------------------------------------- signatures


def test_the_signature_of_the_exact_text_is_taken() -> None:
    expected = b"zt-gateway device key 1\nenrol\nhttp://portal.localhost:8080\n" + CHALLENGE.encode()
    assert challenge_text("enrol", ORIGIN, CHALLENGE) == expected
    verify(signed(expected))


def test_signatures_of_many_keys_are_taken() -> None:
    """Among them some whose r or s begins with a zero byte."""
    for _ in range(300):
        key = ec.generate_private_key(ec.SECP256R1())
        verify(signed(challenge_text("enrol", ORIGIN, CHALLENGE), key), key_jwk=json.dumps(members(key)))


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "prove"},
        {"origin": "http://portal.localhost:8081"},
        {"origin": "https://portal.localhost:8080"},
        {"origin": "http://portal.localhost:8080.evil.example"},
        {"challenge": CHALLENGE[:-1] + "F"},
        {"challenge": ""},
        {"key_jwk": json.dumps(members(ec.derive_private_key(99, ec.SECP256R1())))},
    ],
)
def test_a_signature_for_another_purpose_site_challenge_or_key_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(EnrolmentError, match="did not sign"):
        verify(signed(challenge_text("enrol", ORIGIN, CHALLENGE)), **changes)


_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _der(signature: str) -> str:
    return b64(PRIVATE.sign(challenge_text("enrol", ORIGIN, CHALLENGE), ec.ECDSA(SHA256())))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: "",
        lambda good: good[:-1],
        lambda good: good + "A",
        lambda good: good + "==",
        lambda good: good[:-2] + "  ",
        lambda good: good.swapcase(),
        lambda good: b64(bytes(64)),
        lambda good: b64(b"\xff" * 64),
        lambda good: b64(bytes(32) + (1).to_bytes(32, "big")),
        lambda good: b64(_N.to_bytes(32, "big") + _N.to_bytes(32, "big")),
        lambda good: b64(base64.urlsafe_b64decode(good + "==")[32:] + base64.urlsafe_b64decode(good + "==")[:32]),
        _der,
        lambda good: b64(secrets.token_bytes(64)),
        lambda good: "é" * 86,
        lambda good: "\ud800" * 86,
        lambda good: signed(challenge_text("enrol", ORIGIN, CHALLENGE), algorithm=SHA384()),
        lambda good: signed(CHALLENGE.encode()),
    ],
)
def test_what_is_no_signature_is_refused(spoil: Callable[[str], str]) -> None:
    with pytest.raises(EnrolmentError, match="did not sign"):
        verify(spoil(signed(challenge_text("enrol", ORIGIN, CHALLENGE))))


# ---------------------------------------------------------------- the ledger


def test_a_device_is_blocked_and_comes_back_only_through_an_officer() -> None:
    blocked = ledger.block(stored_device())
    assert blocked.status == "blocked"
    back = ledger.unblock(blocked, now=NOW + 5)
    assert (back.status, back.compliance) == ("pending", "unknown")
    assert ledger.approve(back, login="sec.yamamoto", now=NOW + 6).status == "active"


@pytest.mark.parametrize(
    "act",
    [
        lambda: ledger.approve(stored_device(), login="x", now=NOW),
        lambda: ledger.approve(stored_device(status="blocked"), login="x", now=NOW),
        lambda: ledger.unblock(stored_device(), now=NOW),
        lambda: ledger.unblock(stored_device(status="pending"), now=NOW),
        lambda: ledger.block(stored_device(status="blocked")),
        lambda: ledger.set_compliance(stored_device(), compliance="compliant", source="mdm:x", now=NOW - 10),
    ],
)
def test_what_makes_no_sense_in_the_devices_state_is_refused(act: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="device dev_"):
        act()


def test_a_newer_word_on_compliance_replaces_the_older_one() -> None:
    device = ledger.set_compliance(stored_device(), compliance="non_compliant", source="mdm:intune", now=NOW + 1)
    assert (device.compliance, device.compliance_source, device.compliance_at) == ("non_compliant", "mdm:intune", int(NOW) + 1)

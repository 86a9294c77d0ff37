"""Building a device for registration, and the proofs that tie it to a browser or machine. Pure: time and randomness come in.

- Cookie: a bearer token in the browser; whoever copies it has it.
- Key: an ECDSA P-256 key that WebCrypto made as not extractable; the browser signs a challenge of ours. The gateway can't see
  that the key is really not extractable: nothing attests it.
- Certificate: registered by the SHA-256 of its DER; TLS proves the possession of its key on each connection.
"""

import base64
import binascii
import datetime as dt
import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.domain.posture import Device, Ownership
from gateway.kernel.canonical import canonical_json
from gateway.kernel.secret import Secret, hash_token

EnrolmentMode = Literal["self-service", "officer-approval"]
Purpose = Literal["enrol", "prove"]
"""What a signature was made for: registering the key, or showing later that it is still here."""

MAX_LABEL: Final = 64
_MAX_JWK: Final = 512
_COORDINATE_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_MEMBERS: Final = frozenset({"kty", "crv", "x", "y"})


class EnrolmentError(ValueError):
    """What was sent can't register or prove a device. The text is for the person's page: it shows nothing that was sent."""


def new_device(
    *,
    device_id: str,
    label: str,
    ownership: Ownership,
    mode: EnrolmentMode,
    attested: bool,
    registered_by: str,
    now: float,
    cookie: Secret | None = None,
    key_jwk: str = "",
    certificate: bytes | None = None,
) -> Device:
    """Return the device to add to the registry.

    `self-service`: active at once, and compliant when the person attested that it meets the hospital's rules (`attested`).
    `officer-approval`: pending, compliance unknown, until an officer decides (`gateway.posture.ledger`).
    `cookie`, `key_jwk` (canonical, from `parse_public_jwk`, after `verify_key_signature`) and `certificate` are its means of
    proof: at least one, else EnrolmentError. Does not check that the person may register a device, nor whose it is.
    """
    if cookie is None and not key_jwk and certificate is None:
        raise EnrolmentError("a device needs a cookie, a key or a certificate to be known by")
    active = mode == "self-service"
    return Device(
        id=device_id,
        label=clean_label(label),
        status="active" if active else "pending",
        ownership=ownership,
        compliance="compliant" if active and attested else "unknown",
        compliance_at=int(now),
        compliance_source="self-attested",
        registered_at=int(now),
        registered_by=registered_by,
        cookie_hash=hash_token(cookie.reveal()) if cookie is not None else "",
        key_jwk=key_jwk,
        certificate_sha256=check_certificate(certificate, now) if certificate is not None else "",
        last_seen_at=int(now),
    )


def clean_label(label: str) -> str:
    """Return a device's name as shown in the ledger: NFC, trimmed, one line, 1 to 64 characters; else EnrolmentError."""
    text = unicodedata.normalize("NFC", label).strip()
    if not 1 <= len(text) <= MAX_LABEL:
        raise EnrolmentError(f"the device's name must have 1 to {MAX_LABEL} characters")
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for character in text):
        raise EnrolmentError("the device's name may not hold control or invisible characters")
    return text


def check_certificate(der: bytes, now: float) -> str:
    """Return the hex SHA-256 of a certificate that is one X.509 certificate and valid now; else EnrolmentError.

    Does not check who issued it: the connection that showed it was verified against the device CA.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        raise EnrolmentError("the client certificate can't be read") from None
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise EnrolmentError("the client certificate is not valid now")
    return hashlib.sha256(der).hexdigest()


# ------------------------------------------------------------------ browser keys


def challenge_text(purpose: Purpose, origin: str, challenge: str) -> bytes:
    """Return the bytes that the browser signs (UTF-8): four lines, the first a fixed name, no line feed at the end.

    `challenge` is a one-time name of ours, so that a signature works once; `origin` and `purpose` bind it to this site and step.
    """
    return f"zt-gateway device key 1\n{purpose}\n{origin}\n{challenge}".encode()


def parse_public_jwk(text: str) -> str:
    """Return the canonical form of an EC P-256 public key in JWK (RFC 7517, RFC 7518 §6.2.1), or raise EnrolmentError.

    Taken strictly: exactly `kty`, `crv`, `x`, `y`, each once (a private `d` is refused, not dropped), both coordinates 32 bytes
    in canonical base64url, and the point on the curve.
    """
    if len(text) > _MAX_JWK:
        raise EnrolmentError("the device key is too long")
    try:
        members = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        raise EnrolmentError("the device key is not a JSON Web Key") from None
    if not isinstance(members, dict) or members.keys() != _MEMBERS:
        raise EnrolmentError("the device key must have exactly the members crv, kty, x, y")
    if members["kty"] != "EC" or members["crv"] != "P-256":
        raise EnrolmentError("the device key must be an EC key on P-256")
    _public_key(members)
    return canonical_json(members).decode()


def verify_key_signature(*, key_jwk: str, purpose: Purpose, origin: str, challenge: str, signature: str) -> None:
    """Check what `crypto.subtle.sign({name: "ECDSA", hash: "SHA-256"})` gave for `challenge_text`; EnrolmentError when it fails.

    `key_jwk` is from `parse_public_jwk` or the registry; `signature` base64url of r||s (64 bytes). The caller has taken
    `challenge` from its one-time store before: this function does not know whether it was used already.
    """
    try:
        raw = _decoded(signature, _SIGNATURE_BYTES)
        dss = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        _public_key(json.loads(key_jwk)).verify(dss, challenge_text(purpose, origin, challenge), ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        raise EnrolmentError("the device key did not sign this challenge") from None


def _public_key(members: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    try:
        x, y = (int.from_bytes(_decoded(members[name], _COORDINATE_BYTES), "big") for name in ("x", "y"))
        # Refuses a point that is not on the curve, and a coordinate that is not below the field's prime.
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise EnrolmentError("the device key is not a point on P-256") from None


def _decoded(text: object, length: int) -> bytes:
    """Decode base64url without padding, in its one canonical spelling, to exactly `length` bytes; else ValueError."""
    if not isinstance(text, str) or not text.isascii() or len(text) != (length * 8 + 5) // 6:
        raise ValueError("not base64url of the right length")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ValueError("not canonical base64url")
    return raw


def _pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members

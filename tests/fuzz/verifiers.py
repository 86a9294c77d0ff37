"""What a verifier sends, fuzzed behind its signature: mutations of a signed token alone would all end at the signature."""

import base64
import json
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey

from gateway.kernel.errors import ProtocolError
from gateway.kernel.secret import Secret
from idp.proofing.digital_agency.answers import read_attributes, reference_of
from idp.proofing.digital_agency.id_token import Expected, verify_id_token
from idp.proofing.digital_agency.keys import VerifyingKey
from idp.proofing.digital_agency.settings import DigitalAgencySettings
from idp.proofing.strict import StrictError, holds_individual_number, parse_object
from idp.proofing.wire import WireError

_ISSUER: Final = "https://auth-and-sign.go.jp/api/realms/main"
_CLIENT: Final = "RP00000001"
_NOW: Final = 1_800_000_000
_KEY: Final = ec.derive_private_key(20_261_123, ec.SECP256R1())
_VERIFYING: Final = {"k": VerifyingKey(key=ECKey.import_key(_KEY.public_key()), algorithm="ES256")}
_EXPECTED: Final = Expected(
    issuer=_ISSUER, client_id=_CLIENT, nonce="nonce", access_token="access", begun_at=_NOW, acr_values="aal3 crl"
)  # fmt: skip
_SETTINGS: Final = DigitalAgencySettings(
    client_id=_CLIENT, redirect_uri="https://id.hospital.example/login/proofing/return", private_key=Secret("")
)  # fmt: skip


def id_token(data: bytes) -> None:
    """Header on the first line, claims behind it, signed rightly: accepted only when each of them is what was asked for."""
    header, _, payload = data.partition(b"\n")
    signed = f"{_b64(header)}.{_b64(payload)}"
    r, s = decode_dss_signature(_KEY.sign(signed.encode("ascii"), ec.ECDSA(SHA256())))
    token = f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
    try:
        claims = verify_id_token(token, _VERIFYING, _EXPECTED, now=_NOW)
    except ProtocolError as error:
        assert error.where.startswith("step ")  # noqa: PT017  either is right, but nothing else
        return
    read = json.loads(header)
    assert (read["alg"], read["kid"]) == ("ES256", "k")
    assert not {"crit", "jwk", "jku", "x5u", "x5c", "zip", "b64"} & set(read)
    assert claims == json.loads(payload)
    assert (claims["iss"], claims["nonce"]) == (_ISSUER, "nonce")
    assert claims["aud"] == _CLIENT or _CLIENT in claims["aud"]
    assert claims.get("azp", _CLIENT) == _CLIENT
    assert claims["iat"] - 60 <= _NOW < claims["exp"] + 60
    assert 0 < len(claims["sub"]) < 256
    assert not holds_individual_number(claims)
    try:
        assert reference_of(claims, "nonce").isprintable()
    except WireError:
        assert {"jti", "sid"} & set(claims)


def attributes(data: bytes) -> None:
    """An answer of a userinfo endpoint: attributes of the one who was asked about, with a date, or none."""
    try:
        body = parse_object(data)
        read = read_attributes(body, "s", _SETTINGS)
    except (StrictError, WireError) as error:
        assert "佐" not in str(error)  # noqa: PT017  either is right, but nothing else
        return
    assert body["sub"] == "s"
    assert not holds_individual_number(body)
    assert read.name == body["name"]
    assert read.name.strip()
    assert len(read.birth_date) == 10 or read.birth_date.isdigit()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

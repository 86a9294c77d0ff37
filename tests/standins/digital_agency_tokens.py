"""Keys and ID tokens of the Digital Agency's stand-in: good ones, and every kind of forgery.

Made with `cryptography` and `hmac` by hand, so that what the relying party verifies was not made by the library that it uses.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.standins.faults import Faults


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64_number(value: int, size: int) -> str:
    return b64(value.to_bytes(size, "big"))


def point(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"x": b64_number(numbers.x, 32), "y": b64_number(numbers.y, 32)}


class Signer:
    """The service's keys; the newest signs."""

    def __init__(self) -> None:
        self._made = 0
        self._ec: list[tuple[str, ec.EllipticCurvePrivateKey]] = []
        self._rsa = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        self._stranger = ec.generate_private_key(ec.SECP256R1())
        self.rotate(keep=False)

    def rotate(self, *, keep: bool) -> None:
        """Sign with a new key from now on; `keep`: go on publishing the old ones."""
        self._made += 1
        new = (f"key-{self._made}", ec.generate_private_key(ec.SECP256R1()))
        self._ec = [new, *(self._ec if keep else [])]

    def jwks(self, faults: Faults) -> dict[str, Any]:
        """As a service publishes them: other members, other keys, for encryption too."""
        keys: list[dict[str, Any]] = [
            {"kid": kid, "kty": "EC", "alg": "ES256", "use": "sig", "crv": "P-256", "x5t": "AAAA", **point(key)}
            for kid, key in self._ec
        ]
        numbers = self._rsa.public_key().public_numbers()
        shared = {"kty": "RSA", "n": b64_number(numbers.n, 256), "e": b64_number(numbers.e, 3)}
        keys.append({"kid": "rsa-1", "alg": "RS256", "use": "sig", **shared})
        keys.append({"kid": "enc-1", "alg": "RSA-OAEP", "use": "enc", **shared})
        return {"keys": keys, **faults.get("jwks", {})}

    def sign(self, claims: dict[str, Any], faults: Faults) -> str:
        """Return a token, good or as the mode says."""
        kind = faults.get("sign", "")
        kid, key = self._ec[0]
        header: dict[str, Any] = {"alg": "ES256", "typ": "JWT", "kid": kid}
        if kind == "none":
            header = {"alg": "none", "typ": "JWT"}
        elif kind.startswith("hs256"):
            header["alg"] = "HS256"
        elif kind == "rs256":
            header |= {"alg": "RS256", "kid": "rsa-1"}
        elif kind == "unknown_kid":
            header["kid"] = "nobody's"
        header |= faults.get("header", {})
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims, ensure_ascii=False).encode())}"
        return f"{signed}.{b64(self._signature(kind, key, signed.encode('ascii')))}"

    def _signature(self, kind: str, key: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
        if kind == "none":
            return b""
        if kind.startswith("hs256"):
            return hmac.digest(self._public(kind.removeprefix("hs256_"), key), signed, hashlib.sha256)
        if kind == "rs256":
            return self._rsa.sign(signed, padding.PKCS1v15(), SHA256())
        r, s = decode_dss_signature((self._stranger if kind == "other_key" else key).sign(signed, ec.ECDSA(SHA256())))
        good = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return bytes([good[0] ^ 1]) + good[1:] if kind == "bad_signature" else good

    def _public(self, form: str, key: ec.EllipticCurvePrivateKey) -> bytes:
        """The public key as somebody's HMAC secret."""
        match form:
            case "pem":
                return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            case "der":
                return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            case "jwk":
                return json.dumps(self.jwks(Faults())["keys"][0]).encode()
            case _:
                return b""

"""Signs assertions as the gateway would, and wrongly in every way that a test needs."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

from gateway.kernel.assertion import ASSERTION_HEADER

PORTAL = "http://portal.localhost:8080"


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def segment(value: object) -> str:
    return b64(json.dumps(value).encode())


class TestSigner:
    """An ES256 key and the tokens it signs."""

    __test__ = False

    def __init__(self, kid: str = "key-1", issuer: str = PORTAL) -> None:
        self.kid = kid
        self.issuer = issuer
        self.key = ECKey.generate_key("P-256")

    def jwks(self) -> dict[str, object]:
        return {"keys": [{**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": "ES256"}]}

    def claims(self, now: float, **changes: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "iss": self.issuer,
            "aud": "ehr",
            "sub": "usr_sato",
            "login": "dr.sato",
            "name": "佐藤 恵",
            "roles": ["physician"],
            "organization": "demo-hospital",
            "department": "内科",
            "acr": "urn:zt-gateway:acr:mfa",
            "amr": ["pwd", "otp"],
            "auth_time": int(now) - 60,
            "device": "dev_1",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + 60,
            "jti": "dec_1",
        }
        base.update(changes)
        return {name: value for name, value in base.items() if value is not ...}

    def sign(self, claims: Mapping[str, object], header: Mapping[str, object] | None = None) -> str:
        protected = dict(header) if header is not None else {"alg": "ES256", "kid": self.kid, "typ": "JWT"}
        signed = self.sign_raw(json.dumps(protected).encode(), json.dumps(claims).encode())
        return signed.decode()

    def sign_raw(self, header: bytes, payload: bytes) -> bytes:
        """Sign any bytes as header and payload, also what no honest library would."""
        signing_input = f"{b64(header)}.{b64(payload)}".encode()
        algorithm = jws.JWSRegistry.algorithms["ES256"]
        return signing_input + b"." + b64(algorithm.sign(signing_input, self.key)).encode()

    def headers(self, now: float, **changes: Any) -> dict[str, str]:
        return {ASSERTION_HEADER: self.sign(self.claims(now, **changes))}

"""How we authenticate to the token endpoint: `private_key_jwt` (OpenID Connect Core 1.0 §9, RFC 7523 §2.2, §3). Pure."""

from typing import Final

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from gateway.kernel.canonical import canonical_json
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.proofing.digital_agency.settings import Algorithm, DigitalAgencySettings

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME_SECONDS: Final = 60
_MIN_RSA: Final = 2048
_WHERE: Final = "idp.digital_agency.key_file"


class AssertionKey(msgspec.Struct, frozen=True, kw_only=True):
    """The registered key."""

    key: ECKey | RSAKey
    algorithm: Algorithm
    kid: str

    def __repr__(self) -> str:
        return f"AssertionKey({self.kid})"

    def public_jwk(self) -> dict[str, object]:
        """Return what is submitted to the agency: public members only (RFC 7517)."""
        return {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, *, client_id: str, audience: str, jti: str, now: int) -> str:
        """Return an assertion: a compact JWS, good for a minute and (`jti`) once."""
        claims = {"iss": client_id, "sub": client_id, "aud": audience, "jti": jti, "iat": now, "exp": now + LIFETIME_SECONDS}
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}
        return jws.serialize_compact(header, canonical_json(claims), self.key, algorithms=[self.algorithm])


def load_key(pem: Secret, algorithm: Algorithm, key_id: str = "") -> AssertionKey:
    """Return the key. ConfigError when it is no private key in PEM form that fits the algorithm."""
    kind = ECKey if algorithm == "ES256" else RSAKey
    wanted = "a private key on P-256" if algorithm == "ES256" else f"a private RSA key of at least {_MIN_RSA} bits"
    try:
        key = kind.import_key(pem.reveal())
    except (JoseError, ValueError, TypeError) as error:
        raise ConfigError(f"this is not {wanted} in PEM form", where=_WHERE, todo="docs/ekyc/digital-agency.md") from error
    fits = key.curve_name == "P-256" if isinstance(key, ECKey) else key.public_key.key_size >= _MIN_RSA
    if not key.is_private or not fits:
        raise ConfigError(f"this is not {wanted}", where=_WHERE, todo="docs/ekyc/digital-agency.md says how to make one.")
    return AssertionKey(key=key, algorithm=algorithm, kid=key_id or key.thumbprint())


def key_of(settings: DigitalAgencySettings) -> AssertionKey:
    """Return the key of the settings. ConfigError as `load_key`."""
    return load_key(settings.private_key, settings.assertion_algorithm, settings.key_id)

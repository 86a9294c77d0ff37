"""The gateway's own signing key for assertions: ES256, kept in a file that only its owner can read.

joserfc reads the key and publishes it; the signature itself is made below it, because one is made for every request
(docs/decisions/0011-assertions-are-signed-below-joserfc.md).
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.kernel.canonical import canonical_json
from gateway.kernel.errors import ConfigError

ALGORITHM: Final = "ES256"
_ES256: Final = ECDSA(SHA256())
_HALF: Final = 32
"""Bytes of r, and of s."""


class FileSigner:
    """Implements `AssertionSigner` with one P-256 key."""

    def __init__(self, key: ECKey) -> None:
        self._key = key
        private = key.private_key
        if private is None or key.curve_name != "P-256":
            raise ValueError("ES256 needs a private key on P-256")
        self._private: Final = private
        self._header: Final[dict[str, str]] = {"alg": ALGORITHM, "kid": key.thumbprint(), "typ": "JWT"}
        self._prefix: Final = _base64url(canonical_json(self._header)) + b"."

    @classmethod
    def load(cls, path: Path) -> "FileSigner":
        """Read the key. Raises ConfigError when unreadable, readable by others, or no private key on P-256."""
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigError("the key can be read by others", where=str(path), todo=f"Run: chmod 600 {path}")
            key = ECKey.import_key(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"the key can't be read ({error.strerror})", where=str(path), todo="Check the path") from error
        except (JoseError, ValueError) as error:
            raise ConfigError("this is not an EC private key in PEM form", where=str(path), todo="Replace the file") from error
        if not key.is_private or key.curve_name != "P-256":
            # A certificate or public key would load too, and fail at the first request.
            raise ConfigError("this is not a private key on P-256", where=str(path), todo="Replace the file")
        return cls(key)

    def sign(self, claims: Mapping[str, object] | msgspec.Raw) -> str:
        """Return a compact JWS (RFC 7515 §3.1) over the claims, ES256: r and s as 32 bytes each (RFC 7518 §3.4).

        Raw: they are canonical JSON already.
        """
        signed = self._prefix + _base64url(canonical_json(claims))
        r, s = decode_dss_signature(self._private.sign(signed, _ES256))
        signature = r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
        return f"{signed.decode('ascii')}.{_base64url(signature).decode('ascii')}"

    def jwks(self) -> dict[str, object]:
        """Return the public key set, RFC 7517."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self._header["kid"], "use": "sig", "alg": ALGORITHM}]}


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")

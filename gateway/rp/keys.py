"""The gateway's own signing key for assertions: ES256, kept in a file that only its owner can read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.kernel.canonical import canonical_json
from gateway.kernel.errors import ConfigError

ALGORITHM: Final = "ES256"


class FileSigner:
    """Implements `AssertionSigner` with one P-256 key."""

    def __init__(self, key: ECKey) -> None:
        self._key = key
        self._header: Final[dict[str, str]] = {"alg": ALGORITHM, "kid": key.thumbprint(), "typ": "JWT"}

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

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return a compact JWS over the claims."""
        return jws.serialize_compact(dict(self._header), canonical_json(claims), self._key, algorithms=[ALGORITHM])

    def jwks(self) -> dict[str, object]:
        """Return the public key set, RFC 7517."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self._header["kid"], "use": "sig", "alg": ALGORITHM}]}

"""The signing keys as values."""

from collections.abc import Sequence
from typing import Any, Final

from joserfc.jwk import ECKey

ALGORITHM: Final = "ES256"
"""The only algorithm that is ever used, offered or accepted here."""


class KeySet:
    """EC P-256 keys with `kid`. The first signs; all of them verify."""

    def __init__(self, keys: Sequence[ECKey]) -> None:
        if not keys:
            raise ValueError("a key set needs a key")
        self._keys = tuple(keys)

    @property
    def signing(self) -> ECKey:
        """The private key that signs."""
        return self._keys[0]

    def find(self, kid: str) -> ECKey | None:
        """Return the key with exactly this `kid`."""
        return next((key for key in self._keys if key.kid == kid), None)

    def public(self) -> list[dict[str, Any]]:
        """Return the public halves as JWKs, newest first."""
        return [{**key.as_dict(private=False), "use": "sig", "alg": ALGORITHM} for key in self._keys]

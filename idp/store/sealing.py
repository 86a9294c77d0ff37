"""Encrypts the few stored values that must stay readable to us, so that a copy of the database alone gives no second factor."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.secret import Secret

_NONCE_BYTES = 12


class Seal:
    """AES-256-GCM under one key. Each value is bound to what it belongs to: moved to another row, it does not open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, value: Secret, belongs_to: str) -> bytes:
        """Return the sealed bytes."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value.reveal().encode(), belongs_to.encode())

    def open(self, sealed: bytes, belongs_to: str) -> Secret:
        """Return the value. StoreUnavailable when it was changed, moved, or sealed under another key."""
        try:
            return Secret(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], belongs_to.encode()).decode())
        except (InvalidTag, ValueError) as error:
            raise StoreUnavailable(
                "a sealed value in the database does not open", where=belongs_to,
                todo="The key file and the database are not of the same installation: restore both from one backup.",
            ) from error  # fmt: skip

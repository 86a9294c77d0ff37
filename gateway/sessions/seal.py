"""What goes to Redis is sealed: a reader learns nothing of it, and a writer without the key can't make or raise a session.

Sessions hold names, roles, addresses and the provider's ID token, and Redis keeps them on disk and in backups: hence
AES-256-GCM over the body, bound to the session's id, and HMAC-SHA-256 over the record that says which session and generation a
token stands for. What this does not stop: someone who can write to Redis can delete records, and put back older ones.
"""

import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.secret import Secret

MIN_KEY_LENGTH: Final = 32
_NONCE: Final = 12
_MARK: Final = 4


class Seal:
    """Seals and opens with keys derived from one secret that all nodes share.

    Every sealed value begins with four bytes that name the key, so that one from a former key is told from a forged one.
    """

    def __init__(self, key: Secret) -> None:
        """`key`: at least 32 characters of high entropy (`openssl rand -base64 32`), else ConfigError."""
        if len(key.reveal()) < MIN_KEY_LENGTH:
            raise ConfigError(
                f"the session key is shorter than {MIN_KEY_LENGTH} characters",
                where="session_store",
                todo="Make one with `openssl rand -base64 32`, the same for every node",
            )
        derived = HKDF(SHA256(), 64 + _MARK, salt=None, info=b"zt-gateway sessions 1").derive(key.reveal().encode())
        self._cipher: Final = AESGCM(derived[:32])
        self._mac_key: Final = derived[32:64]
        self._mark: Final = derived[64:]

    def seal(self, session_id: str, body: bytes) -> bytes:
        """Encrypt `body` for this session id."""
        nonce = secrets.token_bytes(_NONCE)
        return self._mark + nonce + self._cipher.encrypt(nonce, body, session_id.encode())

    def unseal(self, session_id: str, sealed: bytes) -> bytes | None:
        """Return the body; None when another key sealed it. StoreUnavailable when it was tampered with."""
        if sealed[:_MARK] != self._mark:
            return None
        nonce, ciphertext = sealed[_MARK : _MARK + _NONCE], sealed[_MARK + _NONCE :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, session_id.encode())
        except (InvalidTag, ValueError) as error:
            raise tampered(session_id) from error

    def sign(self, *parts: str) -> bytes:
        """Return a MAC over `parts`, each with its length before it."""
        framed = "".join([f"{len(part)}:{part}" for part in parts])
        return self._mark + hmac.digest(self._mac_key, framed.encode(), "sha256")

    def verify(self, mac: bytes, *parts: str) -> bool | None:
        """True when `mac` is ours over `parts`, False when it is forged, None when another key made it."""
        if mac[:_MARK] != self._mark:
            return None
        return hmac.compare_digest(mac, self.sign(*parts))


def tampered(session_id: str) -> StoreUnavailable:
    """Return the error for a stored record that only someone else can have written."""
    return StoreUnavailable(
        f"the stored record of session {session_id} is not what the gateway wrote",
        where="session_store",
        todo="Somebody else writes to this Redis: find out who, then revoke the session",
    )

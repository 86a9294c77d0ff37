"""The key that signs checkpoints: an Ed25519 key in a file of its own, away from the log that it protects."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

from gateway.audit.files import replace
from gateway.kernel.errors import AuditError


def public_pem(public: Ed25519PublicKey) -> bytes:
    """Return the one PEM spelling of a public key that stands beside the log."""
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def raw_public(public: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def create_key(path: Path) -> Ed25519PrivateKey:
    """Generate a key and store it as PKCS #8 PEM, mode 0600, in a folder that is made 0700 when it is missing."""
    key = Ed25519PrivateKey.generate()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except OSError as error:
        raise AuditError(
            f"the log's signing key can't be stored ({error.strerror})",
            where=str(path),
            todo="Make its folder writable for the gateway",
        ) from error
    return key


def load_key(path: Path) -> Ed25519PrivateKey | None:
    """Return the stored key; None when there is no such file.

    Raises AuditError when the file is open to other users, unreadable, or holds anything but an unencrypted Ed25519 key.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditError(
            f"the log's signing key can't be read ({error.strerror})", where=str(path), todo="Check its owner"
        ) from error
    with os.fdopen(fd, "rb") as file:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & 0o077:
            raise AuditError(
                f"the log's signing key is open to other users (mode {mode:04o})",
                where=str(path),
                todo=f"chmod 600 {path}; if others could read it, begin a new log with a new key",
            )
        pem = file.read(16_384)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuditError("holds no usable private key", where=str(path), todo="Restore the Ed25519 key (PKCS #8 PEM)") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditError("holds a key of another kind than Ed25519", where=str(path), todo="Restore the log's own key")
    return key

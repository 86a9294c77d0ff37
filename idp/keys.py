"""The provider's keys: one file, mode 0600, made once. Signing keys rotate; the one before stays published for verification.

Keys of person digests rotate, too; they stay as long as records need them.
"""

import asyncio
import base64
import binascii
import contextlib
import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc.jwk import ECKey

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.proofing.digest import DigestKeys
from idp.protocol.keyset import KeySet

_KEPT: Final = 2
_SEAL_BYTES: Final = 32
_DIGEST_ID_BYTES: Final = 4
_DIGEST_KEY: Final = 32
"""Characters at the least."""
_DAY: Final = 86_400
_PATIENCE_SECONDS: Final = 5.0
"""For another process that rotates: it takes milliseconds."""
_RETRY_SECONDS: Final = 0.05
_Stamp = tuple[int, int, int]


class _SigningKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    jwk: dict[str, Any]
    created_at: int


class _DigestKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    key: str
    created_at: int


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    signing: list[_SigningKey]
    seal: str
    digest: list[_DigestKey] = []
    """Newest first. Not among them: the first one, which is derived from `seal`."""
    first_digest: bool = True
    """False once the first one was dropped."""


class KeyFile:
    """The key file. Several processes may have it open: when one rotates, `refresh` shows it to the others.

    Reads and writes of the small file block; nobody ever waits for another process but with `await`.
    """

    def __init__(self, path: Path, content: _File, stamp: _Stamp) -> None:
        self._path = path
        self._content = content
        self._stamp = self._told = stamp

    @classmethod
    def open(cls, path: Path, *, now: int) -> "KeyFile":
        """Read the file, or make it with fresh keys. ConfigError when others may read it or it is damaged: it is never replaced
        silently, because new keys would end every session and lose every TOTP secret.
        """
        if not path.exists():
            _write(path, _File(signing=[_new_key(now)], seal=base64.b64encode(os.urandom(_SEAL_BYTES)).decode()), replace=False)
        stamp = _stamp(path)
        return cls(path, _read(path), stamp)

    def refresh(self) -> bool:
        """Take over what another process has written; True when there was something. ConfigError when it can't be read."""
        self._reload()
        changed = self._stamp != self._told
        self._told = self._stamp
        return changed

    def _reload(self) -> None:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._content = _read(self._path)
            self._stamp = stamp

    def keyset(self) -> KeySet:
        """Return the keys to sign and verify with, newest first."""
        return KeySet([ECKey.import_key(key.jwk) for key in self._content.signing])

    def sealing_key(self) -> bytes:
        """Return the 32 bytes that seal stored TOTP secrets."""
        return base64.b64decode(self._content.seal)

    def digest_keys(self) -> DigestKeys:
        """Return the keys of the digests that recognise a proofed person, as the file has them now. ConfigError as `refresh`.

        The first one has the id "" and is derived from the sealing key (HKDF, RFC 5869); later ones are random.
        """
        self._reload()
        keys = [(key.id, Secret(key.key)) for key in self._content.digest]
        if self._content.first_digest:
            derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"idp person digest").derive(self.sealing_key())
            keys.append(("", Secret(derived.hex())))
        return DigestKeys(keys)

    async def rotate_digest(self, now: int) -> str:
        """Make a new key for person digests, and keep the ones before; return its id. ConfigError as `rotate`."""
        async with self._alone():
            self._reload()
            name = secrets.token_hex(_DIGEST_ID_BYTES)
            key = _DigestKey(id=name, key=secrets.token_hex(32), created_at=now)
            self._replace(msgspec.structs.replace(self._content, digest=[key, *self._content.digest]))
        return name

    async def drop_digest(self, name: str, *, in_use: Collection[str]) -> None:
        """Forget an old key of person digests. `in_use` are the ids that living records use, as the store counts them now.

        ConfigError when it is in use, the newest, or not there; and as `rotate`.
        """
        async with self._alone():
            ids = self.digest_keys().ids
            if name not in ids or name == ids[0] or name in in_use:
                why = "is not there" if name not in ids else "is the newest" if name == ids[0] else "is in use by living records"
                raise ConfigError(
                    f"the digest key {name or 'first'} {why}", where=str(self._path),
                    todo="Look at the list of keys, and at how many records use each.",
                )  # fmt: skip
            kept = [key for key in self._content.digest if key.id != name]
            first = self._content.first_digest and name != ""
            self._replace(msgspec.structs.replace(self._content, digest=kept, first_digest=first))

    async def rotate(self, now: int) -> None:
        """Make a new signing key, and keep the one before for verification. Tokens of older ones stop verifying.

        ConfigError when the file can't be written, or another process holds the directory's lock for seconds.
        """
        async with self._alone():
            self.refresh()
            self._rotate(now)

    def _rotate(self, now: int) -> None:
        self._replace(msgspec.structs.replace(self._content, signing=[_new_key(now), *self._content.signing][:_KEPT]))
        self._told = self._stamp

    def _replace(self, content: _File) -> None:
        _write(self._path, content, replace=True)
        self._content = content
        self._stamp = _stamp(self._path)

    async def rotate_if_older(self, days: int, now: int) -> bool:
        """Rotate when the signing key is older than so many days; True when it was done. ConfigError as `rotate`."""
        if not self._older(days, now):
            return False
        async with self._alone():
            # Another process may have been first.
            self.refresh()
            if self._older(days, now):
                self._rotate(now)
        return True

    def _older(self, days: int, now: int) -> bool:
        return now - self._content.signing[0].created_at > days * _DAY

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the one that rotates. The directory is what is locked: the file is replaced by rotating."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await _lock(directory, self._path.parent)
            yield
        finally:
            os.close(directory)


async def _lock(directory: int, path: Path) -> None:
    """Lock it, and let others work as long as another process has it locked. ConfigError when that takes too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if loop.time() >= deadline:
                raise ConfigError(
                    "another process keeps this directory locked: the signing key is not rotated",
                    where=str(path),
                    todo=f"Find it with: lsof +d {path}",
                ) from error
        else:
            return
        await asyncio.sleep(_RETRY_SECONDS)


def _stamp(path: Path) -> _Stamp:
    """Return what is another when the file is: it is always replaced, never written to."""
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(
            f"the key file can't be read: {error.strerror}", where=str(path), todo="Check owner and mode (0600)."
        ) from error
    return found.st_ino, found.st_mtime_ns, found.st_size


def _new_key(now: int) -> _SigningKey:
    key = ECKey.generate_key("P-256", auto_kid=True)
    return _SigningKey(jwk=dict(key.as_dict(private=True)), created_at=now)


def _read(path: Path) -> _File:
    where = str(path)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the key file can't be read: {error.strerror}", where=where, todo="Check owner and mode (0600)."
        ) from error
    if mode & 0o077:
        raise ConfigError(f"others can read the key file (mode {mode:04o})", where=where, todo=f"Run: chmod 600 {where}")
    try:
        content = msgspec.json.decode(raw, type=_File)
        keys = [ECKey.import_key(key.jwk) for key in content.signing]
        seal = base64.b64decode(content.seal, validate=True)
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, binascii.Error) as error:
        raise ConfigError("the key file is damaged", where=where, todo="Restore it from a backup.") from error
    sound = keys and len(seal) == _SEAL_BYTES and all(_is_sound(key) for key in keys)
    if not sound or not all(_is_sound_digest(key) for key in content.digest) or not (content.digest or content.first_digest):
        raise ConfigError("the key file is not complete", where=where, todo="Restore it from a backup.")
    return content


def _is_sound(key: ECKey) -> bool:
    return key.is_private and key.curve_name == "P-256" and key.kid == key.thumbprint()


def _is_sound_digest(key: _DigestKey) -> bool:
    return bool(key.id) and len(key.key) >= _DIGEST_KEY


def _write(path: Path, content: _File, *, replace: bool) -> None:
    # Whole or not at all: a temporary file beside it (made with mode 0600), synced, then moved; or linked, when it must be new.
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(content))
                file.flush()
                os.fsync(file.fileno())
            if replace:
                Path(temporary).replace(path)
            elif not _link(temporary, path):
                return  # another process was first: its keys count
            _sync(path.parent)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the key file can't be written: {error.strerror}",
            where=str(path),
            todo="Check the directory's owner and free space.",
        ) from error


def _link(temporary: str, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    return True


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

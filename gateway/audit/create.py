"""What a log is, and beginning one: manifest, public key, first segment, first checkpoint.

The first record's `previous` is the hash of the manifest, so that the chain is bound to this log and its key.
"""

import errno
import hashlib
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import files
from gateway.audit.checkpoint import Signer, Snapshot
from gateway.audit.encoding import rfc3339
from gateway.audit.keys import create_key, load_key, public_pem, raw_public
from gateway.audit.merkle import Tree
from gateway.kernel.canonical import canonical_json
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError
from gateway.kernel.ids import new_id

FORMAT: Final = "zt-gateway-audit/1"
KEEP: Final = "Keep the folder as evidence, run `gateway audit verify` on it, and begin a new log in another folder"

_GENESIS: Final = b"zt-gateway audit log v1\n"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`log.json`: which log this is, and the raw public key (hex) that signs it."""

    format: str
    key: str
    log: str


def genesis(manifest: bytes) -> str:
    """Return the hash (hex) that stands as `previous` in the first record, from the bytes of `log.json`."""
    return hashlib.sha256(_GENESIS + manifest).hexdigest()


def check_outside(folder: Path, path: Path, what: str) -> None:
    """Raise AuditError when `path` lies in the log's own folder."""
    if path.absolute().resolve().is_relative_to(folder.absolute().resolve()):
        raise AuditError(
            f"{what} lies in the log's own folder",
            where=str(path),
            todo="Who can change the log could change it too: move it elsewhere",
        )


def create_log(folder: Path, *, key_file: Path, anchor: Path | None, clock: Clock) -> None:
    """Begin a log in a locked folder that has no manifest.

    The manifest comes last, so that a beginning that a crash cut short is begun again. Raises AuditError when there is
    anything that a beginning does not leave: then the manifest was removed.
    """
    first = folder / files.records_name(1)
    for name in sorted(path.name for path in folder.iterdir()):
        if name.startswith(("segment-", "torn-")) and name not in {first.name, files.checkpoints_name(1)}:
            raise AuditError(f"{files.MANIFEST} is missing, but {name} is there", where=str(folder), todo=KEEP)
    if first.exists() and first.stat().st_size:
        raise AuditError(f"{files.MANIFEST} is missing, but there are records", where=str(folder), todo=KEEP)
    if anchor is not None and anchor.exists():
        raise AuditError(
            f"there is no log here, but the anchor {anchor} of one: the log was moved or removed",
            where=str(folder),
            todo="Put the log back; or keep the anchor elsewhere as evidence and start again",
        )
    key = load_key(key_file) or create_key(key_file)
    log = new_id("log")
    manifest = canonical_json(Manifest(format=FORMAT, key=raw_public(key.public_key()).hex(), log=log)) + b"\n"
    checkpoint = Signer(key, log).sign(Snapshot(tree=Tree(), head=genesis(manifest)), rfc3339(clock.now()), "open")
    files.replace(folder / files.PUBLIC_KEY, public_pem(key.public_key()))
    files.replace(folder / files.checkpoints_name(1), checkpoint)
    files.replace(first, b"")
    files.replace(folder / files.MANIFEST, manifest)
    if anchor is not None:
        write_anchor(anchor, checkpoint)


def write_anchor(anchor: Path, line: bytes) -> None:
    """Replace the copy of the newest checkpoint that lies outside the log's folder."""
    anchor.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.replace(anchor, line)


def renew_anchor(anchor: Path, line: bytes) -> None:
    """Replace the copy while the log is written. FileNotFoundError when the one before is gone: where the anchor's storage was
    unmounted, the copy would lie on this very disk, and prove nothing.
    """
    if not anchor.is_file():
        raise FileNotFoundError(errno.ENOENT, f"the anchor {anchor} is gone: removed, or its storage is not mounted")
    files.replace(anchor, line)


def load_identity(folder: Path, key_file: Path) -> tuple[Manifest, bytes, Ed25519PrivateKey]:
    """Return the manifest, its bytes, and the log's key. Raises AuditError when one is unusable or they don't belong together."""
    path = folder / files.MANIFEST
    content = path.read_bytes()
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise AuditError(f"is no log manifest ({error})", where=str(path), todo=KEEP) from error
    if manifest.format != FORMAT:
        raise AuditError(
            f"has format {manifest.format!r}, this version writes {FORMAT!r}", where=str(path), todo="Begin a new log folder"
        )
    key = load_key(key_file)
    if key is None:
        raise AuditError(
            "the log's signing key is missing",
            where=str(key_file),
            todo="Restore it; without it, begin a new log in another folder",
        )
    if raw_public(key.public_key()).hex() != manifest.key:
        raise AuditError(
            f"is not the key of the log in {folder}",
            where=str(key_file),
            todo="Name the log's own key, or begin a new log in another folder",
        )
    if not (folder / files.PUBLIC_KEY).exists() or (folder / files.PUBLIC_KEY).read_bytes() != public_pem(key.public_key()):
        raise AuditError(
            "is not the log's public key: it was replaced or removed", where=str(folder / files.PUBLIC_KEY), todo=KEEP
        )
    return manifest, content, key

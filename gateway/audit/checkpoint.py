"""Signed checkpoints: "at this time the log held N records, with this root and this last hash".

A checkpoint is one line, `{"body":{...},"signature":"<hex>"}`: Ed25519 (RFC 8032) over a context string and the body's bytes
as they stand. Each names the one before by number and SHA-256 of its line, so that taking one out of the middle shows.
"""

import hashlib
import re
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.audit.merkle import Tree
from gateway.kernel.canonical import canonical_json

CONTEXT: Final = b"zt-gateway audit checkpoint v1\n"
"""What is signed begins with this, so that the key's signatures mean nothing elsewhere."""
FIRST_PREVIOUS: Final = "0" * 64

_LINE = re.compile(rb'\{"body":(\{[^\n]*\}),"signature":"([0-9a-f]{128})"\}')


Kind = Literal["open", "time", "segment", "close"]
"""Why a checkpoint was signed: a writer began; a second had passed; a segment ended; a writer ended.

Between `close` and `open` nobody writes: a record there was added by somebody else, and a crash is no excuse for it.
"""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a checkpoint. Hashes are lower-case hex."""

    at: str
    """RFC 3339 UTC."""
    head: str
    """Hash of the last record; of the manifest when there is none."""
    key: str
    """SHA-256 of the raw public key."""
    kind: Kind
    log: str
    number: int
    """From 0, over all segments."""
    peaks: tuple[str, ...]
    """Of a `segment` checkpoint, which is the last of its segment: the log can go on without reading older ones. Else empty."""
    previous: str
    """SHA-256 of the line of checkpoint `number - 1`; zeros for the first."""
    root: str
    size: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a log at one moment. The tree is a copy that nobody changes."""

    tree: Tree
    head: str

    @property
    def size(self) -> int:
        """How many records."""
        return self.tree.size


class Signer:
    """Signs one checkpoint after the other; remembers the last one's number and hash."""

    def __init__(self, key: Ed25519PrivateKey, log: str, *, number: int = 0, previous: str = FIRST_PREVIOUS) -> None:
        """`number` and `previous` belong to the next checkpoint."""
        self._key = key
        self._log = log
        self._key_id = key_id(key.public_key())
        self._number = number
        self._previous = previous

    def sign(self, snapshot: Snapshot, at: str, kind: Kind) -> bytes:
        """Return the next checkpoint's line, with its line feed."""
        body = canonical_json(
            Checkpoint(
                at=at,
                head=snapshot.head,
                key=self._key_id,
                kind=kind,
                log=self._log,
                number=self._number,
                peaks=tuple(peak.hex() for peak in snapshot.tree.peaks) if kind == "segment" else (),
                previous=self._previous,
                root=snapshot.tree.root().hex(),
                size=snapshot.size,
            )
        )
        line = b'{"body":%s,"signature":"%s"}' % (body, self._key.sign(CONTEXT + body).hex().encode())
        self._number += 1
        self._previous = line_digest(line)
        return line + b"\n"


def line_digest(line: bytes) -> str:
    """Return the hash by which the next checkpoint names this line (without its line feed)."""
    return hashlib.sha256(line).hexdigest()


def key_id(public: Ed25519PublicKey) -> str:
    """Return the hex SHA-256 of the raw public key."""
    return hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def parse_checkpoint(line: bytes, public: Ed25519PublicKey) -> Checkpoint | None:
    """Return the body of a checkpoint line (without line feed) that `public` signed; None when it is malformed or forged."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    try:
        public.verify(bytes.fromhex(match[2].decode()), CONTEXT + match[1])
        return msgspec.json.decode(match[1], type=Checkpoint)
    except (InvalidSignature, msgspec.DecodeError):
        return None

"""Reading single lines: records, checkpoints, the manifest, keys. Nothing here raises on what a file holds; it returns None."""

import json
import re
from calendar import timegm
from hashlib import sha256
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

LONGEST: Final = 1 << 20
"""Bytes of the longest line that the format allows."""

_RECORD = re.compile(rb'\{"hash":"([0-9a-f]{64})",("index":(0|[1-9]\d{0,17}),"previous":"([0-9a-f]{64})","record":(\{.*\})\})')
CHECKPOINT: Final = re.compile(rb'\{"body":(\{.*\}),"signature":"([0-9a-f]{128})"\}')
"""Body and signature of a checkpoint's line, unverified."""
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z")
_LOG = re.compile(r"log_[0-9a-f]{32}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_BODY: Final = {
    "at": str,
    "head": str,
    "key": str,
    "kind": str,
    "log": str,
    "number": int,
    "peaks": list,
    "previous": str,
    "root": str,
    "size": int,
}


class RecordLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that has the form of a record. Its claims are unverified."""

    unverified_index: int
    unverified_previous: str
    unverified_hash: str
    computed_hash: str
    record: dict[str, Any]

    @property
    def at(self) -> str:
        """When the record says that it was; empty when it says nothing that is a time."""
        at = self.record.get("at")
        return at if isinstance(at, str) and _TIME.fullmatch(at) else ""


class CheckpointLine(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint whose signature is good."""

    at: str
    head: str
    key: str
    kind: str
    log: str
    number: int
    peaks: list[str]
    previous: str
    root: str
    size: int
    digest: str
    """SHA-256 of the line."""


def read_record(line: bytes) -> RecordLine | None:
    """Return what a line (without line feed) claims, or None when it has not the form of a record."""
    match = _RECORD.fullmatch(line)
    if match is None:
        return None
    record = _object(match[5])
    if record is None:
        return None
    return RecordLine(
        unverified_index=int(match[3]),
        unverified_previous=match[4].decode(),
        unverified_hash=match[1].decode(),
        computed_hash=sha256(b"\x00{" + match[2]).hexdigest(),
        record=record,
    )


def read_checkpoint(line: bytes, key: Ed25519PublicKey) -> CheckpointLine | None:
    """Return a checkpoint (line without line feed) that `key` signed, or None."""
    match = CHECKPOINT.fullmatch(line)
    if match is None:
        return None
    try:
        key.verify(bytes.fromhex(match[2].decode()), b"zt-gateway audit checkpoint v1\n" + match[1])
    except InvalidSignature:
        return None
    body = _object(match[1])
    if body is None or body.keys() != _BODY.keys() or any(type(body[name]) is not kind for name, kind in _BODY.items()):
        return None
    if not _TIME.fullmatch(body["at"]) or not _LOG.fullmatch(body["log"]):
        return None
    return CheckpointLine(**body, digest=sha256(line).hexdigest())


def read_manifest(content: bytes) -> tuple[str, str] | None:
    """Return (log id, raw public key in hex) of `log.json`, or None."""
    found = _object(content.removesuffix(b"\n"))
    if found is None or found.keys() != {"format", "key", "log"} or found["format"] != "zt-gateway-audit/1":
        return None
    log, key = found["log"], found["key"]
    if not isinstance(log, str) or not isinstance(key, str) or not _LOG.fullmatch(log) or not _HEX64.fullmatch(key):
        return None
    return log, key


def genesis(content: bytes) -> str:
    """Return what the first record must name as `previous`."""
    return sha256(b"zt-gateway audit log v1\n" + content).hexdigest()


def read_key(pem: bytes) -> Ed25519PublicKey | None:
    """Return the Ed25519 public key of a PEM file, or None."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def raw_key(key: Ed25519PublicKey) -> str:
    """Return a key's 32 bytes in hex."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def key_pem(key: Ed25519PublicKey) -> bytes:
    """Return the one way in which the log's folder spells its key."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_digest(key: Ed25519PublicKey) -> str:
    """Return the name by which checkpoints call their key."""
    return sha256(bytes.fromhex(raw_key(key))).hexdigest()


def seconds(at: str) -> float | None:
    """Return RFC 3339 UTC as epoch seconds, or None."""
    match = _TIME.fullmatch(at)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        return timegm((year, month, day, hour, minute, second)) + float(f"0.{match[7] or 0}")
    except ValueError:
        return None


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

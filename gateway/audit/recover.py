"""Opening a log: find out how the last process left it, and say so in the log itself.

What a crash may leave, each recorded by a `log.recovered` event as the next records of the chain (`detail.what`):
- `torn-record`, `torn-checkpoint`: bytes at the end of a file that are no whole line. They are moved to a file of their own
  (`torn-<index>-<n>.record` or `.checkpoint`); the event names it with its length and SHA-256. Nothing is thrown away.
- `unsigned-tail`: whole records after the newest checkpoint (about a second's at most). They stay; the event says which.
- `anchor-missing`: the log has records, but the anchor file is not there (removed, or newly configured).
Anything else that does not fit (a signed record changed or gone, an anchor newer than the log, another key) is not repaired:
the log does not open, and the evidence stays as it is.
"""

import hashlib
import os
import re
import shutil
from collections import deque
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit import files
from gateway.audit.checkpoint import Checkpoint, Signer, Snapshot, line_digest, parse_checkpoint
from gateway.audit.create import KEEP, check_outside, create_log, genesis, load_identity, write_anchor
from gateway.audit.encoding import MAX_LINE, Line, open_line
from gateway.audit.merkle import Tree
from gateway.domain.record import Record
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError

_CHECKPOINT_TAIL: Final = 65_536
"""Bytes read from the end of a checkpoint file: many lines."""
_DAY = re.compile(rb'"at":"([0-9]{4}-[0-9]{2}-[0-9]{2})T')


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the last process left, to be recorded."""

    target: str
    detail: dict[str, str]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A log, locked and ready to be written on."""

    folder: Path
    anchor: Path | None
    lock: int
    log: str
    public: Ed25519PublicKey
    signer: Signer
    segment: int
    records: int
    """Descriptor of the segment's records."""
    checkpoints: int
    """Descriptor of the segment's checkpoints."""
    length: int
    """Bytes of the segment so far."""
    day: str
    """UTC date of the segment's first record; empty when it has none."""
    state: Snapshot
    signed: int
    """How many records the newest checkpoint covers."""
    findings: tuple[Finding, ...]
    recent: tuple[tuple[int, Record], ...]


class _Newest(msgspec.Struct, frozen=True, kw_only=True):
    """The newest checkpoint of a file, and where the bytes begin that are none."""

    line: bytes
    body: Checkpoint
    torn: int | None


class _Scan(msgspec.Struct, kw_only=True):
    """A segment as far as it fits."""

    tree: Tree
    head: str
    length: int = 0
    lines: int = 0
    day: str = ""
    torn: bool = False
    newline_missing: bool = False
    signed_state: tuple[str, str] | None = None
    """(root, head) at the newest checkpoint's size."""
    run: dict[int, str]
    """The trailing run of `log.recovered` events: index to target."""
    recent: deque[Line]


def open_log(folder: Path, *, key_file: Path, anchor: Path | None, clock: Clock, keep_recent: int = 1000) -> Opened:
    """Lock the folder and return the log in it, created when the folder is new.

    Reads the newest segment, and blocks meanwhile. Raises AuditError when the log can't be trusted or can't be used.
    """
    try:
        check_outside(folder, key_file, "the signing key")
        if anchor is not None:
            check_outside(folder, anchor, "the anchor")
        files.prepare_folder(folder)
        lock = files.lock(folder)
        try:
            if not (folder / files.MANIFEST).exists():
                create_log(folder, key_file=key_file, anchor=anchor, clock=clock)
            return _load(folder, lock, key_file, anchor, keep_recent)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise AuditError(
            f"the log can't be opened ({error.strerror or error})",
            where=str(error.filename or folder),
            todo="Check the disk, the path and its owner",
        ) from error


def _load(folder: Path, lock: int, key_file: Path, anchor: Path | None, keep_recent: int) -> Opened:
    manifest, content, key = load_identity(folder, key_file)
    public = key.public_key()
    last = _last_segment(folder, public)
    base, head, newest = Tree(), genesis(content), _newest_checkpoint(folder, last, public)
    torn_checkpoint = newest.torn if isinstance(newest, _Newest) else newest
    if last > 1:
        closing = _newest_checkpoint(folder, last - 1, public)
        if not isinstance(closing, _Newest) or closing.body.kind != "segment" or closing.torn is not None:
            raise AuditError(
                "does not end with the checkpoint that closes it",
                where=_path(folder, files.checkpoints_name(last - 1)),
                todo=KEEP,
            )
        base, head = Tree(closing.body.size, [bytes.fromhex(peak) for peak in closing.body.peaks]), closing.body.head
        newest = newest if isinstance(newest, _Newest) else closing
    if not isinstance(newest, _Newest) or newest.body.log != manifest.log:
        raise AuditError("holds no checkpoint of this log", where=_path(folder, files.checkpoints_name(last)), todo=KEEP)
    anchored = _check_anchor(folder, anchor, newest, public)
    records = folder / files.records_name(last)
    scan = _scan(records, base, head, newest.body.size, keep_recent)
    _check_signed(records, scan, newest.body)
    findings = _settle(folder, last, scan, torn_checkpoint)
    size = scan.tree.size
    if size > newest.body.size:
        findings.append(
            Finding(target=records.name, detail={"what": "unsigned-tail", "from": str(newest.body.size), "to": str(size - 1)})
        )
    if anchor is not None and not anchored:
        write_anchor(anchor, newest.line + b"\n")
        if size:
            findings.append(Finding(target=str(anchor), detail={"what": "anchor-missing"}))
    return Opened(
        folder=folder,
        anchor=anchor,
        lock=lock,
        log=manifest.log,
        public=public,
        signer=Signer(key, manifest.log, number=newest.body.number + 1, previous=line_digest(newest.line)),
        segment=last,
        records=files.open_append(records),
        checkpoints=files.open_append(folder / files.checkpoints_name(last)),
        length=scan.length,
        day=scan.day,
        state=Snapshot(tree=scan.tree, head=scan.head),
        signed=newest.body.size,
        findings=tuple(findings),
        recent=tuple(_decoded(scan.recent)),
    )


def _path(folder: Path, name: str) -> str:
    return str(folder / name)


def _last_segment(folder: Path, public: Ed25519PublicKey) -> int:
    """Return the number of the segment to go on with, finishing a change of segment that a crash interrupted."""
    numbers = files.segment_numbers(folder)
    if not numbers or numbers != list(range(1, numbers[-1] + 1)):
        raise AuditError(f"segments are missing: there are {numbers or 'none'}", where=str(folder), todo=KEEP)
    last = numbers[-1]
    newest = _newest_checkpoint(folder, last, public) if (folder / files.checkpoints_name(last)).exists() else None
    if isinstance(newest, _Newest) and newest.body.kind == "segment":
        last += 1
    for number in range(1, last):
        for old in (folder / files.records_name(number), folder / files.checkpoints_name(number)):
            if not old.exists():
                raise AuditError("is missing", where=str(old), todo=KEEP)
    names = [folder / files.records_name(last), folder / files.checkpoints_name(last)]
    if not all(name.exists() for name in names):
        if last == 1 or any(name.exists() and name.stat().st_size for name in names):
            missing = next(name for name in names if not name.exists())
            raise AuditError("is missing", where=str(missing), todo=KEEP)
        for name in names:
            files.replace(name, b"")
    return last


def _newest_checkpoint(folder: Path, number: int, public: Ed25519PublicKey) -> _Newest | int | None:
    """Return the last valid checkpoint of a segment; the offset of torn bytes when there is nothing else; None when it is empty.

    Checkpoints are synced one by one, so a crash can tear the last one only: with two unusable lines at the end, AuditError.
    """
    path = folder / files.checkpoints_name(number)
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _CHECKPOINT_TAIL))
        tail = file.read()
    if not tail:
        return None
    complete = tail.endswith(b"\n")
    lines = tail.removesuffix(b"\n").split(b"\n")
    body = parse_checkpoint(lines[-1], public)
    if body is not None:
        if not complete:
            _append(path, b"\n")
        return _Newest(line=lines[-1], body=body, torn=None)
    torn = end - len(lines[-1]) - complete
    if torn == 0:
        return torn
    body = parse_checkpoint(lines[-2], public) if len(lines) > 1 else None
    if body is None:
        raise AuditError("ends with lines that are no checkpoints of this log's key", where=str(path), todo=KEEP)
    return _Newest(line=lines[-2], body=body, torn=torn)


def _check_anchor(folder: Path, anchor: Path | None, newest: _Newest, public: Ed25519PublicKey) -> bool:
    """Return whether the anchor is there (or none is wanted). Raises AuditError when it does not belong to this log as it is."""
    if anchor is None:
        return True
    if not anchor.exists():
        return False
    line = anchor.read_bytes().removesuffix(b"\n")
    body = parse_checkpoint(line, public)
    if body is None or body.log != newest.body.log:
        raise AuditError(
            f"is no checkpoint of the log in {folder}",
            where=str(anchor),
            todo="Name this log's own anchor; the file is left as it is",
        )
    if body.number > newest.body.number:
        raise AuditError(
            f"the log was cut: its anchor of {body.at} says {body.size:,} records, its newest checkpoint {newest.body.size:,}",
            where=str(folder),
            todo=KEEP,
        )
    if line == newest.line:
        return True
    for number in reversed(files.segment_numbers(folder)):
        with (folder / files.checkpoints_name(number)).open("rb") as file:
            if any(found.removesuffix(b"\n") == line for found in file):
                return True
    raise AuditError(f"the anchor's checkpoint of {body.at} is not in the log: it was replaced", where=str(folder), todo=KEEP)


def _scan(path: Path, base: Tree, head: str, signed: int, keep_recent: int) -> _Scan:
    """Read a segment up to the first line that does not follow from the one before."""
    scan = _Scan(tree=base.copy(), head=head, run={}, recent=deque(maxlen=keep_recent))
    if base.size == signed:
        scan.signed_state = (base.root().hex(), head)
    with path.open("rb") as file:
        while data := file.readline(MAX_LINE + 1):
            line = open_line(data.removesuffix(b"\n"))
            if line is None or line.index != scan.tree.size or line.previous != scan.head:
                scan.torn = True
                break
            scan.newline_missing = not data.endswith(b"\n")
            scan.length += len(data) + scan.newline_missing
            scan.lines += 1
            scan.tree.add(line.hash)
            scan.head = line.hash.hex()
            scan.recent.append(line)
            _note(scan, line)
            if scan.tree.size == signed:
                scan.signed_state = (scan.tree.root().hex(), scan.head)
    return scan


def _note(scan: _Scan, line: Line) -> None:
    """Remember the day of the first record, and the trailing run of recovery events."""
    if not scan.day and (found := _DAY.search(line.record)):
        scan.day = found[1].decode()
    if b'"event":"log.recovered"' not in line.record:
        scan.run.clear()
        return
    record = msgspec.json.decode(line.record)
    scan.run[line.index] = str(record.get("target", "")) if record.get("event") == "log.recovered" else ""


def _check_signed(path: Path, scan: _Scan, newest: Checkpoint) -> None:
    """Raise AuditError unless everything that was signed is there as it was signed."""
    if scan.tree.size < newest.size:
        what = f"line {scan.lines + 1} does not fit" if scan.torn else f"it ends after record {scan.tree.size - 1:,}"
        raise AuditError(f"{what}, but records up to {newest.size - 1:,} were signed at {newest.at}", where=str(path), todo=KEEP)
    if scan.signed_state != (newest.root, newest.head):
        raise AuditError(
            f"the records up to {newest.size - 1:,} are not those that were signed at {newest.at}", where=str(path), todo=KEEP
        )


def _settle(folder: Path, last: int, scan: _Scan, torn_checkpoint: int | None) -> list[Finding]:
    """Complete or set aside what a crash left at the ends of the files; return what to record about it."""
    index = scan.tree.size
    records = folder / files.records_name(last)
    if scan.newline_missing:
        _append(records, b"\n")
    if scan.torn:
        _set_aside(folder, records, scan.length, index, "record")
    if torn_checkpoint is not None:
        _set_aside(folder, folder / files.checkpoints_name(last), torn_checkpoint, index, "checkpoint")
    # Also those that an earlier start set aside, but did not live to record.
    recorded = set(scan.run.values())
    findings = []
    for torn in files.torn_files(folder):
        if torn.name in recorded or (torn.index != index and torn.index not in scan.run):
            continue
        with (folder / torn.name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            length = file.tell()
        findings.append(
            Finding(
                target=torn.name,
                detail={"what": f"torn-{torn.kind}", "index": str(torn.index), "bytes": str(length), "sha256": digest},
            )
        )
    return findings


def _set_aside(folder: Path, path: Path, offset: int, index: int, kind: str) -> None:
    """Move the bytes from `offset` to a file of their own: copied and synced first, cut off afterwards."""
    used = {torn.number for torn in files.torn_files(folder) if torn.index == index}
    copy = next(number for number in range(1, 10_000) if number not in used)
    target = folder / files.torn_name(index, copy, kind)
    with path.open("r+b") as source, os.fdopen(files.create(target), "wb") as kept:
        source.seek(offset)
        shutil.copyfileobj(source, kept)
        kept.flush()
        os.fsync(kept.fileno())
        files.sync_folder(folder)
        source.truncate(offset)
        os.fsync(source.fileno())


def _append(path: Path, data: bytes) -> None:
    fd = files.open_append(path)
    try:
        files.write_all(files.OsDisk(), fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def _decoded(lines: deque[Line]) -> list[tuple[int, Record]]:
    """Return the records that this version's types can hold; an older version's others are in the log all the same."""
    found: list[tuple[int, Record]] = []
    decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
    for line in lines:
        try:
            found.append((line.index, decoder.decode(line.record)))
        except msgspec.ValidationError:
            continue
    return found

"""One pass over the log, in constant memory: every line against the one before, every checkpoint against every line so far."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.verify import lines
from gateway.audit.verify.chain import Chain, Signed
from gateway.audit.verify.crash import TornFile, Traces
from gateway.audit.verify.findings import Book, Place
from gateway.audit.verify.report import Report
from gateway.audit.verify.tree import Hashes

UNSIGNED_SECONDS: Final = 10.0
"""The writer signs every second; records that go on for longer than this without a checkpoint had one, and lost it."""

_PROGRESS_EVERY: Final = 2048
_BACKWARDS_SECONDS: Final = 1.0

OnRecord = Callable[[int, dict[str, Any]], None]
Progress = Callable[[int], None]


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A segment's two files; None for one that is missing.

    Iterators yield lines with their line feeds; one that is longer than `lines.LONGEST` comes cut, without line feed.
    """

    number: int
    records_file: str
    checkpoints_file: str
    records: Callable[[], Iterator[bytes]] | None
    checkpoints: Callable[[], Iterator[bytes]] | None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but the segments."""

    manifest: bytes | None
    folder_key: bytes | None
    """`public-key.pem` of the folder."""
    given_key: Ed25519PublicKey | None = None
    anchor: bytes | None = None
    writer_running: bool = False
    torn: dict[str, TornFile]


def verify(
    evidence: Evidence, segments: Sequence[Segment], *, on_record: OnRecord | None = None, progress: Progress | None = None
) -> Report:
    """Check a whole log.

    `on_record(index, record)` sees every readable record on the way; `progress(bytes)` is called now and then.
    Found: a record changed, removed, added or moved; segments exchanged; checkpoints removed, changed or signed by another key;
    a tail cut off behind a checkpoint or behind the anchor. Not found without an anchor: a tail cut off together with its
    checkpoints. Not found without a given key: a log that was rewritten as a whole and signed with a new key.
    """
    walk = _Walk(evidence, on_record, progress)
    for position, segment in enumerate(segments):
        walk.segment(segment, last=position == len(segments) - 1)
    return walk.finish(len(segments))


def identify(evidence: Evidence, book: Book) -> tuple[str, Ed25519PublicKey | None]:
    """Return log id and the key to verify with: the given one, else the folder's."""
    manifest = lines.read_manifest(evidence.manifest) if evidence.manifest is not None else None
    key = evidence.given_key or (lines.read_key(evidence.folder_key) if evidence.folder_key is not None else None)
    if manifest is None:
        what = "is missing" if evidence.manifest is None else "is no log manifest: it was changed"
        book.found("manifest", what, Place(file="log.json"))
    else:
        key = key or Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest[1]))
        if lines.raw_key(key) != manifest[1]:
            what = "names another signing key than the one to verify with: one of the two was replaced"
            book.found("key", what, Place(file="log.json"))
    if evidence.folder_key is None:
        book.found("key", "is missing", Place(file="public-key.pem"))
    elif key is None or evidence.folder_key != lines.key_pem(key):
        book.found("key", "is not the key of this log: it was replaced or changed", Place(file="public-key.pem"))
    return manifest[0] if manifest is not None else "", key


class _Walk:
    """The state after the last line: the head is None and the tree not known where a gap makes them unknowable."""

    def __init__(self, evidence: Evidence, on_record: OnRecord | None, progress: Progress | None) -> None:
        self._evidence = evidence
        self._on_record = on_record
        self._progress = progress
        self._book = Book(writer_running=evidence.writer_running)
        self._log, self._key = identify(evidence, self._book)
        self._chain = Chain(self._log, self._key, evidence.anchor, self._book)
        self._traces = Traces(evidence.torn, self._key, self._book)
        self._size = 0
        self._head = lines.genesis(evidence.manifest) if evidence.manifest is not None else None
        self._tree = Hashes()
        self._tree_known = True
        self._records = self._bytes = self._backwards = 0
        self._first_at = self._last_at = ""
        self._signed = 0
        self._signed_at = self._unsigned_from = ""
        self._kind = ""
        """Of the newest checkpoint so far."""

    def segment(self, segment: Segment, *, last: bool) -> None:
        """Walk over one segment and its checkpoints, side by side."""
        if segment.records is None:
            self._book.found("segment_missing", "is missing", Place(file=segment.records_file, at=self._last_at))
            self._lose()
        checkpoints = self._chain.read(
            segment.checkpoints_file, segment.checkpoints() if segment.checkpoints is not None else None, last=last
        )
        coming = self._match(next(checkpoints, None), checkpoints)
        for number, data in enumerate(segment.records() if segment.records is not None else (), start=1):
            self._bytes += len(data)
            place = Place(file=segment.records_file, line=number, at=self._last_at)
            if self._kind in {"segment", "close"}:
                what = "the gateway closed the log" if self._kind == "close" else "the segment was ended"
                self._book.found("record_order", f"was added after {what}", place)
                self._kind = ""
            if last and not data.endswith(b"\n") and len(data) <= lines.LONGEST:
                self._book.note_unfinished(f"{segment.records_file}:{number}: the last line is not complete")
                break
            self._line(data, place)
            coming = self._match(coming, checkpoints)
            if self._progress is not None and number % _PROGRESS_EVERY == 0:
                self._progress(self._bytes + self._chain.bytes)
        if coming is not None:
            self._cut(coming, checkpoints, segment.records_file)
        if not last and self._kind != "segment":
            what = "does not end with the checkpoint that ends a segment, though another segment follows"
            self._book.found("segment_open", what, Place(file=segment.checkpoints_file))
        if self._kind == "segment":
            self._kind = ""

    def _lose(self) -> None:
        self._head, self._tree_known = None, False

    def _line(self, data: bytes, place: Place) -> None:
        """Check one line of records. After a finding, go on from what the line claims, so that the next finding is a new one."""
        line = lines.read_record(data.removesuffix(b"\n")) if data.endswith(b"\n") else None
        if line is None:
            self._book.found("line_malformed", "is no record", place)
            self._lose()
            self._size += 1
            return
        index = line.unverified_index
        place = Place(file=place.file, line=place.line, index=index, at=line.at or self._last_at)
        if line.computed_hash != line.unverified_hash:
            self._book.found("record_changed", "the record or its hash was changed", place)
        if index > self._size:
            missing = f"records {self._size:,} to {index - 1:,}" if index - self._size > 1 else f"record {self._size:,}"
            self._book.found("record_missing", f"{missing} should come before: removed, or moved", place)
        elif index < self._size:
            self._book.found("record_order", f"record {self._size:,} should be here: moved, copied or added", place)
        elif self._head is not None and line.unverified_previous != self._head:
            self._book.found("record_unlinked", "does not follow from the record before it: one of the two was replaced", place)
        self._tree_known = self._tree_known and index == self._size
        self._take(line)

    def _take(self, line: lines.RecordLine) -> None:
        self._traces.record(line.unverified_index, line.record)
        self._size = line.unverified_index + 1
        self._head = line.unverified_hash
        self._tree.push(bytes.fromhex(line.unverified_hash))
        self._records += 1
        at = line.at
        if at < self._last_at:
            before, now = lines.seconds(self._last_at), lines.seconds(at)
            self._backwards += before is not None and now is not None and before - now > _BACKWARDS_SECONDS
        self._first_at = self._first_at or at
        self._unsigned_from = self._unsigned_from or at
        self._last_at = at or self._last_at
        if self._on_record is not None:
            self._on_record(line.unverified_index, line.record)

    def _match(self, coming: Signed | None, checkpoints: Iterator[Signed]) -> Signed | None:
        """Compare all checkpoints up to the present size with the state; return the next one that is still ahead."""
        while coming is not None and coming.body.size <= self._size:
            self._compare(coming)
            coming = next(checkpoints, None)
        return coming

    def _compare(self, signed: Signed) -> None:
        body = signed.body
        if self._kind == "segment" or (self._kind == "close" and body.kind != "open"):
            self._book.found("checkpoint_mismatch", f"can't come after a checkpoint of kind {self._kind!r}", signed.place)
        self._kind = body.kind
        if body.size < self._size:
            what = f"covers {body.size:,} records, but stands behind {self._size:,}: records were added, or it was moved"
            self._book.found("checkpoint_mismatch", what, signed.place)
            return
        same = self._head is None or body.head == self._head
        if self._tree_known:
            same = (
                same
                and body.root == self._tree.root()
                and body.peaks == (self._tree.subtrees() if body.kind == "segment" else [])
            )
        if not same:
            which = f"records {self._signed:,} to {body.size - 1:,}" if body.size else "the beginning of the log"
            what = f"{which} are not what was signed: changed, and the hashes made to fit"
            self._book.found("checkpoint_mismatch", what, signed.place)
            self._tree_known = False
        self._signed, self._signed_at, self._unsigned_from = body.size, body.at, ""

    def _cut(self, coming: Signed, checkpoints: Iterator[Signed], file: str) -> None:
        """Report checkpoints of this segment that are ahead of its last record, and go on behind them."""
        newest = coming
        for later in checkpoints:
            newest = later
        what = f"{newest.body.size - self._size:,} records are missing here: {newest.body.size:,} were signed at {newest.body.at}"
        self._book.found("tail_cut", what, Place(file=file, index=self._size, at=self._last_at))
        self._kind = newest.body.kind
        self._size = max(self._size, newest.body.size)
        self._signed, self._signed_at, self._unsigned_from = newest.body.size, newest.body.at, ""
        self._lose()

    def finish(self, segments: int) -> Report:
        """Judge the end of the log and what lies around it."""
        self._chain.finish(self._size, self._last_at)
        self._check_unsigned()
        self._traces.finish(self._size)
        if self._backwards:
            self._book.note(f"the clock went back {self._backwards:,} times; the order of records is that of their numbers")
        return Report(
            whole=not self._book.findings and self._records > 0,
            log=self._log,
            key=lines.key_digest(self._key) if self._key is not None else "",
            key_given=self._evidence.given_key is not None,
            anchored=self._chain.anchor is not None,
            writer_running=self._evidence.writer_running,
            segments=segments,
            records=self._records,
            signed=self._signed,
            checkpoints=self._chain.count,
            first_at=self._first_at,
            last_at=self._last_at,
            signed_at=self._signed_at,
            findings=tuple(self._book.findings),
            more_findings=self._book.more,
            notes=tuple(self._book.notes),
        )

    def _check_unsigned(self) -> None:
        count = self._size - self._signed
        if not self._chain.count:
            self._book.found("unsigned", "there is no valid checkpoint, and every log has one from its first moment")
        elif count > 0:
            begin, end = lines.seconds(self._unsigned_from), lines.seconds(self._last_at)
            if begin is not None and end is not None and end - begin > UNSIGNED_SECONDS:
                what = f"{count:,} records over {end - begin:,.0f} seconds have no checkpoint, and the writer signs every second"
                self._book.found("unsigned", what, Place(index=self._signed, at=self._unsigned_from))
            else:
                self._book.note_unfinished(f"the last {count:,} records are not signed yet")

"""The checkpoints of all segments in order: each well signed, of this log, and naming the one before."""

from collections.abc import Iterator

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.verify import lines
from gateway.audit.verify.findings import Book, Place


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint and where it stands."""

    place: Place
    body: lines.CheckpointLine


class Chain:
    """Reads checkpoints; remembers what the next one must name, also from segment to segment."""

    def __init__(self, log: str, key: Ed25519PublicKey | None, anchor: bytes | None, book: Book) -> None:
        self._log = log
        self._key = key
        self._book = book
        self._number = 0
        self._previous: str | None = "0" * 64
        """None: what should come before was already reported."""
        self._anchor_line = anchor.removesuffix(b"\n") if anchor is not None else None
        self._anchor_seen = False
        self.count = 0
        self.bytes = 0
        self.anchor = self._read_anchor()

    def _read_anchor(self) -> lines.CheckpointLine | None:
        if self._anchor_line is None:
            return None
        anchor = lines.read_checkpoint(self._anchor_line, self._key) if self._key is not None else None
        if anchor is None:
            self._book.found("anchor", "the anchor is not signed with this log's key: the key or the anchor was replaced")
        elif self._log and anchor.log != self._log:
            self._book.found("anchor", f"the anchor belongs to another log ({anchor.log}; this is {self._log})")
        return anchor

    def read(self, file: str, content: Iterator[bytes] | None, *, last: bool) -> Iterator[Signed]:
        """Yield the good checkpoints of one file. `last`: of the newest segment, whose last line may be incomplete."""
        if content is None:
            self._book.found("segment_missing", "is missing", Place(file=file))
            self._previous = None
            return
        for number, data in enumerate(content, start=1):
            self.bytes += len(data)
            place = Place(file=file, line=number)
            complete = data.endswith(b"\n")
            line = data.removesuffix(b"\n")
            body = lines.read_checkpoint(line, self._key) if self._key is not None and complete else None
            if body is None and not complete and last:
                self._book.note_unfinished(f"{file}:{number}: the last line is not complete")
                return
            if body is None:
                self._book.found("checkpoint_forged", "is no checkpoint that this log's key signed", place)
                self._previous = None
                continue
            yield self._take(Signed(place=Place(file=file, line=number, at=body.at), body=body), line)

    def _take(self, signed: Signed, line: bytes) -> Signed:
        body = signed.body
        if self._log and body.log != self._log:
            self._book.found("checkpoint_forged", f"is a checkpoint of another log ({body.log})", signed.place)
        if self._previous is not None and (body.number, body.previous) != (self._number, self._previous):
            self._book.found("checkpoint_missing", f"checkpoint {self._number:,} should be here: removed, or moved", signed.place)
        self._number, self._previous = body.number + 1, body.digest
        self._anchor_seen = self._anchor_seen or line == self._anchor_line
        self.count += 1
        return signed

    def finish(self, size: int, at: str) -> None:
        """Compare the end with the anchor."""
        if self.anchor is None or self._anchor_seen:
            return
        if self.anchor.size > size:
            what = f"the log was cut: the anchor of {self.anchor.at} covers {self.anchor.size:,} records, the log holds {size:,}"
            self._book.found("tail_cut", what, Place(index=size, at=at))
        else:
            what = f"the anchor's checkpoint of {self.anchor.at} is not in the log: it was cut off, or the log was rewritten"
            self._book.found("anchor", what)

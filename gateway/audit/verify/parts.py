"""A log verified in parts, side by side. Each is a segment, and begins with what the one before was signed to end with.

A part either *holds* or it does not; it never says what is wrong. Whoever finds a part that does not hold lets the walk over the
whole log (`walk.verify`) say whether it is whole, and where it is not. So this may give up for any reason, and must never hold
where the walk finds something. Two things make it quicker, and neither believes more:

- of a part's checkpoints only the last is verified by its signature. The others are what that one vouches for: each checkpoint
  names the one before by the hash of its whole line, signature included: a line that the signer did not write breaks the chain.
- a line must be, byte for byte, the one line that can stand there; it is never searched for what it might be instead.

A part begins with claims (`Joint`): of the size, the hashes and the checkpoint before. They count only when the part before ends
with exactly these (`joined`).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.verify import lines
from gateway.audit.verify.chain import Chain
from gateway.audit.verify.crash import Traces
from gateway.audit.verify.findings import Book
from gateway.audit.verify.report import Report
from gateway.audit.verify.tree import Hashes
from gateway.audit.verify.walk import UNSIGNED_SECONDS, Evidence, identify

PROGRESS_EVERY: Final = 4096
"""Lines between two words of how far it is."""

_MARKS: Final = frozenset({"log.recovered", "gateway.started", "log.slots"})
"""Events that say something of the log itself."""
_OTHER: Final[dict[str, Any]] = {}
_HASH: Final = b'{"hash":"'
_DIGEST: Final = slice(9, 73)
_REST: Final = 75


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the verifier reads of a record; readers derive from it what they want to know besides."""

    type: str
    at: str
    event: str = ""


class Joint(msgspec.Struct, frozen=True, kw_only=True):
    """Where one part ends and the next begins."""

    size: int
    head: str
    peaks: tuple[str, ...]
    """Of the tree, largest first, hex."""
    number: int
    """Of the checkpoint that comes next."""
    previous: str
    """Which it names as the one before."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A part that holds, if what it began with is true."""

    start: Joint
    end: Joint
    checkpoints: int
    signed: int
    signed_at: str
    first_at: str
    last_at: str
    unsigned_from: str
    """When the first record after the newest checkpoint was; empty for none."""
    kind: str
    """Of the newest checkpoint, unless records follow it."""
    anchor_seen: bool
    unfinished: bool
    """The last line of one of the files is not complete."""
    marks: tuple[tuple[int, dict[str, Any]], ...]
    """Index and record of the events that say something of the log itself."""


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    at: str
    head: str
    key: str
    kind: str
    log: str
    number: int
    peaks: tuple[str, ...]
    previous: str
    root: str
    size: int


class NotHeld(Exception):  # noqa: N818  no error: the walk over the whole log says what is the matter
    """The part does not hold, or nobody knows."""


H = TypeVar("H", bound=Head)
_body: Final = msgspec.json.Decoder(_Body).decode


def beginning(manifest: bytes) -> Joint:
    """Return what the first part begins with."""
    return Joint(size=0, head=lines.genesis(manifest), peaks=(), number=0, previous="0" * 64)


def claimed_end(line: bytes) -> Joint | None:
    """Return what a part claims to end with, by the last line of its checkpoints; None when it ends with none."""
    match = lines.CHECKPOINT.fullmatch(line.removesuffix(b"\n"))
    try:
        body = _body(match[1]) if match is not None else None
    except (msgspec.DecodeError, ValueError):
        return None
    if body is None or body.kind != "segment":
        return None
    digest = sha256(line.removesuffix(b"\n")).hexdigest()
    return Joint(size=body.size, head=body.head, peaks=body.peaks, number=body.number + 1, previous=digest)


class Part(Generic[H]):
    """One part on its way."""

    def __init__(
        self,
        start: Joint,
        *,
        log: str,
        key: Ed25519PublicKey,
        last: bool,
        anchor: bytes | None,
        read: Callable[[bytes], H],
        on_record: Callable[[int, H], None],
    ) -> None:
        """`read` makes of a record's JSON what `on_record(index, ...)` sees; a msgspec.DecodeError of it gives the part up."""
        try:
            self._tree = Hashes.of(start.size, [bytes.fromhex(peak) for peak in start.peaks])
        except ValueError as error:
            raise NotHeld("peaks") from error
        self._start = start
        self._log = log
        self._key = key
        self._last = last
        self._anchor = anchor.removesuffix(b"\n") if anchor is not None else None
        self._read = read
        self._on_record = on_record
        self._size = start.size
        self._head = start.head
        self._number, self._previous = start.number, start.previous
        self._count = 0
        self._signed, self._signed_at = start.size, ""
        self._kind = ""
        self._first_at = self._last_at = self._unsigned_from = ""
        self._anchor_seen = self._unfinished = self._torn = False
        self._marks: list[tuple[int, dict[str, Any]]] = []

    def walk(self, records: Iterable[bytes], checkpoints: Iterable[bytes], progress: Callable[[int], None]) -> Held:
        """Go over the part's lines (with line feeds); `progress(bytes of records)` now and then. Raises NotHeld."""
        coming = self._checkpoints(checkpoints)
        ahead = self._compare(next(coming, None), coming)
        done = 0
        for number, line in enumerate(records, start=1):
            if self._unfinished or self._kind in {"segment", "close"}:
                raise NotHeld("after the end")
            if not line.endswith(b"\n") and self._last and len(line) <= lines.LONGEST:
                self._unfinished = True
                continue
            self._line(line)
            if ahead is not None and ahead[0].size <= self._size:
                ahead = self._compare(ahead, coming)
            done += len(line)
            if number % PROGRESS_EVERY == 0:
                progress(done)
        if ahead is not None or (not self._last and self._kind != "segment"):
            raise NotHeld("end")
        if any(at and lines.seconds(at) is None for at in (self._first_at, self._last_at, self._unsigned_from)):
            raise NotHeld("time")
        return Held(
            start=self._start,
            end=Joint(
                size=self._size,
                head=self._head,
                peaks=tuple(self._tree.subtrees()),
                number=self._number,
                previous=self._previous,
            ),
            checkpoints=self._count,
            signed=self._signed,
            signed_at=self._signed_at,
            first_at=self._first_at,
            last_at=self._last_at,
            unsigned_from=self._unsigned_from,
            kind=self._kind,
            anchor_seen=self._anchor_seen,
            unfinished=self._unfinished or self._torn,
            marks=tuple(self._marks),
        )

    def _line(self, line: bytes) -> None:
        before = b'"index":%d,"previous":"%s","record":' % (self._size, self._head.encode())
        begin = _REST + len(before)
        digest = sha256(b"\x00{" + line[_REST:-1]).hexdigest()
        if (
            not line.startswith(_HASH)
            or line[73:75] != b'",'
            or not line.startswith(before, _REST)
            or line[begin : begin + 1] != b"{"
            or not line.endswith(b"}}\n")
            or line[_DIGEST] != digest.encode()
            or len(line) > lines.LONGEST
        ):
            raise NotHeld("line")
        content = line[begin:-2]
        try:
            content.decode()  # msgspec does not look into texts that nobody asked for
            record = self._read(content)
            if record.type == "event" and record.event in _MARKS:
                self._marks.append((self._size, json.loads(content)))
        except (msgspec.DecodeError, ValueError) as error:
            raise NotHeld("record") from error
        self._on_record(self._size, record)
        self._size += 1
        self._head = digest
        self._tree.push(bytes.fromhex(digest))
        self._kind = ""
        self._last_at = record.at
        if not self._unsigned_from:
            self._unsigned_from = record.at
            self._first_at = self._first_at or record.at

    def _checkpoints(self, content: Iterable[bytes]) -> Iterator[tuple[_Body, bool]]:
        """Yield each checkpoint that follows from the one before, and whether it is the last: that one is well signed."""
        before: bytes | None = None
        for line in content:
            if not line.endswith(b"\n"):
                # The newest segment's last line may be on its way to the disk.
                if not self._last or len(line) > lines.LONGEST:
                    raise NotHeld("checkpoint")
                self._torn = True
                break
            if before is not None:
                yield self._checkpoint(before, last=False)
            before = line
        if before is not None:
            yield self._checkpoint(before, last=True)

    def _checkpoint(self, data: bytes, *, last: bool) -> tuple[_Body, bool]:
        line = data.removesuffix(b"\n")
        match = lines.CHECKPOINT.fullmatch(line)
        try:
            body = _body(match[1]) if match is not None else None
        except (msgspec.DecodeError, ValueError):
            body = None
        if (
            body is None
            or (body.number, body.previous, body.log) != (self._number, self._previous, self._log)
            or lines.seconds(body.at) is None
        ):
            raise NotHeld("checkpoint")
        if last and lines.read_checkpoint(line, self._key) is None:
            raise NotHeld("signature")
        self._number += 1
        self._previous = sha256(line).hexdigest()
        self._anchor_seen = self._anchor_seen or line == self._anchor
        return body, last

    def _compare(self, ahead: tuple[_Body, bool] | None, coming: Iterator[tuple[_Body, bool]]) -> tuple[_Body, bool] | None:
        """Compare every checkpoint up to the present size; return the one that is still ahead."""
        while ahead is not None and ahead[0].size <= self._size:
            body, last = ahead
            if (
                body.size != self._size
                or body.head != self._head
                or self._kind == "segment"
                or (self._kind == "close" and body.kind != "open")
                or (bool(body.peaks) and body.kind != "segment")
                or (body.kind == "segment" and (not last or list(body.peaks) != self._tree.subtrees()))
                or body.root != self._tree.root()
            ):
                raise NotHeld("checkpoint mismatch")
            self._kind = body.kind
            self._count += 1
            self._signed, self._signed_at, self._unsigned_from = body.size, body.at, ""
            ahead = next(coming, None)
        return ahead


def joined(evidence: Evidence, parts: Sequence[Held]) -> Report | None:
    """Return the report of a log whose parts, in order, all hold; None when something else does not: then ask the walk."""
    book = Book(writer_running=evidence.writer_running)
    log, key = identify(evidence, book)
    chain = Chain(log, key, evidence.anchor, book)
    if evidence.manifest is None or key is None or not parts or book.findings:
        return None
    before = beginning(evidence.manifest)
    for part in parts:
        if part.start != before:
            return None
        before = part.end
    traces = Traces(evidence.torn, key, book)
    expected = -1
    for part in parts:
        for index, record in part.marks:
            if index != expected:
                traces.record(index, _OTHER)
            traces.record(index, record)
            expected = index + 1
    end = parts[-1]
    size = end.end.size
    traces.finish(size)
    last_at = next((part.last_at for part in reversed(parts) if part.last_at), "")
    if (
        book.findings
        or not size
        or not any(part.checkpoints for part in parts)
        or (chain.anchor is not None and not any(part.anchor_seen for part in parts))
        or not _signed_in_time(end, size)
    ):
        return None
    if end.unfinished:
        book.note_unfinished("the last line is not complete")
    if size > end.signed:
        book.note_unfinished(f"the last {size - end.signed:,} records are not signed yet")
    return Report(
        whole=True,
        log=log,
        key=lines.key_digest(key),
        key_given=evidence.given_key is not None,
        anchored=chain.anchor is not None,
        writer_running=evidence.writer_running,
        segments=len(parts),
        records=size,
        signed=end.signed,
        checkpoints=sum(part.checkpoints for part in parts),
        first_at=next((part.first_at for part in parts if part.first_at), ""),
        last_at=last_at,
        signed_at=next((part.signed_at for part in reversed(parts) if part.signed_at), ""),
        findings=(),
        more_findings=0,
        notes=tuple(book.notes),
    )


def marks_of(parts: Sequence[Held]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the events that say something of the log itself, in order."""
    for part in parts:
        yield from part.marks


def _signed_in_time(end: Held, size: int) -> bool:
    """Whether what follows the newest checkpoint is no longer than the writer needs to sign it."""
    if size == end.signed:
        return True
    begin, until = lines.seconds(end.unsigned_from), lines.seconds(end.last_at)
    return begin is not None and until is not None and until - begin <= UNSIGNED_SECONDS

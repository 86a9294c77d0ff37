"""Finding one decision in the logs of an installation, the newest first, without reading more than is needed. Not verified."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.audit.installation import Installation
from gateway.audit.reader import LogFolder
from gateway.audit.verify.lines import LONGEST, read_record
from gateway.kernel.errors import AuditError

BLOCK: Final = 4 << 20
_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a search."""

    record: dict[str, Any] | None
    """As in the log; None: not found in what was looked at."""
    slot: int = 0
    index: int = -1
    looked_at: int
    """Bytes."""
    everything: bool
    """Nothing was left out: there is no such decision in these logs."""
    back_to: str = ""
    """The time of the oldest record that was looked at, as it says."""


def find_decision(folder: Path, decision: str, *, most_bytes: int) -> Searched:
    """Look for a decision by its id, from the end of every log on, at most `most_bytes` in all. Blocking.

    AuditError when there is no log or it can't be read.
    """
    logs = Installation(folder).logs
    if not _ID.fullmatch(decision):
        return Searched(record=None, looked_at=0, everything=True)
    searches = {slot: _backwards(log, decision.encode()) for slot, log in logs.items()}
    looked_at, oldest = 0, ""
    try:
        while searches and looked_at < most_bytes:
            # One block of each log in turn: all are looked at as far back.
            for slot, search in list(searches.items()):
                step = next(search, None)
                if step is None:
                    del searches[slot]
                    continue
                looked_at += step.length
                oldest = min(filter(None, (oldest, step.oldest)), default="")
                if step.record is not None:
                    found = step.record
                    return Searched(
                        record=found, slot=slot, index=step.index, looked_at=looked_at, everything=False, back_to=oldest
                    )
    except OSError as error:
        raise AuditError(
            f"can't be read ({error.strerror or error})", where=str(folder), todo="Run this as a user who may read the log"
        ) from error
    return Searched(record=None, looked_at=looked_at, everything=not searches, back_to=oldest)


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    length: int
    oldest: str
    record: dict[str, Any] | None = None
    index: int = -1


def _backwards(log: LogFolder, decision: bytes) -> Iterator[_Step]:
    """Yield after each block of a log, from its end on."""
    for segment in reversed(log.segments):
        carried = b""
        end = segment.records_length or 0
        while end > 0:
            begin = max(0, end - BLOCK)
            with segment.records.open("rb") as file:
                file.seek(begin)
                block = file.read(end - begin)
            length, end = len(block), begin
            # The first line of a block may have begun in the one before; a line that never ends is no record.
            first, _, whole = (block + carried).partition(b"\n") if begin else (b"", b"", block + carried)
            carried = first[-LONGEST:] + b"\n" if begin else b""
            yield _look(whole, decision, length)


def _look(text: bytes, decision: bytes, length: int) -> _Step:
    oldest = ""
    head = read_record(text[: max(0, text.find(b"\n"))])
    if head is not None:
        oldest = str(head.record.get("at", ""))[:40]
    named = b'"id":"%s"' % decision  # as records are written; a word that stands in every line is not looked up in each
    place = text.rfind(named)
    while place >= 0:
        start = text.rfind(b"\n", 0, place) + 1
        end = text.find(b"\n", place)
        found = read_record(text[start : end if end >= 0 else len(text)])
        if found is not None and found.record.get("type") == "decision" and found.record.get("id") == decision.decode():
            return _Step(length=length, oldest=oldest, record=found.record, index=found.unverified_index)
        place = text.rfind(named, 0, start)  # an earlier line
    return _Step(length=length, oldest=oldest)

"""All logs of an installation (`gateway.audit.slots` says where they are), read and verified together."""

import heapq
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.audit.reader import NO_LOG, LogFolder
from gateway.audit.verify import Overall, Report, Roll, slot_file
from gateway.audit.verify.lines import seconds
from gateway.kernel.errors import AuditError

OnRecord = Callable[[int, int, dict[str, Any]], None]
"""Sees (slot, index, record)."""

_SLOT_NAME: Final = re.compile(r"slot-[0-9]{2}")
_ANCHOR_END: Final = re.compile(r"\.(0[2-9]|[1-9][0-9])")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A readable record and where it stands. Not verified."""

    slot: int
    index: int
    hash: str
    record: dict[str, Any]


class Installation:
    """The logs of a folder at one moment. Raises AuditError when there is none, or one can't be read."""

    def __init__(self, folder: Path, *, anchor: Path | None = None, public_key: Path | None = None) -> None:
        """`anchor` is the first log's; those of the others are looked for beside it."""
        self._folder = folder
        if _SLOT_NAME.fullmatch(folder.absolute().name) and (folder.absolute().parent / "log.json").exists():
            raise AuditError(
                "is one log of several", where=str(folder), todo=f"Name the folder above it: {folder.absolute().parent}"
            )
        self._anchors = _anchors(anchor)
        first = LogFolder(folder, anchor=anchor, public_key=public_key)
        self.logs = {1: first}
        # A log is there before another names it. So whatever those that were looked at name is found by looking once more.
        while new := [slot for slot in first.slots() if slot not in self.logs]:
            for slot in new:
                self.logs[slot] = LogFolder(folder / slot_file(slot, ""), anchor=self._anchors.get(slot), public_key=public_key)

    @property
    def strangers(self) -> list[str]:
        """Files that are no part of a log."""
        return [slot_file(slot, name) for slot, log in self.logs.items() for name in log.strangers]

    @property
    def length(self) -> int:
        """Bytes in all segments of all logs."""
        return sum(log.length for log in self.logs.values())

    @property
    def anchored(self) -> frozenset[int]:
        """Slots of which there is an anchor."""
        return frozenset(self._anchors)

    def verify(self, *, on_record: OnRecord | None = None, progress: Callable[[int, int], None] | None = None) -> Overall:
        """Verify every log, and that none is missing; `progress(bytes done, bytes in all)` is called now and then."""
        roll, reports, done = Roll(), dict[int, Report](), 0
        total = self.length
        for slot, log in self.logs.items():

            def seen(index: int, record: dict[str, Any], slot: int = slot) -> None:
                roll.record(slot, index, record)
                if on_record is not None:
                    on_record(slot, index, record)

            def so_far(part: int, _: int, before: int = done) -> None:
                if progress is not None:
                    progress(before + part, total)

            reports[slot] = log.verify(on_record=seen, progress=so_far)
            done += log.length
        findings, strange = roll.finish(reports, anchors=frozenset(self._anchors))
        for slot, report in reports.items():
            findings += [msgspec.structs.replace(found, file=slot_file(slot, found.file)) for found in report.findings]
        overall = Overall(
            logs=reports,
            findings=tuple(findings),
            more_findings=sum(report.more_findings for report in reports.values()),
            strange=strange,
        )
        if not overall.records and not findings:
            raise AuditError("the log holds no record yet, so there is nothing to verify", where=str(self._folder), todo=NO_LOG)
        return overall

    def entries(self) -> Iterator[Entry]:
        """Yield every readable record: each log in its own order, several of them merged by time."""
        timed = heapq.merge(*(_timed(slot, log) for slot, log in self.logs.items()), key=lambda one: one[0])
        return (entry for _, entry in timed)


def _timed(slot: int, log: LogFolder) -> Iterator[tuple[float, Entry]]:
    latest = 0.0
    for index, digest, record in log.records():
        # A clock that went back does not change the order of a log.
        latest = max(latest, seconds(str(record.get("at"))) or 0.0)
        yield latest, Entry(slot=slot, index=index, hash=digest, record=record)


def _anchors(anchor: Path | None) -> dict[int, Path]:
    """Return the anchors that there are, by slot; the first log's also when it is missing, so that reading it says so."""
    if anchor is None:
        return {}
    beside = anchor.parent.iterdir() if os.access(anchor.parent, os.R_OK | os.X_OK) else ()
    names = {path.name.removeprefix(anchor.name): path for path in beside if path.name.startswith(anchor.name)}
    return {1: anchor} | {int(match[1]): path for end, path in names.items() if (match := _ANCHOR_END.fullmatch(end))}

"""Several logs of one installation: all must be there that the others name, and each must be the one that they name."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from gateway.audit.verify.report import Finding, Report

_NAMING: Final = frozenset({"gateway.started", "log.slots"})
_KEY: Final = re.compile(r"log\.([1-9][0-9]?)")


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log is named for the first time."""

    by: int
    index: int
    at: str


def slot_file(slot: int, file: str) -> str:
    """Return a file's place in the installation's folder."""
    return file if slot == 1 else f"slot-{slot:02d}/{file}".rstrip("/")


class Roll:
    """Collects which logs are named by whom. A log that is named nowhere is one from before there were several."""

    def __init__(self) -> None:
        self._named: dict[tuple[int, str], _Named] = {}

    def record(self, slot: int, index: int, record: dict[str, Any]) -> None:
        """Look at every record of every log."""
        if record.get("type") != "event" or record.get("event") not in _NAMING:
            return
        detail = record.get("detail")
        for key, log in detail.items() if isinstance(detail, dict) else ():
            match = _KEY.fullmatch(key)
            if match is not None:
                self._named.setdefault((int(match[1]), str(log)), _Named(by=slot, index=index, at=str(record.get("at"))))

    def finish(self, reports: Mapping[int, Report], *, anchors: frozenset[int]) -> tuple[list[Finding], frozenset[int]]:
        """Compare with the logs that are there; `anchors` are the slots of which there is an anchor.

        Returns what was found, and the slots whose log does not belong here: nothing in it can be believed.
        """
        found: list[Finding] = []
        for (slot, log), named in sorted(self._named.items()):
            if slot not in reports or reports[slot].log != log:
                state = f"is {reports[slot].log or 'no log'}" if slot in reports else "is not here"
                what = f"the log {log} of slot {slot} {state}: it was removed or replaced"
                file = slot_file(named.by, "")
                found.append(Finding(code="log_missing", what=what, file=file, index=named.index, at=named.at))
        for slot in sorted(anchors - reports.keys()):
            what = "is not here, but its anchor is: the log was removed"
            found.append(Finding(code="log_missing", what=what, file=slot_file(slot, "")))
        strange = dict(self._strange(reports))
        return found + list(strange.values()), frozenset(strange)

    def _strange(self, reports: Mapping[int, Report]) -> Iterator[tuple[int, Finding]]:
        """Find logs that don't belong here."""
        seen: dict[str, int] = {}
        for slot, report in sorted(reports.items()):
            file = slot_file(slot, "log.json")
            if report.key != reports[min(reports)].key:
                yield slot, Finding(code="key", what="is signed with another key than the first log here", file=file)
            elif report.log in seen:
                what = f"is the log of slot {seen[report.log]} once more: it was copied here"
                yield slot, Finding(code="log_unknown", what=what, file=file)
            elif slot > 1 and report.records and (slot, report.log) not in self._named:
                yield slot, Finding(code="log_unknown", what="is a log that no log here names: it was added", file=file)
            seen.setdefault(report.log, slot)

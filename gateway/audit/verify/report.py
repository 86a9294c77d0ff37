"""What the verifier says."""

from typing import Literal

import msgspec

Code = Literal[
    "manifest", "key", "segment_missing", "segment_open", "line_malformed", "record_changed", "record_missing", "record_order",
    "record_unlinked", "checkpoint_forged", "checkpoint_missing", "checkpoint_mismatch", "tail_cut", "unsigned", "anchor", "torn",
    "log_missing", "log_unknown",
]  # fmt: skip
"""Kinds of finding: a closed set, for whoever reads the JSON form."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an untouched log does not show, and where."""

    code: Code
    what: str
    file: str = ""
    line: int = 0
    """1 for the first; 0 when it is about no line."""
    index: int = -1
    """Of the record; -1 when it is about none."""
    at: str = ""
    """Time of that record, or of the last readable one before it; RFC 3339."""

    def __str__(self) -> str:
        """Say it in one line: `file:line: record N (time): what`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        record = f"record {self.index:,}" if self.index >= 0 else ""
        if self.at:
            record = f"{record} ({self.at})" if record else f"after {self.at}"
        return ": ".join(part for part in (place, record, self.what) if part)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a verification. `whole` is only ever said of a log with at least one record."""

    whole: bool
    log: str
    key: str
    """SHA-256 of the public key that the checkpoints were verified with."""
    key_given: bool
    """The key came from outside the log's folder."""
    anchored: bool
    """The log was compared with an anchor."""
    writer_running: bool
    segments: int
    records: int
    signed: int
    """Records that the newest valid checkpoint covers; the rest is held by the hash chain only."""
    checkpoints: int
    first_at: str
    last_at: str
    signed_at: str
    """Time of the newest valid checkpoint."""
    findings: tuple[Finding, ...]
    more_findings: int
    """How many were found beyond those that are listed."""
    notes: tuple[str, ...]
    """What an honest log may show, too, and an auditor should know."""


class Overall(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome for all logs of an installation."""

    logs: dict[int, Report]
    """By slot."""
    findings: tuple[Finding, ...]
    """Of every log, with the file's place in the installation's folder, and between the logs: those first."""
    more_findings: int
    strange: frozenset[int] = frozenset()
    """Slots whose log does not belong here, however whole it is."""

    @property
    def whole(self) -> bool:
        """Nothing was found, and there is at least one record."""
        return not self.findings and self.records > 0

    @property
    def records(self) -> int:
        """In all logs."""
        return sum(report.records for report in self.logs.values())

"""Collecting findings and notes, up to a number that a person can read."""

from typing import Final

import msgspec

from gateway.audit.verify.report import Code, Finding

_LISTED: Final = 50


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where something is."""

    file: str = ""
    line: int = 0
    index: int = -1
    at: str = ""


class Book:
    """What was found so far."""

    def __init__(self, *, writer_running: bool) -> None:
        self._writer_running = writer_running
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.more = 0

    def found(self, code: Code, what: str, place: Place | None = None) -> None:
        """Add something that an untouched log does not show."""
        if len(self.findings) >= _LISTED:
            self.more += 1
            return
        place = place or Place()
        self.findings.append(Finding(code=code, what=what, file=place.file, line=place.line, index=place.index, at=place.at))

    def note(self, what: str) -> None:
        """Add something that an honest log may show."""
        if len(self.notes) < _LISTED:
            self.notes.append(what)

    def note_unfinished(self, what: str) -> None:
        """Note an end that is either being written or left by a crash."""
        why = "the gateway is writing" if self._writer_running else "no gateway is writing: it crashed, or the end was cut"
        self.note(f"{what} ({why})")

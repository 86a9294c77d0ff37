"""What a crash left, and whether that explanation is used as a hiding place."""

import re
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.verify import lines
from gateway.audit.verify.findings import Book, Place

_NAME: Final = re.compile(r"torn-(\d{12})-\d{1,4}\.(record|checkpoint)")


class TornFile(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that were set aside at a start after a crash."""

    length: int
    sha256: str
    first_line: bytes
    """Without line feed."""


class Traces:
    """Holds the recovery events of the log against the files that they name.

    Bytes may have been set aside only where a run of recovery events stands in the chain, exactly as the event says, and only if
    they do not begin with a whole line.
    """

    def __init__(self, torn: dict[str, TornFile], key: Ed25519PublicKey | None, book: Book) -> None:
        self._torn = torn
        self._key = key
        self._book = book
        self._run: set[int] = set()
        """Indexes of the present run of recovery events."""
        self._recorded: set[str] = set()

    def record(self, index: int, record: dict[str, Any]) -> None:
        """Look at every record in order."""
        if record.get("type") != "event" or record.get("event") != "log.recovered":
            self._run.clear()
            return
        self._run.add(index)
        detail, name = record.get("detail"), record.get("target")
        if isinstance(detail, dict) and isinstance(name, str):
            self._event(index, str(record.get("at")), name, detail)

    def _event(self, index: int, at: str, name: str, detail: dict[str, Any]) -> None:
        what = str(detail.get("what"))
        self._book.note(f"record {index:,} ({at}): the log was opened after a crash: {what} {name}")
        if not what.startswith("torn-"):
            return
        self._recorded.add(name)
        place = Place(file=name, index=index)
        torn, match = self._torn.get(name), _NAME.fullmatch(name)
        if torn is None or match is None:
            self._book.found("torn", "was set aside after a crash and is missing", place)
        elif (torn.sha256, str(torn.length)) != (detail.get("sha256"), detail.get("bytes")):
            self._book.found("torn", "is not what was set aside after a crash: it was changed", place)
        elif int(match[1]) not in self._run:
            self._book.found("torn", "was not set aside at this place of the log", place)
        elif self._whole(match[2], torn.first_line):
            self._book.found(
                "torn", "begins with a whole line: taken out of the log, or added to it, and no crash's doing", place
            )

    def _whole(self, kind: str, line: bytes) -> bool:
        """Say whether bytes that were called torn begin with a line that a writer finished."""
        if kind == "checkpoint":
            return self._key is not None and lines.read_checkpoint(line, self._key) is not None
        record = lines.read_record(line)
        return record is not None and record.computed_hash == record.unverified_hash

    def finish(self, size: int) -> None:
        """Report files that no record mentions."""
        for name in sorted(self._torn.keys() - self._recorded):
            match = _NAME.fullmatch(name)
            if match is not None and int(match[1]) == size:
                self._book.note(f"{name}: set aside after a crash; the next start records it")
            else:
                self._book.found("torn", "is mentioned by no record: added, or its record was removed", Place(file=name))

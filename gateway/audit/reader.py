"""Reading a log's folder as it is at one moment, also while a gateway writes: the files' lengths are taken once, in an order that
never makes an honest log look cut (anchor, then checkpoints, then records).
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.verify import Evidence, Report, Segment, TornFile, verify
from gateway.audit.verify.lines import LONGEST, read_key, read_record
from gateway.kernel.errors import AuditError

_SEGMENT = re.compile(r"segment-(\d{6})\.(jsonl|checkpoints)")
_SLOT = re.compile(r"slot-(0[2-9]|[1-9][0-9])")
_KNOWN: Final = {"log.json", "public-key.pem", "writer.lock"}
NO_LOG: Final = "Name the folder that the gateway's configuration calls the log's"


class _Files(msgspec.Struct, frozen=True, kw_only=True):
    """A segment's files and their lengths; None for one that is missing."""

    number: int
    records: Path
    records_length: int | None
    checkpoints: Path
    checkpoints_length: int | None


class LogFolder:
    """A log's files at one moment. Raises AuditError when there is no log or it can't be read."""

    def __init__(self, folder: Path, *, anchor: Path | None = None, public_key: Path | None = None) -> None:
        self._folder = folder
        with _readable(folder):
            if not folder.is_dir():
                what = "is not a folder" if folder.exists() else "does not exist"
                raise AuditError(what, where=str(folder), todo=NO_LOG)
            given_key = _given_key(public_key)
            anchor_line = anchor.read_bytes() if anchor is not None else None
            names = sorted(path.name for path in folder.iterdir())
            self._segments = self._find_segments(names)
            if not self._segments and "log.json" not in names:
                raise AuditError("holds no log", where=str(folder), todo=NO_LOG)
            self.evidence = Evidence(
                manifest=self._content("log.json"),
                folder_key=self._content("public-key.pem"),
                given_key=given_key,
                anchor=anchor_line,
                writer_running=_writer_running(folder),
                torn={name: _torn(folder / name) for name in names if name.startswith("torn-")},
            )
        self.strangers = [
            name
            for name in names
            if name not in _KNOWN
            and not name.startswith(("torn-", "."))
            and not _SEGMENT.fullmatch(name)
            and not _SLOT.fullmatch(name)
        ]
        """Files that are no part of a log."""

    def slots(self) -> list[int]:
        """Return which further logs the installation has, whose first log this is, as of now."""
        with _readable(self._folder):
            return sorted(int(match[1]) for path in self._folder.iterdir() if (match := _SLOT.fullmatch(path.name)))

    def _find_segments(self, names: list[str]) -> list[_Files]:
        """Return all segments, also those of which a file is missing."""
        last = max((int(match[1]) for name in names if (match := _SEGMENT.fullmatch(name))), default=0)
        numbers = range(1, last + 1)
        # Checkpoints first: one that is written meanwhile must not promise records that are not seen any more.
        checkpoints = [self._folder / f"segment-{number:06d}.checkpoints" for number in numbers]
        checkpoints_lengths = [_length(path) for path in checkpoints]
        records = [self._folder / f"segment-{number:06d}.jsonl" for number in numbers]
        found = [
            _Files(number=number, records=path, records_length=_length(path), checkpoints=other, checkpoints_length=other_length)
            for number, path, other, other_length in zip(numbers, records, checkpoints, checkpoints_lengths, strict=True)
        ]
        # A crash between the creation of a new segment's two files leaves one, and it is empty.
        if len(found) > 1 and {found[-1].records_length, found[-1].checkpoints_length} == {None, 0}:
            found.pop()
        return found

    def _content(self, name: str) -> bytes | None:
        path = self._folder / name
        return path.read_bytes() if path.exists() else None

    @property
    def segments(self) -> tuple["_Files", ...]:
        """The segments' files and their lengths at that moment, in order."""
        return tuple(self._segments)

    @property
    def length(self) -> int:
        """Bytes in all segments."""
        return sum((segment.records_length or 0) + (segment.checkpoints_length or 0) for segment in self._segments)

    def verify(
        self,
        *,
        on_record: Callable[[int, dict[str, Any]], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Report:
        """Verify this log; `progress(bytes done, bytes in all)` is called now and then. A log without a record is not whole."""
        total = self.length
        segments = [
            Segment(
                number=segment.number,
                records_file=segment.records.name,
                checkpoints_file=segment.checkpoints.name,
                records=_opener(segment.records, segment.records_length),
                checkpoints=_opener(segment.checkpoints, segment.checkpoints_length),
            )
            for segment in self._segments
        ]
        with _readable(self._folder):
            return verify(
                self.evidence, segments, on_record=on_record, progress=(lambda done: progress(done, total)) if progress else None
            )

    def records(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Yield (index, hash, record) of every readable record, in the order of the files. Not verified."""
        with _readable(self._folder):
            for segment in self._segments:
                for data in lines_of(segment.records, segment.records_length or 0):
                    line = read_record(data.removesuffix(b"\n")) if data.endswith(b"\n") else None
                    if line is not None:
                        yield line.unverified_index, line.unverified_hash, line.record


class _readable:  # noqa: N801  a context manager that reads as an adjective
    """Turns errors of the operating system into one that says what to do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise AuditError(
                f"can't be read ({error.strerror or error})",
                where=str(error.filename or self._folder),
                todo="Check that it exists, and run this as a user who may read the log",
            ) from error


def _length(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _opener(path: Path, length: int | None) -> Callable[[], Iterator[bytes]] | None:
    return partial(lines_of, path, length) if length is not None else None


def lines_of(path: Path, length: int) -> Iterator[bytes]:
    """Yield the lines of the first `length` bytes; one that is over the limit is cut, and its rest skipped."""
    with path.open("rb") as file:
        left = length
        while left > 0 and (data := file.readline(min(left, LONGEST + 1))):
            left -= len(data)
            yield data
            while (
                len(data) > LONGEST and not data.endswith(b"\n") and left > 0 and (data := file.readline(min(left, LONGEST + 1)))
            ):
                left -= len(data)


def _torn(path: Path) -> TornFile:
    with path.open("rb") as file:
        first_line = file.readline(LONGEST).removesuffix(b"\n")
        file.seek(0)
        return TornFile(sha256=hashlib.file_digest(file, "sha256").hexdigest(), length=file.tell(), first_line=first_line)


def _given_key(path: Path | None) -> Ed25519PublicKey | None:
    if path is None:
        return None
    key = read_key(path.read_bytes())
    if key is None:
        raise AuditError(
            "holds no Ed25519 public key", where=str(path), todo="Give the PEM file that was kept when the log began"
        )
    return key


def _writer_running(folder: Path) -> bool:
    """Ask for the writer's lock, and give it back at once."""
    try:
        fd = os.open(folder / "writer.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False

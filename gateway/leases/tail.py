"""Reads a growing file line by line, across rotation and restarts.

A rotated file (renamed, and nginx told to open its logs again: `USR1`) is read to its end before the new one is begun. Where a
former process stopped is known by the file's identity, so that a rotation in between loses nothing as long as the old file still
lies beside the new one under a name that begins alike (`gateway.log.1`).
"""

import collections
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from gateway.leases.line import LONGEST

QUIET_LOOKS: Final = 3
PATIENT_LOOKS: Final = 600
"""A minute: longer than rotating takes."""
_CHUNK: Final = 262_144


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where reading goes on: a file by its identity, and the bytes that were taken of it."""

    device: int
    inode: int
    offset: int


class Tail:
    """The lines of one access log. Not for several threads."""

    def __init__(self, path: Path, position: Position | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = 0
        self._ready: collections.deque[bytes] = collections.deque()
        self._rest = b""
        self._quiet = 0
        self._queue: list[tuple[Path, int]] = []
        self.problems: list[str] = []
        """What was found about the file itself since the last look; the reader takes them out."""
        if position is not None:
            self._resume(position)

    def position(self) -> Position | None:
        """Where the lines that were handed out end; None before there was a file."""
        if self._file is None:
            return None
        status = os.fstat(self._file.fileno())
        return Position(device=status.st_dev, inode=status.st_ino, offset=self._offset)

    def lines(self, most: int) -> Iterator[bytes]:
        """Yield up to `most` whole lines that are there now, without their line feeds."""
        for _ in range(most):
            while not self._ready:
                if not self._more():
                    return
            line = self._ready.popleft()
            self._offset += len(line) + 1
            yield line

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # ---- files

    def _more(self) -> bool:
        """Read on; False when there is nothing more right now."""
        if self._file is None and not self._begin():
            return False
        assert self._file is not None  # noqa: S101  `_begin` opened it
        data = self._file.read(_CHUNK)
        if data:
            self._quiet = 0
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._ready.extend(whole)
            if len(self._rest) > LONGEST:
                self._drop(f"a line longer than {LONGEST} bytes")
            return True
        return self._at_the_end()

    def _at_the_end(self) -> bool:
        assert self._file is not None  # noqa: S101  only called with one
        here = os.fstat(self._file.fileno())
        if here.st_size < self._offset:
            self._drop("the file was cut")
            self._file.seek(0)
            self._offset = 0
            return here.st_size > 0
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and not self._queue:
            return False
        # nginx goes on writing to a renamed file until it is told, and logrotate makes the new one before it tells: so until
        # something stands in the new one. Then a few looks more, for its other workers.
        self._quiet += 1
        if not self._queue and self._quiet < (QUIET_LOOKS if there.st_size else PATIENT_LOOKS):
            return False
        if self._rest:
            self._drop("the last line of a rotated file is not complete")
        self.close()
        return self._begin()

    def _begin(self) -> bool:
        path, offset = self._queue.pop(0) if self._queue else (self._path, 0)
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            return False
        self._file.seek(offset)
        self._offset, self._quiet = offset, 0
        return True

    def _drop(self, what: str) -> None:
        self.problems.append(what)
        self._rest = b""
        if self._file is not None:
            self._offset = self._file.tell() - sum(len(line) + 1 for line in self._ready)

    def _resume(self, position: Position) -> None:
        """Find the file that a former process was reading, and the ones that came after it."""
        family = sorted(
            (path for path in self._path.parent.glob(f"{self._path.name}*") if path.is_file()),
            key=lambda path: path.stat().st_mtime,
        )
        identities = {(path.stat().st_dev, path.stat().st_ino): path for path in family}
        found = identities.get((position.device, position.inode))
        if found is None:
            self.problems.append("the file that was read last is gone")
            return
        if found.stat().st_size < position.offset:
            self.problems.append("the file was cut")
            return
        if found == self._path:
            self._queue = [(found, position.offset)]
            return
        later = [path for path in family[family.index(found) + 1 :] if path != self._path and path.suffix != ".gz"]
        self._queue = [(found, position.offset), *((path, 0) for path in later)]

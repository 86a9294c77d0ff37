"""The open files of a log: records in, checkpoints over them, the anchor, the change of segment.

`write` and `rotate` are called in the event loop's thread; `sync`, `checkpoint` and `close` in the syncing thread. The lock keeps
a change of segment and a sync apart; a write needs none, because a record only ever goes to the end of the newest segment.
Every method raises OSError, and whoever calls must then give up the log: what is on the disk is not known any more.
"""

import errno
import math
import os
import threading
from datetime import datetime
from typing import Final

from gateway.audit import files
from gateway.audit.checkpoint import Kind, Snapshot
from gateway.audit.create import renew_anchor
from gateway.audit.encoding import rfc3339
from gateway.audit.files import Disk
from gateway.audit.recover import Opened
from gateway.kernel.clock import Clock

_DAY_SECONDS: Final = 86_400


class Storage:
    """Owns the descriptors of an opened log."""

    def __init__(self, opened: Opened, *, disk: Disk, clock: Clock, segment_bytes: int) -> None:
        self._folder = opened.folder
        self._anchor = opened.anchor
        self._signer = opened.signer
        self._segment = opened.segment
        self._records = opened.records
        self._checkpoints = opened.checkpoints
        self._writer_lock = opened.lock
        self._length = opened.length
        self._signed = opened.signed
        self._day_ends = _midnight_after(opened.day) if opened.day else math.inf
        self._disk = disk
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._guard = threading.Lock()

    @property
    def file(self) -> str:
        """The path of the newest segment's records."""
        return str(self._folder / files.records_name(self._segment))

    def write(self, line: bytes) -> None:
        """Append a line to the newest segment. On return it survives the death of the process, not yet that of the machine."""
        files.write_all(self._disk, self._records, line)
        self._length += len(line)

    def full(self, line: int) -> bool:
        """Say whether the segment should end before a line of this many bytes: its size, or a new UTC day.

        A clock that goes back does not end a segment.
        """
        if not self._length:
            self._day_ends = _midnight_after(rfc3339(self._clock.now())[:10])
            return False
        return self._length + line > self._segment_bytes or self._clock.now() >= self._day_ends

    def sync(self) -> None:
        """Return when everything written before is on the disk."""
        with self._guard:
            self._disk.sync(self._records)

    def checkpoint(self, snapshot: Snapshot, kind: Kind) -> None:
        """Sign a state whose records are synced, and copy the checkpoint to the anchor."""
        with self._guard:
            if kind == "time" and snapshot.size <= self._signed:
                return  # the checkpoint that ended a segment came first, and covers it
            self._checkpoint(snapshot, kind)

    def rotate(self, snapshot: Snapshot) -> None:
        """End the segment and begin the next.

        The old one and the checkpoint that closes it are on the disk before the new one exists. This blocks the caller for a few
        syncs of the disk, once in a day or in `segment_bytes`.
        """
        with self._guard:
            self._disk.sync(self._records)
            self._checkpoint(snapshot, "segment")
            number = self._segment + 1
            records = files.create(self._folder / files.records_name(number))
            checkpoints = files.create(self._folder / files.checkpoints_name(number))
            files.sync_folder(self._folder)
            os.close(self._records)
            os.close(self._checkpoints)
            self._segment, self._records, self._checkpoints, self._length = number, records, checkpoints, 0

    def close(self) -> None:
        """Close the files and let another writer in."""
        with self._guard:
            for fd in (self._records, self._checkpoints, self._writer_lock):
                os.close(fd)

    def _checkpoint(self, snapshot: Snapshot, kind: Kind) -> None:
        self._still_there()
        line = self._signer.sign(snapshot, rfc3339(self._clock.now()), kind)
        files.write_all(self._disk, self._checkpoints, line)
        self._disk.sync(self._checkpoints)
        self._signed = snapshot.size
        if self._anchor is not None:
            renew_anchor(self._anchor, line)

    def _still_there(self) -> None:
        """Raise FileNotFoundError when the files that are written are not the ones in the folder any more.

        A file that was removed can be written to all the same, and what is written there is lost.
        """
        for fd, name in (
            (self._records, files.records_name(self._segment)),
            (self._checkpoints, files.checkpoints_name(self._segment)),
        ):
            path = self._folder / name
            try:
                found = path.lstat()
            except FileNotFoundError:
                found = None
            if found is None or not os.path.samestat(found, os.fstat(fd)):
                raise FileNotFoundError(errno.ENOENT, f"{path} was moved, removed or replaced")


def _midnight_after(day: str) -> float:
    """Return the end of a UTC day (YYYY-MM-DD) as epoch seconds."""
    return datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp() + _DAY_SECONDS

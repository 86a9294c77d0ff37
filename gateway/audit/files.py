"""What the log needs of a file system: exclusive creation, whole writes, folders that last, one writer.

Files are 0600 and the folder 0700. Nothing here follows a symbolic link in the log's folder.
"""

import fcntl
import os
import re
import stat
import time
from pathlib import Path
from typing import Final, Protocol

import msgspec

from gateway.kernel.errors import AuditError

MANIFEST: Final = "log.json"
PUBLIC_KEY: Final = "public-key.pem"
LOCK: Final = "writer.lock"

_SEGMENT = re.compile(r"segment-([0-9]{6})\.(jsonl|checkpoints)")
_TORN = re.compile(r"torn-([0-9]{12})-([0-9]{1,4})\.(record|checkpoint)")
_LOCK_TRIES: Final = 10
_LOCK_PAUSE: Final = 0.05
"""Seconds. A verifier that asks whether a writer runs holds the lock for microseconds; that must not stop a start."""


class Disk(Protocol):
    """The two calls that put records on disk. Tests give one that fails."""

    def write(self, fd: int, data: bytes) -> int:
        """Write some of `data`; return how many bytes. Raises OSError."""
        ...

    def sync(self, fd: int) -> None:
        """Return when the data of `fd` is on the disk. Raises OSError."""
        ...


class OsDisk:
    """The operating system's."""

    def write(self, fd: int, data: bytes) -> int:
        """Write as the operating system does."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Sync the data, and of the metadata only the length."""
        os.fdatasync(fd)


def records_name(number: int) -> str:
    """Return the name of a segment's records."""
    return f"segment-{number:06d}.jsonl"


def checkpoints_name(number: int) -> str:
    """Return the name of a segment's checkpoints."""
    return f"segment-{number:06d}.checkpoints"


def torn_name(index: int, copy: int, kind: str) -> str:
    """Return the name for bytes that a crash left where record `index` belongs. `kind` is `record` or `checkpoint`."""
    return f"torn-{index:012d}-{copy}.{kind}"


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of all segments, sorted; of those, too, of which only one of the two files is there."""
    return sorted({int(match[1]) for path in folder.iterdir() if (match := _SEGMENT.fullmatch(path.name))})


class Torn(msgspec.Struct, frozen=True, order=True):
    """Bytes that were set aside, by their file's name."""

    index: int
    number: int
    kind: str
    name: str


def torn_files(folder: Path) -> list[Torn]:
    """Return what was set aside, sorted by index."""
    return sorted(
        Torn(int(match[1]), int(match[2]), match[3], path.name)
        for path in folder.iterdir()
        if (match := _TORN.fullmatch(path.name))
    )


def write_all(disk: Disk, fd: int, data: bytes) -> None:
    """Write all of `data`. Raises OSError: then a part of it may stand in the file."""
    written = disk.write(fd, data)
    while written < len(data):
        more = disk.write(fd, data[written:])
        if more <= 0:
            raise OSError(f"write(2) took {more} of {len(data) - written} bytes")
        written += more


def create(path: Path) -> int:
    """Create a file for appending, which must not exist, and return its descriptor. The folder still has to be synced."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def open_append(path: Path) -> int:
    """Open a file for appending and return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)


def sync_folder(folder: Path) -> None:
    """Make created, renamed and removed names of a folder last."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, data: bytes) -> None:
    """Replace a file's content, so that after a crash it is the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(OsDisk(), fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    sync_folder(path.parent)


def prepare_folder(folder: Path) -> None:
    """Make the folder (0700), or check that an existing one is ours and closed to others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise AuditError("is not a folder", where=str(folder), todo="Name a folder for the log, not a link or a file")
    if found.st_uid != os.geteuid():
        raise AuditError(
            f"belongs to user {found.st_uid}, not to {os.geteuid()}, who runs the gateway",
            where=str(folder),
            todo="Whoever owns the folder can replace the log; make it the gateway's own (chown)",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        if any(folder.iterdir()):
            raise AuditError(
                f"is open to other users (mode {stat.S_IMODE(found.st_mode):04o})", where=str(folder), todo=f"chmod 700 {folder}"
            )
        folder.chmod(0o700)


def lock(folder: Path) -> int:
    """Become the one writer of this folder until the returned descriptor is closed or the process ends.

    Raises AuditError when another process (or another log of this one) is the writer.
    """
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < _LOCK_TRIES - 1:
                time.sleep(_LOCK_PAUSE)
            continue
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd
    holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
    os.close(fd)
    raise AuditError(
        f"another writer has this log open (process {holder or 'unknown'})",
        where=str(folder),
        todo="A log has one writer: stop the other gateway, or give this one a folder of its own",
    )

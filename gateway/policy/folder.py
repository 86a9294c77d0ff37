"""Reading a bundle's folder: all bytes first, bounded, and only if nothing changed in between. The only I/O of a load."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.compile import MAX_TOTAL_BYTES, SCHEMA_FILE, version_of
from gateway.policy.links import LINKS_FILE

__all__ = ("MAX_FILES", "MAX_FILE_BYTES", "MAX_TOTAL_BYTES", "Snapshot", "read_folder")

MAX_FILES: Final = 200
MAX_FILE_BYTES: Final = 256 * 1024
_CASES: Final = "cases"
_TRIES: Final = 3

_Stamp = tuple[tuple[str, int, int, int, int, int], ...]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of one state of a bundle's folder."""

    folder: str
    """As the caller wrote it, for errors."""
    policies: dict[str, bytes]
    """`schema.cedarschema`, `*.cedar` and `links.toml`, by name."""
    cases: dict[str, bytes]
    """`cases/*.toml`, by name without the folder."""

    @property
    def fingerprint(self) -> str:
        """Hash over everything that was read, cases included, which the bundle's version is not."""
        return hashlib.sha256(f"{version_of(self.policies)} {version_of(self.cases)}".encode()).hexdigest()


def read_folder(folder: Path) -> Snapshot:
    """Read the schema, the policies and the cases of `folder`.

    Refused: anything unexpected beside them (a policy in a misnamed file or a sub-folder would silently not count), more or
    larger files than the limits, what is no regular file, symbolic links that lead out of the folder or in circles. Names that
    begin with a dot and `*.md` are passed over. Reads again when the folder changes meanwhile, and gives up after three times.
    Raises BundleError.
    """
    for _ in range(_TRIES):
        before = _stamp(folder)
        try:
            snapshot = _read_once(folder)
        except BundleError:
            # What is wrong with a folder that is being replaced says nothing about either.
            if _stamp(folder) == before:
                raise
            continue
        if _stamp(folder) == before:
            return snapshot
    raise BundleError("the folder keeps changing while it is read", where=str(folder), todo="Try again once the copy is complete")


def _read_once(folder: Path) -> Snapshot:
    policies: dict[str, bytes] = {}
    cases: dict[str, bytes] = {}
    left = MAX_TOTAL_BYTES
    for name in _names(folder):
        if name == _CASES and (folder / name).is_dir():
            for case in _names(folder / name):
                if not case.endswith(".toml"):
                    raise BundleError(
                        "this is no file of cases", where=f"{folder}/{name}/{case}", todo="Name it *.toml or move it out"
                    )
                cases[case] = _read_file(folder, f"{name}/{case}", left)
                left -= len(cases[case])
        elif name in {SCHEMA_FILE, LINKS_FILE} or name.endswith(".cedar"):
            policies[name] = _read_file(folder, name, left)
            left -= len(policies[name])
        else:
            raise BundleError(
                "this does not belong into a bundle",
                where=f"{folder}/{name}",
                todo="Name policies *.cedar, directly in the folder; move anything else out",
            )
    return Snapshot(folder=str(folder), policies=policies, cases=cases)


def _names(folder: Path) -> list[str]:
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".md")
    except OSError as error:
        raise _unreadable(str(folder), error) from None
    if len(names) > MAX_FILES:
        raise BundleError(f"{len(names)} files, at most {MAX_FILES} are read", where=str(folder), todo="Merge some of them")
    for name in names:
        if not name.isascii() or not name.isprintable():
            raise BundleError(f"the file name {name!a} is not plain ASCII", where=str(folder), todo="Rename it")
    return names


def _read_file(folder: Path, name: str, left: int) -> bytes:
    where = f"{folder}/{name}"
    try:
        root = folder.resolve(strict=True)
        path = (folder / name).resolve(strict=True)
        if not path.is_relative_to(root):
            raise BundleError("this link leads out of the folder", where=where, todo="Put the file itself into the folder")
        # Not blocking on a FIFO, and not following a link that replaced the resolved file a moment ago.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError("this is not a regular file", where=where, todo="Move it out of the folder")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except (OSError, RuntimeError) as error:  # RuntimeError: pathlib's word for a circle of links before Python 3.13
        raise _unreadable(where, error) from None
    if len(data) > MAX_FILE_BYTES:
        raise BundleError(f"larger than {MAX_FILE_BYTES // 1024} KiB", where=where, todo="Split the file")
    if len(data) > left:
        raise BundleError(
            f"the bundle is larger than {MAX_TOTAL_BYTES // 1024} KiB", where=str(folder), todo="Drop what is not needed"
        )
    return data


def _unreadable(where: str, error: OSError | RuntimeError) -> BundleError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else "symbolic links in a circle"
    return BundleError(f"can't be read: {why}", where=where, todo="Check the path and its permissions")


def _stamp(folder: Path) -> _Stamp:
    """What tells whether the folder changed: names, and the identity, size and times of everything in it."""
    found = []
    for base in (folder, folder / _CASES):
        try:
            paths = [base, *sorted(base.iterdir())]
        except OSError:
            continue  # read_once says what is wrong with it
        for path in paths:
            try:
                info = path.stat()
            except OSError:
                found.append((str(path), 0, 0, 0, 0, 0))
                continue
            found.append((str(path), info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
    return tuple(found)

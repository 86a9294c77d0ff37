"""The logs of one installation: each process that writes has one of its own.

The log in the folder itself is slot 1; slot N of 2 and more is the folder `slot-NN` in it, a whole log with its own lock, chain,
tree and checkpoints, signed with the same key. Its anchor is the file beside the first one's with `.NN` at the end.

Who starts a process, or several at once, first sees to it that their logs are there (`prepare_slot`); then each process names all
logs of the installation, with their ids, in its own chain (`logs_detail`). So a log that disappears later is named by the others.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from gateway.audit import files
from gateway.audit.create import KEEP, Manifest, check_outside, create_log
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError

MAX_SLOTS: Final = 60
"""An event names them all in its detail, which holds 64 entries."""

_SLOT: Final = re.compile(r"slot-(0[2-9]|[1-9][0-9])")


def slot_folder(folder: Path, slot: int) -> Path:
    """Return where a slot's log is, in the installation's `folder`."""
    return folder if slot == 1 else folder / f"slot-{slot:02d}"


def slot_anchor(anchor: Path | None, slot: int) -> Path | None:
    """Return where the copy of a slot's newest checkpoint is kept; None when none is."""
    return anchor if anchor is None or slot == 1 else anchor.with_name(f"{anchor.name}.{slot:02d}")


def slots_of(folder: Path) -> list[int]:
    """Return the slots that have a folder, sorted; slot 1 always has."""
    return [1, *sorted(int(match[1]) for path in folder.iterdir() if (match := _SLOT.fullmatch(path.name)))]


def prepare_slot(folder: Path, slot: int, *, key_file: Path, anchor: Path | None, clock: Clock) -> None:
    """Begin a slot's log, whole or not at all, unless there is one. Nobody writes to it yet.

    Raises AuditError: no usable folder or key, or an anchor that says that there was a log.
    """
    target, own_anchor = slot_folder(folder, slot), slot_anchor(anchor, slot)
    try:
        check_outside(folder, key_file, "the signing key")
        if own_anchor is not None:
            check_outside(folder, own_anchor, "the anchor")
        files.prepare_folder(folder)
        if (target / files.MANIFEST).exists():
            return
        lock = files.lock(folder) if slot == 1 else None
        try:
            if lock is None:
                _begin(folder, target, key_file, own_anchor, clock)
            elif not (target / files.MANIFEST).exists():
                create_log(target, key_file=key_file, anchor=own_anchor, clock=clock)
        finally:
            if lock is not None:
                os.close(lock)
    except OSError as error:
        raise AuditError(
            f"the log can't be begun ({error.strerror or error})",
            where=str(error.filename or target),
            todo="Check the disk, the path and its owner",
        ) from error


def _begin(folder: Path, target: Path, key_file: Path, anchor: Path | None, clock: Clock) -> None:
    if target.exists():
        raise AuditError(f"{files.MANIFEST} is missing", where=str(target), todo=KEEP)
    if anchor is not None and anchor.exists():
        raise AuditError(
            f"there is no log here, but the anchor {anchor} of one: the log was moved or removed",
            where=str(target),
            todo="Put the log back; or keep the anchor elsewhere as evidence and start again",
        )
    part = folder / f".{target.name}.new"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    # Its anchor comes with its first writer: were it there before the log is, a crash between the two would look like a removal.
    create_log(part, key_file=key_file, anchor=None, clock=clock)
    part.rename(target)
    files.sync_folder(folder)


def log_ids(folder: Path) -> dict[int, str]:
    """Return the id of each log of the installation, by slot. Raises AuditError when a manifest can't be read."""
    found = {}
    for slot in slots_of(folder):
        path = slot_folder(folder, slot) / files.MANIFEST
        try:
            found[slot] = msgspec.json.decode(path.read_bytes(), type=Manifest).log
        except (OSError, msgspec.DecodeError) as error:
            raise AuditError("is no log manifest", where=str(path), todo=KEEP) from error
    return found


def logs_detail(ids: Mapping[int, str]) -> dict[str, str]:
    """Return an event's detail that names these logs; `gateway.audit.verify.roll` reads it."""
    return {f"log.{slot}": log for slot, log in sorted(ids.items())}

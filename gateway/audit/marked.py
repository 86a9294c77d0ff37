"""What was done under a break-glass: the records with its mark, out of the logs of an installation. Not verified, and bounded.

Only bytes are compared until a line has the mark, so that looking through gigabytes takes seconds. Segments that were last
written before it began are left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.audit.files import records_name, segment_numbers
from gateway.audit.slots import slot_folder, slots_of
from gateway.audit.verify.lines import LONGEST, read_record
from gateway.kernel.errors import AuditError

BLOCK: Final = 4 << 20
MARGIN_SECONDS: Final = 3600
"""How far the clock may have gone back since: a segment that was written so shortly before may hold something."""


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    rows: tuple[dict[str, Any], ...]
    """Decisions and events, oldest first; a decision has how its request ended in `completion`."""
    decisions: int
    """How many decisions there are; more than are in `rows` when there are more than were asked for."""
    patients: tuple[tuple[str, int], ...]
    """Whose records were asked for, as far as the routes know it, and how often; most often first."""
    everything: bool
    """Nothing was left out for lack of room or because the logs are too long."""


def marked(folder: Path, break_id: str, *, since: float, rows: int = 300, most_bytes: int = 4 << 30) -> Marked:
    """Look for records that carry `break_id`, in what was written since `since` (epoch seconds). Blocking.

    AuditError when a log can't be read.
    """
    found: list[dict[str, Any]] = []
    completions: dict[str, dict[str, Any]] = {}
    patients: dict[str, int] = {}
    decisions, left, everything = 0, most_bytes, True
    try:
        for path, size in _segments(folder, since):
            if size > left:
                everything = False
                break
            left -= size
            for record in _records(path, break_id.encode("ascii")):
                kind = record.get("type")
                if kind == "completion" and record.get("break_glass") == break_id:
                    completions[str(record.get("id"))] = record
                elif kind == "decision" and record.get("break_glass") == break_id:
                    decisions += 1
                    if patient := str(record.get("patient") or ""):
                        patients[patient] = patients.get(patient, 0) + 1
                    found.append(record)
                elif kind == "event" and _mentions(record, break_id):
                    found.append(record)
    except OSError as error:
        raise AuditError(
            f"can't be read ({error.strerror or error})", where=str(folder), todo="Run this as a user who may read the log"
        ) from error
    found.sort(key=lambda record: str(record.get("at")))
    shown = [{**record, "completion": completions.get(str(record.get("id")))} for record in found[:rows]]
    often = sorted(patients.items(), key=lambda one: (-one[1], one[0]))
    return Marked(rows=tuple(shown), decisions=decisions, patients=tuple(often), everything=everything and len(found) <= rows)


def _segments(folder: Path, since: float) -> list[tuple[Path, int]]:
    found = []
    for slot in slots_of(folder):
        log = slot_folder(folder, slot)
        for number in segment_numbers(log):
            path = log / records_name(number)
            if path.exists() and (status := path.stat()).st_mtime >= since - MARGIN_SECONDS:
                found.append((path, status.st_size))
    return found


def _records(path: Path, needle: bytes) -> Iterator[dict[str, Any]]:
    rest = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            block = rest + block
            end = block.rfind(b"\n") + 1
            rest = block[end:][-LONGEST:]
            at = block.find(needle, 0, end)
            while at >= 0:
                begin, stop = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
                line = read_record(block[begin:stop])
                if line is not None:
                    yield line.record
                at = block.find(needle, stop, end)


def _mentions(record: dict[str, Any], break_id: str) -> bool:
    detail = record.get("detail")
    return record.get("target") == break_id or (isinstance(detail, dict) and detail.get("break_glass") == break_id)

"""What was done under a break-glass, out of real logs."""

import os
from pathlib import Path

import msgspec
import pytest

from gateway.audit.marked import MARGIN_SECONDS, marked
from gateway.audit.slots import prepare_slot, slot_folder
from gateway.audit.writer import DiskAuditLog
from gateway.domain.record import Actor, CompletionRecord, EventName, EventRecord, Record
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError
from tests.support.logs import START, decision

BREAK = "brk_" + "a" * 32
OTHER = "brk_" + "b" * 32


def under(number: int, break_id: str = BREAK, patient: str = "P1001", **changes: object) -> Record:
    one = msgspec.structs.replace(decision(number), break_glass=break_id, patient=patient)
    return msgspec.structs.replace(one, **changes)


def ended(number: int) -> Record:
    return CompletionRecord(
        id=f"dec_{number:032x}",
        at="2027-01-15T08:00:01.000Z",
        status=200,
        bytes_in=0,
        bytes_out=9,
        duration_ms=3,
        break_glass=BREAK,
    )


def event(name: EventName, target: str = "", **detail: str) -> Record:
    return EventRecord(
        id="evt_1",
        at="2027-01-15T08:00:00.500Z",
        event=name,
        outcome="success",
        actor=Actor(),
        target=target,
        detail=detail,
    )


async def written(folder: Path, *records: Record, slot: int = 1) -> None:
    clock = ManualClock(START)
    prepare_slot(folder / "audit", slot, key_file=folder / "key.pem", anchor=None, clock=clock)
    log = await DiskAuditLog.open(
        slot_folder(folder / "audit", slot), key_file=folder / "key.pem", anchor=None, clock=clock, sync_seconds=0.01
    )
    log.write_many(records)
    await log.close()


async def test_only_what_has_the_mark_with_how_it_ended(tmp_path: Path) -> None:
    await written(
        tmp_path, decision(1), event("breakglass.began", BREAK), under(2), ended(2), under(3, OTHER), under(4, patient="P1002"),
        event("signout", "ses_1", break_glass=BREAK), event("signout", "ses_2"), decision(5, path=f"/patients/{BREAK}"),
        under(6),
    )  # fmt: skip
    found = marked(tmp_path / "audit", BREAK, since=0)
    assert found.everything
    assert found.decisions == 3
    assert found.patients == (("P1001", 2), ("P1002", 1))
    assert [row.get("event") or row["id"][-1] for row in found.rows] == ["2", "4", "6", "breakglass.began", "signout"]
    completions = [row["completion"] and row["completion"]["status"] for row in found.rows]
    assert completions == [200, None, None, None, None]


async def test_every_log_of_the_installation_is_looked_at(tmp_path: Path) -> None:
    await written(tmp_path, under(1))
    await written(tmp_path, under(2), slot=2)
    assert marked(tmp_path / "audit", BREAK, since=0).decisions == 2


async def test_more_than_is_shown_is_counted_and_said(tmp_path: Path) -> None:
    await written(tmp_path, *(under(number) for number in range(1, 21)))
    found = marked(tmp_path / "audit", BREAK, since=0, rows=5)
    assert (len(found.rows), found.decisions, found.everything) == (5, 20, False)
    assert not marked(tmp_path / "audit", BREAK, since=0, most_bytes=10).everything


async def test_segments_from_long_before_are_left_out(tmp_path: Path) -> None:
    await written(tmp_path, under(1))
    (segment,) = (tmp_path / "audit").glob("segment-*.jsonl")
    os.utime(segment, (START, START))
    assert marked(tmp_path / "audit", BREAK, since=START + MARGIN_SECONDS).decisions == 1
    assert marked(tmp_path / "audit", BREAK, since=START + MARGIN_SECONDS + 1).decisions == 0


async def test_a_line_across_two_blocks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(tmp_path, *(under(number) for number in range(1, 30)))
    monkeypatch.setattr("gateway.audit.marked.BLOCK", 517)
    assert marked(tmp_path / "audit", BREAK, since=0).decisions == 29


async def test_a_log_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AuditError):
        marked(tmp_path / "audit", BREAK, since=0)

"""Several logs of one installation: begun, written by several processes, read together."""

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.export import export_csv, export_jsonl
from gateway.audit.formats.table import COLUMNS
from gateway.audit.installation import Installation
from gateway.audit.query import Filters
from gateway.audit.reader import LogFolder
from gateway.audit.slots import log_ids, prepare_slot, slot_folder, slots_of
from gateway.cli import main
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError
from tests.support.logs import START, Place, completion, decision, sign_in
from tests.support.slots import Slots, naming


@pytest.fixture
async def slots(tmp_path: Path) -> Slots:
    """A sign-in at one process, a decision and its end at another, a decision at the first in between."""
    slots = Slots(tmp_path / "site")
    slots.prepare(1, 2)
    await slots.write(1, [sign_in(), decision(1, at="2027-01-15T08:00:00.500Z", outcome="deny")])
    await slots.write(2, [decision(0), completion(0)])
    return slots


def exported(slots: Slots) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export_jsonl(slots.folder, Filters())]


def test_all_of_them_are_whole_with_and_without_anchors(slots: Slots) -> None:
    overall = slots.verify(anchored=True)
    assert overall.whole
    assert overall.records == 6
    assert {slot: (report.records, report.anchored) for slot, report in overall.logs.items()} == {1: (3, True), 2: (3, True)}
    assert slots.verify().whole


def test_each_has_an_id_of_its_own_and_the_same_key(slots: Slots) -> None:
    ids = log_ids(slots.folder)
    assert len(set(ids.values())) == 2
    assert len({report.key for report in slots.verify().logs.values()}) == 1


def test_records_of_all_come_merged_by_time_and_joined(slots: Slots) -> None:
    rows = exported(slots)
    assert [(row["slot"], row["index"]) for row in rows] == [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]
    [allowed] = [row for row in rows if row["record"].get("outcome") == "allow"]
    assert allowed["completion"]["status"] == 200
    assert allowed["signed_in_at"] == "2027-01-15T07:59:00.000Z", "signed in at the other process"
    assert {row["integrity"] for row in rows} == {"signed"}


def test_the_table_says_which_log(slots: Slots) -> None:
    text = b"".join(export_csv(slots.folder, Filters(), language="en")).decode("utf-8-sig")
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in csv.reader(io.StringIO(text))]
    assert rows[0]["slot"] == "Log"
    assert [row["slot"] for row in rows[1:]] == ["1", "2", "1", "2", "1"]
    assert list(COLUMNS)[-1] == "integrity"


async def test_a_log_whose_clock_went_back_keeps_its_order(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1, 2)
    await slots.write(1, [decision(0, at="2027-01-15T09:00:00.000Z"), decision(1, at="2027-01-15T08:00:00.000Z")])
    await slots.write(2, [decision(2, at="2027-01-15T08:30:00.000Z")])
    assert [row["record"]["id"][-1] for row in exported(slots) if row["record"]["type"] == "decision"] == ["2", "0", "1"]


async def test_an_older_single_log_goes_on_as_the_first(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([sign_in(), decision(0)])  # by a version that knew of one log only
    before = place.records().read_bytes()
    slots = Slots(tmp_path)
    slots.prepare(1, 2)
    await slots.write(1, [decision(1)])
    await slots.write(2, [decision(2)])
    assert place.records().read_bytes().startswith(before)
    overall = slots.verify(anchored=True)
    assert overall.whole
    assert overall.records == 6
    assert {row["record"]["id"] for row in exported(slots)} >= {f"dec_{number:032x}" for number in range(3)}


async def test_a_log_that_is_begun_and_not_used_yet_is_no_finding(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1, 2, 3)
    await slots.write(1, [decision(0)])
    overall = slots.verify(anchored=True)
    assert overall.whole
    assert overall.logs[3].records == 0


async def test_a_beginning_that_a_crash_cut_short_is_begun_again(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1)
    part = slots.folder / ".slot-02.new"
    part.mkdir()
    (part / "segment-000001.jsonl").write_bytes(b"")
    await slots.write(1, [decision(0)])
    assert slots.verify().whole
    slots.prepare(2)
    assert not part.exists()
    await slots.write(2, [decision(1)])
    assert slots.verify().whole


async def test_preparing_twice_and_beside_a_writer_changes_nothing(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1, 2)
    ids = log_ids(slots.folder)
    log = await slots.open(1)
    slots.prepare(1, 2)
    await log.close()
    assert log_ids(slots.folder) == ids
    assert slots_of(slots.folder) == [1, 2]


async def test_a_log_that_was_removed_while_nothing_ran_is_not_begun_again(slots: Slots) -> None:
    slot_folder(slots.folder, 2).rename(slots.root / "taken")
    with pytest.raises(AuditError, match="the log was moved or removed"):
        slots.prepare(2)


def test_a_key_in_the_folder_is_refused_for_every_slot(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="lies in the log's own folder"):
        prepare_slot(tmp_path / "log", 2, key_file=tmp_path / "log" / "k.pem", anchor=None, clock=ManualClock(START))


async def test_a_log_that_comes_while_another_is_read_is_read_too(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first log is looked at, a third one begins and is named, the second is looked at."""
    looked = [0]

    def looking(*arguments: Any, **options: Any) -> LogFolder:
        looked[0] += 1
        if looked[0] == 2:
            slots.prepare(3)
        return LogFolder(*arguments, **options)

    monkeypatch.setattr("gateway.audit.installation.LogFolder", looking)
    assert list(Installation(slots.folder).logs) == [1, 2, 3]


def test_the_command_speaks_of_all(slots: Slots, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(slots.folder), "--anchor", str(slots.anchor)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("whole: 2 logs, 6 records in 2 segments, 2027-01-15T07:00:00.000Z to 2027-01-15T08:00:01.000Z\n")
    assert "\n  slot 2: 3 records, " in said
    assert "anchor" not in said
    assert main(["audit", "verify", str(slots.folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["records"], report["logs"]["2"]["records"]) == ("whole", 6, 3)


def test_the_command_wants_the_folder_of_all(slots: Slots, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(slot_folder(slots.folder, 2))]) == 2
    assert f"is one log of several. Name the folder above it: {slots.folder}" in capsys.readouterr().err


def test_a_missing_anchor_of_one_is_said(slots: Slots, capsys: pytest.CaptureFixture[str]) -> None:
    slots.anchor.with_name("newest.02").unlink()
    assert main(["audit", "verify", str(slots.folder), "--anchor", str(slots.anchor)]) == 0
    assert "    compared with no anchor of its own\n" in capsys.readouterr().out


async def test_what_a_process_says_of_the_logs(slots: Slots) -> None:
    assert naming(slots.folder).detail == {f"log.{slot}": log for slot, log in log_ids(slots.folder).items()}


async def test_all_are_whole_at_every_moment_while_processes_come_and_go(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1)
    stop = asyncio.Event()

    async def process(slot: int) -> None:
        while not stop.is_set():
            slots.prepare(slot)
            log = await slots.open(slot)
            await log.append(naming(slots.folder, at="2027-01-15T08:00:00.000Z"))
            for number in range(20):
                await log.append(decision(number))
                await asyncio.sleep(0)
            await log.close()

    processes = [asyncio.create_task(process(slot)) for slot in (1, 2, 3, 4)]
    await asyncio.sleep(0.05)
    seen = set()
    for anchored in (True, False) * 15:
        overall = await asyncio.to_thread(slots.verify, anchored=anchored)
        assert overall.whole, overall.findings
        seen.add(overall.records)
    stop.set()
    await asyncio.gather(*processes)
    assert len(seen) > 5, "it went on meanwhile"
    assert slots.verify(anchored=True).whole

"""Replays of logs that somebody tampered with, of records that no honest gateway writes, and replays that are given up."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.domain.record import EventRecord, Record
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError, BundleError
from gateway.replay.run import Cancelled, LogNotWhole, replay
from tests.support.logs import START, Place, decision, sign_in
from tests.support.policy import facts, policy
from tests.support.replay import AT, files, record, wish
from tests.support.slots import Slots

ANY = "principal, action, resource"
BEFORE = files(policy("read", "context.network.tls", scope=ANY))
AFTER = files(policy("nurses", scope='principal in Role::"nurse", action, resource'))


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    """A log of four segments and forty decisions."""
    made = Place(tmp_path)
    await made.write([record(number=number) for number in range(40)], segment_bytes=32_000)
    assert made.records(3).exists()
    return made


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def change(place: Place) -> str:
    path = place.records(2)
    path.write_bytes(path.read_bytes().replace(b'"outcome":"allow"', b'"outcome":"deny"', 1))
    return "segment-000002.jsonl:1:"


def cut_middle(place: Place) -> str:
    path = place.records(2)
    path.write_bytes(b"".join(lines(path)[:2] + lines(path)[3:]))
    return "segment-000002.jsonl:3:"


def reorder(place: Place) -> str:
    path = place.records(1)
    first, second, *rest = lines(path)
    path.write_bytes(b"".join([second, first, *rest]))
    return "segment-000001.jsonl:1:"


def cut_tail(place: Place) -> str:
    path = place.records(1)
    path.write_bytes(b"".join(lines(path)[:-2]))
    return "segment-000001.jsonl"


def drop_segment(place: Place) -> str:
    place.records(2).unlink()
    return "segment-000002.jsonl"


def forge_checkpoint(place: Place) -> str:
    path = place.checkpoints(2)
    content = lines(path)
    content[1] = re.sub(rb'"signature":"....', b'"signature":"0000', content[1])
    path.write_bytes(b"".join(content))
    return "segment-000002.checkpoints:2:"


def another_key(place: Place) -> str:
    path = place.folder / "public-key.pem"
    path.write_bytes(path.read_bytes().replace(b"A", b"B", 1))
    return "public-key.pem"


@pytest.mark.parametrize("tamper", [change, cut_middle, reorder, cut_tail, drop_segment, forge_checkpoint, another_key])
def test_a_log_that_does_not_verify_is_refused_and_says_where(place: Place, tamper: Callable[[Place], str]) -> None:
    where = tamper(place)
    for parts in (True, False):
        with pytest.raises(LogNotWhole) as caught:
            replay(wish(place.folder, BEFORE, AFTER), parts=parts)
        assert any(where in str(finding) for finding in caught.value.findings)
        assert "does not verify" in str(caught.value)
        assert "dr.sato" not in str(caught.value)


def test_a_log_cut_off_with_its_checkpoints_is_refused_with_the_anchor(place: Place) -> None:
    numbers = sorted(int(path.stem.rpartition("-")[2]) for path in place.folder.glob("segment-*.jsonl"))
    place.records(numbers[-1]).unlink()
    place.checkpoints(numbers[-1]).unlink()
    with pytest.raises(LogNotWhole):
        replay(wish(place.folder, BEFORE, AFTER, anchor=place.anchor))


def test_a_log_that_verifies_is_the_same_in_parts_and_in_one_piece(place: Place) -> None:
    reports = [replay(wish(place.folder, BEFORE, AFTER, anchor=place.anchor), parts=parts) for parts in (True, False)]
    plain = [msgspec.structs.replace(report, seconds=0, questions=0, notes=()) for report in reports]
    assert plain[0] == plain[1]
    assert (plain[0].lost, plain[0].records) == (40, 40)


async def test_a_log_that_is_being_written_is_replayed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await place.open()
    try:
        for number in range(10):
            await log.synced(await log.append(record(number=number)))
        with place.records().open("ab") as file:
            file.write(b'{"hash":"0')  # a line on its way to the disk
        assert replay(wish(place.folder, BEFORE, AFTER)).lost == 10
    finally:
        await log.close()


async def test_a_log_that_was_opened_after_a_crash_is_replayed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([record(number=number) for number in range(5)])
    with place.records().open("ab") as file:
        file.write(b'{"hash":"0')
    path = place.checkpoints()
    path.write_bytes(b"".join(lines(path)[:-1]))
    place.anchor.unlink()
    await place.write([record(number=number) for number in range(5, 8)])
    assert replay(wish(place.folder, BEFORE, AFTER)).lost == 8


async def test_every_slot_of_an_installation_counts_and_a_removed_one_is_missed(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1, 2)
    await slots.write(1, [record(number=1)])
    await slots.write(2, [record(number=2), record(number=3)])
    assert replay(wish(slots.folder, BEFORE, AFTER)).lost == 3
    shutil.rmtree(slots.folder / "slot-02")
    with pytest.raises(LogNotWhole):
        replay(wish(slots.folder, BEFORE, AFTER))


def test_no_log_at_all(tmp_path: Path) -> None:
    with pytest.raises(AuditError):
        replay(wish(tmp_path / "nothing", BEFORE, AFTER))


def test_policies_that_cannot_be_used(place: Place) -> None:
    with pytest.raises(BundleError):
        replay(wish(place.folder, BEFORE, files("permit (")))


# ---------------------------------------------------------------- records that no honest gateway writes


async def test_hostile_names_and_huge_facts(tmp_path: Path) -> None:
    place = Place(tmp_path)
    name = "\u202eadmin\u200b\x1b[2J<script>"
    big = facts(principal={"id": "usr_" + "x" * 2000, "roles": tuple(f"role-{number}-" + "y" * 2000 for number in range(60))})
    records: list[Record] = [
        record(actor=msgspec.structs.replace(decision(1).actor, name=name, login=name)),
        record(big, 2),
        record({"principal": {"id": name}, "target": []}, 3),
        record({"principal": {"id": ["x"] * 60}}, 4),
        sign_in(),
        EventRecord(id="evt_1", at="never", event="console.view", outcome="success", actor=decision(1).actor),
    ]
    await place.write(records)
    report = replay(wish(place.folder, BEFORE, AFTER))
    assert (report.requests, report.lost, report.unreadable) == (4, 2, 2)
    assert all(len(sample.subject) <= 200 and len(sample.roles) <= 8 for sample in report.lost_samples)
    assert report.lost_samples[0].id


async def test_a_clock_that_jumps(tmp_path: Path) -> None:
    place = Place(tmp_path)
    times = [AT, "1970-01-01T00:00:00.000Z", "2099-12-31T23:59:59.999Z", "2027-01-15T07:00:00.000Z", "0000-00-00T00:00:00.000Z"]
    clock = ManualClock(START)
    await place.write([record(number=number, at=at) for number, at in enumerate(times)], clock=clock)
    report = replay(wish(place.folder, BEFORE, AFTER))
    # Only what says of itself that it is older is left out, and counted.
    assert (report.lost, report.older) == (4, 1)
    assert sum(line.lost for line in report.hours) == 4
    assert report.hours[-1].key == "?"


# ---------------------------------------------------------------- given up, several at once


def children() -> set[int]:
    """Processes of ours that still do, or did, a replay's work."""
    found = set()
    for path in Path("/proc").iterdir():
        try:
            ours = path.name.isdigit() and f"PPid:\t{os.getpid()}\n" in (path / "status").read_text()
            if ours and b"gateway.replay.worker" in (path / "cmdline").read_bytes():
                found.add(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_a_replay_that_is_given_up_leaves_nothing_behind(place: Place) -> None:
    seen: list[int] = []

    def stop() -> bool:
        seen.append(len(children()))
        return len(seen) > 2

    with pytest.raises(Cancelled):
        replay(wish(place.folder, BEFORE, AFTER), cancelled=stop)
    assert max(seen) >= 1
    assert children() == set()


def test_a_worker_that_dies_is_an_error_and_no_result(place: Place) -> None:
    def kill() -> bool:
        for pid in children():
            os.kill(pid, 9)
        return False

    with pytest.raises(AuditError, match="ended before its work was done"):
        replay(wish(place.folder, BEFORE, AFTER), cancelled=kill)
    assert children() == set()


def test_workers_end_when_whoever_asked_is_gone(place: Place) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway.replay.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.close()
    assert worker.wait(30) == 0
    worker.stdout.close()


def test_two_replays_at_once_do_not_disturb_each_other(place: Place) -> None:
    found: dict[int, Any] = {}

    def go(number: int) -> None:
        both = (BEFORE, AFTER) if number else (AFTER, BEFORE)
        found[number] = replay(wish(place.folder, *both))

    threads = [threading.Thread(target=go, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found[0].lost, found[0].gained) == (0, 40)
    assert (found[1].lost, found[1].gained) == (40, 0)


def test_progress_never_goes_beyond_the_whole(place: Place) -> None:
    told: list[tuple[int, int]] = []
    replay(wish(place.folder, BEFORE, AFTER), progress=lambda done, total: told.append((done, total)))
    assert told
    assert all(0 <= done <= total for done, total in told)

"""Several processes, several logs: taking away a whole log, exchanging it, or adding one, is found."""

import shutil
from pathlib import Path

import pytest

from gateway.audit.query import Filters, Query
from gateway.audit.slots import slot_anchor, slot_folder
from gateway.cli import main
from tests.support.logs import Place, completion, decision, sign_in
from tests.support.slots import Slots, naming


@pytest.fixture
async def slots(tmp_path: Path) -> Slots:
    slots = Slots(tmp_path / "site")
    slots.prepare(1, 2, 3)
    for slot in (1, 2, 3):
        await slots.write(slot, [decision(slot)])
    return slots


def codes(slots: Slots, *, anchored: bool = False) -> list[tuple[str, str]]:
    return sorted((found.code, found.file) for found in slots.verify(anchored=anchored).findings)


@pytest.mark.parametrize("slot", [2, 3])
def test_a_log_is_taken_away(slots: Slots, slot: int, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(slot_folder(slots.folder, slot))
    assert ("log_missing", "") in codes(slots)
    assert main(["audit", "verify", str(slots.folder)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("TAMPERED: ")
    assert f"of slot {slot} is not here: it was removed or replaced" in said
    assert main(["audit", "export", str(slots.folder), "--format", "jsonl"]) == 1


def test_all_but_the_first_are_taken_away(slots: Slots) -> None:
    for slot in (2, 3):
        shutil.rmtree(slot_folder(slots.folder, slot))
    assert codes(slots) == [("log_missing", ""), ("log_missing", "")]


async def test_a_log_is_taken_away_that_only_its_anchor_shows(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1)
    await slots.write(1, [decision(0)])
    slots.prepare(2)
    await slots.write(2, [decision(1)])
    shutil.rmtree(slot_folder(slots.folder, 2))
    assert slots.verify().whole, "as if there had been one process"
    assert codes(slots, anchored=True) == [("log_missing", "slot-02")]


async def test_a_running_process_names_logs_that_come_later(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1)
    log = await slots.open(1)
    await log.append(naming(slots.folder))
    slots.prepare(2)
    await log.append(naming(slots.folder, event="log.slots"))
    await log.close()
    await slots.write(2, [decision(1)])
    assert slots.verify().whole
    shutil.rmtree(slot_folder(slots.folder, 2))
    assert codes(slots) == [("log_missing", "")]


def test_one_of_several_is_passed_off_as_the_only_one(slots: Slots, tmp_path: Path) -> None:
    shutil.copytree(slot_folder(slots.folder, 2), tmp_path / "audit")
    assert main(["audit", "verify", str(tmp_path / "audit")]) == 1


def test_two_logs_are_exchanged(slots: Slots) -> None:
    two, three = slot_folder(slots.folder, 2), slot_folder(slots.folder, 3)
    two.rename(slots.root / "aside")
    three.rename(two)
    (slots.root / "aside").rename(three)
    assert {code for code, _ in codes(slots)} == {"log_missing", "log_unknown"}


def test_a_log_is_copied_to_another_place(slots: Slots) -> None:
    shutil.copytree(slot_folder(slots.folder, 2), slot_folder(slots.folder, 4))
    assert codes(slots) == [("log_unknown", "slot-04/log.json")]


async def test_a_log_that_was_signed_with_another_key_is_added(slots: Slots, tmp_path: Path) -> None:
    place = Place(tmp_path / "other")
    await place.write([decision(7)])
    shutil.copytree(place.folder, slot_folder(slots.folder, 4))
    assert codes(slots) == [("key", "slot-04/log.json")]
    query = Query(slots.folder)
    try:
        integrity = {(row.slot, row.integrity) for row in query.rows(Filters())}
    finally:
        query.close()
    assert (4, "not_verified") in integrity
    assert (1, "signed") in integrity


async def test_what_an_added_log_says_of_another_ones_decision_is_not_believed(slots: Slots, tmp_path: Path) -> None:
    place = Place(tmp_path / "other")
    await place.write([completion(1), sign_in()])  # of the decision in slot 1, whose request never ended, and its session
    shutil.copytree(place.folder, slot_folder(slots.folder, 4))
    query = Query(slots.folder)
    try:
        rows = {(row.slot, row.record["type"]): row for row in query.rows(Filters())}
    finally:
        query.close()
    assert rows[1, "decision"].completion is not None
    assert rows[1, "decision"].integrity == "not_verified"
    assert rows[2, "event"].integrity == "signed"


async def test_a_log_of_the_same_key_that_nobody_names_is_added(slots: Slots, tmp_path: Path) -> None:
    place = Place(tmp_path / "other")
    place.key.parent.mkdir(parents=True)
    shutil.copy(slots.key, place.key)
    await place.write([decision(7)])
    shutil.copytree(place.folder, slot_folder(slots.folder, 4))
    assert codes(slots) == [("log_unknown", "slot-04/log.json")]


def test_a_record_in_another_log_is_changed(slots: Slots) -> None:
    records = slot_folder(slots.folder, 3) / "segment-000001.jsonl"
    records.write_bytes(records.read_bytes().replace(b"/patients/10023", b"/patients/10024", 1))
    assert codes(slots) == [("record_changed", "slot-03/segment-000001.jsonl")]


def test_the_end_of_another_log_is_cut_with_its_checkpoints(slots: Slots) -> None:
    folder = slot_folder(slots.folder, 2)
    for name in ("segment-000001.jsonl", "segment-000001.checkpoints"):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(b"".join(lines[: 1 if name.endswith("jsonl") else 2]))
    assert slots.verify().whole
    assert [code for code, _ in codes(slots, anchored=True)] == ["tail_cut"]
    anchor = slot_anchor(slots.anchor, 2)
    assert anchor is not None
    assert anchor.exists()


@pytest.mark.parametrize("name", ["slot-00", "slot-01", "slot-1", "slot-002", "slot-1٢"])
def test_a_name_that_would_stand_for_another_log(slots: Slots, name: str) -> None:
    shutil.copytree(slot_folder(slots.folder, 2), slots.folder / name)
    overall = slots.verify()
    assert overall.whole
    assert sorted(overall.logs) == [1, 2, 3]

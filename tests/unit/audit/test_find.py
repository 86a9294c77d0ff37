"""One decision found in logs that are written side by side, from their newest end."""

from pathlib import Path

import msgspec
import pytest

from gateway.audit import find
from gateway.audit.find import find_decision
from gateway.kernel.errors import AuditError
from tests.support.logs import Place, completion, decision
from tests.support.slots import Slots

ALL = 1 << 40


def name(number: int) -> str:
    return f"dec_{number:032x}"


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    records = [one for number in range(40) for one in (decision(number), completion(number))]
    await place.write(records, segment_bytes=12_000)
    assert len(list(place.folder.glob("*.jsonl"))) > 2
    return place


@pytest.mark.parametrize("block", [700, 3_000, 1 << 20])
async def test_every_decision_is_found_whatever_the_blocks(place: Place, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "BLOCK", block)
    for number in range(40):
        found = find_decision(place.folder, name(number), most_bytes=ALL)
        assert found.record is not None
        assert (found.record["type"], found.record["id"], found.slot) == ("decision", name(number), 1)


async def test_what_is_not_there(place: Place) -> None:
    gone = find_decision(place.folder, name(99), most_bytes=ALL)
    assert (gone.record, gone.everything) == (None, True)
    assert gone.back_to == "2027-01-15T08:00:00.000Z"
    assert gone.looked_at == sum(path.stat().st_size for path in place.folder.glob("*.jsonl"))


async def test_it_stops_and_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "BLOCK", 2_000)
    stopped = find_decision(place.folder, name(0), most_bytes=4_000)
    assert (stopped.record, stopped.everything) == (None, False)
    assert stopped.looked_at <= 6_000
    assert stopped.back_to


async def test_logs_of_several_processes(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1, 2)
    await slots.write(1, [decision(1)])
    await slots.write(2, [decision(2)])
    found = {number: find_decision(slots.folder, name(number), most_bytes=ALL).slot for number in (1, 2)}
    assert found == {1: 1, 2: 2}


async def test_an_id_in_other_fields_is_not_the_decision(tmp_path: Path) -> None:
    place = Place(tmp_path)
    quoting = msgspec.structs.replace(decision(2, path=f'/"id":"{name(1)}"'), request_id=name(1))
    await place.write([decision(1), completion(1), quoting])
    found = find_decision(place.folder, name(1), most_bytes=ALL)
    assert found.record is not None
    assert found.record["request_id"] == "req_1"


@pytest.mark.parametrize("nonsense", ["", "dec_", "\x00", "\u202e", "x" * 5000, '"', "\n", "decision"])
async def test_nonsense_finds_nothing(place: Place, nonsense: str) -> None:
    assert find_decision(place.folder, nonsense, most_bytes=ALL).record is None


async def test_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(AuditError):
        find_decision(tmp_path / "nowhere", name(1), most_bytes=ALL)

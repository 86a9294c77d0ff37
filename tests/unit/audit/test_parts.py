"""Honest logs hold in parts, whatever their gateways went through; a part believes nothing that the one before does not show.

That a tampered log never holds is shown wherever one is tampered with: `tests.support.logs.Place.verify` asks the parts, too.
"""

from pathlib import Path

import msgspec
import pytest

from gateway.audit.parts import hold, parts_of
from gateway.audit.reader import LogFolder
from gateway.audit.verify.parts import Head, NotHeld, joined
from gateway.audit.verify.tree import Hashes
from tests.support.logs import Place, decision, sign_in, verified_in_parts

READ = msgspec.json.Decoder(Head).decode


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    """A log of several segments."""
    made = Place(tmp_path)
    await made.write([decision(number) for number in range(30)], segment_bytes=16_000)
    assert made.records(3).exists()
    return made


def whole(place: Place) -> bool:
    report = verified_in_parts(LogFolder(place.folder, anchor=place.anchor))
    assert report is None or report.whole
    return report is not None


def test_a_log_of_several_segments(place: Place) -> None:
    assert whole(place)
    assert place.verify().whole


async def test_a_log_that_was_opened_and_closed_often(place: Place) -> None:
    for number in range(30, 34):
        await place.write([decision(number), sign_in()], segment_bytes=16_000)
    assert whole(place)


async def test_a_log_that_is_being_written(place: Place) -> None:
    log = await place.open()
    try:
        for number in range(50, 60):
            await log.append(decision(number))
        assert whole(place)
        for path in (max(place.folder.glob("*.jsonl")), max(place.folder.glob("*.checkpoints"))):
            with path.open("ab") as file:
                file.write(b'{"')
        assert whole(place)
    finally:
        await log.close()


async def test_what_a_crash_left_and_a_start_recorded(place: Place) -> None:
    for number in range(60, 63):
        with max(place.folder.glob("*.jsonl")).open("ab") as file:
            file.write(b'{"hash":"0')
        path = max(place.folder.glob("*.checkpoints"))
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        place.anchor.unlink()
        await place.write([decision(number)], segment_bytes=16_000)
    assert list(place.folder.glob("torn-*"))
    assert whole(place)
    for path in place.folder.glob("torn-*"):
        path.write_bytes(path.read_bytes() + b"x")
    assert not whole(place)


def test_a_part_by_itself_believes_what_it_begins_with_and_joining_does_not(place: Place) -> None:
    log = LogFolder(place.folder)
    parts = parts_of(log)
    held = [hold(part, read=READ, on_record=lambda *_: None, progress=lambda _: None) for part in parts]
    assert joined(log.evidence, held) is not None
    assert joined(log.evidence, held[1:]) is None
    assert joined(log.evidence, held[:1] + held[2:]) is None
    assert joined(log.evidence, [held[1], held[0], *held[2:]]) is None
    assert joined(log.evidence, []) is None
    claims = msgspec.structs.replace(parts[1].start, peaks=tuple("0" * 64 for _ in parts[1].start.peaks))
    false = msgspec.structs.replace(parts[1], start=claims)
    with pytest.raises(NotHeld):
        hold(false, read=READ, on_record=lambda *_: None, progress=lambda _: None)
    shifted = [held[0], msgspec.structs.replace(held[1], start=msgspec.structs.replace(held[1].start, number=0)), *held[2:]]
    assert joined(log.evidence, shifted) is None


def test_claims_that_do_not_fit_their_own_size(place: Place) -> None:
    part = parts_of(LogFolder(place.folder))[1]
    for peaks in ((), ("zz",), (*part.start.peaks, "0" * 64)):
        false = msgspec.structs.replace(part, start=msgspec.structs.replace(part.start, peaks=peaks))
        with pytest.raises(NotHeld):
            hold(false, read=READ, on_record=lambda *_: None, progress=lambda _: None)


def test_a_record_that_the_reader_cannot_take_gives_the_part_up(place: Place) -> None:
    part = parts_of(LogFolder(place.folder))[0]

    class Odd(Head, frozen=True, kw_only=True):
        weather: str

    with pytest.raises(NotHeld):
        hold(part, read=msgspec.json.Decoder(Odd).decode, on_record=lambda *_: None, progress=lambda _: None)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 1000])
def test_a_tree_goes_on_from_its_subtrees(size: int) -> None:
    leaves = [number.to_bytes(32, "big") for number in range(size + 5)]
    tree = Hashes()
    for leaf in leaves[:size]:
        tree.push(leaf)
    other = Hashes.of(size, [bytes.fromhex(one) for one in tree.subtrees()])
    for leaf in leaves[size:]:
        tree.push(leaf)
        other.push(leaf)
    assert other.root() == tree.root()

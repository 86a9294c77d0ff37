"""A crash may leave bytes that are no line. That explanation must not become a place to hide records in."""

import hashlib
import json
from pathlib import Path

import pytest

from gateway.domain.record import Actor, EventRecord
from tests.support.logs import Place, decision


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    """A log whose process was killed: five records, the last two not signed."""
    place = Place(tmp_path)
    await place.write([decision(number) for number in range(5)])
    lines = place.checkpoints().read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["body"]["size"] <= 3]
    place.checkpoints().write_bytes(b"".join(kept))
    place.anchor.write_bytes(kept[-1])
    return place


def cut_last(place: Place) -> bytes:
    lines = place.records().read_bytes().splitlines(keepends=True)
    place.records().write_bytes(b"".join(lines[:-1]))
    return lines[-1]


async def reopened(place: Place) -> None:
    log = await place.open()
    await log.append(decision(90))
    await log.close()


async def test_a_whole_record_called_torn(place: Place) -> None:
    """The attacker moves the last record aside before the restart: the event that the writer makes of it shows what it is."""
    line = cut_last(place)
    (place.folder / "torn-000000000004-1.record").write_bytes(line)
    await reopened(place)
    report = place.verify()
    assert [finding.code for finding in report.findings] == ["torn"]
    assert report.findings[0].what == "begins with a whole line: taken out of the log, or added to it, and no crash's doing"
    assert report.findings[0].file == "torn-000000000004-1.record"


async def test_a_whole_record_called_torn_with_its_line_feed_removed(place: Place) -> None:
    line = cut_last(place)
    (place.folder / "torn-000000000004-1.record").write_bytes(line.removesuffix(b"\n"))
    await reopened(place)
    assert [finding.code for finding in place.verify().findings] == ["torn"]


async def test_a_record_that_somebody_added_before_the_restart(place: Place) -> None:
    """It does not follow, so the writer sets it aside; the verifier knows that no crash writes a whole line."""
    line = place.records().read_bytes().splitlines(keepends=True)[1]
    with place.records().open("ab") as file:
        file.write(line)
    await reopened(place)
    assert (place.folder / "torn-000000000005-1.record").read_bytes() == line
    assert [finding.code for finding in place.verify().findings] == ["torn"]


async def test_a_signed_record_moved_aside(place: Place) -> None:
    lines = place.records().read_bytes().splitlines(keepends=True)
    place.records().write_bytes(b"".join(lines[:2]))
    (place.folder / "torn-000000000002-1.record").write_bytes(b"".join(lines[2:]))
    report = place.verify()
    assert {finding.code for finding in report.findings} == {"tail_cut", "torn"}


async def test_what_was_set_aside_is_changed_or_deleted(place: Place) -> None:
    with place.records().open("ab") as file:
        file.write(b'{"hash":"torn')
    await reopened(place)
    assert place.verify().whole
    torn = place.folder / "torn-000000000005-1.record"
    torn.write_bytes(b'{"hash":"tore')
    assert place.verify().findings[0].what == "is not what was set aside after a crash: it was changed"
    torn.unlink()
    assert place.verify().findings[0].what == "was set aside after a crash and is missing"


async def test_a_file_that_no_record_mentions(place: Place) -> None:
    await reopened(place)
    (place.folder / "torn-000000000001-1.record").write_bytes(b"anything")
    report = place.verify()
    assert [(finding.code, finding.file) for finding in report.findings] == [("torn", "torn-000000000001-1.record")]
    assert "mentioned by no record" in report.findings[0].what


async def test_a_recovery_event_about_another_place(place: Place) -> None:
    """Somebody who gets the gateway to record an event of this name still can't explain away a gap."""
    name, content = "torn-000000000002-1.record", b"gone"
    (place.folder / name).write_bytes(content)
    log = await place.open()
    detail = {"what": "torn-record", "index": "2", "bytes": "4", "sha256": hashlib.sha256(content).hexdigest()}
    event = EventRecord(
        id="evt_1",
        at="2027-01-15T08:00:00.000Z",
        event="log.recovered",
        outcome="success",
        actor=Actor(),
        target=name,
        detail=detail,
    )
    await log.append(event)
    await log.close()
    assert place.verify().findings[0].what == "was not set aside at this place of the log"


async def test_a_whole_checkpoint_called_torn(place: Place) -> None:
    lines = place.checkpoints().read_bytes().splitlines(keepends=True)
    place.checkpoints().write_bytes(b"".join(lines[:-1]))
    place.anchor.unlink()
    (place.folder / "torn-000000000005-1.checkpoint").write_bytes(lines[-1])
    await reopened(place)
    report = place.verify()
    assert [finding.what for finding in report.findings] == [
        "begins with a whole line: taken out of the log, or added to it, and no crash's doing"
    ]


async def test_torn_bytes_do_not_excuse_records_after_them(place: Place) -> None:
    """A broken line in the middle is not the end of a crashed write: not before a restart..."""
    lines = place.records().read_bytes().splitlines(keepends=True)
    place.records().write_bytes(b"".join([*lines[:3], b'{"hash":"torn\n', *lines[3:]]))
    report = place.verify()
    assert report.findings[0].code == "line_malformed"
    assert report.findings[0].line == 4
    # ...and the restart keeps all of it, under its name.
    await reopened(place)
    assert (place.folder / "torn-000000000003-1.record").read_bytes() == b"".join([b'{"hash":"torn\n', *lines[3:]])

"""What a log does about how the last process left it: recorded, never repaired in silence, never taken for granted."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from gateway.audit.encoding import seal
from gateway.domain.record import EventRecord, Record
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError
from tests.support.logs import START, Place, decision


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def crashed(place: Place, records: list[Record], *, unsigned: int = 0, segment_bytes: int = 1 << 20) -> None:
    """Leave the files as a killed process does: no closing checkpoint, the last `unsigned` records without any."""
    await place.write(records, segment_bytes=segment_bytes)
    newest = max(place.folder.glob("*.checkpoints"))
    lines = newest.read_bytes().splitlines(keepends=True)
    size = len(records) - unsigned
    kept = [line for line in lines if json.loads(line)["body"]["size"] <= size and json.loads(line)["body"]["kind"] != "close"]
    newest.write_bytes(b"".join(kept))
    place.anchor.write_bytes(kept[-1])


def events(place: Place) -> list[dict[str, object]]:
    found = []
    for path in sorted(place.folder.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            record = json.loads(line)["record"]
            if record.get("event") == "log.recovered":
                found.append(record)
    return found


async def reopened(place: Place) -> None:
    log = await place.open()
    await log.append(decision(90))
    await log.close()


async def test_an_unsigned_tail_is_kept_and_recorded(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(5)], unsigned=2)
    before = place.verify()
    assert before.whole
    assert before.signed == 3
    assert "the last 2 records are not signed yet (no gateway is writing: it crashed" in before.notes[0]
    await reopened(place)
    assert [event["detail"] for event in events(place)] == [{"what": "unsigned-tail", "from": "3", "to": "4"}]
    report = place.verify()
    assert report.whole
    assert (report.records, report.signed) == (7, 7)


async def test_a_torn_record_is_set_aside_and_recorded(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(3)])
    content = place.records().read_bytes()
    last = content.splitlines(keepends=True)[-1]
    torn = last[:100].replace(b'"index":2', b'"index":3')
    place.records().write_bytes(content + torn)
    before = place.verify()
    assert before.whole
    assert any("segment-000001.jsonl:4: the last line is not complete" in note for note in before.notes)

    await reopened(place)
    assert (place.folder / "torn-000000000003-1.record").read_bytes() == torn
    assert [(event["target"], event["detail"]) for event in events(place)] == [
        (
            "torn-000000000003-1.record",
            {"what": "torn-record", "index": "3", "bytes": str(len(torn)), "sha256": hashlib.sha256(torn).hexdigest()},
        )
    ]
    report = place.verify()
    assert report.whole, report.findings
    assert report.records == 5


async def test_zeros_that_a_power_cut_leaves_are_set_aside(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(4)], unsigned=2)
    lines = place.records().read_bytes().splitlines(keepends=True)
    place.records().write_bytes(b"".join(lines[:3]) + b"\0" * 5000 + lines[3])
    await reopened(place)
    assert [event["detail"]["what"] for event in events(place)] == ["torn-record", "unsigned-tail"]  # type: ignore[index]  # JSON
    assert (place.folder / "torn-000000000003-1.record").read_bytes() == b"\0" * 5000 + lines[3]
    assert place.verify().whole


async def test_a_record_that_only_lacks_its_line_feed_is_completed(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(3)], unsigned=1)
    content = place.records().read_bytes()
    place.records().write_bytes(content.removesuffix(b"\n"))
    log = await place.open()
    assert log.recent(2)[0] == (2, decision(2))
    await log.close()
    assert place.records().read_bytes().startswith(content)
    assert place.verify().whole


async def test_a_torn_checkpoint_is_set_aside_and_recorded(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(3)])
    content = place.checkpoints().read_bytes()
    place.checkpoints().write_bytes(content + b'{"body":{"at":"2027')
    assert place.verify().whole
    await reopened(place)
    assert (place.folder / "torn-000000000003-1.checkpoint").read_bytes() == b'{"body":{"at":"2027'
    assert [event["target"] for event in events(place)] == ["torn-000000000003-1.checkpoint"]
    assert place.verify().whole


async def test_a_checkpoint_that_only_lacks_its_line_feed_is_completed(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(3)])
    content = place.checkpoints().read_bytes()
    place.checkpoints().write_bytes(content.removesuffix(b"\n"))
    await reopened(place)
    assert place.checkpoints().read_bytes().startswith(content)
    assert events(place) == []
    assert place.verify().whole


async def test_a_crash_between_setting_aside_and_recording_is_recorded_by_the_next_start(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(3)])
    (place.folder / "torn-000000000003-1.record").write_bytes(b'{"hash":"')
    assert place.verify().whole
    assert any("the next start records it" in note for note in place.verify().notes)
    await reopened(place)
    assert [event["target"] for event in events(place)] == ["torn-000000000003-1.record"]
    assert place.verify().whole


async def test_crash_after_crash_keeps_everything(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(3)])
    for _ in range(3):
        with place.records().open("ab") as file:
            file.write(b'{"hash":"torn')
        log = await place.open()
        await log.close()
        # As if it had been killed right after recording: no closing checkpoint.
        lines = place.checkpoints().read_bytes().splitlines(keepends=True)[:-1]
        place.checkpoints().write_bytes(b"".join(lines))
        place.anchor.write_bytes(lines[-1])
    await reopened(place)
    torn = sorted(path.name for path in place.folder.glob("torn-*"))
    assert len(torn) == 3
    assert sorted(str(event["target"]) for event in events(place) if str(event["target"]).startswith("torn-")) == torn, (
        "each once"
    )
    report = place.verify()
    assert report.whole, report.findings


async def test_a_change_of_segment_that_was_cut_short_is_finished(place: Place) -> None:
    await crashed(place, [decision(number) for number in range(3)], segment_bytes=3_000)
    # The old segment is closed, the new one has only one of its files, or none.
    assert place.records(2).exists()
    variants: list[list[Path]] = [[place.checkpoints(2)], [place.records(2), place.checkpoints(2)]]
    for number, missing in enumerate(variants):
        trial = place.copy(place.root.parent / f"{place.root.name}-{number}")
        closing = trial.checkpoints(1).read_bytes().splitlines(keepends=True)[-1]
        trial.anchor.write_bytes(closing)
        trial.records(2).write_bytes(b"")
        for path in missing:
            (trial.folder / path.name).unlink()
        assert trial.verify().whole
        await reopened(trial)
        report = trial.verify()
        assert report.whole, report.findings
        assert report.segments == 2


async def test_a_beginning_that_was_cut_short_is_begun_again(place: Place) -> None:
    await place.write([])
    (place.folder / "log.json").unlink()
    place.anchor.unlink()
    await place.write([decision(0)])
    assert place.verify().whole


async def test_a_missing_anchor_is_made_again_and_recorded(place: Place) -> None:
    await place.write([decision(0)])
    place.anchor.unlink()
    await reopened(place)
    assert [event["detail"] for event in events(place)] == [{"what": "anchor-missing"}]
    assert place.verify().whole


async def test_a_start_is_warned_about(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    await crashed(place, [decision(0)], unsigned=1)
    await reopened(place)
    assert "the log was not closed cleanly" in caplog.text


async def test_the_events_are_found_by_who_reads_the_port(place: Place) -> None:
    await crashed(place, [decision(0)], unsigned=1)
    log = await place.open(clock=ManualClock(START + 5))
    (_, first), (index, event) = log.recent(2)
    assert first == decision(0)
    assert isinstance(event, EventRecord)
    assert (index, event.at, event.target) == (1, "2027-01-15T08:00:05.000Z", "segment-000001.jsonl")
    await log.close()


# ---------------------------------------------------------------- what is not repaired


async def refused(place: Place, match: str) -> None:
    before = {path.name: path.read_bytes() for path in place.folder.iterdir() if path.name != "writer.lock"}
    with pytest.raises(AuditError, match=match):
        await place.open()
    assert {path.name: path.read_bytes() for path in place.folder.iterdir() if path.name != "writer.lock"} == before, "evidence"


async def test_a_signed_record_that_was_changed_stops_the_start(place: Place) -> None:
    await place.write([decision(number) for number in range(4)])
    place.records().write_bytes(place.records().read_bytes().replace(b"/patients/10023", b"/patients/10024", 1))
    await refused(place, r"segment-000001.jsonl: line 1 does not fit, but records up to 3 were signed")


async def test_a_signed_record_that_is_gone_stops_the_start(place: Place) -> None:
    await place.write([decision(number) for number in range(4)])
    lines = place.records().read_bytes().splitlines(keepends=True)
    place.records().write_bytes(b"".join(lines[:-1]))
    await refused(place, r"it ends after record 2, but records up to 3 were signed")


async def test_a_signed_record_that_was_changed_with_its_hash_stops_the_start(place: Place) -> None:
    await place.write([decision(number) for number in range(4)])
    lines = place.records().read_bytes().splitlines(keepends=True)
    last = json.loads(lines[-1])
    record = lines[-1][lines[-1].index(b'"record":') + 9 : -2].replace(b"dr.sato", b"dr.mori")
    place.records().write_bytes(b"".join([*lines[:-1], seal(last["index"], last["previous"], record)[0]]))
    await refused(place, "the records up to 3 are not those that were signed")


async def test_newer_checkpoints_than_records_stop_the_start(place: Place, tmp_path: Path) -> None:
    await place.write([decision(number) for number in range(4)])
    other = place.copy(tmp_path / "other")
    await crashed(place, [])
    log = await other.open()
    await log.append(decision(66))
    await log.close()
    # Newer checkpoints than records: those of a copy that went on.
    shutil.copy(other.checkpoints(), place.checkpoints())
    await refused(place, "were signed")


async def test_a_log_that_was_cut_behind_its_anchor_stops_the_start(place: Place) -> None:
    await place.write([decision(number) for number in range(4)])
    lines = place.records().read_bytes().splitlines(keepends=True)
    kept = [line for line in place.checkpoints().read_bytes().splitlines(keepends=True) if json.loads(line)["body"]["size"] <= 2]
    place.records().write_bytes(b"".join(lines[:2]))
    place.checkpoints().write_bytes(b"".join(kept))
    await refused(place, "the log was cut: its anchor of .* says 4 records, its newest checkpoint 2")


async def test_an_anchor_that_is_not_in_the_log_stops_the_start(place: Place, tmp_path: Path) -> None:
    await place.write([decision(0)])
    fork = place.copy(tmp_path / "fork")
    await fork.write([decision(1)])
    await place.write([decision(2), decision(3), decision(4)])
    shutil.copy(fork.anchor, place.anchor)
    await refused(place, "the anchor's checkpoint of .* is not in the log")


async def test_an_older_anchor_of_the_same_log_is_taken(place: Place) -> None:
    await place.write([decision(0)])
    older = place.anchor.read_bytes()
    await place.write([decision(number) for number in range(5)], segment_bytes=3_000)
    place.anchor.write_bytes(older)
    await reopened(place)
    assert place.verify().whole


async def test_an_anchor_of_another_log_stops_the_start(place: Place, tmp_path: Path) -> None:
    await place.write([decision(0)])
    other = Place(tmp_path / "other")
    await other.write([decision(0)])
    shutil.copy(other.anchor, place.anchor)
    await refused(place, "is no checkpoint of the log")
    same_key = Place(tmp_path / "same-key")
    shutil.copytree(place.key.parent, same_key.key.parent)
    await same_key.write([decision(0)])
    shutil.copy(same_key.anchor, place.anchor)
    await refused(place, "is no checkpoint of the log")


async def test_a_log_that_vanished_is_not_begun_again_over_its_anchor(place: Place) -> None:
    await place.write([decision(0)])
    shutil.rmtree(place.folder)
    with pytest.raises(AuditError, match=r"no log here, but the anchor .* the log was moved or removed"):
        await place.open()


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("log.json", "log.json is missing, but"),
        ("public-key.pem", "is not the log's public key: it was replaced or removed"),
        ("segment-000001.jsonl", "segment-000001.jsonl: is missing|can't be opened"),
        ("segment-000001.checkpoints", "segment-000001.checkpoints: is missing|can't be opened"),
        ("segment-000002.jsonl", "segment-000002.jsonl: is missing"),
    ],
)
async def test_a_missing_file_stops_the_start(place: Place, name: str, match: str) -> None:
    await place.write([decision(number) for number in range(3)], segment_bytes=3_000)
    assert place.records(2).exists()
    if name.startswith("segment-000001"):
        (place.folder / "segment-000002.jsonl").unlink()
        (place.folder / "segment-000002.checkpoints").unlink()
        place.anchor.unlink()
    (place.folder / name).unlink()
    await refused(place, match)


async def test_a_missing_middle_segment_stops_the_start(place: Place) -> None:
    await place.write([decision(number) for number in range(9)], segment_bytes=3_000)
    place.records(2).unlink()
    place.checkpoints(2).unlink()
    await refused(place, "segments are missing")


async def test_a_segment_that_was_never_closed_stops_the_start(place: Place) -> None:
    await place.write([decision(number) for number in range(5)], segment_bytes=3_000)
    before_last = max(int(path.name[8:14]) for path in place.folder.glob("*.jsonl")) - 1
    lines = place.checkpoints(before_last).read_bytes().splitlines(keepends=True)
    place.checkpoints(before_last).write_bytes(b"".join(lines[:-1]))
    await refused(place, "does not end with the checkpoint that closes it")


async def test_a_forged_end_of_the_checkpoints_stops_the_start(place: Place) -> None:
    await place.write([decision(0)])
    line = place.checkpoints().read_bytes().splitlines(keepends=True)[-1]
    forged = line.replace(b'"size":1', b'"size":2')
    place.checkpoints().write_bytes(place.checkpoints().read_bytes() + forged * 2)
    await refused(place, "no checkpoints of this log's key")


async def test_a_manifest_of_another_format_stops_the_start(place: Place) -> None:
    await place.write([decision(0)])
    manifest = place.folder / "log.json"
    content = manifest.read_text()
    manifest.write_text(content.replace("audit/1", "audit/2"))
    await refused(place, "has format 'zt-gateway-audit/2'")
    manifest.write_text("{")
    await refused(place, "is no log manifest")

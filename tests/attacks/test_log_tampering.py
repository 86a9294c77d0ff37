"""What somebody who can write to the log's folder may try, one by one. Each is found, and the place is named.

The names of the tests say the flaw; `signed(...)` marks what only the holder of the key could do.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.verify import Report
from gateway.kernel.clock import ManualClock
from tests.support.logs import START, Place, completion, decision, sign_in


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    """A closed log of 20 records in several segments."""
    place = Place(tmp_path / "site")
    await place.write([sign_in(), *(decision(number) for number in range(17)), completion(0), completion(1)], segment_bytes=8_000)
    report = place.verify()
    assert report.whole
    assert (report.records, report.signed) == (20, 20)
    assert report.segments >= 3
    return place


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def put(path: Path, content: list[bytes]) -> None:
    path.write_bytes(b"".join(content))


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def sealed(index: int, previous: str, record: bytes) -> tuple[bytes, str]:
    """What an attacker who knows the format writes: a line whose hash is right."""
    rest = b'"index":%d,"previous":"%s","record":%s}' % (index, previous.encode(), record)
    digest = hashlib.sha256(b"\x00{" + rest).hexdigest()
    return b'{"hash":"%s",%s\n' % (digest.encode(), rest), digest


def rechained(content: list[bytes], start: int, change: Callable[[int, bytes], bytes]) -> list[bytes]:
    """Rewrite records from `start` on so that all hashes fit again."""
    result, previous = content[:start], json.loads(content[start])["previous"]
    for line in content[start:]:
        index = json.loads(line)["index"]
        record = line[line.index(b'"record":') + 9 : -2]
        new, previous = sealed(index, previous, change(index, record))
        result.append(new)
    return result


def test_a_changed_record(place: Place) -> None:
    content = lines(place.records(2))
    content[1] = content[1].replace(b'"login":"dr.sato"', b'"login":"dr.mori"')
    put(place.records(2), content)
    report = place.verify()
    assert not report.whole
    (finding,) = report.findings
    assert (finding.code, finding.file, finding.line) == ("record_changed", "segment-000002.jsonl", 2)
    assert finding.index == json.loads(content[1])["index"]
    assert finding.at == "2027-01-15T08:00:00.000Z"
    assert (
        str(finding)
        == f"segment-000002.jsonl:2: record {finding.index} (2027-01-15T08:00:00.000Z): the record or its hash was changed"
    )


def test_a_changed_record_with_its_hash_made_to_fit(place: Place) -> None:
    content = lines(place.records(2))
    line = json.loads(content[1])
    record = content[1][content[1].index(b'"record":') + 9 : -2].replace(b"dr.sato", b"dr.mori")
    content[1], _ = sealed(line["index"], line["previous"], record)
    put(place.records(2), content)
    report = place.verify()
    assert ("record_unlinked", "segment-000002.jsonl", 3) in {(found.code, found.file, found.line) for found in report.findings}
    assert "checkpoint_mismatch" in codes(report), "the tree knows it, too"


def test_a_changed_record_with_the_whole_chain_made_to_fit(place: Place) -> None:
    put(place.records(1), rechained(lines(place.records(1)), 2, lambda index, record: record.replace(b"dr.sato", b"dr.mori")))
    report = place.verify()
    assert "checkpoint_mismatch" in codes(report)
    assert "records 2 to 2 are not what was signed" in report.findings[0].what
    assert report.findings[0].file == "segment-000001.checkpoints"


def test_a_changed_hash(place: Place) -> None:
    content = lines(place.records(1))
    content[0] = content[0].replace(content[0][9:13], b"0000")
    put(place.records(1), content)
    assert codes(place.verify()) >= {"record_changed"}


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_deleted_record(place: Place, at: int) -> None:
    content = lines(place.records(2))
    gone = json.loads(content.pop(at))
    put(place.records(2), content)
    report = place.verify()
    assert report.findings[0].code in {"record_missing", "checkpoint_mismatch"}
    assert any(f"record {gone['index']}" in str(finding) for finding in report.findings)


def test_the_first_record_deleted(place: Place) -> None:
    content = lines(place.records(1))
    put(place.records(1), content[1:])
    report = place.verify()
    assert str(report.findings[0]).startswith("segment-000001.jsonl:1: record 1 ")
    assert "record 0 should come before" in report.findings[0].what


def test_an_added_record(place: Place) -> None:
    content = lines(place.records(2))
    before = json.loads(content[1])
    forged, _ = sealed(before["index"] + 1, before["hash"], b'{"type":"event","at":"2027-01-15T08:00:00.000Z"}')
    put(place.records(2), [*content[:2], forged, *content[2:]])
    report = place.verify()
    assert "record_order" in codes(report)
    assert any(finding.line == 4 and finding.file == "segment-000002.jsonl" for finding in report.findings)


def test_a_record_twice(place: Place) -> None:
    content = lines(place.records(1))
    put(place.records(1), [*content[:2], content[1], *content[2:]])
    assert "record_order" in codes(place.verify())


def test_two_records_exchanged(place: Place) -> None:
    content = lines(place.records(1))
    content[1], content[2] = content[2], content[1]
    put(place.records(1), content)
    assert codes(place.verify()) >= {"record_missing", "record_order"}


def test_a_record_added_after_the_log_was_closed(place: Place) -> None:
    """No crash explains it, because between `close` and `open` nobody writes."""
    newest = max(place.folder.glob("*.jsonl"))
    last = json.loads(lines(newest)[-1])
    forged, _ = sealed(last["index"] + 1, last["hash"], b'{"type":"event","at":"2027-01-15T08:00:09.000Z"}')
    newest.write_bytes(newest.read_bytes() + forged)
    for anchored in (True, False):
        report = place.verify(anchored=anchored)
        assert report.findings[0].what == "was added after the gateway closed the log"


def test_the_tail_cut(place: Place) -> None:
    newest = max(place.folder.glob("*.jsonl"))
    put(newest, lines(newest)[:-1])
    report = place.verify(anchored=False)
    assert report.findings[0].code == "tail_cut"
    assert "1 records are missing here: 20 were signed" in report.findings[0].what
    assert report.findings[0].index == 19


def test_the_tail_cut_together_with_its_checkpoints(place: Place) -> None:
    """Without an anchor this can't be told from a crash; with one it is found."""
    newest = max(int(path.name[8:14]) for path in place.folder.glob("*.jsonl"))
    content = lines(place.records(newest))
    size = json.loads(content[-1])["index"]
    put(place.records(newest), content[:-1])
    put(
        place.checkpoints(newest), [line for line in lines(place.checkpoints(newest)) if json.loads(line)["body"]["size"] <= size]
    )
    assert place.verify(anchored=False).whole
    report = place.verify()
    assert report.findings[0].code == "tail_cut"
    assert f"covers 20 records, the log holds {size}" in report.findings[0].what


def test_whole_segments_cut_off(place: Place) -> None:
    newest = max(int(path.name[8:14]) for path in place.folder.glob("*.jsonl"))
    place.records(newest).unlink()
    place.checkpoints(newest).unlink()
    assert codes(place.verify()) == {"tail_cut"}


def test_everything_but_the_beginning_deleted(place: Place) -> None:
    for path in place.folder.glob("segment-*"):
        if "000001" not in path.name:
            path.unlink()
    put(place.records(), [])
    put(place.checkpoints(), lines(place.checkpoints())[:1])
    assert codes(place.verify()) == {"tail_cut"}


def test_the_newest_checkpoints_deleted(place: Place) -> None:
    newest = max(place.folder.glob("*.checkpoints"))
    put(newest, lines(newest)[:-2])
    report = place.verify()
    assert codes(report) == {"anchor"}
    assert "is not in the log" in report.findings[0].what


async def test_checkpoints_deleted_so_that_a_rewritten_hour_looks_like_a_crash(tmp_path: Path) -> None:
    """Also without an anchor: the writer signs every second, so an hour without a checkpoint had one."""
    place = Place(tmp_path)

    clock = ManualClock(START)
    log = await place.open(clock=clock, checkpoint_seconds=0.0)
    for minute in range(5):
        await log.synced(await log.append(decision(minute, at=f"2027-01-15T08:{minute:02}:00.000Z")))
        clock.advance(60)
    await log.close()
    put(place.checkpoints(), [line for line in lines(place.checkpoints()) if json.loads(line)["body"]["size"] <= 1])
    put(place.records(), rechained(lines(place.records()), 1, lambda index, record: record.replace(b"dr.sato", b"dr.mori")))
    report = place.verify(anchored=False)
    assert codes(report) == {"unsigned"}
    assert "4 records over 180 seconds have no checkpoint" in report.findings[0].what
    assert report.findings[0].index == 1


def test_a_checkpoint_deleted_from_the_middle(place: Place) -> None:
    content = lines(place.checkpoints(2))
    put(place.checkpoints(2), [content[0], *content[2:]])
    report = place.verify()
    (finding,) = report.findings
    assert (finding.code, finding.line) == ("checkpoint_missing", 2)


def test_two_checkpoints_exchanged(place: Place) -> None:
    content = lines(place.checkpoints(2))
    content[0], content[1] = content[1], content[0]
    put(place.checkpoints(2), content)
    report = place.verify()
    assert "checkpoint_missing" in codes(report)
    assert any("records were added, or it was moved" in finding.what for finding in report.findings)


def test_the_checkpoint_that_ended_a_segment_deleted(place: Place) -> None:
    put(place.checkpoints(1), lines(place.checkpoints(1))[:-1])
    assert codes(place.verify()) == {"segment_open", "checkpoint_missing"}


def test_a_record_added_behind_the_end_of_a_segment(place: Place) -> None:
    """Where a crash cut the change of segment short, and the ended segment is the last."""
    for path in place.folder.glob("segment-*"):
        if "000001" not in path.name:
            path.unlink()
    place.anchor.write_bytes(lines(place.checkpoints(1))[-1])
    assert place.verify().whole
    last = json.loads(lines(place.records(1))[-1])
    forged, _ = sealed(last["index"] + 1, last["hash"], b'{"type":"event","at":"2027-01-15T08:00:09.000Z"}')
    place.records(1).write_bytes(place.records(1).read_bytes() + forged)
    assert place.verify().findings[0].what == "was added after the segment was ended"


@pytest.mark.parametrize("field", ["size", "root", "head", "at", "number", "previous", "kind", "log", "key"])
def test_a_changed_checkpoint(place: Place, field: str) -> None:
    content = lines(place.checkpoints(1))
    body = json.loads(content[1])["body"]
    old = json.dumps(body[field]).encode()
    new = b"77" if isinstance(body[field], int) else old.replace(old[1:3], b"aa" if old[1:3] != b"aa" else b"bb")
    content[1] = content[1].replace(b'"%s":%s' % (field.encode(), old), b'"%s":%s' % (field.encode(), new))
    put(place.checkpoints(1), content)
    report = place.verify()
    assert report.findings[0].code == "checkpoint_forged"
    assert (report.findings[0].file, report.findings[0].line) == ("segment-000001.checkpoints", 2)


async def test_a_checkpoint_signed_with_another_key(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    await other.write([decision(0)])
    content = lines(place.checkpoints(1))
    body = content[1][len('{"body":') : content[1].rindex(b',"signature"')]
    content[1] = other.signed(body)
    put(place.checkpoints(1), content)
    assert "checkpoint_forged" in codes(place.verify())


def test_an_honest_signature_over_a_false_state_is_found_by_the_tree(place: Place) -> None:
    """If the writer itself were wrong: the verifier believes no checkpoint that it can't recompute."""
    content = lines(place.checkpoints(1))
    body = content[-1][len('{"body":') : content[-1].rindex(b',"signature"')]
    root = json.loads(body)["root"].encode()
    content[-1] = place.signed(body.replace(root, b"0" * 64, 1))
    put(place.checkpoints(1), content)
    assert "checkpoint_mismatch" in codes(place.verify())
    for old, new in (
        (b'"peaks":["', b'"peaks":["00'),
        (b'"head":"' + json.loads(body)["head"].encode(), b'"head":"' + b"0" * 64),
    ):
        assert old in body
        content[-1] = place.signed(body.replace(old, new, 1))
        put(place.checkpoints(1), content)
        assert "checkpoint_mismatch" in codes(place.verify())


@pytest.mark.parametrize("kind", ["time", "close", "segment"])
def test_only_a_new_beginning_follows_a_close(place: Place, kind: str) -> None:
    """If the writer itself were wrong."""
    newest = max(place.folder.glob("*.checkpoints"))
    close = lines(newest)[-1]
    body = json.loads(close)["body"]
    changed = {"kind": kind, "number": body["number"] + 1, "previous": hashlib.sha256(close.removesuffix(b"\n")).hexdigest()}
    newest.write_bytes(newest.read_bytes() + place.signed(json.dumps(body | changed, separators=(",", ":")).encode()))
    report = place.verify()
    assert report.findings[0].what == "can't come after a checkpoint of kind 'close'"
    changed["kind"] = "open"
    newest.write_bytes(b"".join(lines(newest)[:-1]) + place.signed(json.dumps(body | changed, separators=(",", ":")).encode()))
    assert place.verify().whole


def test_two_segments_exchanged(place: Place) -> None:
    first, second = place.records(1).read_bytes(), place.records(2).read_bytes()
    place.records(1).write_bytes(second)
    place.records(2).write_bytes(first)
    assert codes(place.verify()) >= {"record_missing", "record_order"}


def test_two_segments_exchanged_with_their_checkpoints(place: Place) -> None:
    for kind in (place.records, place.checkpoints):
        first, second = kind(1).read_bytes(), kind(2).read_bytes()
        kind(1).write_bytes(second)
        kind(2).write_bytes(first)
    assert codes(place.verify()) >= {"record_missing", "checkpoint_missing"}


@pytest.mark.parametrize("name", ["segment-000001.jsonl", "segment-000002.jsonl", "segment-000002.checkpoints"])
def test_a_segment_deleted(place: Place, name: str) -> None:
    (place.folder / name).unlink()
    report = place.verify()
    assert (report.findings[0].code, report.findings[0].file) == ("segment_missing", name)


def test_a_segment_deleted_and_the_others_renumbered(place: Place) -> None:
    for kind in (place.records, place.checkpoints):
        kind(1).unlink()
        number = 2
        while kind(number).exists():
            kind(number).rename(kind(number - 1))
            number += 1
    report = place.verify()
    assert "record_missing" in codes(report)
    assert "checkpoint_missing" in codes(report)


async def test_a_segment_of_another_log_slipped_in(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    shutil.copytree(place.key.parent, other.key.parent)
    await other.write([sign_in(), *(decision(number) for number in range(19))], segment_bytes=8_000)
    assert other.verify().whole
    shutil.copy(other.records(2), place.records(2))
    shutil.copy(other.checkpoints(2), place.checkpoints(2))
    assert codes(place.verify()) >= {"record_unlinked", "checkpoint_forged"}, "same key, same length, another log"


async def test_an_earlier_state_of_the_same_log_put_back(place: Place, tmp_path: Path) -> None:
    earlier = place.copy(tmp_path / "earlier")
    await place.write([decision(90)])
    shutil.rmtree(place.folder)
    shutil.copytree(earlier.folder, place.folder)
    assert place.verify(anchored=False).whole, "only an anchor knows that there was more"
    assert codes(place.verify()) == {"tail_cut"}


async def test_the_whole_log_signed_anew_with_another_key(place: Place, tmp_path: Path) -> None:
    """Without a key or an anchor from outside the folder there is nothing to hold it against; with either it is found."""
    known = tmp_path / "known.pem"
    shutil.copy(place.folder / "public-key.pem", known)
    other = Place(tmp_path / "other")
    await other.write([sign_in()])
    shutil.rmtree(place.folder)
    shutil.copytree(other.folder, place.folder)
    assert place.verify(anchored=False).whole
    assert codes(place.verify(anchored=False, public_key=known)) >= {"key", "checkpoint_forged"}
    assert codes(place.verify()) == {"anchor"}


async def test_the_public_key_replaced(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    await other.write([decision(0)])
    shutil.copy(other.folder / "public-key.pem", place.folder / "public-key.pem")
    assert "key" in codes(place.verify())
    (place.folder / "public-key.pem").unlink()
    assert "key" in codes(place.verify())
    (place.folder / "public-key.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    assert "key" in codes(place.verify())


def test_the_manifest_changed_or_deleted(place: Place) -> None:
    manifest = place.folder / "log.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content.replace(b'"log":"log_', b'"log":"log_0')[:-3] + b'"}\n')
    assert not place.verify().whole
    manifest.write_bytes(content + b" ")
    assert not place.verify().whole, "the first record is bound to its every byte"
    manifest.unlink()
    assert codes(place.verify()) == {"manifest"}


def test_an_anchor_that_somebody_made_up(place: Place) -> None:
    place.anchor.write_bytes(place.anchor.read_bytes().replace(b'"size":20', b'"size":19'))
    assert codes(place.verify()) == {"anchor"}
    place.anchor.write_bytes(b"")
    assert codes(place.verify()) == {"anchor"}


def test_findings_are_limited_and_counted(place: Place) -> None:
    for path in place.folder.glob("*.jsonl"):
        put(path, [line.replace(b"dr.sato", b"dr.mori") for line in lines(path)] + [b"nonsense\n"] * 60)
    report = place.verify()
    assert len(report.findings) == 50
    assert report.more_findings > 50


def test_a_line_of_ten_megabytes(place: Place) -> None:
    content = lines(place.records(1))
    put(place.records(1), [content[0], b"x" * 10_000_000 + b"\n", *content[1:]])
    report = place.verify()
    assert report.findings[0].code == "line_malformed"
    assert report.findings[0].line == 2
    assert report.records == 20


def test_escape_sequences_in_a_forged_line_do_not_reach_the_report(place: Place) -> None:
    newest = max(place.folder.glob("*.jsonl"))
    last = json.loads(lines(newest)[-1])
    forged, _ = sealed(last["index"] + 5, last["hash"], b'{"type":"event","at":"\\u001b[2J2027","event":"\\u001b]0;x"}')
    newest.write_bytes(newest.read_bytes() + forged)
    assert "\x1b" not in " ".join(map(str, place.verify().findings))


@pytest.mark.parametrize("name", ["segment-000001.jsonl", "segment-000001.checkpoints", "segment-000002.jsonl"])
def test_the_last_line_feed_of_an_ended_segment_removed(place: Place, name: str) -> None:
    """Only the newest segment may end in the middle of a line."""
    path = place.folder / name
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    report = place.verify()
    assert not report.whole
    assert report.findings[0].file == name


async def test_the_anchor_of_another_log_of_the_same_key(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    shutil.copytree(place.key.parent, other.key.parent)
    await other.write([sign_in()])
    shutil.copy(other.anchor, place.anchor)
    assert "the anchor belongs to another log" in place.verify().findings[0].what

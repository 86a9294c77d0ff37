"""Whatever is changed in the files of a log, once, the verifier sees it."""

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.domain.record import Record
from tests.support.logs import Place, completion, decision, sign_in

RECORDS = 14


@pytest.fixture(scope="module")
def pristine() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as root:
        place = Place(Path(root) / "site")
        records: list[Record] = [sign_in(), *(decision(number) for number in range(RECORDS - 2)), completion(0)]
        asyncio.run(place.write(records, segment_bytes=8_000))
        report = place.verify()
        assert (report.whole, report.records, report.notes) == (True, RECORDS, ())
        assert report.segments >= 2
        yield place


Change = Callable[[st.DataObject, list[Path]], None]


def pick(data: st.DataObject, paths: list[Path], kind: str = "") -> Path:
    return data.draw(st.sampled_from(sorted(path for path in paths if path.suffix == kind or not kind)), label="file")


def flip_a_bit(data: st.DataObject, paths: list[Path]) -> None:
    path = pick(data, paths)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1), label="byte")] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    path.write_bytes(content)


def cut_bytes_out(data: st.DataObject, paths: list[Path]) -> None:
    path = pick(data, paths)
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1), label="from")
    path.write_bytes(content[:start] + content[start + data.draw(st.integers(1, len(content)), label="bytes") :])


def put_bytes_in(data: st.DataObject, paths: list[Path]) -> None:
    path = pick(data, paths)
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content)), label="at")
    path.write_bytes(content[:at] + data.draw(st.binary(min_size=1, max_size=80), label="bytes") + content[at:])


def drop_a_line(data: st.DataObject, paths: list[Path]) -> None:
    path = pick(data, paths)
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[data.draw(st.integers(0, len(lines) - 1), label="line")]
    path.write_bytes(b"".join(lines))


def cut_the_end(data: st.DataObject, paths: list[Path]) -> None:
    path = pick(data, paths)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: data.draw(st.integers(0, len(lines) - 1), label="lines kept")]))


def copy_a_line(data: st.DataObject, paths: list[Path]) -> None:
    source, target = pick(data, paths), pick(data, paths)
    line = data.draw(st.sampled_from(source.read_bytes().splitlines(keepends=True)), label="line")
    lines = target.read_bytes().splitlines(keepends=True)
    lines.insert(data.draw(st.integers(0, len(lines)), label="to"), line)
    target.write_bytes(b"".join(lines))


def exchange_lines(data: st.DataObject, paths: list[Path]) -> None:
    path = pick(data, paths)
    lines = path.read_bytes().splitlines(keepends=True)
    one, other = (data.draw(st.integers(0, len(lines) - 1), label="line") for _ in range(2))
    lines[one], lines[other] = lines[other], lines[one]
    path.write_bytes(b"".join(lines))


def exchange_files(data: st.DataObject, paths: list[Path]) -> None:
    one, other = pick(data, paths), pick(data, paths)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def delete_a_file(data: st.DataObject, paths: list[Path]) -> None:
    pick(data, paths).unlink()


def change_a_record_and_all_hashes_after_it(data: st.DataObject, paths: list[Path]) -> None:
    """What somebody does who knows the format, over all segments, and has everything but the key."""
    files = sorted(path for path in paths if path.suffix == ".jsonl")
    chosen = data.draw(st.integers(0, RECORDS - 1), label="record")
    previous = ""
    for path in files:
        result = []
        for line in path.read_bytes().splitlines():
            claimed = json.loads(line)
            record = line[line.index(b'"record":') + 9 : -1]
            if claimed["index"] < chosen:
                result.append(line + b"\n")
                continue
            if claimed["index"] == chosen:
                previous = claimed["previous"]
                record = record.replace(b"dr.sato", b"dr.mori") if b"dr.sato" in record else record.replace(b"4321", b"1")
            rest = b'"index":%d,"previous":"%s","record":%s}' % (claimed["index"], previous.encode(), record)
            previous = hashlib.sha256(b"\x00{" + rest).hexdigest()
            result.append(b'{"hash":"%s",%s\n' % (previous.encode(), rest))
        path.write_bytes(b"".join(result))


CHANGES: list[Change] = [
    flip_a_bit,
    cut_bytes_out,
    put_bytes_in,
    drop_a_line,
    cut_the_end,
    copy_a_line,
    exchange_lines,
    exchange_files,
    delete_a_file,
    change_a_record_and_all_hashes_after_it,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
)
@given(data=st.data())
def test_any_single_change_is_seen(pristine: Place, change: Change, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        place = pristine.copy(Path(root) / "copy")
        key = Path(root) / "known.pem"
        shutil.copy(pristine.folder / "public-key.pem", key)
        before = contents(place.folder)
        change(data, [path for path in place.folder.iterdir() if path.name != "writer.lock"])
        assume(contents(place.folder) != before)
        report = place.verify(public_key=key)
        # Bytes without a line feed behind the last checkpoint are what a crashed start leaves: a note, not a finding.
        unfinished = change is put_bytes_in and len(report.notes) == 1 and "the last line is not complete" in report.notes[0]
        assert not report.whole or unfinished, report


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}

"""The verifier on honest logs: whole is whole, also while the gateway writes, in constant memory."""

import asyncio
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audit.installation import Installation
from gateway.audit.reader import LogFolder
from gateway.audit.verify.lines import read_checkpoint, read_key, read_manifest, read_record, seconds
from gateway.kernel.clock import SystemClock
from gateway.kernel.errors import AuditError
from tests.support.logs import Place, decision, until_signed


async def test_an_honest_log_is_whole(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([decision(number) for number in range(10)], segment_bytes=5_000)
    key = tmp_path / "known.pem"
    shutil.copy(place.folder / "public-key.pem", key)
    report = place.verify(public_key=key)
    assert report.whole
    assert (report.findings, report.notes, report.more_findings) == ((), (), 0)
    assert (report.records, report.signed, report.key_given, report.anchored) == (10, 10, True, True)
    assert (report.first_at, report.last_at) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:00.000Z")


async def test_a_log_is_whole_at_every_moment_while_it_is_written(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await place.open(clock=SystemClock(), segment_bytes=40_000, checkpoint_seconds=0.02)
    await log.append(decision(0))
    stop = False

    async def writes() -> None:
        number = 0
        while not stop:
            for _ in range(20):
                number += 1
                await log.append(decision(number))
            # Time to verify in: what is written meanwhile is verified next time, and would never be caught up with.
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(writes())
    reports = [await asyncio.to_thread(place.verify)]
    while reports[-1].segments <= 20:
        reports.append(await asyncio.to_thread(place.verify))
    stop = True
    await writing
    await log.close()
    for report in reports:
        assert report.whole, report.findings
        assert report.writer_running
    assert len(reports) >= 2
    assert reports[-1].records > reports[0].records
    assert not place.verify().writer_running


async def test_what_the_writer_has_not_signed_yet_is_counted(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await place.open(checkpoint_seconds=60.0)
    await log.append(decision(0))
    await until_signed(log, 1)
    await log.append(decision(1))
    report = place.verify()
    assert report.whole
    assert (report.records, report.signed) == (2, 1)
    assert report.notes == ("the last 1 records are not signed yet (the gateway is writing)",)
    await log.close()


async def test_a_log_without_a_record_is_not_whole(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([])
    assert not place.verify().whole
    with pytest.raises(AuditError, match="holds no record yet"):
        Installation(place.folder).verify()


def test_an_empty_folder_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="holds no log"):
        LogFolder(tmp_path)


async def test_files_that_are_no_part_of_the_log_are_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([decision(0)])
    (place.folder / "notes.txt").write_text("")
    folder = LogFolder(place.folder)
    assert folder.verify().whole
    assert folder.strangers == ["notes.txt"]


async def test_progress_rises_to_the_whole_length(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await place.open()
    for number in range(5_000):
        await log.append(decision(number))
    await log.close()
    seen: list[tuple[int, int]] = []
    LogFolder(place.folder).verify(progress=lambda done, total: seen.append((done, total)))
    assert len(seen) == 2
    assert 0 < seen[0][0] < seen[1][0] <= seen[1][1]


MEASURE = """
import resource, sys
from pathlib import Path
from gateway.audit.reader import LogFolder
report = LogFolder(Path(sys.argv[1])).verify()
assert report.whole
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


async def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    peaks = []
    for name, count in (("small", 100), ("large", 30_000)):
        place = Place(tmp_path / name)
        log = await place.open(segment_bytes=8 << 20)
        for number in range(count):
            await log.append(decision(number))
        await log.close()
        measured = await asyncio.create_subprocess_exec(sys.executable, "-c", MEASURE, str(place.folder), stdout=subprocess.PIPE)
        said, _ = await measured.communicate()
        peaks.append(int(said))
    assert resource.getpagesize() > 0
    assert peaks[1] - peaks[0] < 4 * 1024, "KiB, for 40 MB of log"


def test_lines_that_are_nothing() -> None:
    for line in (b"", b"{}", b"null", b'{"hash":"x"}', b"[" * 100_000, b'{"a":' * 5000):
        assert read_record(line) is None
        assert read_manifest(line) is None
        assert read_key(line) is None
    zeros = b"0" * 64
    head = b'{"hash":"%s","index":0,"previous":"%s","record":' % (zeros, zeros)
    assert read_record(head + b"{}}") is not None
    for record in (b"[]", b"{", b"{}}", b'{"a":' * 2000 + b"}" * 2000, b"{'a':1}"):
        assert read_record(head + record + b"}") is None


async def test_checkpoint_bodies_of_the_wrong_shape_are_refused_though_well_signed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([decision(0)])
    key = read_key((place.folder / "public-key.pem").read_bytes())
    assert key is not None
    line = place.anchor.read_bytes()
    body = line[len(b'{"body":') : line.rindex(b',"signature"')]
    assert read_checkpoint(place.signed(body).removesuffix(b"\n"), key) is not None
    for old, new in (
        (b'"size":1', b'"size":"1"'),
        (b'"number":', b'"x":1,"number":'),
        (b'"peaks":[]', b'"peaks":{}'),
        (b"T", b" "),
    ):
        assert old in body
        assert read_checkpoint(place.signed(body.replace(old, new, 1)).removesuffix(b"\n"), key) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2027-01-15T08:00:00.250Z", 1_800_000_000.25),
        ("2027-01-15 08:00:00Z", None),
        ("2027-13-15T08:00:00Z", None),
        ("2027-01-15T08:00:00+09:00", None),
        ("", None),
    ],
)
def test_times(text: str, expected: float | None) -> None:
    assert seconds(text) == expected

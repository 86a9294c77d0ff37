"""SIGKILL in the middle of appends: every record that was acknowledged is there, and the log goes on honestly."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.logs import Place, decision

WRITER = """
import asyncio, os, sys
from pathlib import Path
from tests.support.logs import Place, decision

async def main() -> None:
    log = await Place(Path(sys.argv[1])).open(segment_bytes=200_000, checkpoint_seconds=float(sys.argv[2]))
    number = 0
    while True:
        index = await log.append(decision(number))
        if sys.argv[3] == "synced":
            await log.synced(index)
        os.write(1, b"%d\\n" % index)
        number += 1
        if number % 16 == 0:
            await asyncio.sleep(0)

asyncio.run(main())
"""


def acknowledged_then_killed(place: Place, mode: str, checkpoint_seconds: float, kill_after: int) -> int:
    """Return the last index that the killed writer had acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(place.root), str(checkpoint_seconds), mode], stdout=subprocess.PIPE, cwd=Path.cwd()
    ) as process:
        assert process.stdout is not None
        for _ in range(kill_after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    return max([kill_after - 1, *(int(index) for index in rest)])


def indexes(place: Place) -> list[int]:
    found: list[int] = []
    for path in sorted(place.folder.glob("*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        found.extend(json.loads(line)["index"] for line in lines if line.endswith(b"\n"))
    return found


@pytest.mark.parametrize(
    ("mode", "checkpoint_seconds", "kill_after"), [("written", 1.0, 3000), ("written", 0.0, 500), ("synced", 0.0, 300)]
)
async def test_everything_acknowledged_is_there(tmp_path: Path, mode: str, checkpoint_seconds: float, kill_after: int) -> None:
    place = Place(tmp_path)
    last = acknowledged_then_killed(place, mode, checkpoint_seconds, kill_after)
    found = indexes(place)
    assert found == list(range(len(found)))
    assert len(found) > last

    killed = place.verify()
    assert killed.whole, killed.findings
    assert not killed.writer_running
    if mode == "synced":
        assert killed.signed >= last  # at most the very last had no checkpoint yet

    log = await place.open()
    await log.append(decision(0))
    await log.close()
    report = place.verify()
    assert report.whole, report.findings
    assert report.signed == report.records >= len(found) + 1


async def test_killed_again_and_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    written = 0
    for kill_after in (50, 1, 120, 400):
        acknowledged_then_killed(place, "written", 0.0, kill_after)
        report = place.verify()
        assert report.whole, report.findings
        assert report.records >= written + kill_after
        written = report.records

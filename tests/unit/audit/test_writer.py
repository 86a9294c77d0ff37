import asyncio
import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from gateway.audit.files import OsDisk
from gateway.audit.writer import DiskAuditLog
from gateway.kernel.clock import ManualClock, SystemClock
from gateway.kernel.errors import AuditError
from tests.support.logs import START, BrokenDisk, FullDisk, Place, completion, decision, until_signed


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def until_broken(log: DiskAuditLog) -> None:
    """Wait for the background to notice."""
    async with asyncio.timeout(10):
        while log.broken is None:  # noqa: ASYNC110  a log announces records, not its end
            await asyncio.sleep(0.005)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def bodies(path: Path) -> list[dict[str, object]]:
    return [json.loads(line)["body"] for line in path.read_text("utf-8").splitlines()]


async def test_a_record_is_in_the_file_when_append_returns(place: Place) -> None:
    log = await place.open(sync_seconds=60.0)
    index = await log.append(decision(0))
    assert [line["index"] for line in lines(place.records())] == [index]
    await log.close()


async def test_a_record_is_in_the_file_even_before_the_result_is_awaited(place: Place) -> None:
    log = await place.open(sync_seconds=60.0)
    handed_in = log.append(decision(0))
    assert len(lines(place.records())) == 1
    assert await handed_in == 0
    await log.close()


async def test_each_line_names_the_hash_of_the_one_before(place: Place) -> None:
    await place.write([decision(0), decision(1), completion(0)])
    found = lines(place.records())
    assert [line["previous"] for line in found[1:]] == [line["hash"] for line in found[:-1]]
    assert [line["index"] for line in found] == [0, 1, 2]


async def test_files_are_closed_to_others(place: Place) -> None:
    await place.write([decision(0)])
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    assert {path.name for path in place.folder.iterdir()} == {
        "log.json", "public-key.pem", "segment-000001.jsonl", "segment-000001.checkpoints", "writer.lock",
    }  # fmt: skip
    for path in [*place.folder.iterdir(), place.key, place.anchor]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_background_sync_comes_within_50_milliseconds(place: Place) -> None:
    disk = BrokenDisk()
    log = await place.open(disk=disk, checkpoint_seconds=60.0)
    delays = []
    for number in range(10):  # the best of ten: other programs may keep this machine busy
        before, began = disk.syncs, time.monotonic()
        await log.append(decision(number))
        while disk.syncs == before:  # noqa: ASYNC110  a disk announces nothing
            await asyncio.sleep(0.001)
        delays.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
    assert min(delays) < 0.05
    await log.close()


async def test_all_who_wait_share_one_sync(place: Place) -> None:
    disk = BrokenDisk()
    log = await place.open(disk=disk, checkpoint_seconds=60.0, sync_seconds=0.01)
    await log.append(decision(0))
    await until_signed(log, 1)
    before = disk.syncs

    async def one(number: int) -> None:
        await log.synced(await log.append(decision(number)))

    await asyncio.gather(*[one(number) for number in range(100)])
    assert disk.syncs - before <= 2  # the first may have begun by itself
    await log.close()


async def test_checkpoints_come_at_most_once_in_their_interval_and_cover_the_rest_later(place: Place) -> None:
    log = await place.open(clock=SystemClock(), checkpoint_seconds=0.2)
    began = time.monotonic()
    while time.monotonic() - began < 0.5:
        await log.append(decision(0))
        await asyncio.sleep(0.005)
    found = bodies(place.checkpoints())
    assert 3 <= len(found) <= 3 + (time.monotonic() - began) / 0.2  # creation and open, then at once, then one each 0.2 s
    await until_signed(log, log.size)
    settled = len(bodies(place.checkpoints()))
    assert bodies(place.checkpoints())[-1]["size"] == log.size
    await asyncio.sleep(0.5)
    assert len(bodies(place.checkpoints())) == settled, "no checkpoint without a record"
    await log.close()


async def test_the_anchor_is_the_newest_checkpoint(place: Place) -> None:
    await place.write([decision(0), decision(1)])
    assert place.anchor.read_bytes() == place.checkpoints().read_bytes().splitlines(keepends=True)[-1]
    assert bodies(place.anchor)[0]["kind"] == "close"


@pytest.mark.parametrize("what", ["records", "checkpoints", "replaced", "folder"])
async def test_a_log_that_is_gone_while_it_is_written_is_noticed_within_a_checkpoint(place: Place, what: str) -> None:
    """A removed file can be written to all the same: every later record would be nowhere."""
    log = await place.open(checkpoint_seconds=0.0)
    await log.synced(await log.append(decision(0)))
    await until_signed(log, 1)
    if what == "records":
        place.records().unlink()
    elif what == "checkpoints":
        place.checkpoints().unlink()
    elif what == "replaced":
        content = place.records().read_bytes()
        place.records().unlink()
        place.records().write_bytes(content)
    else:
        place.folder.rename(place.folder.with_name("elsewhere"))
    await log.append(decision(1))
    for _ in range(200):
        if log.broken is not None:
            break
        await asyncio.sleep(0.01)
    with pytest.raises(AuditError, match="was moved, removed or replaced"):
        await log.append(decision(2))
    with pytest.raises(AuditError):
        await log.close()


@pytest.mark.parametrize("what", ["file", "folder"])
async def test_an_anchor_that_is_gone_while_the_log_is_written_breaks_it(place: Place, what: str, tmp_path: Path) -> None:
    """An empty mount point looks like that, and what is written there is no copy elsewhere."""
    log = await place.open(checkpoint_seconds=0.0)
    await log.synced(await log.append(decision(0)))
    await until_signed(log, 1)
    if what == "file":
        place.anchor.unlink()
    else:
        place.anchor.parent.rename(tmp_path / "elsewhere")
    await log.synced(await log.append(decision(1)))
    for _ in range(200):
        if log.broken is not None:
            break
        await asyncio.sleep(0.01)
    with pytest.raises(AuditError, match=r"the anchor .* is gone: removed, or its storage is not mounted"):
        await log.append(decision(2))
    with pytest.raises(AuditError):
        await log.close()
    assert not place.anchor.exists()


async def test_a_segment_ends_when_it_is_full(place: Place) -> None:
    await place.write([decision(number) for number in range(20)], segment_bytes=6_000)
    segments = sorted(place.folder.glob("segment-*.jsonl"))
    assert len(segments) > 3
    assert all(path.stat().st_size <= 6_000 for path in segments)
    indexes = [line["index"] for path in segments for line in lines(path)]
    assert indexes == list(range(20))
    for number in range(1, len(segments)):
        last = bodies(place.checkpoints(number))[-1]
        assert last["kind"] == "segment"
        assert last["size"] == lines(place.records(number + 1))[0]["index"]


async def test_a_segment_ends_with_its_day_but_not_when_the_clock_goes_back(place: Place) -> None:
    class Clock(ManualClock):
        def set(self, now: float) -> None:
            self._now = now

    clock = Clock(START)
    log = await place.open(clock=clock)
    await log.append(decision(0))
    clock.set(START - 3 * 86_400)
    await log.append(decision(1))
    clock.set(START + 10 * 3_600)
    await log.append(decision(2))
    assert not place.records(2).exists()
    clock.set(START + 16 * 3_600)  # midnight UTC
    await log.append(decision(3))
    clock.set(START)
    await log.append(decision(4))
    await log.close()
    assert [line["index"] for line in lines(place.records(1))] == [0, 1, 2]
    assert [line["index"] for line in lines(place.records(2))] == [3, 4]
    assert place.verify().whole


async def test_a_restart_on_another_day_begins_a_segment(place: Place) -> None:
    await place.write([decision(0)])
    await place.write([decision(1)], clock=ManualClock(START + 86_400))
    assert [line["index"] for line in lines(place.records(2))] == [1]
    assert place.verify().whole


async def test_a_restart_goes_on_where_it_ended(place: Place) -> None:
    await place.write([decision(number) for number in range(7)], segment_bytes=3_000)
    log = await place.open(segment_bytes=3_000)
    assert log.size == 7
    assert log.recent(1) == [(6, decision(6))]
    assert await log.append(decision(7)) == 7
    await log.close()
    report = place.verify()
    assert report.whole
    assert (report.records, report.signed) == (8, 8)
    assert report.notes == ()


async def test_records_are_in_the_order_in_which_they_were_handed_in_whatever_the_clock_says(place: Place) -> None:
    await place.write([decision(0, at="2027-01-15T08:00:00.000Z"), decision(1, at="2027-01-15T07:00:00.000Z"), decision(2)])
    report = place.verify()
    assert report.whole
    assert report.notes == ("the clock went back 1 times; the order of records is that of their numbers",)


async def test_a_full_disk_breaks_the_log_until_a_restart(place: Place) -> None:
    disk = FullDisk(room=1 << 20)
    log = await place.open(disk=disk)
    await log.synced(await log.append(decision(0)))
    await until_signed(log, 1)
    disk.room = 500
    with pytest.raises(AuditError, match="No space left on device") as caught:
        await log.append(decision(1))
    assert "restart" in str(caught.value)
    disk.room = 1 << 20
    with pytest.raises(AuditError, match="No space left on device"):
        await log.append(decision(2))
    with pytest.raises(AuditError):
        await log.close()

    log = await place.open()
    assert log.size == 2  # the first decision, and what is said about the torn one
    await log.append(decision(3))
    await log.close()
    report = place.verify()
    assert report.whole
    assert "torn-record torn-000000000001-1.record" in report.notes[0]


async def test_a_failed_sync_is_told_to_all_who_wait_and_breaks_the_log(place: Place) -> None:
    disk = BrokenDisk()
    log = await place.open(disk=disk)
    done = await log.append(decision(0))
    await log.synced(done)
    disk.broken = True
    indexes = [await log.append(decision(number)) for number in (1, 2, 3)]
    results = await asyncio.gather(*[log.synced(index) for index in indexes], return_exceptions=True)
    assert all(isinstance(result, AuditError) and "Input/output error" in str(result) for result in results)
    syncs = disk.syncs
    disk.broken = False
    with pytest.raises(AuditError):
        await log.append(decision(4))
    with pytest.raises(AuditError):
        await log.synced(indexes[0])
    await log.synced(done)  # that one is known to be there
    with pytest.raises(AuditError):
        await log.close()
    assert disk.syncs == syncs, "after a failed fdatasync, another one would report success and prove nothing"


async def test_a_failed_background_sync_breaks_the_log_though_nobody_waits(place: Place) -> None:
    disk = BrokenDisk()
    log = await place.open(disk=disk)
    disk.broken = True
    await log.append(decision(0))
    await until_broken(log)
    with pytest.raises(AuditError):
        await log.append(decision(1))
    with pytest.raises(AuditError):
        await log.close()


async def test_an_anchor_that_can_not_be_written_breaks_the_log(place: Place) -> None:
    log = await place.open(checkpoint_seconds=0.0)
    place.anchor.unlink()
    place.anchor.parent.rmdir()
    place.anchor.parent.write_text("a file where the anchor's folder was")
    await log.append(decision(0))
    await until_broken(log)
    with pytest.raises(AuditError):
        await log.close()


async def test_short_writes_are_completed(place: Place) -> None:
    class Sips(OsDisk):
        def write(self, fd: int, data: bytes) -> int:
            return super().write(fd, data[:7])

    log = await place.open(disk=Sips())
    for number in range(3):
        await log.append(decision(number))
    await log.close()
    assert place.verify().records == 3


async def test_appending_from_another_thread_is_refused(place: Place) -> None:
    log = await place.open()
    errors: list[BaseException] = []

    def other() -> None:
        coroutine = log.append(decision(0))
        try:
            coroutine.send(None)
        except AuditError as error:
            errors.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert "another thread" in str(errors[0])
    await log.append(decision(0))
    await log.close()


async def test_cancelling_close_does_not_stop_it(place: Place) -> None:
    log = await place.open()
    await log.append(decision(0))
    closing = asyncio.create_task(log.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await log.close()
    assert bodies(place.checkpoints())[-1]["kind"] == "close"
    assert place.verify().whole


async def test_rotation_while_syncs_are_under_way(place: Place) -> None:
    class Slow(OsDisk):
        def sync(self, fd: int) -> None:
            time.sleep(0.005)
            super().sync(fd)

    log = await place.open(disk=Slow(), segment_bytes=20_000, checkpoint_seconds=0.0)

    async def one(number: int) -> None:
        for step in range(20):
            await log.synced(await log.append(decision(100 * number + step)))

    await asyncio.gather(*[one(number) for number in range(10)])
    await log.close()
    report = place.verify()
    assert report.whole, report.findings
    assert report.records == 200
    assert report.segments > 5


class Witness(OsDisk):
    """Knows at every moment which records were synced, and that no checkpoint covers another."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.written: dict[int, set[int]] = {}
        self.synced: set[int] = set()
        self.checked = 0
        self.seconds = seconds

    def write(self, fd: int, data: bytes) -> int:
        line = json.loads(data)
        if "index" in line:
            self.written.setdefault(fd, set()).add(line["index"])
        else:
            assert set(range(line["body"]["size"])) <= self.synced, line["body"]
            self.checked += 1
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        covered = set(self.written.get(fd, ()))
        time.sleep(self.seconds)
        super().sync(fd)
        self.synced |= covered


async def test_nobody_is_woken_by_a_sync_that_began_before_the_record(place: Place) -> None:
    disk = Witness(seconds=0.003)
    log = await place.open(disk=disk)

    async def one(number: int) -> None:
        for step in range(30):
            await asyncio.sleep(0.0007 * (number % 3))
            index = await log.append(decision(100 * number + step))
            await log.synced(index)
            assert index in disk.synced

    await asyncio.gather(*[one(number) for number in range(7)])
    await log.close()


@pytest.mark.parametrize("segment_bytes", [10_000, 1 << 20])
async def test_a_checkpoint_only_ever_covers_what_is_on_the_disk(place: Place, segment_bytes: int) -> None:
    disk = Witness()
    log = await place.open(disk=disk, segment_bytes=segment_bytes, checkpoint_seconds=0.0)
    for number in range(300):
        await log.append(decision(number))
        if number % 7 == 0:
            await log.synced(number)
    await log.close()
    assert log.broken is None
    assert disk.checked > 5
    assert place.verify().whole


async def test_the_key_must_not_lie_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="the signing key lies in the log's own folder"):
        await DiskAuditLog.open(tmp_path / "log", key_file=tmp_path / "log" / "key.pem")
    with pytest.raises(AuditError, match="the anchor lies in the log's own folder"):
        await DiskAuditLog.open(tmp_path / "log", key_file=tmp_path / "key.pem", anchor=tmp_path / "log" / "sub" / "anchor")


async def test_a_key_or_folder_open_to_others_is_refused(place: Place) -> None:
    await place.write([decision(0)])
    place.key.chmod(0o640)
    with pytest.raises(AuditError, match=r"open to other users \(mode 0640\).*chmod 600"):
        await place.open()
    place.key.chmod(0o600)
    place.folder.chmod(0o750)
    with pytest.raises(AuditError, match=r"open to other users \(mode 0750\).*chmod 700"):
        await place.open()


async def test_a_folder_of_another_user_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.write([decision(0)])
    somebody_else = os.geteuid() + 1
    monkeypatch.setattr("gateway.audit.files.os.geteuid", lambda: somebody_else)
    with pytest.raises(AuditError, match="who runs the gateway"):
        await place.open()


async def test_a_lost_or_foreign_key_is_refused(place: Place, tmp_path: Path) -> None:
    await place.write([decision(0)])
    other = Place(tmp_path / "other")
    await other.write([decision(0)])
    place.key.write_bytes(other.key.read_bytes())
    with pytest.raises(AuditError, match="is not the key of the log"):
        await place.open()
    place.key.write_text("nothing")
    with pytest.raises(AuditError, match="holds no usable private key"):
        await place.open()
    place.key.unlink()
    with pytest.raises(AuditError, match="signing key is missing"):
        await place.open()
    assert not place.key.exists(), "a new key would make the old log look forged"


async def test_a_log_without_anchor_works(place: Place) -> None:
    log = await place.open(anchor=None)
    await log.append(decision(0))
    await log.close()
    assert place.verify(anchored=False).whole
    assert not place.anchor.exists()


async def test_a_folder_that_is_no_folder_is_refused(place: Place) -> None:
    place.folder.parent.mkdir(exist_ok=True)
    place.folder.write_text("")
    with pytest.raises(AuditError, match="can't be opened"):
        await place.open()
    place.folder.unlink()
    (place.root / "elsewhere").mkdir()
    place.folder.symlink_to(place.root / "elsewhere")
    with pytest.raises(AuditError, match="not a link"):
        await place.open()


async def test_records_that_are_written_together_are_as_good_as_others(place: Place) -> None:
    log = await place.open(segment_bytes=6_000)
    for start in range(0, 40, 4):
        await log.synced(log.write_many([decision(number) for number in range(start, start + 4)]))
    await log.append(completion(39))
    await log.close()
    assert place.records(2).exists()
    report = place.verify()
    assert report.whole
    assert report.records == 41


async def test_records_that_do_not_fit_the_disk_together_break_the_log_and_are_not_counted(place: Place) -> None:
    disk = FullDisk(room=5_000)
    log = await place.open(disk=disk)
    size = log.size
    with pytest.raises(AuditError, match="No space left"):
        log.write_many([decision(number) for number in range(20)])
    assert log.size == size
    assert log.recent(1) == []
    with pytest.raises(AuditError):
        log.write(decision(1))
    with pytest.raises(AuditError):
        await log.close()
    # What did fit stands in the file, as after any crash: the next start finds out how far it is whole.
    again = await place.open()
    assert again.size > size
    await again.close()
    assert place.verify().whole

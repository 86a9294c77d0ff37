"""Following the logs of other processes for a live page."""

import asyncio
from pathlib import Path

import pytest

from gateway.audit.others import MOST_BYTES, OtherLogs, Tail
from gateway.audit.writer import DiskAuditLog
from gateway.domain.record import Record
from tests.support.logs import Place, decision
from tests.support.slots import Slots

Heard = list[tuple[int, int, str]]


@pytest.fixture
async def slots(tmp_path: Path) -> Slots:
    slots = Slots(tmp_path)
    slots.prepare(1, 2, 3)
    return slots


def listening(others: OtherLogs) -> Heard:
    heard: Heard = []
    others.subscribe(lambda slot, index, record: heard.append((slot, index, record.id)))
    return heard


async def until(heard: Heard, count: int) -> None:
    async with asyncio.timeout(10):
        while len(heard) < count:  # noqa: ASYNC110  nobody else could tell when
            await asyncio.sleep(0.02)


def name(number: int) -> str:
    return f"dec_{number:032x}"


async def test_what_was_written_before_is_kept_and_what_comes_is_heard(slots: Slots) -> None:
    log = await slots.open(2)
    await log.append(decision(0))
    others = OtherLogs(slots.folder, 1)
    async with others.following():
        assert [(slot, index, record.id) for slot, index, record in others.recent(10)] == [(2, 0, name(0))]
        heard = listening(others)
        await log.append(decision(1))
        third = await slots.open(3)
        await third.append(decision(2, at="2027-01-15T08:00:01.000Z"))
        await until(heard, 2)
        assert sorted(heard) == [(2, 1, name(1)), (3, 0, name(2))]
        assert len(others.recent(10)) == 3
        assert [record.id for _, _, record in others.recent(1)] == [name(1), name(2)], "so many of each"
        await third.close()
    await log.close()


async def test_its_own_log_is_not_among_them(slots: Slots) -> None:
    log = await slots.open(2)
    await log.append(decision(0))
    others = OtherLogs(slots.folder, 2)
    async with others.following():
        assert others.recent(10) == []
    await log.close()


async def test_records_of_several_logs_come_in_the_order_of_time(slots: Slots) -> None:
    logs = {slot: await slots.open(slot) for slot in (2, 3)}
    others = OtherLogs(slots.folder, 1)
    async with others.following():
        heard = listening(others)
        # Within one look at the files, so that their order is not that of being found.
        await logs[3].append(decision(0, at="2027-01-15T08:00:01.000Z"))
        await logs[2].append(decision(1, at="2027-01-15T08:00:02.000Z"))
        await logs[3].append(decision(2, at="2027-01-15T08:00:03.000Z"))
        await until(heard, 3)
    assert [id_ for *_, id_ in heard] == [name(number) for number in range(3)]
    for log in logs.values():
        await log.close()


async def test_a_log_that_comes_later_is_followed_too(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.prepare(1)
    others = OtherLogs(slots.folder, 1)
    async with others.following():
        heard = listening(others)
        slots.prepare(2)
        log = await slots.open(2)
        await log.append(decision(7))
        await until(heard, 1)
    assert heard == [(2, 0, name(7))]
    await log.close()


async def test_nobody_is_followed_when_nobody_looks(slots: Slots) -> None:
    others = OtherLogs(slots.folder, 1)
    async with others.following(), others.following():
        pass
    assert others.recent(10) == []
    assert others._task is None
    log = await slots.open(2)
    await log.append(decision(0))
    async with others.following():
        assert len(others.recent(10)) == 1, "and again from the newest on"
    await log.close()


async def filled(place: Place, count: int) -> DiskAuditLog:
    log = await place.open(segment_bytes=40_000)
    for number in range(count):
        await log.append(decision(number))
    return log


def ids(found: list[tuple[int, Record]]) -> list[str]:
    return [record.id for _, record in found]


async def test_segments_are_followed_without_a_gap(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await filled(place, 3)
    tail = Tail(place.folder)
    seen = ids(tail.take())
    for number in range(3, 200):
        await log.append(decision(number))
        if number % 45 == 0:
            seen += ids(tail.take())
    seen += ids(tail.take())
    assert len(list(place.folder.glob("segment-*.jsonl"))) > 3
    assert seen == [name(number) for number in range(200)]
    assert tail.take() == []
    await log.close()


async def test_a_line_that_is_being_written_waits_for_its_end(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([decision(0), decision(1)])
    whole = place.records().read_bytes()
    place.records().write_bytes(whole[:-40])
    tail = Tail(place.folder)
    assert ids(tail.take()) == [name(0)]
    place.records().write_bytes(whole)
    assert ids(tail.take()) == [name(1)]


async def test_what_nobody_could_read_so_fast_is_skipped(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await place.open()
    tail = Tail(place.folder)
    assert tail.take() == []
    for number in range(2 * MOST_BYTES // 1000):
        await log.append(decision(number))
    found = ids(tail.take())
    assert name(0) not in found
    assert found[-1] == name(2 * MOST_BYTES // 1000 - 1)
    assert found == [name(number) for number in range(2 * MOST_BYTES // 1000 - len(found), 2 * MOST_BYTES // 1000)]
    await log.close()


async def test_lines_that_are_none_and_records_of_another_version_are_passed_over(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([decision(0)])
    with place.records().open("ab") as file:
        file.write(b"not a record\n{}\n")
    assert ids(Tail(place.folder).take()) == [name(0)]

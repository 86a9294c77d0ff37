"""What every `AuditLog` promises, whatever it keeps its records in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.audit.memory import MemoryAuditLog
from gateway.audit.writer import DiskAuditLog
from gateway.domain.record import Record
from gateway.kernel.errors import AuditError
from gateway.ports import AuditLog
from tests.support.logs import BrokenDisk, Place, decision

AnyLog = DiskAuditLog | MemoryAuditLog


@pytest.fixture(params=["disk", "memory"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyLog]:
    made: AnyLog = await Place(tmp_path).open(disk=BrokenDisk()) if request.param == "disk" else MemoryAuditLog()
    yield made
    with contextlib.suppress(AuditError):  # tests break it on purpose
        await made.close()


async def break_it(log: AnyLog) -> None:
    """Let the log find out that its disk is gone."""
    if isinstance(log, MemoryAuditLog):
        log.fail()
        return
    disk = log._storage._disk
    assert isinstance(disk, BrokenDisk)
    disk.broken = True
    index = await log.append(decision(99))
    with pytest.raises(AuditError):
        await log.synced(index)


def is_an_audit_log(log: AuditLog) -> None:
    """Holds for mypy."""


async def test_it_is_the_port(log: AnyLog) -> None:
    is_an_audit_log(log)


async def test_indexes_rise_by_one_and_records_sync(log: AnyLog) -> None:
    first = await log.append(decision(0))
    assert [await log.append(decision(number)) for number in (1, 2, 3)] == [first + 1, first + 2, first + 3]
    await log.synced(first + 3)
    await log.synced(first)


async def test_many_tasks_each_get_an_index_of_their_own(log: AnyLog) -> None:
    async def one(number: int) -> int:
        index = await log.append(decision(number))
        await log.synced(index)
        return index

    indexes = await asyncio.gather(*[one(number) for number in range(200)])
    assert sorted(indexes) == list(range(indexes[0], indexes[0] + 200))


async def test_listeners_hear_every_record_in_order_until_they_leave(log: AnyLog) -> None:
    heard: list[tuple[int, Record]] = []
    leave = log.subscribe(lambda index, record: heard.append((index, record)))
    indexes = [await log.append(decision(number)) for number in range(3)]
    leave()
    leave()
    await log.append(decision(3))
    assert heard == [(index, decision(number)) for number, index in enumerate(indexes)]


async def test_a_listener_that_fails_is_dropped_and_the_record_stays(log: AnyLog, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []
    calls: list[int] = []

    def fails(index: int, record: Record) -> None:
        calls.append(index)
        raise ZeroDivisionError

    log.subscribe(fails)
    log.subscribe(lambda index, record: heard.append(index))
    first = await log.append(decision(0))
    second = await log.append(decision(1))
    assert heard == [first, second]
    assert calls == [first]
    assert "a listener of the log failed" in caplog.text
    await log.synced(second)


async def test_a_listener_that_appends_does_not_change_the_order(log: AnyLog) -> None:
    heard: list[int] = []
    tasks: list[asyncio.Task[int]] = []

    def appends(index: int, record: Record) -> None:
        if not tasks:
            tasks.append(asyncio.ensure_future(log.append(decision(50))))

    log.subscribe(appends)
    log.subscribe(lambda index, record: heard.append(index))
    first = await log.append(decision(0))
    assert await tasks[0] == first + 1
    assert heard == [first, first + 1]


async def test_recent_gives_the_newest_oldest_first(log: AnyLog) -> None:
    for number in range(5):
        await log.append(decision(number))
    assert [record for _, record in log.recent(3)] == [decision(2), decision(3), decision(4)]
    assert [record for _, record in log.recent(100)] == [decision(number) for number in range(5)]
    assert log.recent(0) == []


async def test_waiting_for_a_record_that_is_not_there_is_an_error(log: AnyLog) -> None:
    index = await log.append(decision(0))
    for wrong in (index + 1, -1):
        with pytest.raises(AuditError, match="no record"):
            await log.synced(wrong)


async def test_a_record_that_can_not_be_written_harms_no_other(log: AnyLog) -> None:
    with pytest.raises(AuditError, match="can't be written as JSON"):
        await log.append(msgspec.structs.replace(decision(1), facts={"what": object()}))
    await log.synced(await log.append(decision(2)))
    assert log.broken is None


async def test_several_are_written_in_order_and_heard_in_order(log: AnyLog) -> None:
    heard: list[tuple[int, Record]] = []
    first = await log.append(decision(0))
    later: list[int] = []

    def answers_the_first(index: int, record: Record) -> None:
        if not later:
            later.append(log.write(decision(9)))

    log.subscribe(answers_the_first)
    log.subscribe(lambda index, record: heard.append((index, record)))
    last = log.write_many([decision(number) for number in (1, 2, 3)])
    assert last == first + 3
    # What a listener causes comes behind all of them.
    assert heard == [(first + number, decision(number)) for number in (1, 2, 3)] + [(first + 4, decision(9))]
    assert later == [first + 4]
    await log.synced(later[0])


async def test_several_are_written_all_or_none(log: AnyLog) -> None:
    first = await log.append(decision(0))
    with pytest.raises(AuditError, match="can't be written as JSON"):
        log.write_many([decision(1), msgspec.structs.replace(decision(2), facts={"what": object()})])
    assert log.write(decision(3)) == first + 1
    assert [record for _, record in log.recent(2)] == [decision(0), decision(3)]


async def test_writing_nothing_is_a_mistake_of_the_caller(log: AnyLog) -> None:
    with pytest.raises(ValueError, match="no records"):
        log.write_many([])


async def test_once_broken_every_call_fails(log: AnyLog) -> None:
    index = await log.append(decision(0))
    await break_it(log)
    assert log.broken is not None
    for _ in range(3):
        with pytest.raises(AuditError):
            await log.append(decision(1))
        with pytest.raises(AuditError):
            log.write_many([decision(1), decision(2)])
    with pytest.raises(AuditError):
        await log.synced(index + 1 if isinstance(log, DiskAuditLog) else index)


async def test_a_closed_log_takes_nothing(log: AnyLog) -> None:
    await log.append(decision(0))
    await log.close()
    await log.close()
    with pytest.raises(AuditError, match="closed"):
        await log.append(decision(1))


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_record_handed_in_survives_its_callers_cancellation(log: AnyLog, cancels: int) -> None:
    """The trap: `try/finally: await append()` loses the record when the task is cancelled twice."""

    async def serves() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await log.synced(await log.append(decision(0)))

    task = asyncio.create_task(serves())
    await asyncio.sleep(0)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [record for _, record in log.recent(10)] == [decision(0)]


async def test_a_record_survives_when_its_task_never_ran(log: AnyLog) -> None:
    task = asyncio.create_task(log.append(decision(0)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [record for _, record in log.recent(10)] == [decision(0)]

"""What goes on beside the requests ends the process when it ends, and policies that change reach open streams."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.app import following
from gateway.app.following import end_with_the_log, follow_policies, keep_running, lifecycle
from gateway.audit.memory import MemoryAuditLog
from gateway.domain.record import EventRecord
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError, BundleError
from gateway.policy.holder import Loaded
from tests.support.world import World


async def forever() -> None:
    await asyncio.Event().wait()


async def breaks() -> None:
    raise AuditError("disk full")


async def returns() -> None:
    pass


@pytest.mark.parametrize(("work", "error"), [(breaks, AuditError), (returns, RuntimeError)])
async def test_a_part_that_ends_ends_the_process(work: Callable[[], Any], error: type[Exception]) -> None:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    stack = contextlib.AsyncExitStack()
    keep_running(work(), failed, stack)
    keep_running(work(), failed, stack)  # the first word counts, the second is no error
    async with asyncio.timeout(1):
        with pytest.raises(error):
            await failed
    with contextlib.suppress(AuditError):
        await stack.aclose()


async def test_a_part_that_is_stopped_is_no_failure() -> None:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with contextlib.AsyncExitStack() as stack:
        keep_running(forever(), failed, stack)
        await asyncio.sleep(0)
    assert not failed.done()


class Holder:
    """Tells of one change and one refusal."""

    def __init__(self, world: World) -> None:
        self.current = world.policies.current

    async def watch(self, loaded: Callable[[Loaded], Any], rejected: Callable[[BundleError], Any], **_: float) -> None:
        await rejected(BundleError("x" * 600, where="a.cedar:1"))
        await loaded(Loaded(self.current, "before"))


async def test_each_change_is_recorded_and_open_streams_are_looked_at() -> None:
    world, log = World(), MemoryAuditLog()
    looked: list[str] = []
    world.pipeline.streams.look_again = lambda session_id="*": looked.append(session_id)  # type: ignore[method-assign]
    await follow_policies(cast("Any", Holder(world)), log, world.clock, world.pipeline)
    events = [record for _, record in log.recent(10) if isinstance(record, EventRecord)]
    assert sorted((event.event, event.outcome) for event in events) == [
        ("policy.loaded", "success"),
        ("policy.rejected", "failure"),
    ]
    assert all(len(value) <= 512 for event in events for value in event.detail.values())
    assert {event.target for event in events} == {world.policies.current.version}
    assert looked == ["*"]


async def test_streams_are_looked_at_even_when_the_change_cannot_be_recorded() -> None:
    world, log = World(), MemoryAuditLog()
    looked: list[str] = []
    world.pipeline.streams.look_again = lambda session_id="*": looked.append(session_id)  # type: ignore[method-assign]

    class OnlyLoaded(Holder):
        async def watch(self, loaded: Callable[[Loaded], Any], rejected: Callable[[BundleError], Any], **_: float) -> None:
            await loaded(Loaded(self.current, "before"))

    async def broken(record: object) -> int:
        raise AuditError("disk full")

    log.append = broken  # type: ignore[method-assign]  # the log breaks
    with pytest.raises(AuditError):
        await follow_policies(cast("Any", OnlyLoaded(world)), log, world.clock, world.pipeline)
    assert looked == ["*"]


async def test_starting_and_stopping_wait_for_the_disk() -> None:
    log, waited = MemoryAuditLog(), []

    async def synced(index: int) -> None:
        waited.append(index)

    log.synced = synced  # type: ignore[method-assign]  # counts
    await lifecycle(log, ManualClock(), "gateway.started", {})
    await lifecycle(log, ManualClock(), "gateway.stopped", {})
    assert waited == [0, 1]


async def test_a_log_that_failed_ends_the_process_after_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(following, "LAST_WORDS_SECONDS", 0.2)
    log = MemoryAuditLog()
    task = asyncio.create_task(end_with_the_log(cast("Any", log)))
    await asyncio.sleep(0.05)
    assert not task.done()
    log.fail()
    await asyncio.sleep(0.1)
    assert not task.done()  # people still get the page that says why
    with pytest.raises(AuditError):
        await task

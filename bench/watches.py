"""Open streams by themselves, without sockets: how soon they are cut, and what deciding all of them again costs."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from bench.rate import quantile
from gateway.domain.decision import Allow
from gateway.pipeline import Pipeline, StreamWatch

_MS: Final = 1000


async def measure_streams(
    pipeline: Pipeline, groups: Sequence[Sequence[Allow]], end: Callable[[int], Awaitable[None]]
) -> dict[str, Any]:
    """Keep all these under their decision. `groups`: the streams of a session each; `end(number)` revokes that session.

    Milliseconds: CPU of deciding all of them again when nothing changed, revocation to cut for one session and
    then for all of the others at once, and the longest time for which the event loop did nothing else.
    """
    pipeline.streams.start()
    lag = _Lag()
    with contextlib.ExitStack() as opened:
        watches = [[opened.enter_context(pipeline.watch(allow)) for allow in group] for group in groups]
        await _quiet(pipeline)
        lag.start()
        started = time.thread_time()
        pipeline.streams.look_again()
        await _quiet(pipeline)
        again = (time.thread_time() - started) * _MS
        one = await _cut(watches[0], [0], end)
        others = [watch for group in watches[1:] for watch in group]
        every = await _cut(others, range(1, len(groups)), end)
        await lag.stop()
    await pipeline.streams.stop()
    return {
        "streams": sum(map(len, groups)),
        "again_cpu_ms": again,
        "one_session_cut_ms": {"p99": quantile(one, 0.99), "last": max(one)},
        "all_sessions_cut_ms": {"p99": quantile(every, 0.99), "last": max(every)},
        "longest_stall_ms": lag.longest * _MS,
    }


async def _cut(watches: Sequence[StreamWatch], numbers: Sequence[int], end: Callable[[int], Awaitable[None]]) -> list[float]:
    at: list[float] = []

    async def wait(watch: StreamWatch) -> None:
        await watch.cut.wait()
        at.append(time.perf_counter())

    waiting = [asyncio.create_task(wait(watch)) for watch in watches]
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    for number in numbers:
        await end(number)
    await asyncio.gather(*waiting)
    return [(moment - began) * _MS for moment in at]


async def _quiet(pipeline: Pipeline) -> None:
    """Wait until nothing is to be decided."""
    await asyncio.sleep(0.05)
    lines = vars(pipeline.streams)
    while lines["_first"] or lines["_later"] or lines["_deciding"]:  # noqa: ASYNC110  nobody else wants to know
        await asyncio.sleep(0.002)


class _Lag:
    """The longest time that the loop needed to come back to somebody who only wanted to be asked again."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _look(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.perf_counter() - before)
            await asyncio.sleep(0.001)

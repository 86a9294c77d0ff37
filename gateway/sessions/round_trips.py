"""Questions to a store that wait for each other share a round trip.

What is asked in one turn of the event loop, or while an answer is under way, goes out together afterwards. A question never
joins a round trip that has begun: its answer is of a moment after it was asked, so a revocation that somebody has been told
of is in it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from gateway.kernel.errors import StoreUnavailable

K = TypeVar("K")
R = TypeVar("R")

MOST: Final = 128
"""Questions in one round trip."""


class _Asked(Generic[R]):
    """One question, and everybody who asked it."""

    __slots__ = ("futures", "now")

    def __init__(self, now: int) -> None:
        self.now = now
        self.futures: list[asyncio.Future[R]] = []

    def answer(self, reply: R) -> None:
        for future in self.futures:
            if not future.done():
                future.set_result(reply)

    def fail(self, error: Exception) -> None:
        for future in self.futures:
            if not future.done():
                future.set_exception(_again(error))


class RoundTrips(Generic[K, R]):
    """Collects questions and sends them, one round trip at a time. Belongs to the event loop that first asks."""

    def __init__(self, send: Callable[[Sequence[tuple[K, int]]], Awaitable[Sequence[R]]]) -> None:
        """`send` gets questions with their times, at most `MOST` and none twice, and returns the answers in their order."""
        self._send = send
        self._waiting: dict[K, _Asked[R]] = {}
        self._working: asyncio.Task[None] | None = None

    def ask(self, key: K, now: int) -> asyncio.Future[R]:
        """Return the future answer; StoreUnavailable when `send` raises that. `now` (epoch milliseconds): of those who ask the
        same in one round trip, the latest counts. Cancelling the future cancels nobody else's.
        """
        loop = asyncio.get_running_loop()
        asked = self._waiting.get(key)
        if asked is None:
            asked = self._waiting[key] = _Asked(now)
        elif now > asked.now:
            asked.now = now
        future: asyncio.Future[R] = loop.create_future()
        asked.futures.append(future)
        if self._working is None:
            # A task begins in the next turn of the loop: whatever is asked in this one goes together.
            self._working = loop.create_task(self._work())
        return future

    async def _work(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:MOST]
                batch = {key: self._waiting.pop(key) for key in keys}
                await self._one(batch)
        finally:
            self._working = None

    async def _one(self, batch: dict[K, _Asked[R]]) -> None:
        try:
            replies = await self._send([(key, asked.now) for key, asked in batch.items()])
            # All of them first: with an answer too few, nobody can tell whose the others are.
            answered = list(zip(batch.values(), replies, strict=True))
            for asked, reply in answered:
                asked.answer(reply)
        except Exception as error:  # noqa: BLE001  it is raised: to each who asked, and who knows what it means
            late = isinstance(error.__cause__, TimeoutError)
            for asked in batch.values():
                asked.fail(error)
            if late:
                # They have waited as long as a call may take, or are about to.
                waiting, self._waiting = self._waiting, {}
                for asked in waiting.values():
                    asked.fail(error)
        except BaseException:
            # The loop is ending: nobody must be left waiting.
            waiting, self._waiting = self._waiting, {}
            for asked in (*batch.values(), *waiting.values()):
                for future in asked.futures:
                    future.cancel()
            raise


def _again(error: Exception) -> Exception:
    """Return a new error that says the same: one that many raise would carry the traces of all of them."""
    if not isinstance(error, StoreUnavailable):
        return error
    again = StoreUnavailable(error.what, where=error.where, todo=error.todo)
    again.__cause__ = error.__cause__
    return again

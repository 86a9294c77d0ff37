"""Shared round trips: who goes together, who never joins, who hears of an error."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.kernel.errors import StoreUnavailable
from gateway.sessions.round_trips import MOST, RoundTrips


class Store:
    """Answers when told to."""

    def __init__(self) -> None:
        self.sent: list[list[tuple[str, int]]] = []
        self.value = "old"
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()

    async def __call__(self, asked: Sequence[tuple[str, int]]) -> Sequence[str]:
        self.sent.append(list(asked))
        self.begun.set()
        value = self.value  # as of the moment when it was sent
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return [f"{key}={value}" for key, _ in asked]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def trips(store: Store) -> RoundTrips[str, str]:
    return RoundTrips(store)


async def test_what_is_asked_in_one_turn_goes_together(store: Store, trips: RoundTrips[str, str]) -> None:
    asked = [trips.ask("a", 1), trips.ask("b", 2), trips.ask("a", 5), trips.ask("a", 3)]
    assert await asyncio.gather(*asked) == ["a=old", "b=old", "a=old", "a=old"]
    assert store.sent == [[("a", 5), ("b", 2)]]


async def test_nobody_joins_a_round_trip_that_has_begun(store: Store, trips: RoundTrips[str, str]) -> None:
    store.open.clear()
    first = trips.ask("a", 1)
    await store.begun.wait()
    store.value = "revoked"
    second, third = trips.ask("a", 2), trips.ask("b", 2)
    await asyncio.sleep(0)
    assert len(store.sent) == 1
    store.open.set()
    assert (await first, await second, await third) == ("a=old", "a=revoked", "b=revoked")
    assert store.sent == [[("a", 1)], [("a", 2), ("b", 2)]]


async def test_one_who_goes_away_takes_nobody_along(store: Store, trips: RoundTrips[str, str]) -> None:
    store.open.clear()
    waiting = [asyncio.ensure_future(_wait(trips, "a")) for _ in range(3)]
    await store.begun.wait()
    waiting[1].cancel()
    late = asyncio.ensure_future(_wait(trips, "b"))
    await asyncio.sleep(0)
    late.cancel()
    store.open.set()
    assert await waiting[0] == await waiting[2] == "a=old"
    with pytest.raises(asyncio.CancelledError):
        await late
    assert await trips.ask("c", 1) == "c=old"


async def _wait(trips: RoundTrips[str, str], key: str) -> str:
    return await trips.ask(key, 0)


async def test_an_error_is_told_to_each_who_asked_and_the_next_question_is_sent(
    store: Store, trips: RoundTrips[str, str]
) -> None:
    store.error = StoreUnavailable("gone", where="session_store", todo="look")
    outcomes = await asyncio.gather(*(trips.ask(key, 0) for key in "aab"), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == [str(store.error)] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3, "an error of their own: tracebacks must not grow together"
    store.error = None
    assert await trips.ask("a", 0) == "a=old"


async def test_a_store_that_hangs_fails_those_who_wait_behind_it_at_once(store: Store, trips: RoundTrips[str, str]) -> None:
    store.open.clear()
    store.error = StoreUnavailable("no answer in time", where="session_store")
    store.error.__cause__ = TimeoutError()
    first = trips.ask("a", 0)
    await store.begun.wait()
    second = trips.ask("b", 0)
    store.open.set()
    for asked in (first, second):
        with pytest.raises(StoreUnavailable, match="in time"):
            await asked
    assert len(store.sent) == 1


async def test_an_answer_too_few_is_an_error_for_all() -> None:
    async def short(asked: Sequence[tuple[str, int]]) -> Sequence[str]:
        return [key for key, _ in asked][1:]

    broken: RoundTrips[str, str] = RoundTrips(short)
    outcomes = await asyncio.gather(broken.ask("a", 0), broken.ask("b", 0), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]


async def test_a_round_trip_has_a_limit(store: Store, trips: RoundTrips[str, str]) -> None:
    keys = [str(number) for number in range(2 * MOST + 1)]
    assert await asyncio.gather(*(trips.ask(key, 0) for key in keys)) == [f"{key}=old" for key in keys]
    assert [len(sent) for sent in store.sent] == [MOST, MOST, 1]


async def test_when_the_work_is_cut_nobody_is_left_waiting(store: Store, trips: RoundTrips[str, str]) -> None:
    store.open.clear()
    first = trips.ask("a", 0)
    await store.begun.wait()
    second = trips.ask("b", 0)
    working = trips._working
    assert working is not None
    working.cancel()
    await asyncio.wait([working])
    assert first.cancelled()
    assert second.cancelled()

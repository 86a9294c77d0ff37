"""What every `OneTime` promises (gateway/ports.py), shown on each backend."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_token
from gateway.kernel.secret import Secret
from gateway.ports import OneTime
from gateway.sessions.one_time import MAX_TTL_SECONDS, MAX_VALUE, MemoryOneTime, RedisOneTime
from gateway.sessions.redis_link import RedisLink
from tests.support.redis import RedisServer
from tests.support.sessions import BACKENDS, namespace


@dataclasses.dataclass
class Backend:
    store: OneTime
    pass_time: Callable[[float], Awaitable[None]]


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[Backend]:
    if request.param == "memory":
        clock = ManualClock()

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        yield Backend(MemoryOneTime(clock=clock), advance)
    else:
        link = RedisLink(Secret(redis_server.url), namespace=namespace(), time_limit_seconds=10)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(link.close)
            yield Backend(RedisOneTime(link), asyncio.sleep)


@pytest.fixture
def store(backend: Backend) -> OneTime:
    return backend.store


async def test_a_value_is_taken_once(store: OneTime) -> None:
    name = await store.put("state", b"\x00value\xff", 60)
    assert await store.take("state", name) == b"\x00value\xff"
    assert await store.take("state", name) is None
    assert await store.peek("state", name) is None


async def test_an_empty_value_is_a_value(store: OneTime) -> None:
    name = await store.put("state", b"", 60)
    assert await store.peek("state", name) == b""
    assert await store.take("state", name) == b""
    assert await store.take("state", name) is None


async def test_a_look_keeps_the_value(store: OneTime) -> None:
    name = await store.put("state", b"value", 60)
    assert [await store.peek("state", name) for _ in range(3)] == [b"value"] * 3
    assert await store.take("state", name) == b"value"


async def test_names_are_unguessable_and_never_repeat(store: OneTime) -> None:
    names = [await store.put("state", b"same", 60) for _ in range(50)]
    assert len(set(names)) == 50
    assert {len(name) for name in names} == {43}


async def test_another_kind_neither_reads_nor_uses_it_up(store: OneTime) -> None:
    name = await store.put("state", b"value", 60)
    for kind in ("handoff", "stat", "state2", "", "state:x", "*"):
        assert await store.peek(kind, name) is None
        assert await store.take(kind, name) is None
    assert await store.take("state", name) == b"value"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda name: "",
        lambda name: name[:-1],
        lambda name: name + "A",
        lambda name: name + "=",
        lambda name: name + "\n",
        lambda name: " " + name,
        str.swapcase,
        lambda name: name[:-1] + "\x00",
        lambda name: name[:-1] + "\ud800",
        lambda name: name[:-1] + "é",
        lambda name: "../" + name,
        lambda name: name * 20_000,
        lambda name: new_token(),
    ],
)
async def test_only_the_exact_name_finds_it(store: OneTime, spoil: Callable[[str], str]) -> None:
    name = await store.put("state", b"value", 60)
    assert await store.peek("state", spoil(name)) is None
    assert await store.take("state", spoil(name)) is None
    assert await store.take("state", name) == b"value"


async def test_it_expires(backend: Backend) -> None:
    taken, looked_at = [await backend.store.put("state", b"value", 1) for _ in range(2)]
    kept = await backend.store.put("state", b"value", 60)
    await backend.pass_time(1.1)
    assert await backend.store.take("state", taken) is None
    assert await backend.store.peek("state", looked_at) is None
    assert await backend.store.take("state", kept) == b"value"


async def test_a_look_does_not_prolong_it(backend: Backend) -> None:
    name = await backend.store.put("state", b"value", 1)
    await backend.pass_time(0.6)
    assert await backend.store.peek("state", name) == b"value"
    await backend.pass_time(0.6)
    assert await backend.store.take("state", name) is None


async def test_of_many_takers_at_once_exactly_one_wins(store: OneTime) -> None:
    for _ in range(10):
        name = await store.put("code", b"value", 60)
        got = await asyncio.gather(*(store.take("code", name) for _ in range(50)))
        assert got.count(b"value") == 1
        assert got.count(None) == 49


async def test_the_largest_value_fits_and_a_larger_one_is_refused(store: OneTime) -> None:
    largest = bytes(range(256)) * (MAX_VALUE // 256)
    assert await store.take("state", await store.put("state", largest, 60)) == largest
    with pytest.raises(ValueError, match="16384 bytes at most"):
        await store.put("state", largest + b"x", 60)


@pytest.mark.parametrize("ttl", [0, -1, MAX_TTL_SECONDS + 1])
async def test_a_lifetime_out_of_range_is_refused(store: OneTime, ttl: int) -> None:
    with pytest.raises(ValueError, match="ttl_seconds"):
        await store.put("state", b"value", ttl)


@pytest.mark.parametrize("kind", ["", "State", "a:b", "a b", "x" * 65, "*"])
async def test_a_kind_out_of_shape_is_refused(store: OneTime, kind: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        await store.put(kind, b"value", 60)

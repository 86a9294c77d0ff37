"""Several gateway processes on one Redis: what one does, all see."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.domain.identity import Session
from gateway.kernel.clock import ManualClock, SystemClock
from gateway.kernel.secret import Secret, hash_token
from gateway.ports import SessionChange
from gateway.sessions.one_time import RedisOneTime
from gateway.sessions.redis import RedisSessions
from gateway.sessions.redis_link import RedisLink
from gateway.sessions.rules import GRACE_SECONDS
from tests.support.redis import RedisServer
from tests.support.sessions import (
    EHR,
    IMAGING,
    KEY,
    PORTAL,
    alive,
    any_proofing,
    dead,
    namespace,
    new_session,
    proofed,
    stepped_up,
)

CLOCK = SystemClock()


@pytest.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[list[RedisSessions]]:
    shared = namespace()
    links = [RedisLink(Secret(redis_server.url), namespace=shared, time_limit_seconds=10) for _ in range(4)]
    stores = [RedisSessions(link, key=KEY, clock=CLOCK) for link in links]
    async with contextlib.AsyncExitStack() as stack:
        for store in stores:
            stack.push_async_callback(store.close)
        yield stores


async def test_a_token_from_one_node_is_good_at_the_other_and_revoked_everywhere_at_once(nodes: list[RedisSessions]) -> None:
    session = new_session(CLOCK.now())
    ehr = await nodes[0].create(session, EHR)
    imaging = await nodes[1].attach(session.id, IMAGING)
    assert (await alive(nodes[2], ehr, EHR, CLOCK.now())).session.id == session.id
    assert (await alive(nodes[3], imaging, IMAGING, CLOCK.now())).session.id == session.id
    await nodes[1].revoke(session.id)
    for store in nodes:
        assert await dead(store, ehr, EHR, CLOCK.now()) == "revoked"
        assert await dead(store, imaging, IMAGING, CLOCK.now()) == "revoked"


async def test_a_proofing_that_ended_at_one_node_does_not_come_back_with_a_change_begun_at_another(
    nodes: list[RedisSessions], redis_server: RedisServer
) -> None:
    session = proofed(new_session(CLOCK.now()))
    token = await nodes[0].create(session, EHR)
    withdrawn: list[int] = []

    async def withdraw() -> None:
        link = RedisLink(Secret(redis_server.url), namespace=nodes[0]._link.prefix.removesuffix(":"), time_limit_seconds=10)
        store = RedisSessions(link, key=KEY, clock=CLOCK)
        withdrawn.append(await store.withdraw_proofing("usr_sato", any_proofing))
        await store.close()

    def change(old: Session) -> Session:
        if not withdrawn:  # between this node's reading and its writing
            other = threading.Thread(target=lambda: asyncio.run(withdraw()))
            other.start()
            other.join()
        return stepped_up(old)

    assert await nodes[0].change(session.id, change, IMAGING) is not None
    assert withdrawn == [1]
    after = await nodes[1].get(session.id, CLOCK.now())
    assert after is not None
    assert (after.identity.proofing, after.generation) == (None, 2)
    assert (await alive(nodes[2], token, EHR, CLOCK.now())).proofing() is None


async def test_every_node_hears_of_a_revocation_within_a_second(nodes: list[RedisSessions]) -> None:
    session = new_session(CLOCK.now())
    await nodes[0].create(session, EHR)
    ready = [asyncio.Event() for _ in nodes]

    async def follow(number: int) -> float:
        async with contextlib.aclosing(nodes[number].changes()) as feed:  # type: ignore[type-var]  # a generator
            async for change in feed:
                ready[number].set()
                if change == SessionChange(session_id=session.id, kind="revoked"):
                    return time.monotonic()
        raise AssertionError("the feed ended")

    following = [asyncio.create_task(follow(number)) for number in range(len(nodes))]
    async with asyncio.timeout(20):
        for event in ready:
            await event.wait()
        began = time.monotonic()
        await nodes[0].revoke(session.id)
        heard = await asyncio.gather(*following)
    assert max(heard) - began < 1


async def test_changes_on_all_nodes_at_once_are_all_kept_and_each_raises_the_generation(nodes: list[RedisSessions]) -> None:
    session = new_session(CLOCK.now())
    await nodes[0].create(session, PORTAL)
    each = 15
    generations: dict[RedisSessions, list[int]] = {store: [] for store in nodes}

    async def work(store: RedisSessions) -> None:
        for _ in range(each):
            assert await store.change(session.id, stepped_up, PORTAL) is not None
            current = await store.get(session.id, CLOCK.now())
            assert current is not None
            generations[store].append(current.generation)

    await asyncio.gather(*(work(store) for store in nodes))
    final = await nodes[0].get(session.id, CLOCK.now())
    assert final is not None
    assert final.generation == 1 + each * len(nodes)
    assert [event.generation for event in final.events[2:]] == list(range(2, final.generation + 1))
    for seen in generations.values():
        assert seen == sorted(seen)


async def test_attaches_on_all_nodes_while_the_session_changes_give_tokens_of_a_generation_that_was(
    nodes: list[RedisSessions],
) -> None:
    session = new_session(CLOCK.now())
    await nodes[0].create(session, PORTAL)

    async def attach(store: RedisSessions) -> None:
        for _ in range(10):
            token = await store.attach(session.id, EHR)
            assert token is not None
            found = await store.resolve(token.reveal(), EHR, CLOCK.now())
            assert getattr(found, "why", "unknown") == "unknown"

    async def change(store: RedisSessions) -> None:
        for _ in range(10):
            await store.change(session.id, stepped_up, PORTAL)

    await asyncio.gather(change(nodes[0]), *(attach(store) for store in nodes[1:]))
    last = await nodes[1].attach(session.id, EHR)
    assert (await alive(nodes[2], last, EHR, CLOCK.now())).generation == 11


async def test_a_revocation_wins_against_changes_and_attaches_in_flight(nodes: list[RedisSessions]) -> None:
    for _ in range(20):
        session = new_session(CLOCK.now())
        await nodes[0].create(session, PORTAL)
        results = await asyncio.gather(
            nodes[1].change(session.id, stepped_up, PORTAL),
            nodes[2].attach(session.id, EHR),
            nodes[3].revoke(session.id),
        )
        assert results[2] is True
        for token, host in ((results[0], PORTAL), (results[1], EHR)):
            if token is not None:
                assert await dead(nodes[0], token, host, CLOCK.now()) in {"revoked", "unknown"}
        assert await nodes[0].get(session.id, CLOCK.now()) is None


async def test_one_of_the_takers_on_all_nodes_wins(nodes: list[RedisSessions]) -> None:
    stores = [RedisOneTime(store._link) for store in nodes]
    for _ in range(25):
        name = await stores[0].put("code", b"value", 60)
        got = await asyncio.gather(*(store.take("code", name) for store in stores for _ in range(5)))
        assert got.count(b"value") == 1


async def test_redis_itself_ends_a_session_at_its_absolute_limit_when_every_clock_of_ours_stands_still(
    redis_server: RedisServer,
) -> None:
    clock = ManualClock()
    link = RedisLink(Secret(redis_server.url), namespace=namespace(), time_limit_seconds=10)
    store = RedisSessions(link, key=KEY, clock=clock)
    try:
        session = new_session(clock.now(), absolute=1)
        token = await store.create(session, EHR)
        await alive(store, token, EHR, clock.now())
        await asyncio.sleep(1.2)
        assert await dead(store, token, EHR, clock.now()) == "expired"
        assert await store.get(session.id, clock.now()) is None
        assert await store.list(clock.now()) == []
        assert await store.revoke(session.id) is False
        assert await store.attach(session.id, EHR) is None
        assert await store.revoke_subject(session.identity.subject) == 0
    finally:
        await store.close()


async def test_every_key_expires_or_is_an_index(redis_server: RedisServer) -> None:
    link = RedisLink(Secret(redis_server.url), namespace=namespace(), time_limit_seconds=10)
    store = RedisSessions(link, key=KEY, clock=CLOCK)
    try:
        for number in range(3):
            session = new_session(CLOCK.now(), subject=f"usr_{number}")
            await store.create(session, PORTAL)
            await store.attach(session.id, EHR)
            await store.attach(session.id, EHR)
            await store.change(session.id, stepped_up, PORTAL)
        await store.revoke(session.id)
        await RedisOneTime(link).put("state", b"value", 60)
        keys = await link.command("KEYS", f"{link.prefix}*")
        assert len(keys) > 10
        forever = [key for key in keys if await link.command("PTTL", key) < 0]
        assert forever == [f"{link.prefix}all".encode()]
    finally:
        await store.close()


async def test_a_long_list_is_complete(nodes: list[RedisSessions]) -> None:
    now = CLOCK.now()
    sessions = [msgspec.structs.replace(new_session(now), created_at=int(now) - number) for number in range(450)]
    await asyncio.gather(*(nodes[number % 4].create(session, EHR) for number, session in enumerate(sessions)))
    listed = await nodes[0].list(now)
    assert [session.id for session in listed] == [session.id for session in sessions]


async def test_a_token_in_grace_dies_by_redis_own_clock_too(nodes: list[RedisSessions]) -> None:
    session = new_session(CLOCK.now())
    old = await nodes[0].create(session, EHR)
    await nodes[0].attach(session.id, EHR)
    link = nodes[0]._link
    assert 0 < await link.command("PTTL", f"{link.prefix}token:{hash_token(old.reveal())}") <= GRACE_SECONDS * 1000


async def test_ended_sessions_leave_the_indexes(nodes: list[RedisSessions]) -> None:
    session = new_session(CLOCK.now())
    await nodes[0].create(session, EHR)
    link = nodes[0]._link
    indexes = ((f"{link.prefix}all", "ZSCORE"), (f"{link.prefix}subject:{hash_token(session.identity.subject)}", "SISMEMBER"))
    for key, command in indexes:
        assert await link.command(command, key, session.id), key
    await nodes[0].revoke(session.id)
    for key, command in indexes:
        assert not await link.command(command, key, session.id), key

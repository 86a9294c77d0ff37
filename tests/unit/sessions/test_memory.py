"""What only the memory stores have: two clocks, bounded memory, forgetting."""

import asyncio
import base64
import contextlib

import msgspec
import pytest

from gateway.domain.identity import Session
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_id
from gateway.ports import Missing
from gateway.sessions.memory import FEED_LENGTH, MemorySessions
from gateway.sessions.one_time import MemoryOneTime
from gateway.sessions.rules import GRACE_SECONDS, REMEMBER_SECONDS
from tests.support.sessions import ABSOLUTE, EHR, IDLE, alive, dead, new_session, stepped_up


class TwoClocks(ManualClock):
    """A wall clock that can be set, beside a monotonic one that can't."""

    def __init__(self) -> None:
        super().__init__()
        self._ticks = 100.0

    def monotonic(self) -> float:
        return self._ticks

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._ticks += seconds

    def set_wall(self, by: float) -> None:
        self._now += by


@pytest.mark.parametrize(("limit", "why"), [(IDLE, "idle"), (ABSOLUTE, "expired")])
async def test_a_wall_clock_set_back_does_not_lengthen_a_session(limit: int, why: str) -> None:
    clock = TwoClocks()
    store = MemorySessions(clock=clock)
    token = await store.create(new_session(clock.now(), idle=limit if why == "idle" else ABSOLUTE * 2), EHR)
    clock.set_wall(-86_400)
    clock.advance(limit - 1)
    if why == "expired":
        await alive(store, token, EHR, clock.now())
    clock.advance(1)
    assert await dead(store, token, EHR, clock.now()) == why


async def test_a_wall_clock_set_back_does_not_lengthen_grace_or_a_shortened_limit() -> None:
    clock = TwoClocks()
    store = MemorySessions(clock=clock)
    session = new_session(clock.now())
    old = await store.create(session, EHR)
    await store.attach(session.id, EHR)
    clock.set_wall(-86_400)
    clock.advance(GRACE_SECONDS)
    assert await dead(store, old, EHR, clock.now()) == "unknown"


async def test_ended_sessions_are_forgotten_an_hour_after_their_limit() -> None:
    clock = ManualClock()
    store = MemorySessions(clock=clock)
    session = new_session(clock.now())
    await store.create(session, EHR)
    token = await store.attach(session.id, EHR)
    await store.revoke(session.id)
    clock.advance(ABSOLUTE + REMEMBER_SECONDS - 1)
    await store.create(new_session(clock.now()), EHR)
    assert await dead(store, token, EHR, clock.now()) == "revoked"
    clock.advance(61)
    await store.create(new_session(clock.now()), EHR)
    assert await dead(store, token, EHR, clock.now()) == "unknown"
    assert (len(store._entries), len(store._tokens)) == (2, 2)


async def test_an_ended_session_keeps_neither_its_id_token_nor_its_events() -> None:
    clock = ManualClock()
    store = MemorySessions(clock=clock)
    session = new_session(clock.now())
    await store.create(session, EHR)
    await store.revoke(session.id)
    kept = store._entries[session.id].session
    assert (kept.id_token, kept.events) == ("", ())


async def test_no_token_is_kept_in_the_clear() -> None:
    clock = ManualClock()
    store = MemorySessions(clock=clock)
    token = await store.create(new_session(clock.now()), EHR)
    assert token.reveal() not in repr(vars(store))
    kept = next(iter(store._tokens))
    for stolen in (kept.hex(), base64.urlsafe_b64encode(kept).decode().rstrip("="), kept.decode("latin-1")):
        assert await store.resolve(stolen, EHR, clock.now()) == Missing(why="unknown")


async def test_what_many_sessions_have_is_in_memory_once() -> None:
    clock = ManualClock()
    store = MemorySessions(clock=clock)
    for _ in range(2):
        one = msgspec.json.decode(msgspec.json.encode(new_session(clock.now())), type=Session)
        await store.create(msgspec.structs.replace(one, id=new_id("ses")), EHR)
    first, second = (entry.session for entry in store._entries.values())
    assert msgspec.structs.replace(first, id="") == msgspec.structs.replace(second, id="")
    assert first.user_agent is second.user_agent
    assert first.identity.roles[0] is second.identity.roles[0]
    assert first.identity.organization is second.identity.organization
    assert first.id_token is not second.id_token, "what is of one session alone is not kept beyond it"


async def test_a_follower_that_falls_behind_is_told_to_look_at_everything() -> None:
    clock = ManualClock()
    store = MemorySessions(clock=clock)
    session = new_session(clock.now())
    await store.create(session, EHR)
    async with contextlib.aclosing(store.changes()) as feed:  # type: ignore[type-var]  # a generator
        await anext(feed)
        for _ in range(FEED_LENGTH + 1):
            await store.change(session.id, stepped_up, EHR)
        await store.revoke(session.id)
        assert [(await anext(feed)).session_id for _ in range(3)] == ["*", session.id, session.id]


async def test_closing_reaches_a_follower_that_waits_or_is_full() -> None:
    clock = ManualClock()
    store = MemorySessions(clock=clock)
    session = new_session(clock.now())
    await store.create(session, EHR)
    waiting, full = store.changes(), store.changes()
    await anext(waiting)
    await anext(full)
    for _ in range(FEED_LENGTH):
        await store.change(session.id, stepped_up, EHR)
    async with asyncio.timeout(5):
        await store.close()
        assert [change async for change in full] == []
        assert [change async for change in waiting] == []


async def test_sign_ins_begun_in_a_loop_neither_fill_the_memory_nor_keep_others_out(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    once = MemoryOneTime(clock=clock, limit_bytes=100_000)
    names = [await once.put("state", b"x" * 500, 60) for _ in range(98)]
    mine = await once.put("state", b"mine", 60)
    # The oldest made room; what was begun last goes on.
    await once.put("state", b"x" * 500, 60)
    assert await once.peek("state", names[0]) is None
    assert await once.peek("state", names[-1]) is not None
    assert await once.take("state", mine) == b"mine"
    for _ in range(1000):
        await once.put("state", b"x" * 500, 60)
    assert len(once._entries) <= 99
    assert len(caplog.records) == 1  # said once a minute, not once each
    clock.advance(60)
    for _ in names:
        await once.put("state", b"x" * 500, 60)
    assert len(once._entries) == len(names)

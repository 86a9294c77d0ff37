"""Whatever happens in whatever order, the Redis store answers as the memory store does."""

import asyncio
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.identity import Handle
from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from gateway.ports import Missing, SessionStore
from gateway.sessions.memory import MemorySessions
from tests.support.redis import RedisServer
from tests.support.sessions import EHR, IMAGING, PORTAL, any_proofing, new_session, opened, proofed, stepped_up

HOSTS = (EHR, IMAGING, PORTAL)
# Time passes in steps of 20 s, so that no step ends in the five seconds in which a lazy store may still count as awake.
IDLE, ABSOLUTE = 910, 3000

number = st.integers(min_value=0, max_value=3)
host = st.sampled_from(HOSTS)
step = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(["usr_a", "usr_b"]), host),
    st.tuples(st.just("attach"), number, host),
    st.tuples(st.just("change"), number, host),
    st.tuples(st.just("resolve"), st.integers(min_value=0, max_value=12), host),
    st.tuples(st.just("revoke"), number, st.none()),
    st.tuples(st.just("revoke_subject"), st.sampled_from(["usr_a", "usr_b"]), st.none()),
    st.tuples(st.just("withdraw_proofing"), st.sampled_from(["usr_a", "usr_b"]), st.none()),
    st.tuples(st.just("get"), number, st.none()),
    st.tuples(st.just("list"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([20, 40, 500, 1000]), st.none()),
)


def comparable(answer: Any) -> Any:
    """Leave out what may differ: the token itself, and a last-seen time within the lazy five seconds."""
    match answer:
        case Secret():
            return "token"
        case Handle():
            return (answer.host, answer.generation, msgspec.structs.replace(answer.session, last_seen_at=0))
        case list():
            return [msgspec.structs.replace(session, last_seen_at=0) for session in answer]
        case _ if hasattr(answer, "last_seen_at"):
            return msgspec.structs.replace(answer, last_seen_at=0)
        case _:
            return answer


async def perform(memory: SessionStore, redis: SessionStore, clock: ManualClock, steps: list[tuple[str, Any, Any]]) -> None:
    ids: list[str] = []
    tokens: list[tuple[Secret, Secret]] = []
    began = clock.now()

    async def both(call: Any) -> None:
        one, other = await call(memory, 0), await call(redis, 1)
        if isinstance(one, Missing) and isinstance(other, Missing) and clock.now() >= began + ABSOLUTE:
            # A session that nobody used for too long has by then expired as well: why it ended is what was noticed first.
            assert {one.why, other.why} <= {"idle", "expired"} or one == other
            return
        assert comparable(one) == comparable(other)
        if isinstance(one, Secret) and isinstance(other, Secret):
            tokens.append((one, other))

    for kind, what, where in steps:
        session_id = ids[what % len(ids)] if isinstance(what, int) and ids else "ses_none"
        match kind:
            case "create":
                session = new_session(clock.now(), subject=what, idle=IDLE, absolute=ABSOLUTE)
                session = session if len(ids) % 3 == 2 else proofed(session)  # two of three
                ids.append(session.id)
                await both(lambda store, _, s=session, h=where: store.create(s, h))
            case "attach":
                await both(lambda store, _, s=session_id, h=where: store.attach(s, h))
            case "change":
                await both(lambda store, _, s=session_id, h=where: store.change(s, stepped_up, h))
            case "resolve" if tokens:
                pair = tokens[-1 - what % len(tokens)]
                await both(lambda store, side, p=pair, h=where: store.resolve(p[side].reveal(), h, clock.now()))
            case "revoke":
                await both(lambda store, _, s=session_id: store.revoke(s))
            case "revoke_subject":
                await both(lambda store, _, s=what: store.revoke_subject(s))
            case "withdraw_proofing":
                await both(lambda store, _, s=what: store.withdraw_proofing(s, any_proofing))
            case "get":
                await both(lambda store, _, s=session_id: store.get(s, clock.now()))
            case "list":
                await both(lambda store, _: store.list(clock.now()))
            case "wait":
                clock.advance(what)
    # In the end, every token ever given says the same on both sides, at every host.
    for pair in tokens:
        for place in HOSTS:
            await both(lambda store, side, p=pair, h=place: store.resolve(p[side].reveal(), h, clock.now()))
    await both(lambda store, _: store.list(clock.now()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, min_size=5, max_size=40))
def test_memory_and_redis_agree_on_every_history(redis_server: RedisServer, steps: list[tuple[str, Any, Any]]) -> None:
    async def run() -> None:
        clock = ManualClock()
        async with opened("redis", clock, redis_server) as redis:
            await perform(MemorySessions(clock=clock), redis, clock, [("create", "usr_a", PORTAL), *steps])

    asyncio.run(run())

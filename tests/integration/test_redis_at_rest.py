"""What lies in Redis and in its append-only file: nothing to impersonate anybody with, and nothing to read about them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.kernel.clock import SystemClock
from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.secret import Secret, hash_token
from gateway.ports import Missing
from gateway.sessions.one_time import RedisOneTime
from gateway.sessions.redis import RedisSessions
from gateway.sessions.redis_link import RedisLink
from tests.support.redis import RedisServer
from tests.support.sessions import EHR, IMAGING, KEY, PORTAL, alive, dead, namespace, new_session, stepped_up

CLOCK = SystemClock()


@contextlib.asynccontextmanager
async def opened(server: RedisServer, key: Secret = KEY, name: str | None = None) -> AsyncIterator[RedisSessions]:
    link = RedisLink(Secret(server.url), namespace=name or namespace(), time_limit_seconds=10)
    store = RedisSessions(link, key=key, clock=CLOCK)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisSessions]:
    async with opened(redis_server) as store:
        yield store


async def send(store: RedisSessions, *arguments: Any) -> Any:
    """Do to Redis what somebody with write access, but without the key, could do."""
    return await store._link.command(*arguments)


async def test_neither_redis_nor_its_file_holds_a_token_a_name_an_id_token_or_a_code(own_redis: RedisServer) -> None:
    async with opened(own_redis) as store:
        once = RedisOneTime(store._link)
        session = new_session(CLOCK.now())
        secrets = [await store.create(session, EHR), await store.attach(session.id, IMAGING)]
        secrets.append(await store.change(session.id, stepped_up, PORTAL))
        code = await once.put("handoff", b"pkce-verifier-and-nonce", 600)
        await once.peek("handoff", code)
        dump = b""
        for key in await send(store, "KEYS", "*"):
            dump += key + b" " + await send(store, "DUMP", key) + b"\n"
    own_redis.stop()
    at_rest = dump + b"".join(path.read_bytes() for path in own_redis.folder.rglob("*") if path.is_file())
    assert len(at_rest) > 3000
    texts = [code, "pkce-verifier", session.id_token, "佐藤", "dr.sato", "physician", session.address, session.user_agent]
    texts += [token.reveal() for token in secrets if token is not None]
    for text in texts:
        assert text.encode() not in at_rest, text
    # The look itself works: what is meant to be there is found.
    assert session.id.encode() in at_rest
    assert hash_token(code).encode() in at_rest


async def test_what_redis_holds_is_accepted_by_neither_resolve_nor_take(store: RedisSessions) -> None:
    once = RedisOneTime(store._link)
    session = new_session(CLOCK.now())
    await store.create(session, EHR)
    await once.put("handoff", b"value", 600)
    seen: set[str] = set()
    for key in await send(store, "KEYS", f"{store._link.prefix}*"):
        seen.update(key.decode().split(":"))
        if await send(store, "TYPE", key) == b"hash":
            for field in await send(store, "HGETALL", key):
                text = field.decode("latin-1") if isinstance(field, bytes) else str(field)
                seen.update((text, *text.split("|")))
    assert session.id in seen
    for text in seen:
        assert await store.resolve(text, EHR, CLOCK.now()) == Missing(why="unknown")
        assert await once.take("handoff", text) is None


async def test_a_token_record_pointed_at_somebody_elses_session_is_refused(store: RedisSessions) -> None:
    mine, theirs = new_session(CLOCK.now(), subject="usr_vendor"), new_session(CLOCK.now(), subject="usr_sato")
    token = await store.create(mine, EHR)
    await store.create(theirs, EHR)
    await send(store, "HSET", f"{store._link.prefix}token:{hash_token(token.reveal())}", "session", theirs.id)
    with pytest.raises(StoreUnavailable, match="not what the gateway wrote"):
        await store.resolve(token.reveal(), EHR, CLOCK.now())


async def test_a_session_body_put_in_place_of_another_is_refused(store: RedisSessions) -> None:
    mine, theirs = new_session(CLOCK.now(), subject="usr_vendor"), new_session(CLOCK.now(), subject="usr_sato")
    token = await store.create(mine, EHR)
    await store.create(theirs, EHR)
    prefix = f"{store._link.prefix}session:"
    await send(store, "HSET", prefix + mine.id, "body", await send(store, "HGET", prefix + theirs.id, "body"))
    with pytest.raises(StoreUnavailable, match="not what the gateway wrote"):
        await store.resolve(token.reveal(), EHR, CLOCK.now())
    with pytest.raises(StoreUnavailable, match="not what the gateway wrote"):
        await store.get(mine.id, CLOCK.now())


async def test_a_handle_raised_to_a_later_generation_is_refused(store: RedisSessions) -> None:
    session = new_session(CLOCK.now())
    token = await store.create(session, EHR)
    await store.change(session.id, stepped_up, PORTAL)
    await send(store, "HSET", f"{store._link.prefix}token:{hash_token(token.reveal())}", "generation", "2")
    with pytest.raises(StoreUnavailable, match="not what the gateway wrote"):
        await store.resolve(token.reveal(), EHR, CLOCK.now())


async def test_a_token_moved_to_another_host_is_refused(store: RedisSessions) -> None:
    token = await store.create(new_session(CLOCK.now()), EHR)
    await send(store, "HSET", f"{store._link.prefix}token:{hash_token(token.reveal())}", "host", IMAGING)
    with pytest.raises(StoreUnavailable, match="not what the gateway wrote"):
        await store.resolve(token.reveal(), IMAGING, CLOCK.now())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generation", "9"),
        ("generation", "x"),
        ("generation", ""),
        ("body", "CUT"),
        ("body", "FLIP"),
        ("expires", "x"),
        ("seen", "x"),
    ],
)
async def test_a_session_record_that_was_altered_lets_nobody_in(store: RedisSessions, field: str, value: str) -> None:
    session = new_session(CLOCK.now())
    token = await store.create(session, EHR)
    key = f"{store._link.prefix}session:{session.id}"
    new: bytes | str = value
    if field == "body":
        body = await send(store, "HGET", key, "body")
        new = body[:20] if value == "CUT" else body[:-1] + bytes([body[-1] ^ 1])
    await send(store, "HSET", key, field, new)
    with pytest.raises(StoreUnavailable):
        await store.resolve(token.reveal(), EHR, CLOCK.now())


@pytest.mark.parametrize("field", ["body", "expires"])
async def test_a_session_record_with_a_field_missing_lets_nobody_in(store: RedisSessions, field: str) -> None:
    session = new_session(CLOCK.now())
    token = await store.create(session, EHR)
    await send(store, "HDEL", f"{store._link.prefix}session:{session.id}", field)
    assert isinstance(await store.resolve(token.reveal(), EHR, CLOCK.now()), Missing)


async def test_a_forged_record_without_our_key_stands_for_nobody(store: RedisSessions) -> None:
    token = "A" * 43
    prefix = store._link.prefix
    at = int(CLOCK.now())
    body = msgspec.json.encode(new_session(CLOCK.now()))
    await send(store, "HSET", f"{prefix}session:ses_x", "subject", "x", "expires", (at + 999) * 1000, "idle", 900_000, "seen",
               at * 1000, "generation", "1", "body", body)  # fmt: skip
    await send(
        store, "HSET", f"{prefix}token:{hash_token(token)}", "session", "ses_x", "host", EHR, "generation", "1", "mac", "x"
    )
    assert await store.resolve(token, EHR, CLOCK.now()) == Missing(why="unknown")
    assert await store.get("ses_x", CLOCK.now()) is None


async def test_a_one_time_value_put_under_another_name_is_refused(store: RedisSessions) -> None:
    once = RedisOneTime(store._link)
    first, second = await once.put("handoff", b"dr.sato", 600), await once.put("handoff", b"vendor.ito", 600)
    prefix = f"{store._link.prefix}once:handoff:"
    await send(store, "SET", prefix + hash_token(second), await send(store, "GET", prefix + hash_token(first)))
    with pytest.raises(StoreUnavailable, match="not what the gateway wrote"):
        await once.take("handoff", second)


async def test_a_new_key_signs_everybody_out_and_old_sessions_can_still_be_revoked(redis_server: RedisServer) -> None:
    shared = namespace()
    async with opened(redis_server, name=shared) as old, opened(redis_server, Secret("another " * 8), shared) as new:
        session = new_session(CLOCK.now())
        token = await old.create(session, EHR)
        assert await dead(new, token, EHR, CLOCK.now()) == "unknown"
        assert await new.get(session.id, CLOCK.now()) is None
        assert await new.list(CLOCK.now()) == []
        assert await new.attach(session.id, EHR) is None
        assert await new.change(session.id, stepped_up, EHR) is None
        await alive(old, token, EHR, CLOCK.now())
        assert await new.revoke_subject(session.identity.subject) == 1
        assert await dead(old, token, EHR, CLOCK.now()) == "revoked"


async def test_a_session_of_another_version_of_the_gateway_is_signed_out(store: RedisSessions) -> None:
    session = new_session(CLOCK.now())
    token = await store.create(session, EHR)
    other = store._seal.seal(session.id, b'{"id":"' + session.id.encode() + b'"}')
    await send(store, "HSET", f"{store._link.prefix}session:{session.id}", "body", other)
    assert await dead(store, token, EHR, CLOCK.now()) == "unknown"


async def test_the_end_of_a_session_wipes_what_it_held(store: RedisSessions) -> None:
    session = new_session(CLOCK.now())
    await store.create(session, EHR)
    await store.revoke(session.id)
    assert await send(store, "HGET", f"{store._link.prefix}session:{session.id}", "body") is None


async def test_rubbish_on_the_channel_makes_followers_look_at_everything(store: RedisSessions) -> None:
    async with contextlib.aclosing(store.changes()) as feed:  # type: ignore[type-var]  # a generator
        await anext(feed)
        for rubbish in (b"", b"\xff\xfe", b"revoked", b"revoked a b", b"x" * 10_000):
            await send(store, "PUBLISH", f"{store._link.prefix}changes", rubbish)
            assert (await anext(feed)).session_id == "*"


@pytest.mark.parametrize("key", ["", "short", "x" * 31])
def test_a_short_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand"):
        RedisSessions(RedisLink(Secret("redis://127.0.0.1")), key=Secret(key), clock=CLOCK)

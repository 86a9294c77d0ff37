"""What every `SessionStore` promises (gateway/ports.py), shown on each backend."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from gateway.domain.identity import Emergency, Identity, Session
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import StoreUnavailable
from gateway.ports import SessionChange, SessionStore
from gateway.sessions.rules import GRACE_SECONDS, MAX_GRACE_TOKENS
from tests.support.redis import RedisServer
from tests.support.sessions import (
    ABSOLUTE,
    BACKENDS,
    EHR,
    IDLE,
    IMAGING,
    PORTAL,
    alive,
    any_proofing,
    dead,
    new_session,
    opened,
    proofed,
    stepped_up,
)

EVERYTHING = SessionChange(session_id="*", kind="changed")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, clock: ManualClock, redis_server: RedisServer) -> AsyncIterator[SessionStore]:
    async with opened(request.param, clock, redis_server) as store:
        yield store


# ---------------------------------------------------------------- create and resolve


async def test_a_token_stands_for_its_session_as_it_was_given(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    token = await store.create(session, EHR)
    handle = await alive(store, token, EHR, clock.now())
    assert handle.session == session
    assert (handle.host, handle.generation) == (EHR, 1)
    assert [event.kind for event in handle.events()] == ["pwd", "otp"]


async def test_tokens_are_256_bit_secrets_and_never_repeat(store: SessionStore, clock: ManualClock) -> None:
    tokens = [await store.create(new_session(clock.now()), EHR) for _ in range(20)]
    assert {len(token.reveal()) for token in tokens} == {43}
    assert len({token.reveal() for token in tokens}) == 20
    assert "***" in repr(tokens[0])


async def test_an_id_is_used_once_also_after_the_session_ended(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    token = await store.create(session, EHR)
    with pytest.raises(ValueError, match="exists already"):
        await store.create(session, IMAGING)
    await store.revoke(session.id)
    with pytest.raises(ValueError, match="exists already"):
        await store.create(session, EHR)
    assert await dead(store, token, EHR, clock.now()) == "revoked"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"expires_at": 1_800_000_000}, "over before it begins"),
        ({"idle_seconds": 0}, "idle_seconds"),
        ({"id": "ses_1 2"}, "session id"),
        ({"id": ""}, "session id"),
    ],
)
async def test_what_is_no_session_is_not_stored(
    store: SessionStore, clock: ManualClock, change: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        await store.create(msgspec.structs.replace(new_session(clock.now()), **change), EHR)
    assert await store.list(clock.now()) == []


@pytest.mark.parametrize("host", ["", "EHR.localhost", "ehr localhost", "a@ehr.localhost", "ehr.localhost/x", "é.localhost"])
async def test_no_token_is_issued_for_what_is_no_host(store: SessionStore, clock: ManualClock, host: str) -> None:
    session = new_session(clock.now())
    await store.create(session, EHR)
    with pytest.raises(ValueError, match="host"):
        await store.create(new_session(clock.now()), host)
    with pytest.raises(ValueError, match="host"):
        await store.attach(session.id, host)
    with pytest.raises(ValueError, match="host"):
        await store.change(session.id, stepped_up, host)


# ---------------------------------------------------------------- attach


async def test_each_host_has_its_own_token(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    first = await store.create(session, EHR)
    second = await store.attach(session.id, IMAGING)
    assert (await alive(store, first, EHR, clock.now())).session.id == session.id
    assert (await alive(store, second, IMAGING, clock.now())).session.id == session.id
    assert await dead(store, first, IMAGING, clock.now()) == "unknown"
    assert await dead(store, second, EHR, clock.now()) == "unknown"


async def test_a_token_that_attach_replaced_stays_valid_for_a_short_grace(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    old = await store.create(session, EHR)
    new = await store.attach(session.id, EHR)
    clock.advance(GRACE_SECONDS - 1)
    assert (await alive(store, old, EHR, clock.now())).generation == 1
    clock.advance(1)
    assert await dead(store, old, EHR, clock.now()) == "unknown"
    assert (await alive(store, new, EHR, clock.now())).generation == 1


async def test_grace_is_not_renewed_by_further_attaches(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    old = await store.create(session, EHR)
    for _ in range(3):
        await store.attach(session.id, EHR)
        clock.advance(GRACE_SECONDS / 2)
    assert await dead(store, old, EHR, clock.now()) == "unknown"


async def test_tabs_that_finish_a_sign_in_at_once_do_not_log_each_other_out(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    await store.create(session, PORTAL)
    tokens = await asyncio.gather(*(store.attach(session.id, EHR) for _ in range(MAX_GRACE_TOKENS)))
    for token in tokens:
        assert (await alive(store, token, EHR, clock.now())).session.id == session.id


async def test_tokens_in_grace_are_few(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    tokens = [await store.create(session, EHR)]
    for _ in range(MAX_GRACE_TOKENS + 5):
        clock.advance(0.1)
        token = await store.attach(session.id, EHR)
        assert token is not None
        tokens.append(token)
    for token in tokens[: -MAX_GRACE_TOKENS - 1]:
        assert await dead(store, token, EHR, clock.now()) == "unknown"
    for token in tokens[-MAX_GRACE_TOKENS - 1 :]:
        await alive(store, token, EHR, clock.now())


async def test_a_token_of_an_older_generation_gets_no_grace(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    await store.create(session, PORTAL)
    before = await store.attach(session.id, EHR)
    await store.change(session.id, stepped_up, PORTAL)
    after = await store.attach(session.id, EHR)
    assert await dead(store, before, EHR, clock.now()) == "unknown"
    assert (await alive(store, after, EHR, clock.now())).generation == 2


# ---------------------------------------------------------------- change


async def test_a_change_gives_a_new_token_and_the_old_ones_of_that_host_die_at_once(
    store: SessionStore, clock: ManualClock
) -> None:
    session = new_session(clock.now())
    graced = await store.create(session, PORTAL)
    old = await store.attach(session.id, PORTAL)
    await alive(store, graced, PORTAL, clock.now())
    new = await store.change(session.id, stepped_up, PORTAL)
    assert await dead(store, old, PORTAL, clock.now()) == "unknown"
    assert await dead(store, graced, PORTAL, clock.now()) == "unknown"
    handle = await alive(store, new, PORTAL, clock.now())
    assert handle.generation == handle.session.generation == 2
    assert [event.kind for event in handle.events()] == ["pwd", "otp", "fido2"]


async def test_another_host_keeps_its_token_but_does_not_see_the_new_events(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    await store.create(session, PORTAL)
    ehr = await store.attach(session.id, EHR)
    await store.change(session.id, stepped_up, PORTAL)
    handle = await alive(store, ehr, EHR, clock.now())
    assert (handle.generation, handle.session.generation) == (1, 2)
    assert [event.kind for event in handle.events()] == ["pwd", "otp"]


async def test_a_device_that_proved_itself_later_is_not_seen_by_older_handles(store: SessionStore, clock: ManualClock) -> None:
    def prove(old: Session) -> Session:
        generation = old.generation + 1
        return msgspec.structs.replace(
            old, generation=generation, device_id="dev_1", device_evidence="key", device_generation=generation
        )

    session = new_session(clock.now())
    await store.create(session, PORTAL)
    ehr = await store.attach(session.id, EHR)
    portal = await store.change(session.id, prove, PORTAL)
    assert (await alive(store, ehr, EHR, clock.now())).device_id() is None
    assert (await alive(store, portal, PORTAL, clock.now())).device_id() == "dev_1"


def _another_person(old: Session) -> Session:
    other = Identity(subject="usr_other", login="other", name="Other", roles=("physician",))
    return msgspec.structs.replace(stepped_up(old), identity=other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda old: old, "raise the generation"),
        (lambda old: msgspec.structs.replace(old, generation=old.generation - 1), "raise the generation"),
        (_another_person, "another person"),
        (lambda old: msgspec.structs.replace(stepped_up(old), id="ses_other"), "another session"),
        (lambda old: msgspec.structs.replace(stepped_up(old), created_at=old.created_at + 1), "another session"),
        (lambda old: msgspec.structs.replace(stepped_up(old), expires_at=old.expires_at + 1), "lengthen"),
        (lambda old: msgspec.structs.replace(stepped_up(old), idle_seconds=0), "idle_seconds"),
    ],
)
async def test_a_change_that_is_none_changes_nothing(
    store: SessionStore, clock: ManualClock, change: Callable[[Session], Session], says: str
) -> None:
    session = new_session(clock.now())
    token = await store.create(session, PORTAL)
    with pytest.raises(ValueError, match=says):
        await store.change(session.id, change, PORTAL)
    assert (await alive(store, token, PORTAL, clock.now())).session == session


async def test_an_error_inside_the_change_changes_nothing(store: SessionStore, clock: ManualClock) -> None:
    def fail(old: Session) -> Session:
        raise LookupError(old.id)

    session = new_session(clock.now())
    token = await store.create(session, PORTAL)
    with pytest.raises(LookupError):
        await store.change(session.id, fail, PORTAL)
    assert (await alive(store, token, PORTAL, clock.now())).session == session


async def test_a_change_may_shorten_the_absolute_limit(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    await store.create(session, PORTAL)
    end = int(clock.now()) + 60
    token = await store.change(session.id, lambda old: msgspec.structs.replace(stepped_up(old), expires_at=end), PORTAL)
    clock.advance(59)
    await alive(store, token, PORTAL, clock.now())
    clock.advance(1)
    assert await dead(store, token, PORTAL, clock.now()) == "expired"


async def test_200_changes_at_once_each_raise_the_generation_by_one(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    await store.create(session, PORTAL)
    seen: list[int] = []

    async def one() -> None:
        token = await store.change(session.id, lambda old: msgspec.structs.replace(old, generation=old.generation + 1), EHR)
        assert token is not None
        current = await store.get(session.id, clock.now())
        assert current is not None
        seen.append(current.generation)

    await asyncio.gather(*(one() for _ in range(200)))
    final = await store.get(session.id, clock.now())
    assert final is not None
    assert final.generation == 201
    assert seen == sorted(seen)


# ---------------------------------------------------------------- ends


async def test_revocation_ends_every_handle_and_the_store_remembers_why(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    graced = await store.create(session, EHR)
    ehr = await store.attach(session.id, EHR)
    imaging = await store.attach(session.id, IMAGING)
    assert await store.revoke(session.id) is True
    assert await store.revoke(session.id) is False
    for token, host in ((graced, EHR), (ehr, EHR), (imaging, IMAGING)):
        assert await dead(store, token, host, clock.now()) == "revoked"
    assert await store.get(session.id, clock.now()) is None
    assert await store.list(clock.now()) == []
    assert await store.attach(session.id, EHR) is None
    assert await store.change(session.id, stepped_up, EHR) is None
    clock.advance(ABSOLUTE - 1)
    assert await dead(store, ehr, EHR, clock.now()) == "revoked"


@pytest.mark.parametrize("session_id", ["ses_none", "", "*", "../x", "ses_é", "a b", "x" * 5000, "ses_1\n"])
async def test_what_is_no_session_is_not_found(store: SessionStore, clock: ManualClock, session_id: str) -> None:
    await store.create(new_session(clock.now()), EHR)
    assert await store.get(session_id, clock.now()) is None
    assert await store.revoke(session_id) is False
    assert await store.attach(session_id, EHR) is None
    assert await store.change(session_id, stepped_up, EHR) is None
    assert len(await store.list(clock.now())) == 1


async def test_all_sessions_of_a_person_end_and_nobody_elses(store: SessionStore, clock: ManualClock) -> None:
    mine = [await store.create(new_session(clock.now(), subject="usr_sato"), EHR) for _ in range(3)]
    other = await store.create(new_session(clock.now(), subject="usr_suzuki"), EHR)
    assert await store.revoke_subject("usr_sato") == 3
    assert await store.revoke_subject("usr_sato") == 0
    assert await store.revoke_subject("usr_nobody") == 0
    for token in mine:
        assert await dead(store, token, EHR, clock.now()) == "revoked"
    await alive(store, other, EHR, clock.now())


async def test_a_proofing_is_taken_out_of_all_sessions_of_a_person_and_nobody_elses(
    store: SessionStore, clock: ManualClock
) -> None:
    mine = [proofed(new_session(clock.now())) for _ in range(3)]
    without = new_session(clock.now())
    other = proofed(new_session(clock.now(), subject="usr_suzuki"))
    tokens = [await store.create(session, EHR) for session in (*mine, without, other)]
    assert await store.withdraw_proofing("usr_sato", any_proofing) == 3
    assert await store.withdraw_proofing("usr_sato", any_proofing) == 0
    assert await store.withdraw_proofing("usr_nobody", any_proofing) == 0
    for session, token in zip(mine, tokens, strict=False):
        handle = await alive(store, token, EHR, clock.now())
        assert handle.proofing() is None
        # Nothing else: the token, the generation, what was proved.
        assert handle.session.identity == msgspec.structs.replace(session.identity, proofing=None, bound_kinds=())
        assert (handle.generation, handle.session.generation, handle.events()) == (1, 1, session.events)
        assert (handle.session.expires_at, handle.session.id_token) == (session.expires_at, session.id_token)
    assert (await alive(store, tokens[-1], EHR, clock.now())).proofing() == other.identity.proofing


async def test_only_the_proofing_that_is_meant_is_taken_out(store: SessionStore, clock: ManualClock) -> None:
    old = await store.create(proofed(new_session(clock.now()), "t1"), EHR)
    new = await store.create(proofed(new_session(clock.now()), "t2"), EHR)
    assert await store.withdraw_proofing("usr_sato", lambda proofing: proofing.transaction == "t1") == 1
    assert (await alive(store, old, EHR, clock.now())).proofing() is None
    assert (await alive(store, new, EHR, clock.now())).proofing() is not None


async def test_a_proofing_is_not_taken_out_of_sessions_that_are_over(store: SessionStore, clock: ManualClock) -> None:
    revoked, idle = (proofed(new_session(clock.now())) for _ in range(2))
    tokens = [await store.create(session, EHR) for session in (revoked, idle)]
    await store.revoke(revoked.id)
    clock.advance(IDLE + 6)
    assert await store.withdraw_proofing("usr_sato", any_proofing) == 0
    assert [await dead(store, token, EHR, clock.now()) for token in tokens] == ["revoked", "idle"]


def in_emergency(session: Session) -> Session:
    generation, now = session.generation + 1, session.created_at
    emergency = Emergency(id="brk_1", began_at=now, until=now + 3600, reason="critical", patient="P1001")
    return msgspec.structs.replace(session, emergency=emergency, emergency_generation=generation, generation=generation)


async def test_a_break_glass_is_taken_out_and_nothing_else(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    older = await store.create(session, EHR)
    token = await store.change(session.id, in_emergency, PORTAL)
    assert token is not None
    handle = await alive(store, token, PORTAL, clock.now())
    assert handle.emergency(clock.now()) is not None
    assert (await alive(store, older, EHR, clock.now())).emergency(clock.now()) is None
    assert not await store.withdraw_emergency(session.id, "brk_2")
    assert not await store.withdraw_emergency("ses_unknown", "brk_1")
    assert not await store.withdraw_emergency("no id /", "brk_1")
    assert await store.withdraw_emergency(session.id, "brk_1")
    assert not await store.withdraw_emergency(session.id, "brk_1")
    after = await alive(store, token, PORTAL, clock.now())
    assert after.session == msgspec.structs.replace(handle.session, emergency=None)
    assert after.generation == handle.generation


async def test_a_withdrawn_break_glass_is_announced(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    await store.create(session, EHR)
    await store.change(session.id, in_emergency, EHR)
    async with contextlib.aclosing(store.changes()) as feed:  # type: ignore[type-var]  # both stores give generators
        assert await anext(feed) == EVERYTHING
        await store.withdraw_emergency(session.id, "brk_1")
        async with asyncio.timeout(5):
            assert await anext(feed) == SessionChange(session_id=session.id, kind="changed")


async def test_a_withdrawn_proofing_is_announced(store: SessionStore, clock: ManualClock) -> None:
    session, other = proofed(new_session(clock.now())), new_session(clock.now())
    for one in (session, other):
        await store.create(one, EHR)
    async with contextlib.aclosing(store.changes()) as feed:  # type: ignore[type-var]  # both stores give generators
        assert await anext(feed) == EVERYTHING
        await store.withdraw_proofing("usr_sato", any_proofing)
        await store.revoke(other.id)
        async with asyncio.timeout(5):
            assert await anext(feed) == SessionChange(session_id=session.id, kind="changed")
            assert await anext(feed) == SessionChange(session_id=other.id, kind="revoked")


async def test_no_change_that_was_begun_before_brings_a_withdrawn_proofing_back(store: SessionStore, clock: ManualClock) -> None:
    """A step that keeps the identity (a device is registered, say) reads the session, and meanwhile its proofing ends."""
    sessions = [proofed(new_session(clock.now())) for _ in range(20)]
    tokens = [await store.create(session, EHR) for session in sessions]
    changing = [asyncio.create_task(store.change(session.id, stepped_up, IMAGING)) for session in sessions]
    assert await store.withdraw_proofing("usr_sato", any_proofing) == len(sessions)
    assert all(await asyncio.gather(*changing))
    for session, token in zip(sessions, tokens, strict=True):
        after = await store.get(session.id, clock.now())
        assert after is not None
        assert (after.identity.proofing, after.generation) == (None, 2)
        assert (await alive(store, token, EHR, clock.now())).proofing() is None


async def test_an_idle_session_ends_no_sooner_than_its_limit_and_no_later_than_five_seconds_after(
    store: SessionStore, clock: ManualClock
) -> None:
    early, late = [await store.create(new_session(clock.now()), EHR) for _ in range(2)]
    clock.advance(4.9)
    await alive(store, early, EHR, clock.now())
    await alive(store, late, EHR, clock.now())
    clock.advance(IDLE - 1)
    await alive(store, early, EHR, clock.now())
    clock.advance(6)
    assert await dead(store, late, EHR, clock.now()) == "idle"


async def test_a_short_idle_limit_is_not_stretched_by_five_seconds(store: SessionStore, clock: ManualClock) -> None:
    token = await store.create(new_session(clock.now(), idle=10), EHR)
    clock.advance(9)
    await alive(store, token, EHR, clock.now())
    clock.advance(11.1)
    assert await dead(store, token, EHR, clock.now()) == "idle"


async def test_activity_on_any_host_keeps_a_session_until_its_absolute_limit(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now(), absolute=4 * IDLE)
    ehr = await store.create(session, EHR)
    imaging = await store.attach(session.id, IMAGING)
    for turn in range(7):
        clock.advance(IDLE / 2)
        handle = await alive(store, (ehr, imaging)[turn % 2], (EHR, IMAGING)[turn % 2], clock.now())
        assert clock.now() - handle.session.last_seen_at < 6
    clock.advance(IDLE / 2)
    assert await dead(store, ehr, EHR, clock.now()) == "expired"
    assert await dead(store, imaging, IMAGING, clock.now()) == "expired"


async def test_looking_at_a_session_is_not_activity(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    token = await store.create(session, EHR)
    for _ in range(10):
        clock.advance(IDLE / 10)
        await store.get(session.id, clock.now())
        await store.list(clock.now())
        await store.attach(session.id, IMAGING)
        assert await dead(store, token, IMAGING, clock.now()) == "unknown"
    clock.advance(5)
    assert await dead(store, token, EHR, clock.now()) == "idle"


@pytest.mark.parametrize("observer", ["resolve", "get", "list", "attach", "change", "revoke", "withdraw", "revoke_subject"])
@pytest.mark.parametrize("why", ["idle", "expired"])
async def test_a_clock_that_goes_back_never_revives_a_session(
    store: SessionStore, clock: ManualClock, why: str, observer: str
) -> None:
    start = clock.now()
    session = new_session(start)
    token = await store.create(session, EHR)
    clock.advance(IDLE + 6 if why == "idle" else ABSOLUTE)
    match observer:
        case "resolve":
            assert await dead(store, token, EHR, clock.now()) == why
        case "get":
            assert await store.get(session.id, clock.now()) is None
        case "list":
            assert await store.list(clock.now()) == []
        case "attach":
            assert await store.attach(session.id, EHR) is None
        case "change":
            assert await store.change(session.id, stepped_up, EHR) is None
        case "revoke":
            assert await store.revoke(session.id) is False
        case "withdraw":
            assert await store.withdraw_proofing(session.identity.subject, any_proofing) == 0
        case _:
            assert await store.revoke_subject(session.identity.subject) == 0
    clock._now = start - 3600
    assert await dead(store, token, EHR, clock.now()) == why
    assert await store.get(session.id, clock.now()) is None
    assert await store.list(clock.now()) == []
    assert await store.attach(session.id, EHR) is None


async def test_activity_with_an_older_time_does_not_count_backwards(store: SessionStore, clock: ManualClock) -> None:
    token = await store.create(new_session(clock.now()), EHR)
    clock.advance(IDLE - 1)
    await alive(store, token, EHR, clock.now())
    handle = await alive(store, token, EHR, clock.now() - 600)
    assert handle.session.last_seen_at == int(clock.now())


async def test_sessions_are_listed_newest_first(store: SessionStore, clock: ManualClock) -> None:
    ids = []
    for _ in range(5):
        session = new_session(clock.now())
        await store.create(session, EHR)
        ids.append(session.id)
        clock.advance(1)
    await store.revoke(ids[2])
    assert [session.id for session in await store.list(clock.now())] == [ids[4], ids[3], ids[1], ids[0]]


# ---------------------------------------------------------------- the feed, and the end


async def test_the_feed_says_that_it_stands_and_then_every_change(store: SessionStore, clock: ManualClock) -> None:
    sessions = [new_session(clock.now()) for _ in range(3)]
    for session in sessions:
        await store.create(session, EHR)
    feed = store.changes()
    async with asyncio.timeout(10), contextlib.aclosing(feed):  # type: ignore[type-var]  # both stores give generators
        assert await anext(feed) == EVERYTHING
        await store.change(sessions[0].id, stepped_up, EHR)
        await store.revoke(sessions[1].id)
        assert await anext(feed) == SessionChange(session_id=sessions[0].id, kind="changed")
        assert await anext(feed) == SessionChange(session_id=sessions[1].id, kind="revoked")
        # One that ended by itself is told of when somebody notices.
        clock.advance(IDLE + 6)
        assert await store.list(clock.now()) == []
        ended = {(await anext(feed)).session_id for _ in range(2)}
        assert ended == {sessions[0].id, sessions[2].id}


async def test_several_followers_each_hear_everything(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    await store.create(session, EHR)
    ready = [asyncio.Event() for _ in range(3)]

    async def follow(number: int) -> str:
        async with contextlib.aclosing(store.changes()) as feed:  # type: ignore[type-var]  # both stores give generators
            async for change in feed:
                if change == EVERYTHING:
                    ready[number].set()
                else:
                    return str(change.session_id)
        return ""

    tasks = [asyncio.create_task(follow(number)) for number in range(3)]
    async with asyncio.timeout(10):
        for event in ready:
            await event.wait()
        await store.revoke(session.id)
        assert await asyncio.gather(*tasks) == [session.id] * 3


async def test_a_closed_store_answers_nothing_and_ends_its_feeds(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    token = await store.create(session, EHR)
    feed = store.changes()
    async with asyncio.timeout(10):
        assert await anext(feed) == EVERYTHING
        await store.close()
        assert [change async for change in feed] == []
        calls = (
            lambda: store.resolve(token.reveal(), EHR, clock.now()),
            lambda: store.create(new_session(clock.now()), EHR),
            lambda: store.attach(session.id, EHR),
            lambda: store.change(session.id, stepped_up, EHR),
            lambda: store.get(session.id, clock.now()),
            lambda: store.revoke(session.id),
            lambda: store.revoke_subject("usr_sato"),
            lambda: store.withdraw_proofing("usr_sato", any_proofing),
            lambda: store.list(clock.now()),
            lambda: anext(store.changes()),
        )
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await call()
    await store.close()

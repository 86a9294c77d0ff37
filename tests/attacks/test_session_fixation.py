"""Sessions that an attacker chose, kept or brought back (attacks.md 5): fixation, sign-out that signs nobody out, replays."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.domain.identity import Session
from gateway.kernel.clock import ManualClock
from gateway.ports import SessionStore
from gateway.sessions.rules import GRACE_SECONDS
from tests.support.redis import RedisServer
from tests.support.sessions import ABSOLUTE, BACKENDS, EHR, IMAGING, PORTAL, alive, dead, new_session, opened, stepped_up


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, clock: ManualClock, redis_server: RedisServer) -> AsyncIterator[SessionStore]:
    async with opened(request.param, clock, redis_server) as store:
        yield store


async def test_nobody_can_choose_a_token(store: SessionStore, clock: ManualClock) -> None:
    """Fixation: every token is made by the store; signing in twice with the same session data gives unrelated ones."""
    session = new_session(clock.now())
    first = await store.create(session, EHR)
    second = await store.create(msgspec.structs.replace(session, id="ses_other"), EHR)
    assert first != second
    assert session.id not in first.reveal()


async def test_a_token_planted_before_a_step_up_does_not_rise_with_it(store: SessionStore, clock: ManualClock) -> None:
    """CVE-2024-28197: whoever knows a token from before the second factor must not hold one from after it."""
    session = new_session(clock.now())
    known_portal = await store.create(session, PORTAL)
    known_ehr = await store.attach(session.id, EHR)
    await store.change(session.id, stepped_up, PORTAL)
    assert await dead(store, known_portal, PORTAL, clock.now()) == "unknown"
    handle = await alive(store, known_ehr, EHR, clock.now())
    assert "fido2" not in [event.kind for event in handle.events()]
    # As soon as the person's browser comes back to that host, the planted one is worth nothing at all.
    await store.attach(session.id, EHR)
    assert await dead(store, known_ehr, EHR, clock.now()) == "unknown"


async def test_grace_does_not_outlive_a_step_up(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    tokens = [await store.create(session, PORTAL), *[await store.attach(session.id, PORTAL) for _ in range(5)]]
    await store.change(session.id, stepped_up, PORTAL)
    for token in tokens:
        assert await dead(store, token, PORTAL, clock.now()) == "unknown"


async def test_after_sign_out_no_token_works_not_even_one_in_grace(store: SessionStore, clock: ManualClock) -> None:
    """CVE-2024-21492, CVE-2026-34454: on a shared ward terminal the page said goodbye and the old cookie still worked."""
    session = new_session(clock.now())
    tokens = [(await store.create(session, EHR), EHR), (await store.attach(session.id, EHR), EHR)]
    tokens.append((await store.attach(session.id, IMAGING), IMAGING))
    await store.revoke(session.id)
    for moment in (0, 1, GRACE_SECONDS, ABSOLUTE):
        clock.advance(moment)
        for token, host in tokens:
            await dead(store, token, host, clock.now())


async def test_a_sign_out_that_races_with_a_step_up_wins(store: SessionStore, clock: ManualClock) -> None:
    for _ in range(20):
        session = new_session(clock.now())
        await store.create(session, PORTAL)
        results = await asyncio.gather(
            store.change(session.id, stepped_up, PORTAL), store.attach(session.id, EHR), store.revoke(session.id)
        )
        assert results[2] is True
        assert await store.get(session.id, clock.now()) is None
        for token, host in ((results[0], PORTAL), (results[1], EHR)):
            if token is not None:
                assert await dead(store, token, host, clock.now()) in {"revoked", "unknown"}


async def test_a_session_is_never_handed_to_another_person(store: SessionStore, clock: ManualClock) -> None:
    """The step-up page is completed by a colleague: their identity must not slip into this session."""

    def colleague(old: Session) -> Session:
        other = new_session(clock.now(), subject="usr_suzuki").identity
        return msgspec.structs.replace(stepped_up(old), identity=other)

    session = new_session(clock.now())
    token = await store.create(session, PORTAL)
    with pytest.raises(ValueError, match="another person"):
        await store.change(session.id, colleague, PORTAL)
    assert (await alive(store, token, PORTAL, clock.now())).session.identity.subject == "usr_sato"


async def test_ending_one_persons_sessions_does_not_depend_on_how_the_subject_is_spelt(
    store: SessionStore, clock: ManualClock
) -> None:
    """CVE-2026-71326: keys put together without a delimiter. Subjects that contain each other are different people."""
    subjects = ["usr_a", "usr_a:usr_b", "usr_b", "usr_*", "usr_a ", "USR_A", "usr_a\n", "ユーザー"]
    tokens = {subject: await store.create(new_session(clock.now(), subject=subject), EHR) for subject in subjects}
    assert await store.revoke_subject("usr_a") == 1
    assert await store.revoke_subject("usr_*") == 1
    for subject, token in tokens.items():
        if subject in {"usr_a", "usr_*"}:
            assert await dead(store, token, EHR, clock.now()) == "revoked"
        else:
            await alive(store, token, EHR, clock.now())

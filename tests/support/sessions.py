"""Both session backends, as the contract suites and attack tests use them, and a plausible session."""

import contextlib
import uuid
from collections.abc import AsyncIterator

import msgspec

from gateway.domain.identity import AuthEvent, Handle, Identity, Proofing, Session
from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from gateway.ports import Missing, MissingWhy, SessionStore
from gateway.sessions.memory import MemorySessions
from gateway.sessions.redis import RedisSessions
from gateway.sessions.redis_link import RedisLink
from tests.support.redis import RedisServer

BACKENDS = ("memory", "redis")
KEY = Secret("a test key of more than thirty-two characters")
EHR, IMAGING, PORTAL = "ehr.localhost:8080", "imaging.localhost:8080", "portal.localhost:8080"
IDLE, ABSOLUTE = 900, 8 * 3600


def new_session(
    now: float, *, subject: str = "usr_sato", idle: int = IDLE, absolute: int = ABSOLUTE, generation: int = 1
) -> Session:
    """Dr. Sato has just signed in with password and TOTP."""
    at = int(now)
    return Session(
        id=new_id("ses"),
        identity=Identity(subject=subject, login="dr.sato", name="佐藤 花子", roles=("physician",), organization="hospital"),
        events=(AuthEvent(kind="pwd", at=at, generation=1), AuthEvent(kind="otp", at=at, generation=1)),
        generation=generation,
        created_at=at,
        last_seen_at=at,
        expires_at=at + absolute,
        idle_seconds=idle,
        id_token="header.eyJzdWIiOiJ1c3Jfc2F0byJ9.signature",
        address="192.0.2.10",
        user_agent="Mozilla/5.0",
    )


def stepped_up(old: Session) -> Session:
    """Return the session after a touch of the security key: one generation on."""
    generation = old.generation + 1
    event = AuthEvent(kind="fido2", at=old.created_at, phishing_resistant=True, generation=generation)
    return msgspec.structs.replace(old, events=(*old.events, event), generation=generation)


def proofed(session: Session, transaction: str = "t1") -> Session:
    """Return the session as that of a person who was proofed."""
    proofing = Proofing(
        level=3, method="jpki_sign", verified_at=session.created_at, expires_at=None, verifier="pf", transaction=transaction
    )
    identity = msgspec.structs.replace(session.identity, proofing=proofing, bound_kinds=("fido2",))
    return msgspec.structs.replace(session, identity=identity, proofing_generation=session.generation)


def any_proofing(_: Proofing) -> bool:
    """Whichever it is."""
    return True


def namespace() -> str:
    """Return a namespace that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


@contextlib.asynccontextmanager
async def opened(backend: str, clock: Clock, server: RedisServer) -> AsyncIterator[SessionStore]:
    """Open a store of the named backend with nothing in it."""
    store: SessionStore
    if backend == "redis":
        # Two busy cores can hold a reply back for longer than production would wait.
        store = RedisSessions(RedisLink(Secret(server.url), namespace=namespace(), time_limit_seconds=10), key=KEY, clock=clock)
    else:
        store = MemorySessions(clock=clock)
    try:
        yield store
    finally:
        await store.close()


async def alive(store: SessionStore, token: Secret | None, host: str, now: float) -> Handle:
    """Resolve a token that must stand for a live session."""
    assert token is not None
    found = await store.resolve(token.reveal(), host, now)
    assert isinstance(found, Handle), found
    return found


async def dead(store: SessionStore, token: Secret | None, host: str, now: float) -> MissingWhy:
    """Resolve a token that must not, and say why."""
    assert token is not None
    found = await store.resolve(token.reveal(), host, now)
    assert isinstance(found, Missing), found
    return found.why

"""Session tokens that are not quite the token: forged, cut, altered, huge, or another host's (attacks.md 5, 4)."""

import base64
import time
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.domain.identity import Handle
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_token
from gateway.kernel.secret import Secret, hash_token
from gateway.ports import Missing, SessionStore
from gateway.sessions.redis import RedisSessions
from gateway.sessions.redis_link import RedisLink
from tests.support.redis import RedisServer
from tests.support.sessions import BACKENDS, EHR, IDLE, IMAGING, KEY, PORTAL, alive, dead, new_session, opened

UNKNOWN = Missing(why="unknown")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, clock: ManualClock, redis_server: RedisServer) -> AsyncIterator[SessionStore]:
    async with opened(request.param, clock, redis_server) as store:
        yield store


def _next_last_character(token: str) -> str:
    """Decode to the same 32 bytes with another last character: base64url of 256 bits has two spare bits."""
    raw = base64.urlsafe_b64decode(token + "=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for character in alphabet:
        other = token[:-1] + character
        if other != token and base64.urlsafe_b64decode(other + "=") == raw:
            return other
    raise AssertionError("no second spelling")


ALTERED: dict[str, Callable[[str], str]] = {
    "empty": lambda token: "",
    "one character cut off (CVE-2026-27840)": lambda token: token[:-1],
    "half": lambda token: token[: len(token) // 2],
    "first character only": lambda token: token[:1],
    "cut at the front": lambda token: token[1:],
    "one character more": lambda token: token + "A",
    "padded": lambda token: token + "=",
    "line feed after": lambda token: token + "\n",
    "space before": lambda token: " " + token,
    "quoted": lambda token: f'"{token}"',
    "NUL after": lambda token: token + "\x00",
    "case swapped": str.swapcase,
    "reversed": lambda token: token[::-1],
    "one bit of the last character": _next_last_character,
    "first character another": lambda token: ("B" if token[0] == "A" else "A") + token[1:],
    "full-width first character": lambda token: "Ａ" + token[1:],
    "surrogate": lambda token: token[:-1] + "\udcff",
    "twice": lambda token: token * 2,
    "percent encoded": lambda token: "".join(f"%{ord(character):02X}" for character in token),
    "its own hash": hash_token,
    "its own hash, cut to length": lambda token: hash_token(token)[:43],
    "another random token": lambda token: new_token(),
    "glob": lambda token: "*",
    "a Redis key": lambda token: f"token:{hash_token(token)}",
}


@pytest.mark.parametrize("name", ALTERED)
async def test_an_altered_token_is_unknown_and_the_true_one_still_works(
    store: SessionStore, clock: ManualClock, name: str
) -> None:
    token = await store.create(new_session(clock.now()), EHR)
    assert await store.resolve(ALTERED[name](token.reveal()), EHR, clock.now()) == UNKNOWN
    await alive(store, token, EHR, clock.now())


async def test_every_prefix_of_a_token_is_unknown(store: SessionStore, clock: ManualClock) -> None:
    token = (await store.create(new_session(clock.now()), EHR)).reveal()
    for length in range(len(token)):
        assert await store.resolve(token[:length], EHR, clock.now()) == UNKNOWN


async def test_a_huge_cookie_put_together_from_chunks_costs_nothing(store: SessionStore, clock: ManualClock) -> None:
    """CVE-2024-24814: a client that says it has a million chunks."""
    token = (await store.create(new_session(clock.now()), EHR)).reveal()
    huge = token * 250_000
    began = time.perf_counter()
    for _ in range(200):
        assert await store.resolve(huge, EHR, clock.now()) == UNKNOWN
    # Hashing 10 MB two hundred times would take several seconds.
    assert time.perf_counter() - began < 1


async def test_a_malformed_token_is_not_even_asked_for() -> None:
    """It must not be a way to keep Redis busy, nor to tell from the answer whether it is up."""
    link = RedisLink(Secret("redis://127.0.0.1:1/0"))
    store = RedisSessions(link, key=KEY, clock=ManualClock())
    for token in ("", "A" * 42, "A" * 44, "A" * 42 + "=", "é" * 43, "A" * 10_000_000):
        assert await store.resolve(token, EHR, 0) == UNKNOWN
    await store.close()


@pytest.mark.parametrize(
    "host",
    [
        IMAGING,
        PORTAL,
        "EHR.localhost:8080",
        "ehr.localhost",
        "ehr.localhost.:8080",
        "ehr.localhost:8080 ",
        "",
        "*",
        "xehr.localhost:8080",
    ],
)
async def test_a_token_is_good_for_its_own_host_only(store: SessionStore, clock: ManualClock, host: str) -> None:
    """An upstream that reads the cookie of its own host must not be able to use it at another."""
    token = await store.create(new_session(clock.now()), EHR)
    assert await store.resolve(token.reveal(), host, clock.now()) == UNKNOWN
    assert isinstance(await store.resolve(token.reveal(), EHR, clock.now()), Handle)


async def test_a_token_shown_to_the_wrong_host_keeps_no_session_awake(store: SessionStore, clock: ManualClock) -> None:
    token = await store.create(new_session(clock.now()), EHR)
    for _ in range(10):
        clock.advance(IDLE / 10)
        assert await store.resolve(token.reveal(), IMAGING, clock.now()) == UNKNOWN
    clock.advance(5)
    assert await dead(store, token, EHR, clock.now()) == "idle"


async def test_why_a_session_ended_is_told_only_to_the_holder_of_its_token(store: SessionStore, clock: ManualClock) -> None:
    session = new_session(clock.now())
    token = await store.create(session, EHR)
    await store.revoke(session.id)
    assert await dead(store, token, EHR, clock.now()) == "revoked"
    assert await dead(store, token, IMAGING, clock.now()) == "unknown"
    assert await store.resolve(session.id, EHR, clock.now()) == UNKNOWN
    assert await store.resolve(token.reveal()[:-1], EHR, clock.now()) == UNKNOWN

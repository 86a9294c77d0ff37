"""Things that may be used once, in memory or in Redis: sign-in states, flows, handoff codes, challenges."""

import logging
import re
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.kernel.clock import Clock
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.ids import new_token
from gateway.kernel.secret import hash_token
from gateway.sessions.redis_link import WHERE, RedisLink
from gateway.sessions.rules import well_formed_token

MAX_VALUE: Final = 16 * 1024
MAX_TTL_SECONDS: Final = 86_400
MEMORY_LIMIT: Final = 64 * 1024 * 1024
_OVERHEAD: Final = 512
"""What an entry costs beside its value, roughly."""
_KIND: Final = re.compile(r"[a-z0-9_.-]{1,64}")
_NONCE: Final = 12
_WARN_SECONDS: Final = 60.0

logger = logging.getLogger(__name__)


class MemoryOneTime:
    """`OneTime` for one process. When `limit_bytes` are in use the oldest make room: anybody can begin a sign-in, and who begins
    very many must not keep all others out. They would have to fill it anew within the seconds that a sign-in takes.
    """

    def __init__(self, *, clock: Clock, limit_bytes: int = MEMORY_LIMIT) -> None:
        self._clock = clock
        self._limit = limit_bytes
        self._used = 0
        self._warned = -_WARN_SECONDS
        self._entries: dict[str, tuple[str, bytes, float]] = {}

    async def put(self, kind: str, value: bytes, ttl_seconds: int) -> str:
        """Store `value` under a new name; ValueError when too large or long-lived."""
        _check(kind, value, ttl_seconds)
        cost = len(value) + _OVERHEAD
        if self._used + cost > self._limit:
            self._sweep()
        while self._entries and self._used + cost > self._limit:
            self._forget(next(iter(self._entries)))
            self._warn()
        name = new_token()
        self._entries[hash_token(name)] = (kind, value, self._clock.monotonic() + ttl_seconds)
        self._used += cost
        return name

    async def take(self, kind: str, name: str) -> bytes | None:
        """Return the value and forget it. No other task can run between the two."""
        value = self._live(kind, name)
        if value is not None:
            self._forget(hash_token(name))
        return value

    async def peek(self, kind: str, name: str) -> bytes | None:
        """Return the value and keep it."""
        return self._live(kind, name)

    def _live(self, kind: str, name: str) -> bytes | None:
        key = hash_token(name) if well_formed_token(name) else ""
        entry = self._entries.get(key)
        if entry is None or entry[0] != kind:
            return None
        if self._clock.monotonic() >= entry[2]:
            self._forget(key)
            return None
        return entry[1]

    def _forget(self, key: str) -> None:
        _, value, _ = self._entries.pop(key)
        self._used -= len(value) + _OVERHEAD

    def _warn(self) -> None:
        ticks = self._clock.monotonic()
        if ticks - self._warned >= _WARN_SECONDS:
            self._warned = ticks
            logger.warning(
                "too many sign-ins are in progress, the oldest are dropped: look for a client that begins them in a loop"
            )

    def _sweep(self) -> None:
        ticks = self._clock.monotonic()
        for key in [key for key, (_, _, end) in self._entries.items() if ticks >= end]:
            self._forget(key)


class RedisOneTime:
    """`OneTime` in Redis, which expires the entries. Redis never sees a name: keys are its SHA-256, values are encrypted with a
    key derived from it (HKDF, AES-256-GCM), so a reader of Redis can neither use nor read what is in progress.
    """

    def __init__(self, link: RedisLink) -> None:
        """`link` is the session store's, which also closes it."""
        self._link = link

    async def put(self, kind: str, value: bytes, ttl_seconds: int) -> str:
        """Store `value` under a new name; ValueError when too large or long-lived."""
        _check(kind, value, ttl_seconds)
        name = new_token()
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + _cipher(kind, name).encrypt(nonce, value, None)
        await self._link.command("SET", self._key(kind, name), sealed, "NX", "PX", ttl_seconds * 1000)
        return name

    async def take(self, kind: str, name: str) -> bytes | None:
        """Return the value and forget it: one GETDEL, so one of many takers gets it."""
        return await self._fetch("GETDEL", kind, name)

    async def peek(self, kind: str, name: str) -> bytes | None:
        """Return the value and keep it."""
        return await self._fetch("GET", kind, name)

    async def _fetch(self, command: str, kind: str, name: str) -> bytes | None:
        if not well_formed_token(name) or not _KIND.fullmatch(kind):
            return None
        sealed: bytes | None = await self._link.command(command, self._key(kind, name))
        if sealed is None:
            return None
        try:
            return _cipher(kind, name).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (InvalidTag, ValueError) as error:
            raise StoreUnavailable(
                f"a stored {kind} is not what the gateway wrote",
                where=WHERE,
                todo="Somebody else writes to this Redis: find out who",
            ) from error

    def _key(self, kind: str, name: str) -> str:
        return f"{self._link.prefix}once:{kind}:{hash_token(name)}"


def _cipher(kind: str, name: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"zt-gateway one-time 1:" + kind.encode()).derive(name.encode()))


def _check(kind: str, value: bytes, ttl_seconds: int) -> None:
    if not _KIND.fullmatch(kind):
        raise ValueError("kind: 1 to 64 of a-z, 0-9, `_`, `.`, `-`")
    if len(value) > MAX_VALUE:
        raise ValueError(f"a one-time value holds {MAX_VALUE} bytes at most, not {len(value)}")
    if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise ValueError(f"ttl_seconds: 1 to {MAX_TTL_SECONDS}, not {ttl_seconds}")

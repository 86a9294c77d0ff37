"""Sessions in the memory of one process: they end when it does, and other processes don't see them."""

import asyncio
import builtins
import hashlib
from collections.abc import AsyncIterator, Callable
from sys import intern
from typing import Final, Literal

import msgspec

from gateway.domain.identity import Handle, Proofing, Session
from gateway.kernel.clock import Clock
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.ids import new_token
from gateway.kernel.secret import Secret
from gateway.ports import Missing, MissingWhy, SessionChange
from gateway.sessions.rules import (
    GRACE_SECONDS,
    MAX_GRACE_TOKENS,
    REMEMBER_SECONDS,
    check_change,
    check_host,
    check_new,
    well_formed_token,
    without_emergency,
    without_proofing,
)

SWEEP_SECONDS: Final = 60.0
FEED_LENGTH: Final = 1024
"""Changes that a slow follower may leave unread before they collapse into one `*`."""
_EVERYTHING: Final = SessionChange(session_id="*", kind="changed")
_UNKNOWN: Final = Missing(why="unknown")


class _Entry(msgspec.Struct, gc=False):
    # gc=False, and tuples rather than lists: see `gateway.domain.identity`.
    session: Session
    seen: float
    seen_ticks: float
    end_ticks: float
    """Monotonic absolute limit: a wall clock that is set back must not lengthen a session."""
    ended: MissingWhy | None = None
    tokens: tuple[bytes, ...] = ()


class _Token(msgspec.Struct, gc=False):
    session_id: str
    host: str
    generation: int
    grace_ticks: float | None = None
    """Monotonic end of grace, once replaced."""


class MemorySessions:
    """`SessionStore` for one process. Limits hold by wall clock and by monotonic clock, whichever ends a session first."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._tokens: dict[bytes, _Token] = {}
        self._feeds: set[asyncio.Queue[SessionChange | None]] = set()
        self._next_sweep = clock.monotonic() + SWEEP_SECONDS
        self._closed = False

    async def create(self, session: Session, host: str) -> Secret:
        """Store a new session and return the token for `host`. ValueError when it can't be one or its id is taken."""
        self._open()
        now, ticks = self._clock.now(), self._clock.monotonic()
        check_new(session, host, now)
        self._sweep(ticks)
        if session.id in self._entries:
            raise ValueError(f"session {session.id} exists already")
        entry = _Entry(session, now, ticks, ticks + session.expires_at - now)
        entry.session = msgspec.structs.replace(_shared(session), last_seen_at=int(now))
        self._entries[session.id] = entry
        return self._issue(entry, host)

    async def attach(self, session_id: str, host: str) -> Secret | None:
        """Issue a token for another host; the host's present one stays valid for `GRACE_SECONDS`, older generations die."""
        self._open()
        check_host(host)
        entry = self._living(session_id, self._clock.now())
        if entry is None:
            return None
        ticks = self._clock.monotonic()
        graced: list[tuple[float, bytes]] = []
        for name in [name for name in entry.tokens if self._tokens[name].host == host]:
            token = self._tokens[name]
            if token.generation < entry.session.generation or (token.grace_ticks is not None and ticks >= token.grace_ticks):
                self._drop(entry, name)
                continue
            if token.grace_ticks is None:
                token.grace_ticks = ticks + GRACE_SECONDS
            graced.append((token.grace_ticks, name))
        for _, name in sorted(graced, reverse=True)[MAX_GRACE_TOKENS:]:
            self._drop(entry, name)
        return self._issue(entry, host)

    async def resolve(self, token: str, host: str, now: float) -> Handle | Missing:
        """Return what the token stands for, and count it as activity."""
        self._open()
        if not well_formed_token(token):
            return _UNKNOWN
        found = self._tokens.get(_digest(token))
        ticks = self._clock.monotonic()
        if found is None or found.host != host or (found.grace_ticks is not None and ticks >= found.grace_ticks):
            return _UNKNOWN
        entry = self._entries[found.session_id]
        why = self._ended(entry, now)
        if why is not None:
            return Missing(why=why)
        entry.seen, entry.seen_ticks = max(entry.seen, now), ticks
        if int(entry.seen) != entry.session.last_seen_at:
            entry.session = msgspec.structs.replace(entry.session, last_seen_at=int(entry.seen))
        return Handle(session=entry.session, host=host, generation=found.generation)

    async def change(self, session_id: str, change: Callable[[Session], Session], host: str) -> Secret | None:
        """Apply `change` and return a new token for `host`; all older ones of that host die at once."""
        self._open()
        check_host(host)
        now = self._clock.now()
        entry = self._living(session_id, now)
        if entry is None:
            return None
        new = check_change(entry.session, change(entry.session))
        entry.session = msgspec.structs.replace(_shared(new), last_seen_at=int(entry.seen))
        entry.end_ticks = min(entry.end_ticks, self._clock.monotonic() + new.expires_at - now)
        for name in [name for name in entry.tokens if self._tokens[name].host == host]:
            self._drop(entry, name)
        token = self._issue(entry, host)
        self._announce(session_id, "changed")
        return token

    async def get(self, session_id: str, now: float) -> Session | None:
        """Return a live session by id, without counting it as activity."""
        self._open()
        entry = self._living(session_id, now)
        return entry.session if entry is not None else None

    async def revoke(self, session_id: str) -> bool:
        """End a session and all its handles. True when this call ended it."""
        self._open()
        entry = self._living(session_id, self._clock.now())
        if entry is None:
            return False
        self._end(entry, "revoked")
        return True

    async def revoke_subject(self, subject: str) -> int:
        """End all sessions of a person; how many."""
        self._open()
        now = self._clock.now()
        mine = [entry for entry in self._entries.values() if entry.session.identity.subject == subject]
        living = [entry for entry in mine if self._ended(entry, now) is None]
        for entry in living:
            self._end(entry, "revoked")
        return len(living)

    async def withdraw_proofing(self, subject: str, which: Callable[[Proofing], bool]) -> int:
        """Take the identity proofing out of the sessions of a person that hold such a one; how many."""
        self._open()
        now = self._clock.now()
        mine = [entry for entry in self._entries.values() if entry.session.identity.subject == subject]
        count = 0
        for entry in mine:
            less = without_proofing(entry.session, which) if self._ended(entry, now) is None else None
            if less is not None:
                entry.session = less
                self._announce(less.id, "changed")
                count += 1
        return count

    async def withdraw_emergency(self, session_id: str, emergency_id: str) -> bool:
        """Take a break-glass out of a session."""
        self._open()
        entry = self._living(session_id, self._clock.now())
        less = without_emergency(entry.session, emergency_id) if entry is not None else None
        if entry is None or less is None:
            return False
        entry.session = less
        self._announce(session_id, "changed")
        return True

    async def list(self, now: float) -> builtins.list[Session]:
        """Return every live session, newest first."""
        self._open()
        living = [entry.session for entry in builtins.list(self._entries.values()) if self._ended(entry, now) is None]
        return sorted(living, key=lambda session: (-session.created_at, session.id))

    async def changes(self) -> AsyncIterator[SessionChange]:
        """Yield `*` once the feed stands, then every change."""
        self._open()
        feed: asyncio.Queue[SessionChange | None] = asyncio.Queue(FEED_LENGTH)
        self._feeds.add(feed)
        try:
            yield _EVERYTHING
            while (change := await feed.get()) is not None:
                yield change
        finally:
            self._feeds.discard(feed)

    async def close(self) -> None:
        """Forget everything, and end the feeds."""
        self._closed = True
        self._entries.clear()
        self._tokens.clear()
        for feed in self._feeds:
            _empty(feed)
            feed.put_nowait(None)

    def _open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the session store is closed", where="session_store")

    def _living(self, session_id: str, now: float) -> _Entry | None:
        entry = self._entries.get(session_id)
        return entry if entry is not None and self._ended(entry, now) is None else None

    def _ended(self, entry: _Entry, now: float) -> MissingWhy | None:
        """Say why a session has ended, and make it stay ended: a clock that goes back later does not revive it."""
        if entry.ended is None:
            ticks = self._clock.monotonic()
            idle = entry.session.idle_seconds
            if now >= entry.session.expires_at or ticks >= entry.end_ticks:
                self._end(entry, "expired")
            elif now - entry.seen >= idle or ticks - entry.seen_ticks >= idle:
                self._end(entry, "idle")
        return entry.ended

    def _end(self, entry: _Entry, why: MissingWhy) -> None:
        entry.ended = why
        entry.session = msgspec.structs.replace(entry.session, id_token="", events=())
        self._announce(entry.session.id, "revoked")

    def _issue(self, entry: _Entry, host: str) -> Secret:
        token = new_token()
        name = _digest(token)
        self._tokens[name] = _Token(entry.session.id, host, entry.session.generation)
        entry.tokens += (name,)
        return Secret(token)

    def _drop(self, entry: _Entry, name: bytes) -> None:
        del self._tokens[name]
        entry.tokens = tuple(other for other in entry.tokens if other != name)

    def _sweep(self, ticks: float) -> None:
        if ticks < self._next_sweep:
            return
        self._next_sweep = ticks + SWEEP_SECONDS
        now = self._clock.now()
        for session_id, entry in builtins.list(self._entries.items()):
            self._ended(entry, now)
            if ticks >= entry.end_ticks + REMEMBER_SECONDS:
                for name in entry.tokens:
                    del self._tokens[name]
                del self._entries[session_id]

    def _announce(self, session_id: str, kind: Literal["revoked", "changed"]) -> None:
        for feed in self._feeds:
            if feed.full():
                _empty(feed)
                feed.put_nowait(_EVERYTHING)
            feed.put_nowait(SessionChange(session_id=session_id, kind=kind))


def _digest(token: str) -> bytes:
    """A token as it is kept. Only for well-formed ones."""
    return hashlib.sha256(token.encode("ascii")).digest()


def _shared(session: Session) -> Session:
    """The same session, with one copy in memory of the texts that many sessions have: roles, organisations, devices, browsers."""
    identity = session.identity
    proofing = identity.proofing
    if proofing is not None:
        proofing = msgspec.structs.replace(proofing, method=intern(proofing.method), verifier=intern(proofing.verifier))
    return msgspec.structs.replace(
        session,
        identity=msgspec.structs.replace(
            identity,
            roles=tuple(map(intern, identity.roles)),
            organization=intern(identity.organization),
            department=intern(identity.department),
            proofing=proofing,
        ),
        device_id=intern(session.device_id) if session.device_id is not None else None,
        address=intern(session.address),
        user_agent=intern(session.user_agent),
    )


def _empty(feed: asyncio.Queue[SessionChange | None]) -> None:
    while not feed.empty():
        feed.get_nowait()

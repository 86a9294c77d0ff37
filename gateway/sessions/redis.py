"""Sessions in Redis: many gateway processes share them, and a restart of any does not lose them.

Each call is one atomic script (`redis_scripts`); `resolve` and `get` share round trips (`round_trips`). Bodies are sealed
(`seal`), tokens are stored as SHA-256 only.

Limits: one primary, with or without replicas (no Cluster). Replication and `appendfsync everysec` are asynchronous, so a
failover or a power cut can undo the last second, a revocation included (`RedisLink.check` says so).
"""

import asyncio
import builtins
import contextlib
import logging
import random
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec

from gateway.domain.identity import Handle, Proofing, Session
from gateway.kernel.clock import Clock
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.ids import new_token
from gateway.kernel.recent import Recent
from gateway.kernel.secret import Secret, hash_token
from gateway.ports import Missing, SessionChange
from gateway.sessions.redis_link import WHERE, RedisLink
from gateway.sessions.redis_scripts import ATTACH, CHANGE, CREATE, LESSEN, OF_SUBJECT, READ, RESOLVE, REVOKE, REVOKE_SUBJECT
from gateway.sessions.round_trips import RoundTrips
from gateway.sessions.rules import (
    check_change,
    check_host,
    check_new,
    well_formed_id,
    well_formed_token,
    without_emergency,
    without_proofing,
)
from gateway.sessions.seal import Seal, tampered

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 60
"""Tries of one change against changes of other nodes, with random pauses between; then StoreUnavailable."""
PAUSE_SECONDS: Final = 0.02
RECONNECT_SECONDS: Final = 0.25
REMEMBERED: Final = 2_000
"""Records from Redis that are not decrypted and verified again while they are byte for byte the same. So what they hold stays in
this process's memory for a while after a session has ended; whether it has is asked each time."""
_CHUNK: Final = 200
Row = Sequence[Any]
_EVERYTHING: Final = SessionChange(session_id="*", kind="changed")
_UNKNOWN: Final = Missing(why="unknown")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Session).decode


class RedisSessions:
    """`SessionStore` on Redis. `key` seals what is stored; all nodes share it, and a new key signs everybody out."""

    def __init__(self, link: RedisLink, *, key: Secret, clock: Clock) -> None:
        """The store owns `link`: `close` closes it."""
        self._link = link
        self._seal = Seal(key)
        self._clock = clock
        self._resolving: RoundTrips[tuple[str, str], Row] = RoundTrips(self._ask_tokens)
        self._reading: RoundTrips[str, Row] = RoundTrips(self._ask_sessions)
        self._verified: Recent[tuple[str | bytes | None, ...], Handle] = Recent(REMEMBERED)
        self._read: Recent[tuple[str | bytes | None, ...], Session] = Recent(REMEMBERED)
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def create(self, session: Session, host: str) -> Secret:
        """Store a new session and return the token for `host`. ValueError when it can't be one or its id is taken."""
        now = self._clock.now()
        check_new(session, host, now)
        token = new_token()
        created = await self._link.run(
            CREATE,
            _milliseconds(now),
            session.id,
            hash_token(session.identity.subject),
            *self._stored(session),
            *self._handle(session, token, host),
        )
        if not created:
            raise ValueError(f"session {session.id} exists already")
        return Secret(token)

    async def attach(self, session_id: str, host: str) -> Secret | None:
        """Issue a token for another host; the host's present one stays valid for `rules.GRACE_SECONDS`, older generations die."""
        check_host(host)
        for _ in range(ATTEMPTS):
            now = self._clock.now()
            session = await self.get(session_id, now)
            if session is None:
                return None
            token = new_token()
            done = await self._link.run(
                ATTACH, _milliseconds(now), session_id, session.generation, *self._handle(session, token, host)
            )
            if done == b"ok":
                return Secret(token)
            if done == b"gone":
                return None
            await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311  a pause needs no secret randomness
        raise _contended(session_id)

    async def resolve(self, token: str, host: str, now: float) -> Handle | Missing:
        """Return what the token stands for, and count it as activity. One round trip, shared with others that ask meanwhile."""
        if not well_formed_token(token):
            return _UNKNOWN
        name = hash_token(token)
        reply = await self._resolving.ask((name, host), _milliseconds(now))
        answer = reply[0]
        if answer != b"alive":
            return _missing(answer)
        # Everything but when it was last seen: what was verified once is not verified again.
        known = (name, host, *reply[1:6])
        found = self._verified.get(known)
        if found is None:
            session_id, generation = reply[1].decode("utf-8", "replace"), _number(reply[2])
            genuine = self._seal.verify(reply[3] or b"", name, session_id, host, str(generation))
            session = self._session(session_id, *reply[4:7])
            if genuine is None or session is None:
                return _UNKNOWN
            if not genuine or generation > session.generation:
                raise tampered(session_id)
            found = Handle(session=session, host=host, generation=generation)
            self._verified.put(known, found)
        seen = _seen(reply[6])
        if seen == found.session.last_seen_at:
            return found
        return Handle(session=msgspec.structs.replace(found.session, last_seen_at=seen), host=host, generation=found.generation)

    async def change(self, session_id: str, change: Callable[[Session], Session], host: str) -> Secret | None:
        """Apply `change` and return a new token for `host`; all older ones of that host die at once."""
        check_host(host)
        # Changes of one session queue here, so that only those of other nodes make it try again.
        async with self._locks.setdefault(session_id, asyncio.Lock()):
            for _ in range(ATTEMPTS):
                now = _milliseconds(self._clock.now())
                row = await self._ask_session(session_id, now)
                old = self._opened(session_id, row)
                if old is None:
                    return None
                new = check_change(old, change(old))
                token = new_token()
                done = await self._link.run(CHANGE, now, session_id, row[0], *self._stored(new), *self._handle(new, token, host))
                if done == b"ok":
                    return Secret(token)
                if done == b"gone":
                    return None
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311  a pause needs no secret randomness
        raise _contended(session_id)

    async def get(self, session_id: str, now: float) -> Session | None:
        """Return a live session by id, without counting it as activity."""
        return self._opened(session_id, await self._ask_session(session_id, _milliseconds(now)))

    async def revoke(self, session_id: str) -> bool:
        """End a session and all its handles. True when this call ended it."""
        if not well_formed_id(session_id):
            return False
        return bool(await self._link.run(REVOKE, _milliseconds(self._clock.now()), session_id))

    async def revoke_subject(self, subject: str) -> int:
        """End all sessions of a person, in one atomic step; how many."""
        return int(await self._link.run(REVOKE_SUBJECT, _milliseconds(self._clock.now()), hash_token(subject)))

    async def withdraw_proofing(self, subject: str, which: Callable[[Proofing], bool]) -> int:
        """Take the identity proofing out of the sessions of a person that hold such a one; how many."""
        ids = await self._link.run(OF_SUBJECT, _milliseconds(self._clock.now()), hash_token(subject))
        return sum([await self._lessen(name.decode(), lambda one: without_proofing(one, which)) for name in ids])

    async def withdraw_emergency(self, session_id: str, emergency_id: str) -> bool:
        """Take a break-glass out of a session."""
        if not well_formed_id(session_id):
            return False
        return await self._lessen(session_id, lambda session: without_emergency(session, emergency_id))

    async def _lessen(self, session_id: str, lessen: Callable[[Session], Session | None]) -> bool:
        # In turn with our own changes of this session; those of other nodes make it try again.
        async with self._locks.setdefault(session_id, asyncio.Lock()):
            for _ in range(ATTEMPTS):
                now = _milliseconds(self._clock.now())
                row = await self._ask_session(session_id, now)
                session = self._opened(session_id, row)
                less = lessen(session) if session is not None else None
                if less is None:
                    return False
                body = self._seal.seal(session_id, _encode(less))
                done = await self._link.run(LESSEN, now, session_id, row[0], body)
                if done != b"conflict":
                    return bool(done == b"ok")
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311  a pause needs no secret randomness
        raise _contended(session_id)

    async def list(self, now: float) -> builtins.list[Session]:
        """Return every live session, newest first. Sessions that begin or end meanwhile may or may not be in it."""
        ids = [name.decode() for name in await self._link.command("ZRANGE", f"{self._link.prefix}all", 0, -1)]
        living: builtins.list[Session] = []
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            rows = await self._ask_sessions([(session_id, _milliseconds(now)) for session_id in chunk])
            opened = (self._opened(session_id, row) for session_id, row in zip(chunk, rows, strict=True))
            living += [session for session in opened if session is not None]
        return sorted(living, key=lambda session: (-session.created_at, session.id))

    async def changes(self) -> AsyncIterator[SessionChange]:
        """Yield `*` once the feed stands, then every change of every node.

        When the feed breaks, yields `*` within a second, and once more when it stands again: what happened between is unknown.
        """
        channel = f"{self._link.prefix}changes"
        if self._link.closed:
            raise StoreUnavailable("the session store is closed", where=WHERE)
        told = False
        while not self._link.closed:
            try:
                async with contextlib.aclosing(self._link.messages(channel)) as messages:
                    async for payload in messages:
                        told = False
                        yield _parsed_change(payload)
            except StoreUnavailable as error:
                if not told:
                    logger.warning("the feed of session changes is interrupted: %s", error)
                    told = True
                    yield _EVERYTHING
                await asyncio.sleep(RECONNECT_SECONDS)

    async def close(self) -> None:
        """Close the connections, and end the feeds."""
        await self._link.close()

    # ------------------------------------------------------------------ what is stored

    def _stored(self, session: Session) -> tuple[int, int, int, bytes]:
        """Limits in the clear for the scripts, and the sealed body."""
        body = self._seal.seal(session.id, _encode(session))
        return session.expires_at * 1000, session.idle_seconds * 1000, session.generation, body

    def _handle(self, session: Session, token: str, host: str) -> tuple[str, str, bytes]:
        name = hash_token(token)
        return name, host, self._seal.sign(name, session.id, host, str(session.generation))

    async def _ask_tokens(self, asked: Sequence[tuple[tuple[str, str], int]]) -> Sequence[Row]:
        rows: Sequence[Row] = await self._link.run(RESOLVE, *(part for (name, host), now in asked for part in (now, name, host)))
        return rows

    async def _ask_sessions(self, asked: Sequence[tuple[str, int]]) -> Sequence[Row]:
        rows: Sequence[Row] = await self._link.run(READ, *(part for session_id, now in asked for part in (now, session_id)))
        return rows

    async def _ask_session(self, session_id: str, now: int) -> Row:
        """Return one row of READ; an empty one for what can't be an id."""
        return await self._reading.ask(session_id, now) if well_formed_id(session_id) else ()

    def _opened(self, session_id: str, row: Row) -> Session | None:
        """What a row of READ holds; None when the session does not live."""
        if not row:
            return None
        known = (session_id, *row[:2])
        session = self._read.get(known)
        if session is None:
            session = self._session(session_id, *row)
            if session is None:
                return None
            self._read.put(known, session)
        seen = _seen(row[2])
        return session if seen == session.last_seen_at else msgspec.structs.replace(session, last_seen_at=seen)

    def _session(self, session_id: str, sealed: bytes | None, generation: bytes | None, seen: bytes | None) -> Session | None:
        """Open a stored session. None when a former key sealed it, or a version of the gateway that held other fields."""
        body = self._seal.unseal(session_id, sealed or b"")
        if body is None:
            return None
        try:
            session = _decode(body)
        except msgspec.DecodeError as error:
            logger.warning("session %s is from another version of the gateway and counts as unknown: %s", session_id, error)
            return None
        if session.id != session_id or session.generation != _number(generation):
            raise tampered(session_id)
        return msgspec.structs.replace(session, last_seen_at=_seen(seen))


def _milliseconds(now: float) -> int:
    return int(now * 1000)


def _number(field: bytes | None) -> int:
    """Return a number that a script gave; -1, which no session has, for anything else."""
    return int(field) if field is not None and field.isdigit() else -1


def _seen(field: bytes | None) -> int:
    """Return epoch seconds from a script's milliseconds."""
    return _number(field) // 1000


def _missing(answer: bytes) -> Missing:
    match answer:
        case b"idle":
            return Missing(why="idle")
        case b"expired":
            return Missing(why="expired")
        case b"revoked":
            return Missing(why="revoked")
        case _:
            return _UNKNOWN


def _parsed_change(payload: bytes) -> SessionChange:
    kind, _, session_id = payload.decode("utf-8", "replace").partition(" ")
    if not well_formed_id(session_id):
        return _EVERYTHING
    return SessionChange(session_id=session_id, kind="revoked" if kind == "revoked" else "changed")


def _contended(session_id: str) -> StoreUnavailable:
    return StoreUnavailable(f"session {session_id} is being changed too often at once", where=WHERE)

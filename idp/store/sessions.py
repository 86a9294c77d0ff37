"""Signed-in browsers, and the codes and access tokens that hang on them (they go with `ON DELETE CASCADE`)."""

import sqlite3
from collections.abc import Callable
from typing import Final

import msgspec

from gateway.kernel.ids import new_token
from gateway.kernel.secret import Secret, hash_token
from idp.model import AccessGrant, AuthEvent, CodeGrant, SsoSession
from idp.ports import CodeRefusal
from idp.store.database import Database


def _live(statement: str) -> str:
    # LIVE takes two values: `SqliteSessions.limits`. A deactivated person's session is not live, wherever it is asked for.
    return statement.replace("COLUMNS", "id, user_id, events, created_at, last_seen_at, address").replace(
        "LIVE", "last_seen_at > ? AND created_at > ? AND user_id IN (SELECT id FROM user WHERE active)"
    )


_GET: Final = _live("SELECT COLUMNS FROM session WHERE id=? AND LIVE")
_LIST: Final = _live("SELECT COLUMNS FROM session WHERE LIVE ORDER BY created_at DESC, rowid DESC")
_LOOK: Final = _live("SELECT COLUMNS FROM session WHERE token_hash=? AND LIVE")
_RESOLVE: Final = _live("UPDATE session SET last_seen_at=max(last_seen_at, ?) WHERE token_hash=? AND LIVE RETURNING COLUMNS")
_PUT_CODE: Final = _live(
    "INSERT INTO code (code_hash, client_id, session_id, body, expires_at) "
    "SELECT ?, ?, id, ?, ? FROM session WHERE id=? AND user_id=? AND LIVE"
)
_PUT_ACCESS: Final = _live(
    "INSERT INTO access_token (token_hash, code_hash, body, expires_at) SELECT ?, code_hash, ?, ? FROM code "
    "WHERE code_hash=? AND used=1 AND reused=0 AND session_id IN (SELECT id FROM session WHERE LIVE)"
)
_ACCESS: Final = _live(
    "SELECT body FROM access_token WHERE token_hash=? AND expires_at>? AND code_hash IN "
    "(SELECT code_hash FROM code WHERE session_id IN (SELECT id FROM session WHERE LIVE))"
)


class SqliteSessions:
    """`idp.ports.SessionStore`. A session lives `idle_seconds` after its last use, and `seconds` in all."""

    def __init__(self, database: Database, *, idle_seconds: int, seconds: int) -> None:
        self._database = database
        self._idle_seconds = idle_seconds
        self._seconds = seconds

    def limits(self, now: int) -> tuple[int, int]:
        """Return the times after which a live session must have been used, and been made."""
        return now - self._idle_seconds, now - self._seconds

    async def create(self, session: SsoSession) -> Secret:
        """Store a new session; return its token."""
        s, token = session, new_token()

        def work(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(
                    "INSERT INTO session (id, token_hash, user_id, events, created_at, last_seen_at, address) "
                    "VALUES (?,?,?,?,?,?,?)",
                    (s.id, hash_token(token), s.user_id, _events(s), s.created_at, s.last_seen_at, s.address),
                )
            except sqlite3.IntegrityError as error:
                raise ValueError(f"session {s.id} is taken, or there is no user {s.user_id}") from error

        await self._database.run(work)
        return Secret(token)

    async def get(self, session_id: str, now: int) -> SsoSession | None:
        """Return a live session by id."""
        return await self._database.run(lambda connection: self._get(connection, session_id, now))

    async def resolve(self, token: str, now: int) -> SsoSession | None:
        """Return the live session of a token, and count it as activity."""
        row = await self._database.run(
            lambda connection: connection.execute(_RESOLVE, (now, hash_token(token), *self.limits(now))).fetchone()
        )
        return _session(row) if row else None

    async def look(self, token: str, now: int) -> SsoSession | None:
        """Return the live session of a token, without counting it as activity."""
        row = await self._database.run(
            lambda connection: connection.execute(_LOOK, (hash_token(token), *self.limits(now))).fetchone()
        )
        return _session(row) if row else None

    async def rotate(self, session_id: str, change: Callable[[SsoSession], SsoSession], now: int) -> Secret | None:
        """Apply a change and replace the token."""
        token = new_token()

        def work(connection: sqlite3.Connection) -> Secret | None:
            before = self._get(connection, session_id, now)
            if before is None:
                return None
            after = change(before)
            if (after.id, after.user_id, after.created_at) != (before.id, before.user_id, before.created_at):
                raise ValueError("a session keeps its id, its person and its age")
            connection.execute(
                "UPDATE session SET token_hash=?, events=?, last_seen_at=?, address=? WHERE id=?",
                (hash_token(token), _events(after), after.last_seen_at, after.address, session_id),
            )
            return Secret(token)

        return await self._database.run(work)

    async def revoke(self, session_id: str) -> bool:
        """End a session."""
        return bool(await self._deleted("DELETE FROM session WHERE id=?", session_id))

    async def revoke_user(self, user_id: str) -> int:
        """End all sessions of a person."""
        return await self._deleted("DELETE FROM session WHERE user_id=?", user_id)

    async def list(self, now: int) -> list[SsoSession]:
        """Return live sessions, newest first."""
        rows = await self._database.run(lambda connection: connection.execute(_LIST, self.limits(now)).fetchall())
        return [_session(row) for row in rows]

    def _get(self, connection: sqlite3.Connection, session_id: str, now: int) -> SsoSession | None:
        row = connection.execute(_GET, (session_id, *self.limits(now))).fetchone()
        return _session(row) if row else None

    async def _deleted(self, statement: str, value: str) -> int:
        return await self._database.run(lambda connection: connection.execute(statement, (value,)).rowcount)


class SqliteGrants:
    """`idp.ports.GrantStore`."""

    def __init__(self, database: Database, sessions: SqliteSessions) -> None:
        self._database = database
        self._sessions = sessions

    async def put_code(self, code_hash: str, grant: CodeGrant, now: int) -> bool:
        """Store a code, while its session lives."""
        g, limits = grant, self._sessions.limits(now)
        values = (code_hash, g.client_id, msgspec.json.encode(g), g.expires_at, g.session_id, g.user_id, *limits)
        return bool(await self._database.run(lambda connection: connection.execute(_PUT_CODE, values).rowcount))

    async def redeem(self, code_hash: str, client_id: str, now: int) -> CodeGrant | CodeRefusal:
        """Consume a code; a second time, revoke what the first one gave."""

        def work(connection: sqlite3.Connection) -> CodeGrant | CodeRefusal:
            row = connection.execute(
                "UPDATE code SET used=1 WHERE code_hash=? AND client_id=? AND used=0 AND expires_at>? RETURNING body",
                (code_hash, client_id, now),
            ).fetchone()
            if row:
                return msgspec.json.decode(row[0], type=CodeGrant)
            known = connection.execute(
                "UPDATE code SET reused=used WHERE code_hash=? AND client_id=? RETURNING used", (code_hash, client_id)
            ).fetchone()
            if known is None:
                return "unknown"
            if not known[0]:
                return "expired"
            connection.execute("DELETE FROM access_token WHERE code_hash=?", (code_hash,))
            return "reused"

        return await self._database.run(work)

    async def put_access(self, token_hash: str, code_hash: str, grant: AccessGrant, now: int) -> bool:
        """Store an access token, while its code is good and its session lives."""
        values = (token_hash, msgspec.json.encode(grant), grant.expires_at, code_hash, *self._sessions.limits(now))
        return bool(await self._database.run(lambda connection: connection.execute(_PUT_ACCESS, values).rowcount))

    async def access(self, token_hash: str, now: int) -> AccessGrant | None:
        """Return what a live access token stands for."""
        row = await self._database.run(
            lambda connection: connection.execute(_ACCESS, (token_hash, now, *self._sessions.limits(now))).fetchone()
        )
        return msgspec.json.decode(row[0], type=AccessGrant) if row else None


def _events(session: SsoSession) -> str:
    return msgspec.json.encode(session.events).decode()


def _session(row: tuple[str, str, str, int, int, str]) -> SsoSession:
    return SsoSession(
        id=row[0], user_id=row[1], events=msgspec.json.decode(row[2], type=tuple[AuthEvent, ...]), created_at=row[3],
        last_seen_at=row[4], address=row[5],
    )  # fmt: skip

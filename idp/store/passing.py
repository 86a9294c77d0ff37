"""What does not last: sign-ins in progress and one-time values."""

import sqlite3
from collections.abc import Callable

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_token
from gateway.kernel.secret import hash_token
from idp.model import LoginTransaction
from idp.store.database import Database

_LARGEST = 16 * 1024


class SqliteTransactions:
    """`idp.ports.TransactionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, transaction: LoginTransaction) -> None:
        """Store a new one."""
        body = msgspec.json.encode(transaction)
        await self._database.run(
            lambda connection: (
                connection.execute(
                    "INSERT INTO login_transaction (id, expires_at, body) VALUES (?,?,?)",
                    (transaction.id, transaction.expires_at, body),
                ).rowcount
            )
        )

    async def get(self, transaction_id: str, now: int) -> LoginTransaction | None:
        """Return a live one."""
        return await self._database.run(lambda connection: _read(connection, transaction_id, now))

    async def update(
        self, transaction_id: str, change: Callable[[LoginTransaction], LoginTransaction], now: int
    ) -> LoginTransaction | None:
        """Apply a change atomically."""

        def work(connection: sqlite3.Connection) -> LoginTransaction | None:
            before = _read(connection, transaction_id, now)
            if before is None:
                return None
            after = change(before)
            connection.execute("UPDATE login_transaction SET body=? WHERE id=?", (msgspec.json.encode(after), transaction_id))
            return after

        return await self._database.run(work)

    async def take(self, transaction_id: str, now: int) -> LoginTransaction | None:
        """Return a live one and forget it."""
        row = await self._database.run(
            lambda connection: connection.execute(
                "DELETE FROM login_transaction WHERE id=? AND expires_at>? RETURNING body", (transaction_id, now)
            ).fetchone()
        )
        return msgspec.json.decode(row[0], type=LoginTransaction) if row else None


def end_transactions(connection: sqlite3.Connection, user_id: str) -> None:
    """End every sign-in in progress in which a person has proved something, within a database transaction."""
    for transaction_id, body in connection.execute("SELECT id, body FROM login_transaction").fetchall():
        if msgspec.json.decode(body, type=LoginTransaction).user_id == user_id:
            connection.execute("DELETE FROM login_transaction WHERE id=?", (transaction_id,))


class _OfPerson(msgspec.Struct):
    user_id: str


def end_proofings_in_progress(connection: sqlite3.Connection, user_id: str) -> None:
    """End every identity proofing that is under way for a person, also on a phone, on the way to the counter, or while the
    verifier is asked, within a database transaction.
    """
    kinds = "'proofing', 'proofing-handover', 'proofing-judging', 'in-person-visit'"
    rows = connection.execute(f"SELECT name_hash, value FROM one_time WHERE kind IN ({kinds})").fetchall()  # noqa: S608  ours
    for name_hash, value in rows:
        if msgspec.json.decode(value, type=_OfPerson).user_id == user_id:
            connection.execute("DELETE FROM one_time WHERE name_hash=?", (name_hash,))


class SqliteOneTime:
    """`idp.ports.OneTimeStore`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def put(self, kind: str, value: bytes, ttl_seconds: int) -> str:
        """Store a value under a new name. ValueError when it is too large or lives no time."""
        name = new_token()
        await self.put_as(kind, name, value, ttl_seconds)
        return name

    async def put_as(self, kind: str, name: str, value: bytes, ttl_seconds: int) -> bool:
        """Store a value under this name, unless there is one of any kind. ValueError as for `put`."""
        if len(value) > _LARGEST or ttl_seconds <= 0:
            raise ValueError(f"a one-time value has at most {_LARGEST} bytes and a positive life time")
        now = int(self._clock.now())

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM one_time WHERE name_hash=? AND expires_at<=?", (hash_token(name), now))
            stored = connection.execute(
                "INSERT OR IGNORE INTO one_time (name_hash, kind, value, expires_at) VALUES (?,?,?,?)",
                (hash_token(name), kind, value, now + ttl_seconds),
            )
            return stored.rowcount == 1

        return await self._database.run(work)

    async def change(self, kind: str, name: str, change: Callable[[bytes], bytes | None]) -> bytes | None:
        """Replace a value atomically."""
        now, name_hash = int(self._clock.now()), hash_token(name)

        def work(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(
                "SELECT value FROM one_time WHERE name_hash=? AND kind=? AND expires_at>?", (name_hash, kind, now)
            ).fetchone()
            after = change(bytes(row[0])) if row is not None else None
            if after is not None:
                if len(after) > _LARGEST:
                    raise ValueError(f"a one-time value has at most {_LARGEST} bytes")
                connection.execute("UPDATE one_time SET value=? WHERE name_hash=?", (after, name_hash))
            return after

        return await self._database.run(work)

    async def take(self, kind: str, name: str) -> bytes | None:
        """Return a value and forget it."""
        return await self._one("DELETE FROM one_time WHERE name_hash=? AND kind=? AND expires_at>? RETURNING value", kind, name)

    async def peek(self, kind: str, name: str) -> bytes | None:
        """Return a value and keep it."""
        return await self._one("SELECT value FROM one_time WHERE name_hash=? AND kind=? AND expires_at>?", kind, name)

    async def _one(self, statement: str, kind: str, name: str) -> bytes | None:
        now = int(self._clock.now())
        row = await self._database.run(lambda connection: connection.execute(statement, (hash_token(name), kind, now)).fetchone())
        return bytes(row[0]) if row else None


def _read(connection: sqlite3.Connection, transaction_id: str, now: int) -> LoginTransaction | None:
    row = connection.execute("SELECT body FROM login_transaction WHERE id=? AND expires_at>?", (transaction_id, now)).fetchone()
    return msgspec.json.decode(row[0], type=LoginTransaction) if row else None

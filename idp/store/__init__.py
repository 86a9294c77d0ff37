"""Storage of the identity provider: one SQLite file. `open_store` is the way in."""

import sqlite3
from pathlib import Path
from typing import Final

from gateway.kernel.clock import Clock
from idp.store.accounts import SqliteAccounts
from idp.store.attempts import AttemptLimits, SqliteAttempts
from idp.store.bindings import SqliteBindings
from idp.store.cases import SqliteCases
from idp.store.credentials import SqliteCredentials
from idp.store.database import Database
from idp.store.invitations import SqliteInvitations
from idp.store.kept import SqliteKept
from idp.store.passing import SqliteOneTime, SqliteTransactions
from idp.store.proofing import SqliteProofing
from idp.store.rechecks import SqliteRechecks
from idp.store.sealing import Seal
from idp.store.sessions import SqliteGrants, SqliteSessions
from idp.store.users import SqliteUsers

__all__ = ["AttemptLimits", "SqliteStore", "open_store"]


_USED_CODES_KEPT_SECONDS: Final = 3600
"""Longer than any access token lives, so that a code's second use is recognised while it can still matter."""


class SqliteStore:
    """`idp.ports.Store`, and what only the provider itself uses: `accounts`, `grants`, `purge`, `close`."""

    def __init__(
        self, database: Database, seal: Seal, clock: Clock, limits: AttemptLimits, *, idle_seconds: int, seconds: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits
        self.users = SqliteUsers(database)
        self.credentials = SqliteCredentials(database, seal)
        self.accounts = SqliteAccounts(database, self.credentials)
        self.proofing = SqliteProofing(database)
        self.cases = SqliteCases(database, seal)
        self.bindings = SqliteBindings(database)
        self.invitations = SqliteInvitations(database)
        self.rechecks = SqliteRechecks(database)
        self.kept = SqliteKept(database)
        self.attempts = SqliteAttempts(database, limits)
        self.sessions = SqliteSessions(database, idle_seconds=idle_seconds, seconds=seconds)
        self.grants = SqliteGrants(database, self.sessions)
        self.transactions = SqliteTransactions(database)
        self.once = SqliteOneTime(database, clock)

    async def purge(self) -> int:
        """Delete what has expired, and close cases that have; how many rows. Every read checks expiry: only the size of the file
        depends on it, and how long what is held with a case stays there.
        """
        now = int(self._clock.now())
        closed = await self.cases.expire(now)
        unused_since, made_since = self.sessions.limits(now)
        limits = self._limits

        def work(connection: sqlite3.Connection) -> int:
            return sum(
                connection.execute(statement, values).rowcount
                for statement, values in (
                    ("DELETE FROM access_token WHERE expires_at<=?", (now,)),
                    ("DELETE FROM code WHERE expires_at<=?", (now - _USED_CODES_KEPT_SECONDS,)),
                    ("DELETE FROM session WHERE last_seen_at<=? OR created_at<=?", (unused_since, made_since)),
                    ("DELETE FROM login_transaction WHERE expires_at<=?", (now,)),
                    ("DELETE FROM one_time WHERE expires_at<=?", (now,)),
                    (
                        "DELETE FROM attempt WHERE last_at<=? AND blocked_until<=?",
                        (now - max(limits.forget_seconds, limits.address_forget_seconds), now),
                    ),
                )
            )

        return closed + await self._database.run(work)

    async def close(self) -> None:
        """Finish and close. Later calls raise StoreUnavailable."""
        await self._database.close()


async def open_store(
    path: Path, *, clock: Clock, sealing_key: bytes, idle_seconds: int, seconds: int, limits: AttemptLimits | None = None
) -> SqliteStore:
    """Open or create the database at `path` (mode 0600). ConfigError says what to do when that is not possible.

    `sealing_key` is 32 bytes (`idp.keys`); `idle_seconds` and `seconds` limit browser sessions.
    """
    database = Database(path)
    await database.open()
    return SqliteStore(database, Seal(sealing_key), clock, limits or AttemptLimits(), idle_seconds=idle_seconds, seconds=seconds)

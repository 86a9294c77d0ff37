"""Failure counters: how guessing a password or a code is made hopeless, without telling which accounts exist."""

import hashlib
import sqlite3

import msgspec

from idp.accounts import canonical
from idp.model import Attempt
from idp.store.database import Database
from idp.store.users import find_user_id


class AttemptLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How patient we are. Guideline 7.0 (ops 14.1.1) asks for an account lock and leaves the figures to the hospital.

    The lock ends by itself: a lock for good would let anybody keep a doctor from the records. Signing in with a key is not
    counted here and stays possible: there is nothing to guess.
    """

    free: int = 5
    """Attempts without a wait."""
    first_wait_seconds: int = 30
    """Wait after the last free one; doubles with each further failure."""
    lock_after: int = 10
    """Failures after which the account is locked."""
    lock_seconds: int = 1800
    forget_seconds: int = 86_400
    """An account's failures are forgotten so long after the last one."""
    address_free: int = 50
    """Looser by address: a whole hospital may sit behind one."""
    address_wait_seconds: int = 300
    address_forget_seconds: int = 900

    def account_wait(self, failures: int) -> int:
        """Return how long an account waits after so many failures."""
        if failures >= self.lock_after:
            return self.lock_seconds
        if failures < self.free:
            return 0
        return min(self.first_wait_seconds << (failures - self.free), self.lock_seconds)

    def address_wait(self, failures: int) -> int:
        """Return how long an address waits after so many failures."""
        return self.address_wait_seconds if failures >= self.address_free else 0


class SqliteAttempts:
    """`idp.ports.AttemptStore`."""

    def __init__(self, database: Database, limits: AttemptLimits) -> None:
        self._database = database
        self._limits = limits

    async def begin(self, identifier: str, address: str, now: int) -> Attempt:
        """Charge an attempt before it is made, or say how long to wait."""
        limits = self._limits

        def work(connection: sqlite3.Connection) -> Attempt:
            account, source = _account(connection, identifier), _address(address)
            failures, blocked_until = _read(connection, account, now - limits.forget_seconds)
            if blocked_until > now:
                return Attempt(allowed=False, retry_after=blocked_until - now, locked=failures >= limits.lock_after)
            from_there, there_blocked_until = _read(connection, source, now - limits.address_forget_seconds)
            if there_blocked_until > now:
                return Attempt(allowed=False, retry_after=there_blocked_until - now)
            _write(connection, account, failures + 1, now, now + limits.account_wait(failures + 1))
            _write(connection, source, from_there + 1, now, now + limits.address_wait(from_there + 1))
            return Attempt(allowed=True)

        return await self._database.run(work)

    async def succeeded(self, identifier: str, address: str) -> None:
        """Give back the charge of an attempt that was right, and the wait that it began."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE attempt SET failures=max(failures-1, 0), blocked_until=0 WHERE subject=?",
                [(_account(connection, identifier),), (_address(address),)],
            )

        await self._database.run(work)

    async def clear(self, identifier: str) -> None:
        """Forget the account's failures."""
        await self._database.run(lambda connection: clear_attempts(connection, identifier))


def clear_attempts(connection: sqlite3.Connection, identifier: str) -> None:
    """Forget an account's failures, within a transaction."""
    connection.execute("DELETE FROM attempt WHERE subject=?", (_account(connection, identifier),))


def blocked_until(connection: sqlite3.Connection, user_id: str, now: int) -> int:
    """Return until when an account's attempts are refused, 0 when they are not, within a transaction. Charges nothing."""
    row = connection.execute(
        "SELECT blocked_until FROM attempt WHERE subject=? AND blocked_until>?", (_account(connection, user_id), now)
    ).fetchone()
    return int(row[0]) if row else 0


def _account(connection: sqlite3.Connection, identifier: str) -> str:
    # A person has one counter, whichever name was typed; a name of nobody has one too, so that it behaves the same.
    name = canonical(identifier)
    key = find_user_id(connection, name)
    if key is None:
        known = connection.execute("SELECT id FROM user WHERE id=?", (name,)).fetchone()
        key = str(known[0]) if known else f"nobody:{name}"
    return f"account:{_digest(key)}"


def _address(address: str) -> str:
    return f"address:{_digest(address)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read(connection: sqlite3.Connection, subject: str, forgotten_before: int) -> tuple[int, int]:
    row = connection.execute(
        "SELECT failures, blocked_until FROM attempt WHERE subject=? AND last_at>?", (subject, forgotten_before)
    ).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def _write(connection: sqlite3.Connection, subject: str, failures: int, now: int, blocked_until: int) -> None:
    connection.execute(
        "INSERT INTO attempt (subject, failures, last_at, blocked_until) VALUES (?,?,?,?) ON CONFLICT (subject) DO UPDATE "
        "SET failures=excluded.failures, last_at=excluded.last_at, blocked_until=excluded.blocked_until",
        (subject, failures, now, blocked_until),
    )

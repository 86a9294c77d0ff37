"""`Lasting` in one SQLite file (WAL): for all processes of one machine."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from gateway.kernel.errors import StoreUnavailable
from gateway.lasting.port import Cursor, Row, Value
from gateway.lasting.tables import BASE, TOUCH, WHERE, migrate, statements

T = TypeVar("T")
BUSY_SECONDS: Final = 5.0


class SqliteLasting:
    """Each thread has its own connection. Writers wait for each other, readers for nobody."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, readable by its owner only. StoreUnavailable when it can't be used."""
        self._path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._busy: set[sqlite3.Connection] = set()
        self._ending: set[sqlite3.Connection] = set()
        self._lock = threading.Lock()
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with self._connection() as connection:
                connection.execute("PRAGMA journal_mode=WAL").fetchall()
                connection.execute("BEGIN IMMEDIATE")
                for statement in statements(BASE):
                    connection.execute(statement)
                connection.execute("COMMIT")

    def prepare(self, part: str, schema: Sequence[str]) -> None:
        """Make or renew a part's tables."""

        def work(cursor: Cursor) -> None:
            migrate(cursor, part, schema, str(self._path))

        self.write_now(work)

    async def read(self, work: Callable[[Cursor], T]) -> T:
        """In a thread."""
        return await asyncio.to_thread(self.read_now, work)

    async def write(self, work: Callable[[Cursor], T]) -> T:
        """In a thread."""
        return await asyncio.to_thread(self.write_now, work)

    def read_now(self, work: Callable[[Cursor], T]) -> T:
        """One snapshot."""
        return self._transaction("BEGIN DEFERRED", work, "ROLLBACK")

    def write_now(self, work: Callable[[Cursor], T]) -> T:
        """One writer at a time."""
        return self._transaction("BEGIN IMMEDIATE", work, "COMMIT")

    def stamp(self, topic: str) -> int:
        """The topic's counter."""
        with self._errors(), self._connection() as connection:
            row = connection.execute("SELECT stamp FROM topic WHERE name = ?", (topic,)).fetchone()
        return int(row[0]) if row is not None else 0

    def close(self) -> None:
        """Close the connections of all threads: what is idle now, and what is at work when that is done.

        One that is closed under a statement takes the process with it.
        """
        with self._lock:
            for connection in self._open:
                if connection in self._busy:
                    self._ending.add(connection)
                else:
                    connection.close()
            self._open.clear()
            self._local = threading.local()

    # ------------------------------------------------------------------

    def _transaction(self, begin: str, work: Callable[[Cursor], T], end: str) -> T:
        with self._errors(), self._connection() as connection:
            connection.execute(begin)
            try:
                result = work(_SqliteCursor(connection))
                connection.execute(end)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """This thread's, at work meanwhile."""
        with self._lock:
            found: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if found is not None:
                self._busy.add(found)
        if found is None:
            found = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            found.execute("PRAGMA synchronous=FULL")
            found.execute("PRAGMA foreign_keys=ON")
            with self._lock:
                self._local.connection = found
                self._open.append(found)
                self._busy.add(found)
        try:
            yield found
        finally:
            with self._lock:
                self._busy.discard(found)
                if found in self._ending:
                    self._ending.discard(found)
                    found.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise StoreUnavailable(
                f"{self._path} can't be used ({error})", where=WHERE, todo="Check the file, its permissions and the disk"
            ) from error


class _SqliteCursor:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        return self._connection.execute(sql, tuple(values)).rowcount

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        return self._connection.execute(sql, tuple(values)).fetchall()

    def one(self, sql: str, values: Sequence[Value] = ()) -> Row | None:
        found: Row | None = self._connection.execute(sql, tuple(values)).fetchone()
        return found

    def touched(self, topic: str) -> None:
        self.run(TOUCH, (topic,))

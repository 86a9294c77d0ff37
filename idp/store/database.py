"""One SQLite file, one thread that talks to it, one transaction per call.

SQLite has one writer anyway. A thread of its own keeps the event loop free during `fdatasync`; everything that checks and
consumes runs inside one `BEGIN IMMEDIATE` and therefore alone, also against other processes on the same file.
"""

import asyncio
import logging
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeVar

from gateway.kernel.errors import ConfigError, StoreUnavailable

Answer = TypeVar("Answer")
Work = Callable[[sqlite3.Connection], Answer]

_BUSY_MS: Final = 3_000
_PAUSE_MS: Final = 20
_STEP: Final = re.compile(r"schema_\d{4}\.sql")
_OPENING: Final = f"""
PRAGMA busy_timeout = {_BUSY_MS};
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA trusted_schema = OFF;
PRAGMA secure_delete = ON;
"""
# synchronous=FULL: with NORMAL a power cut may forget the last commits, and with them that a code or a TOTP step was used.

log = logging.getLogger(__name__)


class Database:
    """An open database. `run` may be called from any task of the loop; calls are served in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="idp-store")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Create the file (mode 0600) or open it, and bring its tables up to date.

        ConfigError when others may read it, it is no database of ours, or a newer version made it.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    async def run(self, work: Work[Answer]) -> Answer:
        """Run `work` in one transaction, committed when it returns and undone when it raises; what it raises comes through.

        Trouble with SQLite itself becomes StoreUnavailable. When the caller is cancelled, `work` still finishes and is committed:
        what was consumed stays consumed.
        """
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)
        except RuntimeError as error:  # the executor was shut down
            raise StoreUnavailable("the identity provider's database is closed", where=str(self._path)) from error
        return await asyncio.shield(future)

    async def fold(self) -> bool:
        """Fold the write-ahead log into the file now, so that what was deleted is in neither. False: another process reads
        meanwhile, and it happens when somebody writes next, or closes.
        """
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, self._fold)
        except RuntimeError as error:
            raise StoreUnavailable("the identity provider's database is closed", where=str(self._path)) from error
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Finish what was begun, fold the write-ahead log into the file, and close."""
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        except RuntimeError:
            return  # closed before
        await future
        self._thread.shutdown(wait=True)

    def _open(self) -> None:
        where = str(self._path)
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except OSError as error:
            raise ConfigError(
                f"the database can't be opened: {error.strerror}", where=where, todo="Check the directory."
            ) from error
        if mode & 0o077:
            raise ConfigError(f"others can read the database (mode {mode:04o})", where=where, todo=f"Run: chmod 600 {where}")
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_MS / 1000)
            _begin(connection)
            _migrate(connection, where)
        except sqlite3.Error as error:
            raise ConfigError(
                f"the database can't be used: {error}",
                where=where,
                todo="Restore it from a backup, or move it away to start empty.",
            ) from error
        self._connection = connection

    def _run(self, work: Work[Answer]) -> Answer:
        if self._connection is None:
            raise StoreUnavailable("the identity provider's database is not open", where=str(self._path))
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            answer = work(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            log.exception("identity provider's database failed")
            raise StoreUnavailable("the identity provider's database does not answer", where=str(self._path)) from error
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()
        return answer

    def _fold(self) -> bool:
        if self._connection is None:
            raise StoreUnavailable("the identity provider's database is not open", where=str(self._path))
        try:
            (busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            log.exception("identity provider's database failed")
            raise StoreUnavailable("the identity provider's database does not answer", where=str(self._path)) from error
        return not busy

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _begin(connection: sqlite3.Connection) -> None:
    """Set the connection up. SQLite does not wait by itself while another process turns a new file to WAL."""
    for _ in range(_BUSY_MS // _PAUSE_MS):
        try:
            connection.executescript(_OPENING)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # the low byte is the code, the rest says more about it
                raise
            time.sleep(_PAUSE_MS / 1000)
    connection.executescript(_OPENING)


def _migrate(connection: sqlite3.Connection, where: str) -> None:
    steps = sorted(entry.name for entry in files("idp.store").iterdir() if _STEP.fullmatch(entry.name))
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise ConfigError(
            f"a newer version made this database (schema {version}, known {len(steps)})",
            where=where,
            todo="Install that version.",
        )
    for number, name in enumerate(steps[version:], start=version + 1):
        if name != f"schema_{number:04}.sql":
            raise ConfigError(f"schema_{number:04}.sql is missing from the package", where=where, todo="Install it again.")
        script = files("idp.store").joinpath(name).read_text("utf-8")
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            # Two processes may open a new file at once (`gateway serve` and `gateway people`): the step is done, if not by us.
            if connection.execute("PRAGMA user_version").fetchone()[0] < number:
                raise

"""`Lasting` in PostgreSQL: for several machines. Every wait is bounded."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.secret import Secret
from gateway.lasting.port import Cursor, Row, Value
from gateway.lasting.tables import BASE, TOUCH, WHERE, migrate, statements

T = TypeVar("T")
CONNECTIONS: Final = 4
"""Of one process, at most."""
WAIT_SECONDS: Final = 5
"""For a free connection, for the server to take one, for one statement, for one lock."""
TRIES: Final = 10
"""So often a transaction is tried that others get in the way of."""
_SCHEMES: Final = ("postgresql://", "postgres://")
_LOCK: Final = 0x6763_6865  # any number that nobody else locks
_TODO: Final = "Check the server, its address and the network, the role and its rights"
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_BEGIN_WRITE: Final = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE"
_IN_THE_WAY: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
"""Two serialisable transactions that insert the same key: the later one may be told of the key instead (PostgreSQL 13.2.3)."""
_OURS: Final = (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
"""What `work` did wrong, unless it is of these:"""
_THEIRS: Final = (errors.UndefinedTable, errors.InsufficientPrivilege, errors.UndefinedColumn)


def settings_of(url: Secret) -> dict[str, Any]:
    """Return what the URL says, with our limits. ConfigError, without the URL in it, when it is none."""
    given = _parts(url)
    milliseconds = WAIT_SECONDS * 1000
    limits = (
        f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
        f"-c idle_in_transaction_session_timeout={6 * milliseconds}"
    )
    return {
        "connect_timeout": WAIT_SECONDS,
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": 30,
        "application_name": "gateway",
        **given,
        "options": f"{limits} {given.get('options') or ''}".strip(),
        "client_encoding": "utf8",
    }


def _parts(url: Secret) -> dict[str, Any]:
    text = url.reveal()
    try:
        given = dict(conninfo_to_dict(text)) if text.startswith(_SCHEMES) else {}
    except psycopg.Error:
        given = {}
    if not given or not all(port == "" or port.isdecimal() for port in str(given.get("port") or "").split(",")):
        raise ConfigError("this is no PostgreSQL URL", todo='Write "postgresql://role:password@host:5432/database"')
    return given


def crosses_unproved(url: Secret) -> bool:
    """Whether a connection leaves this machine without that the server has to prove its name by TLS. No URL at all: False."""
    try:
        given = _parts(url)
    except ConfigError:
        return False
    places = [*str(given.get("host") or "").split(","), *str(given.get("hostaddr") or "").split(",")]
    remote = [place for place in places if place and not place.startswith(("/", "@")) and not _is_here(place)]
    return bool(remote) and given.get("sslmode") != "verify-full"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Connection(psycopg.Connection[Row]):
    """Waits for no answer longer than the server may take for one; then it is closed, as nobody knows what became of it."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Return what `gen` comes to. OperationalError when it takes too long."""
        try:
            return super().wait(gen, interval=interval, timeout=WAIT_SECONDS + 1 if timeout is None else timeout)
        except errors._WaitTimeout as error:  # noqa: SLF001  it has no public name
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer for {WAIT_SECONDS + 1} s") from error


class PostgresLasting:
    """A few connections, handed round among the threads of the process."""

    def __init__(self, url: Secret) -> None:
        """Connect, and make what every database of ours has. StoreUnavailable when the server does not answer or refuses."""
        self._settings: Final = settings_of(url)
        self._idle: list[Connection] = []
        self._free: Final = threading.Semaphore(CONNECTIONS)
        self._lock: Final = threading.Lock()
        self._closed = False
        with self._alone():

            def work(cursor: Cursor) -> None:
                for statement in statements(BASE):
                    cursor.run(statement)

            self.write_now(work)

    def prepare(self, part: str, schema: Sequence[str]) -> None:
        """Make or renew a part's tables; one process at a time."""
        with self._alone():
            self.write_now(lambda cursor: migrate(cursor, part, schema, "the database"))

    async def read(self, work: Callable[[Cursor], T]) -> T:
        """In a thread."""
        return await asyncio.to_thread(self.read_now, work)

    async def write(self, work: Callable[[Cursor], T]) -> T:
        """In a thread."""
        return await asyncio.to_thread(self.write_now, work)

    def read_now(self, work: Callable[[Cursor], T]) -> T:
        """One snapshot."""
        return self._again(_BEGIN_READ, work)

    def write_now(self, work: Callable[[Cursor], T]) -> T:
        """Serialisable, again when others got in the way."""
        return self._again(_BEGIN_WRITE, work)

    def stamp(self, topic: str) -> int:
        """The topic's counter."""
        row = self._again("", lambda cursor: cursor.one("SELECT stamp FROM topic WHERE name = ?", (topic,)))
        return int(row[0]) if row is not None else 0

    def close(self) -> None:
        """Close what is idle now, and the rest when it comes back; nothing works any more."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # ------------------------------------------------------------------

    def _again(self, begin: str, work: Callable[[Cursor], T]) -> T:
        """Run a transaction, anew when others were in its way, or when the connection had died while it was idle."""
        for tried in range(TRIES):
            try:
                return self._once(begin, work, fresh=tried > 0)
            except _IN_THE_WAY as error:
                if tried == TRIES - 1:
                    if isinstance(error, errors.UniqueViolation):
                        raise
                    raise StoreUnavailable(
                        f"{TRIES} times others changed the same at the same time", where=WHERE, todo="Try again in a moment"
                    ) from error
                time.sleep(random.uniform(0, 0.005 * 2**tried))  # noqa: S311  only so that two do not keep step
            except _StaleError as error:
                if tried > 0:
                    raise _unavailable(error.cause) from error.cause
            except _OURS as error:
                if isinstance(error, _THEIRS):
                    raise _unavailable(error) from error
                raise
            except psycopg.Error as error:
                raise _unavailable(error) from error
        raise AssertionError("the last try returns or raises")

    def _once(self, begin: str, work: Callable[[Cursor], T], *, fresh: bool) -> T:
        with self._connection(fresh=fresh) as connection:
            if begin:
                try:
                    connection.execute(begin)
                except psycopg.OperationalError as error:
                    raise _StaleError(error) from error  # nothing has happened yet: the server was started anew, say
            try:
                result = work(_PostgresCursor(connection))
            except BaseException:
                if begin and not connection.broken:
                    connection.execute("ROLLBACK")
                raise
            if begin:
                connection.execute("COMMIT")
            return result

    @contextmanager
    def _connection(self, *, fresh: bool) -> Iterator[Connection]:
        if not self._free.acquire(timeout=WAIT_SECONDS):
            raise StoreUnavailable(f"no connection was free for {WAIT_SECONDS} s", where=WHERE, todo=_TODO)
        try:
            connection = self._take(fresh=fresh)
            sound = False
            try:
                yield connection
                sound = True
            finally:
                # Whatever happened to it, it comes back only between transactions.
                sound = sound or (
                    not connection.broken and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
                )
                self._give(connection, sound=sound)
        finally:
            self._free.release()

    def _take(self, *, fresh: bool) -> Connection:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the database is closed", where=WHERE, todo="The gateway is ending")
            found = self._idle.pop() if self._idle and not fresh else None
        return found or Connection.connect(**self._settings, autocommit=True)

    def _give(self, connection: Connection, *, sound: bool) -> None:
        with self._lock:
            if sound and not self._closed and len(self._idle) < CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from making tables meanwhile: PostgreSQL does not make one twice at once."""
        try:
            with Connection.connect(**self._settings, autocommit=True) as connection:
                connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
                yield
        except psycopg.Error as error:
            raise _unavailable(error) from error


class _StaleError(Exception):
    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _unavailable(error: psycopg.Error) -> StoreUnavailable:
    # libpq says host, role and database, never the password.
    said = " ".join(str(error).split()) or type(error).__name__
    return StoreUnavailable(f"PostgreSQL can't be used ({said[:300]})", where=WHERE, todo=_TODO)


class _PostgresCursor:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        return self._execute(sql, values).rowcount

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        return self._execute(sql, values).fetchall()

    def one(self, sql: str, values: Sequence[Value] = ()) -> Row | None:
        return self._execute(sql, values).fetchone()

    def touched(self, topic: str) -> None:
        self.run(TOUCH, (topic,))

    def _execute(self, sql: str, values: Sequence[Value]) -> psycopg.Cursor[Row]:
        # Our statements are literals of this program without a ? or % of their own.
        return self._connection.execute(sql.replace("?", "%s").encode(), tuple(values) or None)

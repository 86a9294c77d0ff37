"""The ledger of devices in SQLite, with an index in memory for the request path.

A lookup is a dictionary access, after one `PRAGMA data_version` when the last look at the file is older than 5 ms or the device
is not found to be active. So what another process (another worker, a command line) registers or approves counts at the next
lookup, what it blocks 5 ms later, and what this one writes at once. Open streams hear of it through `follow`, which looks five
times a second. Several processes of one machine may share a file; several machines need a shared database. Writes run on a thread
of their own, and are on disk (`synchronous=FULL`) when they return.
"""

import asyncio
import builtins
import contextlib
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from gateway.domain.posture import Device
from gateway.kernel.canonical import canonical_json
from gateway.kernel.errors import StoreUnavailable

logger = logging.getLogger(__name__)

WHERE: Final = "device_registry"
SCHEMAS: Final = ("schema.sql", "schema_0002.sql")
SCHEMA_VERSION: Final = len(SCHEMAS)
SEEN_SECONDS: Final = 3600
"""How old a device's `last_seen_at` may become before it is written again."""
TRUST_SECONDS: Final = 0.005
"""How old the last look at the file may be when a lookup is answered: a hundred requests in one turn of the loop look once."""
LOOK_SECONDS: Final = 0.2
"""How often `follow` looks."""
_READ_BUSY_SECONDS: Final = 0.2
"""The event loop waits for another process this long at most; with WAL it normally never does."""
_WRITE_BUSY_SECONDS: Final = 2.0
_NEXT: Final = "(SELECT coalesce(max(sequence), 0) + 1 FROM device)"
_INSERT: Final = f"INSERT INTO device (id, cookie_hash, certificate_sha256, sequence, body) VALUES (?, ?, ?, {_NEXT}, ?)"  # noqa: S608  of constants
_UPDATE: Final = f"UPDATE device SET cookie_hash=?, certificate_sha256=?, sequence={_NEXT}, body=? WHERE id=?"  # noqa: S608  of constants
_decode = msgspec.json.Decoder(Device).decode
Change = Callable[[Device], Device]
_T = TypeVar("_T")


class SqliteDevices:
    """`DeviceRegistry` in one SQLite file (WAL)."""

    def __init__(self, path: Path) -> None:
        """Open or create the ledger, readable by its owner only. StoreUnavailable when it can't be used."""
        self._path = path
        self._listeners: builtins.list[Callable[[str], None]] = []
        self._devices: dict[str, Device] = {}
        self._cookies: dict[str, str] = {}
        self._certificates: dict[str, str] = {}
        self._seen: dict[str, float] = {}
        self._sequence = 0
        self._data_version = -1
        self._looked = -math.inf
        """Monotonic; long ago when the last look failed, so that the next lookup says so."""
        with contextlib.ExitStack() as opened:
            with self._errors():
                # Made here, so that not even for a moment others may read it.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                self._writer = opened.enter_context(contextlib.closing(_connect(path, _WRITE_BUSY_SECONDS)))
                self._prepare()
                self._reader = opened.enter_context(contextlib.closing(_connect(path, _READ_BUSY_SECONDS)))
            self._refresh()
            self._close_files = opened.pop_all().close
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="devices")

    # ------------------------------------------------------------------ looking up

    async def get(self, device_id: str) -> Device | None:
        """Return a device by id, blocked ones included."""
        return self._found(lambda: self._devices.get(device_id))

    async def by_certificate(self, sha256: str) -> Device | None:
        """Return the device that registered this certificate (hex SHA-256 of its DER)."""
        return self._found(lambda: self._devices.get(self._certificates.get(sha256, "")))

    async def by_cookie(self, cookie_hash: str) -> Device | None:
        """Return the device whose device cookie hashes to this."""
        return self._found(lambda: self._devices.get(self._cookies.get(cookie_hash, "")))

    async def list(self) -> builtins.list[Device]:
        """Return all devices, newest first."""
        self._refresh()
        return sorted(self._devices.values(), key=lambda device: (-device.registered_at, device.id))

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener(device_id)` on the event loop after each change. It must not raise, nor block."""
        self._listeners.append(listener)

    async def follow(self) -> None:
        """Tell listeners of what other processes change, within a second, until cancelled. Never raises for a file that can't be
        read: lookups do, to somebody who can answer for it, and it is looked at again.
        """
        told = False
        while True:
            try:
                self._refresh()
                told = False
            except StoreUnavailable as error:
                if not told:
                    logger.warning("changes of devices are not followed right now: %s", error)
                    told = True
            await asyncio.sleep(LOOK_SECONDS)

    # ------------------------------------------------------------------ writing

    async def add(self, device: Device) -> None:
        """Store a new device; ValueError when its id, cookie or certificate is taken."""
        if not device.id:
            raise ValueError("a device needs an id")
        await self._finished(self._submit(lambda: self._insert(device)))

    async def update(self, device_id: str, change: Callable[[Device], Device]) -> Device | None:
        """Apply a change atomically; the stored version is the old one plus one. None when unknown.

        `change` runs on the writing thread, so it must be pure. ValueError when it renames the device, or takes a cookie or
        certificate that another has; then, and when `change` raises, nothing is stored.
        """
        self._refresh()
        if device_id not in self._devices:
            return None
        return await self._finished(self._submit(lambda: self._change(device_id, change)))

    async def update_all(self, changes: Mapping[str, Change], news: Sequence[str] = ()) -> None:
        """Apply changes to several devices as one: all of them, or none. `news` is kept for whoever tells the log (`untold`).

        A change that gives the device back as it was leaves it alone. LookupError, with its id, when a device is unknown; else as
        `update`.
        """
        await self._finished(self._submit(lambda: self._change_all(changes, news)))

    async def untold(self) -> builtins.list[tuple[int, str]]:
        """Return news that was not told yet, oldest first, at most a hundred."""
        return await self._finished(self._submit(self._untold))

    async def told(self, numbers: Sequence[int]) -> None:
        """Forget news that was told."""
        await self._finished(self._submit(lambda: self._forget(numbers)))

    def seen(self, device_id: str, now: float) -> None:
        """Note that a device was seen; written soon, at most once an hour, without a new version and unannounced.

        Nothing is decided by it, so a failure to write is logged and nobody waits.
        """
        device = self._devices.get(device_id)
        if device is None or now - max(device.last_seen_at, self._seen.get(device_id, 0)) < SEEN_SECONDS:
            return
        self._seen[device_id] = now
        self._submit(lambda: self._touch(device_id, int(now))).add_done_callback(_log_failure)

    async def close(self) -> None:
        """Finish what is being written and close the file. May be called again."""
        await asyncio.to_thread(self._executor.shutdown)
        self._close_files()
        self._looked = -math.inf

    def _submit(self, step: Callable[[], _T]) -> Future[_T]:
        loop = asyncio.get_running_loop()
        try:
            working = self._executor.submit(step)
        except RuntimeError as error:
            raise StoreUnavailable("the device registry is closed", where=WHERE) from error
        # The index follows, and listeners hear of it, even when the caller is cancelled in the middle.
        working.add_done_callback(lambda done: None if done.cancelled() else loop.call_soon_threadsafe(self._follow))
        return working

    async def _finished(self, working: Future[_T]) -> _T:
        with self._errors():
            result = await asyncio.wrap_future(working)
        self._refresh()
        return result

    def _follow(self) -> None:
        try:
            self._refresh()
        except StoreUnavailable as error:
            # The next lookup raises it again, to somebody who can answer for it.
            logger.warning("%s", error)

    # ------------------------------------------------------------------ on the writing thread

    def _prepare(self) -> None:
        if self._writer.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
            raise StoreUnavailable(f"{self._path} can't use a write-ahead log", where=WHERE, todo="Put it on a local file system")
        self._writer.execute("PRAGMA synchronous=FULL")
        with self._transaction():
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            for schema in SCHEMAS[version:] if 0 <= version < SCHEMA_VERSION else ():
                self._writer.execute(files("gateway.posture").joinpath(schema).read_text("utf-8"))
                self._writer.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            if not 0 <= version <= SCHEMA_VERSION:
                todo = "Start the version of the gateway that wrote it"
                raise StoreUnavailable(f"{self._path} has schema {version}, not {SCHEMA_VERSION}", where=WHERE, todo=todo)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")

    def _insert(self, device: Device) -> None:
        with self._transaction():
            if self._writer.execute("SELECT 1 FROM device WHERE id=?", (device.id,)).fetchone():
                raise ValueError(f"device {device.id} exists already")
            self._check_means(device)
            means = (device.cookie_hash or None, device.certificate_sha256 or None)
            self._writer.execute(_INSERT, (device.id, *means, canonical_json(device).decode()))

    def _change(self, device_id: str, change: Callable[[Device], Device]) -> Device | None:
        with self._transaction():
            old = self._stored(device_id)
            if old is None:
                return None
            new = msgspec.structs.replace(change(old), version=old.version + 1)
            if new.id != device_id:
                raise ValueError(f"device {device_id}: a change can't rename it")
            self._check_means(new)
            self._store(new)
            return new

    def _change_all(self, changes: Mapping[str, Change], news: Sequence[str]) -> None:
        with self._transaction():
            for device_id, change in changes.items():
                old = self._stored(device_id)
                if old is None:
                    raise LookupError(device_id)
                new = change(old)
                if new.id != device_id:
                    raise ValueError(f"device {device_id}: a change can't rename it")
                if new is not old:
                    self._check_means(new)
                    self._store(msgspec.structs.replace(new, version=old.version + 1))
            self._writer.executemany("INSERT INTO news (body) VALUES (?)", [(body,) for body in news])

    def _untold(self) -> builtins.list[tuple[int, str]]:
        with self._errors():
            return self._writer.execute("SELECT number, body FROM news ORDER BY number LIMIT 100").fetchall()

    def _forget(self, numbers: Sequence[int]) -> None:
        with self._transaction():
            self._writer.executemany("DELETE FROM news WHERE number=?", [(number,) for number in numbers])

    def _touch(self, device_id: str, now: int) -> None:
        with self._transaction():
            old = self._stored(device_id)
            if old is not None and old.last_seen_at < now:
                self._store(msgspec.structs.replace(old, last_seen_at=now))

    def _stored(self, device_id: str) -> Device | None:
        row = self._writer.execute("SELECT body FROM device WHERE id=?", (device_id,)).fetchone()
        return _decode(row[0]) if row is not None else None

    def _store(self, device: Device) -> None:
        means = (device.cookie_hash or None, device.certificate_sha256 or None)
        self._writer.execute(_UPDATE, (*means, canonical_json(device).decode(), device.id))

    def _check_means(self, device: Device) -> None:
        for column, value in (("cookie_hash", device.cookie_hash), ("certificate_sha256", device.certificate_sha256)):
            taken = self._writer.execute(f"SELECT id FROM device WHERE {column}=? AND id<>?", (value, device.id)).fetchone()  # noqa: S608  of constants
            if taken is not None and value:
                raise ValueError(f"device {device.id}: its {column.split('_')[0]} belongs to device {taken[0]}")

    # ------------------------------------------------------------------ the index

    def _found(self, look_up: Callable[[], Device | None]) -> Device | None:
        """Look up; again after a look at the file when the last one is too old, or when the answer would turn somebody away whom
        another worker has registered or approved a moment ago.
        """
        if time.monotonic() - self._looked < TRUST_SECONDS:
            device = look_up()
            if device is not None and device.status == "active":
                return device
        self._refresh()
        return look_up()

    def _refresh(self) -> None:
        """Take in what was committed since the last look, by whichever process."""
        looked, self._looked = time.monotonic(), -math.inf
        with self._errors():
            data_version = self._reader.execute("PRAGMA data_version").fetchone()[0]
            if data_version == self._data_version:
                self._looked = looked
                return
            query = "SELECT sequence, body FROM device WHERE sequence > ? ORDER BY sequence"
            rows = [(row[0], _decode(row[1])) for row in self._reader.execute(query, (self._sequence,))]
        changed = []
        for sequence, device in rows:
            old = self._devices.get(device.id)
            if old is not None:
                self._cookies.pop(old.cookie_hash, None)
                self._certificates.pop(old.certificate_sha256, None)
            self._devices[device.id] = device
            self._sequence = sequence
            if old is None or old.version != device.version:
                changed.append(device.id)
        for _, device in rows:
            if device.cookie_hash:
                self._cookies[device.cookie_hash] = device.id
            if device.certificate_sha256:
                self._certificates[device.certificate_sha256] = device.id
        self._data_version, self._looked = data_version, looked
        for device_id in changed:
            for listener in self._listeners:
                listener(device_id)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
            what = f"the device registry {self._path.name} can't be used"
            raise StoreUnavailable(what, where=WHERE, todo=f"{self._path} ({type(error).__name__}: {error})") from error


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


def _log_failure(done: Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.warning("when a device was last seen could not be written: %s", error)

"""The log on disk: append now, sync in groups, sign once a second.

- `append` writes during the call (one write(2)): the record survives the death of the process.
- A thread of its own syncs (fdatasync) what was written: at once when somebody waits in `synced`, else within 50 ms. One sync at
  a time; all that arrives meanwhile shares the next one.
- After a sync, at most once a second while records arrive, the same thread signs a checkpoint over what is on the disk.
- When a write, a sync, a checkpoint or the anchor fails, the log is broken for good: after a failed fdatasync nobody knows what
  is on the disk. Every later `append` raises AuditError, so nothing is let through, until a restart reads the files again.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.audit.checkpoint import Kind, Snapshot
from gateway.audit.encoding import encode_record, rfc3339, seal
from gateway.audit.feed import Feed, Listener
from gateway.audit.files import Disk, OsDisk
from gateway.audit.keys import public_pem
from gateway.audit.recover import Opened, open_log
from gateway.audit.settled import again, failure, value
from gateway.audit.storage import Storage
from gateway.domain.record import Actor, EventRecord, Record
from gateway.kernel.clock import Clock, SystemClock
from gateway.kernel.errors import AuditError
from gateway.kernel.ids import new_id

SEGMENT_BYTES: Final = 256 << 20
SYNC_SECONDS: Final = 0.025
"""A background sync begins this long after the first record that it covers, which leaves as long again for the disk."""
CHECKPOINT_SECONDS: Final = 1.0
_ENVELOPE: Final = 200
"""More bytes than a line has around its record."""

_log = logging.getLogger(__name__)


class _Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the syncing thread does next: sync, and perhaps sign, and perhaps end."""

    snapshot: Snapshot
    sign: Kind | None

    @property
    def last(self) -> bool:
        """Nothing comes after it."""
        return self.sign == "close"


class DiskAuditLog:
    """The port `AuditLog` on a folder of append-only segments. Belongs to the event loop that opened it."""

    def __init__(self, opened: Opened, storage: Storage, *, sync_seconds: float, checkpoint_seconds: float) -> None:
        """Use `open`."""
        self._loop = asyncio.get_running_loop()
        self._owner = threading.get_ident()
        self._sync_seconds = sync_seconds
        self._checkpoint_seconds = checkpoint_seconds
        self._storage = storage
        self._feed = Feed(known=opened.recent)
        self._folder = opened.folder
        self._log_id = opened.log
        self._public = public_pem(opened.public)
        self._tree = opened.state.tree
        self._head = opened.state.head
        self._synced = self._signed = opened.state.size
        self._next_sign = self._loop.time()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._sync_timer: asyncio.Handle | None = None
        self._sync_urgent = False
        self._sign_timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._broken: AuditError | None = None
        self._closed: asyncio.Future[None] | None = None
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        # A daemon: a process that ends without `close` must not hang; it leaves what a crash would leave.
        threading.Thread(target=self._work, name="audit-sync", daemon=True).start()

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        key_file: Path,
        anchor: Path | None = None,
        clock: Clock | None = None,
        disk: Disk | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        sync_seconds: float = SYNC_SECONDS,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> "DiskAuditLog":
        """Open the log in `folder`, or begin one there; be its only writer until `close`.

        `key_file` holds the Ed25519 key that signs checkpoints, and is created for a new log; `anchor` is a file for a copy of
        the newest checkpoint. Both must lie outside the folder. What a crash left is recorded and synced before this returns.
        Raises AuditError: another writer, a log that does not fit its own checkpoints or anchor, an unusable path or key.
        """
        clock = clock or SystemClock()
        opened = open_log(folder, key_file=key_file, anchor=anchor, clock=clock)
        storage = Storage(opened, disk=disk or OsDisk(), clock=clock, segment_bytes=segment_bytes)
        try:
            storage.sync()
            storage.checkpoint(opened.state, "open")
        except OSError as error:
            storage.close()
            raise AuditError(
                f"the log can't be written ({error.strerror or error})", where=str(folder), todo="Make room or repair the disk"
            ) from error
        log = cls(opened, storage, sync_seconds=sync_seconds, checkpoint_seconds=checkpoint_seconds)
        try:
            for finding in opened.findings:
                _log.warning("the log was not closed cleanly: %s %s", finding.target, finding.detail)
                index = await log.append(
                    EventRecord(
                        id=new_id("evt"),
                        at=rfc3339(clock.now()),
                        event="log.recovered",
                        outcome="success",
                        actor=Actor(),
                        target=finding.target,
                        detail=finding.detail,
                    )
                )
                await log.synced(index)
        except BaseException:
            await log.close()
            raise
        return log

    @property
    def folder(self) -> Path:
        """Where the log is."""
        return self._folder

    @property
    def log_id(self) -> str:
        """Which log this is."""
        return self._log_id

    @property
    def public_key_pem(self) -> bytes:
        """The key that verifies checkpoints. Keep a copy where the gateway can't write, for `verify --public-key`."""
        return self._public

    @property
    def size(self) -> int:
        """How many records the log holds."""
        return self._tree.size

    @property
    def signed(self) -> int:
        """How many of them the newest checkpoint covers."""
        return self._signed

    @property
    def broken(self) -> AuditError | None:
        """Why nothing more can be written, or None. For health checks."""
        return self._broken

    def write(self, record: Record) -> int:
        """Write a record during this very call and return its index. Raises AuditError."""
        self._ready()
        encoded = encode_record(record)
        index = self._tree.size
        try:
            self._make_room(len(encoded) + _ENVELOPE)
            line, digest = seal(index, self._head, encoded)
            self._storage.write(line)
        except OSError as error:
            raise again(self._break(error)) from error
        self._tree.add(digest)
        self._head = digest.hex()
        self._wake(urgent=False)
        self._feed.publish(index, record)
        return index

    def write_many(self, records: Sequence[Record]) -> int:
        """Write records during this very call, in order, with one write(2); return the index of the last.

        Raises AuditError: then none counts as written (the machine may still find some of their lines after a crash); and
        ValueError when there are none.
        """
        if not records:
            raise ValueError("no records")
        self._ready()
        encoded = [encode_record(record) for record in records]
        first = index = self._tree.size
        lines, digests, head = [], [], self._head
        try:
            self._make_room(sum(map(len, encoded)) + _ENVELOPE * len(encoded))
            for index, part in enumerate(encoded, first):
                line, digest = seal(index, head, part)
                head = digest.hex()
                lines.append(line)
                digests.append(digest)
            self._storage.write(b"".join(lines))
        except OSError as error:
            raise again(self._break(error)) from error
        for digest in digests:
            self._tree.add(digest)
        self._head = head
        self._wake(urgent=False)
        self._feed.publish(first, *records)
        return index

    def _ready(self) -> None:
        """Raise AuditError where nothing can be written, or not by this thread."""
        if self._broken is not None:
            raise again(self._broken)
        if self._closed is not None:
            raise AuditError("the log is closed", where=str(self._folder))
        if threading.get_ident() != self._owner:
            raise AuditError("append was called in another thread than the event loop's", where=str(self._folder))

    def _make_room(self, size: int) -> None:
        """Begin the next segment when this one should end before `size` bytes more."""
        if self._storage.full(size):
            self._storage.rotate(self._snapshot())
            self._signed = self._tree.size
            self._on_synced(self._tree.size)

    def append(self, record: Record) -> Coroutine[Any, Any, int]:
        """Write a record during this very call; the coroutine only hands out its index, or raises AuditError.

        So cancelling the task that awaits it, however often and however early, does not lose the record.
        """
        try:
            return value(self.write(record))
        except AuditError as error:
            return failure(error)

    async def synced(self, index: int) -> None:
        """Wait until the record of `index` is on disk. Raises AuditError when that can't be known any more."""
        if not 0 <= index < self._tree.size:
            raise AuditError(f"there is no record {index} to wait for", where=self._storage.file)
        if index < self._synced:
            return
        if self._broken is not None:
            raise again(self._broken)
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((index, future))
        self._wake(urgent=True)
        await future

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(index, record)` after each write, in order, in the event loop; returns the unsubscriber."""
        return self._feed.subscribe(listener)

    def recent(self, count: int) -> list[tuple[int, Record]]:
        """Return the newest `count` records (up to 1,000, also from before a restart), oldest first."""
        return self._feed.recent(count)

    async def close(self) -> None:
        """Sync and sign everything, and let another writer in. May be called again; cancelling it only stops the waiting.

        Raises AuditError when the log was broken or breaks now: then not everything is on disk.
        """
        if self._closed is None:
            self._closed = self._loop.create_future()
            for timer in (self._sync_timer, self._sign_timer):
                if timer is not None:
                    timer.cancel()
            self._jobs.put(_Job(snapshot=self._snapshot(), sign="close"))
        await asyncio.shield(self._closed)
        if self._broken is not None:
            raise again(self._broken)

    # ------------------------------------------------------------ in the event loop

    def _snapshot(self) -> Snapshot:
        return Snapshot(tree=self._tree.copy(), head=self._head)

    def _wake(self, *, urgent: bool) -> None:
        """See to it that a sync begins: at the end of this turn of the loop, or within `sync_seconds`."""
        if self._busy or self._closed is not None or (self._sync_timer is not None and (self._sync_urgent or not urgent)):
            return
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        self._sync_urgent = urgent
        self._sync_timer = self._loop.call_soon(self._begin) if urgent else self._loop.call_later(self._sync_seconds, self._begin)

    def _begin(self) -> None:
        """Hand everything that was written to the syncing thread, and let it sign when it is time to."""
        self._sync_timer = None
        if self._busy or self._broken is not None or self._closed is not None:
            return
        self._busy = True
        sign = self._tree.size > self._signed and self._loop.time() >= self._next_sign
        self._jobs.put(_Job(snapshot=self._snapshot(), sign="time" if sign else None))

    def _sign_now(self) -> None:
        self._sign_timer = None
        if self._tree.size > self._signed:
            self._wake(urgent=True)

    def _on_synced(self, size: int) -> None:
        """Wake everybody whose record is on disk now."""
        self._synced = max(self._synced, size)
        still = []
        for index, future in self._waiting:
            if index >= self._synced:
                still.append((index, future))
            elif not future.done():
                future.set_result(None)
        self._waiting = still

    def _on_idle(self, job: _Job) -> None:
        """The thread is free again: sync what came meanwhile, or come back when it is time to sign."""
        self._busy = False
        if job.sign:
            self._signed = max(self._signed, job.snapshot.size)
            self._next_sign = self._loop.time() + self._checkpoint_seconds
        if self._closed is not None or self._broken is not None:
            return
        if self._waiting:
            self._wake(urgent=True)
        elif self._tree.size > self._synced:
            self._wake(urgent=False)
        if self._tree.size > self._signed and self._sign_timer is None:
            self._sign_timer = self._loop.call_at(self._next_sign, self._sign_now)

    def _on_done(self, job: _Job) -> None:
        self._on_synced(job.snapshot.size)
        self._on_idle(job)

    def _on_closed(self) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _break(self, error: Exception) -> AuditError:
        """Give up the log: nobody is let in from now on."""
        if self._broken is None:
            what = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._broken = AuditError(
                f"the log can't be written ({what}); nothing is let through until the gateway is restarted",
                where=self._storage.file,
                todo="Make room or repair the disk, then restart the gateway",
            )
            _log.critical("%s", self._broken, exc_info=error)
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(again(self._broken))
        self._waiting = []
        return self._broken

    # ------------------------------------------------------------ in the syncing thread

    def _work(self) -> None:
        failed = False
        while True:
            job = self._jobs.get()
            try:
                if self._broken is None and not failed:
                    self._storage.sync()
                    if job.sign is None:
                        # One message instead of two: waking the loop costs more than what it then does.
                        self._tell(self._on_done, job)
                        continue
                    self._tell(self._on_synced, job.snapshot.size)
                    self._storage.checkpoint(job.snapshot, job.sign)
            except Exception as error:  # noqa: BLE001  any failure here means that the disk's state is unknown
                failed = True
                self._tell(self._break, error)
            if job.last:
                self._storage.close()
                self._tell(self._on_closed)
                return
            self._tell(self._on_idle, job)

    def _tell(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            _log.warning("the event loop ended before the log was closed")

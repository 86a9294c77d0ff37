"""A log that keeps its records in memory: for tests of other parts. It proves nothing and survives nothing."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gateway.audit.encoding import encode_record
from gateway.audit.feed import Feed, Listener
from gateway.audit.settled import again, failure, value
from gateway.domain.record import Record
from gateway.kernel.errors import AuditError


class MemoryAuditLog:
    """The port `AuditLog` without a disk: same indexes, same order, same errors, same limits on what a record may hold."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._feed = Feed()
        self._broken: AuditError | None = None
        self._closed = False

    def write(self, record: Record) -> int:
        """Keep a record and return its index, or raise AuditError."""
        return self.write_many((record,))

    def write_many(self, records: Sequence[Record]) -> int:
        """Keep records and return the index of the last, or raise AuditError and keep none."""
        if not records:
            raise ValueError("no records")
        if self._broken is not None:
            raise again(self._broken)
        if self._closed:
            raise AuditError("the log is closed", where="memory")
        for record in records:
            encode_record(record)
        first = len(self.records)
        self.records.extend(records)
        self._feed.publish(first, *records)
        return first + len(records) - 1

    def append(self, record: Record) -> Coroutine[Any, Any, int]:
        """Keep a record during this very call; the coroutine only hands out its index, or raises AuditError."""
        try:
            return value(self.write(record))
        except AuditError as error:
            return failure(error)

    async def synced(self, index: int) -> None:
        """Return at once, unless the log is broken or has no such record."""
        if not 0 <= index < len(self.records):
            raise AuditError(f"there is no record {index} to wait for", where="memory")
        if self._broken is not None:
            raise again(self._broken)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(index, record)` after each append."""
        return self._feed.subscribe(listener)

    def recent(self, count: int) -> list[tuple[int, Record]]:
        """Return the newest `count` records, oldest first."""
        return self._feed.recent(count)

    def fail(self, what: str = "the disk is gone") -> None:
        """Break the log: from now on every call raises AuditError."""
        self._broken = AuditError(what, where="memory")

    @property
    def broken(self) -> AuditError | None:
        """Why nothing more is written, or None."""
        return self._broken

    async def close(self) -> None:
        """Take no more records."""
        self._closed = True

"""The log as a file for somebody else, verified on the way: what the console's download and `gateway audit export` call.

These are plain iterators that read files: in an event loop, take each piece in a worker thread
(`await asyncio.to_thread(next, pieces, None)`; None: that was all).
Columns, integrity marks and formats: `gateway.audit.formats`, `gateway.audit.query`.
"""

from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path
from typing import Self

from gateway.audit.formats import jsonl, table
from gateway.audit.query import JAPAN, Filters, Query
from gateway.audit.verify import Overall
from gateway.kernel.i18n import Language

Progress = Callable[[int, int], None]


class Export:
    """A verified view of a log that can be written out. Close it, or use it in a `with`."""

    def __init__(
        self, folder: Path, *, anchor: Path | None = None, public_key: Path | None = None, progress: Progress | None = None
    ) -> None:
        """Verify the log (reads all of it). Raises AuditError when there is none, or it can't be read.

        A log that is not whole can be exported: every row then says that nothing could be verified.
        """
        self._query = Query(folder, anchor=anchor, public_key=public_key, progress=progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.close()

    @property
    def report(self) -> Overall:
        """What the verification found."""
        return self._query.report

    def csv(
        self, filters: Filters, *, language: Language = "ja", zone: timezone = JAPAN, progress: Progress | None = None
    ) -> Iterator[bytes]:
        """Yield CSV in pieces; the first is there at once."""
        return table.rows_to_csv(self._query.rows(filters, self._counted(progress)), language, zone)

    def jsonl(self, filters: Filters, *, progress: Progress | None = None) -> Iterator[bytes]:
        """Yield JSON Lines, a line at a time."""
        return (jsonl.line(row) for row in self._query.rows(filters, self._counted(progress)))

    def close(self) -> None:
        """Forget what was collected."""
        self._query.close()

    def _counted(self, progress: Progress | None) -> Callable[[int], None] | None:
        total = self.report.records
        return (lambda done: progress(done, total)) if progress is not None else None


def export_csv(
    folder: Path,
    filters: Filters,
    *,
    language: Language = "ja",
    zone: timezone = JAPAN,
    anchor: Path | None = None,
    public_key: Path | None = None,
) -> Iterator[bytes]:
    """Verify the log and yield it as CSV. The first piece comes after the verification, or AuditError."""
    with Export(folder, anchor=anchor, public_key=public_key) as export:
        yield from export.csv(filters, language=language, zone=zone)


def export_jsonl(
    folder: Path, filters: Filters, *, anchor: Path | None = None, public_key: Path | None = None
) -> Iterator[bytes]:
    """Verify the log and yield it as JSON Lines. The first line comes after the verification, or AuditError."""
    with Export(folder, anchor=anchor, public_key=public_key) as export:
        yield from export.jsonl(filters)

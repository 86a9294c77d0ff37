"""From lines of nginx's access log to records.

| line | record |
|---|---|
| an allowed request with a decision of its own | its completion |
| a request under a lease | a `use` of the decision |
| one that nginx refused by itself, or had no answer for | event `front.refused` |
| one that we refused, or that went through our own proxy | none: it has its records |

And a finding (event `front.suspicious`) for what can't be: see `Finding`.
"""

import collections
from typing import Final, Literal

import msgspec

from gateway.domain.record import Actor, CompletionRecord, EventRecord, Record, Source, UseRecord
from gateway.kernel.ids import new_id
from gateway.leases.line import Line, read_line
from gateway.leases.mark import Mark, Marks
from gateway.leases.sequence import Sequence
from gateway.leases.times import rfc3339

Finding = Literal[
    "no_line", "no_decision", "mark", "no_lease", "after_lease", "not_read", "repeated", "lost", "too_many", "gap", "file",
]  # fmt: skip
"""What can't be: a line that is none; a request that was let through without a decision; a mark that is not ours, or another
request's or client's; a lease that was never given; or was over; or for something else than a read; a request, or a decision
of its own, that comes twice; lines fewer, or more, than nginx counted requests; numbers of a connection passed over; a file
cut or gone."""

FRONT: Final = "nginx"
_DECISIONS_KEPT: Final = 50_000
_LET_THROUGH: Final = 400
"""Statuses below it come from an application: nginx itself answers only with errors where we are asked."""


class Ingest:
    """Turns lines into records; keeps what it takes to see that one comes twice. Pure but for its memory."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self.sequence: Final = Sequence()
        self._completed: collections.OrderedDict[str, None] = collections.OrderedDict()

    def take(self, data: bytes, *, at: str) -> tuple[Line | None, list[Record]]:
        """Return a line and the records that it makes; `at` is their time (RFC 3339)."""
        line = read_line(data)
        if line is None:
            return None, [finding("no_line", at=at, bytes=str(len(data)))]
        records: list[Record] = []
        if not self.sequence.see(line.pid, line.connection, line.n):
            records.append(self._found("repeated", line, at))
        if line.way == "ask":
            records += self._asked(line, at)
        return line, records

    def _asked(self, line: Line, at: str) -> list[Record]:
        if not line.use:
            if line.code and line.code < _LET_THROUGH:
                return [self._found("no_decision", line, at)]
            return [_refused(line, at)]
        mark = self._marks.verify(line.use, method=line.method, host=line.host, path=line.path, address=line.address)
        if mark is None:
            return [self._found("mark", line, at)]
        if not mark.allowed:
            return []
        return self._leased(line, mark, at) if line.lease == "HIT" else self._own(line, mark, at)

    def _own(self, line: Line, mark: Mark, at: str) -> list[Record]:
        if mark.id in self._completed:
            return [self._found("repeated", line, at, mark.id)]
        self._completed[mark.id] = None
        if len(self._completed) > _DECISIONS_KEPT:
            self._completed.popitem(last=False)
        return [
            CompletionRecord(
                id=mark.id, at=at, status=line.code, bytes_in=line.bytes_in, bytes_out=line.bytes_out,
                duration_ms=round(line.seconds * 1000), break_glass=mark.break_glass or msgspec.UNSET,
            )
        ]  # fmt: skip

    def _leased(self, line: Line, mark: Mark, at: str) -> list[Record]:
        use = UseRecord(
            id=mark.id, at=at, began=rfc3339(line.began), source=Source(address=line.address, door=FRONT), method=line.method,
            host=line.host, path=line.path, status=line.code, bytes_in=line.bytes_in, bytes_out=line.bytes_out,
            duration_ms=round(line.seconds * 1000), process=line.pid, connection=line.connection, number=line.n,
        )  # fmt: skip
        wrong: Finding | None = None
        if line.method not in {"GET", "HEAD"}:
            wrong = "not_read"
        elif not mark.until:
            wrong = "no_lease"
        elif line.began >= mark.until:
            wrong = "after_lease"
        return [use] if wrong is None else [use, self._found(wrong, line, at, mark.id)]

    @staticmethod
    def _found(what: Finding, line: Line, at: str, decision: str = "") -> EventRecord:
        place = f"{line.pid}/{line.connection}/{line.n}"
        return finding(what, at=at, target=decision, place=place, request=_text(line), status=line.status, address=line.address)


def finding(what: Finding, *, at: str, target: str = "", **detail: str) -> EventRecord:
    """Return the event that says what was found."""
    return EventRecord(
        id=new_id("evt"), at=at, event="front.suspicious", outcome="failure", actor=Actor(), source=Source(door=FRONT),
        target=target, detail={"what": what, **detail},
    )  # fmt: skip


def _refused(line: Line, at: str) -> EventRecord:
    return EventRecord(
        id=new_id("evt"), at=at, event="front.refused", outcome="failure", actor=Actor(),
        source=Source(address=line.address, door=FRONT), target=_text(line), detail={"status": line.status},
    )  # fmt: skip


def _text(line: Line) -> str:
    text = f"{line.method} {line.host}{line.path}"
    return text if len(text) <= 512 else f"{text[:509]}..."  # noqa: PLR2004  enough to recognise it

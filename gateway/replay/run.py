"""A replay from beginning to end: the log's parts are handed to processes, and what they counted is put together.

A part that does not hold by itself says nothing about why: then one process walks over the whole log with the verifier that can
tell, and only what that finds is said.
"""

import hashlib
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final, Self

import msgspec

from gateway.audit.encoding import rfc3339
from gateway.audit.installation import Installation
from gateway.audit.parts import PartFiles, parts_of
from gateway.audit.verify import Finding, Overall, Report, Roll
from gateway.audit.verify.parts import Held, joined, marks_of
from gateway.kernel.errors import AuditError, BundleError, GatewayError
from gateway.policy.compile import version_of
from gateway.policy.remedy import Outcomes
from gateway.replay.report import ReplayReport
from gateway.replay.tally import Tally, most_first
from gateway.replay.wire import (
    Answer,
    DoPart,
    DoWhole,
    Frames,
    PartDone,
    Prepare,
    Progress,
    Ready,
    WholeDone,
    Word,
    Wrong,
    answers,
    frame,
    write_all,
)
from gateway.replay.worker import zone_name

MAX_DAYS: Final = 3660
_DAY: Final = 86_400
_PIECE: Final = 1 << 16
_LOOK_SECONDS: Final = 0.1
"""How soon a replay notices that nobody wants it any more."""
_CASES: Final = "cases/"


class LogNotWhole(GatewayError):  # noqa: N818  reads as what it is
    """The log does not verify: nothing is shown of it."""

    def __init__(self, overall: Overall) -> None:
        first = overall.findings[0]
        others = len(overall.findings) + overall.more_findings - 1
        super().__init__(
            f"the log does not verify: {first}" + (f" (and {others:,} more findings)" if others else ""),
            todo="Nothing is replayed. Run `gateway audit verify` for the whole report",
        )
        self.findings: tuple[Finding, ...] = overall.findings


class Cancelled(Exception):  # noqa: N818  no error: somebody asked for it
    """The replay was given up."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What to replay."""

    folder: Path
    """Of the log."""
    before: Mapping[str, bytes]
    """The policies in force: names as in a bundle's folder to bytes. Cases are passed over."""
    after: Mapping[str, bytes]
    """The draft's."""
    days: int
    now: float
    """Epoch seconds."""
    zone: tzinfo
    """The hospital's."""
    anchor: Path | None = None
    public_key: Path | None = None
    outcomes: Outcomes = Outcomes()
    workers: int = 0
    """Processes; 0: as many as there are cores, at most four."""
    nice: int = 0


OnProgress = Callable[[int, int], None]
"""Hears bytes done and bytes in all."""


def replay(
    wish: Wish, *, progress: OnProgress | None = None, cancelled: Callable[[], bool] = lambda: False, parts: bool = True
) -> ReplayReport:
    """Do what is wished. Blocking; may be called in any thread. Leaves no process behind, whatever happens.

    `parts=False` lets one process walk over the log line by line: the same result, later. Raises LogNotWhole, Cancelled,
    BundleError (the draft, or what is in force, can't be used), AuditError (there is no log, or it can't be read).
    """
    began = time.monotonic()
    since = rfc3339(max(0.0, wish.now - wish.days * _DAY))
    with ExitStack() as stack:
        crew = stack.enter_context(_Crew(wish, since, cancelled))
        found = _in_parts(crew, wish, progress) if parts else None
        if found is None:
            found = crew.whole(progress)
        overall, tally = found
        versions = crew.versions
    return _report(wish, since, versions, overall, tally, time.monotonic() - began)


def _in_parts(crew: "_Crew", wish: Wish, progress: OnProgress | None) -> tuple[Overall, Tally] | None:
    """Return what all parts say; None when one does not hold."""
    logs = Installation(wish.folder, anchor=wish.anchor, public_key=wish.public_key)
    work = [(slot, files) for slot, log in logs.logs.items() for files in parts_of(log)]
    if {slot for slot, _ in work} != set(logs.logs):
        return None
    done = crew.parts([files for _, files in work], progress)
    if done is None:
        return None
    tally, reports, roll = Tally(), dict[int, Report](), Roll()
    for slot, log in logs.logs.items():
        held = []
        for (of, _), one in zip(work, done, strict=True):
            if of == slot and one.held is not None:
                held.append(one.held)
                tally.take(one.tally)
        report = joined(log.evidence, held)
        if report is None:
            return None
        reports[slot] = report
        _enrol(roll, slot, held)
    findings, _ = roll.finish(reports, anchors=logs.anchored)
    overall = Overall(logs=reports, findings=(), more_findings=0)
    return None if findings or not overall.whole else (overall, tally)


def _enrol(roll: Roll, slot: int, held: list[Held]) -> None:
    for index, record in marks_of(held):
        roll.record(slot, index, dict(record))


class _Worker:
    """One process and what it says."""

    def __init__(self) -> None:
        # -P: the folder that this was started in is no place to take modules from. Its own session: Ctrl-C is for whoever asked.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway.replay.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.frames = Frames()
        self.part = -1
        """Which it is at; -1: none."""
        self.done = 0

    @property
    def out(self) -> int:
        """The pipe that it speaks on."""
        return self.process.stdout.fileno() if self.process.stdout is not None else -1

    def tell(self, word: Word) -> None:
        """Say what to do next. AuditError when nobody listens."""
        try:
            write_all(self.process.stdin.fileno() if self.process.stdin is not None else -1, frame(word))
        except OSError as error:
            raise _ended() from error

    def end(self) -> None:
        """End it, at once."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class _Crew:
    """The processes of one replay."""

    def __init__(self, wish: Wish, since: str, cancelled: Callable[[], bool]) -> None:
        self._wish = wish
        self._cancelled = cancelled
        self._word = Prepare(
            before=_policies(wish.before),
            after=_policies(wish.after),
            zone=zone_name(wish.zone),
            since=since,
            outcomes=wish.outcomes,
            nice=wish.nice,
        )
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self.versions = Ready(before="", after="")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._selector.close()

    def prepare(self, count: int) -> None:
        """Have so many processes, each with both bundles compiled. Raises BundleError."""
        new = []
        while len(self._workers) < count:
            worker = _Worker()
            self._workers.append(worker)
            self._selector.register(worker.out, selectors.EVENT_READ, worker)
            new.append(worker)
        for worker in new:
            worker.tell(self._word)
        waiting = set(new)
        while waiting:
            for worker, answer in self._hear():
                if isinstance(answer, Ready):
                    self.versions = answer
                    waiting.discard(worker)

    def parts(self, parts: list[PartFiles], progress: OnProgress | None) -> list[PartDone] | None:
        """Have every part verified and counted; None as soon as one does not hold."""
        self.prepare(min(self._wish.workers or min(4, os.cpu_count() or 1), len(parts)))
        total, finished = sum(part.records_length for part in parts), 0
        # The longest first, so that none is left over for one process at the end.
        left = deque(sorted(range(len(parts)), key=lambda number: -parts[number].records_length))
        found: dict[int, PartDone] = {}
        for worker in self._workers:
            self._next(worker, left, parts)
        while len(found) < len(parts):
            for worker, answer in self._hear():
                if isinstance(answer, Progress):
                    worker.done = answer.done
                elif isinstance(answer, PartDone):
                    if answer.held is None:
                        return None
                    found[worker.part] = answer
                    finished += parts[worker.part].records_length
                    self._next(worker, left, parts)
            if progress is not None:
                progress(finished + sum(worker.done for worker in self._workers), total)
        return [found[number] for number in range(len(parts))]

    @staticmethod
    def _next(worker: _Worker, left: deque[int], parts: list[PartFiles]) -> None:
        worker.done, worker.part = 0, -1
        if left:
            worker.part = left.popleft()
            worker.tell(DoPart(files=parts[worker.part]))

    def whole(self, progress: OnProgress | None) -> tuple[Overall, Tally]:
        """Have one process walk over the whole log. Raises LogNotWhole."""
        for worker in self._workers:
            self._selector.unregister(worker.out)
            worker.end()
        self._workers.clear()
        self.prepare(1)
        wish = self._wish
        total = Installation(wish.folder, anchor=wish.anchor, public_key=wish.public_key).length
        word = DoWhole(folder=str(wish.folder), anchor=str(wish.anchor or ""), public_key=str(wish.public_key or ""))
        self._workers[0].tell(word)
        while True:
            for _, answer in self._hear():
                if isinstance(answer, Progress) and progress is not None:
                    progress(min(answer.done, total), total)
                elif isinstance(answer, WholeDone):
                    if not answer.overall.whole:
                        raise LogNotWhole(answer.overall)
                    return answer.overall, answer.tally

    def _hear(self) -> list[tuple[_Worker, Answer]]:
        """Wait a moment for what the processes say. Raises Cancelled, and what they complain of."""
        if self._cancelled():
            raise Cancelled
        heard: list[tuple[_Worker, Answer]] = []
        for key, _ in self._selector.select(_LOOK_SECONDS):
            worker: _Worker = key.data
            piece = os.read(worker.out, _PIECE)
            if not piece:
                raise _ended()
            heard += [(worker, answers.decode(message)) for message in worker.frames.feed(piece)]
        for _, answer in heard:
            if isinstance(answer, Wrong):
                kind = BundleError if answer.kind == "bundle" else AuditError
                raise kind(answer.what, where=answer.where, todo=answer.todo)
        return heard


def _ended() -> AuditError:
    return AuditError("a process of the replay ended before its work was done", todo="Try again; its own words are in the log")


def _policies(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.startswith(_CASES)}


def content_of(files: Mapping[str, bytes]) -> str:
    """Return the hash over a bundle's files, cases included."""
    cases = {name.removeprefix(_CASES): data for name, data in files.items() if name.startswith(_CASES)}
    return hashlib.sha256(f"{version_of(_policies(files))} {version_of(cases)}".encode()).hexdigest()


def _report(wish: Wish, since: str, versions: Ready, overall: Overall, tally: Tally, took: float) -> ReplayReport:
    logs = overall.logs.values()
    counts = tally.counts
    return ReplayReport(
        before=versions.before,
        after=versions.after,
        content=content_of(wish.after),
        made_at=datetime.fromtimestamp(wish.now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        days=wish.days,
        since=since,
        zone=zone_name(wish.zone),
        records=overall.records,
        signed=sum(report.signed for report in logs),
        first_at=min((report.first_at for report in logs if report.first_at), default=""),
        last_at=max(report.last_at for report in logs),
        notes=tuple(note for report in logs for note in report.notes)[:20],
        requests=sum(counts.values()),
        lost=counts.get("lost", 0),
        gained=counts.get("gained", 0),
        still_allowed=counts.get("still_allowed", 0),
        still_denied=counts.get("still_denied", 0),
        lacking=counts.get("lacking", 0),
        unreadable=counts.get("unreadable", 0),
        not_reproduced=counts.get("not_reproduced", 0),
        uses=tally.uses,
        loose_uses=tally.loose_uses,
        older=tally.older,
        undecided=tally.undecided,
        otherwise=tally.otherwise,
        questions=tally.questions,
        seconds=round(took, 3),
        people=most_first(tally.people.values()),
        roles=most_first(tally.roles.values()),
        routes=most_first(tally.routes.values()),
        hours=tally.hours(),
        lacks=tally.lacking(),
        lost_samples=tally.newest("lost"),
        gained_samples=tally.newest("gained"),
        lacking_samples=tally.newest("lacking"),
        unreadable_samples=tally.newest("unreadable"),
        not_reproduced_samples=tally.newest("not_reproduced"),
    )

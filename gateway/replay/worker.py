"""The process that does a replay's work: `python -m gateway.replay.worker`, spoken to by `gateway.replay.run`.

A process of our own, not a fork: whoever asks may have an event loop and threads. It ends with its standard input, and as soon as
nobody reads what it says.
"""

import os
import resource
import sys
from datetime import timezone, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from gateway.audit.installation import Installation
from gateway.audit.parts import hold
from gateway.audit.query import parse_offset
from gateway.audit.verify.parts import NotHeld
from gateway.kernel.errors import AuditError, BundleError
from gateway.policy.compile import compile_bundle
from gateway.replay.judge import Replayer, Seen, read
from gateway.replay.tally import Tally
from gateway.replay.wire import Answer as Said
from gateway.replay.wire import (
    DoPart,
    DoWhole,
    PartDone,
    Prepare,
    Progress,
    Ready,
    WholeDone,
    Word,
    Wrong,
    frame,
    read_frames,
    words,
    write_all,
)

MEMORY_BYTES: Final = 4 << 30
_OUT: Final = 1
_UNREADABLE: Final = msgspec.Raw(b'"unreadable"')


class _Work:
    """What this process knows so far."""

    def __init__(self) -> None:
        self._replayer: Replayer | None = None

    def answer(self, word: Word) -> Said:
        try:
            if isinstance(word, Prepare):
                return self._prepare(word)
            if self._replayer is None:
                return Wrong(kind="log", what="nothing was prepared")
            return self._part(word, self._replayer) if isinstance(word, DoPart) else self._whole(word, self._replayer)
        except BundleError as error:
            return Wrong(kind="bundle", what=error.what, where=error.where, todo=error.todo)
        except AuditError as error:
            return Wrong(kind="log", what=error.what, where=error.where, todo=error.todo)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            return Wrong(kind="log", what=f"can't be read ({error.strerror or error})", where=str(error.filename or ""))

    def _prepare(self, word: Prepare) -> Ready:
        if word.nice:
            os.nice(word.nice)
        before = compile_bundle(word.before, "in force")
        after = compile_bundle(word.after, "draft")
        self._replayer = Replayer(before, after, zone=zone_of(word.zone), since=word.since, outcomes=word.outcomes)
        return Ready(before=before.version, after=after.version)

    @staticmethod
    def _part(word: DoPart, replayer: Replayer) -> PartDone:
        replayer.begin()
        try:
            held = hold(word.files, read=read, on_record=replayer.take, progress=_say)
        except NotHeld:
            return PartDone(held=None, tally=Tally())
        return PartDone(held=held, tally=replayer.finish())

    @staticmethod
    def _whole(word: DoWhole, replayer: Replayer) -> WholeDone:
        replayer.begin()
        logs = Installation(
            Path(word.folder),
            anchor=Path(word.anchor) if word.anchor else None,
            public_key=Path(word.public_key) if word.public_key else None,
        )

        def take(_slot: int, index: int, record: dict[str, Any]) -> None:
            replayer.take(index, _seen(record))

        overall = logs.verify(on_record=take, progress=lambda done, _: _say(done))
        return WholeDone(overall=overall, tally=replayer.finish() if overall.whole else Tally())


def _seen(record: dict[str, Any]) -> Seen:
    """A record that the walk read, as replay reads it; a decision that it can't read has facts that nobody can."""
    try:
        return read(msgspec.json.encode(record))
    except (msgspec.MsgspecError, ValueError, TypeError):
        return Seen(
            type=str(record.get("type")), id=str(record.get("id")), at=str(record.get("at")), outcome="deny", facts=_UNREADABLE
        )


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name, or an offset."""
    try:
        return parse_offset(name)
    except ValueError:
        return ZoneInfo(name)


def zone_name(zone: tzinfo) -> str:
    """Return the name under which `zone_of` finds a zone."""
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    if isinstance(zone, timezone):
        minutes = int(zone.utcoffset(None).total_seconds()) // 60
        return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    raise ValueError(f"{zone} has no name")


def _say(done: int) -> None:
    write_all(_OUT, frame(Progress(done=done)))


def main() -> None:
    """Do what comes in, until nothing comes any more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    work = _Work()
    try:
        for message in read_frames(0):
            write_all(_OUT, frame(work.answer(words.decode(message))))
    except BrokenPipeError:
        sys.exit(1)  # whoever asked has gone


if __name__ == "__main__":
    main()

"""Asking the log: which records, joined with how they ended and when the person signed in.

Two passes over the files in constant memory: the first verifies and collects what is joined into a temporary SQLite database
(ids, times and counts; no names, no patients; it is deleted by the operating system), the second yields the rows.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from gateway.audit.installation import Entry, Installation
from gateway.audit.verify import Overall
from gateway.audit.verify.lines import seconds

Integrity = Literal["signed", "unsigned", "not_verified"]
"""`signed`: verified and covered by a checkpoint; `unsigned`: verified, newer than the newest checkpoint; `not_verified`: its log
is not whole, so nothing can be said of any record in it."""

JAPAN: Final = timezone(timedelta(hours=9))

_BATCH: Final = 2000
_OF_A_LEASE: Final = ("outcome", "actor", "app", "route", "action", "patient", "policies", "bundle")
"""What a use of a decision has in common with it."""
_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which records to take; None takes all. They are combined with "and"."""

    since: float | None = None
    """Epoch seconds; records of this moment are taken."""
    until: float | None = None
    """Epoch seconds; records of this moment are not."""
    person: str | None = None
    """Subject, login or name of whoever acted, or the account that an event was about: also somebody whose session an officer
    ended. Case does not matter."""
    patient: str | None = None
    app: str | None = None
    outcome: str | None = None

    def take(self, record: dict[str, Any]) -> bool:
        """Say whether a record is wanted. A time that can't be read is never filtered out."""
        at = seconds(str(record.get("at"))) if self.since is not None or self.until is not None else None
        if at is not None and ((self.since is not None and at < self.since) or (self.until is not None and at >= self.until)):
            return False
        for wanted, key in ((self.patient, "patient"), (self.app, "app"), (self.outcome, "outcome")):
            if wanted is not None and record.get(key) != wanted:
                return False
        return self.person is None or self._is_person(record, self.person.casefold())

    @staticmethod
    def _is_person(record: dict[str, Any], wanted: str) -> bool:
        actor = record.get("actor")
        names = [actor.get(key) for key in ("subject", "login", "name")] if isinstance(actor, dict) else []
        detail = record.get("detail")
        about = [detail.get(key) for key in ("subject", "login")] if isinstance(detail, dict) else []
        return any(isinstance(name, str) and name.casefold() == wanted for name in (*names, *about, record.get("target")))


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with its completion, one event, or a completion whose decision no log here holds."""

    index: int
    slot: int
    """Which log of the installation (`gateway.audit.slots`) the record is in; its index counts there."""
    hash: str
    integrity: Integrity
    record: dict[str, Any]
    completion: dict[str, Any] | None
    signed_in_at: str
    """When the session of this record began, from its sign-in event; empty when no log here holds that."""


class Query:
    """An installation's logs at one moment, verified and ready to be asked."""

    def __init__(
        self,
        folder: Path,
        *,
        anchor: Path | None = None,
        public_key: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Verify the logs. Raises AuditError when there is none or it can't be read; one that is not whole can be asked, too."""
        self._logs = Installation(folder, anchor=anchor, public_key=public_key)
        # Console requests run each step in some worker thread, one after the other.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            self._db.executescript(
                """
                PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
                CREATE TABLE decision (id TEXT PRIMARY KEY) WITHOUT ROWID;
                CREATE TABLE completion (id TEXT PRIMARY KEY, slot INTEGER, at_index INTEGER, content BLOB) WITHOUT ROWID;
                CREATE TABLE leased (id TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID;
                CREATE TABLE signin (session TEXT PRIMARY KEY, slot INTEGER, at TEXT) WITHOUT ROWID;
                """
            )
            self._decisions: list[tuple[str]] = []
            self._completions: list[tuple[str, int, int, bytes]] = []
            self._leased: list[tuple[str, bytes]] = []
            self._signins: list[tuple[str, int, str]] = []
            self.report: Overall = self._logs.verify(on_record=self._collect, progress=progress)
            self._flush()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Forget what was collected."""
        self._db.close()

    def rows(self, filters: Filters, progress: Callable[[int], None] | None = None) -> Iterator[Row]:
        """Yield what is wanted, in the order of the log; several logs are merged by time. `progress(records read)` is called now
        and then.
        """
        for count, entry in enumerate(self._logs.entries()):
            if progress is not None and count % _BATCH == 0:
                progress(count)
            completion, record = None, entry.record
            slots = {entry.slot}
            if record.get("type") == "completion":
                if self._joined(entry):
                    continue
            elif record.get("type") == "decision":
                completion = self._completion(record, slots)
            elif record.get("type") == "use":
                record = {**self._reused(record), **record}
            if filters.take(record):
                signed_in_at = self._signed_in_at(record, slots)
                yield Row(
                    index=entry.index,
                    slot=entry.slot,
                    hash=entry.hash,
                    integrity=self._integrity(entry, slots),
                    record=record,
                    completion=completion,
                    signed_in_at=signed_in_at,
                )

    def _collect(self, slot: int, index: int, record: dict[str, Any]) -> None:
        kind, name = record.get("type"), str(record.get("id"))
        if kind == "decision" and record.get("outcome") == "allow":
            self._decisions.append((name,))
            if record.get("lease_seconds"):
                self._leased.append((name, msgspec.json.encode({key: record.get(key) for key in _OF_A_LEASE})))
        elif kind == "completion":
            self._completions.append((name, slot, index, msgspec.json.encode(record)))
        elif kind == "event" and record.get("event") == "signin.succeeded":
            self._signins.append((_session(record), slot, str(record.get("at"))))
        if len(self._decisions) + len(self._completions) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        # The first of several counts: a record that repeats an id stays a row of its own.
        self._db.executemany("INSERT OR IGNORE INTO decision VALUES (?)", self._decisions)
        self._db.executemany("INSERT OR IGNORE INTO completion VALUES (?, ?, ?, ?)", self._completions)
        self._db.executemany("INSERT OR IGNORE INTO leased VALUES (?, ?)", self._leased)
        self._db.executemany("INSERT OR IGNORE INTO signin VALUES (?, ?, ?)", self._signins)
        self._decisions, self._completions, self._leased, self._signins = [], [], [], []

    def _joined(self, entry: Entry) -> bool:
        """Say whether a completion stands on its decision's row."""
        name = str(entry.record.get("id"))
        found = self._db.execute(
            "SELECT slot, at_index FROM completion JOIN decision USING (id) WHERE completion.id = ?", (name,)
        ).fetchone()
        return bool(found == (entry.slot, entry.index))

    def _completion(self, record: dict[str, Any], slots: set[int]) -> dict[str, Any] | None:
        """Return how a decision's request ended, and note in `slots` which log says so."""
        if record.get("outcome") != "allow":
            return None
        found = self._db.execute("SELECT slot, content FROM completion WHERE id = ?", (str(record.get("id")),)).fetchone()
        if found is None:
            return None
        slots.add(found[0])
        return msgspec.json.decode(found[1], type=dict[str, Any])

    def _reused(self, record: dict[str, Any]) -> dict[str, Any]:
        """Who did what to whom, of the decision that a front reused."""
        found = self._db.execute("SELECT content FROM leased WHERE id = ?", (str(record.get("id")),)).fetchone()
        return msgspec.json.decode(found[0], type=dict[str, Any]) if found is not None else {}

    def _signed_in_at(self, record: dict[str, Any], slots: set[int]) -> str:
        """Return when the session began, and note in `slots` which log says so."""
        session = _session(record)
        found = self._db.execute("SELECT slot, at FROM signin WHERE session = ?", (session,)).fetchone() if session else None
        if found is None:
            return ""
        slots.add(found[0])
        return str(found[1])

    def _integrity(self, entry: Entry, slots: set[int]) -> Integrity:
        """Judge a row by the log that it is in, and by those that said anything on it."""
        if any(not self.report.logs[slot].whole or slot in self.report.strange for slot in slots):
            return "not_verified"
        return "signed" if entry.index < self.report.logs[entry.slot].signed else "unsigned"


def _session(record: dict[str, Any]) -> str:
    actor = record.get("actor")
    return str(actor.get("session", "")) if isinstance(actor, dict) else ""


def parse_offset(text: str) -> timezone:
    """Return the zone of `+09:00` or `Z`. Raises ValueError."""
    if text == "Z":
        return UTC
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no offset from UTC; write +09:00 or Z")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(offset if match[1] == "+" else -offset)


def parse_moment(text: str, zone: tzinfo, *, end: bool = False) -> float:
    """Return epoch seconds of a date (its beginning, or its end with `end`) or a time, in `zone` unless it names its own.

    Raises ValueError.
    """
    try:
        moment = datetime.fromisoformat(text)
        if len(text) == len("2027-01-31") and end:
            moment += timedelta(days=1)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no date or time; write 2027-01-31 or 2027-01-31T09:30") from error

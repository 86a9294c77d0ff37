"""Runs of asking the verifiers again: what each has found, also while it goes on and after a crash."""

import sqlite3
from typing import Any, Final, Literal

import msgspec

from idp.model import ProofingRecord
from idp.store.changes import end_proofings, note
from idp.store.database import Database
from idp.store.kept import RECORDS, read_record

Found = Literal["valid", "revoked", "expired", "unknown"]

_COLUMNS: Final = "SELECT id, started_at, started_by, finished_at, total, valid, revoked, expired, unknown FROM proofing_recheck"
# What a run has asked about is checked since it began, or ended: only those without an answer are asked again after a crash.
_DUE: Final = """
JOIN user u ON u.id=p.user_id AND u.active=1
WHERE p.ended_at IS NULL AND (p.expires_at IS NULL OR p.expires_at>:began) AND p.verified_at<=:began AND p.checked_at<:began
"""


class Recheck(msgspec.Struct, frozen=True, kw_only=True):
    """One run. It goes on, or was broken off, while `finished_at` is None; what was asked is the sum of the four findings."""

    number: int
    started_at: int
    started_by: str
    finished_at: int | None
    total: int
    valid: int
    revoked: int
    expired: int
    unknown: int

    @property
    def asked(self) -> int:
        """How many have been asked about."""
        return self.valid + self.revoked + self.expired + self.unknown


class SqliteRechecks:
    """Runs. One process at a time makes them: its caller sees to that."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, *, by: str, at: int) -> Recheck:
        """Begin a run, or go on with the one that was broken off; those without an answer in it are asked again."""

        def work(connection: sqlite3.Connection) -> Recheck:
            row = connection.execute(f"{_COLUMNS} WHERE finished_at IS NULL ORDER BY id DESC LIMIT 1").fetchone()
            if row is None:
                total = _count(connection, at)
                connection.execute("INSERT INTO proofing_recheck (started_at, started_by, total) VALUES (?,?,?)", (at, by, total))
            else:
                before = _recheck(row)
                total = before.asked - before.unknown + _count(connection, before.started_at)
                connection.execute("UPDATE proofing_recheck SET unknown=0, total=? WHERE id=?", (total, before.number))
            return _recheck(connection.execute(f"{_COLUMNS} WHERE finished_at IS NULL ORDER BY id DESC LIMIT 1").fetchone())

        return await self._database.run(work)

    async def due(self, run: Recheck) -> list[ProofingRecord]:
        """Return what this run has not asked about: proofings in force of active people, made before it began, oldest first."""

        def work(connection: sqlite3.Connection) -> list[ProofingRecord]:
            rows = connection.execute(f"{RECORDS} {_DUE} ORDER BY p.id", {"began": run.started_at})
            return [read_record(row) for row in rows]

        return await self._database.run(work)

    async def settle(self, run: Recheck, record: ProofingRecord, found: Found, *, at: int) -> None:
        """Write what was found, its consequence and the progress: all of it, or nothing.

        Revoked and expired proofings end; valid ones are marked as checked; without an answer everything stays as it is. What
        ended by somebody's else act meanwhile is not counted.
        """

        def work(connection: sqlite3.Connection) -> None:
            there = connection.execute("SELECT 1 FROM proofing WHERE id=? AND ended_at IS NULL", (record.number,)).fetchone()
            if there is None:
                connection.execute("UPDATE proofing_recheck SET total=total-1 WHERE id=?", (run.number,))
                return
            if found == "valid":
                connection.execute("UPDATE proofing SET checked_at=? WHERE id=?", (at, record.number))
            elif found != "unknown":
                # Its time may have come while the verifier was asked: it ends as what the verifier says.
                moment = at if record.expires_at is None else min(at, record.expires_at - 1)
                end_proofings(connection, record.user_id, why=found, at=moment, by=run.started_by, number=record.number)
            connection.execute(f"UPDATE proofing_recheck SET {found}={found}+1 WHERE id=?", (run.number,))  # noqa: S608  closed set

        await self._database.run(work)

    async def finish(self, run: Recheck, *, at: int) -> Recheck:
        """End a run, and note `proofing.rechecked` with what it found."""

        def work(connection: sqlite3.Connection) -> Recheck:
            connection.execute("UPDATE proofing_recheck SET finished_at=? WHERE id=?", (at, run.number))
            done = _recheck(connection.execute(f"{_COLUMNS} WHERE id=?", (run.number,)).fetchone())
            detail = {name: str(getattr(done, name)) for name in ("number", "total", "valid", "revoked", "expired", "unknown")}
            note(connection, "proofing.rechecked", user_id="", login="", by=run.started_by, at=at, detail=detail)
            return done

        return await self._database.run(work)

    async def list(self, limit: int = 20) -> list[Recheck]:
        """Return runs, newest first."""
        rows = await self._database.run(
            lambda connection: connection.execute(f"{_COLUMNS} ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
        )
        return [_recheck(row) for row in rows]


def _count(connection: sqlite3.Connection, began: int) -> int:
    return int(connection.execute(f"SELECT count(*) FROM proofing p {_DUE}", {"began": began}).fetchone()[0])  # noqa: S608  ours


def _recheck(row: tuple[Any, ...]) -> Recheck:
    return Recheck(
        number=row[0], started_at=row[1], started_by=row[2], finished_at=row[3], total=row[4], valid=row[5], revoked=row[6],
        expired=row[7], unknown=row[8],
    )  # fmt: skip

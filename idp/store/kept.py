"""What is kept of people's identity proofings: to look through, to give out to the person, and to delete."""

import sqlite3
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from idp.model import ProofingCase, ProofingRecord
from idp.store.changes import note
from idp.store.database import Database
from idp.store.passing import end_proofings_in_progress
from idp.store.users import read_user

RECORDS: Final = (
    "SELECT p.user_id, p.level, p.method, p.verified_at, p.expires_at, p.verifier, p.transaction_id, p.person_digest, "
    "p.evidence, p.digest_key, p.ended_at, p.ended_why, p.checked_at, p.id FROM proofing p"
)


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticator that was bound to a proofing."""

    proofing: int
    """`ProofingRecord.number`."""
    authenticator: str
    bound_at: int


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the staff ledger that a proofing has confirmed."""

    proofing: int
    claim: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticator that will be bound when officers approve a case."""

    case: str
    authenticator: str


class InvitationLine(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation as it is kept."""

    batch: str
    invited_by: str
    invited_at: int
    due_at: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is kept of one person's proofings, oldest first."""

    records: tuple[ProofingRecord, ...]
    bindings: tuple[Binding, ...]
    stated: tuple[Stated, ...]
    cases: tuple[ProofingCase, ...]
    waiting: tuple[Waiting, ...]
    invitations: tuple[InvitationLine, ...]


class SqliteKept:
    """Reads and deletes across the tables of identity proofing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self) -> dict[str, ProofingRecord]:
        """Return everybody's newest record, in force or not, by user id."""

        def work(connection: sqlite3.Connection) -> list[ProofingRecord]:
            newest = "WHERE p.id=(SELECT max(id) FROM proofing o WHERE o.user_id=p.user_id)"
            return [read_record(row) for row in connection.execute(f"{RECORDS} {newest}")]

        return {record.user_id: record for record in await self._database.run(work)}

    async def of(self, user_id: str) -> Kept:
        """Return everything about one person."""
        return await self._database.run(lambda connection: _kept(connection, user_id))

    async def cases(self, *, open_at: int | None) -> list[ProofingCase]:
        """Return cases without what is held with them, oldest first; with a time, those that are open then."""
        where, values = ("", ()) if open_at is None else (" WHERE state='open' AND expires_at>?", (open_at,))
        return await self._database.run(lambda connection: _cases(connection, where, values))

    async def digest_keys(self) -> dict[str, int]:
        """Return how many records, living or not, have a digest of each key, by its name (first one: empty)."""
        rows = await self._database.run(
            lambda connection: connection.execute("SELECT digest_key, count(*) FROM proofing GROUP BY digest_key").fetchall()
        )
        return {row[0]: row[1] for row in rows}

    async def delete(self, user_id: str, *, by: str, at: int) -> Kept | None:
        """Delete everything about one person, and note `proofing.deleted`; return what it was. None: no such person.

        The note says how much of which method, level and year-month-day, and nothing that leads to a verifier's own record.
        """

        def work(connection: sqlite3.Connection) -> Kept | None:
            user = read_user(connection, user_id)
            if user is None:
                return None
            kept = _kept(connection, user_id)
            end_proofings_in_progress(connection, user_id)  # else it would be there again a moment later
            for table in ("proofing", "proofing_case", "proofing_invitation"):  # what refers to them goes with them
                connection.execute(f"DELETE FROM {table} WHERE user_id=?", (user_id,))  # noqa: S608  the names stand above
            note(connection, "proofing.deleted", user_id=user_id, login=user.login, by=by, at=at, detail=_deleted(kept))
            return kept

        kept = await self._database.run(work)
        if kept is not None:
            await self._database.fold()
        return kept


def read_record(row: tuple[Any, ...]) -> ProofingRecord:
    """Return what a row of `RECORDS` holds."""
    return ProofingRecord(
        user_id=row[0], level=row[1], method=row[2], verified_at=row[3], expires_at=row[4], verifier=row[5], transaction=row[6],
        person_digest=row[7], evidence=row[8], digest_key=row[9], ended_at=row[10], ended_why=row[11], checked_at=row[12],
        number=row[13],
    )  # fmt: skip


def _kept(connection: sqlite3.Connection, user_id: str) -> Kept:
    bindings = connection.execute(
        "SELECT b.proofing_id, b.authenticator, b.bound_at FROM proofing_binding b JOIN proofing p ON p.id=b.proofing_id "
        "WHERE p.user_id=? ORDER BY b.bound_at, b.authenticator",
        (user_id,),
    )
    invitations = connection.execute(
        "SELECT batch, invited_by, invited_at, due_at FROM proofing_invitation WHERE user_id=? ORDER BY id", (user_id,)
    )
    stated = connection.execute(
        "SELECT s.proofing_id, s.claim FROM proofing_stated s JOIN proofing p ON p.id=s.proofing_id WHERE p.user_id=? "
        "ORDER BY s.proofing_id, s.claim",
        (user_id,),
    )
    waiting = connection.execute(
        "SELECT w.case_id, w.authenticator FROM proofing_case_binding w JOIN proofing_case c ON c.id=w.case_id "
        "WHERE c.user_id=? ORDER BY w.case_id, w.authenticator",
        (user_id,),
    )
    return Kept(
        records=tuple(map(read_record, connection.execute(f"{RECORDS} WHERE p.user_id=? ORDER BY p.id", (user_id,)))),
        bindings=tuple(Binding(proofing=row[0], authenticator=row[1], bound_at=row[2]) for row in bindings),
        stated=tuple(Stated(proofing=row[0], claim=row[1]) for row in stated),
        waiting=tuple(Waiting(case=row[0], authenticator=row[1]) for row in waiting),
        cases=tuple(_cases(connection, " WHERE user_id=?", (user_id,))),
        invitations=tuple(
            InvitationLine(batch=row[0], invited_by=row[1], invited_at=row[2], due_at=row[3]) for row in invitations
        ),
    )


def _cases(connection: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[ProofingCase]:
    columns = ProofingCase.__struct_fields__
    rows = connection.execute(
        f"SELECT {','.join(columns)} FROM proofing_case{where} ORDER BY opened_at, id",  # noqa: S608  names of our own
        values,
    )
    return [msgspec.convert(dict(zip(columns, row, strict=True)), ProofingCase) for row in rows]


def _deleted(kept: Kept) -> dict[str, str]:
    made = sorted({(record.method, record.level, _day(record.verified_at)) for record in kept.records})
    return {
        "records": str(len(kept.records)), "bindings": str(len(kept.bindings)), "cases": str(len(kept.cases)),
        "invitations": str(len(kept.invitations)), "made": ", ".join(f"{method} {level} {day}" for method, level, day in made),
    }  # fmt: skip


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()

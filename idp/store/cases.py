"""Cases that wait for officers. A decision and what follows from it are one transaction."""

import sqlite3
from collections.abc import Collection
from typing import Any, Final

import msgspec

from gateway.kernel.secret import Secret
from idp.accounts import canonical
from idp.model import PersonDigest, ProofingCase, ProofingRecord
from idp.store.database import Database
from idp.store.proofing import drop_cases, judge_record, keep_record
from idp.store.sealing import Seal
from idp.store.users import find_user_id
from idp.stored_proofing import CaseRefusal, CaseRuling, CaseVerdict

_COLUMNS: Final = (
    "SELECT id, user_id, kind, state, opened_at, expires_at, first_by, first_at, decided_by, decided_at, note FROM proofing_case"
)


class SqliteCases:
    """`idp.ports.CaseStore`."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database, self._seal = database, seal

    async def open(self, case: ProofingCase, held: Secret) -> None:
        """Store a case, which closes older ones of its person."""
        sealed = self._seal.close(held, _belongs_to(case.id))

        def work(connection: sqlite3.Connection) -> int:
            dropped = drop_cases(connection, case.user_id)
            connection.execute(
                "INSERT INTO proofing_case (id, user_id, kind, opened_at, expires_at, first_by, first_at, sealed) "
                "VALUES (?,?,?,?,?,?,?,?)",
                (
                    case.id, case.user_id, case.kind, case.opened_at, case.expires_at, canonical(case.first_by), case.first_at,
                    sealed,
                ),
            )  # fmt: skip
            return dropped

        if await self._database.run(work):
            await self._database.fold()

    async def get(self, case_id: str) -> ProofingCase | None:
        """Return a case, decided or not."""
        return await self._database.run(lambda connection: _read(connection, case_id))

    async def held(self, case_id: str, now: int) -> Secret | None:
        """Return what a case that is open holds."""
        row = await self._database.run(
            lambda connection: connection.execute(
                "SELECT sealed FROM proofing_case WHERE id=? AND state='open' AND expires_at>? AND sealed IS NOT NULL",
                (case_id, now),
            ).fetchone()
        )
        return self._seal.open(row[0], _belongs_to(case_id)) if row is not None else None

    async def waiting(self, now: int) -> list[ProofingCase]:
        """Return the open cases, oldest first."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                f"{_COLUMNS} WHERE state='open' AND expires_at>? ORDER BY opened_at, id", (now,)
            ).fetchall()
        )
        return [_case(row) for row in rows]

    async def judge(
        self, case_id: str, ruling: CaseRuling, record: ProofingRecord, digests: Collection[PersonDigest], *, shared: bool
    ) -> CaseVerdict | CaseRefusal:
        """Say what `decide` would say now."""
        return await self._database.run(lambda connection: _judge(connection, case_id, ruling, record, digests, shared=shared))

    async def decide(
        self, case_id: str, ruling: CaseRuling, record: ProofingRecord, digests: Collection[PersonDigest], *, shared: bool
    ) -> tuple[CaseVerdict, ProofingRecord | None] | CaseRefusal:
        """Apply an officer's word, or do nothing."""

        def work(connection: sqlite3.Connection) -> tuple[CaseVerdict, ProofingRecord | None] | CaseRefusal:
            match _judge(connection, case_id, ruling, record, digests, shared=shared):
                case "open":
                    connection.execute(
                        "UPDATE proofing_case SET first_by=?, first_at=?, note=? WHERE id=?",
                        (canonical(ruling.by), ruling.at, ruling.note, case_id),
                    )
                    return "open", None
                case "approved" | "rejected" as state:
                    connection.execute(
                        "UPDATE proofing_case SET state=?, decided_by=?, decided_at=?, note=?, sealed=NULL WHERE id=?",
                        (state, canonical(ruling.by), ruling.at, ruling.note, case_id),
                    )
                    if state == "rejected":
                        return state, None
                    return state, keep_record(connection, record, digests, now=ruling.at, by=ruling.by, shared=shared)
                case refusal:
                    return refusal

        outcome = await self._database.run(work)
        if isinstance(outcome, tuple):
            await self._database.fold()  # what was sealed is in neither file any more
        return outcome

    async def expire(self, now: int) -> int:
        """Close what nobody decided in time, and forget what it holds; how many."""
        count = await self._database.run(
            lambda connection: (
                connection.execute(
                    "UPDATE proofing_case SET state='expired', sealed=NULL WHERE state='open' AND expires_at<=?", (now,)
                ).rowcount
            )
        )
        if count:
            await self._database.fold()
        return count


def _judge(
    connection: sqlite3.Connection, case_id: str, ruling: CaseRuling, record: ProofingRecord, digests: Collection[PersonDigest],
    *, shared: bool,
) -> CaseVerdict | CaseRefusal:  # fmt: skip
    case = _read(connection, case_id)
    if case is None or case.user_id != record.user_id:
        return "unknown"
    if case.state == "open" and case.expires_at <= ruling.at:
        return "expired"
    if case.state != "open":
        return "expired" if case.state == "expired" else "replaced" if case.state == "replaced" else "decided"
    officer = find_user_id(connection, canonical(ruling.by)) or ruling.by_user
    if case.user_id in {officer, ruling.by_user}:
        return "own_case"
    if not ruling.approve:
        return "rejected"
    if case.kind == "in_person":
        if not case.first_by:
            return "open"
        first = find_user_id(connection, case.first_by)
        if first == case.user_id:
            return "own_case"
        if case.first_by == canonical(ruling.by) or (first is not None and first in {officer, ruling.by_user}):
            return "same_officer"
    return judge_record(connection, record, digests, now=ruling.at, shared=shared, rebind=True) or "approved"


def _read(connection: sqlite3.Connection, case_id: str) -> ProofingCase | None:
    row = connection.execute(f"{_COLUMNS} WHERE id=?", (case_id,)).fetchone()
    return _case(row) if row is not None else None


def _case(row: tuple[Any, ...]) -> ProofingCase:
    names = (
        "id", "user_id", "kind", "state", "opened_at", "expires_at", "first_by", "first_at", "decided_by", "decided_at", "note",
    )  # fmt: skip
    return msgspec.convert(dict(zip(names, row, strict=True)), ProofingCase)


def _belongs_to(case_id: str) -> str:
    return f"proofing_case:{case_id}"

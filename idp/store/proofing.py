"""Results of identity proofing, append-only."""

import sqlite3
from typing import Any, Final

from idp.model import ProofingRecord
from idp.store.database import Database

_COLUMNS: Final = (
    "SELECT user_id, level, method, verified_at, expires_at, verifier, transaction_id, person_digest, evidence, digest_key, "
    "ended_at, ended_why, checked_at, id FROM proofing"
)


class SqliteProofing:
    """`idp.ports.ProofingStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self, user_id: str) -> ProofingRecord | None:
        """Return the newest record of a person."""
        row = await self._database.run(
            lambda connection: connection.execute(
                f"{_COLUMNS} WHERE user_id=? ORDER BY id DESC LIMIT 1",
                (user_id,),
            ).fetchone()
        )
        return _record(row) if row is not None else None

    async def add(self, record: ProofingRecord) -> None:
        """Append a record."""
        r = record

        def work(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(
                    "INSERT INTO proofing "
                    "(user_id, level, method, verified_at, expires_at, verifier, transaction_id, person_digest, evidence, "
                    "digest_key) VALUES (?,?,?,?,?,?,?,?,?,?)",
                    (
                        r.user_id,
                        r.level,
                        r.method,
                        r.verified_at,
                        r.expires_at,
                        r.verifier,
                        r.transaction,
                        r.person_digest,
                        r.evidence,
                        r.digest_key,
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise ValueError(
                    f"proofing {r.transaction!r} of {r.verifier!r} can't be kept: used before, unknown user, or level not 1 to 3"
                ) from error

        await self._database.run(work)

    async def users_with_digest(self, person_digest: str) -> list[str]:
        """Return the accounts of one proofed person."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                "SELECT user_id FROM proofing WHERE person_digest=? GROUP BY user_id ORDER BY min(id)", (person_digest,)
            ).fetchall()
        )
        return [row[0] for row in rows]


def _record(row: tuple[Any, ...]) -> ProofingRecord:
    return ProofingRecord(
        user_id=row[0], level=row[1], method=row[2], verified_at=row[3], expires_at=row[4], verifier=row[5],
        transaction=row[6], person_digest=row[7], evidence=row[8], digest_key=row[9], ended_at=row[10], ended_why=row[11],
        checked_at=row[12], number=row[13],
    )  # fmt: skip

"""Results of identity proofing. Whether one may be kept is judged in the transaction that keeps it."""

import sqlite3
from collections.abc import Collection
from typing import Any, Final

import msgspec

from idp.model import PersonDigest, ProofingRecord
from idp.store.changes import end_proofings, note_added
from idp.store.database import Database
from idp.stored_proofing import KeepRefusal

_COLUMNS: Final = (
    "SELECT user_id, level, method, verified_at, expires_at, verifier, transaction_id, person_digest, evidence, digest_key, "
    "ended_at, ended_why, checked_at, id FROM proofing"
)
_LIVING: Final = (
    "id IN (SELECT max(id) FROM proofing GROUP BY user_id) AND (ended_at IS NULL OR ended_why='expired')"  # the newest counts
)
_INACTIVE: Final = "SELECT NOT EXISTS (SELECT 1 FROM user WHERE id=? AND active=1)"
_OVER: Final = "SELECT ? <= ?"
_USED: Final = "SELECT EXISTS (SELECT 1 FROM proofing WHERE verifier=? AND transaction_id=?)"
_KEYS_UNKNOWN: Final = f"SELECT EXISTS (SELECT 1 FROM proofing WHERE verifier=? AND {_LIVING} AND digest_key NOT IN ({{marks}}))"  # noqa: S608  ours
# What an officer, or the person, took back does not say any more whose card it is; nor does what that had replaced.
_OTHER_ACCOUNT: Final = """
SELECT EXISTS (SELECT 1 FROM proofing p JOIN user u ON u.id=p.user_id AND u.active=1
WHERE p.user_id<>? AND p.verifier=? AND p.person_digest IN ({marks}) AND NOT EXISTS
(SELECT 1 FROM proofing q WHERE q.user_id=p.user_id AND q.id>=p.id AND q.ended_why IN ('officer', 'withdrawn')))
"""
_KNOWN: Final = """
SELECT p.person_digest, p.digest_key FROM proofing p WHERE p.user_id=? AND NOT EXISTS
(SELECT 1 FROM proofing q WHERE q.user_id=p.user_id AND q.id>=p.id AND (q.ended_why IN ('reset', 'officer', 'withdrawn')
OR q.ended_why='revoked' AND q.person_digest=p.person_digest))
"""
_ELSEWHERE: Final = """
SELECT p.id, p.user_id FROM proofing p JOIN user u ON u.id=p.user_id AND u.active=0
WHERE p.user_id<>? AND p.verifier=? AND p.person_digest IN ({marks})
"""
_NEW_CARD: Final = """
SELECT EXISTS (SELECT 1 FROM proofing WHERE user_id=? AND verifier=? AND ended_at IS NULL
AND (expires_at IS NULL OR expires_at>?) AND person_digest NOT IN ({marks}))
"""


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

    async def judge(
        self, record: ProofingRecord, digests: Collection[PersonDigest], *, now: int, shared: bool = False, rebind: bool = False
    ) -> KeepRefusal | None:
        """Say what `keep` would say now."""
        return await self._database.run(
            lambda connection: judge_record(connection, record, digests, now=now, shared=shared, rebind=rebind)
        )

    async def keep(
        self, record: ProofingRecord, digests: Collection[PersonDigest], *, now: int, by: str = "", shared: bool = False,
        rebind: bool = False,
    ) -> ProofingRecord | KeepRefusal:  # fmt: skip
        """Judge a result and keep it, or do neither."""

        def work(connection: sqlite3.Connection) -> tuple[ProofingRecord | KeepRefusal, int]:
            refusal = judge_record(connection, record, digests, now=now, shared=shared, rebind=rebind)
            if refusal is not None:
                return refusal, 0
            dropped = drop_cases(connection, record.user_id)
            return keep_record(connection, record, digests, now=now, by=by, shared=shared), dropped

        outcome, dropped = await self._database.run(work)
        if dropped:
            await self._database.fold()
        return outcome

    async def known(self, user_id: str, digests: Collection[PersonDigest]) -> bool:
        """Whether a record of this person that was not taken back is of one of these."""
        rows = await self._database.run(lambda connection: connection.execute(_KNOWN, (user_id,)).fetchall())
        return any(PersonDigest(digest=row[0], key=row[1]) in digests for row in rows)

    async def rekey(self, number: int, digest: PersonDigest) -> None:
        """Put a record under another key's digest of the same person."""
        await self._database.run(
            lambda connection: (
                connection.execute(
                    "UPDATE proofing SET person_digest=?, digest_key=? WHERE id=?", (digest.digest, digest.key, number)
                ).rowcount
            )
        )

    async def digest_keys_in_use(self) -> dict[str, int]:
        """Return how many living records each digest key has, by the key's id."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                f"SELECT digest_key, count(*) FROM proofing WHERE {_LIVING} GROUP BY digest_key"  # noqa: S608  stands above
            ).fetchall()
        )
        return {row[0]: row[1] for row in rows}


def judge_record(
    connection: sqlite3.Connection, record: ProofingRecord, digests: Collection[PersonDigest], *, now: int, shared: bool,
    rebind: bool,
) -> KeepRefusal | None:  # fmt: skip
    """Judge, within a transaction, whether `record` may be kept: `idp.ports.ProofingStore.keep` says by what rules."""
    r, known = record, [found.digest for found in digests]
    marks = ",".join("?" * len(digests))
    ends = now + 1 if r.expires_at is None else r.expires_at
    checks: tuple[tuple[KeepRefusal, str, tuple[object, ...]], ...] = (
        ("inactive", _INACTIVE, (r.user_id,)),
        ("over", _OVER, (ends, now)),
        ("used", _USED, (r.verifier, r.transaction)),
        ("keys_unknown", _KEYS_UNKNOWN.format(marks=marks), (r.verifier, *(found.key for found in digests))),
        ("person_of_other_account", _OTHER_ACCOUNT.format(marks=marks), (r.user_id, r.verifier, *known)),
        ("new_card", _NEW_CARD.format(marks=marks), (r.user_id, r.verifier, now, *known)),
    )
    allowed = {"person_of_other_account": shared, "new_card": rebind}
    for refusal, statement, values in checks:
        if not allowed.get(refusal) and connection.execute(statement, values).fetchone()[0]:
            return refusal
    return None


def keep_record(
    connection: sqlite3.Connection, record: ProofingRecord, digests: Collection[PersonDigest], *, now: int, by: str, shared: bool
) -> ProofingRecord:
    """Keep a record, within the transaction that judged it; return it with its number."""
    end_proofings(connection, record.user_id, why="replaced", at=now, by=by)
    known, marks = [found.digest for found in digests], ",".join("?" * len(digests))
    # A deactivated account may be activated again: by then the card proofs this one.
    elsewhere = connection.execute(_ELSEWHERE.format(marks=marks), (record.user_id, record.verifier, *known)).fetchall()
    for number, user_id in () if shared else elsewhere:
        end_proofings(connection, user_id, why="replaced", at=now, by=by, number=number)
    connection.execute(
        f"UPDATE proofing SET person_digest=?, digest_key=? WHERE user_id=? AND verifier=? "  # noqa: S608  marks only
        f"AND person_digest IN ({marks})",
        (record.person_digest, record.digest_key, record.user_id, record.verifier, *known),
    )
    number = _insert(connection, record)
    note_added(connection, record, by=by, at=now)
    return msgspec.structs.replace(record, number=number)


def drop_cases(connection: sqlite3.Connection, user_id: str) -> int:
    """Close a person's open cases, within a transaction: what waits in them is out of date. How many: if any, fold then."""
    return connection.execute(
        "UPDATE proofing_case SET state='replaced', sealed=NULL WHERE user_id=? AND state='open'", (user_id,)
    ).rowcount


def _insert(connection: sqlite3.Connection, record: ProofingRecord) -> int:
    r = record
    try:
        row = connection.execute(
            "INSERT INTO proofing (user_id, level, method, verified_at, expires_at, verifier, transaction_id, person_digest, "
            "evidence, digest_key) VALUES (?,?,?,?,?,?,?,?,?,?) RETURNING id",
            (
                r.user_id, r.level, r.method, r.verified_at, r.expires_at, r.verifier, r.transaction, r.person_digest,
                r.evidence, r.digest_key,
            ),
        ).fetchone()  # fmt: skip
    except sqlite3.IntegrityError as error:
        raise ValueError(
            f"proofing {r.transaction!r} of {r.verifier!r} can't be kept: used before, unknown user, or level not 1 to 3"
        ) from error
    return int(row[0])


def _record(row: tuple[Any, ...]) -> ProofingRecord:
    return ProofingRecord(
        user_id=row[0], level=row[1], method=row[2], verified_at=row[3], expires_at=row[4], verifier=row[5],
        transaction=row[6], person_digest=row[7], evidence=row[8], digest_key=row[9], ended_at=row[10], ended_why=row[11],
        checked_at=row[12], number=row[13],
    )  # fmt: skip

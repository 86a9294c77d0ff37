"""What was done to accounts and proofings, written in the transaction that does it, for the running provider to tell the log."""

import sqlite3
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from idp.model import EventName, ProofingRecord

EndedWhy = Literal["revoked", "expired", "replaced", "reset", "officer", "withdrawn"]
"""Why a proofing ended before its time. `withdrawn`: its person did not want it kept in force."""

OUTCOME: Final = "outcome"
"""Detail of a note whose event is a failure; the event does not carry it in its detail."""
_IN_FORCE: Final = "ended_at IS NULL AND (expires_at IS NULL OR expires_at>?)"


def note(
    connection: sqlite3.Connection, name: EventName, *, user_id: str, login: str, by: str, at: int, detail: Mapping[str, str]
) -> None:
    """Write a note within a transaction: neither is there without the other. `by` empty: the person, or nobody."""
    connection.execute(
        "INSERT INTO account_change (name, user_id, login, done_by, at, detail) VALUES (?,?,?,?,?,?)",
        (name, user_id, login, by, at, msgspec.json.encode(detail).decode()),
    )


def note_added(connection: sqlite3.Connection, record: ProofingRecord, *, by: str, at: int) -> None:
    """Note `proofing.added` within the transaction that stores `record`: open sessions that hold an older proofing lose it where
    it claims more than this one.
    """
    note(
        connection, "proofing.added", user_id=record.user_id, login=_login(connection, record.user_id), by=by, at=at,
        detail={
            "level": str(record.level), "method": record.method, "verifier": record.verifier, "transaction": record.transaction,
            "expires_at": "" if record.expires_at is None else str(record.expires_at),
        },
    )  # fmt: skip


def end_proofings(
    connection: sqlite3.Connection, user_id: str, *, why: EndedWhy, at: int, by: str, number: int | None = None
) -> int:
    """End a person's proofings that are in force (or the one with this number), within a transaction; how many ended.

    Notes `proofing.ended` for each but those that a newer one of theirs has replaced: `proofing.added` says that already.
    """
    wanted, values = ("", ()) if number is None else (" AND id=?", (number,))
    rows = connection.execute(
        "SELECT id, level, method, verifier, transaction_id FROM proofing "  # noqa: S608  the conditions stand here
        f"WHERE user_id=? AND {_IN_FORCE}{wanted} ORDER BY id",
        (user_id, at, *values),
    ).fetchall()
    for row in rows:
        connection.execute("UPDATE proofing SET ended_at=?, ended_why=? WHERE id=?", (at, why, row[0]))
        if why != "replaced" or number is not None:
            detail = {"why": why, "level": str(row[1]), "method": row[2], "verifier": row[3], "transaction": row[4]}
            login = _login(connection, user_id)
            note(connection, "proofing.ended", user_id=user_id, login=login, by=by, at=at, detail=detail)
    return len(rows)


def _login(connection: sqlite3.Connection, user_id: str) -> str:
    row = connection.execute("SELECT canonical FROM identifier WHERE user_id=? AND kind='login'", (user_id,)).fetchone()
    return str(row[0]) if row else ""

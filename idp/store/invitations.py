"""Who was asked to have their identity proofed, by whom and until when, and how far each batch is."""

import sqlite3
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from idp.store.changes import note
from idp.store.database import Database
from idp.store.users import read_user

_WITHOUT: Final = """
SELECT id FROM user WHERE active=1 AND NOT EXISTS (
    SELECT 1 FROM proofing p WHERE p.user_id=user.id AND p.ended_at IS NULL AND (p.expires_at IS NULL OR p.expires_at>?)
) ORDER BY id
"""
# A proofing of before the invitation does not answer it: who is invited while one is in force is to renew it.
_STATES: Final = """
SELECT i.user_id, i.batch, i.invited_by, i.invited_at, i.due_at,
       EXISTS (SELECT 1 FROM proofing p WHERE p.user_id=i.user_id AND p.verified_at>=i.invited_at AND p.ended_at IS NULL
               AND (p.expires_at IS NULL OR p.expires_at>:now)) AS done,
       EXISTS (SELECT 1 FROM proofing_case c WHERE c.user_id=i.user_id AND c.state='open' AND c.expires_at>:now) AS review
FROM proofing_invitation i JOIN user u ON u.id=i.user_id AND u.active=1
"""

State = Literal["open", "review", "done", "overdue"]
"""`review`: officers have to look at it; `overdue`: neither done nor in review, and the day has passed."""


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """One person's part of a batch."""

    user_id: str
    batch: str
    invited_by: str
    invited_at: int
    due_at: int
    state: State


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch is. Deactivated people are not counted."""

    id: str
    invited_by: str
    invited_at: int
    due_at: int
    invited: int
    done: int
    review: int
    open: int
    overdue: int


class SqliteInvitations:
    """Invitations; times are epoch seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def invite(self, user_ids: Sequence[str] | None, *, batch: str, by: str, at: int, due_at: int) -> int:
        """Invite these people, or (None) every active one without a proofing in force; how many were added to the batch.

        Said again, it adds nobody twice. ValueError, and nobody is invited: somebody is unknown or deactivated, or the batch was
        begun with another day.
        """

        def work(connection: sqlite3.Connection) -> int:
            begun = connection.execute("SELECT due_at FROM proofing_invitation WHERE batch=? LIMIT 1", (batch,)).fetchone()
            if begun is not None and begun[0] != due_at:
                raise ValueError(f"batch {batch} was begun with another due date")
            wanted = [row[0] for row in connection.execute(_WITHOUT, (at,))] if user_ids is None else user_ids
            return sum(_invited(connection, user_id, batch, by, at, due_at) for user_id in wanted)

        return await self._database.run(work)

    async def of(self, user_id: str, now: int) -> Invitation | None:
        """Return a person's newest invitation while it is not done; None else."""

        def work(connection: sqlite3.Connection) -> Invitation | None:
            row = connection.execute(
                f"{_STATES} WHERE i.user_id=:user ORDER BY i.id DESC LIMIT 1", {"now": now, "user": user_id}
            ).fetchone()
            return _invitation(row, now) if row is not None else None

        invitation = await self._database.run(work)
        return invitation if invitation is not None and invitation.state != "done" else None

    async def of_batch(self, batch: str, now: int) -> list[Invitation]:
        """Return a batch's invitations, in the order in which they were made."""
        return await self._read("WHERE i.batch=:which ORDER BY i.id", now, batch)

    async def history(self, user_id: str, now: int) -> list[Invitation]:
        """Return a person's invitations, newest first."""
        return await self._read("WHERE i.user_id=:which ORDER BY i.id DESC", now, user_id)

    async def newest(self, now: int) -> dict[str, Invitation]:
        """Return everybody's newest invitation, done or not, by user id."""

        def work(connection: sqlite3.Connection) -> list[Invitation]:
            return [_invitation(row, now) for row in connection.execute(f"{_STATES} ORDER BY i.id", {"now": now})]

        return {invitation.user_id: invitation for invitation in await self._database.run(work)}

    async def batches(self, now: int) -> list[Batch]:
        """Return all batches and how far they are, newest first."""

        def work(connection: sqlite3.Connection) -> list[Invitation]:
            return [_invitation(row, now) for row in connection.execute(f"{_STATES} ORDER BY i.id DESC", {"now": now})]

        found: dict[str, list[Invitation]] = {}
        for invitation in await self._database.run(work):
            found.setdefault(invitation.batch, []).append(invitation)
        return [_batch(members) for members in found.values()]

    async def _read(self, rest: str, now: int, which: str) -> list[Invitation]:
        def work(connection: sqlite3.Connection) -> list[Invitation]:
            rows = connection.execute(f"{_STATES} {rest}", {"now": now, "which": which})
            return [_invitation(row, now) for row in rows]

        return await self._database.run(work)


def _invited(connection: sqlite3.Connection, user_id: str, batch: str, by: str, at: int, due_at: int) -> int:
    user = read_user(connection, user_id)
    if user is None or not user.active:
        raise ValueError(f"{user.login if user is not None else user_id} has no active account and can't be invited")
    added = connection.execute(
        "INSERT OR IGNORE INTO proofing_invitation (user_id, batch, invited_by, invited_at, due_at) VALUES (?,?,?,?,?)",
        (user_id, batch, by, at, due_at),
    ).rowcount
    if added:
        detail = {"batch": batch, "due_at": str(due_at)}
        note(connection, "proofing.invited", user_id=user_id, login=user.login, by=by, at=at, detail=detail)
    return added


def _invitation(row: tuple[str, str, str, int, int, int, int], now: int) -> Invitation:
    state: State = "done" if row[5] else "review" if row[6] else "overdue" if row[4] <= now else "open"
    return Invitation(user_id=row[0], batch=row[1], invited_by=row[2], invited_at=row[3], due_at=row[4], state=state)


def _batch(members: list[Invitation]) -> Batch:
    first = min(members, key=lambda invitation: invitation.invited_at)
    states = [invitation.state for invitation in members]
    return Batch(
        id=first.batch, invited_by=first.invited_by, invited_at=first.invited_at, due_at=first.due_at, invited=len(members),
        done=states.count("done"), review=states.count("review"), open=states.count("open"), overdue=states.count("overdue"),
    )  # fmt: skip

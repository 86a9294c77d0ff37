"""Which authenticators a proofing is bound to."""

import sqlite3
from collections.abc import Collection
from typing import Final

from idp.store.database import Database

_BIND: Final = (
    "INSERT OR IGNORE INTO proofing_binding (proofing_id, authenticator, bound_at) SELECT id, :name, :at FROM proofing "
    "WHERE id=:proofing AND ended_at IS NULL AND CASE :name WHEN 'pwd' THEN user_id IN (SELECT user_id FROM password) "
    "WHEN 'otp' THEN user_id IN (SELECT user_id FROM totp) "
    "ELSE EXISTS (SELECT 1 FROM fido2 WHERE 'fido2:' || fido2.id = :name AND fido2.user_id = proofing.user_id) END"
)


class SqliteBindings:
    """`idp.ports.BindingStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, proofing: int) -> frozenset[str]:
        """Return what is bound to a proofing."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                "SELECT authenticator FROM proofing_binding WHERE proofing_id=?", (proofing,)
            ).fetchall()
        )
        return frozenset(row[0] for row in rows)

    async def bind(self, proofing: int, authenticators: Collection[str], at: int) -> None:
        """Bind those that the person still has."""

        def work(connection: sqlite3.Connection) -> None:
            for name in sorted(authenticators):
                connection.execute(_BIND, {"name": name, "at": at, "proofing": proofing})

        await self._database.run(work)


def unbind(connection: sqlite3.Connection, user_id: str, authenticator: str) -> None:
    """Forget, within a transaction, that an authenticator was bound to any proofing of this person."""
    connection.execute(
        "DELETE FROM proofing_binding WHERE authenticator=? AND proofing_id IN (SELECT id FROM proofing WHERE user_id=?)",
        (authenticator, user_id),
    )

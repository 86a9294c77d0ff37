"""Which authenticators a proofing is bound to, and which entries of the staff ledger it confirmed."""

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

    async def hold(self, case_id: str, authenticators: Collection[str]) -> None:
        """Remember what is to be bound when a case is approved."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR IGNORE INTO proofing_case_binding (case_id, authenticator) "
                "SELECT id, ? FROM proofing_case WHERE id=? AND state='open'",
                [(name, case_id) for name in sorted(authenticators)],
            )

        await self._database.run(work)

    async def held(self, case_id: str) -> frozenset[str]:
        """Return what waits for a case, and forget it."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                "DELETE FROM proofing_case_binding WHERE case_id=? RETURNING authenticator", (case_id,)
            ).fetchall()
        )
        return frozenset(row[0] for row in rows)

    async def confirm(self, proofing: int, claims: Collection[str]) -> None:
        """Remember which entries of the ledger a proofing confirmed."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR IGNORE INTO proofing_stated (proofing_id, claim) SELECT id, ? FROM proofing WHERE id=?",
                [(claim, proofing) for claim in sorted(claims)],
            )

        await self._database.run(work)

    async def confirmed(self, proofing: int) -> frozenset[str]:
        """Return which entries a proofing confirmed that were not changed since."""
        rows = await self._database.run(
            lambda connection: connection.execute("SELECT claim FROM proofing_stated WHERE proofing_id=?", (proofing,)).fetchall()
        )
        return frozenset(row[0] for row in rows)


def unbind(connection: sqlite3.Connection, user_id: str, authenticator: str) -> None:
    """Forget, within a transaction, that an authenticator was bound to any proofing of this person, or is to be."""
    for table, belongs in (
        ("proofing_binding", "proofing_id IN (SELECT id FROM proofing WHERE user_id=?)"),
        ("proofing_case_binding", "case_id IN (SELECT id FROM proofing_case WHERE user_id=?)"),
    ):
        statement = f"DELETE FROM {table} WHERE authenticator=? AND {belongs}"  # noqa: S608  they stand above
        connection.execute(statement, (authenticator, user_id))

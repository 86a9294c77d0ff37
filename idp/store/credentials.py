"""Passwords, TOTP generators, FIDO2 keys and recovery codes."""

import sqlite3

from idp.model import Fido2Credential, PasswordCredential, RecoveryCodes, TotpCredential
from idp.store.bindings import unbind
from idp.store.database import Database
from idp.store.sealing import Seal

_FIDO2 = "SELECT id, user_id, label, public_data, sign_count, created_at, last_used_at, backup_eligible FROM fido2 "


class SqliteCredentials:
    """`idp.ports.CredentialStore`. TOTP secrets are sealed; everything else is public or a hash."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def password(self, user_id: str) -> PasswordCredential | None:
        """Return the password hash."""
        row = await self._database.run(
            lambda connection: connection.execute(
                "SELECT encoded, changed_at FROM password WHERE user_id=?", (user_id,)
            ).fetchone()
        )
        return PasswordCredential(user_id=user_id, encoded=row[0], changed_at=row[1]) if row else None

    async def set_password(self, credential: PasswordCredential) -> None:
        """Store or replace the password hash."""
        await self._database.run(lambda connection: self.write_password(connection, credential))

    async def totp(self, user_id: str) -> TotpCredential | None:
        """Return the TOTP generator."""
        row = await self._database.run(
            lambda connection: connection.execute(
                "SELECT sealed, created_at, last_step FROM totp WHERE user_id=?", (user_id,)
            ).fetchone()
        )
        if row is None:
            return None
        secret = self._seal.open(row[0], _totp_of(user_id))
        return TotpCredential(user_id=user_id, secret=secret, created_at=row[1], last_step=row[2])

    async def set_totp(self, credential: TotpCredential) -> None:
        """Store or replace a confirmed generator."""
        await self._database.run(lambda connection: self.write_totp(connection, credential))

    async def advance_totp(self, user_id: str, step: int) -> bool:
        """Mark a step as used, unless it or a newer one was."""
        return await self._change("UPDATE totp SET last_step=? WHERE user_id=? AND last_step<?", (step, user_id, step)) == 1

    async def remove_totp(self, user_id: str) -> bool:
        """Forget the generator."""

        def work(connection: sqlite3.Connection) -> bool:
            unbind(connection, user_id, "otp")
            return connection.execute("DELETE FROM totp WHERE user_id=?", (user_id,)).rowcount == 1

        return await self._database.run(work)

    async def fido2(self, user_id: str) -> list[Fido2Credential]:
        """Return a person's keys, oldest first."""
        rows = await self._database.run(
            lambda connection: connection.execute(_FIDO2 + "WHERE user_id=? ORDER BY created_at, rowid", (user_id,)).fetchall()
        )
        return [_key(row) for row in rows]

    async def fido2_by_id(self, credential_id: str) -> Fido2Credential | None:
        """Return a key by credential id."""
        row = await self._database.run(lambda connection: connection.execute(_FIDO2 + "WHERE id=?", (credential_id,)).fetchone())
        return _key(row) if row else None

    async def add_fido2(self, credential: Fido2Credential) -> None:
        """Store a new key."""
        c = credential

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM fido2 WHERE id=?", (c.id,)).fetchone():
                raise ValueError("this credential id is registered already")
            try:
                connection.execute(
                    "INSERT INTO fido2 (id, user_id, label, public_data, sign_count, created_at, last_used_at, backup_eligible) "
                    "VALUES (?,?,?,?,?,?,?,?)",
                    (c.id, c.user_id, c.label, c.public_data, c.sign_count, c.created_at, c.last_used_at, int(c.backup_eligible)),
                )
            except sqlite3.IntegrityError as error:
                raise ValueError(f"there is no user {c.user_id}") from error

        await self._database.run(work)

    async def use_fido2(self, credential_id: str, sign_count: int, at: int) -> bool:
        """Record an assertion, unless the counter says that there are two of this key."""
        changed = await self._change(
            "UPDATE fido2 SET sign_count=?, last_used_at=? WHERE id=? AND (sign_count<? OR (sign_count=0 AND ?=0))",
            (sign_count, at, credential_id, sign_count, sign_count),
        )
        return changed == 1

    async def remove_fido2(self, user_id: str, credential_id: str) -> bool:
        """Forget a key of this person."""

        def work(connection: sqlite3.Connection) -> bool:
            removed = connection.execute("DELETE FROM fido2 WHERE id=? AND user_id=?", (credential_id, user_id)).rowcount == 1
            if removed:
                unbind(connection, user_id, f"fido2:{credential_id}")
            return removed

        return await self._database.run(work)

    async def recovery(self, user_id: str) -> RecoveryCodes | None:
        """Return the unused recovery codes' hashes."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                "SELECT code_hash, created_at FROM recovery_code WHERE user_id=? ORDER BY code_hash", (user_id,)
            ).fetchall()
        )
        if not rows:
            return None
        return RecoveryCodes(user_id=user_id, hashes=tuple(row[0] for row in rows), created_at=rows[0][1])

    async def set_recovery(self, codes: RecoveryCodes) -> None:
        """Replace all recovery codes of the person."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM recovery_code WHERE user_id=?", (codes.user_id,))
            try:
                connection.executemany(
                    "INSERT INTO recovery_code (user_id, code_hash, created_at) VALUES (?,?,?)",
                    [(codes.user_id, code_hash, codes.created_at) for code_hash in codes.hashes],
                )
            except sqlite3.IntegrityError as error:
                raise ValueError(f"there is no user {codes.user_id}, or a code is there twice") from error

        await self._database.run(work)

    async def use_recovery(self, user_id: str, code_hash: str) -> bool:
        """Consume one recovery code."""
        return await self._change("DELETE FROM recovery_code WHERE user_id=? AND code_hash=?", (user_id, code_hash)) == 1

    async def _change(self, statement: str, values: tuple[str | int, ...]) -> int:
        return await self._database.run(lambda connection: connection.execute(statement, values).rowcount)

    def write_password(self, connection: sqlite3.Connection, credential: PasswordCredential) -> None:
        """Store or replace a password hash, within a transaction."""
        _write(
            connection,
            "INSERT INTO password (user_id, encoded, changed_at) VALUES (?,?,?) "
            "ON CONFLICT (user_id) DO UPDATE SET encoded=excluded.encoded, changed_at=excluded.changed_at",
            (credential.user_id, credential.encoded, credential.changed_at),
        )

    def write_totp(self, connection: sqlite3.Connection, credential: TotpCredential) -> None:
        """Store or replace a generator, within a transaction. A new one is bound to no proofing, whatever the old one was."""
        unbind(connection, credential.user_id, "otp")
        sealed = self._seal.close(credential.secret, _totp_of(credential.user_id))
        _write(
            connection,
            "INSERT INTO totp (user_id, sealed, created_at, last_step) VALUES (?,?,?,?) ON CONFLICT (user_id) DO UPDATE "
            "SET sealed=excluded.sealed, created_at=excluded.created_at, last_step=excluded.last_step",
            (credential.user_id, sealed, credential.created_at, credential.last_step),
        )


def _write(connection: sqlite3.Connection, statement: str, values: tuple[str | int | bytes, ...]) -> None:
    try:
        connection.execute(statement, values)
    except sqlite3.IntegrityError as error:
        raise ValueError(f"there is no user {values[0]!r}") from error


def _totp_of(user_id: str) -> str:
    return f"totp:{user_id}"


def _key(row: tuple[str, str, str, bytes, int, int, int, int]) -> Fido2Credential:
    return Fido2Credential(
        id=row[0], user_id=row[1], label=row[2], public_data=row[3], sign_count=row[4], created_at=row[5], last_used_at=row[6],
        backup_eligible=bool(row[7]),
    )  # fmt: skip

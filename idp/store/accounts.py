"""What an administrator does to accounts: each act in one transaction, together with the note that the log's event is made of.

So a change made by another process, or while the log could not be written, is told all the same, once it can be.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from idp.details import changed
from idp.model import AccountChange, ChangeName, Event, PasswordCredential, Standing, TotpCredential, User
from idp.store.attempts import blocked_until, clear_attempts
from idp.store.changes import OUTCOME, EndedWhy, end_proofings, note
from idp.store.credentials import SqliteCredentials
from idp.store.database import Database
from idp.store.passing import end_proofings_in_progress, end_transactions
from idp.store.proofing import drop_cases
from idp.store.users import add_user, list_users, read_user, update_user

_AT_ONCE: Final = 100
_FACTORS: Final = tuple(
    f"SELECT count(*) FROM {table} WHERE user_id=?"  # noqa: S608  the names stand below
    for table in ("password", "totp", "fido2", "recovery_code")
)
_PROOFED: Final = (
    "SELECT ended_at IS NULL AND (expires_at IS NULL OR expires_at>?) FROM proofing WHERE user_id=? "
    "ORDER BY id DESC LIMIT 1"  # the newest counts
)


class SqliteAccounts:
    """Acts of administration. `by` is who decided it, for the log; `at` is now. ValueError as in `idp.ports.UserStore`."""

    def __init__(self, database: Database, credentials: SqliteCredentials) -> None:
        self._database = database
        self._credentials = credentials

    async def add(
        self, user: User, *, password: PasswordCredential | None, totp: TotpCredential | None, by: str | None, at: int
    ) -> None:
        """Store a new person with their first credentials: all of it, or nothing. `by` None: nobody's act, and not told."""

        def work(connection: sqlite3.Connection) -> None:
            add_user(connection, user)
            if password is not None:
                self._credentials.write_password(connection, password)
            if totp is not None:
                self._credentials.write_totp(connection, totp)
            if by is not None:
                _note(connection, "account.added", user, by, at, {"roles": " ".join(user.roles)})

        await self._database.run(work)

    async def set_active(self, user_id: str, *, active: bool, by: str, at: int) -> User | None:
        """Keep a person out, which ends their sessions, codes and access tokens here, or let them in again. None: no such
        person.
        """

        def work(connection: sqlite3.Connection) -> User | None:
            after = update_user(connection, user_id, lambda user: msgspec.structs.replace(user, active=active))
            if after is not None:
                _note(connection, "account.activated" if active else "account.deactivated", after, by, at, {})
            return after

        return await self._database.run(work)

    async def set_roles(self, user_id: str, roles: tuple[str, ...], *, by: str, at: int) -> User | None:
        """Give a person these roles and no others. None: no such person."""

        def work(connection: sqlite3.Connection) -> User | None:
            before = read_user(connection, user_id)
            after = update_user(connection, user_id, lambda user: msgspec.structs.replace(user, roles=roles))
            if before is not None and after is not None:
                detail = {"before": " ".join(before.roles), "roles": " ".join(roles)}
                _note(connection, "account.roles", after, by, at, detail)
            return after

        return await self._database.run(work)

    async def set_details(
        self, user_id: str, change: Callable[[User], User], *, by: str, at: int
    ) -> tuple[User, tuple[str, ...]] | None:
        """Apply a change of `idp.details`; return the person, and the names of what is another now. None: no such person.

        The event has those names, and nothing that is personal.
        """

        def work(connection: sqlite3.Connection) -> tuple[User, tuple[str, ...]] | None:
            before = read_user(connection, user_id)
            after = update_user(connection, user_id, change)
            if before is None or after is None:
                return None
            if fields := changed(before, after):
                _note(connection, "account.details", after, by, at, {"changed": " ".join(fields)})
            return after, fields

        return await self._database.run(work)

    async def unlock(self, user_id: str, *, by: str, at: int) -> User | None:
        """Forget a person's failed attempts, and with them the lock. None: no such person."""

        def work(connection: sqlite3.Connection) -> User | None:
            user = read_user(connection, user_id)
            if user is not None:
                clear_attempts(connection, user_id)
                _note(connection, "account.unlocked", user, by, at, {})
            return user

        return await self._database.run(work)

    async def reset(self, user_id: str, *, password: PasswordCredential, totp: TotpCredential, by: str, at: int) -> User | None:
        """Replace everything that a person signs in with by these two. None: no such person.

        Ends their sessions and their sign-ins in progress. Ends the identity proofing, too, with what is under way of one: nobody
        has shown that whoever holds the new factors is the person who was proofed (NIST SP 800-63B-3 §6.1.2.3).
        """

        def work(connection: sqlite3.Connection) -> User | None:
            user = read_user(connection, user_id)
            if user is None:
                return None
            for table in ("fido2", "recovery_code", "session"):
                connection.execute(f"DELETE FROM {table} WHERE user_id=?", (user_id,))  # noqa: S608  the names stand above
            end_transactions(connection, user_id)
            end_proofings_in_progress(connection, user_id)
            drop_cases(connection, user_id)
            end_proofings(connection, user_id, why="reset", at=at, by=by)
            clear_attempts(connection, user_id)
            self._credentials.write_password(connection, password)
            self._credentials.write_totp(connection, totp)
            _note(connection, "account.reset", user, by, at, {})
            return user

        user = await self._database.run(work)
        await self._database.fold()  # what cases held is in neither file any more
        return user

    async def end_proofing(self, user_id: str, *, why: EndedWhy, by: str, at: int) -> int:
        """End what proofings of a person are in force; how many there were."""
        return await self._database.run(lambda connection: end_proofings(connection, user_id, why=why, at=at, by=by))

    async def note(self, event: Event) -> None:
        """Have the running provider tell an event: for a process that does not write the log."""
        detail = dict(event.detail) if event.outcome == "success" else {**event.detail, OUTCOME: event.outcome}
        await self._database.run(
            lambda connection: note(
                connection, event.name, user_id=event.subject, login=event.login, by=event.by, at=event.at, detail=detail
            )
        )

    async def standing(self, now: int) -> list[Standing]:
        """Return everybody, by login, with what their account has."""

        def work(connection: sqlite3.Connection) -> list[Standing]:
            return [_standing(connection, user, now) for user in list_users(connection)]

        return await self._database.run(work)

    async def pending(self) -> list[AccountChange]:
        """Return changes that were not told yet, oldest first, some at a time. Invitations come last: nothing waits for hundreds
        of them that ends somebody's sessions.
        """

        def work(connection: sqlite3.Connection) -> list[AccountChange]:
            rows = connection.execute(
                "SELECT number, name, user_id, login, done_by, at, detail FROM account_change "
                "ORDER BY name='proofing.invited', number LIMIT ?",
                (_AT_ONCE,),
            )
            return [
                msgspec.convert(
                    {
                        "number": row[0], "name": row[1], "user_id": row[2], "login": row[3], "by": row[4], "at": row[5],
                        "detail": msgspec.json.decode(row[6]),
                    },
                    AccountChange,
                )
                for row in rows
            ]  # fmt: skip

        return await self._database.run(work)

    async def told(self, number: int) -> None:
        """Forget a change that was told."""
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM account_change WHERE number=?", (number,)).rowcount
        )

    async def fold(self) -> None:
        """See to it that changes which were told are in no file any more."""
        await self._database.fold()


def _note(connection: sqlite3.Connection, name: ChangeName, user: User, by: str, at: int, detail: Mapping[str, str]) -> None:
    note(connection, name, user_id=user.id, login=user.login, by=by, at=at, detail=detail)


def _standing(connection: sqlite3.Connection, user: User, now: int) -> Standing:
    password, totp, keys, codes = (int(connection.execute(statement, (user.id,)).fetchone()[0]) for statement in _FACTORS)
    proofed = connection.execute(_PROOFED, (now, user.id)).fetchone()
    return Standing(
        user=user, password=bool(password), totp=bool(totp), keys=keys, recovery_codes=codes,
        proofed=bool(proofed and proofed[0]), locked_until=blocked_until(connection, user.id, now),
    )  # fmt: skip

"""People and the names that lead to them."""

import sqlite3
import unicodedata
from collections.abc import Callable
from typing import Final

import msgspec

from idp.accounts import canonical, check_email, check_login
from idp.model import User
from idp.store.database import Database

_MOST_ROLES: Final = 16
_LONGEST_ROLE: Final = 32
_MOST_NAMES: Final = 8
_LONGEST: Final = 100
# With these limits an ID token stays below the 8 KB that verifiers accept (JSON spells a kanji in six bytes).
_COLUMNS: Final = """
SELECT user.id, user.name, user.roles, user.organization, user.department, user.active, user.birth_date, user.kana,
       l.canonical AS login, coalesce(e.canonical, '') AS email, user.former_names, user.licences
FROM user
JOIN identifier l ON l.user_id = user.id AND l.kind = 'login'
LEFT JOIN identifier e ON e.user_id = user.id AND e.kind = 'email'
"""


class SqliteUsers:
    """`idp.ports.UserStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: str) -> User | None:
        """Return a person by id."""
        return await self._database.run(lambda connection: read_user(connection, user_id))

    async def by_login(self, identifier: str) -> User | None:
        """Return whom this name means."""

        def work(connection: sqlite3.Connection) -> User | None:
            user_id = find_user_id(connection, canonical(identifier))
            return read_user(connection, user_id) if user_id else None

        return await self._database.run(work)

    async def add(self, user: User) -> None:
        """Store a new person."""
        await self._database.run(lambda connection: add_user(connection, user))

    async def update(self, user_id: str, change: Callable[[User], User]) -> User | None:
        """Apply a change. Deactivating ends all the person's sessions, with their codes and tokens, in the same transaction."""
        return await self._database.run(lambda connection: update_user(connection, user_id, change))

    async def list(self) -> list[User]:
        """Return everybody, by login."""
        return await self._database.run(list_users)


def add_user(connection: sqlite3.Connection, user: User) -> None:
    """Store a new person, within a transaction."""
    _check(user)
    try:
        connection.execute(
            "INSERT INTO user (id, name, roles, organization, department, active, birth_date, kana, former_names, licences) "
            "VALUES (?,?,?,?,?,?,?,?,?,?)",
            (user.id, *_values(user)),
        )
    except sqlite3.IntegrityError as error:
        raise ValueError(f"user id {user.id} is taken") from error
    _name(connection, user)


def update_user(connection: sqlite3.Connection, user_id: str, change: Callable[[User], User]) -> User | None:
    """Apply a change, within a transaction."""
    before = read_user(connection, user_id)
    if before is None:
        return None
    after = change(before)
    _check(after)
    if after.id != before.id:
        raise ValueError("a user's id can't change: it is the sub of tokens")
    connection.execute(
        "UPDATE user SET name=?, roles=?, organization=?, department=?, active=?, birth_date=?, kana=?, former_names=?, "
        "licences=? WHERE id=?",
        (*_values(after), user_id),
    )
    if (after.login, after.email) != (before.login, before.email):
        connection.execute("DELETE FROM identifier WHERE user_id=?", (user_id,))
        _name(connection, after)
    if not after.active:
        connection.execute("DELETE FROM session WHERE user_id=?", (user_id,))
    return after


def read_user(connection: sqlite3.Connection, user_id: str) -> User | None:
    """Return a person by id, within a transaction."""
    row = connection.execute(_COLUMNS + "WHERE user.id=?", (user_id,)).fetchone()
    return _user(row) if row else None


def list_users(connection: sqlite3.Connection) -> list[User]:
    """Return everybody, by login, within a transaction."""
    return [_user(row) for row in connection.execute(_COLUMNS + "ORDER BY login")]


def find_user_id(connection: sqlite3.Connection, name: str) -> str | None:
    """Return the id of whom a canonical login name or e-mail address means, within a transaction."""
    row = connection.execute("SELECT user_id FROM identifier WHERE canonical=?", (name,)).fetchone()
    return str(row[0]) if row else None


def _user(row: tuple[str, str, str, str, str, int, str | None, str | None, str, str, str, str]) -> User:
    return User(
        id=row[0], name=row[1], roles=msgspec.json.decode(row[2], type=tuple[str, ...]), organization=row[3], department=row[4],
        active=bool(row[5]), birth_date=row[6], kana=row[7], login=row[8], email=row[9],
        former_names=msgspec.json.decode(row[10], type=tuple[str, ...]),
        licences=msgspec.json.decode(row[11], type=tuple[str, ...]),
    )  # fmt: skip


def _values(user: User) -> tuple[str, str, str, str, int, str | None, str | None, str, str]:
    roles, former, licences = (msgspec.json.encode(part).decode() for part in (user.roles, user.former_names, user.licences))
    return user.name, roles, user.organization, user.department, int(user.active), user.birth_date, user.kana, former, licences


def _name(connection: sqlite3.Connection, user: User) -> None:
    for name, kind in ((user.login, "login"), (user.email, "email")):
        if name:
            try:
                connection.execute("INSERT INTO identifier (canonical, user_id, kind) VALUES (?,?,?)", (name, user.id, kind))
            except sqlite3.IntegrityError as error:
                raise ValueError(f"{kind} {name!r} is taken") from error


def _check(user: User) -> None:
    check_login(user.login)
    if user.email:
        check_email(user.email)
    if not user.id.startswith("usr_"):
        raise ValueError(f"user id {user.id!r} does not begin with usr_")
    if not user.name.strip():
        raise ValueError(f"user {user.login} has no name")
    if any(not role.strip() for role in user.roles):
        raise ValueError(f"user {user.login} has an empty role")
    texts = (user.name, user.organization, user.department, user.kana or "", *user.roles, *user.former_names, *user.licences)
    if len(user.roles) > _MOST_ROLES or any(len(role) > _LONGEST_ROLE for role in user.roles):
        raise ValueError(f"user {user.login} has more than {_MOST_ROLES} roles, or one of more than {_LONGEST_ROLE} characters")
    if len(user.former_names) > _MOST_NAMES or len(user.licences) > _MOST_NAMES:
        raise ValueError(f"user {user.login} has more than {_MOST_NAMES} former names or licences")
    if any(len(text) > _LONGEST for text in texts):
        raise ValueError(f"user {user.login} has a text of more than {_LONGEST} characters")
    if any(unicodedata.category(char) in {"Cc", "Cs"} for text in texts for char in text):
        raise ValueError(f"user {user.login} has control characters in a text")

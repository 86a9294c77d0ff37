"""Administration of accounts: the rules of `idp.store.accounts`' acts. Works beside a running provider, on the same files.

Who may do this is whoever may write these files; nothing here asks for a sign-in.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.errors import GatewayError
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from idp.accounts import canonical
from idp.details import Details, DetailsError, with_details
from idp.factors import totp
from idp.factors.password import MAXIMUM_LENGTH, MINIMUM_LENGTH, Passwords, Weakness, weaknesses
from idp.files import DATABASE, open_keys
from idp.model import PasswordCredential, Standing, TotpCredential, User
from idp.store import SqliteStore, open_store

Answer = TypeVar("Answer")

_SALT_BYTES: Final = 16
_WHY: Final[dict[Weakness, str]] = {
    "too_short": f"it has fewer than {MINIMUM_LENGTH} characters",
    "too_long": f"it has more than {MAXIMUM_LENGTH} characters",
    "no_letter": "it has no letter",
    "no_digit": "it has no digit",
    "contains_login": "it contains the login name",
    "common": "it is too common",
}


class AccountError(GatewayError):
    """An account can't be made or changed as asked."""


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """A person whose new authenticator app has to be set up: the one time that its secret is given out."""

    user: User
    url: Secret
    """`otpauth://...`, for a QR code."""


class People:
    """Accounts, by login name or e-mail address. `by` is who decided it, for the log. AccountError says what is wrong."""

    def __init__(self, store: SqliteStore, clock: Clock, *, service_name: str) -> None:
        """`service_name` is what authenticator apps show."""
        self._store = store
        self._clock = clock
        self._service_name = service_name

    async def add(
        self,
        *,
        login: str,
        name: str,
        roles: tuple[str, ...],
        password: Secret,
        by: str,
        organization: str = "",
        department: str = "",
        email: str = "",
        details: Details | None = None,
    ) -> Enrolment:
        """Make an account that signs in with this password and an authenticator app."""
        bare = User(
            id=new_id("usr"), login=canonical(login), name=name, roles=_distinct(roles), organization=organization,
            department=department, email=canonical(email),
        )  # fmt: skip
        user = self._detailed(bare, msgspec.structs.replace(details or Details(), name=name))
        secret = totp.new_secret(os.urandom(totp.SECRET_BYTES))
        hashed, generator = await self._factors(user, password, secret)
        await _accepted(self._store.accounts.add(user, password=hashed, totp=generator, by=by, at=self._now()))
        return self._enrolment(user, secret)

    async def list(self) -> list[Standing]:
        """Return everybody, by login, deactivated people included."""
        return await self._store.accounts.standing(self._now())

    async def set_active(self, name: str, *, active: bool, by: str) -> User:
        """Keep a person out from now on, everywhere; or let them in again."""
        return await self._change(
            name, lambda user_id: self._store.accounts.set_active(user_id, active=active, by=by, at=self._now())
        )

    async def unlock(self, name: str, *, by: str) -> User:
        """End the lock after failed attempts."""
        return await self._change(name, lambda user_id: self._store.accounts.unlock(user_id, by=by, at=self._now()))

    async def set_roles(self, name: str, roles: tuple[str, ...], *, by: str) -> User:
        """Give a person these roles and no others."""
        wanted = _distinct(roles)
        return await self._change(name, lambda user_id: self._store.accounts.set_roles(user_id, wanted, by=by, at=self._now()))

    async def set_details(self, name: str, details: Details, *, by: str) -> tuple[User, tuple[str, ...]]:
        """Change what identity proofing compares; return the person, and the names of what is another than before. A proofing in
        force stays so: it was of this person as they were known then.
        """
        found: tuple[str, ...] = ()

        async def act(user_id: str) -> User | None:
            nonlocal found
            answer = await self._store.accounts.set_details(
                user_id, lambda user: self._detailed(user, details), by=by, at=self._now()
            )
            if answer is None:
                return None
            after, found = answer
            return after

        return await self._change(name, act), found

    async def reset(self, name: str, password: Secret, *, by: str) -> Enrolment:
        """Replace all that a person signs in with by this password and a new authenticator app; see `SqliteAccounts.reset`."""
        user = await self.find(name)
        secret = totp.new_secret(os.urandom(totp.SECRET_BYTES))
        hashed, generator = await self._factors(user, password, secret)
        await self._change(
            name, lambda user_id: self._store.accounts.reset(user_id, password=hashed, totp=generator, by=by, at=self._now())
        )
        return self._enrolment(user, secret)

    async def find(self, name: str) -> User:
        """Return whom a login name or e-mail address means."""
        user = await self._store.users.by_login(name)
        if user is None:
            raise AccountError(f"there is nobody called {name!r}", todo="The list of accounts shows who is there.")
        return user

    async def _change(self, name: str, act: Callable[[str], Awaitable[User | None]]) -> User:
        after = await _accepted(act((await self.find(name)).id))
        if after is None:
            raise AccountError(f"there is nobody called {name!r} any more")
        return after

    async def _factors(self, user: User, password: Secret, secret: Secret) -> tuple[PasswordCredential, TotpCredential]:
        if found := weaknesses(password, user.login):
            raise AccountError(f"the password can't be used: {', and '.join(_WHY[why] for why in found)}", todo="Choose another.")
        now = self._now()
        hashed = PasswordCredential(user_id=user.id, encoded=await hashed_password(password), changed_at=now)
        return hashed, TotpCredential(user_id=user.id, secret=secret, created_at=now)

    def _detailed(self, user: User, details: Details) -> User:
        try:
            return with_details(user, details, datetime.fromtimestamp(self._now(), UTC).date())
        except DetailsError as error:
            raise AccountError(error.what, todo=error.todo) from error

    def _enrolment(self, user: User, secret: Secret) -> Enrolment:
        return Enrolment(user=user, url=totp.enrolment_url(secret, user.login, self._service_name))

    def _now(self) -> int:
        return int(self._clock.now())


@contextlib.asynccontextmanager
async def open_people(data_dir: Path, *, clock: Clock, service_name: str) -> AsyncIterator[People]:
    """Open a provider's accounts, beside it or before its first start: then keys and database are made as the provider would.

    ConfigError when they can't be used.
    """
    keys = open_keys(data_dir, now=int(clock.now()))
    # Sessions are neither made nor read here, so that their limits don't matter.
    store = await open_store(data_dir / DATABASE, clock=clock, sealing_key=keys.sealing_key(), idle_seconds=0, seconds=0)
    try:
        yield People(store, clock, service_name=service_name)
    finally:
        await store.close()


async def hashed_password(password: Secret) -> str:
    """Return the hash to store, computed off the event loop. It does not ask whether the password is a good one."""
    return await asyncio.to_thread(Passwords(os.urandom(_SALT_BYTES)).hash, password, os.urandom(_SALT_BYTES))


async def _accepted(act: Awaitable[Answer]) -> Answer:
    """Let what the store does not accept be said to the person who asked."""
    try:
        return await act
    except ValueError as error:
        raise AccountError(str(error)) from error


def _distinct(roles: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(role.strip() for role in roles))

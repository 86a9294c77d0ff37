"""Puts the provider together: settings, keys, store, flows, endpoints and pages, as one aiohttp application."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from aiohttp import web

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError, GatewayError
from gateway.kernel.ids import new_id, new_token
from gateway.kernel.secret import Secret
from idp.accounts import canonical
from idp.factors.password import Passwords, weaknesses
from idp.flows import LoginFlows
from idp.keys import KeyFile
from idp.model import Event, PasswordCredential, TotpCredential, User
from idp.ports import EventSink
from idp.settings import IdpSettings
from idp.store import AttemptLimits, SqliteStore, open_store
from idp.web.endpoints import Endpoints
from idp.web.parts import Parts, SetupPages

DATABASE: Final = "idp.sqlite3"
KEYS: Final = "idp-keys.json"
_CHORES_EVERY_SECONDS: Final = 60
_SALT_BYTES: Final = 16

log = logging.getLogger(__name__)


class IdentityProvider:
    """A provider that is open. The embedder mounts `app`, seeds people, and closes it in the end."""

    def __init__(
        self, app: web.Application, store: SqliteStore, endpoints: Endpoints, keys: KeyFile, clock: Clock, events: EventSink
    ) -> None:
        self.app: Final = app
        self.store: Final = store
        self._endpoints = endpoints
        self._keys = keys
        self._clock = clock
        self._events = events

    async def seed_user(
        self,
        *,
        login: str,
        name: str,
        roles: tuple[str, ...],
        organization: str = "",
        department: str = "",
        email: str = "",
        birth_date: str | None = None,
        kana: str | None = None,
        password: Secret | None = None,
        totp_secret: Secret | None = None,
    ) -> User:
        """Create a person, or return the one who has this login already, unchanged in everything.

        `totp_secret` is Base32. ValueError for a name or password that is not acceptable.
        """
        known = await self.store.users.by_login(login)
        if known is not None:
            return known
        login = canonical(login)
        if password is not None and (found := weaknesses(password, login)):
            raise ValueError(f"the password of {login} is not acceptable: {', '.join(found)}")
        user = User(
            id=new_id("usr"), login=login, name=name, roles=roles, organization=organization, department=department,
            email=canonical(email), birth_date=birth_date, kana=kana,
        )  # fmt: skip
        now = int(self._clock.now())
        hashed = totp = None
        if password is not None:
            encoded = await asyncio.to_thread(_hashed, password)
            hashed = PasswordCredential(user_id=user.id, encoded=encoded, changed_at=now)
        if totp_secret is not None:
            totp = TotpCredential(user_id=user.id, secret=totp_secret, created_at=now)
        await self.store.enrol(user, password=hashed, totp=totp)
        return user

    async def list_users(self) -> list[User]:
        """Return everybody, by login, deactivated people included."""
        return await self.store.users.list()

    async def deactivate_user(self, user_id: str, *, by: str) -> bool:
        """Keep a person out from now on: sessions, codes and access tokens end at once. False when there is no such person.

        `by` is the login of who decided it. Sessions at relying parties are theirs to end. When the event can't be written, that
        error comes through, and the person is out all the same.
        """
        return await self._set_active(user_id, by, active=False)

    async def activate_user(self, user_id: str, *, by: str) -> bool:
        """Let a person in again. False when there is no such person."""
        return await self._set_active(user_id, by, active=True)

    async def unlock_user(self, user_id: str) -> None:
        """Forget a person's failed attempts, and with them the account lock."""
        await self.store.attempts.clear(user_id)

    def rotate_keys(self) -> None:
        """Sign with a new key from now on. The one before stays published; tokens of older ones stop verifying."""
        self._keys.rotate(int(self._clock.now()))
        self._endpoints.rekey(self._keys.keyset())

    async def close(self) -> None:
        """Close the database. Clean up the application first."""
        await self.store.close()

    async def _set_active(self, user_id: str, by: str, *, active: bool) -> bool:
        after = await self.store.users.update(user_id, lambda user: msgspec.structs.replace(user, active=active))
        if after is None:
            return False
        if not active:
            # Told only now: who ends sessions elsewhere on this event must not leave time to sign in once more. And when the log
            # fails, the person is out already, which is the safe side.
            detail, now = {"reason": "deactivated", "by": by}, int(self._clock.now())
            await self._events.record(
                Event(name="session.revoked", outcome="success", at=now, login=after.login, subject=user_id, detail=detail)
            )
        return True


async def open_provider(
    settings: IdpSettings,
    *,
    clock: Clock,
    events: EventSink,
    pages: SetupPages,
    address_of: Callable[[web.Request], str],
    limits: AttemptLimits | None = None,
) -> IdentityProvider:
    """Check the settings, open or create keys and database in `settings.data_dir`, and build the application.

    ConfigError when something can't be used; nothing listens before.
    """
    settings.check()
    now = int(clock.now())
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the directory can't be made: {error.strerror}",
            where=str(settings.data_dir),
            todo="Check its parent's owner and mode.",
        ) from error
    keys = KeyFile.open(settings.data_dir / KEYS, now=now)
    keys.rotate_if_older(settings.key_days, now)
    store = await open_store(
        settings.data_dir / DATABASE, clock=clock, sealing_key=keys.sealing_key(), idle_seconds=settings.session_idle_seconds,
        seconds=settings.session_seconds, limits=limits,
    )  # fmt: skip
    try:
        app, endpoints = create_app(
            settings, store=store, keys=keys, clock=clock, events=events, pages=pages, address_of=address_of
        )  # fmt: skip
    except BaseException:
        await store.close()
        raise
    return IdentityProvider(app, store, endpoints, keys, clock, events)


def create_app(
    settings: IdpSettings,
    *,
    store: SqliteStore,
    keys: KeyFile,
    clock: Clock,
    events: EventSink,
    pages: SetupPages,
    address_of: Callable[[web.Request], str],
) -> tuple[web.Application, Endpoints]:
    """Build the application on parts that are open already. It does not close them."""
    flows = LoginFlows(settings, store, clock, events)
    endpoints = Endpoints(
        settings, store, flows, keys=keys.keyset(), now=lambda: int(clock.now()), new_token=new_token, address_of=address_of
    )  # fmt: skip
    app = web.Application()
    parts = Parts(
        settings=settings, store=store, flows=flows, clock=clock, events=events, digest_key=keys.digest_key(),
        address_of=address_of,
    )  # fmt: skip
    endpoints.add_routes(app, pages(app, parts))

    async def chores(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_chores(settings, store, keys, endpoints, clock), name="idp-chores")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app.cleanup_ctx.append(chores)
    return app, endpoints


async def _chores(settings: IdpSettings, store: SqliteStore, keys: KeyFile, endpoints: Endpoints, clock: Clock) -> None:
    """Delete what has expired and replace a signing key of age, again and again. A failure is logged and tried again."""
    while True:
        try:
            await store.purge()
            if keys.rotate_if_older(settings.key_days, int(clock.now())):
                endpoints.rekey(keys.keyset())
        except GatewayError:
            log.exception("a chore of the identity provider failed; it is tried again in %d s", _CHORES_EVERY_SECONDS)
        await asyncio.sleep(_CHORES_EVERY_SECONDS)


def _hashed(password: Secret) -> str:
    return Passwords(os.urandom(_SALT_BYTES)).hash(password, os.urandom(_SALT_BYTES))

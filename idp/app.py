"""Puts the provider together: settings, keys, store, flows, endpoints and pages, as one aiohttp application."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web

from gateway.kernel.clock import Clock
from gateway.kernel.errors import GatewayError
from gateway.kernel.ids import new_id, new_token
from gateway.kernel.secret import Secret
from idp.accounts import canonical
from idp.changes import Changes
from idp.factors.password import weaknesses
from idp.files import DATABASE, RECHECKING, TELLING, open_keys
from idp.flows import LoginFlows
from idp.keys import KeyFile
from idp.model import PasswordCredential, TotpCredential, User
from idp.people import hashed_password
from idp.ports import EventSink
from idp.proofing.office import ProofingOffice
from idp.proofing.port import ProofingBackend
from idp.protocol.keyset import KeySet
from idp.settings import IdpSettings
from idp.store import AttemptLimits, SqliteStore, open_store
from idp.web.endpoints import Endpoints
from idp.web.parts import Parts, SetupPages
from idp.web.refusals import Refusals

_CHORES_EVERY_SECONDS: Final = 60

log = logging.getLogger(__name__)


class IdentityProvider:
    """A provider that is open. The embedder mounts `app`, seeds people, and closes it in the end."""

    def __init__(
        self, app: web.Application, store: SqliteStore, endpoints: Endpoints, keys: KeyFile, clock: Clock, changes: Changes,
        office: ProofingOffice,
    ) -> None:  # fmt: skip
        self.app: Final = app
        self.store: Final = store
        self.office: Final = office
        self._endpoints = endpoints
        self._keys = keys
        self._clock = clock
        self._changes = changes

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
        """Create a person, or return the one who has this login already, unchanged in everything. The log is not told.

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
            hashed = PasswordCredential(user_id=user.id, encoded=await hashed_password(password), changed_at=now)
        if totp_secret is not None:
            totp = TotpCredential(user_id=user.id, secret=totp_secret, created_at=now)
        await self.store.accounts.add(user, password=hashed, totp=totp, by=None, at=now)
        return user

    async def list_users(self) -> list[User]:
        """Return everybody, by login, deactivated people included."""
        return await self.store.users.list()

    async def deactivate_user(self, user_id: str, *, by: str) -> bool:
        """Keep a person out from now on: sessions, codes and access tokens end at once. False when there is no such person.

        `by` is the login of who decided it. Sessions at relying parties are the embedder's to end, on `account.deactivated`. When
        that can't be told, the error comes through; the person is out all the same, and it is told later.
        """
        return await self._set_active(user_id, by, active=False)

    async def activate_user(self, user_id: str, *, by: str) -> bool:
        """Let a person in again. False when there is no such person."""
        return await self._set_active(user_id, by, active=True)

    async def unlock_user(self, user_id: str, *, by: str) -> bool:
        """Forget a person's failed attempts, and with them the account lock. False when there is no such person."""
        found = await self.store.accounts.unlock(user_id, by=by, at=int(self._clock.now()))
        await self._changes.tell()
        return found is not None

    async def rotate_keys(self) -> None:
        """Sign with a new key from now on. The one before stays published; tokens of older ones stop verifying."""
        await self._keys.rotate(int(self._clock.now()))
        self._endpoints.rekey(self._keys.keyset())

    async def close(self) -> None:
        """Break off what goes on, and close the database. Clean up the application first."""
        await self.office.close()
        await self.store.close()

    async def _set_active(self, user_id: str, by: str, *, active: bool) -> bool:
        after = await self.store.accounts.set_active(user_id, active=active, by=by, at=int(self._clock.now()))
        # Told only now: who ends sessions elsewhere on this event must not leave time to sign in once more.
        await self._changes.tell()
        return after is not None


async def open_provider(
    settings: IdpSettings,
    *,
    clock: Clock,
    events: EventSink,
    pages: SetupPages,
    address_of: Callable[[web.Request], str],
    limits: AttemptLimits | None = None,
    verifier: ProofingBackend | None = None,
) -> IdentityProvider:
    """Check the settings, open or create keys and database in `settings.data_dir`, and build the application.

    `verifier` is asked again about identity proofings; it stays the caller's to close.

    ConfigError when something can't be used; nothing listens before.
    """
    settings.check()
    now = int(clock.now())
    keys = open_keys(settings.data_dir, now=now)
    await keys.rotate_if_older(settings.key_days, now)
    store = await open_store(
        settings.data_dir / DATABASE, clock=clock, sealing_key=keys.sealing_key(), idle_seconds=settings.session_idle_seconds,
        seconds=settings.session_seconds, limits=limits,
    )  # fmt: skip
    changes = Changes(store.accounts, events, lock=settings.data_dir / TELLING)
    office = ProofingOffice(
        store, keys, clock, events, backend=verifier, lock=settings.data_dir / RECHECKING, settings=settings.proofing,
        tell=changes.tell,
    )  # fmt: skip
    try:
        app, endpoints = create_app(
            settings, store=store, keys=keys, clock=clock, events=events, changes=changes, office=office, pages=pages,
            address_of=address_of,
        )  # fmt: skip
    except BaseException:
        await store.close()
        raise
    return IdentityProvider(app, store, endpoints, keys, clock, changes, office)


def create_app(
    settings: IdpSettings,
    *,
    store: SqliteStore,
    keys: KeyFile,
    clock: Clock,
    events: EventSink,
    changes: Changes,
    office: ProofingOffice,
    pages: SetupPages,
    address_of: Callable[[web.Request], str],
) -> tuple[web.Application, Endpoints]:
    """Build the application on parts that are open already. It does not close them."""
    flows = LoginFlows(settings, store, clock, events)
    refusals = Refusals(events, clock, address_of)
    endpoints = Endpoints(
        settings, store, flows, keys=keys.keyset(), now=lambda: int(clock.now()), new_token=new_token, address_of=address_of,
        refusals=refusals, fresh=lambda: _fresh(keys),
    )  # fmt: skip
    app = web.Application()
    parts = Parts(
        settings=settings, store=store, flows=flows, clock=clock, events=events, digest_keys=keys.digest_keys,
        address_of=address_of, refusals=refusals, office=office,
    )  # fmt: skip
    endpoints.add_routes(app, pages(app, parts))

    async def chores(_: web.Application) -> AsyncIterator[None]:
        # What was done while nothing ran is told before anybody is served.
        await changes.tell()
        tasks = [
            asyncio.create_task(changes.follow(), name="idp-changes"),
            asyncio.create_task(_chores(settings, store, keys, endpoints, clock), name="idp-chores"),
            asyncio.create_task(_rechecks(office), name="idp-rechecks"),
        ]
        yield
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    app.cleanup_ctx.append(chores)
    return app, endpoints


def _fresh(keys: KeyFile) -> KeySet | None:
    """Return the keys when another process has changed them."""
    try:
        return keys.keyset() if keys.refresh() else None
    except GatewayError:
        # The chores look again, and say so again; until then what is known is used.
        log.exception("the keys can't be read")
        return None


async def _chores(settings: IdpSettings, store: SqliteStore, keys: KeyFile, endpoints: Endpoints, clock: Clock) -> None:
    """Delete what has expired and replace a signing key of age, again and again. A failure is logged and tried again."""
    while True:
        try:
            await store.purge()
            if keys.refresh() or await keys.rotate_if_older(settings.key_days, int(clock.now())):
                endpoints.rekey(keys.keyset())
        except GatewayError:
            log.exception("a chore of the identity provider failed; it is tried again in %d s", _CHORES_EVERY_SECONDS)
        await asyncio.sleep(_CHORES_EVERY_SECONDS)


async def _rechecks(office: ProofingOffice) -> None:
    """Have the verifier asked again about proofings when it is time, and go on with what was broken off."""
    while True:
        try:
            await office.recheck_if_due()
        except GatewayError:
            log.exception("proofings can't be rechecked; it is tried again in %d s", _CHORES_EVERY_SECONDS)
        await asyncio.sleep(_CHORES_EVERY_SECONDS)

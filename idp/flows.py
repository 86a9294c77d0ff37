"""From an authorize request to a code: what is stored, and in which order. The rules are in `idp.protocol`, pure.

The log comes first: an event that can't be written keeps its act from happening.
"""

import re
from collections.abc import Callable
from typing import Final, Literal, Protocol, cast

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ProtocolError
from gateway.kernel.ids import new_id, new_token
from gateway.kernel.secret import Secret, hash_token, same
from idp.bindings import Binder
from idp.model import ACR_MFA, Event, EventName, LoginTransaction, ProofingRecord, SsoSession, User
from idp.ports import EventSink, GrantStore, Store
from idp.protocol.assurance import merged, reached_at
from idp.protocol.authorize import Asked, AuthorizeError, begin, failure, success
from idp.protocol.binding import FRESH_SECONDS
from idp.protocol.discovery import LOGIN
from idp.protocol.transaction import check_change, check_complete, code_grant, lacking, silent_error, without_session
from idp.settings import IdpSettings

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_MOMENT_SECONDS: Final = 60
_SETTLED_SECONDS: Final = 2
"""By then the second in which a transaction was begun is over."""
_CANCELLATIONS: Final = ("access_denied", "unmet_authentication_requirements")


class OwnStore(Store, Protocol):
    """The store as the provider itself needs it."""

    @property
    def grants(self) -> GrantStore:
        """Codes and access tokens."""
        ...


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Where the browser goes after `/authorize`: to the client or to the sign-in page."""

    location: str
    browser: Secret | None = None
    """A new binding for the browser; None when it has one."""


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """`idp.ports.Completed`."""

    location: str
    session_token: Secret


class LoginFlows:
    """`idp.ports.Flows`, and what the endpoints need."""

    def __init__(self, settings: IdpSettings, store: OwnStore, clock: Clock, events: EventSink) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._events = events
        self._binder = Binder(store, events, clock)

    async def start(self, asked: Asked, session_token: str, browser: str, address: str) -> Started:
        """Answer a valid authorize request: at once when the browser's session is enough, else by a sign-in.

        `prompt=none` never shows anything: what is missing is an error for the client.
        """
        now = self._now()
        session = await self.session(session_token)
        bound = None if _TOKEN.fullmatch(browser) else Secret(new_token())
        transaction = begin(
            asked, session, transaction_id=new_id("tx"), browser_hash=hash_token(bound.reveal() if bound else browser), now=now,
            lifetime=self._settings.transaction_seconds,
        )  # fmt: skip
        user, proofed = await self._person(transaction)
        still = lacking(transaction, user, proofed, now)
        if not still and session is not None:
            user = check_complete(transaction, user, proofed, now)
            detail = {"client": asked.client_id, "how": "session"}
            await self._record("signin.succeeded", "success", user=user, session=session.id, address=address, detail=detail)
            return Started(location=await self._code(transaction, session))
        if asked.silent:
            error = cast("AuthorizeError", silent_error(still, asked.acr))
            return Started(location=failure(self._settings.issuer, transaction, error))
        await self._record(
            "signin.started",
            "success",
            user=user,
            address=address,
            detail={"client": asked.client_id, "acr": asked.acr or ACR_MFA},
        )
        await self._store.transactions.put(transaction)
        return Started(location=f"{LOGIN}?tx={transaction.id}", browser=bound)

    async def load(self, transaction_id: str, browser: str) -> LoginTransaction | None:
        """Return a live transaction of this browser."""
        transaction = await self._store.transactions.get(transaction_id, self._now())
        return transaction if transaction is not None and _is_of(transaction, browser) else None

    async def update(
        self, transaction_id: str, browser: str, change: Callable[[LoginTransaction], LoginTransaction]
    ) -> LoginTransaction | None:
        """Apply a change that keeps to the rules (`check_change`); ProtocolError when it does not."""
        if await self.load(transaction_id, browser) is None:
            return None

        def checked(before: LoginTransaction) -> LoginTransaction:
            after = change(before)
            check_change(before, after)
            return after

        return await self._store.transactions.update(transaction_id, checked, self._now())

    async def missing(self, transaction: LoginTransaction) -> tuple[str, ...]:
        """Return what is still missing for completion."""
        user, proofed = await self._person(transaction)
        return lacking(transaction, user, proofed, self._now())

    async def complete(self, transaction_id: str, browser: str, session_token: str, address: str) -> Completed | None:
        """End the transaction with a code, and give the browser's session a new token."""
        before = await self.load(transaction_id, browser)
        if before is None:
            return None
        session = await self.session(session_token)
        await self._checked(_with(before, session))  # what is not complete stays
        taken = await self._store.transactions.take(transaction_id, self._now())
        if taken is None:
            return None
        transaction = _with(taken, session)
        user = await self._checked(transaction)  # it may have changed between the two
        if session is not None and transaction.session_id != session.id:
            await self._end(session, address)
            session = None
        name: EventName = "stepup.succeeded" if session and transaction.proved else "signin.succeeded"
        session_id = session.id if session else new_id("sid")
        kinds = " ".join(sorted({event.kind for event in transaction.proved}))
        detail = {"client": transaction.client_id, "how": kinds, "acr": transaction.acr or ACR_MFA}
        await self._record(name, "success", user=user, session=session_id, address=address, detail=detail)
        kept, token = await self._session(transaction, session, session_id, address)
        events = (*(session.events if session else ()), *transaction.proved)
        await self._binder.used(user, events, transaction.created_at - FRESH_SECONDS, address)
        if reached_at(transaction.proved, ACR_MFA) is not None and "pwd" in kinds.split():
            await self._store.attempts.clear(user.id)
        return Completed(location=await self._code(transaction, kept), session_token=token)

    async def cancel(self, transaction_id: str, browser: str, error: str, address: str) -> str | None:
        """End the transaction with an error for the client."""
        if error not in _CANCELLATIONS:
            raise ValueError(f"a sign-in ends with one of {', '.join(_CANCELLATIONS)}, not {error}")
        if await self.load(transaction_id, browser) is None:
            return None
        transaction = await self._store.transactions.take(transaction_id, self._now())
        if transaction is None:
            return None
        user, _ = await self._person(transaction)
        detail = {"client": transaction.client_id, "reason": error}
        await self._record("signin.failed", "failure", user=user, address=address, detail=detail)
        return failure(self._settings.issuer, transaction, cast("AuthorizeError", error))

    async def overtaken(self, transaction_id: str, browser: str, session_token: str) -> bool:
        """Whether a live transaction has nothing to ask of this browser: another tab of it has proved since then all that is
        asked for; or it was begun a moment ago, perhaps by this browser before another tab's cookie took the place of its own.
        """
        transaction = await self._store.transactions.get(transaction_id, self._now())
        if transaction is None or not _TOKEN.fullmatch(browser):
            return False
        if not _is_of(transaction, browser):
            return self._now() - transaction.created_at <= _MOMENT_SECONDS
        session = await self._store.sessions.look(session_token, self._now()) if _TOKEN.fullmatch(session_token) else None
        if session is None or transaction.hint_subject not in {"", session.user_id}:
            return False
        # Times are whole seconds: of the same one nobody can tell what was first. A moment later it counts as since: a tab that
        # is wrong about it asks anew, once, and begins in a later second.
        first = transaction.created_at + (self._now() - transaction.created_at < _SETTLED_SECONDS)
        since = tuple(event for event in session.events if event.at >= first)
        alone = msgspec.structs.replace(
            transaction, user_id=session.user_id, session_id="", session_events=(), proved=since, notes={}
        )
        return not await self.missing(alone)

    async def give_back(self, transaction_id: str, browser: str, session_token: str, address: str) -> str | None:
        """Return where an overtaken transaction ends: at the client, with an error, so that it may ask anew. None when it is not
        overtaken.
        """
        if not await self.overtaken(transaction_id, browser, session_token):
            return None
        transaction = await self.load(transaction_id, browser)
        if transaction is not None:
            transaction = await self._store.transactions.take(transaction_id, self._now())
        else:
            # Whose it is may still need it.
            transaction = await self._store.transactions.get(transaction_id, self._now())
            detail = {"client": transaction.client_id if transaction is not None else "", "reason": "other_browser"}
            await self._record("signin.failed", "failure", address=address, detail=detail)
        if transaction is None:
            return None
        return failure(self._settings.issuer, transaction, "interaction_required")

    async def renew(self, transaction_id: str, browser: str) -> str | None:
        """End a transaction that nobody has used until it is nearly over; return where the client is told to ask anew. None as in
        `load`, and for one in which something was proved.
        """
        transaction = await self.load(transaction_id, browser)
        if transaction is None or transaction.proved:
            return None
        taken = await self._store.transactions.take(transaction_id, self._now())
        return failure(self._settings.issuer, taken, "interaction_required") if taken is not None else None

    async def session(self, token: str) -> SsoSession | None:
        """Return the live session of a cookie."""
        return await self._store.sessions.resolve(token, self._now()) if _TOKEN.fullmatch(token) else None

    async def sign_out(self, session: SsoSession, address: str) -> None:
        """End a browser's session, with its codes and access tokens."""
        user = await self._store.users.get(session.user_id)
        await self._record("signout", "success", user=user, session=session.id, address=address)
        await self._store.sessions.revoke(session.id)

    # ------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._clock.now())

    async def _person(self, transaction: LoginTransaction) -> tuple[User | None, ProofingRecord | None]:
        if not transaction.user_id:
            return None, None
        user = await self._store.users.get(transaction.user_id)
        return user, await self._store.proofing.latest(transaction.user_id)

    async def _checked(self, transaction: LoginTransaction) -> User:
        user, proofed = await self._person(transaction)
        return check_complete(transaction, user, proofed, self._now())

    async def _session(
        self, transaction: LoginTransaction, session: SsoSession | None, session_id: str, address: str
    ) -> tuple[SsoSession, Secret]:
        now, proved = self._now(), transaction.proved
        if session is None:
            new = SsoSession(
                id=session_id,
                user_id=transaction.user_id,
                events=merged((), proved),
                created_at=now,
                last_seen_at=now,
                address=address,
            )
            return new, await self._store.sessions.create(new)
        token = await self._store.sessions.rotate(
            session_id,
            lambda old: msgspec.structs.replace(old, events=merged(old.events, proved), last_seen_at=now, address=address),
            now,
        )
        if token is None:
            raise ProtocolError("the session ended meanwhile")
        return msgspec.structs.replace(session, events=merged(session.events, proved)), token

    async def _code(self, transaction: LoginTransaction, session: SsoSession) -> str:
        now, code = self._now(), new_token()
        grant = code_grant(transaction, session, now=now, lifetime=self._settings.code_seconds)
        if not await self._store.grants.put_code(hash_token(code), grant, now):
            raise ProtocolError("the session ended meanwhile")
        return success(self._settings.issuer, transaction, code)

    async def _end(self, session: SsoSession, address: str) -> None:
        owner = await self._store.users.get(session.user_id)
        detail = {"reason": "another_sign_in"}
        await self._record("session.revoked", "success", user=owner, session=session.id, address=address, detail=detail)
        await self._store.sessions.revoke(session.id)

    async def _record(
        self, name: EventName, outcome: Literal["success", "failure"], *, address: str, user: User | None = None,
        session: str = "", detail: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        await self._events.record(
            Event(
                name=name, outcome=outcome, at=self._now(), login=user.login if user else "", subject=user.id if user else "",
                address=address, session=session, detail=detail or {},
            )
        )  # fmt: skip


def _is_of(transaction: LoginTransaction, browser: str) -> bool:
    return bool(_TOKEN.fullmatch(browser)) and same(hash_token(browser), transaction.browser_hash)


def _with(transaction: LoginTransaction, session: SsoSession | None) -> LoginTransaction:
    """Return the transaction as it counts in a browser that now has this session: another than at its start brings nothing."""
    live = session is not None and session.id == transaction.session_id and session.user_id == transaction.user_id
    return transaction if live or not transaction.session_id else without_session(transaction)

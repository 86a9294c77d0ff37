"""What the flows and pages need from storage and the log. `idp.store` implements all but `EventSink`, which the embedder gives.

Not found is a value; broken is `gateway.kernel.errors.StoreUnavailable` raised, always. Every method that checks and consumes
does so in one statement or one transaction: two callers at once never both succeed.
"""

from collections.abc import Callable
from typing import Literal, Protocol

from gateway.kernel.secret import Secret
from idp.model import (
    AccessGrant,
    Attempt,
    CodeGrant,
    Event,
    Fido2Credential,
    LoginTransaction,
    PasswordCredential,
    RecoveryCodes,
    SsoSession,
    TotpCredential,
    User,
)
from idp.stored_proofing import BindingStore, CaseStore, ProofingStore


class UserStore(Protocol):
    """People."""

    async def get(self, user_id: str) -> User | None:
        """Return a person by id, deactivated ones included."""
        ...

    async def by_login(self, identifier: str) -> User | None:
        """Return whom this login name or e-mail address names, in any spelling that canonicalises to it; deactivated ones
        included. Never raises on odd input.
        """
        ...

    async def add(self, user: User) -> None:
        """Store a new person. ValueError when the id, login or e-mail address is taken, or a name is not acceptable."""
        ...

    async def update(self, user_id: str, change: Callable[[User], User]) -> User | None:
        """Apply `change` atomically and return the result; None when unknown. ValueError as in `add`; the id can't change."""
        ...

    async def list(self) -> list[User]:
        """Return everybody, by login."""
        ...


class CredentialStore(Protocol):
    """What people prove themselves with."""

    async def password(self, user_id: str) -> PasswordCredential | None:
        """Return the password hash."""
        ...

    async def set_password(self, credential: PasswordCredential) -> None:
        """Store or replace the password hash."""
        ...

    async def totp(self, user_id: str) -> TotpCredential | None:
        """Return the TOTP generator."""
        ...

    async def set_totp(self, credential: TotpCredential) -> None:
        """Store or replace a *confirmed* generator. `last_step` is the step that confirmed it, so that it can't be used again."""
        ...

    async def advance_totp(self, user_id: str, step: int) -> bool:
        """Mark `step` as used. False, and no change, when it is not newer than the newest used one: the code was replayed."""
        ...

    async def remove_totp(self, user_id: str) -> bool:
        """Forget the generator; True when there was one."""
        ...

    async def fido2(self, user_id: str) -> list[Fido2Credential]:
        """Return a person's keys, oldest first."""
        ...

    async def fido2_by_id(self, credential_id: str) -> Fido2Credential | None:
        """Return a key by credential id (base64url without padding), whoever it belongs to."""
        ...

    async def add_fido2(self, credential: Fido2Credential) -> None:
        """Store a new key. ValueError when the credential id is taken, by anybody."""
        ...

    async def use_fido2(self, credential_id: str, sign_count: int, at: int) -> bool:
        """Record a verified assertion. False, and no change, when the counter went back or stood still although it counts
        (WebAuthn 3 §6.1.1, a sign of a cloned key), or the key is gone. Keys that always say 0 pass.
        """
        ...

    async def remove_fido2(self, user_id: str, credential_id: str) -> bool:
        """Forget a key of this person; False when they have no such key."""
        ...

    async def recovery(self, user_id: str) -> RecoveryCodes | None:
        """Return the unused recovery codes' hashes."""
        ...

    async def set_recovery(self, codes: RecoveryCodes) -> None:
        """Replace all recovery codes of the person."""
        ...

    async def use_recovery(self, user_id: str, code_hash: str) -> bool:
        """Consume one recovery code; False when it is unknown or used."""
        ...


class AttemptStore(Protocol):
    """Counts failures by account and by address, with back-off and an account lock (guideline 7.0, ops 14.1.1)."""

    async def begin(self, identifier: str, address: str, now: int) -> Attempt:
        """Ask to try a secret of the account that `identifier` (login or e-mail address, any spelling, or a user id) names.

        A permitted attempt is charged as a failure *before* it is made, so that parallel guesses can't slip through: call
        `succeeded` when it was right. Unknown accounts are treated just like known ones.
        """
        ...

    async def succeeded(self, identifier: str, address: str) -> None:
        """Give back the one charge of an attempt that was right.

        It does not clear the account: somebody who knows the password could otherwise guess one-time codes without end.
        `Flows.complete` clears it, after two factors.
        """
        ...

    async def clear(self, identifier: str) -> None:
        """Forget the account's failures, whatever it was called in them: after a whole sign-in, or by an officer's decision."""
        ...


class SessionStore(Protocol):
    """Signed-in browsers. Tokens are 256 random bits, given out once and stored as SHA-256 only."""

    async def create(self, session: SsoSession) -> Secret:
        """Store a new session; return its token."""
        ...

    async def get(self, session_id: str, now: int) -> SsoSession | None:
        """Return a live session by id, without counting it as activity."""
        ...

    async def resolve(self, token: str, now: int) -> SsoSession | None:
        """Return the live session of a token and count it as activity. None when unknown, truncated, idle, expired, ended, or
        the person is deactivated.
        """
        ...

    async def look(self, token: str, now: int) -> SsoSession | None:
        """The same, without counting: for what a page asks by itself, while nobody need be there."""
        ...

    async def rotate(self, session_id: str, change: Callable[[SsoSession], SsoSession], now: int) -> Secret | None:
        """Apply `change` and replace the token, atomically; the old token is dead. None when the session is not alive."""
        ...

    async def revoke(self, session_id: str) -> bool:
        """End a session, with its unused codes and its access tokens. True when this call ended it."""
        ...

    async def revoke_user(self, user_id: str) -> int:
        """End all sessions of a person, with codes and access tokens; how many."""
        ...

    async def list(self, now: int) -> list[SsoSession]:
        """Return live sessions, newest first."""
        ...


class TransactionStore(Protocol):
    """Authorize requests in progress."""

    async def put(self, transaction: LoginTransaction) -> None:
        """Store a new one."""
        ...

    async def get(self, transaction_id: str, now: int) -> LoginTransaction | None:
        """Return a live one. Does *not* check the browser: `idp.flows.Flows.load` does."""
        ...

    async def update(
        self, transaction_id: str, change: Callable[[LoginTransaction], LoginTransaction], now: int
    ) -> LoginTransaction | None:
        """Apply `change` atomically; None when not live. What `change` raises leaves it untouched and comes through."""
        ...

    async def take(self, transaction_id: str, now: int) -> LoginTransaction | None:
        """Return a live one and forget it, atomically: a transaction ends once."""
        ...


CodeRefusal = Literal["unknown", "expired", "reused"]


class GrantStore(Protocol):
    """Authorization codes and access tokens, by the SHA-256 of each. They die with their session and their person's account."""

    async def put_code(self, code_hash: str, grant: CodeGrant, now: int) -> bool:
        """Store a code. False, and nothing stored, when its session is not alive any more."""
        ...

    async def redeem(self, code_hash: str, client_id: str, now: int) -> CodeGrant | CodeRefusal:
        """Consume a code of this client. `unknown` covers other clients' codes, which stay untouched.

        `reused`: it was consumed before; what was issued for it is revoked, also what is still about to be (RFC 6749 §4.1.2).
        """
        ...

    async def put_access(self, token_hash: str, code_hash: str, grant: AccessGrant, now: int) -> bool:
        """Store an access token. False, and nothing stored, when its code was reused or its session or account has ended."""
        ...

    async def access(self, token_hash: str, now: int) -> AccessGrant | None:
        """Return what a live access token stands for."""
        ...


class OneTimeStore(Protocol):
    """Things that may be used once: ceremony challenges, proofing states. Check and consume is atomic."""

    async def put(self, kind: str, value: bytes, ttl_seconds: int) -> str:
        """Store `value` (at most 16 KiB) under a new unguessable name and return the name."""
        ...

    async def put_as(self, kind: str, name: str, value: bytes, ttl_seconds: int) -> bool:
        """Store `value` under a name that somebody else made, and which nobody can guess. False when the name is taken."""
        ...

    async def take(self, kind: str, name: str) -> bytes | None:
        """Return the value and forget it. None when unknown, expired, used, or of another kind."""
        ...

    async def peek(self, kind: str, name: str) -> bytes | None:
        """Return the value and keep it."""
        ...

    async def change(self, kind: str, name: str, change: Callable[[bytes], bytes | None]) -> bytes | None:
        """Replace a value by `change(value)`, atomically, and return the new one. It lives no longer for it. None, and nothing
        changed, when there is no such value, or `change` returns None.
        """
        ...


class EventSink(Protocol):
    """The log of the embedder."""

    async def record(self, event: Event) -> None:
        """Write an event. Raises when it can't be written: then the act that it reports must not happen."""
        ...


class Store(Protocol):
    """All stores of one database, under one lifetime (`idp.store.open_store`). Pages get this."""

    @property
    def users(self) -> UserStore:
        """People."""
        ...

    @property
    def credentials(self) -> CredentialStore:
        """What they prove themselves with."""
        ...

    @property
    def proofing(self) -> ProofingStore:
        """Identity proofing."""
        ...

    @property
    def bindings(self) -> BindingStore:
        """What identity proofing is bound to."""
        ...

    @property
    def cases(self) -> CaseStore:
        """Results of proofings that wait for officers."""
        ...

    @property
    def attempts(self) -> AttemptStore:
        """Failure counters."""
        ...

    @property
    def sessions(self) -> SessionStore:
        """Signed-in browsers."""
        ...

    @property
    def transactions(self) -> TransactionStore:
        """Authorize requests in progress."""
        ...

    @property
    def once(self) -> OneTimeStore:
        """One-time values."""
        ...


class Flows(Protocol):
    """How the sign-in pages end a transaction; `idp.flows.LoginFlows` is it. `browser` is the cookie `__Host-idp-browser`."""

    async def load(self, transaction_id: str, browser: str) -> LoginTransaction | None:
        """Return a live transaction of this browser; None when unknown, expired, finished, or another browser's."""
        ...

    async def update(
        self, transaction_id: str, browser: str, change: Callable[[LoginTransaction], LoginTransaction]
    ) -> LoginTransaction | None:
        """Like `load`, and apply `change` atomically. What `change` raises comes through."""
        ...

    async def missing(self, transaction: LoginTransaction) -> tuple[str, ...]:
        """Return what is still missing, of `user`, `mfa`, `phr`, `proofing`, in this order; empty: call `complete`."""
        ...

    async def complete(self, transaction_id: str, browser: str, session_token: str, address: str) -> "Completed | None":
        """End the transaction with a code. Verifies again all that was asked for (person active, the hinted person, factors,
        freshness, proofing); raises `ProtocolError` when something is missing, and the transaction stays. None as in `load`.

        The browser's session gets a new token, or a new session is made and the old one (of another person) ends.
        """
        ...

    async def overtaken(self, transaction_id: str, browser: str, session_token: str) -> bool:
        """Whether a live transaction has nothing to ask of this browser: another tab signed in since, or it is not its own."""
        ...

    async def give_back(self, transaction_id: str, browser: str, session_token: str, address: str) -> str | None:
        """Return where an overtaken transaction ends: at the client, with an error. None when it is not overtaken."""
        ...

    async def renew(self, transaction_id: str, browser: str) -> str | None:
        """End a transaction that nobody has used; return where the client is told to ask anew. None as in `load`."""
        ...

    async def cancel(self, transaction_id: str, browser: str, error: str, address: str) -> str | None:
        """End the transaction with an error (`access_denied` or `unmet_authentication_requirements`); return the URL to redirect
        to. None as in `load`.
        """
        ...


class Completed(Protocol):
    """What the browser gets at the end: `idp.web.cookies.finish(response, completed)` sets the cookie."""

    @property
    def location(self) -> str:
        """The client's redirect URI with `code`, `state` and `iss`."""
        ...

    @property
    def session_token(self) -> Secret:
        """The new token for the cookie `__Host-idp-session`."""
        ...

"""Checks what a person offers as proof, against the store. Used by the sign-in and by the account page alike.

Every guessable thing is charged before it is looked at, takes the same time for people who don't exist, and is consumed when it
was right. Nothing here decides what a proof is good for: that is `idp.login`.
"""

import asyncio
from typing import Final, Literal

import msgspec

from gateway.kernel.secret import Secret, hash_token, same
from idp.accounts import canonical
from idp.factors import fido2, recovery, totp
from idp.factors.fido2 import CeremonyRefused, RelyingParty
from idp.factors.password import MAXIMUM_LENGTH, Passwords
from idp.login import Account
from idp.model import AuthKind, Event, EventName, Fido2Credential, PasswordCredential, User
from idp.protocol.binding import KEY
from idp.web.options import PageOptions
from idp.web.parts import Parts

_KIND: Final = "webauthn"
_CEREMONY_SECONDS: Final = 300
_SALT_BYTES: Final = 16
_LABEL_LENGTH: Final = 40


class Wrong(msgspec.Struct, frozen=True, kw_only=True):
    """It did not check out. The person is told no more than that."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """It was not even looked at: too many failures."""

    seconds: int
    locked: bool


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """Whose key was touched, and which it was (`AuthEvent.authenticator`)."""

    user: User
    authenticator: str


class _Begun(msgspec.Struct, frozen=True, kw_only=True):
    binding: str
    ceremony: fido2.Ceremony


class Checks:
    """See the module."""

    def __init__(self, parts: Parts, options: PageOptions) -> None:
        self._parts, self._options = parts, options
        self._store, self._clock = parts.store, parts.clock
        host = parts.settings.issuer.partition("://")[2].partition(":")[0]
        self.party: Final = RelyingParty(id=host, origin=parts.settings.issuer, name=options.service_name)
        self._passwords = Passwords(options.randomness(_SALT_BYTES), options.hash_parameters)
        self._hashing = asyncio.Semaphore(options.hash_workers)

    async def account(self, user_id: str) -> Account | None:
        """Return what the state machine needs to know of a person; None when there is no such person."""
        user = await self._store.users.get(user_id)
        if user is None:
            return None
        credentials = self._store.credentials
        codes, proofing = await credentials.recovery(user_id), await self._store.proofing.latest(user_id)
        proofed = proofing is not None and proofing.in_force(self.now())
        return Account(
            user_id=user_id, active=user.active, password=await credentials.password(user_id) is not None,
            totp=await credentials.totp(user_id) is not None, recovery=codes is not None and bool(codes.hashes),
            keys=len(await credentials.fido2(user_id)), proofed=proofed,
            proofing=proofing.number if proofing is not None and proofed else 0,
        )  # fmt: skip

    def now(self) -> int:
        """Whole seconds since the epoch."""
        return int(self._clock.now())

    async def password(self, user: User | None, identifier: str, typed: str, address: str) -> User | Wrong | Wait:
        """Check the password of a person whom `identifier` named. None (nobody by that name), deactivated people and people
        without a password get the same answer after the same work.
        """
        wait = await self._charge(user, identifier, address)
        if wait is not None:
            return wait
        stored = await self._store.credentials.password(user.id) if user is not None else None
        password = Secret(typed[: MAXIMUM_LENGTH * 4])
        async with self._hashing:
            check = await asyncio.to_thread(self._passwords.check, stored.encoded if stored else None, password)
        if not check.ok or user is None or not user.active:
            await self._failed(user, identifier, address, "pwd", "credentials")
            return Wrong()
        if check.rehash:
            salt = self._options.randomness(_SALT_BYTES)
            async with self._hashing:
                encoded = await asyncio.to_thread(self._passwords.hash, password, salt)
            await self._store.credentials.set_password(
                PasswordCredential(user_id=user.id, encoded=encoded, changed_at=stored.changed_at if stored else self.now())
            )
        await self._store.attempts.succeeded(identifier, address)
        return user

    async def code(self, user: User, typed: str, allowed: tuple[AuthKind, ...], address: str) -> AuthKind | Wrong | Wait:
        """Check a one-time or recovery code, whichever it looks like, if that kind is allowed; it is used up when right."""
        wait = await self._charge(user, user.id, address)
        if wait is not None:
            return wait
        hashed = recovery.code_hash(typed)
        kind: AuthKind = "recovery" if hashed is not None else "otp"
        if kind not in allowed:
            right = False
        elif hashed is not None:
            right = await self._store.credentials.use_recovery(user.id, hashed)
        else:
            right = await self._one_time_code(user.id, typed)
        if not right:
            await self._failed(user, user.login, address, kind, "code")
            return Wrong()
        await self._store.attempts.succeeded(user.id, address)
        return kind

    async def _one_time_code(self, user_id: str, typed: str) -> bool:
        generator = await self._store.credentials.totp(user_id)
        if generator is None:
            return False
        step = totp.matching_step(generator.secret, typed, self._clock.now(), generator.last_step)
        return step is not None and await self._store.credentials.advance_totp(user_id, step)

    # ------------------------------------------------------------------ keys

    async def begin_touch(self, user_id: str, binding: str) -> tuple[str, fido2.Options]:
        """Ask for a touch: of this person's keys, or of anybody's when `user_id` is empty. ValueError when the person has none.

        Returns the ceremony's name and what the browser is to be given. `binding` says for whom and what it is begun: the
        browser and the flow.
        """
        keys = await self._store.credentials.fido2(user_id) if user_id else []
        challenge = self._options.randomness(fido2.CHALLENGE_BYTES)
        options, ceremony = fido2.begin_assertion(self.party, user_id, keys, challenge)
        return await self._remember(binding, ceremony), options

    async def touch(self, binding: str, name: str, response: str, address: str) -> Touched:
        """Verify a touch; return whose key it was, and which. CeremonyRefused when it does not count; either way the ceremony is
        over.
        """
        claimed: Fido2Credential | None = None
        try:
            ceremony = await self._taken(binding, name)
            data = response.encode("utf-8", "surrogatepass")
            claimed = await self._store.credentials.fido2_by_id(fido2.unverified_credential_id(data))
            return await self._used(fido2.complete_assertion(self.party, ceremony, claimed, data))
        except CeremonyRefused as refused:
            owner = await self._store.users.get(claimed.user_id) if claimed is not None else None
            await self._failed(owner, "", address, "fido2", refused.flaw)
            raise

    async def _used(self, assertion: fido2.Assertion) -> Touched:
        user = await self._store.users.get(assertion.user_id)
        if user is None or not user.active:
            raise CeremonyRefused("credential_of_other", "the person is deactivated")
        if not await self._store.credentials.use_fido2(assertion.credential_id, assertion.sign_count, self.now()):
            raise CeremonyRefused("counter", "the counter was used by another assertion, or the key was removed")
        return Touched(user=user, authenticator=KEY + assertion.credential_id)

    async def begin_key(self, user: User, binding: str) -> tuple[str, fido2.Options]:
        """Start registering a key. Returns as `begin_touch` does. Whether this person may now is the caller's to know."""
        keys = await self._store.credentials.fido2(user.id)
        options, ceremony = fido2.begin_registration(self.party, user, keys, self._options.randomness(fido2.CHALLENGE_BYTES))
        return await self._remember(binding, ceremony), options

    async def add_key(self, user: User, binding: str, name: str, response: str, label: str, address: str) -> Fido2Credential:
        """Verify a new key and store it. CeremonyRefused when it does not count. Asks nothing about the caller's right to."""
        try:
            return await self._added(user, binding, name, response, label, address)
        except CeremonyRefused as refused:
            await self._failed(user, "", address, "fido2", refused.flaw)
            raise

    async def _added(self, user: User, binding: str, name: str, response: str, label: str, address: str) -> Fido2Credential:
        ceremony = await self._taken(binding, name)
        if ceremony.user_id != user.id:
            raise CeremonyRefused("credential_of_other", "the registration was begun for somebody else")
        key = fido2.complete_registration(self.party, ceremony, response.encode("utf-8", "surrogatepass"), label, self.now())
        if await self._store.credentials.fido2_by_id(key.id) is not None:
            raise CeremonyRefused("credential_of_other", "the credential is registered already")
        await self.tell("factor.registered", user, address, {"kind": "fido2", "key": key.id[:16]})
        try:
            await self._store.credentials.add_fido2(key)
        except ValueError as problem:
            raise CeremonyRefused("credential_of_other", "the credential is registered already") from problem
        return key

    async def _remember(self, binding: str, ceremony: fido2.Ceremony) -> str:
        begun = _Begun(binding=hash_token(binding), ceremony=ceremony)
        return await self._store.once.put(_KIND, msgspec.json.encode(begun), _CEREMONY_SECONDS)

    async def _taken(self, binding: str, name: str) -> fido2.Ceremony:
        """Return a ceremony and forget it, also when it turns out to be another browser's: then somebody tried to use it."""
        taken = await self._store.once.take(_KIND, name)
        begun = msgspec.json.decode(taken, type=_Begun) if taken is not None else None
        if begun is None or not same(begun.binding, hash_token(binding)):
            raise CeremonyRefused("challenge", "the challenge is unknown, used, expired, or another browser's")
        return begun.ceremony

    # ------------------------------------------------------------------ log

    async def tell(
        self, name: EventName, user: User | None, address: str, detail: dict[str, str], *, login: str = "", failed: bool = False
    ) -> None:
        """Write an event about a person, or about a name that nobody has."""
        await self._parts.events.record(
            Event(
                name=name, outcome="failure" if failed else "success", at=self.now(),
                login=user.login if user is not None else canonical(login)[:128], subject=user.id if user is not None else "",
                address=address, detail=detail,
            )
        )  # fmt: skip

    async def _charge(self, user: User | None, identifier: str, address: str) -> Wait | None:
        attempt = await self._store.attempts.begin(identifier, address, self.now())
        if attempt.allowed:
            return None
        detail = {"scope": "account" if attempt.locked else "wait"}
        await self.tell("signin.locked", user, address, detail, login=identifier, failed=True)
        return Wait(seconds=attempt.retry_after, locked=attempt.locked)

    async def _failed(
        self,
        user: User | None,
        identifier: str,
        address: str,
        factor: AuthKind,
        reason: Literal["credentials", "code"] | fido2.Flaw,
    ) -> None:
        await self.tell("signin.failed", user, address, {"factor": factor, "reason": reason}, login=identifier, failed=True)


def clean_label(typed: str) -> str | None:
    """Return the name for a key as it is stored, or None when it is empty, too long or has invisible characters."""
    label = " ".join(typed.split())
    return label if 0 < len(label) <= _LABEL_LENGTH and label.isprintable() else None

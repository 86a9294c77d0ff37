"""What happens around any backend: its state is used once, by the browser that began; its result is kept, and no more."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret, hash_token, same
from idp.model import Event, ProofingRecord, User
from idp.ports import EventSink, Store
from idp.proofing.port import Broken, NotProofed, NotProofedReason, Person, Proofed, ProofingBackend, Purpose, Show

_KIND: Final = "proofing"
_MINIMUM_KEY: Final = 32

RefusedReason = Literal[NotProofedReason, "stale", "person_of_other_account", "other_person_than_before"]
"""`stale`: unknown, used, expired, another browser's or another person's state; what was in it does not matter."""


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A proofing in progress: the page to show, and the name to give back with the answer."""

    show: Show
    name: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The person is not proofed, and why."""

    reason: RefusedReason


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    browser: str
    method: str
    state: bytes
    show: Show


class ProofingDesk:
    """Runs proofings with one backend and keeps their results.

    One natural person, one active account: a person who was proofed on another active account is refused, and so is another
    person on an account whose proofing is in force. (Two answers for two accounts at the same instant are not told apart.)
    """

    def __init__(
        self, backend: ProofingBackend, store: Store, events: EventSink, clock: Clock, digest_key: Secret, *,
        ttl_seconds: int = 600, answer_seconds: float = 30.0,
    ) -> None:  # fmt: skip
        """`digest_key` (at least 32 characters) keys the digest of the person: losing it loses only the recognition of the same
        person. A proofing may take `ttl_seconds`, the backend's verdict `answer_seconds`.
        """
        if len(digest_key.reveal()) < _MINIMUM_KEY:
            raise ConfigError(
                f"the key of the person digest is shorter than {_MINIMUM_KEY} characters", where="idp.proofing",
                todo="Generate one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )  # fmt: skip
        self.backend: Final = backend
        self._store, self._events, self._clock, self._key = store, events, clock, digest_key
        self._ttl, self._patience = ttl_seconds, answer_seconds

    async def begin(self, user: User, purpose: Purpose, browser: str, address: str) -> Pending | Broken:
        """Start for one person in one browser (`browser`: the value of its binding cookie)."""
        await self._tell("proofing.started", user, address, {"purpose": purpose})
        person = Person(user_id=user.id, name=user.name, birth_date=user.birth_date, kana=user.kana)
        try:
            async with asyncio.timeout(self._patience):
                started = await self.backend.begin(person, purpose)
        except TimeoutError:
            started = Broken(detail="no answer in time at the start")
        if isinstance(started, Broken):
            await self._tell("proofing.broken", user, address, {"detail": started.detail[:200]}, failed=True)
            return started
        stored = _Stored(
            user_id=user.id, browser=hash_token(browser), method=self.backend.method, state=started.state,
            show=started.show,
        )  # fmt: skip
        return Pending(show=started.show, name=await self._store.once.put(_KIND, msgspec.json.encode(stored), self._ttl))

    async def pending(self, user: User, name: str, browser: str) -> Pending | None:
        """Return what `begin` returned, to show it again; None when it is over, or of another person or browser."""
        stored = self._own(await self._store.once.peek(_KIND, name), user, browser)
        return Pending(show=stored.show, name=name) if stored is not None else None

    async def complete(
        self, user: User, name: str, browser: str, answer: Mapping[str, str], address: str
    ) -> ProofingRecord | Refused | Broken:
        """Take the state, whatever comes of it, and end: a record that has been stored, a refusal, or no answer at all."""
        stored = self._own(await self._store.once.take(_KIND, name), user, browser)
        if stored is None:
            return await self._refuse(user, address, "stale")
        try:
            async with asyncio.timeout(self._patience):
                outcome = await self.backend.complete(stored.state, answer)
        except TimeoutError:
            outcome = Broken(detail="no answer in time at the end")
        if isinstance(outcome, Broken):
            await self._tell("proofing.broken", user, address, {"detail": outcome.detail[:200]}, failed=True)
            return outcome
        if isinstance(outcome, NotProofed):
            return await self._refuse(user, address, outcome.reason)
        return await self._keep(user, outcome, address)

    def _own(self, value: bytes | None, user: User, browser: str) -> _Stored | None:
        """Return the stored state if it was begun for this person in this browser, by this backend."""
        stored = msgspec.json.decode(value, type=_Stored) if value is not None else None
        if stored is None or not browser or not same(stored.browser, hash_token(browser)):
            return None
        return stored if stored.user_id == user.id and stored.method == self.backend.method else None

    async def _keep(self, user: User, proofed: Proofed, address: str) -> ProofingRecord | Refused:
        digest = self._digest(proofed)
        for owner in await self._store.proofing.users_with_digest(digest):
            other = await self._store.users.get(owner)
            if owner != user.id and other is not None and other.active:
                return await self._refuse(user, address, "person_of_other_account")
        before = await self._store.proofing.latest(user.id)
        # Only while the earlier result is in force: some verifiers know a person by another name once the card was renewed.
        if (
            before is not None
            and before.in_force(int(self._clock.now()))
            and before.verifier == proofed.verifier
            and not same(before.person_digest, digest)
        ):
            return await self._refuse(user, address, "other_person_than_before")
        record = ProofingRecord(
            user_id=user.id, level=proofed.level, method=proofed.method, verified_at=proofed.verified_at,
            expires_at=proofed.expires_at, verifier=proofed.verifier, transaction=proofed.transaction, person_digest=digest,
        )  # fmt: skip
        await self._tell("proofing.succeeded", user, address, {"level": str(record.level), "transaction": record.transaction})
        try:
            await self._store.proofing.add(record)
        except ValueError:  # the verifier's reference was recorded before: an old answer, come back
            return await self._refuse(user, address, "stale")
        return record

    def _digest(self, proofed: Proofed) -> str:
        """Return what recognises the same person at the same verifier, and says nothing without the key."""
        text = f"{proofed.verifier}\x00{proofed.person.reveal()}"
        return hmac.new(self._key.reveal().encode(), text.encode(), hashlib.sha256).hexdigest()

    async def _refuse(self, user: User, address: str, reason: RefusedReason) -> Refused:
        await self._tell("proofing.refused", user, address, {"reason": reason}, failed=True)
        return Refused(reason=reason)

    async def _tell(
        self, name: Literal["proofing.started", "proofing.succeeded", "proofing.refused", "proofing.broken"], user: User,
        address: str, detail: dict[str, str], *, failed: bool = False,
    ) -> None:  # fmt: skip
        await self._events.record(
            Event(
                name=name, outcome="failure" if failed else "success", at=int(self._clock.now()), login=user.login,
                subject=user.id, address=address, detail={"method": self.backend.method, **detail},
            )
        )  # fmt: skip

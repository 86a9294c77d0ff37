"""Binds authenticators to a person's identity proofing, by the rules of `idp.protocol.binding`. The log comes first."""

from collections.abc import Collection
from typing import Final, Literal

from gateway.kernel.clock import Clock
from idp.model import AuthEvent, Event, ProofingRecord, User
from idp.ports import EventSink, Store
from idp.protocol.binding import KEY, authenticator, confirms, sitting, used

How = Literal["ceremony", "confirmed"]
"""In the sitting in which the person was proofed, or later, together with an authenticator that was bound before."""


class Binder:
    """See the module. What the log or the store raises comes through, and then nothing is bound."""

    def __init__(self, store: Store, events: EventSink, clock: Clock) -> None:
        self._store: Final = store
        self._events, self._clock = events, clock

    async def proofed(self, user: User, record: ProofingRecord, events: Collection[AuthEvent], address: str) -> None:
        """Bind what was used (`sitting`) in the sitting in which the person was proofed just now: `record`, as it was kept.

        That it was made in this sitting is for the caller to know: nothing here can tell.
        """
        await self._bind(user, record, await self._still(user.id, events), "ceremony", address)

    async def hold(self, case_id: str, events: Collection[AuthEvent]) -> None:
        """Remember what was used in a sitting that ended in a case for officers: `approved` binds it."""
        case = await self._store.cases.get(case_id)
        if case is not None:
            await self._store.bindings.hold(case_id, await self._still(case.user_id, events))

    async def approved(self, user: User, record: ProofingRecord, case_id: str) -> None:
        """Bind what was used in the sitting that ended in a case: officers have approved it, and `record` is what was kept."""
        await self._bind(user, record, await self._store.bindings.held(case_id), "ceremony", "")

    async def used(self, user: User, events: Collection[AuthEvent], since: int, address: str) -> None:
        """Bind what was used at `since` or later in a session whose `events` confirm it."""
        record = await self._in_force(user)
        if record is None:
            return
        bound = await self._store.bindings.of(record.number)
        if confirms(events, bound, since):
            shown = await self._still(user.id, sitting((), events, since))
            await self._bind(user, record, shown - bound, "confirmed", address)

    async def may_add(self, user: User, events: Collection[AuthEvent], since: int) -> bool:
        """Whether an authenticator that is registered now, in a session with these events, is to be bound (`add`)."""
        record = await self._in_force(user)
        return record is not None and confirms(events, await self._store.bindings.of(record.number), since)

    async def add(self, user: User, authenticator: str, address: str) -> None:
        """Bind an authenticator that was registered just now. Asks nothing."""
        record = await self._in_force(user)
        if record is not None:
            await self._bind(user, record, {authenticator}, "confirmed", address)

    async def _still(self, user_id: str, events: Collection[AuthEvent]) -> frozenset[str]:
        """Return what was used and is still the same: a code of a generator that is gone says nothing of the next, a key that was
        removed nothing of the same one come back, and a password of before a reset nothing of the new one.
        """
        credentials = self._store.credentials
        since = {KEY + key.id: key.created_at for key in await credentials.fido2(user_id)}
        if (password := await credentials.password(user_id)) is not None:
            since["pwd"] = password.changed_at
        if (generator := await credentials.totp(user_id)) is not None:
            since["otp"] = generator.created_at
        return used(event for event in events if (name := authenticator(event)) in since and event.at >= since[name])

    async def _in_force(self, user: User) -> ProofingRecord | None:
        record = await self._store.proofing.latest(user.id)
        return record if record is not None and record.in_force(int(self._clock.now())) else None

    async def _bind(self, user: User, record: ProofingRecord, names: Collection[str], how: How, address: str) -> None:
        now = int(self._clock.now())
        for name in sorted(names):
            kind, _, key = name.partition(":")
            detail = {"kind": kind, "how": how, "transaction": record.transaction} | ({"key": key[:16]} if key else {})
            await self._events.record(
                Event(
                    name="proofing.bound", outcome="success", at=now, login=user.login, subject=user.id, address=address,
                    detail=detail,
                )
            )  # fmt: skip
        if names:
            await self._store.bindings.bind(record.number, names, now)

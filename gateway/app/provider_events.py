"""What the embedded provider tells: into the log, and what it means for open sessions, at once.

An account that was deactivated, reset or given other roles ends the person's sessions. An identity proofing that ended is taken
out of them, and they go on: nothing else that they rely on has changed, and what needs a proofing is denied with the step that
gets one. Open streams are decided again by the session's announcement. Decision 0018 has the reasons.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Final

from gateway.domain.identity import Proofing
from gateway.domain.record import Actor, EventRecord, Source
from gateway.kernel.clock import Clock
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.pipeline.records import timestamp
from gateway.ports import AuditLog, SessionStore
from idp.model import Event

ENDS_SESSIONS: Final = frozenset({"account.deactivated", "account.roles", "account.reset"})
"""What is done to an account that our sessions of the person must not outlive: they carry the roles and factors of before."""
ENDS_PROOFING: Final = frozenset({"proofing.ended", "proofing.deleted"})
AGAIN_SECONDS: Final = 15.0
"""How long after its end a proofing is looked for once more. Longer than a sign-in takes from the provider's last word to the
session: one that was under way brings the proofing of before along."""
_RETRY_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class ProviderEvents:
    """Writes the identity provider's events into the log, and has our sessions follow what was done. Close it in the end."""

    def __init__(self, audit: AuditLog, sessions: SessionStore, clock: Clock, *, again_seconds: float = AGAIN_SECONDS) -> None:
        self._audit = audit
        self._sessions = sessions
        self._clock = clock
        self._again_seconds = again_seconds
        self._closing = asyncio.Event()
        self._later: set[asyncio.Task[None]] = set()

    async def record(self, event: Event) -> None:
        """Implement `idp.ports.EventSink`."""
        detail = dict(event.detail)
        # Before it is written: if one of the two can't be done the provider tells again, and doing it twice does no harm.
        if event.name in ENDS_SESSIONS:
            detail["sessions_ended"] = str(await self._sessions.revoke_subject(event.subject))
        elif event.name in ENDS_PROOFING:
            detail["sessions_changed"] = str(await self._sessions.withdraw_proofing(event.subject, _any))
            self._withdraw_again(event.subject, _ended(event))
        elif event.name == "proofing.added":
            overtaken = _overtaken(event.detail)
            detail["sessions_changed"] = str(await self._sessions.withdraw_proofing(event.subject, overtaken))
            self._withdraw_again(event.subject, overtaken)
        actor = Actor(subject=event.subject, login=event.login[:128], session=event.session)
        if event.by:
            actor = Actor(login=event.by[:128])
            detail["subject"] = event.subject
        await self._audit.append(
            EventRecord(
                id=new_id("evt"),
                at=timestamp(self._moment(event.at)),
                event=event.name,
                outcome=event.outcome,
                actor=actor,
                source=Source(address=event.address, door="idp"),
                target=event.login[:128] if event.by else "",
                detail={key: value[:256] for key, value in detail.items()},
            )
        )

    async def close(self) -> None:
        """Look once more now for what would have been looked for later."""
        self._closing.set()
        await asyncio.gather(*self._later)

    def _withdraw_again(self, subject: str, which: Callable[[Proofing], bool]) -> None:
        task = asyncio.create_task(self._withdraw_later(subject, which), name="proofing-withdrawn")
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _withdraw_later(self, subject: str, which: Callable[[Proofing], bool]) -> None:
        wait = self._again_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._closing.wait()
            try:
                await self._sessions.withdraw_proofing(subject, which)
            except StoreUnavailable as error:
                log.warning("whether an ended proofing is in use could not be looked at: %s", error)
                if self._closing.is_set():
                    return
                wait = _RETRY_SECONDS
            else:
                return

    def _moment(self, at: int) -> float:
        """The provider counts whole seconds; what happens just now is dated like its neighbours in the log."""
        now = self._clock.now()
        return now if at <= now < at + 2 else at


def _any(_: Proofing) -> bool:
    return True


def _ended(event: Event) -> Callable[[Proofing], bool]:
    """The proofing that ended; of a deleted one nothing is told but when, so whatever is not newer."""
    verifier, transaction = event.detail.get("verifier"), event.detail.get("transaction")

    def which(held: Proofing) -> bool:
        if transaction is None:
            return held.verified_at <= event.at
        return (held.verifier, held.transaction) == (verifier, transaction)

    return which


def _overtaken(new: Mapping[str, str]) -> Callable[[Proofing], bool]:
    """Proofings of before that claim what the new one does not: a higher level, another method, a later end.

    The others stay where they are: nobody's work is cut because they renewed in time. The new one comes with the next sign-in or
    step-up, never by itself: a session gains nothing without new tokens.
    """
    level, method, ends = int(new["level"]), new["method"], new["expires_at"]

    def which(held: Proofing) -> bool:
        if (held.verifier, held.transaction) == (new["verifier"], new["transaction"]):
            return False
        longer = bool(ends) and (held.expires_at is None or held.expires_at > int(ends))
        return held.level > level or held.method != method or longer

    return which

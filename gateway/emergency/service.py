"""Beginning and ending a break-glass: ledger, log, session, in an order in which nothing is lifted that is not recorded.

It begins: ledger (one step, with what officers are to be told) -> event, on disk -> session -> ledger again. Whatever fails
before the session leaves nobody with more; the row says so. It ends: session -> ledger -> event. What can't be done now is done
by the keeper (`gateway.emergency.keeper`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from gateway.domain.identity import Emergency, Session
from gateway.domain.record import Actor, EventName, EventRecord, Source
from gateway.emergency.ledger import Ledger
from gateway.emergency.model import BreakGlass, EndedHow, NotPossible, Reason
from gateway.emergency.notices import OutboxNotices
from gateway.emergency.outbox import Message
from gateway.emergency.times import rfc3339
from gateway.emergency.words import Manner, began, detail, rolled_back
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError, StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from gateway.ports import AuditLog, SessionStore

GRACE_SECONDS: Final = 3
"""How long a notice waits for the session; at the latest then it is sent, in case this process died in between."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for, everything about it checked: that policies offer it, a fresh second factor, the form."""

    session: Session
    actor: Actor
    source: Source
    reason: Reason
    text: str
    patient: str
    app: str
    route: str
    method: str
    path: str
    id: str = ""
    """`brk_...`, where it was named before; else it gets one."""


class Emergencies:
    """Break-glass at this gateway."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        sessions: SessionStore,
        log: AuditLog,
        clock: Clock,
        seconds: int,
        reasons: Sequence[Reason],
        notices: OutboxNotices,
        manner: Manner,
    ) -> None:
        """`seconds`: how long one lasts."""
        self.ledger: Final = ledger
        self.seconds: Final = seconds
        self.reasons: Final = tuple(reasons)
        self.tells: Final = notices.tells
        """Whether officers are told at once; else the console shows it."""
        self._sessions: Final = sessions
        self._log: Final = log
        self._clock: Final = clock
        self.notices: Final = notices
        """For whoever else has something to tell officers."""
        self._manner: Final = manner
        self.on_change: Callable[[], None] = lambda: None
        """Called when one began or ended here."""

    async def begin(self, asked: Asked, host: str) -> tuple[BreakGlass, Secret]:
        """Begin one; return it, and the session's new token for `host`. Older tokens of that host are dead then.

        NotPossible("running") when one is in force in this session, ("unknown") when the session has ended. AuditError and
        StoreUnavailable: it has not begun; where the session store did not answer, nobody has a token to use it with.
        """
        now, session = int(self._clock.now()), asked.session
        new = BreakGlass(
            id=asked.id or new_id("brk"),
            subject=session.identity.subject,
            login=session.identity.login,
            name=session.identity.name,
            roles=session.identity.roles,
            department=session.identity.department,
            session=session.id,
            device=asked.actor.device,
            address=asked.source.address,
            reason=asked.reason.id,
            reason_ja=asked.reason.title_ja,
            reason_en=asked.reason.title_en,
            text=asked.text,
            patient=asked.patient,
            app=asked.app,
            route=asked.route,
            method=asked.method,
            path=asked.path,
            state="beginning",
            began_at=now,
            until=min(now + self.seconds, session.expires_at),
        )
        await self.ledger.begin(new, self._messages(new), due_at=now + GRACE_SECONDS)
        try:
            said = {"reason": new.reason, "text": new.text, "patient": new.patient, "until": rfc3339(new.until)}
            place = {"app": new.app, "route": new.route, "method": new.method, "path": new.path}
            await self._event("breakglass.began", asked.actor, asked.source, new.id, {**said, **place, "break_glass": new.id})
        except AuditError:
            await self.ledger.void(new.id, "the log could not be written", now)
            raise
        token = await self._lift(new, host)
        if token is None:
            await self.ledger.void(new.id, "the session had ended", now)
            why = {"why": "the session had ended", "break_glass": new.id}
            await self._event("breakglass.ended", asked.actor, asked.source, new.id, why, outcome="failure")
            raise NotPossible("unknown")
        await self.ledger.in_force(new.id, now)
        self.notices.wake()
        self.on_change()
        return new, token

    async def end(self, one: BreakGlass, how: EndedHow, actor: Actor, source: Source, *, by: str = "") -> bool:
        """End one, wherever its streams are open; True when this call did. `by`: the login of the officer who did.

        StoreUnavailable: it may still be in force; the keeper of some process tries again, and at its time it is over anyway.
        """
        await self._sessions.withdraw_emergency(one.session, one.id)
        ended = await self.ledger.end(one.id, how, int(self._clock.now()), by)
        if ended:
            about = {"how": how, "subject": one.subject, "login": one.login, "patient": one.patient, "break_glass": one.id}
            await self._event("breakglass.ended", actor, source, one.id, about)
            self.on_change()
        return ended

    async def tell_rolled_back(self, number: int, to: int, *, name: str, login: str, why: str, at: int) -> None:
        """Tell officers, once, that policies were rolled back: publication `number` is that of `to` again."""
        subject, text = rolled_back(self._manner, number=number, to=to, name=name, login=login, why=why, at=at)
        about = {"about": f"publication {number}", "number": str(number), "returns_to": str(to), "login": login}
        await self.notices.notify("policy.rolled_back", subject, text, about, once=f"publication_{number}")

    async def refused(self, why: str, actor: Actor, source: Source, target: str, more: Mapping[str, str] | None = None) -> str:
        """Record that somebody wanted to begin one and may not; return the event's id."""
        return await self._event("breakglass.refused", actor, source, target, {"why": why, **(more or {})}, outcome="failure")

    # ------------------------------------------------------------------

    async def _lift(self, new: BreakGlass, host: str) -> Secret | None:
        emergency = Emergency(id=new.id, began_at=new.began_at, until=new.until, reason=new.reason, patient=new.patient)

        def change(session: Session) -> Session:
            generation = session.generation + 1
            return msgspec.structs.replace(session, emergency=emergency, emergency_generation=generation, generation=generation)

        try:
            return await self._sessions.change(new.session, change, host)
        except StoreUnavailable as error:
            await self.ledger.trouble(new.id, f"the session store did not answer ({error.what})")
            raise

    def _messages(self, new: BreakGlass) -> list[Message]:
        subject, text = began(new, self._manner)
        return self.notices.compose("break_glass.began", subject, text, detail(new, self._manner))

    async def _event(
        self,
        event: EventName,
        actor: Actor,
        source: Source,
        target: str,
        detail: Mapping[str, str],
        *,
        outcome: Literal["success", "failure"] = "success",
    ) -> str:
        record = EventRecord(
            id=new_id("evt"),
            at=rfc3339(self._clock.now()),
            event=event,
            outcome=outcome,
            actor=actor,
            source=source,
            target=target,
            detail={key: value[:512] for key, value in detail.items()},
        )
        await self._log.synced(await self._log.append(record))
        return record.id

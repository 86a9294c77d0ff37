"""Who looked at what, and who changed what: every view and change of the console is an event in the log, before it happens."""

from collections.abc import Mapping
from typing import Final, Literal

from aiohttp import web

from gateway.audit.encoding import rfc3339
from gateway.domain.record import Actor, EventName, EventRecord, Source
from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id
from gateway.kernel.web.site import CLAIMS, client_address
from gateway.ports import AuditLog


class Recorder:
    """Writes the console's events."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit: Final = audit
        self._clock: Final = clock

    async def viewed(self, request: web.Request, *, outcome: Literal["success", "failure"] = "success") -> None:
        """Record that this page is about to be shown (or refused). Raises AuditError: then show nothing."""
        await self._append(request, "console.view", outcome, request.path, {})

    async def announced(self, request: web.Request, event: EventName, target: str, detail: Mapping[str, str]) -> None:
        """Record what is about to be done, and wait until that is on disk. Raises AuditError: then do nothing."""
        index = await self._append(request, event, "success", target, detail)
        await self._audit.synced(index)

    async def failed(self, request: web.Request, event: EventName, target: str, why: str) -> None:
        """Record that what was announced did not happen."""
        await self._append(request, event, "failure", target, {"why": why})

    async def _append(
        self,
        request: web.Request,
        event: EventName,
        outcome: Literal["success", "failure"],
        target: str,
        detail: Mapping[str, str],
    ) -> int:
        claims = request[CLAIMS]
        actor = Actor(
            subject=claims.sub,
            login=claims.login,
            name=claims.name,
            roles=claims.roles,
            department=claims.department,
            device=claims.device or "",
        )
        record = EventRecord(
            id=new_id("evt"),
            at=rfc3339(self._clock.now()),
            event=event,
            outcome=outcome,
            actor=actor,
            source=Source(address=client_address(request), door="console"),
            target=target,
            # The decision that let this request through names the session.
            detail={**detail, "decision": claims.jti, **({"break_glass": claims.break_glass} if claims.break_glass else {})},
        )
        return await self._audit.append(record)

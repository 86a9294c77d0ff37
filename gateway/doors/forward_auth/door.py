"""`GET /decide`: a proxy describes a request in header fields, and gets the decision as a status (Traefik, Caddy).

The proxy (the front) must have proved who it is, and must say all of `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`,
each in exactly one field line; the line of its own subrequest is never used instead (CVE-2026-40575). What else it may say of the
client stands in `gateway.doors.said`. Answers:

| decision | status | |
|---|---|---|
| Allow | 200 | with the header fields that the front has to set upstream |
| Challenge, Deny, Refuse, Unavailable | 302, 401, 403, 4xx, 503 | the proxy door's pages, to be passed on to the person |

What the front must do, because this door can't: pass on the target unchanged; delete the client's own copies of every field that
is answered here, also when an answer lacks it; send `/.gateway/` of every application's host, WebSockets and event streams to the
proxy door; let nobody reach the applications around it.

What this door does not see: the body, the response, and how the request ended: the log holds the decision and no completion
record.
"""

from collections.abc import Awaitable
from typing import Final

import msgspec
from aiohttp import web

from gateway.domain.decision import Allow
from gateway.domain.reason import RefuseReason
from gateway.domain.request import RawRequest, Refusal, Request
from gateway.doors.contract import Pipeline, Present
from gateway.doors.external import Asking, FrontListener, Settled
from gateway.doors.forward_auth.described import described_by
from gateway.doors.forward_auth.usual import Usual, Usuals
from gateway.doors.limits import ListenerLimits
from gateway.doors.repeated import Question
from gateway.doors.reply import Wire, WireResponse, wire_of
from gateway.doors.said import Says
from gateway.doors.trust import Fronts

DOOR: Final = "forward_auth"
ENDPOINT: Final = "/decide"


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a front that it may forward."""

    status: int = 200
    headers: list[tuple[str, str]]
    body: bytes = b""


class ForwardAuthDoor:
    """The endpoint. Let `listener` listen, and close it once."""

    def __init__(
        self, *, pipeline: Pipeline, present: Present, fronts: Fronts, says: Says, limits: ListenerLimits | None = None
    ) -> None:
        """`says`: what the fronts tell of the client beyond its address and scheme."""
        limits = limits or ListenerLimits()
        self._asking = Asking(pipeline=pipeline, present=present, door=DOOR, limits=limits.head)
        self._says: Final = says
        self._usuals: Final = Usuals(self._asking, says, limits.head)
        self.listener: Final = FrontListener(
            self._answer,
            asking=self._asking,
            present=present,
            fronts=fronts,
            limits=limits,
            quick=self._quick,
            cutter=self._usuals.cutter(ENDPOINT),
        )

    async def _answer(self, _http: web.BaseRequest | None, raw: RawRequest, front: str) -> WireResponse | Wire:
        # 1. What is asked?
        if raw.method != "GET" or raw.target.partition("?")[0] != ENDPOINT:
            refusal = Refusal(reason=RefuseReason.NO_ROUTE, detail=f"only GET {ENDPOINT} is answered here")
            return await self.listener.refuse(raw, refusal)
        # 2. What about?
        described = described_by(raw.headers, front, self._says)
        if isinstance(described, Refusal):
            return await self.listener.refuse(raw, described)
        # 3. The same decision as at every door.
        return self._reply(await self._asking.decide(described))

    def _quick(self, question: Question, front: str) -> Awaitable[Wire] | None:
        if question.target != ENDPOINT or question.method != "GET":
            return None
        usual = question.repeated.known
        if not isinstance(usual, Usual) or usual.connection.front != front:
            usual = question.repeated.known = self._usuals.look(question, front)
        request = self._usuals.request_of(usual, question) if usual is not None else None
        return self._decide(request, question, front) if request is not None else None

    async def _decide(self, request: Request, question: Question, front: str) -> Wire:
        decision = await self._asking.decided(request)
        if isinstance(decision, Allow):
            return self._allow(decision)
        return self._reply(Settled(decision=decision, request=request, raw=self._usuals.described(question, front)))

    def _reply(self, settled: Settled) -> Wire:
        if isinstance(settled.decision, Allow):
            return self._allow(settled.decision)
        # Whatever was wrong with the client's request, the question was well-formed: the front's connection stays.
        return wire_of(self._asking.reply(settled), close=False)

    def _allow(self, allow: Allow) -> Wire:
        return wire_of(Allowed(headers=[*self._asking.upstream_fields(allow), ("Cache-Control", "no-store")]), close=False)

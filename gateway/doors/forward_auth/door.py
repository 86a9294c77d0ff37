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

from typing import Final

import msgspec
from aiohttp import web

from gateway.domain.decision import Allow
from gateway.domain.headers import HOP_BY_HOP, fold
from gateway.domain.reason import RefuseReason
from gateway.domain.request import Headers, RawRequest, Refusal
from gateway.doors.contract import Pipeline, Present
from gateway.doors.external import Asking, FrontListener, Settled
from gateway.doors.limits import ListenerLimits
from gateway.doors.reply import WireResponse, from_reply
from gateway.doors.said import Says, client_of, only
from gateway.doors.trust import Fronts

DOOR: Final = "forward_auth"
ENDPOINT: Final = "/decide"
_OF_THE_SUBREQUEST: Final = (HOP_BY_HOP - {"upgrade"}) | {"host", "contentlength", "expect"}
"""Framing, Connection and Host of the subrequest itself are not the client's. Its Upgrade is: some fronts pass it on."""


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
        self.listener: Final = FrontListener(self._answer, asking=self._asking, present=present, fronts=fronts, limits=limits)

    async def _answer(self, _http: web.BaseRequest | None, raw: RawRequest, front: str) -> WireResponse:
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

    def _reply(self, settled: Settled) -> WireResponse:
        decision = settled.decision
        if isinstance(decision, Allow):
            fields = [*self._asking.upstream_fields(decision), ("Cache-Control", "no-store")]
            return from_reply(Allowed(headers=fields), close=False)
        # Whatever was wrong with the client's request, the question was well-formed: the front's connection stays.
        return from_reply(self._asking.reply(settled), close=False)


def described_by(headers: Headers, front: str, says: Says) -> RawRequest | Refusal:
    """The request that a proved front asks about, or what it left out or said twice."""
    said: dict[str, str] = {}
    for name in ("method", "host", "uri"):
        value = only(headers, f"x-forwarded-{name}")
        if isinstance(value, Refusal):
            return value
        said[name] = value
    connection = client_of(headers, front, says)
    if isinstance(connection, Refusal):
        return connection
    kept = tuple((name, value) for name, value in headers if fold(name) not in _OF_THE_SUBREQUEST)
    return RawRequest(method=said["method"], target=said["uri"], headers=(("Host", said["host"]), *kept), connection=connection)

"""`ext_authz` over HTTP: Envoy repeats the client's request line and fields, and gets a status.

The question is the request itself: its method, its target behind `/ask`, its Host and its fields. What Envoy says of the client
beyond that (`gateway.doors.said`, and the route in `X-Gateway-Route`) is set by Envoy after it has removed every field of such a
name from the client's request: see `gateway.frontconf.envoy`, whose configuration this door expects. Answers:

| decision | status | |
|---|---|---|
| Allow | 200 | the fields to set on the request to the application; those to remove in `X-Envoy-Auth-Headers-To-Remove` |
| Challenge, Deny, Refuse | 302, 401, 403, 4xx | the proxy door's pages, which Envoy passes on |
| Unavailable | 470 | the page of a 503, which Envoy makes of it again |

What this door does not see: the body, the response, trailers, and how the request ended: the log holds the decision and no
completion record.
"""

import functools
import re
from collections.abc import Awaitable
from typing import Final

import msgspec
from aiohttp import web

from gateway.domain.connection import Connection
from gateway.domain.decision import Allow, Unavailable
from gateway.domain.headers import HOP_BY_HOP, fold
from gateway.domain.reason import RefuseReason
from gateway.domain.request import Headers, RawRequest, Refusal, Request
from gateway.doors.contract import Pipeline, Present, Reply
from gateway.doors.envoy.common import HTTP_DOOR, PREFIX, ROUTE_FIELD, UNAVAILABLE_AS, changed_cookie, routed
from gateway.doors.external import Asking, FrontListener, Known, Settled
from gateway.doors.limits import ListenerLimits
from gateway.doors.plain import MAX_FIELDS, MAX_HEAD
from gateway.doors.repeated import Cutter, Question
from gateway.doors.reply import Wire, WireResponse, wire_of
from gateway.doors.said import Says, client_of, only
from gateway.doors.trust import Fronts

_OF_THE_QUESTION: Final = (HOP_BY_HOP - {"upgrade"}) | {"contentlength", "expect"}
"""Framing and Connection of the question are not the client's. Host and an Upgrade are."""
_TO_REMOVE: Final = "X-Envoy-Auth-Headers-To-Remove"
_OWN_FIELDS: Final = 16
"""How many fields Envoy may add to the client's."""
_OWN_BYTES: Final = 16_384


_CLIENTS: Final = 1
_ENVOYS: Final = 2
_PORTS: Final = 3
_PORT_FIELD: Final = "x-forwarded-client-port"
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_REMEMBERED: Final = 1024
"""Of how many clients it is known what Envoy says of them. Nothing secret is in it."""


@functools.lru_cache(maxsize=2048)
def _whose(name: str) -> int:
    """Whose field this is: the client's, one in which Envoy says something, or the question's own."""
    folded = fold(name)
    if folded.startswith(("xforwarded", "xenvoy", "xgateway")):
        return _PORTS if name.lower() == _PORT_FIELD else _ENVOYS
    return 0 if folded in _OF_THE_QUESTION else _CLIENTS


def _parts(headers: Headers) -> tuple[Headers, Headers, Headers]:
    """The client's fields; those in which Envoy says something; and of these the port, which differs with each connection."""
    parts: tuple[list[tuple[str, str]], ...] = ([], [], [], [])
    for field in headers:
        parts[_whose(field[0])].append(field)
    return tuple(parts[_CLIENTS]), tuple(parts[_ENVOYS]), tuple(parts[_PORTS])


class _Usual(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from the fields that a client's questions share (`gateway.doors.repeated`), whatever they ask for."""

    connection: Connection
    """Without the client's port."""
    headers: Headers
    """The client's."""
    route: str
    known: Known


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""


class EnvoyHttpDoor:
    """The endpoint. Let `listener` listen, and close it once."""

    def __init__(
        self, *, pipeline: Pipeline, present: Present, fronts: Fronts, says: Says, limits: ListenerLimits | None = None
    ) -> None:
        """`says`: what the fronts tell of the client beyond its address and scheme. `limits` are for what clients send."""
        limits = limits or ListenerLimits()
        self._asking = Asking(pipeline=pipeline, present=present, door=HTTP_DOOR, limits=limits.head)
        self._says: Final = says
        self._known: Final = functools.lru_cache(maxsize=_REMEMBERED)(self._look)
        # As in `gateway.doors.forward_auth.usual`: only where no plain head can be too large.
        roomy = limits.head.header_count > MAX_FIELDS and limits.head.header_bytes >= MAX_HEAD
        head = msgspec.structs.replace(
            limits.head,
            target_length=limits.head.target_length + len(PREFIX),
            header_count=limits.head.header_count + _OWN_FIELDS,
            header_bytes=limits.head.header_bytes + _OWN_BYTES,
        )
        self.listener: Final = FrontListener(
            self._answer,
            asking=self._asking,
            present=present,
            fronts=fronts,
            limits=msgspec.structs.replace(limits, head=head),
            quick=self._quick,
            cutter=Cutter((_PORT_FIELD,), asked_at=f"{PREFIX}/") if roomy and says.tls else None,
        )

    async def _answer(self, _http: web.BaseRequest | None, raw: RawRequest, front: str) -> WireResponse | Wire:
        # 1. A question of ours?
        if not raw.target.startswith(f"{PREFIX}/"):
            refusal = Refusal(reason=RefuseReason.NO_ROUTE, detail=f"only {PREFIX}/ is answered here")
            return await self.listener.refuse(raw, refusal)
        # 2. What Envoy says of the client and of its own routing. All of these are Envoy's: a client's copy is removed there.
        headers, facts, ports = _parts(raw.headers)
        connection = self._client(facts, ports, front)
        if isinstance(connection, Refusal):
            return await self.listener.refuse(raw, connection)
        said = only(facts, ROUTE_FIELD)
        route = said if isinstance(said, Refusal) else routed(said)
        if isinstance(route, Refusal):
            return await self.listener.refuse(raw, route)
        # 3. The same decision as at every door.
        described = RawRequest(method=raw.method, target=raw.target[len(PREFIX) :], headers=headers, connection=connection)
        # Whatever was wrong with the client's request, the question was well-formed: Envoy's connection stays.
        return wire_of(self._reply(await self._asking.decide(described, routed=route)), close=False)

    def _quick(self, question: Question, front: str) -> Awaitable[Wire] | None:
        [port] = question.values
        if not _PORT.fullmatch(port):
            return None
        usual = question.repeated.known
        if not isinstance(usual, _Usual) or usual.connection.front != front:
            usual = question.repeated.known = self._usual(question, front)
        if usual is None:
            return None
        connection = msgspec.structs.replace(usual.connection, peer_port=int(port))
        target = question.target[len(PREFIX) :]
        request = self._asking.request_of(usual.known, question.method, target, connection, routed=usual.route)
        return self._decide(request, usual) if request is not None else None

    def _usual(self, question: Question, front: str) -> "_Usual | None":
        headers, facts, _ = _parts(question.repeated.fields)
        connection = client_of(facts, front, self._says)
        said = only(facts, ROUTE_FIELD)
        route = said if isinstance(said, Refusal) else routed(said)
        if isinstance(connection, Refusal) or isinstance(route, Refusal):
            return None
        described = RawRequest(method=question.method, target=question.target, headers=headers, connection=connection)
        known = self._asking.known(described)
        return _Usual(connection=connection, headers=headers, route=route, known=known) if known is not None else None

    async def _decide(self, request: Request, usual: "_Usual") -> Wire:
        decision = await self._asking.decided(request)
        raw = RawRequest(method=request.method, target=request.target, headers=usual.headers, connection=request.connection)
        return wire_of(self._reply(Settled(decision=decision, request=request, raw=raw)), close=False)

    def _client(self, facts: Headers, ports: Headers, front: str) -> Connection | Refusal:
        """What Envoy says of the client. But for the port that is the same with each question of a client, and remembered."""
        if len(ports) != 1 or not self._says.tls or not _PORT.fullmatch(ports[0][1]):
            return client_of(facts + ports, front, self._says)
        known = self._known(facts, front)
        return known if isinstance(known, Refusal) else msgspec.structs.replace(known, peer_port=int(ports[0][1]))

    def _look(self, facts: Headers, front: str) -> Connection | Refusal:
        return client_of(facts, front, self._says)

    def _reply(self, settled: Settled) -> Reply:
        if isinstance(settled.decision, Allow):
            fields = self._asking.upstream_fields(settled.decision)
            cookie = changed_cookie(settled.decision.request)
            if cookie is not None:
                fields.append(("Cookie", cookie) if cookie else (_TO_REMOVE, "cookie"))
            return _Answer(status=200, headers=fields)
        reply = self._asking.reply(settled)
        if isinstance(settled.decision, Unavailable):
            return _Answer(status=UNAVAILABLE_AS, headers=reply.headers, body=reply.body)
        return reply

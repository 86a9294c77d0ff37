"""The door for nginx's `auth_request`: `GET /decide` answers yes or no, `/answer` says the rest.

`auth_request` takes a 2xx for yes and 401 or 403 for no, asks without the body, and throws away what else the answer says. So:

| decision | `/decide` | |
|---|---|---|
| Allow | 200 | the fields that nginx has to set upstream, the Cookie field without our cookies, the mark for its access log |
| anything else | 401 | `X-Gateway-Answer`: the decision, sealed for this request |

After a 401 nginx sends the request itself, with its method and body, to `/answer`, which opens the sealed decision and gives the
same reply as the embedded proxy door: redirect, JSON, page with the remedy and the form that was being sent. Nothing is decided
twice, and nothing is kept in between, so any worker can answer. A status other than 200 and 401 (or none) is nginx's to turn into
a 503: nobody is let in.

With `leases`, an Allow that policies let a front reuse carries `X-Accel-Expires: @T`, the last second in which nginx may.
Absolute, because nginx counts whole seconds: "1" from now would be anything up to two seconds.

Not seen here: the body of what was allowed, the reply, and how it ended; `gateway.leases` reads that in nginx's access log.
"""

import functools
import math
from collections.abc import Awaitable
from typing import Final

import msgspec
from aiohttp import web

from gateway.domain.connection import Connection
from gateway.domain.decision import Allow, Challenge, Deny
from gateway.domain.headers import strip_client, without_own_cookies
from gateway.domain.reason import RefuseReason
from gateway.domain.request import Headers, Limits, RawRequest, Refusal, Request, parse_request
from gateway.doors.contract import Pipeline, Present
from gateway.doors.external import Asking, FrontListener, Settled
from gateway.doors.form import small_form
from gateway.doors.forward_auth.described import described_by
from gateway.doors.forward_auth.door import Allowed
from gateway.doors.forward_auth.usual import Usual, Usuals
from gateway.doors.limits import ListenerLimits
from gateway.doors.nginx.fields import ANSWER, COOKIE, USE
from gateway.doors.nginx.sealed import Answers
from gateway.doors.repeated import Question
from gateway.doors.reply import Wire, WireResponse, from_reply, wire_of
from gateway.doors.said import Says, client_of, only
from gateway.doors.trust import Fronts
from gateway.kernel.clock import Clock
from gateway.leases.mark import Mark, Marks
from gateway.leases.outstanding import Outstanding

DOOR: Final = "nginx"
DECIDE: Final = "/decide"
ANSWERS: Final = "/answer"
FORM_SECONDS: Final = 60.0
_ASKED_ALSO: Final = frozenset({"x-forwarded-method", "x-forwarded-host", "x-forwarded-uri", ANSWER.lower()})
_MORE_FIELDS: Final = 16
"""What nginx adds to the client's fields."""


class _Listener(FrontListener):
    """What nginx passes on of a client's fields may be no HTTP at all (control characters): the client is to hear of it."""

    async def head_refused(self, raw: RawRequest, refusal: Refusal) -> WireResponse:
        """Say no with a record; nginx then sends the same fields to `/answer`, and their refusal there is the reply."""
        response = await self.refuse(raw, refusal)
        return from_reply(Allowed(status=401, headers=[]), close=True) if raw.target == DECIDE else response


class _Client(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a client's questions."""

    usual: Usual
    host: str
    """The Host field, as it came."""
    cookie: Headers


class NginxDoor:
    """The endpoints. Let `listener` listen, and close it once."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        present: Present,
        fronts: Fronts,
        says: Says,
        clock: Clock,
        secret: bytes,
        leases: Outstanding | None = None,
        limits: ListenerLimits | None = None,
    ) -> None:
        """`secret`: 32 bytes or more that all workers share. `leases`: where leases are noted; without it none is given."""
        limits = limits or _roomier(ListenerLimits())
        self._pipeline = pipeline
        self._asking = Asking(pipeline=pipeline, present=present, door=DOOR, limits=limits.head)
        self._says: Final = says
        self._facts: Final = frozenset(says.fields()) | _ASKED_ALSO
        self._clock = clock
        self._answers: Final = Answers(secret, clock)
        self._marks: Final = Marks(secret)
        self._leases = leases
        self._claims: Final = functools.lru_cache(maxsize=4096)(self._is_claim)
        self._usuals: Final = Usuals(self._asking, says, limits.head)
        self.listener: Final = _Listener(
            self._answer,
            asking=self._asking,
            present=present,
            fronts=fronts,
            limits=limits,
            quick=self._quick,
            cutter=self._usuals.cutter(DECIDE),
        )

    async def _answer(self, http: web.BaseRequest | None, raw: RawRequest, front: str) -> WireResponse | Wire:
        path = raw.target.partition("?")[0]
        if path not in {DECIDE, ANSWERS} or (path == DECIDE and raw.method != "GET"):
            refusal = Refusal(reason=RefuseReason.NO_ROUTE, detail=f"only GET {DECIDE} and {ANSWERS} are answered here")
            return await self.listener.refuse(raw, refusal)
        described = described_by(raw.headers, front, self._says)
        if path == ANSWERS:
            return await self._rest(http, raw, self._bare(raw, front) if isinstance(described, Refusal) else described)
        if isinstance(described, Refusal):
            # The client may be at fault (no Host, HTTP/1.0): it gets a reply like any other that was refused.
            bare = self._bare(raw, front)
            return self._no(await self._asking.refuse(bare, described), bare)
        return await self._decide(described)

    # ---- yes or no

    def _quick(self, question: Question, front: str) -> Awaitable[Wire] | None:
        if question.target != DECIDE or question.method != "GET":
            return None
        client = question.repeated.known
        if not isinstance(client, _Client) or client.usual.connection.front != front:
            client = question.repeated.known = self._look(question, front)
        request = self._usuals.request_of(client.usual, question) if client is not None else None
        return self._decide_quick(client, request, question, front) if client is not None and request is not None else None

    def _look(self, question: Question, front: str) -> "_Client | None":
        usual = self._usuals.look(question, front)
        if usual is None or self._claimed(usual.headers):
            return None
        return _Client(usual=usual, host=_first(usual.headers, "host"), cookie=_cookie(usual.headers))

    async def _decide_quick(self, client: "_Client", request: Request, question: Question, front: str) -> Wire:
        since = self._since()
        decision = await self._asking.decided(request)
        if isinstance(decision, Allow):
            return self._yes(decision, since=since, host=client.host, path=request.path, cookie=client.cookie)
        described = self._usuals.described(question, front)
        return self._no(Settled(decision=decision, request=request, raw=described), described)

    async def _decide(self, described: RawRequest) -> Wire:
        since = self._since()
        if self._claimed(described.headers):
            refusal = Refusal(
                reason=RefuseReason.HEADER_MALFORMED, detail="a field that only a proxy may send, which nginx can't take away"
            )
            settled = await self._asking.refuse(described, refusal)
        else:
            settled = await self._asking.decide(described)
        decision = settled.decision
        if not isinstance(decision, Allow):
            return self._no(settled, described)
        host, path = _first(described.headers, "host"), described.target.partition("?")[0]
        return self._yes(decision, since=since, host=host, path=path, cookie=_cookie(described.headers))

    def _yes(self, allow: Allow, *, since: int, host: str, path: str, cookie: Headers) -> Wire:
        fields = [*self._asking.upstream_fields(allow), *cookie]
        until = self._lease(allow, since)
        if until:
            fields.append(("X-Accel-Expires", f"@{until - 1}"))
        request, mark = allow.request, Mark(id=allow.id, until=until, allowed=True, break_glass=allow.break_glass)
        made = self._marks.make(mark, method=request.method, host=host, path=path, address=request.connection.peer_address)
        fields += [(USE, made), ("Cache-Control", "no-store")]
        return wire_of(Allowed(headers=fields), close=False)

    def _no(self, settled: Settled, described: RawRequest) -> Wire:
        decision = settled.decision
        if isinstance(decision, Allow):
            raise AssertionError("an Allow has no page")  # noqa: TRY004  our own mistake, not a caller's
        sealed = self._answers.seal(decision, canonical=settled.request is not None, raw=described)
        fields = [
            (ANSWER, sealed),
            (USE, self._mark_of_no(decision.id, described)),
            ("Cache-Control", "no-store"),
        ]
        return wire_of(Allowed(status=401, headers=fields), close=False)

    def _mark_of_no(self, decision_id: str, described: RawRequest) -> str:
        host, path = _first(described.headers, "host"), described.target.partition("?")[0]
        mark, address = Mark(id=decision_id, until=0, allowed=False), described.connection.peer_address
        return self._marks.make(mark, method=described.method, host=host, path=path, address=address)

    def _since(self) -> int:
        """The newest change of what leases hang on: see `_lease`."""
        return self._leases.number() if self._leases is not None else 0

    def _lease(self, allow: Allow, since: int) -> int:
        """The epoch second at which the lease is over, noted; 0 for none. `since`: the last change before it was decided."""
        if not allow.lease_seconds or self._leases is None:
            return 0
        now = self._clock.now()
        # Nobody's session ends in the middle of a lease.
        until = math.floor(min(now + allow.lease_seconds, allow.handle.session.expires_at))
        return until if self._leases.give(allow, now=now, until=until, since=since) else 0

    def _claimed(self, headers: Headers) -> bool:
        return any(self._claims(name.lower()) for name, _ in headers)

    def _is_claim(self, name: str) -> bool:
        """Whether this field would have to be taken away from the client's request, and is not one of nginx's own."""
        return name not in self._facts and not strip_client(((name, ""),), self._pipeline.protected_names())

    def _bare(self, raw: RawRequest, front: str) -> RawRequest:
        """What little is known of a request that nginx could not describe."""
        connection = client_of(raw.headers, front, self._says)
        host = _first(raw.headers, "x-forwarded-host")
        kept = tuple((name, value) for name, value in raw.headers if name.lower() not in self._facts | {"host"})
        return RawRequest(
            method=_first(raw.headers, "x-forwarded-method"),
            target=_first(raw.headers, "x-forwarded-uri"),
            headers=(("Host", host), *kept) if host else kept,
            connection=Connection(peer_address="") if isinstance(connection, Refusal) else connection,
        )

    # ---- the rest

    async def _rest(self, http: web.BaseRequest | None, raw: RawRequest, described: RawRequest) -> WireResponse:
        value = only(raw.headers, ANSWER.lower())
        opened = self._answers.open(value, raw=described) if isinstance(value, str) else None
        if opened is None:
            refusal = Refusal(reason=RefuseReason.FORWARDED_MALFORMED, detail="no answer that was sealed for this request")
            return await self.listener.refuse(raw, refusal)
        length = tuple((name, value) for name, value in raw.headers if name.lower() == "content-length")
        parsed = parse_request(msgspec.structs.replace(described, headers=(*described.headers, *length)))
        if not opened.canonical or isinstance(parsed, Refusal):
            return from_reply(self._asking.reply(Settled(decision=opened.decision, request=None, raw=described)), close=False)
        request = msgspec.structs.replace(parsed, headers=strip_client(parsed.headers, self._pipeline.protected_names()))
        decision = opened.decision
        form = None
        if isinstance(decision, Challenge | Deny):
            decision = msgspec.structs.replace(decision, request=request)
            form = await small_form(http, request, seconds=FORM_SECONDS) if http is not None else None
        return from_reply(self._asking.reply(Settled(decision=decision, request=request, raw=described), form), close=False)


def _cookie(headers: Headers) -> Headers:
    """The Cookie field for the application, under a name of its own; absent when nothing remains."""
    values = [without_own_cookies(value) for name, value in headers if name.lower() == "cookie"]
    rest = "; ".join(value for value in values if value)
    return ((COOKIE, rest),) if rest else ()


def _first(headers: Headers, name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


def _roomier(limits: ListenerLimits) -> ListenerLimits:
    """Limits with room for what nginx adds, so that the client's own share is the same as at the other doors."""
    head = limits.head
    return msgspec.structs.replace(
        limits,
        head=Limits(
            target_length=head.target_length,
            segments=head.segments,
            header_count=head.header_count + _MORE_FIELDS,
            header_bytes=head.header_bytes + limits.field_length,
        ),
    )

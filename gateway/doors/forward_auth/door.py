"""`GET /decide`: a proxy describes a request in headers, and gets the decision as a status.

The proxy (the front) must be on the list of trusted peers, and must say all of `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri`
and `-For`, each in exactly one field line; the line of its own subrequest is never used instead (CVE-2026-40575). Answers:

| decision | status | |
|---|---|---|
| Allow | 200 | with the header fields that the front has to set upstream |
| Challenge, Deny, Refuse, Unavailable | 302, 401, 403, 4xx, 503 | the proxy door's pages, to be passed on to the person |

What the front must do, because this door can't: pass on the target unchanged; delete the client's own copies of every field that
is answered here, also when an answer lacks it; send `/.gateway/` of every application's host to the proxy door; let nobody reach
the applications around it.

What this door does not see: the body, the response, WebSocket upgrades (fronts keep them from the subrequest), and how the
request ended: the log holds the decision and no completion record.
"""

import logging
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from gateway.domain.connection import FORWARDED_TLS, Connection
from gateway.domain.decision import Allow, Refuse, Unavailable
from gateway.domain.headers import HOP_BY_HOP, fold, strip_client
from gateway.domain.reason import RefuseReason, UnavailableReason
from gateway.domain.request import Headers, RawRequest, Refusal, parse_request
from gateway.domain.site import cross_site
from gateway.doors.connection import connection_of, peer_uid
from gateway.doors.contract import Pipeline, Present
from gateway.doors.listener import Listener, ListenerLimits
from gateway.doors.reply import WireResponse, from_reply
from gateway.doors.trust import Peers, last_client, only
from gateway.kernel.errors import ConfigError
from gateway.kernel.ids import new_id

logger = logging.getLogger(__name__)

DOOR: Final = "forward_auth"
ENDPOINT: Final = "/decide"
_OF_THE_SUBREQUEST: Final = HOP_BY_HOP | {"host", "contentlength", "expect"}


class _Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to the front that it may forward."""

    status: int = 200
    headers: list[tuple[str, str]]
    body: bytes = b""


class ForwardAuthDoor:
    """The endpoint. `listen` or `listen_unix`, and `close` once."""

    def __init__(self, *, pipeline: Pipeline, present: Present, peers: Peers, limits: ListenerLimits) -> None:
        self._pipeline = pipeline
        self._present = present
        self._peers = peers
        self._limits = limits
        self._listener: Listener | None = None

    async def listen(self, host: str, port: int) -> int:
        """Serve on an address; returns the port."""
        return await self._ready().listen(host, port)

    async def listen_unix(self, path: str) -> None:
        """Serve on a unix socket. The file's place and mode are the caller's; who asks is checked by user id (SO_PEERCRED)."""
        await self._ready().listen_unix(path)

    def _ready(self) -> Listener:
        if self._listener is None:
            self._listener = Listener(self._handle, on_refused=self._refuse, on_failed=self._failed, limits=self._limits)
        return self._listener

    async def close(self, grace_seconds: float = 5.0) -> None:
        """Accept nothing more and finish. Safe to call twice."""
        if self._listener is not None:
            await self._listener.close(grace_seconds)
            self._listener = None

    # ---- one question

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        raw = RawRequest(
            method=http.method, target=http.raw_path, headers=tuple(http.headers.items()), connection=connection_of(http)
        )
        # 1. Who asks?
        if not self._trusts(http, raw.connection):
            refusal = Refusal(reason=RefuseReason.UNTRUSTED_PEER, detail="the peer is not in the list of trusted fronts")
            return await self._refuse(raw, refusal)
        if raw.method != "GET" or raw.target.partition("?")[0] != ENDPOINT:
            return await self._refuse(raw, Refusal(reason=RefuseReason.NO_ROUTE, detail=f"only GET {ENDPOINT} is answered here"))
        # 2. What about?
        described = self._described(raw.headers)
        if isinstance(described, Refusal):
            return await self._refuse(raw, described)
        parsed = parse_request(described, self._limits.head)
        if isinstance(parsed, Refusal):
            return await self._refuse(described, parsed)
        scheme, authority = "https" if parsed.connection.tls else "http", (parsed.header("host") or "").lower()
        why = cross_site(parsed, f"{scheme}://{authority}")
        if why is not None:
            return await self._refuse(described, Refusal(reason=RefuseReason.CROSS_SITE, detail=why))
        request = msgspec.structs.replace(parsed, headers=strip_client(parsed.headers, self._pipeline.protected_names()))
        # 3. The same decision as at every door.
        decision = await self._pipeline.decide(request, DOOR)
        if isinstance(decision, Allow):
            return from_reply(_Allowed(headers=[*self._pipeline.outgoing(decision), ("Cache-Control", "no-store")]), close=False)
        reply = self._present.reply(decision, request=request, raw=described)
        return from_reply(reply, close=isinstance(decision, Refuse))

    def _trusts(self, http: web.BaseRequest, connection: Connection) -> bool:
        uid = peer_uid(http.transport)
        if uid is not None:
            return self._peers.has_uid(uid)
        return self._peers.has_address(connection.peer_address)

    def _described(self, headers: Headers) -> RawRequest | Refusal:
        """The request that the front asks about. Framing, Connection and Host of the subrequest itself are not the client's."""
        said: dict[str, str] = {}
        for name in ("method", "proto", "host", "uri", "for"):
            value = only(headers, f"x-forwarded-{name}")
            if isinstance(value, Refusal):
                return value
            said[name] = value
        if said["proto"] not in {"http", "https"}:
            return Refusal(reason=RefuseReason.FORWARDED_MALFORMED, detail="x-forwarded-proto is neither http nor https")
        client = last_client(said["for"], self._peers)
        if isinstance(client, Refusal):
            return client
        kept = tuple((name, value) for name, value in headers if fold(name) not in _OF_THE_SUBREQUEST)
        return RawRequest(
            method=said["method"],
            target=said["uri"],
            headers=(("Host", said["host"]), *kept),
            connection=Connection(peer_address=client, tls_version=FORWARDED_TLS if said["proto"] == "https" else ""),
        )

    # ---- refusals

    async def _refuse(self, raw: RawRequest, refusal: Refusal) -> WireResponse:
        decision = await self._pipeline.refuse(raw, refusal, DOOR)
        return from_reply(self._present.reply(decision, request=None, raw=raw), close=True)

    def _failed(self, http: web.BaseRequest, error: BaseException) -> WireResponse:
        decision = Unavailable(id=new_id("dec"), reason=UnavailableReason.INTERNAL)
        logger.error("request failed, reference %s", decision.id, exc_info=error)
        raw = RawRequest(method=http.method, target=http.raw_path, headers=(), connection=Connection(peer_address=""))
        return from_reply(self._present.reply(decision, request=None, raw=raw), close=True)


def create_forward_auth(
    *,
    pipeline: Pipeline,
    present: Present,
    trusted_peers: Sequence[str] = (),
    trusted_uids: Sequence[int] = (),
    limits: ListenerLimits | None = None,
) -> ForwardAuthDoor:
    """Make the forward-auth door; nothing listens yet.

    `trusted_peers` are the fronts' addresses or ranges, `trusted_uids` their users on a unix socket. Raises ConfigError when both
    are empty (there is no default), or when one is malformed or means everybody.
    """
    peers = Peers(trusted_peers, trusted_uids, where="forward_auth")
    if not peers:
        raise ConfigError(
            "nobody is trusted to ask, so the door has no use",
            where="forward_auth",
            todo="List the fronts' addresses in trusted_peers, or their user ids in trusted_uids.",
        )
    return ForwardAuthDoor(pipeline=pipeline, present=present, peers=peers, limits=limits or ListenerLimits())

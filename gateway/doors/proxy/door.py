"""The embedded proxy door: every request is made canonical or refused, then handed to who answers for its host.

1. What does not parse, is ambiguous or comes from another site is refused, with a record.
2. The client's copies of protected headers are removed, before anybody decides anything.
3. The identity provider's host goes to its application; the portal's host, and `/.gateway/` on every application's, to our pages.
4. Everything else is decided. Allow: the exchange with the application. Anything else: the one mapper's reply.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Sequence
from typing import Final

import msgspec
from aiohttp import web

from gateway.domain.connection import Connection
from gateway.domain.decision import Allow, Challenge, Decision, Deny, Refuse, Unavailable
from gateway.domain.headers import strip_client
from gateway.domain.reason import RefuseReason, UnavailableReason, UpstreamProblem
from gateway.domain.request import Headers, RawRequest, Refusal, Request, parse_request
from gateway.domain.route import RESERVED_SEGMENT, App
from gateway.domain.site import cross_site
from gateway.doors.client import BrokenBodyError, GatewayProtocol
from gateway.doors.connection import connection_of, record_server_names
from gateway.doors.contract import Pages, Pipeline, Present
from gateway.doors.form import say_continue, small_form
from gateway.doors.limits import ListenerLimits
from gateway.doors.listener import Listener
from gateway.doors.plain_handler import PlainRequest
from gateway.doors.proxy.around import Asked, ClientBodyError, Exchanges, Surroundings
from gateway.doors.proxy.exchange import Exchange
from gateway.doors.proxy.plain import PlainDoor
from gateway.doors.proxy.tunnel import TunnelExchange
from gateway.doors.proxy.upstream import Upstream, UpstreamLimits
from gateway.doors.reply import Wire, WireResponse, wire_of
from gateway.doors.said import Says, client_of
from gateway.doors.tls import HSTS
from gateway.doors.trust import Fronts
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.kernel.ids import new_id

logger = logging.getLogger(__name__)

DOOR: Final = "proxy"
_VERSIONS: Final = frozenset({(1, 0), (1, 1)})
"""The parser lets 0.9 and 2.0 pass, which are framed otherwise (RFC 9112 §2.3)."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class ProxyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and times."""

    listener: ListenerLimits = ListenerLimits()
    upstream: UpstreamLimits = UpstreamLimits()
    body_seconds: float = 60.0
    """The longest silence in the middle of a client's body."""
    page_seconds: float = 60.0
    """How long a request to the portal or the identity provider may take in all, its body included."""


class ProxyDoor:
    """The proxy. `listen` as often as there are addresses, and `close` once."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        present: Present,
        portal: Pages,
        portal_host: str,
        apps: Sequence[App],
        clock: Clock,
        public_scheme: str,
        public_port: int | None,
        idp: tuple[str, web.Application] | None,
        fronts: Fronts | None,
        says: Says,
        upstream_tls: ssl.SSLContext | None,
        limits: ProxyLimits,
    ) -> None:
        self._pipeline = pipeline
        self._present = present
        self._portal = portal
        self._portal_host = portal_host
        self._apps: Final = {app.id: app for app in apps}
        self._app_hosts: Final = frozenset(app.host for app in apps)
        self._clock = clock
        self._scheme = public_scheme
        self._port = public_port
        self._idp_host: Final = idp[0] if idp else ""
        self._idp_runner: Final = web.AppRunner(idp[1], access_log=None) if idp else None
        self._fronts = fronts
        self._says = says
        self._always: Final = ": ".join(HSTS).encode() if public_scheme == "https" else b""
        self._limits = limits
        self._upstreams: Final = {app.id: Upstream(app, limits=limits.upstream, clock=clock, tls=upstream_tls) for app in apps}
        self._exchanges = Exchanges(clock)
        self._around = Surroundings(
            pipeline=pipeline,
            present=present,
            limits=limits.upstream,
            body_seconds=limits.body_seconds,
            clock=clock,
            exchanges=self._exchanges,
        )
        self._listeners: dict[bool, Listener] = {}
        """By whether they are for fronts: what a front may say counts on no other."""

    # ---- life

    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext | None = None, fronted: bool = False) -> int:
        """Serve on an address; returns the port (the one chosen, for 0). With `tls` the context's SNI is recorded.

        `fronted`: for fronts, which have to prove themselves on each connection (by mTLS), and speak for their clients.
        Raises ConfigError when aiohttp's C parser is missing, OSError when the address is taken.
        """
        listener = await self._ready(fronted=fronted)
        if tls is not None:
            record_server_names(tls)
        bound = await listener.listen(host, port, tls=tls)
        if self._port is None and not fronted:
            self._port = bound
        return bound

    async def listen_unix(self, path: str) -> None:
        """Serve fronts on a unix socket. The file's place and mode are the caller's; who connects is checked by SO_PEERCRED."""
        await (await self._ready(fronted=True)).listen_unix(path)

    async def listen_socket(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None, fronted: bool = False) -> None:
        """Serve on a socket that is bound already, as `listen` and `listen_unix` do."""
        listener = await self._ready(fronted=fronted)
        if tls is not None:
            record_server_names(tls)
        await listener.listen_socket(sock, tls=tls)

    async def _ready(self, *, fronted: bool) -> Listener:
        if not self._listeners:
            for upstream in self._upstreams.values():
                upstream.start()
            if self._idp_runner is not None:
                await self._idp_runner.setup()
        if fronted not in self._listeners:
            handle = self._handle_fronted if fronted else self._handle
            limits = self._limits.listener
            plain = PlainDoor(self, limits.head, fronted=fronted)
            self._listeners[fronted] = Listener(
                handle,
                on_refused=self._head_refused,
                on_failed=self._failed,
                limits=limits,
                plain=plain,
                always=self._always,
                half_close=not fronted,
            )
        return self._listeners[fronted]

    async def close(self, grace_seconds: float = 5.0, *, idle_seconds: float = 0.0) -> None:
        """Accept nothing more; let short requests finish within `grace_seconds`; say goodbye to streams. Safe to call twice.

        With `idle_seconds` a successor accepts already (see `Listener.close`): streams and requests have all of the grace.
        """
        if self._listeners:
            patience = grace_seconds if idle_seconds else grace_seconds / 2
            ending = asyncio.get_running_loop().call_later(patience, self._end_exchanges)
            closing = (listener.close(grace_seconds, idle_seconds=idle_seconds) for listener in self._listeners.values())
            await asyncio.gather(*closing)
            ending.cancel()
            self._end_exchanges()
            self._listeners.clear()
        for upstream in self._upstreams.values():
            await upstream.close()
        if self._idp_runner is not None and self._idp_runner.server is not None:
            await self._idp_runner.cleanup()

    def _end_exchanges(self) -> None:
        self._exchanges.end(UpstreamProblem.SHUTDOWN)

    def authority(self, host: str) -> str:
        """The authority that browsers know a host of ours by: never what a client wrote in its Host field."""
        if self._port is None or self._port == _DEFAULT_PORTS[self._scheme]:
            return host
        return f"{host}:{self._port}"

    # ---- one request, as aiohttp reads it

    async def _handle_fronted(self, http: web.BaseRequest) -> web.StreamResponse:
        raw = _raw(http)
        connection = self.client_behind(http.transport, raw.headers)
        if isinstance(connection, Refusal):
            return WireResponse(wire=await self._refuse(raw, connection))
        return await self._guarded(http, msgspec.structs.replace(raw, connection=connection))

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        return await self._guarded(http, _raw(http))

    def client_behind(self, transport: object, headers: Headers) -> Connection | Refusal:
        """Return the client's connection as a front that has proved itself on this one describes it."""
        front = self._fronts.prove(transport) if self._fronts is not None else ""
        if not front:
            return Refusal(reason=RefuseReason.UNTRUSTED_PEER, detail="the peer is no front that is trusted here")
        return client_of(headers, front, self._says)

    async def _guarded(self, http: web.BaseRequest, raw: RawRequest) -> web.StreamResponse:
        try:
            response = await self._answer(http, raw)
        except ConnectionError:
            return WireResponse(status=503, close=True)  # the client is gone: this reaches nobody
        except (ClientBodyError, BrokenBodyError):
            refusal = Refusal(reason=RefuseReason.FRAMING, detail="the body is malformed")
            response = await self._refuse(raw, refusal)
        return WireResponse(wire=response) if isinstance(response, Wire) else response

    async def _answer(self, http: web.BaseRequest, raw: RawRequest) -> web.StreamResponse | Wire:
        if http.version not in _VERSIONS:
            refusal = Refusal(reason=RefuseReason.FRAMING, detail="a version of HTTP that this connection does not speak")
            return await self._refuse(raw, refusal)
        if http.version < (1, 1) and any(name.lower() == "transfer-encoding" for name, _ in raw.headers):
            return await self._refuse(raw, Refusal(reason=RefuseReason.FRAMING, detail="a transfer coding in HTTP/1.0"))
        parsed = parse_request(raw, self._limits.listener.head)
        if isinstance(parsed, Refusal):
            return await self._refuse(raw, parsed)
        request = msgspec.structs.replace(parsed, headers=self.stripped(parsed.headers))
        why = cross_site(parsed, f"{self._scheme}://{self.authority(request.host)}")
        if why is not None:
            return await self._refuse(raw, Refusal(reason=RefuseReason.CROSS_SITE, detail=why), request)
        own = request.host == self._portal_host or self.is_for_app(request, reserved=True)
        if not own and request.host != self._idp_host:
            return await self._to_app(http, raw, request)
        if request.websocket:
            return await self._refuse(raw, Refusal(reason=RefuseReason.UPGRADE, detail="no WebSocket here"), request)
        await say_continue(http, request)
        async with asyncio.timeout(self._limits.page_seconds):
            if own:
                return self._named(await self._portal(request, _cleaned(http, request, self._scheme)))
            return await self._to_idp(http, request)

    def is_for_app(self, request: Request, *, reserved: bool) -> bool:
        """Whether a request is for an application's host, and there for our own pages (`reserved`) or for the application."""
        own = len(request.segments) > 1 and request.segments[0] == RESERVED_SEGMENT
        return own is reserved and request.host in self._app_hosts

    def stripped(self, headers: Headers) -> Headers:
        """Return a client's fields without those that it may never send."""
        return strip_client(headers, self._pipeline.protected_names())

    async def _to_app(self, http: web.BaseRequest, raw: RawRequest, request: Request) -> Wire:
        decision = await self._pipeline.decide(request, DOOR)
        if not isinstance(decision, Allow):
            form = None
            if isinstance(decision, Challenge | Deny):
                form = await small_form(http, request, seconds=self._limits.body_seconds)
            return self._no(raw, request, decision, form)
        if not isinstance(http.protocol, GatewayProtocol):
            raise TypeError("the proxy needs the gateway's own listener")
        asked = Asked(client=http.protocol, content=http.content, modern=http.version >= (1, 1), keep=http.keep_alive)
        return await self._carry(asked, decision, TunnelExchange if request.websocket else Exchange)

    def _carry(self, asked: Asked, allow: Allow, kind: type[Exchange]) -> Awaitable[Wire]:
        authority = self.authority(allow.request.host)
        return kind(asked, allow, upstream=self._upstreams[allow.route.app], authority=authority, around=self._around).run()

    def _no(self, raw: RawRequest, request: Request, decision: Decision, form: list[tuple[str, str]] | None = None) -> Wire:
        reply = self._present.reply(decision, request=request, raw=raw, form=form)
        # After a refusal, or a "no" to an upgrade, nothing that follows on the connection is believed to be a request.
        return wire_of(reply, close=isinstance(decision, Refuse) or request.websocket)

    async def answer_plain(self, plain: PlainRequest, request: Request, fields: bytes) -> Wire:
        """Decide and carry a request to an application that has no body; `fields` are what it gets of the client's."""
        decision = await self._pipeline.decide(request, DOOR)
        if isinstance(decision, Allow):
            return await self._carry(Asked(client=plain.client, content=None, fields=fields), decision, Exchange)
        raw = RawRequest(method=plain.method, target=plain.raw_path, headers=plain.headers, connection=request.connection)
        return self._no(raw, request, decision)

    def _named(self, response: web.StreamResponse) -> web.StreamResponse:
        """Add to a response of aiohttp's what all others have, and keep it from telling the world its version."""
        if not response.prepared:
            response.headers.setdefault("Server", "gateway")
            if self._always:
                response.headers[HSTS[0]] = HSTS[1]
        return response

    async def _to_idp(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        server = self._idp_runner.server if self._idp_runner is not None else None
        if server is None:
            raise RuntimeError("the identity provider is not running")
        inner = _cleaned(http, request, self._scheme)
        try:
            response = await server.request_handler(inner)
        except web.HTTPException as answer:
            response = answer
        self._named(response)
        # Prepared with the request that the application saw, so that its own signals run.
        await response.prepare(inner)
        await response.write_eof()
        return response

    # ---- refusals

    async def _refuse(self, raw: RawRequest, refusal: Refusal, request: Request | None = None) -> Wire:
        decision = await self._pipeline.refuse(raw, refusal, DOOR)
        return wire_of(self._present.reply(decision, request=request, raw=raw), close=True)

    async def _head_refused(self, raw: RawRequest, refusal: Refusal) -> WireResponse:
        return WireResponse(wire=await self._refuse(raw, refusal))

    def _failed(self, http: web.BaseRequest, error: BaseException) -> WireResponse:
        return WireResponse(wire=self.failed(http.method, http.raw_path, error))

    def failed(self, method: str, target: str, error: BaseException) -> Wire:
        """Return the reply to a request on which our own code failed: nothing is let through, nothing is told but a number."""
        decision = Unavailable(id=new_id("dec"), reason=UnavailableReason.INTERNAL)
        logger.error("request failed, reference %s", decision.id, exc_info=error)
        raw = RawRequest(method=method, target=target, headers=(), connection=Connection(peer_address=""))
        return wire_of(self._present.reply(decision, request=None, raw=raw), close=True)


def _raw(http: web.BaseRequest) -> RawRequest:
    return RawRequest(
        method=http.method, target=http.raw_path, headers=tuple(http.headers.items()), connection=connection_of(http)
    )


def _cleaned(http: web.BaseRequest, request: Request, scheme: str) -> web.BaseRequest:
    """The request for an application in this process: without the client's protected headers, and with the facts that we know."""
    headers = [(name, value) for name, value in request.headers if name.lower() != "expect"]
    return http.clone(headers=headers, scheme=scheme, remote=request.connection.peer_address)


def create_proxy(
    *,
    pipeline: Pipeline,
    present: Present,
    portal: Pages,
    portal_host: str,
    apps: Sequence[App],
    clock: Clock,
    public_scheme: str = "https",
    public_port: int | None = None,
    idp: tuple[str, web.Application] | None = None,
    fronts: Fronts | None = None,
    says: Says | None = None,
    upstream_tls: ssl.SSLContext | None = None,
    limits: ProxyLimits | None = None,
) -> ProxyDoor:
    """Make the proxy door; nothing listens yet.

    `public_scheme` and `public_port` are what stands in people's address bar (None: the port of the first `listen`). `idp` is the
    embedded identity provider's host and application, which starts and stops with the door. `fronts` are the
    proxies before it, who have to prove themselves (none by default), and `says` what they tell of the client beyond its address
    and scheme. `upstream_tls` verifies `https` applications.

    Raises ConfigError for an unknown scheme or two owners of one host.
    """
    if public_scheme not in _DEFAULT_PORTS:
        raise ConfigError(f'"{public_scheme}" is no scheme that browsers open', todo="Write http or https.")
    hosts = [portal_host, *([idp[0]] if idp else []), *(app.host for app in apps)]
    if len(set(hosts)) < len(hosts):
        raise ConfigError("two parts of the gateway want the same host", todo="Give each its own host name.")
    return ProxyDoor(
        pipeline=pipeline,
        present=present,
        portal=portal,
        portal_host=portal_host,
        apps=apps,
        clock=clock,
        public_scheme=public_scheme,
        public_port=public_port,
        idp=idp,
        fronts=fronts,
        says=says or Says(),
        upstream_tls=upstream_tls,
        limits=limits or ProxyLimits(),
    )

"""The protocol's HTTP side: reads requests, calls `idp.protocol` and `idp.flows`, writes replies. No rule is decided here."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from gateway.kernel.errors import GatewayError
from gateway.kernel.secret import Secret, hash_token
from idp.flows import LoginFlows, OwnStore
from idp.model import ProofingRecord, SsoSession
from idp.protocol import authorize, discovery, end_session, jwks, token, userinfo
from idp.protocol.grant import Redeemed, Server, basic_credentials
from idp.protocol.keyset import KeySet
from idp.protocol.parameters import MOST_PARAMETERS, Answer, Parameters
from idp.settings import IdpSettings
from idp.web import cookies
from idp.web.parts import Pages
from idp.web.refusals import AuthorizeReason, BearerReason, Refusals, SignOutReason, TokenReason

LARGEST_FORM: Final = 65_536
"""Bytes. Read here, whatever limit the application that mounts us has."""
_SIGN_OUT: Final = "sign-out"
_SIGN_OUT_SECONDS: Final = 600
_FORM: Final = "application/x-www-form-urlencoded"
_OK: Final = 200
_TOKEN_REASONS: Final[dict[object, TokenReason]] = {"invalid_client": "token_client", "invalid_grant": "token_code"}
_BEARER_REASONS: Final[dict[object, BearerReason]] = {
    None: "bearer_missing", "invalid_token": "bearer_invalid", "insufficient_scope": "bearer_scope",
}  # fmt: skip

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoints:
    """The handlers. `rekey` replaces the signing keys while it serves; `fresh` is asked for keys that another process made."""

    def __init__(
        self, settings: IdpSettings, store: OwnStore, flows: LoginFlows, *, keys: KeySet, now: Callable[[], int],
        new_token: Callable[[], str], address_of: Callable[[web.Request], str], refusals: Refusals,
        fresh: Callable[[], KeySet | None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._fresh = fresh
        self._store = store
        self._flows = flows
        self._now = now
        self._new_token = new_token
        self._address_of = address_of
        self._refusals = refusals
        self._discovery = discovery.document(settings.issuer, settings.trust_framework)
        self.rekey(keys)

    def rekey(self, keys: KeySet) -> None:
        """Sign with the newest of these keys from now on, and publish and accept all of them."""
        self._keys = keys
        self._server = Server(settings=self._settings, keys=keys)

    def _look_for_keys(self) -> None:
        """Before keys are used or published: a key that another process signs with must be known here, too."""
        keys = self._fresh()
        if keys is not None:
            self.rekey(keys)

    def add_routes(self, app: web.Application, pages: Pages) -> None:
        """Mount every endpoint."""
        self._pages = pages
        router = app.router
        for path in ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"):
            router.add_get(path, self._metadata)
        router.add_get(discovery.JWKS, self._jwks)
        router.add_get(discovery.AUTHORIZE, self._page(self._authorize), allow_head=False)
        router.add_post(discovery.AUTHORIZE, self._page(self._authorize))
        router.add_post(discovery.TOKEN, _called(self._token))
        router.add_get(discovery.USERINFO, _called(self._userinfo))
        router.add_post(discovery.USERINFO, _called(self._userinfo))
        router.add_get(discovery.END_SESSION, self._page(self._end_session), allow_head=False)
        router.add_post(discovery.END_SESSION, self._page(self._end_session))
        router.add_post(discovery.CONFIRM_END_SESSION, self._page(self._confirmed))

    async def _metadata(self, request: web.Request) -> web.Response:
        return _published(self._discovery)

    async def _jwks(self, request: web.Request) -> web.Response:
        self._look_for_keys()
        return _published(jwks.document(self._keys))

    # ------------------------------------------------------------------ browsers

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        parameters = await _parameters(request)
        if parameters is None:
            return await self._refuse(request, "request_malformed")
        self._look_for_keys()
        asked = authorize.parse(self._server, self._keys, request.method, parameters)
        if isinstance(asked, authorize.Unanswerable):
            client, uri = parameters.one("client_id"), parameters.one("redirect_uri")
            return await self._refuse(request, asked.problem, client=client, uri=uri)
        if isinstance(asked, authorize.Redirect):
            await self._refusals.tell(request, "request_refused", client=parameters.one("client_id"), error=asked.error)
            return _to(asked.location)
        started = await self._flows.start(
            asked, cookies.session_of(request), cookies.browser_of(request), self._address_of(request)
        )  # fmt: skip
        response = _to(started.location)
        if started.browser is not None:
            cookies.bind_browser(response, started.browser)
        return response

    async def _end_session(self, request: web.Request) -> web.StreamResponse:
        parameters = await _parameters(request)
        if parameters is None:
            return await self._refuse(request, "sign_out_malformed")
        session = await self._flows.session(cookies.session_of(request))
        self._look_for_keys()
        asked = end_session.parse(self._settings, self._keys, parameters, session)
        if isinstance(asked, end_session.Malformed):
            log.info("sign-out refused: %s", asked.detail)
            uri = parameters.one("post_logout_redirect_uri")
            return await self._refuse(request, asked.reason, client=parameters.one("client_id"), uri=uri)
        if session is not None and asked.act == "ask":
            value = msgspec.json.encode((session.id, asked.location))
            ticket = await self._store.once.put(_SIGN_OUT, value, _SIGN_OUT_SECONDS)
            user = await self._store.users.get(session.user_id)
            return await self._pages.confirm_sign_out(request, user.name if user else "", ticket)
        return await self._leave(request, session, asked.location)

    async def _confirmed(self, request: web.Request) -> web.StreamResponse:
        parameters = await _parameters(request)
        ticket = parameters.one("token") if parameters is not None else ""
        value = await self._store.once.take(_SIGN_OUT, ticket)
        session = await self._flows.session(cookies.session_of(request))
        if value is None:
            return await self._refuse(request, "sign_out_ticket")
        session_id, location = msgspec.json.decode(value, type=tuple[str, str])
        if session is not None and session.id != session_id:  # the ticket was made for another browser or an earlier person
            return await self._refuse(request, "sign_out_ticket")
        return await self._leave(request, session, location)

    async def _leave(self, request: web.Request, session: SsoSession | None, location: str) -> web.StreamResponse:
        if session is not None:
            await self._flows.sign_out(session, self._address_of(request))
        response = _to(location) if location else await self._pages.signed_out(request)
        cookies.drop_session(response)
        return response

    async def _refuse(
        self, request: web.Request, reason: AuthorizeReason | SignOutReason, *, client: str = "", uri: str = ""
    ) -> web.StreamResponse:
        """Tell the log, then show the page. The pages have one text for whatever is wrong with a sign-out."""
        await self._refusals.tell(request, reason, client=client, uri=uri)
        match reason:
            case "request_malformed" | "client_unknown" | "redirect_uri_unknown":
                return await self._pages.problem(request, reason, 400)
            case _:
                return await self._pages.problem(request, "sign_out_malformed", 400)

    # ------------------------------------------------------------------ servers

    async def _token(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        authorization = request.headers.getall("Authorization", [])
        if parameters is None or len(authorization) > 1:
            await self._refusals.tell(request, "token_request")
            return _json(token.refused("invalid_request", "send one form, with one Authorization header"))
        self._look_for_keys()
        prepared = token.prepare(self._server, parameters, authorization[0] if authorization else "")
        if isinstance(prepared, Answer):
            reason = _TOKEN_REASONS.get(prepared.body["error"], "token_request")
            named = basic_credentials(authorization[0]) if authorization else None
            await self._refusals.tell(request, reason, client=named[0] if named else "")
            return _json(prepared)
        now, grants = self._now(), self._store.grants
        redeemed = await grants.redeem(prepared.code_hash, prepared.client_id, now)
        if isinstance(redeemed, str):
            reused: TokenReason = "token_code_reused" if redeemed == "reused" else "token_code"
            await self._refusals.tell(request, reused, client=prepared.client_id)
            return _json(token.refused("invalid_grant", "the code is not valid"))
        proofed = await self._store.proofing.latest(redeemed.user_id)
        known = Redeemed(
            grant=redeemed, user=await self._store.users.get(redeemed.user_id), now=now, proofing=proofed,
            bound=await self._store.bindings.of(proofed.number) if proofed is not None else frozenset(),
            confirmed=await self._stated(proofed),
            access_token=Secret(self._new_token()),
        )  # fmt: skip
        issued = token.issue(self._server, prepared, known)
        if isinstance(issued, token.Issued):
            if await grants.put_access(issued.access_hash, prepared.code_hash, issued.access, now):
                return _json(issued.answer)
            issued = token.refused("invalid_grant", "the code is not valid")
        await self._refusals.tell(request, "token_grant", client=prepared.client_id)
        return _json(issued)

    async def _userinfo(self, request: web.Request) -> web.Response:
        authorization = request.headers.getall("Authorization", [])
        presented = userinfo.bearer(authorization[0]) if len(authorization) == 1 else ""
        now = self._now()
        grant = await self._store.grants.access(hash_token(presented), now) if presented else None
        user = await self._store.users.get(grant.user_id) if grant else None
        proofed = await self._store.proofing.latest(grant.user_id) if grant else None
        answer = userinfo.respond(
            self._settings.issuer, grant, user, proofed, presented=bool(authorization), now=now,
            framework=self._settings.trust_framework, confirmed=await self._stated(proofed),
        )  # fmt: skip
        if answer.status != _OK:
            await self._refusals.tell(request, _BEARER_REASONS[answer.body.get("error")], client=grant.client_id if grant else "")
        return _json(answer)

    async def _stated(self, proofed: ProofingRecord | None) -> frozenset[str]:
        return await self._store.bindings.confirmed(proofed.number) if proofed is not None else frozenset()

    def _page(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except GatewayError:  # a store or the log does not answer; a session ended between two steps
                log.exception("%s %s failed", request.method, request.path)
                return await self._pages.problem(request, "unavailable", 503)

        return guarded


def _called(handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError:
            log.exception("%s %s failed", request.method, request.path)
            return _json(token.refused("temporarily_unavailable", "try again in a moment", status=503))

    return guarded


async def _parameters(request: web.Request) -> Parameters | None:
    """Return the query (GET) or form (POST) exactly as sent, duplicates included; None when it can't be read without guessing."""
    raw = request.rel_url.raw_query_string
    if request.method == "POST":
        if raw or request.content_type != _FORM:
            return None
        body = await _body(request)
        if body is None:
            return None
        raw = body
    try:
        pairs = parse_qsl(
            raw, keep_blank_values=True, strict_parsing=bool(raw), errors="strict", max_num_fields=MOST_PARAMETERS + 1
        )
    except ValueError:
        return None
    return Parameters(pairs)


async def _body(request: web.Request) -> str | None:
    body = bytearray()
    async for chunk in request.content.iter_chunked(LARGEST_FORM):
        body += chunk
        if len(body) > LARGEST_FORM:
            return None
    return body.decode("ascii") if body.isascii() else None


def _to(location: str) -> web.Response:
    # 303: whatever the browser sent here (a password, in a form) must not be sent on (RFC 9700 §4.12).
    return web.Response(
        status=303, headers={"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    )  # fmt: skip


def _json(answer: Answer) -> web.Response:
    headers = {"X-Content-Type-Options": "nosniff", **dict(answer.headers)}
    return web.Response(
        status=answer.status, body=msgspec.json.encode(answer.body), content_type="application/json", headers=headers
    )  # fmt: skip


def _published(document: dict[str, object]) -> web.Response:
    headers = {"Cache-Control": "public, max-age=60", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=msgspec.json.encode(document), content_type="application/json", headers=headers)

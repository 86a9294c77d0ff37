"""Dispatches a canonical request to one of our own pages."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.domain.decision import Unavailable
from gateway.domain.reason import UnavailableReason
from gateway.domain.request import RawRequest, Request
from gateway.doors.client import BrokenBodyError
from gateway.doors.portal import arriving, device, emergency, grants, home, signin, signout
from gateway.doors.portal.parts import Exchange, Parts, Stop
from gateway.kernel.errors import AuditError, ProtocolError, StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.kernel.web import STYLE_PATH
from gateway.present.mapper import Presenter
from gateway.present.pages import STATIC

logger = logging.getLogger(__name__)

Handler = Callable[[Exchange], Awaitable[web.Response]]

ANY_HOST: Final[dict[tuple[str, str], Handler]] = {
    ("GET", "/.gateway/sign-in"): signin.begin_sign_in,
    ("GET", "/.gateway/remedy"): signin.begin_remedy,
    ("GET", "/.gateway/handoff"): arriving.receive_handoff,
    ("GET", "/.gateway/done"): signin.done,
    ("GET", "/.gateway/language"): signin.language,
    ("POST", "/.gateway/sign-out"): signout.sign_out,
}
PORTAL_ONLY: Final[dict[tuple[str, str], Handler]] = {
    ("GET", "/"): home.home,
    ("GET", "/.gateway/go"): signin.go,
    ("GET", "/.gateway/callback"): signin.callback,
    ("GET", "/.gateway/device"): device.show,
    ("POST", "/.gateway/device"): device.register,
    ("GET", "/.gateway/device/prove"): device.show_prove,
    ("POST", "/.gateway/device/prove"): device.prove,
    ("GET", "/.gateway/emergency"): emergency.show,
    ("POST", "/.gateway/emergency"): emergency.begin,
    ("POST", "/.gateway/emergency/end"): emergency.end,
    ("GET", "/.gateway/grants"): grants.show,
    ("POST", "/.gateway/grants"): grants.ask,
    ("POST", "/.gateway/grants/back"): grants.give_back,
    ("GET", "/.gateway/signed-out"): signout.signed_out,
    ("GET", "/.gateway/jwks.json"): home.jwks,
}
_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}


class Portal:
    """Handles the portal's host and `/.gateway/` on every app's host.

    Raises nothing but cancellation, and what the client's own connection or body raised (ConnectionError, BrokenBodyError).
    """

    def __init__(self, parts: Parts, presenter: Presenter) -> None:
        self._parts = parts
        self._presenter = presenter
        files = [STYLE_PATH, *STATIC.iterdir()]
        self._static = {f"/.gateway/static/{file.name}": (file.read_bytes(), _TYPES[file.suffix]) for file in files}

    async def __call__(self, request: Request, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        exchange = Exchange(self._parts, request, http)
        try:
            return await self._answer(exchange)
        except ProtocolError as error:
            logger.warning("sign-in failed: %s", error)
            return exchange.stop("flow.provider", 502, retry=f"{self._parts.portal}/")
        except StoreUnavailable as error:
            logger.error("portal: %s", error)  # noqa: TRY400  expected kind: the message says it all
            return self._unavailable(exchange, UnavailableReason.SESSION_STORE)
        except AuditError as error:
            logger.debug("no record, no access: %s", error)
            return self._unavailable(exchange, UnavailableReason.AUDIT_LOG)
        except (ConnectionError, BrokenBodyError):
            raise  # the client's side ended or broke: the door knows what to say, if anybody is left to hear it
        except Exception:
            # Fail closed on what nobody expected; the trace goes to the operator.
            logger.exception("portal: unexpected error at %s", request.path)
            return self._unavailable(exchange, UnavailableReason.INTERNAL)

    async def _answer(self, exchange: Exchange) -> web.Response:
        method, path = exchange.request.method, exchange.request.path
        method = "GET" if method == "HEAD" else method
        found = self._static.get(path)
        if found is not None and method == "GET":
            headers = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}
            return web.Response(body=found[0], content_type=found[1], charset="utf-8", headers=headers)
        handler = ANY_HOST.get((method, path))
        if handler is None and exchange.request.host == self._parts.portal_host:
            handler = PORTAL_ONLY.get((method, path))
        if handler is None:
            return await exchange.refuse("refuse.no_route", 404, f"{self._parts.portal}/")
        if method == "POST" and not exchange.same_origin():
            return await exchange.refuse("refuse.cross_site", 403)
        try:
            return await handler(exchange)
        except Stop as stop:
            return await exchange.refuse(stop.key, stop.status, stop.retry)

    def _unavailable(self, exchange: Exchange, reason: UnavailableReason) -> web.Response:
        request = exchange.request
        raw = RawRequest(method=request.method, target=request.target, headers=request.headers, connection=request.connection)
        reply = self._presenter.reply(Unavailable(id=new_id("dec"), reason=reason), request=request, raw=raw)
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

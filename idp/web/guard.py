"""What stands before every handler of the pages: where a POST came from, what it may look like, and how errors become pages."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

from aiohttp import web

from gateway.kernel.errors import AuditError, StoreUnavailable
from gateway.kernel.secret import hash_token, same
from idp.web.cookies import browser_of
from idp.web.refusals import PageReason, Refusals
from idp.web.render import Renderer

MAXIMUM_FORM_BYTES: Final = 64 * 1024
_log: Final = logging.getLogger(__name__)

HaltKey = Literal["transaction_unknown", "not_completed", "cross_site", "malformed"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Halt(Exception):  # noqa: N818  not an error: the page that answers instead
    """Ends a request with a page: texts `halt.<key>.title` and `halt.<key>.text`. The log is told first: `reason`, else `key`;
    and of `uri` the origin.
    """

    def __init__(self, status: int, key: HaltKey, *, reason: PageReason | None = None, uri: str = "") -> None:
        super().__init__(key)
        self.status: Final = status
        self.key: Final = key
        self.reason: Final[PageReason] = reason or key
        self.uri: Final = uri


def guarded(handler: Handler, renderer: Renderer, refusals: Refusals) -> Handler:
    """Return the handler with every error turned into a page in the person's language, and nothing of it into its text.

    What is refused is in the log before the person reads so.
    """

    async def refusing(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Halt as halt:
            await refusals.tell(request, halt.reason, uri=halt.uri)
            return renderer.page(request, "halt.html", halt.status, key=halt.key)
        except web.HTTPRequestEntityTooLarge:
            await refusals.tell(request, "malformed")
            return renderer.page(request, "halt.html", 413, key="malformed")

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            return await refusing(request)
        except (StoreUnavailable, AuditError):
            _log.exception("%s %s: a store or the log does not answer", request.method, request.rel_url.raw_path)
            return renderer.page(request, "halt.html", 503, key="unavailable")
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001  whatever it was: it is in our log, and the person gets a page that says nothing of it
            _log.exception("%s %s failed", request.method, request.rel_url.raw_path)
            return renderer.page(request, "halt.html", 500, key="internal")

    return guard


def form_token(request: web.Request, scope: str) -> str:
    """Return the CSRF token of one flow in this browser.

    It is a hash over the browser binding, a random cookie that no script and no other host can read, so nobody else can make it.
    """
    return hash_token(f"form\x00{scope}\x00{browser_of(request)}")


async def read_form(request: web.Request, issuer: str) -> Mapping[str, str]:
    """Return the fields of a POST from a page of this very host. Halt: 403 when another site sent it, 400 when it is no form.

    Browsers put `Origin` on every POST; a client that sends none is refused too. The CSRF token is `check_token`'s.
    """
    origins = request.headers.getall("Origin", [])
    if origins != [issuer] or request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Halt(403, "cross_site", uri=origins[0] if origins else "")
    if request.content_type != "application/x-www-form-urlencoded" or (request.content_length or 0) > MAXIMUM_FORM_BYTES:
        raise Halt(400, "malformed")
    try:
        fields = await request.post()
    except (ValueError, LookupError) as problem:  # not UTF-8, an unknown charset, too many fields
        raise Halt(400, "malformed") from problem
    found: dict[str, str] = {}
    for name, value in fields.items():
        if not isinstance(value, str) or name in found:
            raise Halt(400, "malformed")
        found[name] = value
    return found


def check_token(request: web.Request, form: Mapping[str, str], scope: str) -> None:
    """Halt (403) unless the form was rendered for this flow in this browser."""
    if not browser_of(request) or not same(form.get("csrf", ""), form_token(request, scope)):
        raise Halt(403, "cross_site", reason="form_token")

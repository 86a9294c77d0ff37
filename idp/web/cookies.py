"""The provider's two cookies. `__Host-` binds them to this host, so that no sibling host can plant or read one (RFC 6265bis)."""

from typing import Final

from aiohttp import web

from gateway.kernel.secret import Secret
from idp.ports import Completed

SESSION_COOKIE: Final = "__Host-idp-session"
"""The SSO session's token. Ends with the browser; the store's limits end it earlier."""
BROWSER_COOKIE: Final = "__Host-idp-browser"
"""A random value that binds sign-ins in progress to this browser. No privilege hangs on it."""


def browser_of(request: web.Request) -> str:
    """Return the browser binding that came with a request; empty when none did."""
    return request.cookies.get(BROWSER_COOKIE, "")


def session_of(request: web.Request) -> str:
    """Return the session token that came with a request, unverified; empty when none did."""
    return request.cookies.get(SESSION_COOKIE, "")


def bind_browser(response: web.StreamResponse, value: Secret) -> None:
    """Set the browser binding."""
    _set(response, BROWSER_COOKIE, value)


def set_session(response: web.StreamResponse, token: Secret) -> None:
    """Set the session token."""
    _set(response, SESSION_COOKIE, token)


def drop_session(response: web.StreamResponse) -> None:
    """Take the session cookie away from the browser."""
    response.del_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")


def finish(completed: Completed) -> web.Response:
    """Return the answer that ends a sign-in: to the client with the code, and the browser's new session token."""
    response = web.Response(status=303, headers={"Location": completed.location, "Cache-Control": "no-store"})
    set_session(response, completed.session_token)
    return response


def _set(response: web.StreamResponse, name: str, value: Secret) -> None:
    response.set_cookie(name, value.reveal(), path="/", secure=True, httponly=True, samesite="Lax")

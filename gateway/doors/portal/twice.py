"""A break-glass form that was sent twice: a second click throws the first answer away, and with it the session's new cookie.

Whoever shows the very form that began it, from the browser that the form was shown in (the cookie of then, which is dead now),
within `AGAIN_SECONDS`, gets another cookie for the same session: so that nobody has to sign in anew in an emergency. The form
alone, or the old cookie alone, is worth nothing, and neither is a form that began none.
"""

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from gateway.domain.cookies import SESSION_COOKIE, own_cookie
from gateway.domain.identity import Session
from gateway.doors.portal.arriving import arrive
from gateway.doors.portal.parts import Exchange
from gateway.kernel.secret import hash_token

AGAIN_SECONDS: Final = 30
"""How long after the beginning."""
_KIND: Final = "emergency-again"
_LOOKS: Final = 30
_PAUSE_SECONDS: Final = 0.1


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A form, as it was shown."""

    session: str
    cookie: str
    """Hash of the session cookie that it was asked for with; empty without one."""
    break_id: str
    """Of the break-glass that it begins."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Shown).decode


async def remember(exchange: Exchange, session: Session, break_id: str, seconds: int) -> str:
    """Remember a form that is about to be shown; return the name that it carries."""
    shown = Shown(session=session.id, cookie=_cookie(exchange), break_id=break_id)
    return await exchange.parts.one_time.put(_KIND, _encode(shown), seconds)


async def shown_as(exchange: Exchange, name: str) -> Shown | None:
    """Return the form of this name; None unless it was shown to the very cookie that is sent now."""
    found = await exchange.parts.one_time.peek(_KIND, name)
    shown = _decode(found) if found is not None else None
    return shown if shown is not None and shown.cookie and shown.cookie == _cookie(exchange) else None


async def answer_again(exchange: Exchange, form: dict[str, str]) -> web.Response | None:
    """Answer a form that has just begun a break-glass, or is beginning it in another request, as the first time; else None."""
    parts = exchange.parts
    shown = await shown_as(exchange, form.get("again", ""))
    session = await _begun(exchange, shown) if shown is not None else None
    token = await parts.sessions.attach(session.id, parts.portal_host) if session is not None else None
    if session is None or token is None:
        return None
    exchange.set_session(token)
    flow = await parts.flows.look(form.get("flow", ""))
    if flow is None or flow.purpose != "break_glass":
        return exchange.redirect(f"{parts.portal}/")
    return await arrive(exchange, session, flow)


async def _begun(exchange: Exchange, shown: Shown) -> Session | None:
    """The session once it holds the form's break-glass; waits for the request that may be beginning it."""
    parts = exchange.parts
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_PAUSE_SECONDS)
        now = parts.clock.now()
        session = await parts.sessions.get(shown.session, now)
        if session is None:
            return None
        found = session.emergency
        if found is not None and found.id == shown.break_id:
            return session if now < min(found.until, found.began_at + AGAIN_SECONDS) else None
    return None


def _cookie(exchange: Exchange) -> str:
    token = own_cookie(exchange.request.headers, SESSION_COOKIE)
    return hash_token(token) if token else ""

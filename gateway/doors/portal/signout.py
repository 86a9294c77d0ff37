"""Signing out: ends the session on every host and every open stream at once, then the provider's session."""

from aiohttp import web

from gateway.doors.portal.emergency import end_with_session
from gateway.doors.portal.parts import Exchange, logger
from gateway.kernel.errors import ProtocolError


async def sign_out(exchange: Exchange) -> web.Response:
    """End everything. Answers with a page that goes on by itself.

    Not with a redirect: an app's own `form-action` policy would stop a form that ends at the provider.
    """
    parts = exchange.parts
    handle = await exchange.handle()
    onward = f"{parts.portal}/.gateway/signed-out"
    if handle is not None:
        # First of all the end: a log that fails must not keep anybody signed in.
        await parts.sessions.revoke(handle.session.id)
        await exchange.event("signout", "success", session=handle.session)
        await end_with_session(exchange, handle)
        if handle.session.id_token:
            try:
                onward = await parts.provider.logout_url(id_token=handle.session.id_token, back=onward)
            except ProtocolError as error:
                # Our own session is over in any case; the provider's ends by its own limits.
                logger.warning("sign-out could not be passed on to the provider: %s", error)
    exchange.forget_session()
    title = parts.pages.text(exchange.language, "portal.signed_out_title")
    reply = exchange.page("leaving.html", onward=onward, title=title)
    reply.headers["Refresh"] = f"0; url={onward}"
    return reply


async def signed_out(exchange: Exchange) -> web.Response:
    """Say that it is over; only where it is. The portal shows who is still signed in otherwise."""
    if await exchange.handle() is not None:
        return exchange.redirect(f"{exchange.parts.portal}/")
    exchange.forget_session()
    return exchange.page("signed_out.html", switch="/.gateway/signed-out?lang=")

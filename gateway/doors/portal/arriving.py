"""The last leg of a sign-in: from the portal to the host where it began, which gets its handle to the session."""

import msgspec
from aiohttp import web

from gateway.domain.cookies import BINDING_COOKIE, own_cookie
from gateway.domain.identity import Handle, Session
from gateway.doors.portal.parts import Exchange, Stop
from gateway.kernel.secret import hash_token
from gateway.rp.flows import MAX_ATTEMPTS, Astray, Flow, Handoff


async def arrive(exchange: Exchange, session: Session, flow: Flow) -> web.Response:
    """Go back to where the flow began: directly at the portal, by handoff at an app's host."""
    parts = exchange.parts
    if flow.host == parts.portal_host:
        return exchange.redirect(flow.path)
    code = await parts.flows.hand_over(Handoff(session_id=session.id, flow=flow))
    return exchange.redirect(f"{parts.origins.of(flow.host)}/.gateway/handoff?code={code}")


async def receive_handoff(exchange: Exchange) -> web.Response:
    """At an app's host: take the handle and go to the page."""
    parts = exchange.parts
    host = exchange.request.host
    binding = own_cookie(exchange.request.headers, BINDING_COOKIE)
    if not binding:
        return await exchange.refuse("flow.cookies", 400, "/", event="handoff.refused", target=host)
    handoff = await parts.flows.receive(exchange.one("code") or "", host, binding)
    before = await exchange.handle()
    if handoff is None:
        return await exchange.refuse("flow.mismatch", 400, "/", event="handoff.refused", target=host)
    if isinstance(handoff, Astray):
        return await _begin_anew(exchange, handoff.flow, before)
    if before is not None and before.session.id == handoff.session_id and before.generation == before.session.generation:
        # Another tab was here before: its handle does for this one too.
        return exchange.redirect(handoff.flow.path)
    token = await parts.sessions.attach(handoff.session_id, host)
    if token is None:
        raise Stop("flow.expired", 400, "/")
    if before is not None and before.session.id != handoff.session_id:
        # This host still had somebody's session: it ends, or two people would share a browser.
        await parts.sessions.revoke(before.session.id)
        await exchange.event("session.revoked", "success", session=before.session, detail={"why": "new sign-in"})
    exchange.set_session(token)
    exchange.count_arrivals(exchange.arrivals() + 1 if before is None else 0)
    return exchange.redirect(handoff.flow.path)


async def _begin_anew(exchange: Exchange, flow: Flow, before: Handle | None) -> web.Response:
    """At an app's host: a handoff that may have been begun here, before another tab's cookie took the place of its own."""
    detail = {"why": "of another tab or browser"}
    if flow.attempt >= MAX_ATTEMPTS:
        return await exchange.refuse("flow.loop", 400, "/", event="handoff.refused", target=flow.host, detail=detail)
    await exchange.event("handoff.refused", "failure", target=flow.host, detail=detail)
    if before is not None and flow.purpose == "sign_in":
        return exchange.redirect(flow.path)
    flow = msgspec.structs.replace(
        flow,
        binding=hash_token(exchange.binding()),
        minted=exchange.minted(),
        attempt=flow.attempt + 1,
        anew=await exchange.ended(),
    )
    return exchange.redirect(f"{exchange.parts.portal}/.gateway/go?flow={await exchange.parts.flows.begin(flow)}")

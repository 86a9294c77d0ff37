"""Break-glass: what a person does to begin it and to end it. Guideline 6.0/ops/11.

It begins in these steps, all of them again when the form is sent, whatever the form says:

1. There is break-glass here, and a flow that was begun for it.
2. Somebody is signed in, and this very session has no break-glass yet.
3. The policies offer it for the very request that was refused: the same question that the denial page asked.
4. A fresh second factor: a touch of a key, or password and code, at most `FRESH_SECONDS` old.
5. The form: used once, a reason of the list, a text, a patient.
6. `Emergencies.begin`.
"""

from datetime import datetime
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from gateway.domain.identity import Handle
from gateway.domain.reason import RemedyStep
from gateway.domain.record import Source
from gateway.domain.refusal import Refusal
from gateway.domain.request import RawRequest, Request, parse_request
from gateway.doors.portal.arriving import arrive
from gateway.doors.portal.parts import LIMITS, Exchange, Stop, logger
from gateway.doors.portal.signin import ask_provider
from gateway.doors.portal.twice import answer_again, remember
from gateway.emergency.model import MAX_PATIENT, MIN_TEXT, NotPossible, plain_text, unseen_in, without_unseen
from gateway.emergency.service import Asked, Emergencies
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.pipeline.considered import Considered
from gateway.pipeline.gather import MAX_SKEW_SECONDS
from gateway.pipeline.records import actor_of, printable, source_of
from gateway.policy.facts import count_factors
from gateway.rp.flows import MAX_ATTEMPTS, Flow

PAGE: Final = "/.gateway/emergency"
FRESH_SECONDS: Final = 180
"""How old the second factor may be when it begins: time enough to fill in the form."""
FORM_SECONDS: Final = 600
_FACTORS: Final = 2
_ONCE: Final = "emergency-form"


class _Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants it for what; everything about it has been checked but the factor and the form."""

    emergencies: Emergencies
    flow: Flow
    handle: Handle
    request: Request
    considered: Considered


async def show(exchange: Exchange) -> web.Response:
    """The page with the form; before it, whatever is missing."""
    wish = await _wish(exchange, exchange.one("flow"))
    if isinstance(wish, web.StreamResponse):
        return wish
    if not _fresh(wish.handle, exchange.parts.clock.now()):
        return await _confirm(exchange, wish)
    return await _form(exchange, wish)


async def begin(exchange: Exchange) -> web.Response:
    """Take the form, and begin."""
    form = await exchange.form()
    parts = exchange.parts
    if await exchange.handle() is None:
        again = await answer_again(exchange, form)
        if again is not None:
            return again
        # A page, not a redirect: the form may not end up at the provider (Content-Security-Policy, `form-action`).
        return exchange.stop("flow.expired", 403, f"{parts.portal}{PAGE}?flow={quote(form.get('flow', ''))}")
    wish = await _wish(exchange, form.get("flow"))
    if isinstance(wish, web.StreamResponse):
        return wish
    session = wish.handle.session
    # Used up before anything is looked at: a form counts once, in the session that it was shown in.
    once = await parts.one_time.take(_ONCE, form.get("once", ""))
    again = await answer_again(exchange, form) if once is None else None
    if again is not None:
        return again
    shown = once.decode().partition(" ") if once is not None else None
    if shown is None or shown[0] != session.id:
        reference = await _refused(exchange, wish.emergencies, wish.handle, "a form that was used, or is another session's")
        return exchange.stop("flow.expired", 403, await _here(exchange, wish.flow), reference)
    reason = next((one for one in wish.emergencies.reasons if one.id == form.get("reason")), None)
    text = plain_text(form.get("text", ""), least=MIN_TEXT)
    patient = plain_text(form.get("patient", ""), least=1, most=MAX_PATIENT)
    if not _fresh(wish.handle, parts.clock.now()):
        reference = await _refused(exchange, wish.emergencies, wish.handle, "no fresh second factor")
        late = msgspec.structs.replace(wish.flow, filled=(reason.id if reason is not None else "", patient or ""))
        return exchange.stop("emergency.late", 403, await _here(exchange, late), reference)
    if reason is None or text is None or patient is None:
        wrong = "reason" if reason is None else "text" if text is None else "patient"
        return await _form(exchange, wish, status=422, wrong=wrong, form=form)
    match = wish.considered.match
    asked = Asked(
        id=shown[2],
        session=session,
        actor=actor_of(wish.handle, session.device_id or ""),
        source=source_of(exchange.request.connection, "portal"),
        reason=reason,
        text=text,
        patient=patient,
        app=match.app.id,
        route=match.route.id,
        method=wish.request.method,
        path=printable(wish.request.target.partition("?")[0], 512),
    )
    try:
        _, token = await wish.emergencies.begin(asked, parts.portal_host)
    except NotPossible as error:
        if error.why == "running":
            # Another tab was first, a moment ago; its session is this one's.
            return await exchange.refuse("emergency.busy", 409, f"{parts.portal}/", event="breakglass.refused", session=session)
        raise Stop("flow.expired", 403, f"{parts.portal}/") from error
    exchange.set_session(token)
    return await arrive(exchange, session, wish.flow)


async def end(exchange: Exchange) -> web.Response:
    """End it now; wherever it was, the portal's first page comes next."""
    emergencies, handle = exchange.parts.emergencies, await exchange.handle()
    found = handle.session.emergency if handle is not None else None
    if emergencies is not None and handle is not None and found is not None:
        # First of all the end: a ledger that does not answer must not keep it open.
        await exchange.parts.sessions.withdraw_emergency(handle.session.id, found.id)
        one = await emergencies.ledger.get(found.id)
        if one is not None:
            actor = actor_of(handle, handle.session.device_id or "")
            await emergencies.end(one, "person", actor, _source(exchange))
    return exchange.redirect(f"{exchange.parts.portal}/")


async def end_with_session(exchange: Exchange, handle: Handle) -> None:
    """Note that a break-glass has ended with its session, which is over already. What can't be noted now, the keeper does."""
    emergencies, found = exchange.parts.emergencies, handle.session.emergency
    if emergencies is None or found is None:
        return
    try:
        one = await emergencies.ledger.get(found.id)
        if one is not None:
            await emergencies.end(one, "sign_out", actor_of(handle, handle.session.device_id or ""), _source(exchange))
    except StoreUnavailable as error:
        logger.warning("the end of %s could not be noted at the sign-out: %s", found.id, error)


# ---------------------------------------------------------------------- the steps


async def _wish(exchange: Exchange, name: str | None) -> _Wish | web.Response:
    """Steps 1 to 3; a reply where they lead elsewhere."""
    parts = exchange.parts
    emergencies, consider = parts.emergencies, parts.consider
    if emergencies is None or consider is None:
        raise Stop("emergency.off", 404, f"{parts.portal}/")
    # 1. A flow.
    flow = await parts.flows.look(name or "")
    if flow is None or flow.purpose != "break_glass":
        raise Stop("flow.expired", 400, f"{parts.portal}/")
    # 2. A session, without one.
    handle = await exchange.handle()
    if handle is None:
        return await ask_provider(exchange, flow, None)
    if handle.emergency(parts.clock.now()) is not None:
        return await arrive(exchange, handle.session, flow)
    # 3. Policies.
    request = _asked(exchange, flow)
    considered = await consider(request, handle) if request is not None else None
    if considered is not None and considered.allowed:
        return await arrive(exchange, handle.session, flow)
    if considered is not None and not considered.break_glass and RemedyStep.BREAK_GLASS in considered.remedy:
        # Something else comes first: the denial page says what.
        return await arrive(exchange, handle.session, flow)
    if request is None or considered is None or not considered.break_glass:
        target = f"{flow.method} {flow.host}{printable((flow.target or flow.path).partition('?')[0], 256)}"
        reference = await _refused(exchange, emergencies, handle, "policies do not offer it", target)
        return exchange.stop("emergency.not_offered", 403, f"{parts.portal}/", reference)
    return _Wish(emergencies=emergencies, flow=flow, handle=handle, request=request, considered=considered)


def _asked(exchange: Exchange, flow: Flow) -> Request | None:
    """The request that was refused, from this very client; None when there can't be such a one."""
    raw = RawRequest(
        method=flow.method if flow.target else "GET",
        target=flow.target or flow.path,
        headers=(("Host", flow.host),),
        connection=exchange.request.connection,
    )
    request = parse_request(raw, LIMITS)
    return None if isinstance(request, Refusal) else request


def _fresh(handle: Handle, now: float) -> bool:
    """Whether two factors were proved just now (step 4)."""
    kinds = [event.kind for event in handle.events() if now - FRESH_SECONDS <= event.at <= now + MAX_SKEW_SECONDS]
    return count_factors(kinds) >= _FACTORS


async def _confirm(exchange: Exchange, wish: _Wish) -> web.Response:
    """Let the provider ask for two factors anew, and come back to the page; not round and round."""
    flow = msgspec.structs.replace(wish.flow, attempt=wish.flow.attempt + 1)
    if flow.attempt > MAX_ATTEMPTS:
        session, portal = wish.handle.session, exchange.parts.portal
        return await exchange.refuse("flow.loop", 400, f"{portal}/", event="breakglass.refused", session=session)
    return await ask_provider(exchange, flow, wish.handle.session)


async def _form(
    exchange: Exchange, wish: _Wish, *, status: int = 200, wrong: str = "", form: dict[str, str] | None = None
) -> web.Response:
    parts, session, match = exchange.parts, wish.handle.session, wish.considered.match
    now = parts.clock.now()
    break_id = new_id("brk")
    once = await parts.one_time.put(_ONCE, f"{session.id} {break_id}".encode(), FORM_SECONDS)
    again = await remember(exchange, session, break_id, FORM_SECONDS)
    name = await parts.flows.begin(wish.flow)
    reason, patient = wish.flow.filled
    typed = form or {}
    until = min(int(now) + wish.emergencies.seconds, session.expires_at)
    return exchange.page(
        "emergency.html",
        status,
        flow=name,
        once=once,
        again=again,
        switch=f"{PAGE}?flow={name}&lang=",
        person=session.identity.name,
        app=match.app.title_ja if exchange.language == "ja" else match.app.title_en,
        minutes=round((until - now) / 60),
        until=datetime.fromtimestamp(until, parts.zone).strftime("%H:%M"),
        told=wish.emergencies.tells,
        reasons=wish.emergencies.reasons,
        reason=typed.get("reason", reason),
        # What nobody can see nobody can delete either: it is taken out, and that is said.
        text=without_unseen(typed.get("text", "")[:2000]),
        patient=without_unseen(typed.get("patient", patient or match.patient)[:200]),
        wrong=wrong,
        unseen=unseen_in(typed.get(wrong, "")) if wrong in {"text", "patient"} else "",
        # The form ends, by redirects, at the app that was refused.
        form_origins=[parts.origins.of(wish.flow.host)],
    )


async def _here(exchange: Exchange, flow: Flow) -> str:
    return f"{exchange.parts.portal}{PAGE}?flow={await exchange.parts.flows.begin(flow)}"


async def _refused(exchange: Exchange, emergencies: Emergencies, handle: Handle, why: str, target: str = "") -> str:
    actor = actor_of(handle, handle.session.device_id or "")
    return await emergencies.refused(why, actor, _source(exchange), target or handle.session.id)


def _source(exchange: Exchange) -> Source:
    return source_of(exchange.request.connection, "portal")

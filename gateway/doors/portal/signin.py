"""Sign-in and remedies: from an app's host to the provider and back. The legs are described in `gateway.rp.flows`.

Many tabs whose session has ended come here at once. Each has a flow of its own, but the browser keeps the same few cookies; the
person signs in once, and every other tab finds the session at its next step and goes on to its own page.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.domain.cookies import BINDING_COOKIE, DEVICE_COOKIE, own_cookie
from gateway.domain.identity import AuthEvent, Handle, Identity, Session
from gateway.doors.portal.arriving import arrive
from gateway.doors.portal.parts import Exchange, Stop
from gateway.kernel.errors import ProtocolError
from gateway.kernel.ids import new_id, new_token
from gateway.kernel.secret import Secret, hash_token
from gateway.rp.asked import left_out
from gateway.rp.flows import ATTEMPT_SECONDS, MAX_ATTEMPTS, Astray, Flow, Purpose, State, request_extras
from gateway.rp.token import events_of, identity_of
from gateway.rp.verified import claims_request, read_verified, without_own_words

logger = logging.getLogger(__name__)

PURPOSES: Final[dict[str, Purpose]] = {
    "key_touch": "key_touch",
    "second_factor": "second_factor",
    "register_device": "register_device",
    "identity_proofing": "identity_proofing",
    "break_glass": "break_glass",
    "grant": "grant",
}
PAGES: Final[dict[Purpose, str]] = {
    "register_device": "/.gateway/device", "break_glass": "/.gateway/emergency", "grant": "/.gateway/grants",
}  # fmt: skip
"""Purposes that go on with a page of the portal."""
MAX_EVENTS: Final = 16
MAX_GRANT: Final = 64
MAX_ARRIVALS: Final = 3
"""A browser that came back so often, soon after one another, and did not keep its session, keeps none."""
_AGAIN: Final = frozenset({"interaction_required", "login_required"})
"""Errors of a provider that could not ask the person this time (OpenID Connect Core 1.0 §3.1.2.6)."""


async def begin_sign_in(exchange: Exchange) -> web.Response:
    """Leave an app's host (or the portal's) to sign in and come back to `rd`; at once, where another tab has signed in meanwhile.

    A browser that doesn't keep the session that it is given is told so, instead of being sent round and round.
    """
    if await exchange.handle() is None and exchange.arrivals() >= MAX_ARRIVALS:
        exchange.count_arrivals(0)
        return await exchange.refuse("flow.loop", 400, "/")
    return await _begin(exchange, "sign_in", generation=0)


async def begin_remedy(exchange: Exchange) -> web.Response:
    """Leave an app's host to do the step that a page asked for, and come back to `rd`."""
    purpose = PURPOSES.get(exchange.one("step") or "")
    if purpose is None:
        raise Stop("flow.expired", 400)
    handle = await exchange.handle()
    return await _begin(exchange, purpose, generation=handle.generation if handle is not None else 0)


async def _begin(exchange: Exchange, purpose: Purpose, generation: int) -> web.Response:
    host = exchange.request.host
    wanted = exchange.one("rd")
    path = exchange.returning_to(wanted) if wanted is not None else "/"
    if path is None or exchange.doubled("rd"):
        return await exchange.refused_return(wanted or "")
    flow = Flow(
        host=host,
        path=path,
        purpose=purpose,
        binding=hash_token(exchange.binding()),
        generation=generation,
        anew=await exchange.ended(),
        minted=exchange.minted(),
        method=exchange.one("method") or "GET",
        target=exchange.one("target") or "",
        grant=(exchange.one("grant") or "")[:MAX_GRANT],
    )
    name = await exchange.parts.flows.begin(flow)
    return exchange.redirect(f"{exchange.parts.portal}/.gateway/go?flow={name}&lang={exchange.language}")


async def go(exchange: Exchange) -> web.Response:
    """At the portal: see what is missing, and start that."""
    parts = exchange.parts
    exchange.keep_language()
    flow = await parts.flows.look(exchange.one("flow") or "")
    if flow is None:
        raise Stop("flow.expired", 400, f"{parts.portal}/")
    handle = await exchange.handle()
    if handle is not None:
        # The session may already have what the app's older handle could not see: then a new handle is all that is needed.
        if _done_elsewhere(flow, handle):
            return await arrive(exchange, handle.session, flow)
        if flow.purpose in PAGES:
            return exchange.redirect(f"{PAGES[flow.purpose]}?flow={await parts.flows.begin(flow)}")
    return await ask_provider(exchange, flow, handle.session if handle is not None else None)


async def ask_provider(exchange: Exchange, flow: Flow, session: Session | None) -> web.Response:
    """Send the browser to the provider. `session` is the one to be stepped up; None: somebody is to sign in."""
    parts = exchange.parts
    verifier, nonce = new_token(), new_token()
    # Either host may be the one that remembers a session that was ended.
    anew = session is None and (flow.anew or await exchange.ended())
    before = _in_force(session.identity, parts.clock.now()) if session is not None else ""
    state = State(
        flow=flow,
        nonce=nonce,
        verifier=verifier,
        binding=hash_token(exchange.binding()),
        minted=exchange.minted(),
        session_id=session.id if session is not None else "",
        anew=anew,
        proofing=before if flow.purpose == "identity_proofing" else "",
        asked_at=int(parts.clock.now()),
    )
    hint = session.id_token if session is not None else ""
    extras = request_extras(flow.purpose, id_token=hint, language=exchange.language, anew=anew, proofed=bool(before))
    if parts.verified_claims is not None:
        extras["claims"] = claims_request(parts.verified_claims)
    name = await parts.flows.ask(state)
    await exchange.event("signin.started", "success", session=session, target=flow.host, detail={"purpose": flow.purpose})
    return exchange.redirect(await parts.provider.authorization_url(state=name, nonce=nonce, verifier=verifier, extra=extras))


async def callback(exchange: Exchange) -> web.Response:
    """Take the provider's answer (OpenID Connect Core §3.1.2.5).

    1. The state is ours, unused, and was begun by this very browser.
    2. The answer is this provider's (RFC 9207).
    3. An error is an error, unless another tab has done meanwhile what this one was for.
    4. The code is exchanged and the ID token verified.
    5. What was asked for was done, and a step by the person whose session it is for; else nothing changes.
    6. The session is stepped up if it is the same person's, else a new one begins and the old one ends.
    """
    parts = exchange.parts
    # 1. State.
    state = await _begun_here(exchange)
    if not isinstance(state, State):
        return state
    retry = f"{parts.portal}/.gateway/go?flow={await parts.flows.begin(state.flow)}"
    # 2. Issuer.
    if not await parts.provider.answers_as(exchange.one("iss"), given=any(name == "iss" for name, _ in exchange.query)):
        return await _failed(exchange, state, "issuer", retry, status=400, key="flow.provider")
    # 3. Error.
    code = exchange.one("code")
    if code is None or exchange.one("error") is not None:
        return await _without_code(exchange, state, retry)
    # 4. Token.
    try:
        id_token, claims = await parts.provider.exchange(code=code, verifier=state.verifier, nonce=state.nonce)
        if parts.verified_claims is not None:
            claims = without_own_words(claims)
        identity = identity_of(claims, roles_claim=parts.roles_claim)
        identity = await _with_verified_claims(exchange, identity, claims)
        events = events_of(claims, 0, parts.clock.now())
    except ProtocolError as error:
        await exchange.event("signin.failed", "failure", target=state.flow.host, detail={"why": str(error)})
        raise
    # 5. What was asked for.
    present = await exchange.handle()
    undone = _not_as_asked(state, present, identity, claims, events, parts.clock.now())
    if undone is not None:
        return await _failed(exchange, state, undone, retry)
    # 6. Session.
    session, token = await _establish(exchange, state, present, identity, id_token, claims)
    exchange.set_session(token)
    if session.device_evidence == "cookie":
        device = await parts.devices.get(session.device_id or "")
        if device is not None and device.key_jwk:
            # What the flow was for has been done; only the way back is left of it.
            back = state.flow if state.flow.purpose in PAGES else msgspec.structs.replace(state.flow, purpose="sign_in")
            return exchange.redirect(f"/.gateway/device/prove?flow={await parts.flows.begin(back)}")
    if state.flow.purpose in PAGES:
        return exchange.redirect(f"{PAGES[state.flow.purpose]}?flow={await parts.flows.begin(state.flow)}")
    return await arrive(exchange, session, state.flow)


async def _begun_here(exchange: Exchange) -> State | web.Response:
    parts = exchange.parts
    binding = own_cookie(exchange.request.headers, BINDING_COOKIE)
    if not binding:
        why = {"why": "state in a browser without our cookie"}
        return await exchange.refuse("flow.cookies", 400, f"{parts.portal}/", event="signin.failed", detail=why)
    state = await parts.flows.answered(exchange.one("state") or "", binding)
    if state is None:
        why = {"why": "state unknown, used, or of another browser"}
        return await exchange.refuse("flow.mismatch", 400, f"{parts.portal}/", event="signin.failed", detail=why)
    if isinstance(state, Astray):
        why = {"why": "state of another tab or browser"}
        await exchange.event("signin.failed", "failure", target=state.flow.host, detail=why)
        return await _again(exchange, state.flow)
    return state


async def _without_code(exchange: Exchange, state: State, retry: str) -> web.Response:
    parts, error = exchange.parts, exchange.one("error")
    present = await exchange.handle()
    if present is not None and _done_elsewhere(state.flow, present):
        return await arrive(exchange, present.session, state.flow)
    if error in _AGAIN:
        return await _again(exchange, state.flow, lasted=parts.clock.now() - state.asked_at)
    return await _failed(exchange, state, error or "no code", retry)


def _done_elsewhere(flow: Flow, present: Handle) -> bool:
    return flow.purpose == "sign_in" or present.generation > flow.generation > 0


async def _again(exchange: Exchange, flow: Flow, lasted: float = 0.0) -> web.Response:
    """At the portal: begin a flow anew that went astray, a few times; as often as you like, when it `lasted` (seconds)."""
    parts = exchange.parts
    attempt = 1 if lasted > ATTEMPT_SECONDS else flow.attempt + 1
    if attempt > MAX_ATTEMPTS:
        return await exchange.refuse("flow.loop", 400, f"{parts.portal}/", target=flow.host)
    name = await parts.flows.begin(msgspec.structs.replace(flow, attempt=attempt))
    return exchange.redirect(f"{parts.portal}/.gateway/go?flow={name}")


async def _failed(
    exchange: Exchange, state: State, why: str, retry: str, *, status: int = 403, key: str = "flow.cancelled"
) -> web.Response:
    detail = {"why": why, "purpose": state.flow.purpose}
    return await exchange.refuse(key, status, retry, event="signin.failed", target=state.flow.host, detail=detail)


def _not_as_asked(
    state: State,
    present: Handle | None,
    identity: Identity,
    claims: dict[str, Any],
    events: tuple[AuthEvent, ...],
    now: float,
) -> str | None:
    if state.session_id and present is None:
        return "the session ended before the step was done"
    if state.session_id and present is not None and present.session.identity.subject != identity.subject:
        # The provider was told whom it is about; that hint may have been struck out on the way.
        return "another person did the step"
    if state.proofing and identity.proofing is not None and identity.proofing.transaction == state.proofing:
        return "no new identity proofing"
    return left_out(
        state.flow.purpose,
        anew=state.anew,
        asked_at=state.asked_at,
        claims=claims,
        events=events,
        proofing=identity.proofing,
        now=now,
    )


async def _establish(
    exchange: Exchange, state: State, present: Handle | None, identity: Identity, id_token: str, claims: dict[str, Any]
) -> tuple[Session, Secret]:
    parts = exchange.parts
    now = parts.clock.now()
    if present is not None:
        # The same person: one session per browser, also when several tabs signed in at once.
        if present.session.identity.subject == identity.subject:
            change = _step_up(identity, id_token, claims, now)
            token = await parts.sessions.change(present.session.id, change, parts.portal_host)
            stepped = await parts.sessions.get(present.session.id, now)
            if token is not None and stepped is not None:
                await exchange.event("stepup.succeeded", "success", session=stepped, detail={"purpose": state.flow.purpose})
                return stepped, token
            if state.session_id:
                why = "the session ended before the step was done"
                await exchange.event("signin.failed", "failure", target=state.flow.host, detail={"why": why})
                raise Stop("flow.cancelled", 403)
        # Somebody else at the same terminal (or the session ended meanwhile): the old one ends here.
        await parts.sessions.revoke(present.session.id)
        await exchange.event("session.revoked", "success", session=present.session, detail={"why": "new sign-in"})
    session = await _new_session(exchange, identity, id_token, claims)
    token = await parts.sessions.create(session, parts.portal_host)
    await exchange.event("signin.succeeded", "success", session=session, target=state.flow.host)
    return session, token


async def _with_verified_claims(exchange: Exchange, identity: Identity, claims: dict[str, Any]) -> Identity:
    """Return the person with the proofing that the provider's `verified_claims` amount to, where they count here at all."""
    acceptance = exchange.parts.verified_claims
    if acceptance is None:
        return identity
    read = read_verified(claims, acceptance, exchange.parts.clock.now())
    if read.problem:
        logger.warning("the provider's verified_claims do not count: %s", read.problem)
    return msgspec.structs.replace(identity, proofing=read.proofing) if read.proofing is not None else identity


def _in_force(identity: Identity, now: float) -> str:
    """Return the transaction of the person's proofing, empty when none is in force."""
    proofing = identity.proofing
    over = proofing is None or (proofing.expires_at is not None and proofing.expires_at <= now)
    return proofing.transaction if proofing is not None and not over else ""


def _step_up(identity: Identity, id_token: str, claims: dict[str, Any], now: float) -> Callable[[Session], Session]:
    def change(session: Session) -> Session:
        generation = session.generation + 1
        another = identity.proofing != session.identity.proofing
        # What was bound to another proofing, or of what nothing is said now, is not bound to this one.
        known = {(event.kind, event.at): _unbound(event) if another else event for event in session.events}
        merged = known | {
            (event.kind, event.at): _rebound(known.get((event.kind, event.at)), event)
            for event in events_of(claims, generation, now)
        }
        events = tuple(sorted(merged.values(), key=_when)[-MAX_EVENTS:])
        proofed = generation if another else session.proofing_generation
        return msgspec.structs.replace(
            session, identity=identity, events=events, generation=generation, proofing_generation=proofed, id_token=id_token
        )

    return change


def _unbound(event: AuthEvent) -> AuthEvent:
    return msgspec.structs.replace(event, bound=False, bound_generation=0)


def _rebound(known: AuthEvent | None, told: AuthEvent) -> AuthEvent:
    """Return an event as it is told now: a known one keeps its generation, and that it is bound is news of this generation."""
    if known is None:
        return told
    if known.bound and told.bound:
        return known
    return msgspec.structs.replace(known, bound=told.bound, bound_generation=told.bound_generation)


def _when(event: AuthEvent) -> int:
    return event.at


async def _new_session(exchange: Exchange, identity: Identity, id_token: str, claims: dict[str, Any]) -> Session:
    parts = exchange.parts
    now = int(parts.clock.now())
    cookie = own_cookie(exchange.request.headers, DEVICE_COOKIE)
    device = await parts.devices.by_cookie(hash_token(cookie)) if cookie else None
    return Session(
        id=new_id("ses"),
        identity=identity,
        events=events_of(claims, 1, now),
        generation=1,
        created_at=now,
        last_seen_at=now,
        expires_at=now + parts.absolute_seconds,
        idle_seconds=parts.idle_seconds,
        device_id=device.id if device is not None else None,
        device_evidence="cookie" if device is not None else "none",
        device_generation=1,
        provider_session=str(claims.get("sid", "")),
        id_token=id_token,
        address=exchange.request.connection.peer_address,
        user_agent=(exchange.request.header("user-agent") or "")[:256],
    )


async def language(exchange: Exchange) -> web.Response:
    """Remember the language that a person chose on one of our pages at this host, and go back to it."""
    wanted = exchange.returning_to(exchange.one("rd") or "/")
    if wanted is None or exchange.doubled("rd"):
        return await exchange.refused_return(exchange.one("rd") or "")
    exchange.keep_language()
    return exchange.redirect(wanted)


async def done(exchange: Exchange) -> web.Response:
    """End of a step that ran in a window of its own."""
    return exchange.page("done.html")

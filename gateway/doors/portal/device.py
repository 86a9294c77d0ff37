"""Registering this browser (or its client certificate) as a device, and proving a device's key after a sign-in."""

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from gateway.domain.identity import Handle, Session
from gateway.domain.posture import Ownership
from gateway.doors.portal.arriving import arrive
from gateway.doors.portal.parts import Exchange, Stop
from gateway.doors.portal.signin import PAGES, ask_provider
from gateway.kernel.ids import new_id, new_token
from gateway.kernel.secret import Secret
from gateway.posture.enrol import EnrolmentError, Purpose, challenge_text, new_device, parse_public_jwk, verify_key_signature
from gateway.rp.flows import Flow

CHALLENGE_SECONDS: Final = 600
_OWNERS: Final[dict[str, Ownership]] = {"hospital": "hospital", "personal": "personal", "vendor": "vendor"}


async def show(exchange: Exchange) -> web.Response:
    """The registration page; signs in first where nobody is."""
    flow = await _flow(exchange, exchange.one("flow"))
    handle = await exchange.handle()
    if handle is None:
        return await ask_provider(exchange, flow, None)
    known = await _already_known(exchange, handle, flow)
    return known if known is not None else await _form(exchange, flow, status=200)


async def _already_known(exchange: Exchange, handle: Handle, flow: Flow) -> web.Response | None:
    """The answer where there is nothing to register: not once more, or who registers anew undoes what an officer said of it.

    None when this browser has no device that anybody knows. Does not recognise a browser that has lost (or thrown away) both its
    cookie and its key: where that matters, registration needs an officer's approval (`devices.enrolment`).
    """
    posture = await exchange.parts.posture.observe(exchange.request.connection, handle)
    if posture.device is not None:
        # The sign-in brought it along.
        return await arrive(exchange, handle.session, flow)
    if posture.note == "pending":
        return exchange.page("device_pending.html")
    if posture.note == "blocked":
        return await exchange.refuse(
            "deny.device_blocked.text", 403, event="device.refused", session=handle.session, detail={"why": "blocked"}
        )
    return None


async def _form(exchange: Exchange, flow: Flow, *, status: int, error: str = "", label: str = "") -> web.Response:
    challenge, message = await _challenge(exchange, "enrol")
    name = await exchange.parts.flows.begin(flow)
    return exchange.page(
        "device.html",
        status,
        flow=name,
        switch=f"/.gateway/device?flow={name}&lang=",
        challenge=challenge,
        message=message,
        error=error,
        label=label,
        certificate=exchange.request.connection.client_certificate is not None,
        # The form ends, by redirects, at the app that wanted the device.
        form_origins=[exchange.parts.origins.of(flow.host)],
    )


async def register(exchange: Exchange) -> web.Response:
    """Put the device into the ledger and tie it to the session."""
    parts = exchange.parts
    form = await exchange.form()
    flow = await _flow(exchange, form.get("flow"))
    handle = await exchange.handle()
    if handle is None:
        return await ask_provider(exchange, flow, None)
    known = await _already_known(exchange, handle, flow)
    if known is not None:
        return known
    session = handle.session
    label = form.get("label", "")
    # Used up before anything is looked at: an answer counts once.
    challenge = await parts.one_time.take("device-enrol", form.get("challenge", ""))
    if challenge is None or challenge.decode() != session.id:
        return await _form(exchange, flow, status=400, error="error_proof", label=label)
    cookie = Secret(new_token())
    key = ""
    try:
        if form.get("key"):
            key = parse_public_jwk(form["key"])
            _verify(exchange, key, "enrol", form.get("challenge", ""), form.get("signature", ""))
        device = new_device(
            device_id=new_id("dev"),
            label=label,
            ownership=_OWNERS.get(form.get("ownership", ""), "personal"),
            mode=parts.enrolment,
            attested=form.get("attested") == "yes",
            registered_by=session.identity.subject,
            now=parts.clock.now(),
            cookie=cookie,
            key_jwk=key,
            certificate=exchange.request.connection.client_certificate,
        )
    except EnrolmentError as error:
        await exchange.event("device.refused", "failure", session=session, detail={"why": str(error)})
        about_label = not 1 <= len(label.strip()) <= 60 or "name" in str(error)  # noqa: PLR2004  as the page says
        return await _form(exchange, flow, status=400, error="error_label" if about_label else "error_proof", label=label)
    await exchange.event(
        "device.registered",
        "success",
        session=session,
        target=device.id,
        detail={"label": device.label, "status": device.status, "evidence": "key" if key else "cookie"},
    )
    try:
        await parts.devices.add(device)
    except ValueError:
        await exchange.event("device.refused", "failure", session=session, detail={"why": "already registered"})
        return await _form(exchange, flow, status=409, error="error_taken", label=label)
    exchange.set_device(cookie.reveal())
    token = await parts.sessions.change(session.id, _with_device(device.id, "key" if key else "cookie"), parts.portal_host)
    if token is None:
        raise Stop("flow.expired", 400, f"{parts.portal}/")
    exchange.set_session(token)
    if device.status == "pending":
        return exchange.page("device_pending.html")
    return await arrive(exchange, session, flow)


async def show_prove(exchange: Exchange) -> web.Response:
    """The page whose script signs a challenge with this browser's device key, on the way back from a sign-in."""
    flow = await _flow(exchange, exchange.one("flow"))
    challenge, message = await _challenge(exchange, "prove")
    name = await exchange.parts.flows.begin(flow)
    return exchange.page("prove.html", challenge=challenge, message=message, flow=name, skip=_onward(exchange, flow, name))


async def prove(exchange: Exchange) -> web.Response:
    """Take the signature; without a good one the device stays what its cookie is worth. Always says where to go on."""
    parts = exchange.parts
    form = await exchange.form()
    flow = await _flow(exchange, form.get("flow"))
    onward = _onward(exchange, flow, form.get("flow", ""))
    handle = await exchange.handle()
    taken = await parts.one_time.take("device-prove", form.get("challenge", ""))
    if handle is None or taken is None or taken.decode() != handle.session.id or handle.session.device_id is None:
        return exchange.json({"next": onward})
    device = await parts.devices.get(handle.session.device_id)
    if device is None or not device.key_jwk:
        return exchange.json({"next": onward})
    try:
        _verify(exchange, device.key_jwk, "prove", form.get("challenge", ""), form.get("signature", ""))
    except EnrolmentError as error:
        target = handle.session.device_id
        await exchange.event("device.refused", "failure", session=handle.session, target=target, detail={"why": str(error)})
        return exchange.json({"next": onward})
    token = await parts.sessions.change(handle.session.id, _with_device(device.id, "key"), parts.portal_host)
    if token is not None:
        exchange.set_session(token)
    return exchange.json({"next": onward})


def _with_device(device_id: str, evidence: str) -> Callable[[Session], Session]:
    def change(session: Session) -> Session:
        generation = session.generation + 1
        return msgspec.structs.replace(
            session, device_id=device_id, device_evidence=evidence, device_generation=generation, generation=generation
        )

    return change


def _onward(exchange: Exchange, flow: Flow, name: str) -> str:
    # Through the portal's crossing again: it sees that the session is there now and hands over.
    return f"{exchange.parts.portal}{PAGES.get(flow.purpose, '/.gateway/go')}?flow={name}"


async def _flow(exchange: Exchange, name: str | None) -> Flow:
    flow = await exchange.parts.flows.look(name or "")
    if flow is None:
        raise Stop("flow.expired", 400)
    return flow


async def _challenge(exchange: Exchange, purpose: Purpose) -> tuple[str, str]:
    """Make a challenge for this session, and the text that the browser signs."""
    handle = await exchange.handle()
    session = handle.session.id if handle is not None else ""
    challenge = await exchange.parts.one_time.put(f"device-{purpose}", session.encode(), CHALLENGE_SECONDS)
    return challenge, challenge_text(purpose, exchange.parts.portal, challenge).decode()


def _verify(exchange: Exchange, key: str, purpose: Purpose, challenge: str, signature: str) -> None:
    verify_key_signature(key_jwk=key, purpose=purpose, origin=exchange.parts.portal, challenge=challenge, signature=signature)

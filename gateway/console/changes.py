"""What a security officer changes here: ends a session, lets a device in or out. Recorded and on disk before it happens."""

from collections.abc import Callable, Mapping
from typing import Final, NoReturn, get_args

from aiohttp import web

from gateway.audit.encoding import rfc3339
from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.recording import Recorder
from gateway.domain.posture import Attribute, Compliance, Device, PostureName
from gateway.domain.record import EventName
from gateway.kernel.web.site import CLAIMS, PageError, read_form
from gateway.posture.ledger import approve, block, set_attributes, set_compliance, unblock

Change = Callable[[Device], Device]
POSTURE: Final[tuple[PostureName, ...]] = get_args(PostureName)
_SAID: Final = {"true": True, "false": False}
_WORDS: Final[dict[str, Compliance]] = {"compliant": "compliant", "non_compliant": "non_compliant"}


class Changes:
    """The POST handlers. Each ends in a redirect to the list, with what happened in `?done=`."""

    def __init__(self, pages: Pages, parts: ConsoleParts, recorder: Recorder) -> None:
        self._pages = pages
        self._parts = parts
        self._recorder = recorder

    async def revoke(self, request: web.Request) -> NoReturn:
        """End a session."""
        await self._pages.require_officer(request)
        session_id = request.match_info["session"]
        session = await self._parts.sessions.get(session_id, self._parts.clock.now())
        if session is None:
            raise web.HTTPSeeOther("/sessions?done=gone")
        detail = {"subject": session.identity.subject, "login": session.identity.login}
        await self._recorder.announced(request, "session.revoked", session_id, detail)
        if self._parts.end_at_provider is not None and session.provider_session:
            await self._pages.attempt(
                request, "session.revoked", session_id, self._parts.end_at_provider(session.provider_session)
            )
        ended = await self._pages.attempt(request, "session.revoked", session_id, self._parts.sessions.revoke(session_id))
        if not ended:
            await self._recorder.failed(request, "session.revoked", session_id, "ended meanwhile")
            raise web.HTTPSeeOther("/sessions?done=gone")
        raise web.HTTPSeeOther("/sessions?done=revoked")

    async def device(self, request: web.Request) -> NoReturn:
        """Approve, block or unblock a device, set its compliance, or say what state it is in."""
        await self._pages.require_officer(request)
        name = request.match_info["change"]
        event, change, detail = await self._device_change(request, name)
        device_id = request.match_info["device"]
        device = await self._parts.devices.get(device_id)
        if device is None:
            raise PageError(404, "device")
        try:
            after = change(device)
        except ValueError as error:
            raise web.HTTPSeeOther("/devices?done=changed") from error
        detail |= {"label": device.label, "status": f"{device.status} -> {after.status}"}
        detail |= {"compliance": f"{device.compliance} -> {after.compliance}"}
        await self._recorder.announced(request, event, device_id, detail)
        try:
            done = await self._pages.attempt(request, event, device_id, self._parts.devices.update(device_id, change))
        except ValueError as error:
            await self._recorder.failed(request, event, device_id, "changed meanwhile")
            raise web.HTTPSeeOther("/devices?done=changed") from error
        if done is None:
            await self._recorder.failed(request, event, device_id, "gone meanwhile")
            raise PageError(404, "device")
        raise web.HTTPSeeOther(f"/devices?done={name}")

    # ------------------------------------------------------------------

    async def _device_change(self, request: web.Request, name: str) -> tuple[EventName, Change, dict[str, str]]:
        now, login = self._parts.clock.now(), request[CLAIMS].login
        if name == "approve":
            return "device.approved", lambda device: approve(device, login=login, now=now), {}
        if name == "block":
            return "device.blocked", block, {}
        if name == "unblock":
            return "device.unblocked", lambda device: unblock(device, now=now), {}
        if name == "posture":
            said = _said(await read_form(request), source=f"officer:{login}", now=now)
            words: dict[str, str] = {one.name: f"{str(one.value).lower()} at {rfc3339(one.at)}" for one in said}
            return "device.posture", lambda device: set_attributes(device, said), {**words, "source": said[0].source}
        if name != "compliance":
            raise PageError(404, "not_found")
        word = _WORDS.get((await read_form(request)).get("state", ""))
        if word is None:
            raise PageError(400, "form")
        source = f"officer:{login}"
        return "device.compliance", lambda device: set_compliance(device, compliance=word, source=source, now=now), {}


def _said(form: Mapping[str, str], *, source: str, now: float) -> tuple[Attribute, ...]:
    """What an officer has just seen of a device; an empty choice says nothing. PageError 400: none, or an unknown one."""
    chosen = {name: form[name] for name in POSTURE if form.get(name)}
    if not chosen or not set(form) <= set(POSTURE) or not set(chosen.values()) <= set(_SAID):
        raise PageError(400, "form")
    return tuple(Attribute(name=name, value=_SAID[word], at=int(now), source=source) for name, word in chosen.items())

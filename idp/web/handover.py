"""The hand-over to a phone: a QR code on the terminal, the same two digits on both screens, consent again on the phone.

Nobody who only looks at the code learns whose it is: to open its address shows a question; the token is used up when the answer
is posted (so that a preview of the link does no harm), once, within minutes. Then the name and the digits are there to compare,
and the terminal says that a phone has taken over. A phone gets no session by it, and the terminal gets no more than the result.
"""

from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from gateway.kernel.ids import new_token
from gateway.kernel.secret import Secret
from idp.factors.totp import qr_svg
from idp.proofing.desk import ProofingDesk
from idp.proofing.handover import TOKEN_SECONDS
from idp.web.cookies import bind_browser, browser_of
from idp.web.guard import check_token, form_token, read_form
from idp.web.parts import Parts
from idp.web.places import Place, Places
from idp.web.render import Renderer

HANDED: Final = "handed"
_PATH: Final = "/login/proofing/phone"
_SCOPE: Final = "proofing-phone"
_LONGEST: Final = 900
"""Seconds after which nothing can come from the phone any more: its token and the proofing are over."""
_LONGEST_TOKEN: Final = 512


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a hand-over stands."""

    number: str
    taken: bool
    """A phone has taken it over."""
    outcome: str = ""
    """How it ended: `idp.proofing.handover.Ended.outcome`. Empty: not yet."""
    reference: str = ""
    """`idp.proofing.handover.Ended.reference`."""


class HandOverPages:
    """The terminal's half, and the first pages of the phone."""

    def __init__(self, parts: Parts, desk: ProofingDesk | None, renderer: Renderer, places: Places) -> None:
        self._parts, self._desk, self._renderer, self._places = parts, desk, renderer, places

    async def offer(self, request: web.Request, place: Place, name: str) -> web.StreamResponse:
        """Show a code for a phone. A code that was shown before works no longer once one of them was used."""
        handed = None
        if self._desk is not None and place.kind != "phone":
            handed = await self._desk.hand_over(place.user, name, browser_of(request))
        if handed is None:
            return web.Response(status=303, headers={"Location": place.here, "Cache-Control": "no-store"})
        now = int(self._parts.clock.now())
        await self._places.note(request, place, f"{HANDED} {name} {handed.number} {now}")
        url = Secret(f"{self._parts.settings.issuer}{_PATH}?t={quote(handed.token.reveal(), safe='')}")
        return self._renderer.page(
            request, "handover.html", here=place.here, place=place, tx=place.id, csrf=form_token(request, place.id),
            qr=qr_svg(url), number=handed.number, minutes=TOKEN_SECONDS // 60, name=name, user=place.user, state="open",
        )  # fmt: skip

    async def standing(self, request: web.Request, place: Place) -> Standing:
        """Return how the hand-over of this place stands."""
        name, number, at = place.note.split(" ")[1:]
        if self._desk is None:
            return Standing(number=number, taken=False, outcome="unavailable")
        ended = await self._desk.ended(place.user, name, browser_of(request))
        if ended is not None:
            return Standing(number=number, taken=True, outcome=ended.outcome, reference=ended.reference)
        if int(self._parts.clock.now()) > int(at) + _LONGEST:
            return Standing(number=number, taken=False, outcome="stale")
        return Standing(number=number, taken=await self._desk.pending(place.user, name, browser_of(request)) is None)

    async def waiting(self, request: web.Request, place: Place) -> web.StreamResponse:
        """Say that the phone's turn has come, again and again without a script."""
        standing = await self.standing(request, place)
        return self._renderer.page(
            request, "handover.html", here=place.here, place=place, tx=place.id, csrf=form_token(request, place.id), qr="",
            number=standing.number, minutes=TOKEN_SECONDS // 60, name=place.note.split(" ")[1], user=place.user,
            state="taken" if standing.taken else "waiting",
        )  # fmt: skip

    async def look(self, request: web.Request, place: Place) -> web.StreamResponse:
        """Tell the terminal's script whether to go on; changes nothing."""
        state = "over"
        if place.note.startswith(f"{HANDED} "):
            standing = await self.standing(request, place)
            state = "over" if standing.outcome else "taken" if standing.taken else "open"
        return web.json_response({"state": state}, headers={"Cache-Control": "no-store"})

    # ------------------------------------------------------------------ the phone

    async def arrive(self, request: web.Request) -> web.StreamResponse:
        """Ask, on a phone, whether to go on. Uses nothing up."""
        token = request.query.get("t", "")
        if not browser_of(request):
            if "again" in request.query:
                return self._gone(request, "cookies", 400)
            response = web.Response(
                status=303,
                headers={"Location": f"{_PATH}?t={quote(token[:_LONGEST_TOKEN], safe='')}&again=1", "Cache-Control": "no-store"},
            )
            bind_browser(response, Secret(new_token()))
            return response
        if not 0 < len(token) <= _LONGEST_TOKEN:
            return self._gone(request)
        return self._renderer.page(request, "phone.html", token=token, csrf=form_token(request, _SCOPE), why="")

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take over. The token is used up, whatever comes of it."""
        form = await read_form(request, self._parts.settings.issuer)
        check_token(request, form, _SCOPE)
        token = form.get("t", "")
        taken = None
        if self._desk is not None and 0 < len(token) <= _LONGEST_TOKEN:
            taken = await self._desk.take_over(token, browser_of(request))
        if taken is None:
            return self._gone(request)
        place = await self._places.open(request, "phone", taken.user, number=taken.number, note=f"consent {taken.pending.name}")
        await self._places.point(request, taken.pending.name, place)
        return web.Response(status=303, headers={"Location": place.here, "Cache-Control": "no-store"})

    def _gone(self, request: web.Request, why: str = "used", status: int = 410) -> web.StreamResponse:
        return self._renderer.page(request, "phone.html", status, token="", csrf="", why=why, here=_PATH)

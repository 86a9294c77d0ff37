"""The addresses of identity proofing, `/login/proofing` and below: for a sign-in, for the account page, and for phones."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from aiohttp import web

from idp.model import User
from idp.web.guard import Halt, check_token, guarded, read_form
from idp.web.parts import Parts
from idp.web.places import Place, is_sitting, place_of
from idp.web.proofing import ProofingPages
from idp.web.render import Renderer
from idp.web.signin import Visit

_OWN: frozenset[str] = frozenset({"tx", "csrf", "proofing"})


class Visits(Protocol):
    """What these pages need of the sign-in's."""

    async def visit(self, request: web.Request, names: list[str]) -> Visit:
        """Return the sign-in of that name; Halt when there is no such one in this browser."""
        ...

    async def looking(self, request: web.Request) -> Visit:
        """The same for a GET; a language that was chosen stays."""
        ...

    async def refuse_consent(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Ask for consent once more."""
        ...


class ProofingRoutes:
    """Finds the place that a request is about, and has the pages do the rest."""

    def __init__(self, parts: Parts, pages: ProofingPages, visits: Visits, renderer: Renderer) -> None:
        self._parts, self._pages, self._visits, self._renderer = parts, pages, visits, renderer

    def add_routes(self, app: web.Application) -> None:
        """Add them."""
        phones = self._pages.phones
        gets: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "": self.show, "/handed": self.handed, "/return": self.returned, "/over": self.over, "/phone": phones.arrive,
        }  # fmt: skip
        posts = {
            "": self.consent, "/answer": self.answer, "/handover": self.hand_over, "/leave": self.leave, "/phone": phones.take,
        }  # fmt: skip
        for path, handler in gets.items():
            app.router.add_get(f"/login/proofing{path}", guarded(handler, self._renderer, self._parts.refusals), allow_head=False)
        for path, handler in posts.items():
            app.router.add_post(f"/login/proofing{path}", guarded(handler, self._renderer, self._parts.refusals))

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Show where a proofing stands or how it ended; without one, the step that is due."""
        place = await self._looking(request)
        shown = await self._pages.show(request, place)
        if shown is not None:
            return shown
        if not place.again:
            raise Halt(410, "transaction_unknown")
        raise web.HTTPSeeOther(place.again)

    async def handed(self, request: web.Request) -> web.StreamResponse:
        """Tell a terminal whether its phone is done."""
        return await self._pages.phones.look(request, await self._found(request, _one(request)))

    async def returned(self, request: web.Request) -> web.StreamResponse:
        """Come back from a verifier. The query is unverified, and leaves the address whatever comes of it."""
        names = request.query.getall("state", [])
        if len(names) == 1 and len(request.query) == len(set(request.query)):
            name = await self._pages.places.pointed(request, names[0])
            if name is not None:
                return await self._pages.returned(request, await self._found(request, name))
        headers = {"Location": "/login/proofing/over", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return web.Response(status=303, headers=headers)

    async def over(self, request: web.Request) -> web.StreamResponse:
        """Say that there is nothing here that an answer could belong to."""
        await self._parts.refusals.tell(request, "transaction_unknown")
        return self._renderer.page(request, "proofing_over.html", 410)

    # ------------------------------------------------------------------

    async def consent(self, request: web.Request) -> web.StreamResponse:
        """Begin, after the person agreed."""
        place, form = await self._posted(request)
        if form.get("consent") == "yes":
            return await self._pages.begin(request, place)
        if place.kind == "sign_in":
            return await self._visits.refuse_consent(request, await self._visits.visit(request, [place.id]))
        raise web.HTTPSeeOther(place.here)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take what a backend's page sent."""
        place, form = await self._posted(request)
        answer = {name: value for name, value in form.items() if name not in _OWN}
        return await self._pages.answer(request, place, form.get("proofing", ""), answer)

    async def hand_over(self, request: web.Request) -> web.StreamResponse:
        """Show a code for a phone."""
        place, form = await self._posted(request)
        return await self._pages.phones.offer(request, place, form.get("proofing", ""))

    async def leave(self, request: web.Request) -> web.StreamResponse:
        """End it without an answer."""
        place, _ = await self._posted(request)
        return await self._pages.leave(request, place)

    # ------------------------------------------------------------------

    async def _posted(self, request: web.Request) -> tuple[Place, Mapping[str, str]]:
        form = await read_form(request, self._parts.settings.issuer)
        name = form.get("tx", "")
        if is_sitting(name):
            place = await self._pages.places.sitting(request, name)
            check_token(request, form, place.id)
            return place, form
        visit = await self._visits.visit(request, [name])
        check_token(request, form, visit.transaction.id)
        return _due(visit, {"proofing"}), form

    async def _looking(self, request: web.Request) -> Place:
        name = _one(request)
        if is_sitting(name):
            return await self._pages.places.sitting(request, name)
        return _due(await self._visits.looking(request), {"proofing", "done"})

    async def _found(self, request: web.Request, name: str) -> Place:
        if is_sitting(name):
            return await self._pages.places.sitting(request, name)
        return _due(await self._visits.visit(request, [name]), {"proofing", "done"})


def _one(request: web.Request) -> str:
    names = request.query.getall("tx", [])
    return names[0] if len(names) == 1 else ""


def _due(visit: Visit, steps: set[str]) -> Place:
    user: User | None = visit.user
    if user is None or visit.next.step not in steps:
        raise web.HTTPSeeOther(f"/login?tx={visit.transaction.id}")
    return place_of(visit.transaction, user, over=visit.next.step == "done")

"""What a security officer does about a break-glass: ends it, closes its review, tells whom no notice reached.

Recorded and on disk before it happens.
"""

from typing import Final, NoReturn

from aiohttp import web

from gateway.console.emergency_views import EmergencyViews
from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.recording import Recorder
from gateway.domain.record import Actor, Source
from gateway.emergency.model import FINDINGS, MAX_FINDING, BreakGlass, Finding, NotPossible, plain_text
from gateway.kernel.web.site import CLAIMS, PageError, client_address, read_form

LEAST: Final = 4
"""Characters of a finding."""


class EmergencyActs:
    """The POST handlers."""

    def __init__(self, parts: ConsoleParts, recorder: Recorder, pages: Pages, views: EmergencyViews) -> None:
        self._parts = parts
        self._recorder = recorder
        self._pages = pages
        self._views = views

    async def end(self, request: web.Request) -> NoReturn:
        """End one at once."""
        await self._pages.require_officer(request)
        one, emergencies, claims = await self._views.find(request), self._parts.emergencies, request[CLAIMS]
        if emergencies is None:
            raise PageError(404, "not_found")
        await self._recorder.announced(request, "console.act", one.id, {"act": "breakglass.end", **_whose(one)})
        actor = Actor(subject=claims.sub, login=claims.login, name=claims.name, roles=claims.roles)
        source = Source(address=client_address(request), door="console")
        doing = emergencies.end(one, "officer", actor, source, by=claims.login)
        ended = await self._pages.attempt(request, "console.act", one.id, doing)
        if not ended:
            await self._recorder.failed(request, "console.act", one.id, "it had ended")
        raise web.HTTPSeeOther(f"/emergencies/{one.id}?done={'glass_ended' if ended else 'glass_over'}")

    async def review(self, request: web.Request) -> web.Response:
        """Close the review with a finding."""
        await self._pages.require_officer(request)
        form, one, claims = await read_form(request), await self._views.find(request), request[CLAIMS]
        word = next((known for known in FINDINGS if known == form.get("word")), None)
        text = plain_text(form.get("text", ""), least=LEAST, most=MAX_FINDING)
        if word is None or text is None:
            await self._recorder.viewed(request)
            wrong = "word" if word is None else "text"
            return await self._views.page(request, one, 422, word=word or "", text=form.get("text", "")[:4000], wrong=wrong)
        finding = Finding(
            word=word, text=text, by=claims.sub, login=claims.login, name=claims.name, at=int(self._parts.clock.now())
        )
        said = {"finding": word, "text": text[:400], **_whose(one)}
        await self._recorder.announced(request, "breakglass.reviewed", one.id, said)
        try:
            await self._pages.attempt(request, "breakglass.reviewed", one.id, self._views.ledger().review(one.id, finding))
        except NotPossible as error:
            await self._recorder.failed(request, "breakglass.reviewed", one.id, error.why)
            why = "already" if error.why == "reviewed" else error.why
            raise web.HTTPSeeOther(f"/emergencies/{one.id}?done=glass_{why}") from error
        raise web.HTTPSeeOther("/emergencies?done=glass_reviewed")

    async def told(self, request: web.Request) -> NoReturn:
        """Take a notice that was given up off the list: the officer has told the people. Not of one's own break-glass."""
        await self._pages.require_officer(request)
        outbox, claims = self._views.ledger().outbox, request[CLAIMS]
        notice = await outbox.given_up(request.match_info["notice"])
        if notice is None:
            raise web.HTTPSeeOther("/emergencies?done=notice_gone")
        about = await self._views.ledger().get(notice.about)
        if about is not None and self._views.own(request, about):
            await self._recorder.viewed(request, outcome="failure")
            raise web.HTTPSeeOther("/emergencies?done=notice_own")
        said = {"act": "notice.told", "kind": notice.kind, "channel": notice.channel, "about": notice.about, "by": claims.login}
        await self._recorder.announced(request, "console.act", notice.id, said)
        told = await self._pages.attempt(request, "console.act", notice.id, outbox.told(notice.id))
        if not told:
            await self._recorder.failed(request, "console.act", notice.id, "somebody else has said so already")
        raise web.HTTPSeeOther(f"/emergencies?done=notice_{'told' if told else 'gone'}")


def _whose(one: BreakGlass) -> dict[str, str]:
    return {"subject": one.subject, "login": one.login, "break_glass": one.id}


def add_emergencies(app: web.Application, parts: ConsoleParts, recorder: Recorder, pages: Pages) -> None:
    """Register the pages."""
    views = EmergencyViews(parts, recorder, pages)
    acts = EmergencyActs(parts, recorder, pages, views)
    app.router.add_get("/emergencies", views.overview)
    app.router.add_get("/emergencies/{emergency}", views.one)
    app.router.add_post("/emergencies/notices/{notice}/told", acts.told)
    app.router.add_post("/emergencies/{emergency}/end", acts.end)
    app.router.add_post("/emergencies/{emergency}/review", acts.review)

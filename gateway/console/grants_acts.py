"""Grants and the emergency in the console: what officers do. Recorded and on disk before it happens.

That a second person approves is the ledger's affair: it holds on every node, whoever asks.
"""

from collections.abc import Awaitable, Mapping
from typing import NoReturn, TypeVar

from aiohttp import web

from gateway.console.grants_views import GrantViews, moment_of, person_of
from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.recording import Recorder
from gateway.domain.record import EventName
from gateway.grants.events import grant_detail
from gateway.grants.model import (
    Emergency,
    Grant,
    NotPossible,
    Person,
    Why,
    check_emergency,
    check_times,
    is_id,
    plain_text,
    within,
)
from gateway.kernel.ids import new_id
from gateway.kernel.moments import moment
from gateway.kernel.web.site import read_form

T = TypeVar("T")


class GrantActs:
    """The POST handlers. Each ends in a redirect with what happened in `?done=`, or in its form with what is wrong with it."""

    def __init__(self, pages: Pages, parts: ConsoleParts, recorder: Recorder, views: GrantViews) -> None:
        self._pages = pages
        self._parts = parts
        self._recorder = recorder
        self._views = views

    async def approve(self, request: web.Request) -> web.Response:
        """Approve a request, for the time asked for or less."""
        await self._pages.require_officer(request)
        form, grant = await read_form(request), await self._views.find(request)
        zone, now = self._parts.zone, self._parts.clock.now()
        begins, until = moment_of(form.get("from", ""), zone), moment_of(form.get("until", ""), zone)
        note = form.get("note", "")
        # What the fields can't say, seconds, was not changed by the officer.
        begins = grant.asked_from if begins == grant.asked_from // 60 * 60 else begins
        until = grant.asked_until if until == grant.asked_until // 60 * 60 else until
        try:
            begins, until = within(grant, begins, until)
            check_times(begins, until, now, self._views.office().ledger.longest)
            plain_text(note, least=0)
        except NotPossible as error:
            return await self._wrong(request, grant, error.why, form)
        detail = {**grant_detail(grant), "from": moment(begins), "until": moment(until), "asked_by": grant.asked_by.login}
        doing = self._views.office().ledger.approve(grant.id, person_of(request), now, begins=begins, until=until, note=note)
        return await self._do(request, "grant.approved", grant.id, detail, doing, done="grant_approved")

    async def decline(self, request: web.Request) -> web.Response:
        """Say no, and why."""
        await self._pages.require_officer(request)
        form, grant = await read_form(request), await self._views.find(request)
        note = form.get("note", "")
        try:
            plain_text(note)
        except NotPossible as error:
            return await self._wrong(request, grant, error.why, form)
        doing = self._views.office().ledger.decline(grant.id, person_of(request), self._parts.clock.now(), note=note)
        return await self._do(request, "grant.declined", grant.id, grant_detail(grant), doing, done="grant_declined")

    async def end(self, request: web.Request) -> web.Response:
        """Take a grant away at once."""
        await self._pages.require_officer(request)
        grant = await self._views.find(request)
        detail = {**grant_detail(grant), "how": "officer"}
        doing = self._views.office().ledger.end(grant.id, person_of(request), self._parts.clock.now())
        return await self._do(request, "grant.ended", grant.id, detail, doing, done="grant_ended")

    async def give(self, request: web.Request) -> web.Response:
        """Grant directly: a request for somebody else, which a second officer approves."""
        await self._pages.require_officer(request)
        form = await read_form(request)
        try:
            new = await self._read(request, form)
        except NotPossible as error:
            await self._recorder.viewed(request)
            return self._views.new_page(request, form, 422, error.why)
        detail = {**grant_detail(new), "how": "officer"}
        doing = self._views.office().ledger.ask(new)
        return await self._do(request, "grant.asked", new.id, detail, doing, done="grant_asked")

    async def declare(self, request: web.Request) -> web.Response:
        """Declare the hospital's emergency."""
        await self._pages.require_officer(request)
        form, now = await read_form(request), self._parts.clock.now()
        until = moment_of(form.get("until", ""), self._parts.zone)
        try:
            why = plain_text(form.get("why", ""))
            new = Emergency(
                id=new_id("sit"), why=why, declared_by=person_of(request), declared_at=int(now), until=until or int(now)
            )
            check_emergency(new)
        except NotPossible as error:
            await self._recorder.viewed(request)
            typed = {"why": form.get("why", ""), "until": form.get("until", "")}
            return await self._views.list_page(request, 422, wrong=error.why, **typed)
        detail = {"situation": "emergency", "until": moment(new.until), "why": why}
        doing = self._views.office().ledger.declare(new)
        return await self._do(request, "situation.changed", new.id, detail, doing, done="emergency_declared")

    async def end_emergency(self, request: web.Request) -> web.Response:
        """End it before its time."""
        await self._pages.require_officer(request)
        emergency_id = request.match_info["emergency"]
        doing = self._views.office().ledger.end_emergency(emergency_id, person_of(request), self._parts.clock.now())
        detail = {"situation": "normal", "how": "officer"}
        return await self._do(request, "situation.changed", emergency_id, detail, doing, done="emergency_ended")

    # ------------------------------------------------------------------

    async def _do(
        self, request: web.Request, event: EventName, target: str, detail: Mapping[str, str], doing: Awaitable[T], *, done: str
    ) -> NoReturn:
        await self._recorder.announced(request, event, target, detail)
        try:
            await self._pages.attempt(request, event, target, doing)
        except NotPossible as error:
            await self._recorder.failed(request, event, target, error.why)
            raise web.HTTPSeeOther(f"/grants?done=not_{error.why}") from error
        await self._views.office().book.changed_here()
        raise web.HTTPSeeOther(f"/grants?done={done}")

    async def _wrong(self, request: web.Request, grant: Grant, why: Why, form: Mapping[str, str]) -> web.Response:
        await self._recorder.viewed(request)
        typed = {key: form[key] for key in ("note", "until") if key in form}
        if "from" in form:
            typed["begins"] = form["from"]
        return self._views.one_page(request, grant, 422, wrong=why, **typed)

    async def _read(self, request: web.Request, form: Mapping[str, str]) -> Grant:
        office, zone, now = self._views.office(), self._parts.zone, int(self._parts.clock.now())
        begins, until = moment_of(form.get("from", ""), zone), moment_of(form.get("until", ""), zone)
        if begins is None or until is None:
            raise NotPossible("times")
        begins = max(begins, now)
        check_times(begins, until, now, office.ledger.longest)
        if form.get("name") not in office.names() or not is_id(form.get("grant", "")):
            raise NotPossible("name")
        holder = await self._holder(form.get("login", "").strip())
        return Grant(
            id=form["grant"],
            name=form["name"],
            holder=holder,
            asked_by=person_of(request),
            why=plain_text(form.get("why", "")),
            asked_at=now,
            asked_from=begins,
            asked_until=until,
            begins=begins,
            until=until,
        )

    async def _holder(self, login: str) -> Person:
        """Whom a login stands for: an account of ours, else somebody who is signed in. NotPossible("gone") for nobody."""
        wanted = login.casefold()
        for account in await self._parts.accounts() if self._parts.accounts is not None else ():
            if account.login.casefold() == wanted and account.active:
                return Person(subject=account.subject, login=account.login, name=account.name)
        for session in await self._parts.sessions.list(self._parts.clock.now()):
            identity = session.identity
            if identity.login.casefold() == wanted:
                return Person(subject=identity.subject, login=identity.login, name=identity.name)
        raise NotPossible("gone")


def add_grants(app: web.Application, parts: ConsoleParts, recorder: Recorder, pages: Pages) -> None:
    """Serve what is here."""
    views = GrantViews(pages, parts, recorder)
    acts = GrantActs(pages, parts, recorder, views)
    app.router.add_get("/grants", views.list)
    app.router.add_get("/grants/new", views.new)
    app.router.add_post("/grants/new", acts.give)
    app.router.add_post("/grants/emergency", acts.declare)
    app.router.add_post("/grants/emergency/{emergency}/end", acts.end_emergency)
    app.router.add_get("/grants/{grant}", views.one)
    app.router.add_post("/grants/{grant}/approve", acts.approve)
    app.router.add_post("/grants/{grant}/decline", acts.decline)
    app.router.add_post("/grants/{grant}/end", acts.end)

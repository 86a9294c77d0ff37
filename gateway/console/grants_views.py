"""Grants and the emergency in the console: what is looked at. `grants_acts` has what officers do."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

from aiohttp import web

from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.recording import Recorder
from gateway.grants.model import EMERGENCY_SECONDS, Grant, Person
from gateway.grants.office import GrantOffice
from gateway.kernel.ids import new_id
from gateway.kernel.web.site import CLAIMS, PageError

PAGE: Final = 50
USUAL_SECONDS: Final = 8 * 3600
_FIELD: Final = "%Y-%m-%dT%H:%M"
_MOST_PAGES: Final = 1_000


class GrantViews:
    """Serves the list, the page of one grant, and the form for granting directly."""

    def __init__(self, pages: Pages, parts: ConsoleParts, recorder: Recorder) -> None:
        self._pages = pages
        self._parts = parts
        self._recorder = recorder

    async def list(self, request: web.Request) -> web.Response:
        """What waits, what is in force, and the emergency; below it what is past, a page at a time."""
        await self._recorder.viewed(request)
        return await self.list_page(request)

    async def list_page(self, request: web.Request, status: int = 200, **values: Any) -> web.Response:
        """The list; `values`: what was wrong with a form of it."""
        office, now = self.office(), self._parts.clock.now()
        number = _page_of(request)
        grants = await office.ledger.open()
        past = await office.ledger.settled(PAGE + 1, (number - 1) * PAGE)
        emergencies = await office.ledger.emergencies()
        given = {"wrong": "", "why": "", "until": field(now + EMERGENCY_SECONDS, self._parts.zone)}
        return self._pages.show(
            request,
            "grants.html",
            status,
            now=now,
            waiting=[one for one in grants if one.state == "waiting" and one.until > now],
            approved=[one for one in grants if one.state == "approved" and one.until > now],
            past=past[:PAGE],
            page=number,
            more=len(past) > PAGE,
            emergency=next((one for one in emergencies if one.in_force(now)), None),
            emergencies=emergencies,
            **{**given, **values},
        )

    async def one(self, request: web.Request) -> web.Response:
        """One grant, with the forms of whoever may decide it."""
        await self._recorder.viewed(request)
        return self.one_page(request, await self.find(request))

    def one_page(self, request: web.Request, grant: Grant, status: int = 200, **values: Any) -> web.Response:
        """Its page; `values`: what was wrong with a form of it."""
        now, zone = self._parts.clock.now(), self._parts.zone
        given = {"wrong": "", "note": "", "begins": field(grant.begins, zone), "until": field(grant.until, zone)}
        return self._pages.show(
            request,
            "grant.html",
            status,
            one=grant,
            now=now,
            own=grant.own_of(person_of(request)),
            **{**given, **values},
        )

    async def new(self, request: web.Request) -> web.Response:
        """The form for granting directly."""
        await self._pages.require_officer(request)
        await self._recorder.viewed(request)
        return self.new_page(request, {})

    def new_page(self, request: web.Request, form: Mapping[str, str], status: int = 200, wrong: str = "") -> web.Response:
        """The form, with what was typed."""
        office, now, zone = self.office(), self._parts.clock.now(), self._parts.zone
        given = {
            "grant": new_id("grt"), "login": "", "name": "", "why": "", "from": field(now, zone),
            "until": field(now + min(USUAL_SECONDS, office.ledger.longest), zone),
        }  # fmt: skip
        return self._pages.show(
            request, "grant_new.html", status, names=office.names(), form={**given, **form}, wrong=wrong,
            longest=office.ledger.longest,
        )  # fmt: skip

    async def find(self, request: web.Request) -> Grant:
        """The grant of the address, or 404."""
        found = await self.office().ledger.get(request.match_info["grant"])
        if found is None:
            raise PageError(404, "grant")
        return found

    def office(self) -> GrantOffice:
        """Where grants are kept, or 404."""
        if self._parts.grants is None:
            raise PageError(404, "grants_absent")
        return self._parts.grants


def person_of(request: web.Request) -> Person:
    """Who asks, by the assertion."""
    claims = request[CLAIMS]
    return Person(subject=claims.sub, login=claims.login, name=claims.name)


def field(at: float, zone: timezone) -> str:
    """A moment as a date field has it."""
    return datetime.fromtimestamp(at, zone).strftime(_FIELD)


def moment_of(text: str, zone: timezone) -> int | None:
    """Epoch seconds of what a date field holds; None for nothing of the kind."""
    try:
        return int(datetime.strptime(text, _FIELD).replace(tzinfo=zone).timestamp())
    except (ValueError, OverflowError):
        return None


def _page_of(request: web.Request) -> int:
    given = request.query.get("page", "1")
    return min(max(int(given), 1), _MOST_PAGES) if given.isascii() and given.isdecimal() and len(given) <= 4 else 1  # noqa: PLR2004  digits

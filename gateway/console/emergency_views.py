"""Break-glass in the console, looked at: what runs, what waits for a review, what was done under one."""

import asyncio
from typing import Any, Final, get_args

from aiohttp import web

from gateway.audit.marked import Marked
from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.recording import Recorder
from gateway.console.rows import local
from gateway.domain.identity import same_login
from gateway.domain.record import EventName
from gateway.emergency.ledger import Counts, Ledger
from gateway.emergency.model import FINDINGS, BreakGlass
from gateway.emergency.outbox import Waiting
from gateway.kernel.web.site import CLAIMS, PageError, language_of

EVENTS: Final = frozenset(get_args(EventName))
OUTCOMES: Final = frozenset({"allow", "challenge", "deny", "refuse", "unavailable", "success", "failure"})
PAST: Final = 50
"""Past ones on a page."""


class EmergencyViews:
    """The GET handlers."""

    def __init__(self, parts: ConsoleParts, recorder: Recorder, pages: Pages) -> None:
        self._parts = parts
        self._recorder = recorder
        self._pages = pages
        self._searching = asyncio.Lock()

    def ledger(self) -> Ledger:
        """Return the ledger; PageError 404 where there is none."""
        if self._parts.emergencies is None:
            raise PageError(404, "not_found")
        return self._parts.emergencies.ledger

    async def overview(self, request: web.Request) -> web.Response:
        """Running ones, those to review, past ones, and notices that could not be sent."""
        ledger = self.ledger()
        await self._recorder.viewed(request)
        number = request.query.get("page", "1")
        page = min(int(number), 10_000) if number.isascii() and number.isdecimal() and len(number) <= 5 else 1  # noqa: PLR2004  digits
        page = max(page, 1)
        past = await ledger.past(PAST + 1, (page - 1) * PAST)
        waiting = await ledger.to_review()
        return self._pages.show(
            request,
            "emergencies.html",
            running=[one for one in waiting if self._runs(one)],
            to_review=[one for one in waiting if not self._runs(one)],
            past=past[:PAST],
            page=page,
            more=len(past) > PAST,
            unsent=await ledger.outbox.unsent(),
            me=request[CLAIMS].sub,
            japanese=language_of(request) == "ja",
        )

    async def one(self, request: web.Request) -> web.Response:
        """One of them, and everything that was done under it."""
        found = await self.find(request)
        await self._recorder.viewed(request)
        return await self.page(request, found)

    async def page(self, request: web.Request, one: BreakGlass, status: int = 200, **form: Any) -> web.Response:
        """Show one; `form` is what was typed and what is wrong with it."""
        done: Marked | None = None
        if self._parts.marked is not None:
            async with self._searching:  # one at a time: it reads much, in a thread that others need, too
                done = await asyncio.to_thread(self._parts.marked, one.id, one.began_at)
        return self._pages.show(
            request,
            "emergency.html",
            status,
            one=one,
            runs=self._runs(one),
            own=self.own(request, one),
            findings=FINDINGS,
            notices=await self.ledger().outbox.states(one.id),
            marked=done,
            events=EVENTS,
            outcomes=OUTCOMES,
            local=lambda at: local(str(at), self._parts.zone),
            japanese=language_of(request) == "ja",
            **{"word": "", "text": "", "wrong": "", **form},
        )

    async def find(self, request: web.Request) -> BreakGlass:
        """Return the one that is asked for, or PageError 404."""
        found = await self.ledger().get(request.match_info["emergency"])
        if found is None:
            raise PageError(404, "not_found")
        return found

    def _runs(self, one: BreakGlass) -> bool:
        return one.state in {"beginning", "running"}

    @staticmethod
    def own(request: web.Request, one: BreakGlass) -> bool:
        """Whether it is that of whoever asks."""
        claims = request[CLAIMS]
        return claims.sub == one.subject or same_login(claims.login, one.login)


async def emergency_counts(parts: ConsoleParts) -> tuple[Counts, list[Waiting]] | None:
    """Return what the first page says: how many run and wait for a review, and notices that could not be sent; None without
    break-glass.
    """
    if parts.emergencies is None:
        return None
    ledger = parts.emergencies.ledger
    return await ledger.counts(), await ledger.outbox.unsent()

"""The page of a draft's replay: the form, how far it is, and what it found."""

import logging
from typing import Any, Final, NoReturn

from aiohttp import web

from gateway.changes.model import Draft
from gateway.console.policy_desk import PolicyDesk, who
from gateway.console.replay_charts import ROWS, bars, hours
from gateway.console.rows import local
from gateway.kernel.errors import AuditError, BundleError
from gateway.kernel.web.site import PageError, Site, read_form
from gateway.policy.evaluate import Policy
from gateway.replay.office import ReplayOffice, Standing
from gateway.replay.report import Sample

logger = logging.getLogger(__name__)

DAYS: Final = (1, 7, 30, 90)
USUAL_DAYS: Final = 7
_PEOPLE: Final = 200
"""Rows of a table in a page; the counts are of all."""


class ReplayPages:
    """The handlers."""

    def __init__(self, site: Site, shared: PolicyDesk) -> None:
        self._site = site
        self._shared = shared
        self._parts = shared.parts

    @property
    def _office(self) -> ReplayOffice:
        if self._parts.replays is None:
            raise PageError(404, "replay_absent")
        return self._parts.replays

    async def page(self, request: web.Request) -> web.Response:
        """Show the form, and what is known of this draft's content."""
        await self._shared.recorder.viewed(request)
        draft = await self._shared.draft(request)
        return await self._show(request, draft)

    async def start(self, request: web.Request) -> web.Response:
        """Begin one, for the days that were chosen. What is in force is what it is compared with."""
        self._site.require_same_origin(request)
        office, draft = self._office, await self._shared.draft(request)
        given = (await read_form(request)).get("days", "")
        if given not in {str(days) for days in DAYS}:
            raise PageError(400, "form")
        in_force, before = await self._shared.desk.in_force()
        recorder = self._shared.recorder
        detail = {"content": draft.content, "days": given, "against": in_force.version, "title": draft.title[:200]}

        async def announce() -> None:
            await recorder.announced(request, "policy.replayed", draft.id, detail)

        async def failed(why: str) -> None:
            try:
                await recorder.failed(request, "policy.replayed", draft.id, why)
            except AuditError:
                logger.exception("that a replay failed could not be recorded")

        if await office.start(
            draft.content, before, draft.files, int(given), by=who(request).login, announce=announce, failed=failed
        ):
            self._back(draft)
        await recorder.viewed(request)
        return await self._show(request, draft, status=409)

    async def cancel(self, request: web.Request) -> NoReturn:
        """Give up the one that runs, if it is this draft's."""
        self._site.require_same_origin(request)
        draft = await self._shared.draft(request)
        await self._shared.recorder.announced(request, "console.act", draft.id, {"act": "cancel replay"})
        await self._office.cancel(draft.content)
        self._back(draft)

    async def progress(self, request: web.Request) -> web.Response:
        """Say how far it is, for the page's script. Asked for every second: the page itself was recorded."""
        draft = await self._shared.draft(request)
        standing = await self._office.standing(draft.content)
        running = standing.running
        mine = running is not None and running.content == draft.content
        done, total = (running.done, running.total) if running is not None else (0, 0)
        answer = {"running": mine, "percent": min(100, 100 * done // total) if total else 0}
        return web.json_response(answer, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})

    # ------------------------------------------------------------------

    @staticmethod
    def _back(draft: Draft) -> NoReturn:
        raise web.HTTPSeeOther(f"/policies/drafts/{draft.id}/replay")

    async def _show(self, request: web.Request, draft: Draft, status: int = 200) -> web.Response:
        standing = await self._office.standing(draft.content)
        in_force = (await self._shared.desk.in_force())[0]
        zone = self._parts.zone
        running, report = standing.running, standing.report
        mine = running is not None and running.content == draft.content
        values: dict[str, Any] = {}
        if report is not None:
            values = {
                "people": bars(report.people[:_PEOPLE]),
                "roles": bars(report.roles[:_PEOPLE]),
                "routes": bars(report.routes[:_PEOPLE]),
                "hours": hours(report.hours),
                "titles": await self._titles(draft),
                "apart": report.lacking + report.unreadable + report.not_reproduced,
            }
        return self._shared.pages.show(
            request, "replay.html", status, tab="drafts", changing=True, draft=draft, days=DAYS, standing=standing,
            usual=report.days if report is not None and report.days in DAYS else USUAL_DAYS, running=running if mine else None,
            busy=running is not None and not mine, outdated=report is not None and report.before != in_force.version,
            shown=ROWS, local=lambda at: local(at, zone), samples=_samples(standing), report=report, failure=standing.failure,
            percent=min(100, 100 * running.done // running.total) if running is not None and running.total else 0, **values,
        )  # fmt: skip

    async def _titles(self, draft: Draft) -> dict[str, Policy]:
        """Both bundles' policies by id; the draft's word counts."""
        found = {policy.id: policy for policy in self._parts.policies().policies}
        try:
            found |= {policy.id: policy for policy in (await self._shared.work.bundle(draft.files)).policies}
        except BundleError:
            return found  # it was replayed, so this is another content by now
        return found


def _samples(standing: Standing) -> list[tuple[str, tuple[Sample, ...]]]:
    """The samples by kind, in the order in which they matter."""
    report = standing.report
    if report is None:
        return []
    every = (
        ("lost", report.lost_samples),
        ("gained", report.gained_samples),
        ("not_reproduced", report.not_reproduced_samples),
        ("lacking", report.lacking_samples),
        ("unreadable", report.unreadable_samples),
    )
    return [(kind, samples) for kind, samples in every if samples]

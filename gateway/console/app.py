"""The console's pages. See `create_console`."""

from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.console.changes import POSTURE, Changes
from gateway.console.emergency_acts import add_emergencies
from gateway.console.emergency_views import emergency_counts
from gateway.console.explain_views import add_explain
from gateway.console.export import Export
from gateway.console.grants_acts import add_grants
from gateway.console.live import ROWS, LiveDecisions
from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.policy_app import add_policies
from gateway.console.policy_desk import waiting_drafts
from gateway.console.policy_work import PolicyWork
from gateway.console.proofing_acts import ProofingActs
from gateway.console.proofing_list import counts
from gateway.console.proofing_views import ProofingViews
from gateway.console.recording import Recorder
from gateway.domain.posture import Device
from gateway.domain.record import DecisionRecord
from gateway.kernel.assertion import Claims
from gateway.kernel.errors import AuditError, StoreUnavailable
from gateway.kernel.web.site import CLAIMS, PageError, Site
from gateway.policy.guidelines import clause_title

OUTCOMES: Final = ("allow", "challenge", "deny", "refuse", "unavailable")
_STATIC: Final = "/static/"


def create_console(parts: ConsoleParts) -> web.Application:
    """Return the console, to be served on a loopback address behind the gateway (`gateway.console.routes` are its routes there).

    Whoever comes without a good assertion gets 401; who is neither officer nor auditor by it, 403. Each view and each change is
    an event in the log before it happens; when the log can't be written, nothing is shown and nothing is done (503).
    """

    async def verify(token: str) -> Claims:
        return parts.verify(token)

    failures: dict[type[Exception], tuple[int, str]] = {StoreUnavailable: (503, "store"), AuditError: (503, "audit")}
    site = Site(
        Path(__file__).parent, parts.front, verify, failures, {"simulated": parts.simulated, "clause_title": clause_title}
    )
    app = site.application()
    recorder = Recorder(parts.audit, parts.clock)
    pages = Pages(site, parts, recorder)
    console = _Console(pages, parts, recorder, LiveDecisions(app, site, parts.feed, parts.others, parts.zone))
    changes = Changes(pages, parts, recorder)
    app.middlewares.append(console.overseers_only)
    app.router.add_get("/", console.home)
    app.router.add_get("/decisions/stream", console.stream)
    app.router.add_get("/sessions", console.sessions)
    app.router.add_post("/sessions/{session}/revoke", changes.revoke)
    app.router.add_get("/devices", console.devices)
    app.router.add_post("/devices/{device}/{change}", changes.device)
    app.router.add_get("/export", Export(site, parts, recorder).serve)
    _add_proofing(app, site, parts, recorder, pages)
    work = PolicyWork()
    app.on_cleanup.append(work.close)
    add_policies(app, site, parts, recorder, pages, work)
    add_explain(app, site, parts, recorder, pages, work)
    add_grants(app, parts, recorder, pages)
    add_emergencies(app, parts, recorder, pages)
    return app


def _add_proofing(app: web.Application, site: Site, parts: ConsoleParts, recorder: Recorder, pages: Pages) -> None:
    views = ProofingViews(site, parts, recorder, pages)
    acts = ProofingActs(parts, recorder, pages, views)
    app.router.add_get("/proofing", views.staff)
    app.router.add_get("/proofing/export", views.export)
    app.router.add_get("/proofing/people/{person}", views.person)
    app.router.add_post("/proofing/people/{person}/end", acts.end)
    app.router.add_post("/proofing/people/{person}/delete", acts.delete)
    app.router.add_get("/proofing/review", views.review)
    app.router.add_get("/proofing/cases/{case}", views.case)
    app.router.add_post("/proofing/cases/{case}/decide", acts.decide)
    app.router.add_get("/proofing/counter", views.counter)
    app.router.add_post("/proofing/counter", acts.check)
    app.router.add_get("/proofing/invite", views.invite)
    app.router.add_post("/proofing/invite/choose", acts.choose)
    app.router.add_post("/proofing/invite", acts.invite)
    app.router.add_get("/proofing/batches", views.batches)
    app.router.add_get("/proofing/batches/{batch}", views.batch)
    app.router.add_get("/proofing/rechecks", views.rechecks)
    app.router.add_post("/proofing/rechecks", acts.recheck)


class _Console:
    """The handlers of what is only looked at."""

    def __init__(self, pages: Pages, parts: ConsoleParts, recorder: Recorder, live: LiveDecisions) -> None:
        self._pages = pages
        self._parts = parts
        self._recorder = recorder
        self._live = live

    @web.middleware
    async def overseers_only(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._parts.viewer_roles.isdisjoint(request[CLAIMS].roles) and not request.path.startswith(_STATIC):
            await self._recorder.viewed(request, outcome="failure")
            raise PageError(403, "overseers_only")
        return await handler(request)

    async def home(self, request: web.Request) -> web.Response:
        await self._recorder.viewed(request)
        sessions = await self._parts.sessions.list(self._parts.clock.now())
        devices = await self._parts.devices.list()
        in_force = self._parts.policies()
        apps = sorted(
            {record.app for _, record in self._parts.feed.recent(ROWS) if isinstance(record, DecisionRecord) and record.app}
        )
        office = self._parts.proofing
        return self._pages.show(
            request,
            "home.html",
            proofing=counts(await office.standings()) if office is not None else None,
            grants=await _grants(self._parts),
            glass=await emergency_counts(self._parts),
            sessions=len(sessions),
            people=len({session.identity.subject for session in sessions}),
            devices=len(devices),
            pending=sum(device.status == "pending" for device in devices),
            in_force=in_force,
            drafts=await waiting_drafts(self._parts.desk),
            outcomes=OUTCOMES,
            apps=apps,
            rows=ROWS,
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        await self._recorder.viewed(request)
        return await self._live.serve(request)

    async def sessions(self, request: web.Request) -> web.Response:
        await self._recorder.viewed(request)
        sessions = await self._parts.sessions.list(self._parts.clock.now())
        labels = {device.id: device.label for device in await self._parts.devices.list()}
        return self._pages.show(request, "sessions.html", sessions=sessions, labels=labels)

    async def devices(self, request: web.Request) -> web.Response:
        await self._recorder.viewed(request)
        devices = await self._parts.devices.list()
        people = {
            session.identity.subject: session.identity for session in await self._parts.sessions.list(self._parts.clock.now())
        }
        waiting_first = sorted(devices, key=lambda device: device.status != "pending")
        return self._pages.show(
            request,
            "devices.html",
            devices=waiting_first,
            people=people,
            evidence=_evidence,
            attributes=POSTURE,
            days_since=lambda at: max(0, int(self._parts.clock.now()) - at) // 86_400,
        )


async def _grants(parts: ConsoleParts) -> tuple[int, int] | None:
    """How many grants wait for an officer, and how many are in force; None where there are none at all."""
    if parts.grants is None:
        return None
    now = parts.clock.now()
    found = [one for one in await parts.grants.ledger.open() if one.until > now]
    return sum(one.state == "waiting" for one in found), sum(one.in_force(now) for one in found)


def _evidence(device: Device) -> list[str]:
    """What a device can show, strongest first."""
    known = {"certificate": device.certificate_sha256, "key": device.key_jwk, "cookie": device.cookie_hash}
    return [kind for kind, value in known.items() if value]

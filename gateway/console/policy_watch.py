"""What would have happened, live: decisions where report-only policies or the trial would have answered otherwise, and what the
bundle in force denies.
"""

import asyncio
import contextlib
from datetime import timezone
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.changes.model import Draft, Publication
from gateway.console.live import BACKLOG
from gateway.console.policy_desk import PolicyDesk
from gateway.console.rows import local
from gateway.domain.record import Beside, DecisionRecord, Record
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.web.events import Event, EventStreams, Outbox
from gateway.kernel.web.show import visible
from gateway.kernel.web.site import Site, language_of

ROWS: Final = 400
"""Rows that wait for one reader at most; the page counts all that it was sent, and lists the newest."""
TELL_SECONDS: Final = 1.0
"""How often the number of decisions looked at is told, at most."""


class PolicyWatch:
    """Serves the page and its stream."""

    def __init__(self, app: web.Application, site: Site, shared: PolicyDesk) -> None:
        self._shared = shared
        self._parts = shared.parts
        self._site = site
        self._streams = EventStreams(app)

    async def page(self, request: web.Request) -> web.Response:
        """Show the page: what is watched, with places for what the stream brings."""
        await self._shared.recorder.viewed(request)
        in_force = self._parts.policies()
        publication: Publication | None = None
        trial: Draft | None = None
        down = False
        if self._parts.desk is not None:
            try:
                publication = (await self._parts.desk.in_force())[0]
                trial = next((draft for draft in await self._parts.desk.drafts() if draft.trial), None)
            except StoreUnavailable:
                down = True
        return self._shared.pages.show(
            request, "watch.html", tab="watch", changing=self._parts.desk is not None, publication=publication, trial=trial,
            down=down, report_only=[policy for policy in in_force.policies if policy.report_only], in_force=in_force,
        )  # fmt: skip

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send what the kept records show, then what each new one does."""
        await self._shared.recorder.viewed(request)
        language, zone = language_of(request), self._parts.zone
        titles = {
            policy.id: policy.title_ja if language == "ja" else policy.title_en for policy in self._parts.policies().policies
        }

        def text(key: str) -> str:
            return self._site.text(language, key) if self._site.has_text(key) else visible(key.partition(".")[2], 60)

        outbox = Outbox(ROWS)
        outbox.put(Event(name="begin", data={}))
        tally = _Tally(outbox)

        def put(_slot: int, _index: int, record: Record) -> None:
            if not isinstance(record, DecisionRecord) or not record.actor.subject:
                return
            tally.count(record)
            for kind, beside in seen_beside(record):
                outbox.put(Event(name="would", data=_row(record, kind, beside, titles, text, zone)))

        async with contextlib.AsyncExitStack() as stack:
            stack.callback(tally.close)
            if self._parts.others is not None:
                await stack.enter_async_context(self._parts.others.following())
            kept = [(1, index, record) for index, record in self._parts.feed.recent(BACKLOG)]
            kept += self._parts.others.recent(BACKLOG) if self._parts.others is not None else []
            for entry in sorted(kept, key=lambda one: one[2].at):
                put(*entry)
            stack.callback(self._parts.feed.subscribe(lambda index, record: put(1, index, record)))
            if self._parts.others is not None:
                stack.callback(self._parts.others.subscribe(put))
            return await self._streams.serve(request, outbox)


def seen_beside(record: DecisionRecord) -> list[tuple[str, Beside | None]]:
    """Return how a decision is worth watching: `report_only` and `trial` where they would have answered otherwise, `denied`."""
    found: list[tuple[str, Beside | None]] = []
    for kind, beside in (("report_only", record.report_only), ("trial", record.trial)):
        if not isinstance(beside, msgspec.UnsetType) and beside.allowed != (record.outcome == "allow"):
            found.append((kind, beside))
    if record.outcome == "deny":
        found.append(("denied", None))
    return found


class _Tally:
    """Decisions looked at, told at most once in `TELL_SECONDS`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._seen: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def count(self, record: DecisionRecord) -> None:
        for kind in ("all", f"bundle:{record.bundle}", *(["trial"] if not isinstance(record.trial, msgspec.UnsetType) else [])):
            self._seen[kind] = self._seen.get(kind, 0) + 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        self._outbox.put(Event(name="seen", data=dict(self._seen)))


def _row(
    record: DecisionRecord, kind: str, beside: Beside | None, titles: dict[str, str], text: Any, zone: timezone
) -> dict[str, Any]:
    policies = record.policies if beside is None else beside.policies
    allowed = False if beside is None else beside.allowed
    return {
        "kind": kind,
        "bundle": visible(record.bundle if beside is None else beside.bundle, 80),
        "at": local(record.at, zone),
        "id": visible(record.id, 60),
        "person": visible(record.actor.name or record.actor.login, 60),
        "subject": visible(record.actor.subject, 80),
        "login": visible(record.actor.login, 60),
        "roles": [text(f"role.{role}") for role in record.actor.roles[:4]],
        "app": visible(record.app, 60),
        "route": visible(record.route, 80),
        "action": text(f"action.{record.action}") if record.action else "",
        "method": visible(record.method, 20),
        "path": visible(record.path, 160),
        "now": text(f"outcome.{record.outcome}"),
        "now_code": record.outcome,
        "then": text("outcome.allow" if allowed else "outcome.deny"),
        "then_code": "allow" if allowed else "deny",
        "reason": text(f"reason.{record.reason}") if record.reason else "",
        "policies": [{"id": visible(one, 100), "title": visible(titles.get(one, ""), 200)} for one in policies[:6]],
        "errors": [visible(error, 200) for error in (beside.errors if beside is not None else record.errors)[:3]],
    }

"""What would have happened, live: decisions where the present report-only policies or the present trial would have answered
otherwise, and what the bundle in force denies.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.changes.bundle_files import snapshot_of
from gateway.changes.model import Draft, Publication
from gateway.console.live import BACKLOG
from gateway.console.policy_desk import PolicyDesk
from gateway.console.rows import local
from gateway.domain.record import Beside, DecisionRecord, EventRecord, Record
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.web.events import Event, EventStreams, Outbox
from gateway.kernel.web.show import visible
from gateway.kernel.web.site import Site, language_of
from gateway.policy.compile import version_of

ROWS: Final = 400
"""Rows that wait for one reader at most; the page counts all that it was sent, and lists the newest."""
_PUBLISHED: Final = ("policy.published", "policy.rolled_back", "policy.trial")
_OF_A_DRAFT: Final = ("policy.saved", "policy.withdrawn")
"""What ends the trial of the draft that it is about."""
TELL_SECONDS: Final = 1.0
"""How often the number of decisions looked at is told, at most."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted: nothing of what was in force, or on trial, before."""

    version: str
    """Of the bundle in force: its denials, and what its own report-only policies would have done."""
    since: float = 0.0
    """Epoch seconds; denials before that are those of an earlier time that it was in force."""
    trial: str = ""
    """Version of the bundle on trial; empty for none."""
    draft: str = ""
    """Whose it is."""


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
        language = language_of(request)
        titles = {
            policy.id: policy.title_ja if language == "ja" else policy.title_en for policy in self._parts.policies().policies
        }

        def text(key: str) -> str:
            return self._site.text(language, key) if self._site.has_text(key) else visible(key.partition(".")[2], 60)

        def row(record: DecisionRecord, kind: str, beside: Beside | None) -> dict[str, Any]:
            return _row(record, kind, beside, titles, text, self._parts.zone)

        outbox = Outbox(ROWS)
        outbox.put(Event(name="begin", data={}))
        reader = _Reader(outbox, await self._counted(), row)
        others = self._parts.others
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(reader.close)
            if others is not None:
                await stack.enter_async_context(others.following())
            kept = [record for _, record in self._parts.feed.recent(BACKLOG)]
            kept += [record for _, _, record in others.recent(BACKLOG)] if others is not None else []
            for record in sorted(kept, key=lambda one: one.at):
                reader.take(record)
            stack.callback(self._parts.feed.subscribe(lambda _, record: reader.follow(record)))
            if others is not None:
                stack.callback(others.subscribe(lambda _slot, _index, record: reader.follow(record)))
            return await self._streams.serve(request, outbox)

    async def _counted(self) -> Watched:
        """Say what is counted. What was published a moment ago counts, also where this process has not taken it over yet."""
        if self._parts.desk is not None:
            with contextlib.suppress(StoreUnavailable):
                publication = (await self._parts.desk.in_force())[0]
                trial = next((draft for draft in await self._parts.desk.drafts() if draft.trial), None)
                return Watched(
                    version=publication.version,
                    since=publication.at,
                    trial=version_of(snapshot_of(trial.files).policies) if trial is not None else "",
                    draft=trial.id if trial is not None else "",
                )
        return Watched(version=self._parts.policies().version)


def _moment(at: str) -> float:
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return 0.0


def seen_beside(record: DecisionRecord, watched: Watched) -> list[tuple[str, Beside | None]]:
    """Return how a decision is worth watching: `report_only` and `trial` where they would have answered otherwise, `denied`.

    Report-only policies are those of the bundle in force, the trial is the one that runs: what others said is past.
    """
    found: list[tuple[str, Beside | None]] = []
    own = record.bundle == watched.version
    for kind, beside in (("report_only", record.report_only), ("trial", record.trial)):
        if isinstance(beside, msgspec.UnsetType) or beside.allowed == (record.outcome == "allow"):
            continue
        if own if kind == "report_only" else beside.bundle == watched.trial != "":
            found.append((kind, beside))
    if record.outcome == "deny" and own and _moment(record.at) >= watched.since:
        found.append(("denied", None))
    return found


class _Reader:
    """What one reader is sent: rows, and at most once in `TELL_SECONDS` how many decisions were looked at."""

    def __init__(
        self,
        outbox: Outbox,
        watched: Watched,
        row: Callable[[DecisionRecord, str, Beside | None], dict[str, Any]],
    ) -> None:
        self._outbox = outbox
        self._watched = watched
        self._row = row
        self._seen = 0
        self._timer: asyncio.TimerHandle | None = None

    def follow(self, record: Record) -> None:
        """Take a new record; what is published or put on trial meanwhile, or ends the trial, makes the page begin anew."""
        if isinstance(record, EventRecord) and record.outcome == "success" and self._concerns(record):
            self._outbox.put(Event(name="published", data={}))
        self.take(record)

    def take(self, record: Record) -> None:
        """Count a record, and send what is worth watching of it."""
        if not isinstance(record, DecisionRecord) or not record.actor.subject:
            return
        self._seen += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)
        for kind, beside in seen_beside(record, self._watched):
            self._outbox.put(Event(name="would", data=self._row(record, kind, beside)))

    def _concerns(self, record: EventRecord) -> bool:
        of_a_draft = record.event in _OF_A_DRAFT and self._watched.draft != "" and record.target == self._watched.draft
        return of_a_draft or record.event in _PUBLISHED

    def close(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        self._outbox.put(Event(name="seen", data={"all": self._seen}))


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

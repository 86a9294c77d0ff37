"""The pages that say why a decision was as it was, and what one would be. Each is recorded before anything is shown."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.audit.find import Searched
from gateway.changes.model import ChangeRefused, Draft
from gateway.console.explain_form import FIELDS, PROOFINGS, SITUATIONS, Supposed, facts_of_form, moment_of
from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.policy_work import PolicyWork
from gateway.console.recording import Recorder
from gateway.console.rows import local
from gateway.domain.identity import Identity
from gateway.kernel.errors import BundleError, StoreUnavailable
from gateway.kernel.i18n import LANGUAGES, Language
from gateway.kernel.web.show import visible, visible_lines
from gateway.kernel.web.site import Site, language_of, read_form
from gateway.policy.evaluate import Bundle
from gateway.policy.explain import Explanation, explain
from gateway.policy.explained import lines_of, taken, taken_lines
from gateway.policy.recorded import NoFacts, Reexplained, explain_record, facts_in_record
from gateway.policy.recorded_text import notes, record_lines, text_of, verdict_lines
from gateway.policy.suppose import DEVICES, SIGN_INS

_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
_KEPT: Final = 8
_MOST_PEOPLE: Final = 500
_MOST_TEXT: Final = 4000
_OPEN: Final = ("open", "waiting", "approved")


class ExplainViews:
    """The handlers."""

    def __init__(self, site: Site, pages: Pages, parts: ConsoleParts, recorder: Recorder, work: PolicyWork) -> None:
        self._site = site
        self._pages = pages
        self._parts = parts
        self._recorder = recorder
        self._work = work
        self._bundles: OrderedDict[str, Bundle] = OrderedDict()

    # ------------------------------------------------------------------ a decision in the log

    async def decision(self, request: web.Request) -> web.Response:
        """Explain the decision that is asked for; without one, show where to type its id."""
        given = request.query.get("decision", "").strip()
        if not given:
            await self._recorder.viewed(request)
            return self._show_decision(request, given="")
        if not _ID.fullmatch(given):
            await self._recorder.viewed(request)
            return self._show_decision(request, status=404, given=visible(given, 80), problem="no_id")
        await self._recorder.announced(request, "policy.explained", given, {})
        if self._parts.find_decision is None:
            return self._show_decision(request, status=404, given=given, problem="no_log")
        found = await self._parts.find_decision(given)
        if found.record is None:
            problem = "not_found" if found.everything else "not_found_yet"
            return self._show_decision(request, status=404, given=given, problem=problem, found=found)
        return await self._explained(request, given, found.record)

    async def _explained(self, request: web.Request, given: str, record: Mapping[str, Any]) -> web.Response:
        held = facts_in_record(record)
        if isinstance(held, NoFacts):
            return self._show_decision(request, given=given, record=record, said=held)
        bundle = await self._bundle(str(record.get("bundle", "")))
        if bundle is None:
            return self._show_decision(request, given=given, record=record, problem="not_kept")
        said = await self._work.run(explain_record, record, held, bundle, self._parts.possible)
        return self._show_decision(request, given=given, record=record, said=said)

    def _show_decision(
        self,
        request: web.Request,
        *,
        given: str,
        status: int = 200,
        problem: str = "",
        found: Searched | None = None,
        record: Mapping[str, Any] | None = None,
        said: Reexplained | NoFacts | None = None,
    ) -> web.Response:
        language = language_of(request)
        tickets = {one: self._ticket(record, said, one) for one in LANGUAGES} if record is not None and said is not None else {}
        return self._show(
            request, "explain.html", status, given=given, problem=problem, record=record,
            back_to=local(found.back_to, self._parts.zone) if found is not None and found.back_to else "",
            fields=self._fields(record, language) if record is not None else [],
            verdict=said.verdict if isinstance(said, Reexplained) else "",
            notes=self._notes(record or {}, said, language),
            explanation=said.explanation if isinstance(said, Reexplained) else None,
            tickets=tickets,
            version=visible(record.get("bundle", ""), 12) if record is not None else "",
        )  # fmt: skip

    def _notes(self, record: Mapping[str, Any], said: Reexplained | NoFacts | None, language: Language) -> list[str]:
        if isinstance(said, Reexplained):
            return notes(said, language)
        return verdict_lines(said, language, self._reason(record, language)) if said is not None else []

    def _fields(self, record: Mapping[str, Any], language: Language) -> list[tuple[str, str]]:
        lines = record_lines(record, language, self._local, lambda reason: self._words(language, f"reason.{reason}"))
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    def _ticket(self, record: Mapping[str, Any], said: Reexplained | NoFacts, language: Language) -> str:
        head = record_lines(record, language, self._local, lambda reason: self._words(language, f"reason.{reason}"))
        return "\n".join([*head, "", *verdict_lines(said, language, self._reason(record, language), ticket=True)])

    def _reason(self, record: Mapping[str, Any], language: Language) -> str:
        return self._words(language, f"reason.{record.get('reason', '')}")

    def _words(self, language: Language, key: str) -> str:
        return self._site.text(language, key) if self._site.has_text(key) else visible(key.partition(".")[2], 60)

    def _local(self, at: str) -> str:
        return local(at, self._parts.zone)

    async def _bundle(self, version: str) -> Bundle | None:
        """The policies of a version: those in force, or those that the desk has kept; None when nobody has."""
        in_force = self._parts.policies()
        if version in self._bundles:
            return self._bundles[version]
        if version == in_force.version:
            bundle = await self._work.run(lambda: Bundle(version=version, policies=in_force.policies))
        elif self._parts.desk is None:
            return None
        else:
            try:
                files = await self._parts.desk.files_of(version)
                bundle = await self._work.bundle(files)
            except (ChangeRefused, BundleError):  # nobody kept them, or they are of another version of the gateway
                return None
        self._bundles[version] = bundle
        while len(self._bundles) > _KEPT:
            self._bundles.popitem(last=False)
        return bundle

    # ------------------------------------------------------------------ what if

    async def what_if(self, request: web.Request) -> web.Response:
        """Show the form."""
        await self._recorder.viewed(request)
        return await self._show_form(request, {})

    async def ask(self, request: web.Request) -> web.Response:
        """Answer it. Nothing is changed, nobody is let in."""
        self._site.require_same_origin(request)
        form = await read_form(request)
        people = await self._people()
        parts = self._parts
        supposed = facts_of_form(
            form,
            parts.known.routes or (),
            people,
            lambda text: moment_of(text, parts.calendar, parts.zone, parts.clock.now()),
        )
        if supposed.facts is None:
            await self._recorder.viewed(request)
            return await self._show_form(request, form, 400, supposed=supposed)
        roles, asked = supposed.facts.principal.roles, form.get("policies", "")[:64]
        detail = {"route": supposed.facts.target.route, "roles": ",".join(roles)[:200], "policies": visible(asked, 64)}
        await self._recorder.announced(request, "policy.explained", "what-if", detail)
        try:
            bundle = await self._asked(form.get("policies", ""))
        except BundleError as error:
            return await self._show_form(request, form, 400, supposed=Supposed(field="policies", wrong=str(error)))
        if bundle is None:
            return await self._show_form(request, form, 400, supposed=Supposed(field="policies"))
        explanation = await self._work.run(explain, bundle, supposed.facts, self._parts.possible)
        return await self._show_form(request, form, explanation=explanation)

    async def _asked(self, given: str) -> Bundle | None:
        """The policies in force, or a draft's; None when there is no such draft. BundleError when a draft can't be read."""
        if not given:
            return await self._bundle(self._parts.policies().version)
        if self._parts.desk is None:
            return None
        try:
            draft = await self._parts.desk.draft(given)
        except ChangeRefused:
            return None
        return await self._work.bundle(draft.files)

    async def _people(self) -> dict[str, Identity]:
        sessions = await self._parts.sessions.list(self._parts.clock.now())
        return {session.identity.subject: session.identity for session in sessions[:_MOST_PEOPLE]}

    async def _drafts(self) -> list[Draft]:
        if self._parts.desk is None:
            return []
        try:
            return [draft for draft in await self._parts.desk.drafts() if draft.state in _OPEN]
        except StoreUnavailable:  # what is in force can be asked all the same
            return []

    async def _show_form(
        self,
        request: web.Request,
        given: Mapping[str, str],
        status: int = 200,
        *,
        supposed: Supposed = Supposed(),  # noqa: B008  frozen
        explanation: Explanation | None = None,
    ) -> web.Response:
        known = self._parts.known
        people = sorted((await self._people()).values(), key=lambda one: one.login)
        usual = {"sign_in": "two_factors", "proofing": "proofed", "device": "hospital", "situation": "normal"}
        routes: dict[str, list[str]] = {}
        for route in known.routes or ():
            routes.setdefault(route.app, []).append(route.id)
        return self._show(
            request, "what_if.html", status,
            values={field: visible_lines(given.get(field, usual.get(field, ""))[:_MOST_TEXT]) for field in FIELDS},
            wrong=supposed, people=people, drafts=await self._drafts(), routes=routes,
            zones=("other", *(zone for zone in known.zones or () if zone != "other")), sign_ins=tuple(SIGN_INS),
            devices=tuple(DEVICES), proofings=tuple(PROOFINGS), situations=SITUATIONS, explanation=explanation,
            taken=taken(explanation.facts) if explanation else [],
            tickets={one: _supposed(explanation, one) for one in LANGUAGES} if explanation else {},
            known_roles=sorted({role for person in people for role in person.roles} | set(known.roles or ())),
        )  # fmt: skip

    def _show(self, request: web.Request, template: str, status: int, **values: Any) -> web.Response:
        language = language_of(request)
        return self._pages.show(
            request, template, status, tab="explain", changing=self._parts.desk is not None,
            said_in=lambda sentence: sentence.text(language), recorded=lambda key, **places: text_of(language, key, **places),
            **values,
        )  # fmt: skip


def _supposed(explanation: Explanation, language: Language) -> str:
    return "\n".join([*taken_lines(explanation.facts, language), *lines_of(explanation, language, ticket=True)])


def add_explain(
    app: web.Application, site: Site, parts: ConsoleParts, recorder: Recorder, pages: Pages, work: PolicyWork
) -> None:
    """Add the handlers; `gateway.console.explain_routes` are their routes at the gateway."""
    views = ExplainViews(site, pages, parts, recorder, work)
    app.router.add_get("/policies/explain", views.decision)
    app.router.add_get("/policies/what-if", views.what_if)
    app.router.add_post("/policies/what-if", views.ask)

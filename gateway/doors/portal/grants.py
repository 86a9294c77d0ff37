"""Asking for a grant: what a person wants, why, and from when to when. A security officer decides in the console.

Whoever is told only to ask the help desk finds no such page.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from gateway.domain.identity import Handle, Identity
from gateway.domain.record import EventName
from gateway.doors.portal.parts import Exchange, Stop
from gateway.doors.portal.signin import ask_provider, begin_sign_in
from gateway.grants.events import grant_detail
from gateway.grants.model import Grant, NotPossible, Person, check_times, is_id, plain_text
from gateway.grants.office import GrantOffice
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.policy.facts import PrincipalFacts
from gateway.rp.flows import Flow

PAGE: Final = "/.gateway/grants"
USUAL_SECONDS: Final = 8 * 3600
"""How long is proposed."""
SHOWN: Final = 10
_FIELD: Final = "%Y-%m-%dT%H:%M"


async def show(exchange: Exchange) -> web.Response:
    """The page: one's own requests, and the form."""
    flow = await _flow(exchange, exchange.one("flow"))
    handle = await exchange.handle()
    if handle is None:
        return await (begin_sign_in(exchange) if flow is None else ask_provider(exchange, flow, None))
    office = _office(exchange, handle)
    return await _page(exchange, office, handle, flow)


async def ask(exchange: Exchange) -> web.Response:
    """Take a request."""
    form = await exchange.form()
    flow = await _flow(exchange, form.get("flow"))
    handle = await exchange.handle()
    if handle is None:
        # A page, not a redirect: the form may not end up at the provider (Content-Security-Policy, `form-action`).
        return exchange.stop("flow.expired", 403, f"{exchange.parts.portal}{PAGE}")
    office = _office(exchange, handle)
    now = int(exchange.parts.clock.now())
    try:
        new = _read(exchange, office, handle, form, now)
        check_times(new.asked_from, new.asked_until, now, office.ledger.longest)
        plain_text(new.why)
    except NotPossible as error:
        return await _page(exchange, office, handle, flow, status=422, wrong=error.why, form=form)
    session = handle.session
    if await office.ledger.get(new.id) is None:
        await exchange.event("grant.asked", "success", session=session, target=new.id, detail=grant_detail(new))
    try:
        await office.ledger.ask(new)
    except NotPossible as error:
        await exchange.event("grant.asked", "failure", session=session, target=new.id, detail={"why": error.why})
        return await _page(exchange, office, handle, flow, status=409, wrong=error.why, form=form)
    except StoreUnavailable:
        detail = {"why": "the store did not answer"}
        await exchange.event("grant.asked", "failure", session=session, target=new.id, detail=detail)
        raise
    await office.book.changed_here()
    return exchange.redirect(f"{PAGE}?done=asked{_with(form.get('flow'))}")


async def give_back(exchange: Exchange) -> web.Response:
    """Take a request back, or give back what was granted."""
    form = await exchange.form()
    handle = await exchange.handle()
    if handle is None:
        return exchange.stop("flow.expired", 403, f"{exchange.parts.portal}{PAGE}")
    office = _office(exchange, handle)
    grant = await office.ledger.get(form.get("grant", ""))
    person = _person(handle.session.identity)
    if grant is None or grant.holder.subject != person.subject:
        raise Stop("grants.gone", 404, f"{exchange.parts.portal}{PAGE}")
    event: EventName = "grant.ended" if grant.state == "approved" else "grant.declined"
    detail = {**grant_detail(grant), "how": "person"}
    await exchange.event(event, "success", session=handle.session, target=grant.id, detail=detail)
    try:
        await office.ledger.withdraw(grant.id, person, exchange.parts.clock.now())
    except NotPossible as error:
        await exchange.event(event, "failure", session=handle.session, target=grant.id, detail={"why": error.why})
        return exchange.redirect(f"{PAGE}?done=late")
    await office.book.changed_here()
    return exchange.redirect(f"{PAGE}?done=back")


def _office(exchange: Exchange, handle: Handle) -> GrantOffice:
    """Where grants are asked for here. Stop for people who are told only to ask the help desk, and where there are none."""
    office = exchange.parts.grants
    if office is None or exchange.parts.help_desk.only(handle.session.identity):
        raise Stop("grants.none", 404, f"{exchange.parts.portal}/")
    return office


async def _flow(exchange: Exchange, name: str | None) -> Flow | None:
    """Where the person comes from; None where that is too long ago, or nowhere."""
    flow = await exchange.parts.flows.look(name) if name else None
    return flow if flow is not None and flow.purpose == "grant" else None


def _read(exchange: Exchange, office: GrantOffice, handle: Handle, form: Mapping[str, str], now: int) -> Grant:
    """What a form asks for. NotPossible where it makes no sense."""
    name, grant_id = form.get("name", ""), form.get("grant", "")
    if not is_id(grant_id):
        raise NotPossible("form")
    if name not in office.names_for(_principal(handle)):
        raise NotPossible("name")
    person = _person(handle.session.identity)
    begins, until = _moment(exchange, form.get("from", "")), _moment(exchange, form.get("until", ""))
    begins = max(begins, now)
    return Grant(
        id=grant_id,
        name=name,
        holder=person,
        asked_by=person,
        why=form.get("why", ""),
        asked_at=now,
        asked_from=begins,
        asked_until=until,
        begins=begins,
        until=until,
        app=next((app.id for app in exchange.parts.apps if app.host == form.get("app")), ""),
    )


def _moment(exchange: Exchange, text: str) -> int:
    """Epoch seconds of what a date field holds, in the hospital's zone. Of an hour that the clocks have twice, the first."""
    try:
        return int(datetime.strptime(text, _FIELD).replace(tzinfo=exchange.parts.zone).timestamp())
    except (ValueError, OverflowError) as error:
        raise NotPossible("times") from error


def _person(identity: Identity) -> Person:
    return Person(subject=identity.subject, login=identity.login, name=identity.name)


def _principal(handle: Handle) -> PrincipalFacts:
    identity = handle.session.identity
    return PrincipalFacts(id=identity.subject, roles=identity.roles, organization=identity.organization)


def _with(flow: str | None) -> str:
    return f"&flow={quote(flow, safe='')}" if flow else ""


async def _page(
    exchange: Exchange,
    office: GrantOffice,
    handle: Handle,
    flow: Flow | None,
    *,
    status: int = 200,
    wrong: str = "",
    form: Mapping[str, str] | None = None,
) -> web.Response:
    parts, now = exchange.parts, exchange.parts.clock.now()
    names = office.names_for(_principal(handle))
    given = form if form is not None else {}
    asked = given.get("name") or (flow.grant if flow is not None else "")
    mine = await office.ledger.of(handle.session.identity.subject, SHOWN)
    done = exchange.one("done") or ""

    def shown(at: float) -> str:
        return datetime.fromtimestamp(at, parts.zone).strftime("%Y-%m-%d %H:%M")

    def field(at: float) -> str:
        return datetime.fromtimestamp(at, parts.zone).strftime(_FIELD)

    name = await parts.flows.begin(flow) if flow is not None else ""
    values: dict[str, Any] = {
        "person": handle.session.identity.name,
        "names": names,
        "asked": asked if asked in names else "",
        "waits": any(one.state == "waiting" and one.name == asked for one in mine),
        "mine": [(one, _standing(one, now), shown(one.begins), shown(one.until)) for one in mine],
        "grant": given.get("grant") or new_id("grt"),
        "why": given.get("why", ""),
        "begins": given.get("from") or field(now),
        "until": given.get("until") or field(now + min(USUAL_SECONDS, office.ledger.longest)),
        "days": office.ledger.longest // 86_400,
        "hours": office.ledger.longest // 3600,
        "wrong": wrong,
        "done": done if done in {"asked", "back", "late"} else "",
        "flow": name,
        "back": f"{parts.origins.of(flow.host)}{flow.path}" if flow is not None else "",
        "app": flow.host if flow is not None else "",
    }
    return exchange.page("grants.html", status, switch=f"{PAGE}?{f'flow={name}&' if name else ''}lang=", **values)


def _standing(grant: Grant, now: float) -> str:
    """A word for where a grant stands, as its holder would say it."""
    if grant.state == "approved":
        return "to_come" if now < grant.begins else "in_force" if now < grant.until else "over"
    if grant.state == "waiting" and grant.until <= now:
        return "over"
    return grant.state

"""What an officer supposes in the form of `what if`, as facts. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Final

import msgspec

from gateway.domain.identity import Identity
from gateway.pipeline.calendar import Calendar
from gateway.policy.facts import Facts, PrincipalFacts, TargetFacts, TimeFacts
from gateway.policy.known import KnownRoute
from gateway.policy.suppose import DEVICES, NO_PROOFING, ORDINARY, SIGN_INS, NotSupposable, suppose

FIELDS: Final = (
    "policies", "person", "roles", "organization", "route", "sign_in", "proofing", "device", "zone", "at", "situation", "grants",
    "facts",
)  # fmt: skip
PROOFINGS: Final[Mapping[str, Mapping[str, str]]] = {"proofed": {}, "none": NO_PROOFING}
SITUATIONS: Final = ("normal", "emergency", "break_glass")
_MOST_FACTS: Final = 60


class Supposed(msgspec.Struct, frozen=True):
    """What is asked about: the facts, or why there are none."""

    facts: Facts | None = None
    field: str = ""
    """Of the form, where something is wrong."""
    wrong: str = ""
    """What, and what to do."""


def facts_of_form(
    form: Mapping[str, str],
    routes: Sequence[KnownRoute],
    people: Mapping[str, Identity],
    when: Callable[[str], TimeFacts | None],
) -> Supposed:
    """Return the facts that the form describes. `people`: those with sessions, by subject; `when`: what a typed time means."""
    route = next((one for one in routes if one.id == form.get("route")), None)
    if route is None:
        return Supposed(field="route")
    time = when(form.get("at", ""))
    if time is None:
        return Supposed(field="at")
    person = people.get(form.get("person", ""))
    base = msgspec.structs.replace(
        ORDINARY,
        principal=ORDINARY.principal
        if person is None
        else PrincipalFacts(id=person.subject, roles=person.roles, organization=person.organization),
        target=TargetFacts(app=route.app, route=route.id, action=route.action, sensitivity=route.sensitivity, patient=""),
        time=time,
    )
    changes: dict[str, str] = {}
    for field, choices in (("sign_in", SIGN_INS), ("proofing", PROOFINGS), ("device", DEVICES)):
        if form.get(field, "") not in choices:
            return Supposed(field=field)
        changes |= choices[form[field]]
    named = {"situation": "situation", "network.zone": "zone", "grants": "grants"}
    if person is None:
        named |= {"principal.roles": "roles", "principal.organization": "organization"}
    typed = {name: form.get(field, "").replace("、", ",") for name, field in named.items()}
    for name, field in named.items():
        if typed[name].strip():
            try:
                suppose(base, {name: typed[name]})
            except NotSupposable as error:
                return Supposed(field=field, wrong=str(error))
            changes[name] = typed[name]
    return _with_more(base, changes, form.get("facts", ""))


def _with_more(base: Facts, changes: dict[str, str], text: str) -> Supposed:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > _MOST_FACTS:
        return Supposed(field="facts")
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals:
            return Supposed(field="facts", wrong=ascii(line[:80]))
        changes[name.strip()] = value.strip()
    try:
        return Supposed(facts=suppose(base, changes))
    except NotSupposable as error:
        return Supposed(field="facts", wrong=str(error))


def moment_of(text: str, calendar: Calendar, zone: timezone, now: float) -> TimeFacts | None:
    """Return what a local time means, as a browser's field sends it; now for nothing, None for what is no time."""
    if not text:
        return calendar.at(int(now))
    try:
        moment = datetime.fromisoformat(text)
        return calendar.at(int((moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()))
    except (ValueError, OverflowError):
        return None

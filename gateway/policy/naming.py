"""Names in policies that nobody knows: clauses of the guideline that our catalogue does not have, and, where a configuration says
which there are, roles, applications, routes, zones, shifts and grants. Pure.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from cedarpy import pst

from gateway.policy.guidelines import CLAUSES, nearest_clause
from gateway.policy.known import Known
from gateway.policy.solve import Condition
from gateway.policy.vocabulary import APP, ROLES, ROUTE

_ENTITIES: Final[Mapping[str, str]] = {"Role": "role", "App": "app", "Route": "route"}
_FACTS: Final[Mapping[str, str]] = {
    ROLES: "role", APP: "app", ROUTE: "route", "network.zone": "zone", "time.shifts": "shift", "grants": "grant",
}  # fmt: skip
_CALLED: Final[Mapping[str, str]] = {"app": "application"}
_CLOSE: Final = 0.79
"""`nures` for `nurse` is 0.8."""
_SHOWN: Final = 8
_ALWAYS: Final = {"zone": ("other", "")}


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A name that is not known."""

    name: str
    kind: str
    what: str
    todo: str
    near: bool
    """Whether there is one that was most likely meant."""


def unknown_clauses(guidelines: tuple[str, ...]) -> Iterator[Unknown]:
    """Yield the clauses that the catalogue does not have."""
    for clause in guidelines:
        if clause not in CLAUSES:
            near = nearest_clause(clause)
            yield Unknown(
                name=clause,
                kind="clause",
                what=f"@guideline names {clause}, which is not in the catalogue of clauses",
                todo=f"Did you mean {near}?" if near else "gateway/policy/guidelines.toml has the clauses that are known",
                near=bool(near),
            )


def unknown_names(policy: pst.Template, conditions: tuple[Condition, ...], known: Known) -> Iterator[Unknown]:
    """Yield each name that the configuration does not have, once."""
    named = [(_ENTITIES[str(uid.type)], uid.id) for uid in pst.entity_uids(policy) if str(uid.type) in _ENTITIES]
    for condition in conditions:
        literals = condition.vocabulary.literals if condition.vocabulary else {}
        named += [(_FACTS[fact], str(name)) for fact, names in literals.items() if fact in _FACTS for name in names]
    elsewhere = set[str]()
    for kind, name in sorted(set(named)):
        names = known.names(kind)
        if names is not None and name not in names and name not in _ALWAYS.get(kind, ()):
            near = _misspelt(name, names)
            if kind == "app" and not near:
                elsewhere.add(name)
            if kind == "route" and name.partition(".")[0] in elsewhere:
                continue  # of an application that is not configured there are no routes, either
            yield Unknown(
                name=name,
                kind=kind,
                what=f'no {_CALLED.get(kind, kind)} "{name}" is configured',
                todo=f'Did you mean "{near}"?' if near else _advise(name, names),
                near=bool(near),
            )


def _misspelt(name: str, names: tuple[str, ...]) -> str:
    """The name that was most likely meant; empty when it looks like none: then it is one that is not there yet."""
    near = difflib.get_close_matches(name, names, 1, _CLOSE)
    return near[0] if near else next((known for known in names if sorted(known) == sorted(name)), "")


def _advise(name: str, names: tuple[str, ...]) -> str:
    if not names:
        return "None is configured: as long as there is none, this decides nothing"
    app = name.partition(".")[0]
    # Routes of the same application first.
    ordered = sorted(names, key=lambda known: (known.partition(".")[0] != app, known))
    shown = ", ".join(ordered[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
    return f"There are: {shown}. As long as there is none of this name, the policy decides nothing for it"

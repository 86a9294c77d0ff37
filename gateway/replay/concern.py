"""Which policies can concern a request at all, by who asks for what: the rest neither answers nor reads anything. Pure.

A policy is out when its head does not match, or when one of its first conditions is false and everything up to that one is only
about the person's roles, the action and the route: Cedar looks no further, so a fact that stands behind is not read.
"""

from collections.abc import Sequence
from typing import Any, Final

from cedarpy import pst

from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.expression import NotModelled, matches, pst_of
from gateway.policy.facts import Facts

ABOUT: Final = frozenset(
    {"principal", "principal.id", "principal.roles", "principal.organization", "action", "resource"}
    | {"target.app", "target.route", "target.action", "target.sensitivity"}
)
"""Names of what a question is about. Everything else is a fact that a record must hold for whoever reads it."""


class Concerned:
    """The policies of one bundle, ready to be looked through."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._heads = [(policy, parsed, _Head(parsed)) for policy in bundle.policies for parsed in (pst_of(policy),)]
        self._kept: dict[tuple[str, ...], Bundle] = {}

    def by(self, facts: Facts) -> Bundle:
        """Return a bundle that answers to these facts as the whole one would, and to any that differ in nothing of `ABOUT`."""
        policies = [policy for policy, parsed, head in self._heads if head.fits(facts) and not _is_out(parsed, facts)]
        ids = tuple(policy.id for policy in policies)
        found = self._kept.get(ids)
        if found is None:
            found = self._kept[ids] = _of(self._bundle, policies)
        return found


def _of(bundle: Bundle, policies: Sequence[Policy]) -> Bundle:
    return Bundle(version=bundle.version, policies=policies)


class _Head:
    """A policy's head, to look at quickly. What is not known here fits."""

    def __init__(self, parsed: pst.Template) -> None:
        self._person = _entity(parsed.principal)
        self._actions = _actions(parsed.action)
        self._resource = _entity(parsed.resource)

    def fits(self, facts: Facts) -> bool:
        """Say whether the head can match."""
        target = facts.target
        if self._actions is not None and target.action not in self._actions:
            return False
        if self._resource is not None:
            kind, name = self._resource
            if (kind == "App" and name != target.app) or (kind == "Route" and name != target.route):
                return False
        if self._person is None:
            return True
        kind, name = self._person
        person = facts.principal
        return not (
            (kind == "Role" and name not in person.roles)
            or (kind == "Organization" and name != person.organization)
            or (kind == "User" and name != person.id)
        )


def _entity(scope: Any) -> tuple[str, str] | None:
    match scope:
        case (
            pst.ScopeEq(pst.EntityUid(pst.EntityType(kind, ()), name))
            | pst.ScopeIn(pst.EntityUid(pst.EntityType(kind, ()), name))
            | pst.ScopeIsIn(_, pst.EntityUid(pst.EntityType(kind, ()), name))
        ):
            return kind, name
    return None


def _actions(scope: Any) -> frozenset[str] | None:
    match scope:
        case pst.ActionEq(pst.EntityUid(_, name)):
            return frozenset({name})
        case pst.ActionIn(entities):
            return frozenset(entity.id for entity in entities)
    return None


def _is_out(parsed: pst.Template, facts: Facts) -> bool:
    """Say whether the policy does not apply, whatever the facts that are not in `ABOUT`."""
    try:
        match = matches(parsed, facts)
    except NotModelled:
        return False
    if not match.in_scope:
        return True
    for clause in match.clauses:
        for conjunct in clause:
            if not ABOUT.issuperset(conjunct.reads) or conjunct.value not in {"true", "false"}:
                return False
            if conjunct.value == "false":
                return True
    return False

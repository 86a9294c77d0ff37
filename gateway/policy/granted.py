"""Which grants policies ask for: the names that they compare `context.grants` with, found in their parsed form (PST). Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import combinations
from typing import Any, Final

import msgspec
from cedarpy import pst

from gateway.policy.facts import Facts, PrincipalFacts, Situation

OTHERWISE: Final = "*"
ANY_GRANT: Final = "access"
"""The name of a grant where a policy only asks whether there is one."""
_NAMING: Final = frozenset({"contains", "contains_any", "contains_all", "eq"})


MAX_UNKNOWN: Final = 4
"""Names of which every combination is still tried."""


class GrantUse(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a policy asks for a grant, and for whom and what that policy is at most."""

    name: str
    """Empty: it only asks whether there is one; `*`: it asks in a way that is not understood here."""
    principal: tuple[str, str] | None = None
    """(entity type, id) that the person is or is in; None: anybody."""
    actions: tuple[str, ...] = ()
    """Empty: any."""
    resource: tuple[str, str] | None = None
    """(entity type, id) that the route is or is in; None: any."""


def grant_uses(policy: pst.Template) -> Iterator[GrantUse]:
    """Yield where a policy asks for a grant, each name once."""
    names = dict.fromkeys(name for clause in policy.clauses for name in _names(clause.expr))
    if sum(_reads(clause.expr) for clause in policy.clauses) > sum(_understood(clause.expr) for clause in policy.clauses):
        names[OTHERWISE] = None
    if names:
        principal, actions, resource = _entity(policy.principal), _actions(policy.action), _entity(policy.resource)
        for name in names:
            yield GrantUse(name=name, principal=principal, actions=actions, resource=resource)


def names_for(uses: Iterable[GrantUse], facts: Facts) -> tuple[str, ...]:
    """Return the names of grants that could matter to this person and target and are not in force: sorted, each once; last the
    general one, where a policy asks whether there is any.
    """
    found = {use.name for use in uses if _concerns(use, facts)}
    named = sorted(found - {"", OTHERWISE})
    return tuple(name for name in (*named, *([ANY_GRANT] if "" in found else [])) if name not in facts.grants)


def names_of(uses: Iterable[GrantUse], person: PrincipalFacts | None = None) -> tuple[str, ...]:
    """Return all names of grants that policies ask for, or those of policies that can concern a person: sorted, the general one
    last.
    """
    found = {use.name for use in uses if person is None or use.principal is None or use.principal in _parents(person)}
    return (*sorted(found - {"", OTHERWISE, ANY_GRANT}), *([ANY_GRANT] if found & {"", ANY_GRANT} else []))


def possibilities(uses: Iterable[GrantUse], facts: Facts) -> list[Facts] | None:
    """Return the facts for all that could be in force where nobody knows what is, of grants and for the hospital, as far as
    policies can tell it apart. None when that is more than can be tried, or a policy asks in a way that is not understood.

    Break-glass in the session is known and stays.
    """
    concerned = [use for use in uses if _concerns(use, facts)]
    bare = msgspec.structs.replace(facts, grants=())
    names = names_for(concerned, bare)
    if len(names) > MAX_UNKNOWN or any(use.name == OTHERWISE for use in concerned):
        return None
    situations: tuple[Situation, ...] = ("break_glass",) if facts.situation == "break_glass" else ("normal", "emergency")
    return [
        msgspec.structs.replace(bare, grants=tuple(sorted(chosen)), situation=situation)
        for situation in situations
        for size in range(len(names) + 1)
        for chosen in combinations(names, size)
    ]


def _concerns(use: GrantUse, facts: Facts) -> bool:
    target = facts.target
    return (
        (use.principal is None or use.principal in _parents(facts.principal))
        and (not use.actions or target.action in use.actions)
        and (use.resource is None or use.resource in {("Route", target.route), ("App", target.app)})
    )


def _parents(person: PrincipalFacts) -> set[tuple[str, str]]:
    return {("User", person.id), ("Organization", person.organization), *(("Role", role) for role in person.roles)}


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, pst.BinaryOp) and node.op in _NAMING:
        sides = (node.left, node.right)
        for grants, other in (sides, sides[::-1]):
            if _is_grants(grants):
                literals = other.elements if isinstance(other, pst.Set) else (other,)
                yield from (literal.value for literal in literals if isinstance(literal, pst.StringLit) and literal.value)
    if isinstance(node, pst.UnaryOp) and node.op == "is_empty" and _is_grants(node.arg):
        yield ""
    for child in _children(node):
        yield from _names(child)


def _reads(node: Any) -> int:
    """How often a clause reads the grants, whatever for: by name, or with the whole context."""
    if isinstance(node, pst.GetAttr | pst.HasAttr) and node.base == pst.Var(name="context"):
        return int(isinstance(node, pst.GetAttr) and node.attr == "grants")
    return int(node == pst.Var(name="context")) + sum(_reads(child) for child in _children(node))


def _understood(node: Any) -> int:
    """How often it asks for certain names, or whether there is one: what others there are makes no difference."""
    found = int(isinstance(node, pst.UnaryOp) and node.op == "is_empty" and _is_grants(node.arg))
    if isinstance(node, pst.BinaryOp) and node.op in _NAMING - {"eq"} and _is_grants(node.left):
        literals = node.right.elements if isinstance(node.right, pst.Set) else (node.right,)
        found += all(isinstance(literal, pst.StringLit) and literal.value for literal in literals)
    return found + sum(_understood(child) for child in _children(node))


def _is_grants(node: Any) -> bool:
    return isinstance(node, pst.GetAttr) and node.attr == "grants" and node.base == pst.Var(name="context")


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, tuple):
        return node
    if isinstance(node, Mapping):
        return node.values()
    return [getattr(node, field.name) for field in fields(node)] if is_dataclass(node) else ()


def _entity(scope: Any) -> tuple[str, str] | None:
    entity = getattr(scope, "entity", None)
    return (str(entity.type), entity.id) if isinstance(entity, pst.EntityUid) else None


def _actions(scope: Any) -> tuple[str, ...]:
    entities = scope.entities if isinstance(scope, pst.ActionIn) else (scope.entity,) if isinstance(scope, pst.ActionEq) else ()
    return tuple(entity.id for entity in entities)

"""Conditions on a single fact, whichever way they are written in Cedar: which fact, how compared, with what. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from cedarpy import pst

from gateway.policy.reads import LEAVES
from gateway.policy.words import fact_names

Op = Literal[
    "yes", "no", "known", "unknown", "some", "none", "eq", "not_eq", "less", "less_eq", "greater", "greater_eq",
    "includes", "not_includes", "includes_all", "not_includes_all", "like", "not_like",
]  # fmt: skip
Operand = str | int

NEGATED: Final[Mapping[Op, Op]] = {
    "yes": "no", "known": "unknown", "some": "none", "eq": "not_eq", "less": "greater_eq", "greater": "less_eq",
    "includes": "not_includes", "includes_all": "not_includes_all", "like": "not_like",
}  # fmt: skip
_OPPOSITE: Final[Mapping[Op, Op]] = {**NEGATED, **{other: one for one, other in NEGATED.items()}}
_TURNED: Final[Mapping[str, Op]] = {
    "eq": "eq", "not_eq": "not_eq", "less": "greater", "greater": "less", "less_eq": "greater_eq", "greater_eq": "less_eq",
}  # fmt: skip
_PARENTS: Final = {"Role": "principal.roles", "Organization": "principal.organization", "User": "principal.id"}
_PLACES: Final = {"App": "target.app", "Route": "target.route"}


class Atom(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on one fact. `eq` and `includes`: any of the values; `not_eq` and `not_includes`: none of them."""

    fact: str
    """Its name in `Facts`: "device.compliant"."""
    op: Op
    values: tuple[Operand, ...] = ()


def atom_of(expr: pst.Expr, *, negated: bool = False) -> Atom | None:
    """Return the condition on one fact that this is (or whose negation, with `negated`); None when it is anything else."""
    if isinstance(expr, pst.UnaryOp) and expr.op == "not":
        return atom_of(expr.arg, negated=not negated)
    atom = _plain(expr)
    if atom is None or not negated:
        return atom
    return msgspec.structs.replace(atom, op=_OPPOSITE[atom.op])


def merged(conditions: Sequence[Atom | pst.Expr]) -> list[Atom | pst.Expr]:
    """Put together, of conditions of which one must hold, those that name values of the same fact."""
    found: list[Atom | pst.Expr] = []
    for one in conditions:
        if isinstance(one, Atom) and one.op in {"eq", "includes"}:
            for place, other in enumerate(found):
                if isinstance(other, Atom) and (other.fact, other.op) == (one.fact, one.op):
                    values = tuple(dict.fromkeys(other.values + one.values))
                    found[place] = msgspec.structs.replace(other, values=values)
                    break
            else:
                found.append(one)
        else:
            found.append(one)
    return found


def _plain(expr: pst.Expr) -> Atom | None:
    match expr:
        case pst.GetAttr():
            fact = _fact(expr)
            return Atom(fact=fact, op="yes") if fact and _type(fact) in {bool, bool | None} else None
        case pst.HasAttr(base, attrs):
            fact = LEAVES.get((*_path(base), *attrs), "")
            return Atom(fact=fact, op="known") if fact and type(None) in getattr(_type(fact), "__args__", ()) else None
        case pst.UnaryOp("is_empty", arg):
            fact = _fact(arg)
            return Atom(fact=fact, op="none") if fact and _is_set(fact) else None
        case pst.Like(base, pattern):
            fact = _fact(base)
            shown = "".join("*" if isinstance(part, pst.Wildcard) else part.value.replace("*", "\\*") for part in pattern)
            return Atom(fact=fact, op="like", values=(shown,)) if fact else None
        case pst.Is(pst.Var() as variable, _, within) if within is not None:
            return _entity(variable, "in", within) if _of_its_type(expr, variable) else None
        case pst.BinaryOp():
            return _binary(expr)
    return None


def _of_its_type(expr: pst.Is, variable: pst.Var) -> bool:
    """Whether `is` says no more than the schema does."""
    return {"principal": "User", "resource": "Route", "action": "Action"}.get(variable.name) == str(expr.entity_type)


def _binary(expr: pst.BinaryOp) -> Atom | None:
    if expr.op in {"contains", "contains_any", "contains_all"}:
        return _contains(expr)
    if isinstance(expr.left, pst.Var):
        return _entity(expr.left, expr.op, expr.right)
    if isinstance(expr.right, pst.Var) and expr.op in {"eq", "not_eq"}:
        return _entity(expr.right, expr.op, expr.left)
    for place, other, turned in ((expr.left, expr.right, False), (expr.right, expr.left, True)):
        fact = _fact(place)
        if fact and expr.op in _TURNED:
            op: Op = _TURNED[expr.op] if turned else _TURNED[_TURNED[expr.op]]
            if isinstance(other, pst.LongLit | pst.StringLit):
                return Atom(fact=fact, op=op, values=(other.value,))
            if isinstance(other, pst.BoolLit) and op in {"eq", "not_eq"}:
                return Atom(fact=fact, op="yes" if other.value is (op == "eq") else "no")
    return None


def _contains(expr: pst.BinaryOp) -> Atom | None:
    left, right = expr.left, expr.right
    fact = _fact(left)
    if fact and _is_set(fact):
        if expr.op == "contains":
            return Atom(fact=fact, op="includes", values=(right.value,)) if isinstance(right, pst.StringLit) else None
        values = _literals(right)
        op: Op = "includes" if expr.op == "contains_any" or len(values or ()) == 1 else "includes_all"
        return Atom(fact=fact, op=op, values=values) if values else None
    if expr.op != "contains" or not isinstance(left, pst.Set):
        return None
    if isinstance(right, pst.Var):
        return _entity(right, "member", left)
    fact, values = _fact(right), _literals(left)
    return Atom(fact=fact, op="eq", values=values) if fact and values else None


def _entity(variable: pst.Var, op: str, other: pst.Expr) -> Atom | None:
    """Who, which action or what, compared with names of one type. `==` with something of another type is never true: no atom."""
    if op not in {"eq", "not_eq", "in", "member"} or (isinstance(other, pst.Set) and op in {"eq", "not_eq"}):
        return None  # a set is never equal to one of its members
    named = other.elements if isinstance(other, pst.Set) else (other,)
    uids = [one.value for one in named if isinstance(one, pst.EntityLit)]
    if not uids or len(uids) < len(named) or len({uid.type for uid in uids}) > 1:
        return None
    kind, values = str(uids[0].type), tuple(dict.fromkeys(uid.id for uid in uids))
    fact = ""
    if variable.name == "principal" and (op == "in" or kind == "User"):
        fact = _PARENTS.get(kind, "")
    elif variable.name == "resource" and (op == "in" or kind == "Route"):
        fact = _PLACES.get(kind, "")
    elif variable.name == "action" and kind == "Action":
        fact = "target.action"
    if not fact:
        return None
    if fact == "principal.roles":
        return Atom(fact=fact, op="includes", values=values)
    return Atom(fact=fact, op="not_eq" if op == "not_eq" else "eq", values=values)


def _literals(expr: pst.Expr) -> tuple[Operand, ...] | None:
    if not isinstance(expr, pst.Set):
        return None
    values = tuple(one.value for one in expr.elements if isinstance(one, pst.StringLit | pst.LongLit))
    return values if values and len(values) == len(expr.elements) else None


def _fact(expr: pst.Expr) -> str:
    return LEAVES.get(_path(expr), "")


def _type(fact: str) -> object:
    return fact_names()[fact]


def _is_set(fact: str) -> bool:
    return getattr(_type(fact), "__origin__", None) is tuple


def _path(node: pst.Expr) -> tuple[str, ...]:
    names: list[str] = []
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return (node.name, *reversed(names)) if isinstance(node, pst.Var) else ()

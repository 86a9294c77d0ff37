"""Which facts a condition reads, and which literals it compares them with: what is needed to try all that it can tell apart.

A condition that does with a fact what can't be tried out (arithmetic with ages, patterns over free text, one text compared with
another) is undecidable here: whoever asks must then say "not known", never guess. Pure.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, get_type_hints

import msgspec
from cedarpy import pst

from gateway.policy.facts import Facts
from gateway.policy.reads import LEAVES, Path, whole_numbers
from gateway.policy.schema import closed_words

ROLES: Final = "principal.roles"
ORGANIZATION: Final = "principal.organization"
PERSON: Final = "principal.id"
APP: Final = "target.app"
ROUTE: Final = "target.route"
ACTION: Final = "target.action"

_OF_TYPE: Final[Mapping[str, str]] = {
    "User": PERSON, "Role": ROLES, "Organization": ORGANIZATION, "Route": ROUTE, "App": APP, "Action": ACTION,
}  # fmt: skip
SMALL: Final[Mapping[str, range]] = {
    "authentication.factors": range(3),
    "proofing.level": range(4),
    "device.evidence_strength": range(4),
    "time.hour": range(24),
    "time.weekday": range(1, 8),
}
"""Numbers that only ever have these values: `gateway.pipeline.gather` makes them, and `README.md` says so."""
NUMBERS: Final = frozenset(whole_numbers())
_CLOSED: Final = frozenset(LEAVES[path] for path in closed_words())
_COMPARING: Final = frozenset({"eq", "not_eq", "less", "less_eq", "greater", "greater_eq"})
_EXTENSIONS: Final = frozenset(
    {
        "get_tag",
        "has_tag",
        "is_in_range",
        "offset",
        "duration_since",
        "decimal_less_than",
        "decimal_less_eq",
        "decimal_greater",
        "decimal_greater_eq",
    }
)
"""What `gateway.policy.expression` does not evaluate."""
_MEMBERS: Final = frozenset({"contains", "contains_all", "contains_any", "eq", "not_eq"})


def _kind_of(name: str) -> Any:
    part, _, attribute = name.partition(".")
    hint = get_type_hints(Facts)[part]
    return get_type_hints(hint)[attribute] if attribute else hint


BOOLEANS: Final = frozenset(name for name in LEAVES.values() if _kind_of(name) in {bool, bool | None})
SETS: Final = frozenset(name for name in LEAVES.values() if _kind_of(name) == tuple[str, ...])
"""Open sets of names. `authentication.kinds` is a set, too, of closed words."""
COMPLETE: Final = frozenset(SMALL) | BOOLEANS | _CLOSED
"""Facts of which every value is tried: conditions may do with them what they like."""


class Undecidable(Exception):  # noqa: N818  an outcome, not a failure
    """What this condition makes of a fact can't be shown by trying some values."""


class Vocabulary(msgspec.Struct, frozen=True):
    """What one condition reads."""

    literals: Mapping[str, frozenset[int | str]]
    """Each fact that it reads, and what it is compared with. Names are those of `Facts`."""

    @property
    def names(self) -> frozenset[str]:
        """The facts that it reads."""
        return frozenset(self.literals)


@lru_cache(maxsize=16_384)
def vocabulary_of(expr: pst.Expr) -> Vocabulary | None:
    """Return what a condition reads; None when it is undecidable."""
    found = _Found()
    try:
        found.look(expr)
    except Undecidable:
        return None
    return Vocabulary({name: frozenset(literals) for name, literals in found.literals.items()})


class _Found:
    def __init__(self) -> None:
        self.literals: dict[str, set[int | str]] = {}

    def look(self, node: pst.Expr) -> None:
        """Take in one expression and all below it. Undecidable for what can't be tried out."""
        if isinstance(node, pst.BinaryOp) and self._of_fact(node):
            return
        if isinstance(node, pst.UnaryOp) and node.op == "is_empty" and leaf(node.arg) in SETS:
            self._add(leaf(node.arg))
        elif isinstance(node, pst.GetAttr | pst.Like):
            name = leaf(node.base if isinstance(node, pst.Like) else node)
            if name not in COMPLETE:
                raise Undecidable
            self._add(name)
        elif isinstance(node, pst.HasAttr):
            self._has(node)
        elif isinstance(node, pst.Is) and isinstance(node.base, pst.Var):
            if node.in_expr is not None:
                self._entity(node.base, node.in_expr)
        else:
            for inner in _below(node):
                self.look(inner)

    def _add(self, name: str, *literals: int | str) -> None:
        self.literals.setdefault(name, set()).update(literals)

    def _of_fact(self, node: pst.BinaryOp) -> bool:
        """Whether this compares one fact with literals; then it is taken in."""
        if node.op in {"in", "eq", "not_eq", "contains"}:
            for variable, other in ((node.left, node.right), (node.right, node.left)):
                if isinstance(variable, pst.Var) and variable.name != "context":
                    self._entity(variable, other)
                    return True
        for side, other in ((node.left, node.right), (node.right, node.left)):
            name = leaf(side)
            if name in COMPLETE or not name:
                continue  # nothing special: both sides are looked at as any expression
            literals = _literals(other)
            if literals is None:
                return False
            if name in NUMBERS and node.op in _COMPARING and isinstance(other, pst.LongLit):
                self._add(name, *literals)
                return True
            if name in SETS and node.op in _MEMBERS and side is node.left:
                self._add(name, *literals)
                return True
            if name not in NUMBERS | SETS and node.op in {"eq", "not_eq", "contains"}:
                self._add(name, *literals)
                return True
        return False

    def _entity(self, variable: pst.Var, other: pst.Expr) -> None:
        """The person, action or route is, or belongs to, something that is named."""
        for one in other.elements if isinstance(other, pst.Set) else (other,):
            if not isinstance(one, pst.EntityLit):
                raise Undecidable
            name = _OF_TYPE.get(str(one.value.type))
            if name is None:
                raise Undecidable
            self._add(name, one.value.id)

    def _has(self, node: pst.HasAttr) -> None:
        path = path_of(node.base)
        if not path:
            raise Undecidable
        for attribute in node.attrs:
            path = (*path, attribute)
            name = LEAVES.get(path)
            if name is not None:
                self._add(name)


def leaf(node: pst.Expr) -> str:
    """Return the fact that this attribute is; empty for anything else."""
    return LEAVES.get(path_of(node), "")


def path_of(node: pst.Expr) -> Path:
    """Return the path of plain attributes of a variable; empty for anything else."""
    names: list[str] = []
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return (node.name, *reversed(names)) if isinstance(node, pst.Var) else ()


def _below(node: pst.Expr) -> tuple[pst.Expr, ...]:
    """What an expression that is of no fact by itself is made of."""
    match node:
        case pst.BoolLit() | pst.LongLit() | pst.StringLit() | pst.EntityLit():
            return ()
        case pst.UnaryOp(op, arg) if op in {"not", "neg", "is_empty"}:
            return (arg,)
        case pst.BinaryOp(op, left, right) if op not in _EXTENSIONS:
            return (left, right)
        case pst.IfThenElse(cond, then_expr, else_expr):
            return (cond, then_expr, else_expr)
        case pst.Set(elements):
            return elements
    raise Undecidable


def _literals(node: pst.Expr) -> list[int | str] | None:
    """The literals that stand here, alone or in a set; None when it is anything else."""
    found: list[int | str] = []
    for one in node.elements if isinstance(node, pst.Set) else (node,):
        if not isinstance(one, pst.LongLit | pst.StringLit):
            return None
        found.append(one.value)
    return found

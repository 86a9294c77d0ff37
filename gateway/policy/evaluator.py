"""Cedar's evaluator over one request: an expression's value, every error that it can come to, and what it looked at. Pure."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from cedarpy import pst

from gateway.policy.reads import LEAVES, Path
from gateway.policy.values import (
    Erring,
    Fields,
    Many,
    NotModelled,
    Question,
    Value,
    kind_of,
    long,
    members_of,
    number_of,
    same,
    tagged,
)

_RELATIVES: Final[Mapping[str, str]] = {"Role": "principal.roles", "Organization": "principal.organization"}
_ITSELF: Final[Mapping[str, str]] = {"principal": "principal.id", "action": "target.action", "resource": "target.route"}


class Evaluator:
    """Cedar's evaluator for what the schema's types can make, and every error that it can come to."""

    def __init__(self, question: Question, reads: dict[str, object]) -> None:
        self._question = question
        self._reads = reads

    def value(self, expr: pst.Expr) -> Value:
        """The value of an expression. Its depth is bounded: Cedar's own conversion refuses more than 100 levels."""
        how = self._HOW.get(type(expr))
        if how is None:
            raise NotModelled(f"{type(expr).__name__} is not modelled")
        return how(self, expr)

    def _read(self, path: Path) -> None:
        for name, part, attribute in _below(path):
            whole = getattr(self._question.facts, part)
            self._reads[name] = getattr(whole, attribute) if attribute else whole

    def _read_entity(self, variable: pst.Expr, other: pst.Expr) -> None:
        """Note which fact says whether the person, action or route is or belongs to something."""
        if not isinstance(variable, pst.Var) or variable.name == "context":
            return
        named = other.elements if isinstance(other, pst.Set) else (other,)
        for one in named:
            kind = str(one.value.type) if isinstance(one, pst.EntityLit) else ""
            name = _ITSELF[variable.name]
            if variable.name == "principal":
                name = _RELATIVES.get(kind, name)
            elif kind == "App":
                name = "target.app"
            part, _, attribute = name.partition(".")
            self._reads[name] = getattr(getattr(self._question.facts, part), attribute)

    def _bool(self, expr: pst.Expr) -> bool:
        value = self.value(expr)
        if not isinstance(value, bool):
            raise Erring(f"{kind_of(value)} is not yes or no")
        return value

    def _var(self, expr: pst.Var) -> Value:
        if expr.name == "context":
            self._read(("context",))
        return self._question.variables[expr.name]

    def _base(self, expr: pst.Expr) -> Value:
        """What an attribute is taken from, which is itself no reading of all that is in it."""
        if isinstance(expr, pst.Var):
            return self._question.variables[expr.name]
        if isinstance(expr, pst.GetAttr):
            return self._attribute(self._base(expr.base), expr.attr)
        return self.value(expr)

    def _get(self, expr: pst.GetAttr) -> Value:
        if path := _path(expr):
            self._read(path)
        return self._attribute(self._base(expr.base), expr.attr)

    def _attribute(self, base: Value, name: str) -> Value:
        value = self._fields(base).get(name)
        if value is None:
            raise Erring(f"{name} is not known")
        return value

    def _fields(self, base: Value) -> Fields:
        if isinstance(base, Fields):
            return base
        if isinstance(base, pst.EntityUid):
            known = self._question.entities.get(base)
            return known.attributes if known else Fields(())
        raise Erring(f"{kind_of(base)} has no attributes")

    def _has(self, expr: pst.HasAttr) -> Value:
        base, path = self._base(expr.base), _path(expr.base)
        for name in expr.attrs:
            path = (*path, name) if path else ()
            if LEAVES.get(path):
                self._read(path)
            inner = self._fields(base).get(name)
            if inner is None:
                return False
            base = inner
        return True

    def _like(self, expr: pst.Like) -> Value:
        base = self.value(expr.base)
        if not isinstance(base, str):
            raise Erring(f"{kind_of(base)} is not a text")
        return _fits(base, [None if isinstance(part, pst.Wildcard) else part.value for part in expr.pattern])

    def _is(self, expr: pst.Is) -> Value:
        base = self.value(expr.base)
        if not isinstance(base, pst.EntityUid):
            raise Erring(f"{kind_of(base)} is not an entity")
        if base.type != expr.entity_type:
            return False
        return True if expr.in_expr is None else self._in(pst.BinaryOp("in", expr.base, expr.in_expr))

    def _if(self, expr: pst.IfThenElse) -> Value:
        return self.value(expr.then_expr if self._bool(expr.cond) else expr.else_expr)

    def _unary(self, expr: pst.UnaryOp) -> Value:
        if expr.op == "not":
            return not self._bool(expr.arg)
        if expr.op == "neg":
            return long(-number_of(self.value(expr.arg)))
        if expr.op == "is_empty":
            return not members_of(self.value(expr.arg)).members
        raise NotModelled(f"{expr.op} is not modelled")

    def _binary(self, expr: pst.BinaryOp) -> Value:
        if expr.op == "and":
            return self._bool(expr.left) and self._bool(expr.right)
        if expr.op == "or":
            return self._bool(expr.left) or self._bool(expr.right)
        if expr.op == "in":
            return self._in(expr)
        how = _BINARY.get(expr.op)
        if how is None:
            raise NotModelled(f"{expr.op} is not modelled")
        for one, other in ((expr.left, expr.right), (expr.right, expr.left)):
            self._read_entity(one, other)
        return how(self.value(expr.left), self.value(expr.right))

    def _in(self, expr: pst.BinaryOp) -> Value:
        self._read_entity(expr.left, expr.right)
        left, right = self.value(expr.left), self.value(expr.right)
        if not isinstance(left, pst.EntityUid):
            raise Erring(f"{kind_of(left)} is not an entity")
        groups = right.values() if isinstance(right, Many) else [right]
        if not all(isinstance(group, pst.EntityUid) for group in groups):
            raise Erring(f"{kind_of(right)} is not an entity, or a set of them")
        known = self._question.entities.get(left)
        return any(group == left or (known is not None and group in known.parents) for group in groups)

    _HOW: Final[Mapping[type, Callable[..., Value]]] = {
        pst.Var: _var,
        pst.BoolLit: lambda _self, expr: expr.value,
        pst.LongLit: lambda _self, expr: expr.value,
        pst.StringLit: lambda _self, expr: expr.value,
        pst.EntityLit: lambda _self, expr: expr.value,
        pst.UnaryOp: _unary,
        pst.BinaryOp: _binary,
        pst.GetAttr: _get,
        pst.HasAttr: _has,
        pst.Like: _like,
        pst.Is: _is,
        pst.IfThenElse: _if,
        pst.Set: lambda self, expr: Many.of(map(self.value, expr.elements)),
        pst.Record: lambda self, expr: Fields.of({name: self.value(inner) for name, inner in expr.fields.items()}),
    }


_BINARY: Final[Mapping[str, Callable[[Value, Value], Value]]] = {
    "eq": same,
    "not_eq": lambda left, right: not same(left, right),
    "less": lambda left, right: number_of(left) < number_of(right),
    "less_eq": lambda left, right: number_of(left) <= number_of(right),
    "greater": lambda left, right: number_of(left) > number_of(right),
    "greater_eq": lambda left, right: number_of(left) >= number_of(right),
    "add": lambda left, right: long(number_of(left) + number_of(right)),
    "sub": lambda left, right: long(number_of(left) - number_of(right)),
    "mul": lambda left, right: long(number_of(left) * number_of(right)),
    "contains": lambda left, right: tagged(right) in members_of(left).members,
    "contains_all": lambda left, right: members_of(left).members >= members_of(right).members,
    "contains_any": lambda left, right: bool(members_of(left).members & members_of(right).members),
}


def _fits(text: str, pattern: list[str | None]) -> bool:
    """Whether a text is as a pattern says, None standing for any run of characters. Never slower than length times length."""
    at = place = 0
    star, mark = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] is None:
            star, mark = place, at
            place += 1
        elif place < len(pattern) and pattern[place] == text[at]:
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return all(part is None for part in pattern[place:])


@lru_cache(maxsize=256)
def _below(path: Path) -> tuple[tuple[str, str, str], ...]:
    """The facts at and below a path: name, part of `Facts`, attribute of that."""
    names = (name for leaf, name in LEAVES.items() if leaf[: len(path)] == path)
    return tuple((name, name.partition(".")[0], name.partition(".")[2]) for name in names)


def _path(node: pst.Expr) -> Path:
    """The path of plain attributes of a variable; empty for anything else."""
    names: list[str] = []
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return (node.name, *reversed(names)) if isinstance(node, pst.Var) else ()

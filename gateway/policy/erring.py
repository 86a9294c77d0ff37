"""Whether a policy can come upon something that Cedar can't evaluate. Pure.

Strict typing leaves whole numbers that overflow, and extension functions of what is no literal. Bounds of numbers are followed
through arithmetic: an hour plus one never overflows. What guards an expression is not looked at, so this errs towards "it can".
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from cedarpy import pst

from gateway.policy.vocabulary import SMALL, leaf

_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**63 - 1
_BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    **{name: (values[0], values[-1]) for name, values in SMALL.items()},
    "time.day": (0, 99_991_231),
}
_SIGNS: Final[Mapping[str, str]] = {"add": "+", "sub": "-", "mul": "*", "neg": "-"}
_MAKERS: Final = frozenset({"datetime", "decimal", "duration", "ip"})
_OFFSETS: Final = frozenset({"offset", "duration_since"})
Span = tuple[int, int]


def can_err(policy: pst.Template) -> str:
    """Return what in a policy can fail to be evaluated, in a few words; empty when nothing can."""
    return next((what for clause in policy.clauses for what in _found(clause.expr)), "")


def _found(node: Any) -> Iterator[str]:
    if isinstance(node, pst.BinaryOp) and node.op in _SIGNS:
        span = _span(node)
        if not _fits(span):
            yield f"`{_SIGNS[node.op]}` can make a number too large"
    elif isinstance(node, pst.UnaryOp) and node.op == "neg" and not _fits(_span(node)):
        yield "`-` can make a number too large"
    elif isinstance(node, pst.UnaryOp) and node.op in _MAKERS and not isinstance(node.arg, pst.StringLit):
        yield f"{node.op}() is made of what is no literal"
    elif isinstance(node, pst.BinaryOp) and node.op in _OFFSETS:
        yield f"{node.op.replace('duration_since', 'durationSince')}() can leave the range of times"
    for child in _children(node):
        yield from _found(child)


def _fits(span: Span) -> bool:
    return span[0] >= _LOWEST and span[1] <= _HIGHEST


def _span(node: pst.Expr) -> Span:
    """Between which numbers an expression lies, were numbers without end; one that may be anything is any that Cedar has."""
    match node:
        case pst.LongLit(value):
            return value, value
        case pst.UnaryOp("neg", arg):
            low, high = _cut(arg)
            return -high, -low
        case pst.BinaryOp("add", left, right):
            (a, b), (c, d) = _cut(left), _cut(right)
            return a + c, b + d
        case pst.BinaryOp("sub", left, right):
            (a, b), (c, d) = _cut(left), _cut(right)
            return a - d, b - c
        case pst.BinaryOp("mul", left, right):
            corners = [one * other for one in _cut(left) for other in _cut(right)]
            return min(corners), max(corners)
        case pst.IfThenElse(_, then_expr, else_expr):
            (a, b), (c, d) = _cut(then_expr), _cut(else_expr)
            return min(a, c), max(b, d)
    return _BOUNDS.get(leaf(node), (_LOWEST, _HIGHEST))


def _cut(node: pst.Expr) -> Span:
    """What an operand can be: what overflows has failed before."""
    low, high = _span(node)
    return max(low, _LOWEST), min(high, _HIGHEST)


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, tuple):
        yield from node
    elif isinstance(node, Mapping):
        yield from node.values()
    elif is_dataclass(node):
        yield from (getattr(node, field.name) for field in fields(node))

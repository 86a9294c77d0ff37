"""Cedar's parsed form back to Cedar text: for what no sentence says. Pure.

What is returned means exactly what was given (a property test parses it again), with as few brackets as Cedar's grammar allows.
"""

import re
from collections.abc import Mapping
from typing import Final

from cedarpy import pst

_LEVELS: Final[Mapping[str, tuple[str, int]]] = {
    "or": ("||", 1), "and": ("&&", 2),
    "eq": ("==", 3), "not_eq": ("!=", 3), "less": ("<", 3), "less_eq": ("<=", 3), "greater": (">", 3), "greater_eq": (">=", 3),
    "in": ("in", 3), "add": ("+", 4), "sub": ("-", 4), "mul": ("*", 5),
}  # fmt: skip
_RELATION: Final = 3
_UNARY: Final = 6
_MEMBER: Final = 7
_METHODS: Final = {
    "contains": "contains", "contains_all": "containsAll", "contains_any": "containsAny",
    "get_tag": "getTag", "has_tag": "hasTag",
    "is_in_range": "isInRange", "offset": "offset", "duration_since": "durationSince", "decimal_less_than": "lessThan",
    "decimal_less_eq": "lessThanOrEqual", "decimal_greater": "greaterThan", "decimal_greater_eq": "greaterThanOrEqual",
    "is_empty": "isEmpty", "is_ipv4": "isIpv4", "is_ipv6": "isIpv6", "is_loopback": "isLoopback", "is_multicast": "isMulticast",
    "to_date": "toDate", "to_time": "toTime", "to_milliseconds": "toMilliseconds", "to_seconds": "toSeconds",
    "to_minutes": "toMinutes", "to_hours": "toHours", "to_days": "toDays",
}  # fmt: skip
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED: Final = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"})


def cedar_of(expr: pst.Expr) -> str:
    """Return an expression as Cedar text on one line."""
    return _text(expr, 0)


def _text(expr: pst.Expr, least: int) -> str:
    """As text that binds at least as tightly as `least`: in brackets where it would not."""
    text, level = _bare(expr)
    return text if level >= least else f"({text})"


def _bare(expr: pst.Expr) -> tuple[str, int]:
    """As text, and how tightly that binds."""
    match expr:
        case pst.UnaryOp():
            return _unary(expr)
        case pst.BinaryOp():
            return _binary(expr)
        case pst.HasAttr() | pst.Like() | pst.Is():
            return _tested(expr), _RELATION
        case pst.IfThenElse(condition, then, otherwise):
            return f"if {_text(condition, 0)} then {_text(then, 0)} else {_text(otherwise, 0)}", 0
        case pst.GetAttr(base, attr):
            return _text(base, _MEMBER) + (f".{attr}" if _plain(attr) else f"[{quoted(attr)}]"), _MEMBER
        case pst.Set(elements):
            return f"[{', '.join(_text(one, 0) for one in elements)}]", _MEMBER
        case pst.Record(fields):
            within = ", ".join(f"{name if _plain(name) else quoted(name)}: {_text(one, 0)}" for name, one in fields.items())
            return f"{{{within}}}", _MEMBER
        case _:
            return _single(expr), (_UNARY if isinstance(expr, pst.LongLit) and expr.value < 0 else _MEMBER)


def _single(expr: pst.Var | pst.Slot | pst.Lit) -> str:
    match expr:
        case pst.Var(name):
            return name
        case pst.Slot(name):
            return f"?{name}"
        case pst.BoolLit(value):
            return "true" if value else "false"
        case pst.LongLit(value):
            return str(value)
        case pst.StringLit(value):
            return quoted(value)
        case pst.EntityLit(value):
            return f"{value.type}::{quoted(value.id)}"


def _tested(expr: pst.HasAttr | pst.Like | pst.Is) -> str:
    base = _text(expr.base, _RELATION + 1)
    if isinstance(expr, pst.HasAttr):
        return f"{base} has {'.'.join(expr.attrs) if all(map(_plain, expr.attrs)) else quoted(expr.attrs[0])}"
    if isinstance(expr, pst.Like):
        return f'{base} like "{"".join("*" if isinstance(part, pst.Wildcard) else _char(part.value) for part in expr.pattern)}"'
    return f"{base} is {expr.entity_type}" + ("" if expr.in_expr is None else f" in {_text(expr.in_expr, _RELATION + 1)}")


def _unary(expr: pst.UnaryOp) -> tuple[str, int]:
    if expr.op in {"not", "neg"}:
        # Minus before a number would make another number of it.
        inner = _text(expr.arg, _MEMBER + (expr.op == "neg" and isinstance(expr.arg, pst.LongLit)))
        return ("!" if expr.op == "not" else "-") + inner, _UNARY
    if expr.op in {"datetime", "decimal", "duration", "ip"}:
        return f"{expr.op}({_text(expr.arg, 0)})", _MEMBER
    return f"{_text(expr.arg, _MEMBER)}.{_METHODS[expr.op]}()", _MEMBER


def _binary(expr: pst.BinaryOp) -> tuple[str, int]:
    if expr.op in _METHODS:
        return f"{_text(expr.left, _MEMBER)}.{_METHODS[expr.op]}({_text(expr.right, 0)})", _MEMBER
    mark, level = _LEVELS[expr.op]
    # Relations don't chain; the others group to the left.
    return f"{_text(expr.left, level + (level == _RELATION))} {mark} {_text(expr.right, level + 1)}", level


def _plain(name: str) -> bool:
    return bool(_IDENTIFIER.fullmatch(name)) and name not in _RESERVED


def quoted(text: str) -> str:
    """Return a text as Cedar writes it, everything that could not be seen escaped."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\u{{{ord(char):x}}}"


def _char(char: str) -> str:
    return "\\*" if char == "*" else _escaped(char)

"""Which facts an expression speaks of, by their names in `Facts`. Pure."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from cedarpy import pst

from gateway.policy.reads import LEAVES

_OF_TYPE: Final = {
    "Role": "principal.roles", "Organization": "principal.organization", "User": "principal.id",
    "App": "target.app", "Route": "target.route", "Action": "target.action",
}  # fmt: skip


def facts_in(expr: pst.Expr) -> frozenset[str]:
    """Return the names of the facts that an expression names: attributes, and what persons, groups and places stand for."""
    found: set[str] = set()
    _look(expr, found)
    return frozenset(found)


def _look(node: Any, found: set[str]) -> None:
    if isinstance(node, pst.GetAttr | pst.HasAttr):
        path = _path(node)
        if path in LEAVES:
            found.add(LEAVES[path])
            return
    if isinstance(node, pst.EntityUid):
        found.update(filter(None, [_OF_TYPE.get(str(node.type))]))
    elif isinstance(node, tuple):
        for item in node:
            _look(item, found)
    elif isinstance(node, Mapping):
        for item in node.values():
            _look(item, found)
    elif is_dataclass(node):
        for field in fields(node):
            _look(getattr(node, field.name), found)


def _path(node: Any) -> tuple[str, ...]:
    names: list[str] = []
    if isinstance(node, pst.HasAttr):
        names += reversed(node.attrs)
        node = node.base
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return (node.name, *reversed(names)) if isinstance(node, pst.Var) else ()

"""What a set of policies reads of the facts, found in their parsed form (Cedar's PST). Pure.

It is there for `gateway.policy.cache`: two requests that differ only in what no policy can tell apart have the same answer.
Whatever this does not understand counts as read exactly, so a new construct of the language costs speed, never a wrong answer.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final, get_type_hints

import msgspec
from cedarpy import pst

from gateway.policy.facts import Facts
from gateway.policy.granted import GrantUse, grant_uses
from gateway.policy.schema import facts_paths

_COMPARING: Final = frozenset({"eq", "not_eq", "less", "less_eq", "greater", "greater_eq"})
_PASSED_THROUGH: Final = (pst.UnaryOp, pst.BinaryOp, pst.Like, pst.Is, pst.IfThenElse, pst.Set, pst.Record)
_READS_NOTHING: Final = (
    pst.BoolLit, pst.LongLit, pst.StringLit, pst.EntityLit, pst.Slot, pst.EntityType, pst.Char, pst.Wildcard, str, type(None),
)  # fmt: skip
Path = tuple[str, ...]
"""An attribute as Cedar spells it: `("context", "device", "evidence")`."""

LEAVES: Final[Mapping[Path, str]] = facts_paths()
"""Every attribute that policies can read, and where it stands in `Facts`: `"device.evidence"`."""


class Reads(msgspec.Struct, frozen=True, kw_only=True):
    """What policies can tell of the facts. Names are those of `Facts`: `"device.evidence"`."""

    exact: frozenset[str]
    """Attributes whose very value may matter."""
    thresholds: Mapping[str, tuple[int, ...]]
    """Whole numbers that are only asked whether they are known, and how they compare with these numbers (sorted)."""
    grants: tuple[GrantUse, ...] = ()
    """Where `context.grants` is asked for something."""


def reads_of(policies: Iterable[pst.Template]) -> Reads:
    """Say what these policies read."""
    found, parsed = _Found(), list(policies)
    for policy in parsed:
        for clause in policy.clauses:
            found.look(clause.expr)
    return Reads(
        exact=frozenset(found.exact),
        thresholds={name: tuple(sorted(numbers)) for name, numbers in found.numbers.items() if name not in found.exact},
        grants=tuple(use for policy in parsed for use in grant_uses(policy)),
    )


def place(number: int | None, thresholds: tuple[int, ...]) -> int:
    """Return a mark that is the same for two numbers exactly when they compare alike with every threshold; -1 for None."""
    if number is None:
        return -1
    index = bisect_left(thresholds, number)
    return 2 * index + (index < len(thresholds) and thresholds[index] == number)


def whole_numbers() -> tuple[str, ...]:
    """Return the names of the attributes of `Facts` that are whole numbers, optional ones included."""
    names = []
    for name in LEAVES.values():
        part, _, attribute = name.partition(".")
        hint = get_type_hints(Facts)[part]
        if attribute and get_type_hints(hint)[attribute] in {int, int | None}:
            names.append(name)
    return tuple(names)


_NUMBERS: Final = frozenset(whole_numbers())


class _Found:
    """What was found so far."""

    def __init__(self) -> None:
        self.exact: set[str] = set()
        self.numbers: dict[str, set[int]] = {}

    def look(self, node: Any) -> None:
        """Take in one expression and all below it."""
        if isinstance(node, pst.BinaryOp) and node.op in _COMPARING and self._compared(node):
            return
        if isinstance(node, pst.Var):
            self._all_below((node.name,))
        elif isinstance(node, pst.GetAttr):
            path = _path(node)
            if path:
                self._all_below(path)
            else:
                self._everything()
        elif isinstance(node, pst.HasAttr):
            base = _path(node.base)
            if base:
                self._known((*base, *node.attrs))
            else:
                self._everything()
        elif isinstance(node, _READS_NOTHING):
            pass
        elif (children := _children(node)) is not None:
            for child in children:
                self.look(child)
        else:
            self._everything()

    def _compared(self, node: pst.BinaryOp) -> bool:
        """Whether this is a whole number beside a literal; then it is taken in as that."""
        for attribute, other in ((node.left, node.right), (node.right, node.left)):
            name = LEAVES.get(_path(attribute), "")
            if name in _NUMBERS and isinstance(other, pst.LongLit):
                self.numbers.setdefault(name, set()).add(other.value)
                return True
        return False

    def _known(self, path: Path) -> None:
        """Only whether it is there is asked. What can be absent is a number; a whole record never is."""
        name = LEAVES.get(path)
        if name in _NUMBERS:
            self.numbers.setdefault(name, set())
        else:
            self._all_below(path)

    def _all_below(self, path: Path) -> None:
        """An attribute, or a record with all that is in it. A bare `principal`, `action` or `resource` is an entity: its name and
        parents are part of every question, and its attributes are only read by name.
        """
        if path != ("resource",):
            self.exact.update(name for leaf, name in LEAVES.items() if leaf[: len(path)] == path)

    def _everything(self) -> None:
        self.exact.update(LEAVES.values())


def _path(node: Any) -> Path:
    """Return the attribute's path, empty for anything but plain attributes of a variable."""
    names: list[str] = []
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return (node.name, *reversed(names)) if isinstance(node, pst.Var) else ()


def _children(node: Any) -> Iterable[Any] | None:
    """Return what stands below a node; None when it is of a kind that is not known here."""
    if isinstance(node, tuple):
        return node
    if isinstance(node, Mapping):
        return node.values()
    if isinstance(node, _PASSED_THROUGH):
        return [getattr(node, field.name) for field in fields(node)]
    return None

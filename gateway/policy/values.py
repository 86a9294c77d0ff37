"""Cedar's values and one request in them, as `gateway.policy.evaluator` works with them: every value knows its kind. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from cedarpy import pst

from gateway.policy.facts import Facts
from gateway.policy.reads import LEAVES
from gateway.policy.schema import cedar_request

_LONG: Final = range(-(2**63), 2**63)


class Erring(Exception):  # noqa: N818  Cedar's own outcome, not a failure of ours
    """Cedar can't evaluate this: the policy that it stands in errs."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class NotModelled(Exception):  # noqa: N818  as above
    """This construct of Cedar is not evaluated here: unknown, never false."""


class Many(msgspec.Struct, frozen=True):
    """A set. Equal to another with the same members, in whatever order and number they were written."""

    members: frozenset[Any]

    @classmethod
    def of(cls, values: Iterator["Value"]) -> "Many":
        """The set of these values."""
        return cls(frozenset(map(tagged, values)))

    def values(self) -> list["Value"]:
        """Its members, in no particular order."""
        return [value for _, value in self.members]


class Fields(msgspec.Struct, frozen=True):
    """A record."""

    items: tuple[tuple[str, Any], ...]
    """Sorted by name; values tagged with their type, as in `Many`."""

    @classmethod
    def of(cls, values: Mapping[str, "Value"]) -> "Fields":
        """The record of these values."""
        return cls(tuple((name, tagged(value)) for name, value in sorted(values.items())))

    def get(self, name: str) -> "Value | None":
        """Return a field; None when there is none."""
        return next((value for key, (_, value) in self.items if key == name), None)


Value = bool | int | str | pst.EntityUid | Many | Fields


class Entity(msgspec.Struct, frozen=True):
    """What is known of a person or a route."""

    parents: frozenset[pst.EntityUid]
    """All above it."""
    attributes: Fields


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request as Cedar is asked it, in this module's values. Make it once where many conditions are about the same facts."""

    facts: Facts
    variables: Mapping[str, Value]
    entities: Mapping[pst.EntityUid, Entity]


def question_of(facts: Facts) -> Question:
    """Return the request that these facts make. ValueError where Cedar could not be asked: a lone surrogate in a text."""
    asked = cedar_request(facts)
    person, action, route = (_uid(asked[part]["type"], asked[part]["id"]) for part in ("principal", "action", "resource"))
    parents = [_uid("Role", role) for role in facts.principal.roles]
    if facts.principal.organization:
        parents.append(_uid("Organization", facts.principal.organization))
    attributes = {
        path[1]: getattr(facts.target, name.partition(".")[2]) for path, name in LEAVES.items() if path[0] == "resource"
    }
    return Question(
        facts=facts,
        variables={
            "principal": person,
            "action": action,
            "resource": route,
            "context": _plain(msgspec.json.decode(asked["context"])),
        },
        entities={
            person: Entity(frozenset(parents), Fields(())),
            route: Entity(frozenset({_uid("App", facts.target.app)}), Fields.of(attributes)),
        },
    )


def _uid(kind: str, name: str) -> pst.EntityUid:
    return pst.EntityUid(pst.EntityType(kind), name)


def _plain(value: Any) -> Value:
    """A value of Cedar's JSON; facts hold texts, numbers, yes or no, lists and records of them."""
    if isinstance(value, dict):
        return Fields.of({name: _plain(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return Many.of(map(_plain, value))
    plain: bool | int | str = value
    return plain


def tagged(value: Value) -> tuple[str, Value]:
    """A value beside its kind: Python takes True for 1, Cedar does not."""
    return kind_of(value), value


def kind_of(value: Value) -> str:
    """Return what kind of value it is, in words."""
    return {bool: "yes or no", int: "a number", str: "a text", Many: "a set", Fields: "a record"}.get(type(value), "an entity")


def same(left: Value, right: Value) -> bool:
    """Whether Cedar takes two values for equal: values of different kinds never are."""
    return tagged(left) == tagged(right)


def number_of(value: Value) -> int:
    """Return a number; Erring for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Erring(f"{kind_of(value)} is not a number")
    return long(value)


def long(number: int) -> int:
    """Return a number of 64 bits; Erring where it overflows."""
    if number not in _LONG:
        raise Erring("the number is too large")
    return number


def members_of(value: Value) -> Many:
    """Return a set; Erring for anything else."""
    if not isinstance(value, Many):
        raise Erring(f"{kind_of(value)} is not a set")
    return value

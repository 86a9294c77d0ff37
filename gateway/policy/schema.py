"""Facts as Cedar sees them: the schema, and one request. The only place where the two meet. Pure.

Principal `User::"<subject>"` in `Role::"..."` and `Organization::"..."`; action `Action::"read"`; resource `Route::"<route id>"`
in `App::"<app id>"` with `sensitivity` and `patient`; everything else is `context`, attribute by attribute under the names of
`gateway.policy.facts`.
"""

from functools import lru_cache
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import cedarpy
import msgspec

from gateway.policy.facts import (
    Action,
    AuthenticationFacts,
    DeviceFacts,
    Facts,
    NetworkFacts,
    PrincipalFacts,
    ProofingFacts,
    TargetFacts,
    TimeFacts,
)

_RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "authentication": AuthenticationFacts,
    "proofing": ProofingFacts,
    "device": DeviceFacts,
    "network": NetworkFacts,
    "time": TimeFacts,
}
"""Parts of Facts that are records in `context`, in the schema's order."""

_PLAIN: Final = ("situation", "grants")
"""Parts of Facts that are single attributes of `context`."""

_RESOURCE: Final = ("sensitivity", "patient")
"""Attributes of the target that are attributes of the Route; `app`, `route` and `action` are the entities themselves."""


def _cedar_type(hint: Any) -> tuple[str, bool]:
    """Return the Cedar type of a Facts attribute and whether it may be absent."""
    if isinstance(hint, UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        return _cedar_type(inner[0])[0], True
    if get_origin(hint) is tuple:
        return f"Set<{_cedar_type(get_args(hint)[0])[0]}>", False
    if get_origin(hint) is Literal:
        return "String", False
    return {int: "Long", bool: "Bool", str: "String"}[hint], False


def _attributes(struct: type[msgspec.Struct], only: tuple[str, ...] = ()) -> list[str]:
    lines = []
    for name, hint in get_type_hints(struct).items():
        if not only or name in only:
            kind, optional = _cedar_type(hint)
            lines.append(f"{name}{'?' if optional else ''}: {kind}")
    return lines


def cedar_schema() -> str:
    """Return the one schema that policies are typed with, in Cedar's own syntax, made from the Facts structs.

    `policies/schema.cedarschema` says the same with comments. A bundle whose schema says anything else is refused: a policy
    can't read what the gateway doesn't know.
    """
    lines = [
        "entity Role;",
        "entity Organization;",
        "entity User in [Role, Organization];",
        "entity App;",
        f"entity Route in [App] {{ {', '.join(_attributes(TargetFacts, _RESOURCE))} }};",
        "type Context = {",
    ]
    for name, struct in _RECORDS.items():
        lines.append(f"  {name}: {{ {', '.join(_attributes(struct))} }},")
    lines.append("  " + ", ".join(_attributes(Facts, _PLAIN)))
    lines += [
        "};",
        f"action {', '.join(get_args(Action))} appliesTo {{ principal: [User], resource: [Route], context: Context }};",
    ]
    return "\n".join(lines) + "\n"


SCHEMA: Final = cedarpy.Schema.from_str(cedar_schema())


def known_attributes() -> dict[tuple[str, ...], frozenset[str]]:
    """Return the names of the attributes of everything that has some, by its Cedar path."""
    known: dict[tuple[str, ...], frozenset[str]] = {
        ("context", name): frozenset(get_type_hints(struct)) for name, struct in _RECORDS.items()
    }
    known["context",] = frozenset((*_RECORDS, *_PLAIN))
    known["resource",] = frozenset(_RESOURCE)
    known["principal",] = frozenset()
    return known


def closed_words() -> dict[tuple[str, ...], frozenset[str]]:
    """Return, for each attribute whose words are a closed set, its Cedar path and the words."""
    found: dict[tuple[str, ...], frozenset[str]] = {}
    places: list[tuple[tuple[str, ...], type[msgspec.Struct], tuple[str, ...]]] = [
        (("context",), Facts, _PLAIN),
        (("resource",), TargetFacts, _RESOURCE),
    ]
    places += [(("context", name), struct, ()) for name, struct in _RECORDS.items()]
    for prefix, struct, only in places:
        for name, hint in get_type_hints(struct).items():
            inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
            if (not only or name in only) and get_origin(inner) is Literal:
                found[*prefix, name] = frozenset(get_args(inner))
    return found


def facts_paths() -> dict[tuple[str, ...], str]:
    """Return every attribute that policies can read: its Cedar path, and where it stands in `Facts` ("device.evidence")."""
    paths: dict[tuple[str, ...], str] = {("context", name): name for name in _PLAIN}
    for part, struct in _RECORDS.items():
        paths |= {("context", part, name): f"{part}.{name}" for name in get_type_hints(struct)}
    return paths | {("resource", name): f"target.{name}" for name in _RESOURCE}


def _record(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name in struct.__struct_fields__ if (value := getattr(struct, name)) is not None}


def cedar_context(facts: Facts) -> str:
    """Return the context record as JSON. ValueError (UnicodeEncodeError) when a text holds a lone surrogate."""
    context: dict[str, Any] = {name: _record(getattr(facts, name)) for name in _RECORDS}
    for name in _PLAIN:
        context[name] = getattr(facts, name)
    return msgspec.json.encode(context).decode()


@lru_cache(maxsize=1024)
def cedar_entities(principal: PrincipalFacts, target: TargetFacts) -> cedarpy.Entities:
    """Return the person and the route, with their parents, parsed and checked against the schema.

    The last thousand are kept: the same people ask for the same routes again, and parsing costs a quarter of a decision.
    ValueError as `cedar_context`, or when an attribute has the wrong type.
    """
    parents = [{"type": "Role", "id": role} for role in principal.roles]
    if principal.organization:
        parents.append({"type": "Organization", "id": principal.organization})
    person = {"uid": {"type": "User", "id": principal.id}, "attrs": {}, "parents": parents}
    route = {
        "uid": {"type": "Route", "id": target.route},
        "attrs": {name: getattr(target, name) for name in _RESOURCE},
        "parents": [{"type": "App", "id": target.app}],
    }
    return cedarpy.Entities.from_json_str(msgspec.json.encode([person, route]).decode(), SCHEMA)


def cedar_request(facts: Facts) -> dict[str, Any]:
    """Return who, what, which and context of one request. ValueError as `cedar_context`."""
    return {
        "principal": {"type": "User", "id": facts.principal.id},
        "action": {"type": "Action", "id": facts.target.action},
        "resource": {"type": "Route", "id": facts.target.route},
        "context": cedar_context(facts),
    }

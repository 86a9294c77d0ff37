"""Facts as a record holds them: each may be missing, and a missing one is never a default. Pure."""

from types import UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from gateway.policy.facts import Facts

Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What Cedar takes as a whole number."""


def _recorded(hint: Any) -> Any:
    """The type of a recorded value: the fact's own."""
    if hint is int:
        return Long
    if isinstance(hint, UnionType):
        kinds = [_recorded(part) for part in get_args(hint)]
        union = kinds[0]
        for kind in kinds[1:]:
            union = union | kind
        return union
    return hint


def _mirror(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same struct, in which any field may be missing."""
    fields: list[tuple[str, Any, Any]] = []
    for name, hint in get_type_hints(struct).items():
        inner = _mirror(hint) if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else _recorded(hint)
        fields.append((name, inner | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(f"Recorded{struct.__name__}", fields, frozen=True, kw_only=True)


RecordedFacts: Final[Any] = _mirror(Facts)
"""`Facts`, with `msgspec.UNSET` for whatever the record does not say. What only a later version knows is passed over."""

decode: Final = msgspec.json.Decoder(RecordedFacts).decode
"""From a record's JSON. Raises msgspec.ValidationError, with the place, where something is there and of a wrong type."""


def _neutral(hint: Any) -> Any:
    """Some value of a type."""
    if isinstance(hint, UnionType):
        return None
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if get_origin(hint) is tuple:
        return ()
    return hint()


def _fillers(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        name: (hint, _fillers(hint)) if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else _neutral(hint)
        for name, hint in get_type_hints(struct).items()
    }


_FILLERS: Final = _fillers(Facts)


def filled(recorded: Any) -> Facts:
    """Return facts for evaluation. Where the record says nothing some value stands: only for those who can't read it."""
    facts: Facts = _filled(Facts, _FILLERS, recorded)
    return facts


def _filled(struct: Any, fillers: dict[str, Any], recorded: Any) -> Any:
    values = {}
    for name, filler in fillers.items():
        value = getattr(recorded, name) if recorded is not msgspec.UNSET else msgspec.UNSET
        if isinstance(filler, tuple) and filler:
            value = _filled(filler[0], filler[1], value)
        values[name] = filler if value is msgspec.UNSET else value
    return struct(**values)


def missing(recorded: Any, names: frozenset[str]) -> tuple[str, ...]:
    """Return which of these facts (`"device.evidence"`) the record does not say, sorted."""
    absent = []
    for name in sorted(names):
        value = recorded
        for part in name.split("."):
            value = getattr(value, part) if value is not msgspec.UNSET else value
        if value is msgspec.UNSET:
            absent.append(name)
    return tuple(absent)

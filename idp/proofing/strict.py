"""Reads JSON that a verifier sent, and refuses what it must never send. Pure.

JSON leaves open what a name that stands there twice means, and what `NaN` is (RFC 8259 §4, §6); two readers that decide
differently are how a signed text comes to say two things. Here there is one reading or none.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from idp.proofing.forbidden import names_individual_number

NEVER: Final = "THE SERVICE SENT WHAT MUST NOT BE SENT (Individual Number); dropped, tell the service"
"""What the log says of it."""
_MAX_DEPTH: Final = 32


class StrictError(ValueError):
    """The text has no single reading. The message holds nothing of it."""


class MustNotBeSentError(StrictError):
    """There is a field for the Individual Number in it: it may not be asked for, taken or kept (Number Act, articles 15, 20)."""


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the one JSON object that `data` is, or raise StrictError.

    Refused: invalid UTF-8, names that stand there twice (at any depth), `NaN` and its like, lone surrogates, more than 32
    levels, and (as MustNotBeSentError) a field for the Individual Number at any depth. Not checked: which names there are else.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except StrictError:
        raise
    except (ValueError, RecursionError) as error:
        raise StrictError("not JSON with one reading") from error
    if not isinstance(value, dict):
        raise StrictError("not a JSON object")
    if _depth(value) > _MAX_DEPTH:
        raise StrictError("nested too deeply")
    if holds_individual_number(value):
        raise MustNotBeSentError("a field for the Individual Number, which must not be sent")
    return value


def holds_individual_number(value: object) -> bool:
    """Whether any name in `value` (mappings and lists, at any depth) is one of the Individual Number, however it is spelt.

    Names only: a number of twelve digits under another name is not recognised.
    """
    if isinstance(value, Mapping):
        return any(names_individual_number(str(name)) or holds_individual_number(inner) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return any(holds_individual_number(inner) for inner in value)
    return False


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = list(pairs)
    found = dict(listed)
    if len(found) != len(listed):
        raise StrictError("a name stands there twice")
    return found


def _refuse(constant: str) -> object:
    raise StrictError("a number that JSON does not have")


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        inner: list[object] = []
        for item in level:
            inner += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        level = inner
    return deepest

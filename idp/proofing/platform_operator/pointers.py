"""JSON pointers (RFC 6901) over an answer that nobody has checked: what is not there is `MISSING`, never an error."""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,3}", re.ASCII)
_ESCAPE: Final = re.compile(r"~(?![01])")


class Missing(Enum):
    """Tells "not there" from JSON's null."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def fault(pointer: str) -> str:
    """Return what is wrong with a pointer; empty when nothing is. The whole document (the empty pointer) is no place here."""
    if not pointer.startswith("/"):
        return "does not begin with /"
    return "has a ~ that is neither ~0 nor ~1" if _ESCAPE.search(pointer) else ""


def steps(pointer: str) -> list[str]:
    """Return the names along a pointer that has no fault."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def look(document: Any, pointers: Sequence[str]) -> Any | Missing:
    """Return what the first pointer that leads somewhere leads to."""
    for pointer in pointers:
        found = _follow(document, steps(pointer))
        if found is not MISSING:
            return found
    return MISSING


def _follow(document: Any, names: list[str]) -> Any | Missing:
    for name in names:
        if isinstance(document, dict) and name in document:
            document = document[name]
        elif isinstance(document, list) and _INDEX.fullmatch(name) and int(name) < len(document):
            document = document[int(name)]
        else:
            return MISSING
    return document

"""Placeholders `{name}` in paths, headers, bodies and links of a profile: which there are, and filling them in."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)\}")


def stray_brace(template: str) -> bool:
    """True when there is a brace that is no part of a placeholder."""
    return bool(re.search(r"[{}]", _PLACE.sub("", template)))


def places(value: Any) -> Iterator[str]:
    """Yield the placeholders in nested data, in order."""
    for text in texts(value):
        yield from _PLACE.findall(text)


def texts(value: Any) -> Iterator[str]:
    """Yield every text in nested data that can hold a placeholder. Keys can't."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts(part)


def fill(value: Any, values: Mapping[str, str], escape: Callable[[str], str] = str) -> Any:
    """Return nested data with every placeholder replaced by its value, escaped for where it goes. KeyError: no such value.

    What is filled in is not looked at for placeholders again.
    """
    if isinstance(value, str):
        return _PLACE.sub(lambda found: escape(values[found[1]]), value)
    if isinstance(value, Mapping):
        return {name: fill(part, values, escape) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [fill(part, values, escape) for part in value]
    return value

"""Request parameters as they came, and URLs to answer with."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec

LONGEST_VALUE: Final = 8192
MOST_PARAMETERS: Final = 40


class Parameters:
    """Name and value pairs in order. Nothing is ever picked out of duplicates: first or last would be a guess."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = tuple(pairs)
        self._counts = Counter(name for name, _ in self._pairs)

    @property
    def excessive(self) -> bool:
        """True when there are more, or longer ones, than any honest request has."""
        return len(self._pairs) > MOST_PARAMETERS or any(
            len(name) > LONGEST_VALUE or len(value) > LONGEST_VALUE for name, value in self._pairs
        )

    def duplicates(self) -> Sequence[str]:
        """Return the names that occur more than once."""
        return [name for name, count in self._counts.items() if count > 1]

    def one(self, name: str) -> str:
        """Return the value of `name`; empty when absent, empty (RFC 6749 §3.1 treats both alike) or there more than once."""
        return next(value for key, value in self._pairs if key == name) if self._counts[name] == 1 else ""

    def as_dict(self) -> dict[str, str]:
        """Return all that occur once and are not empty."""
        return {name: value for name, value in self._pairs if self._counts[name] == 1 and value}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON reply of an endpoint that is called by servers."""

    status: int
    body: dict[str, object]
    headers: tuple[tuple[str, str], ...] = ()


def with_query(uri: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return a registered redirect URI with parameters added to its query (RFC 6749 §4.1.2). Empty ones are left out."""
    query = urlencode([(name, value) for name, value in parameters if value])
    return f"{uri}{'&' if '?' in uri else '?'}{query}" if query else uri

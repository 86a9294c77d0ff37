"""How the law on criminal proceeds letters a method on a given day: `letters.toml`, which says where each letter comes from.

For information only: proofing one's own staff is not the check that this law asks for. What the law asks beyond the method
(records, keeping them, who may do it) is not looked at.
"""

import tomllib
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import msgspec

_DAY: Final = timedelta(days=1)


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}):
    """The days, both ends included, on which a method has a letter."""

    letter: str
    since: date
    until: date | None = None
    """None: until further notice; only a method's last span."""
    source: str


class Method(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method and its letters, in the order of time."""

    what: str
    spans: tuple[Span, ...]
    ended: str = ""
    """Why there is no letter after the last span; empty: there is one, until further notice."""


def load_letters(text: str) -> Mapping[str, Method]:
    """Read the data. ValueError where a date is none, a source is missing, or spans overlap, leave out days, or end unsaid."""
    methods = msgspec.convert(tomllib.loads(text), type=dict[str, Method])
    for name, method in methods.items():
        if not method.spans or not method.what:
            raise ValueError(f"letters.{name}: it says neither what it is, nor how it is called")
        for span in method.spans:
            if len(span.letter) != 1 or not span.source:
                raise ValueError(f"letters.{name}: {span.letter!r} is no letter with a source")
            if span.until is not None and span.until < span.since:
                raise ValueError(f"letters.{name}: the span from {span.since} ends before it begins")
        for one, following in zip(method.spans, method.spans[1:], strict=False):
            if one.until is None or one.until + _DAY != following.since:
                raise ValueError(f"letters.{name}: the span from {following.since} does not follow on the one before")
        if (method.spans[-1].until is not None) != bool(method.ended):
            raise ValueError(f"letters.{name}: a method ends with a day and a reason, or goes on without either")
    return methods


def letter(method: str, on: date) -> str | None:
    """Return a method's letter on a day. None for a method that has none: not in the data, not yet, or no longer."""
    known = LETTERS.get(method)
    spans = known.spans if known is not None else ()
    return next((span.letter for span in spans if span.since <= on and (span.until is None or on <= span.until)), None)


LETTERS: Final = load_letters(Path(__file__).with_name("letters.toml").read_text("utf-8"))

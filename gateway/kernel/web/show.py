"""Texts of unknown origin (names, paths, user agents), made safe to look at. Escaping for HTML is the template's job."""

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Control, format (bidi overrides, zero-width, soft hyphen), private use, surrogate, line and paragraph separators."""

LONGEST_LINE: Final = 256 * 1024
"""Characters: a file of policies that is one line."""


def visible(value: object, limit: int = 300) -> str:
    r"""Return `value` as one line in which nothing hides: each character that is invisible, reorders its neighbours or breaks the
    line becomes `\u{hex}`, and what is longer than `limit` characters ends in `…`.

    Ideographic variation selectors (in some Japanese names) stay: they are marks, not format characters.
    """
    text = str(value)
    cut = text[:limit]
    shown = "".join(f"\\u{{{ord(char):x}}}" if unicodedata.category(char) in _HIDDEN else char for char in cut)
    return shown if len(text) <= limit else f"{shown}…"


def visible_lines(text: str, limit: int = LONGEST_LINE) -> str:
    """Return `text` with its line breaks, each line as `visible` shows it; tabs become spaces. Whole lines: whoever
    approves a text has to see all of it.
    """
    return "\n".join(visible(line.expandtabs(4), limit) for line in text.split("\n"))

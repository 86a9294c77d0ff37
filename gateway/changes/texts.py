"""Titles, reasons and notes of changes: short, and nothing in them that a reader could not see or would take for something else.
Pure.
"""

import unicodedata
from typing import Final

from gateway.changes.model import ChangeRefused

MAX_TITLE: Final = 200
MAX_REASON: Final = 2_000

_EMPTY_LETTERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and signs that show nothing, which their category does not say."""
_TWINS: Final = ("CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")
"""Scripts with letters that look like Latin ones."""
_GREEK_TWINS: Final = frozenset("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο")


def check_text(what: str, text: str, limit: int, *, lines: bool = False, needed: bool = True) -> str:
    """Return `text` without blanks around it. `lines`: line breaks are allowed.

    ChangeRefused (`form`), naming it as `what`, when it is missing, longer than `limit` characters, or could mislead: characters
    that show nothing or turn the direction, or letters that look like Latin ones among those.
    """
    if len(text) > limit * 2:
        raise ChangeRefused("form", f"{what} is longer than {limit} characters", "Shorten it")
    text = text.replace("\r\n", "\n").strip()
    if needed and not text:
        raise ChangeRefused("form", f"{what} is missing", "Say in one sentence what is meant")
    if len(text) > limit:
        raise ChangeRefused("form", f"{what} is longer than {limit} characters", "Shorten it")
    for char in text:
        if not (lines and char == "\n") and _unseen(char):
            raise ChangeRefused(
                "form", f"{what} holds an invisible character, U+{ord(char):04X}", "Delete it, or type the text anew"
            )
    twin = _twin(text)
    if twin:
        todo = "Type the word anew: the letter looks like another one"
        raise ChangeRefused("form", f"{what} mixes Latin letters with {twin!a}, {unicodedata.name(twin)}", todo)
    return text


def _unseen(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] == "C" or category in {"Zl", "Zp"} or char in _EMPTY_LETTERS


def _twin(text: str) -> str:
    """The first letter that only looks Latin, in a text that has Latin letters, too; empty for none.

    Greek is used in one breath with Latin (μg, γGTP): there only letters count that look the same, within a word.
    """
    if text.isascii():
        return ""
    names = [unicodedata.name(char, "") if char.isalpha() else "" for char in text]
    if not any(name.startswith("LATIN") for name in names):
        return ""
    for char, name in zip(text, names, strict=True):
        if name.startswith(_TWINS):
            return char
    for word in text.split():
        if any(char.isascii() and char.isalpha() for char in word):
            found = next((char for char in word if char in _GREEK_TWINS), "")
            if found:
                return found
    return ""

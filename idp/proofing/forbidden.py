"""What no backend sends or reads: the Individual Number (the 12 digits of 番号法), whatever a verifier would offer.

The card, the certificate and the operator's user id are something else: `mynumbercard` is a harmless name, `mynumber` is not.
"""

import re
import unicodedata
from typing import Any, Final

_NAMES: Final = re.compile(
    r"individualnum(?!bercard)|individualno(?![a-z])|kojinbango|personalnumber|socialsecuritynumber"
    r"|mynum(?!bercard)|myno(?![a-z])|mynanumber|個人番[号號](?!カード)|コジンバンゴウ|マイナンバ(?!ー?カード)"
)
_TO_KATAKANA: Final = {code: code + 0x60 for code in range(0x3041, 0x3097)}


def names_individual_number(text: str) -> bool:
    """True when a text names it, in whatever spelling: case, width, script, accents and separators do not count."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_TO_KATAKANA)
    plain = (_without_accent(character) for character in folded)
    return _NAMES.search("".join(character for character in plain if character.isalnum() or character == "ー")) is not None


def _without_accent(character: str) -> str:
    base = unicodedata.normalize("NFKD", character)[:1]
    return base if base.isascii() else character


def forbidden_in(value: Any) -> str:
    """Return the first text in nested data, keys included, that names it; empty when none does."""
    if isinstance(value, str):
        return value if names_individual_number(value) else ""
    if isinstance(value, dict):
        return next((found for pair in value.items() for part in pair if (found := forbidden_in(part))), "")
    if isinstance(value, list | tuple):
        return next((found for part in value if (found := forbidden_in(part))), "")
    return ""

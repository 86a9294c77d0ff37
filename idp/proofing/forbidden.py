"""What no backend sends or reads: the Individual Number (the 12 digits of 番号法), whatever a verifier would offer.

The card, the certificate and the operator's user id are something else: `mynumbercard` is a harmless name, `mynumber` is not.
"""

import re
import unicodedata
from typing import Any, Final

_NAMES: Final = re.compile(
    r"individualnumber(?!card)|individualno|kojinbango|kojinbangou|personalnumber|socialsecuritynumber"
    r"|mynumber(?!card)|mynanumber|個人番号(?!カード)|マイナンバー(?!カード)"
)


def names_individual_number(text: str) -> bool:
    """True when a text names it, in whatever spelling: case, width, separators do not count."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NAMES.search("".join(character for character in folded if character.isalnum() or character == "ー")) is not None


def forbidden_in(value: Any) -> str:
    """Return the first text in nested data, keys included, that names it; empty when none does."""
    if isinstance(value, str):
        return value if names_individual_number(value) else ""
    if isinstance(value, dict):
        return next((found for pair in value.items() for part in pair if (found := forbidden_in(part))), "")
    if isinstance(value, list | tuple):
        return next((found for part in value if (found := forbidden_in(part))), "")
    return ""

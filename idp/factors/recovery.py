"""Recovery codes: ten, each good once, for the day when the phone or the key is lost.

A code stands in for the second factor only, never for the password. 80 random bits each, so a plain SHA-256 is enough at rest.
"""

import re
import unicodedata
from typing import Final

from gateway.kernel.secret import Secret, hash_token

COUNT: Final = 10
CODE_BYTES: Final = 10
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: without I, L, O, U
_LENGTH: Final = CODE_BYTES * 8 // 5
_READ_AS: Final = str.maketrans("OIL", "011")


def new_codes(randomness: bytes) -> tuple[Secret, ...]:
    """Return ten codes as shown to the person (`XXXX-XXXX-XXXX-XXXX`) from 100 random bytes."""
    if len(randomness) != COUNT * CODE_BYTES:
        raise ValueError(f"recovery codes take {COUNT * CODE_BYTES} random bytes, not {len(randomness)}")
    return tuple(_code(randomness[at : at + CODE_BYTES]) for at in range(0, len(randomness), CODE_BYTES))


def code_hash(code: str) -> str | None:
    """Return what is stored for a code, or None when the text can't be one.

    Case, spaces, hyphens (of any input method), full-width characters and the look-alikes O, I, L don't matter. Finding the
    hash and forgetting it is the store's, in one step.
    """
    text = re.sub(r"[\s\-‐‑–—−ー]", "", unicodedata.normalize("NFKC", code)[:64]).upper().translate(_READ_AS)
    if len(text) != _LENGTH or any(letter not in _ALPHABET for letter in text):
        return None
    return hash_token(text)


def _code(randomness: bytes) -> Secret:
    number = int.from_bytes(randomness)
    letters = "".join(_ALPHABET[number >> shift & 31] for shift in range((_LENGTH - 1) * 5, -1, -5))
    return Secret("-".join(letters[at : at + 4] for at in range(0, _LENGTH, 4)))

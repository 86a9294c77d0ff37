"""Secrets that can't be printed, and the only two things done with them: hash and compare."""

import hashlib
import hmac
from typing import Final, NoReturn


class Secret:
    """Holds a text secret. `str`, `repr`, formatting, pickling and JSON never show it; `reveal` does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value: Final = value

    def reveal(self) -> str:
        """Return the text. Call it at the last moment, and never pass the result to a log or an error."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and same(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be pickled")


def hash_token(token: str) -> str:
    """Return the SHA-256 of a high-entropy token in hex, which is what is stored instead of it.

    Not for passwords: those have little entropy and need argon2.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare two texts in time that depends on neither's content."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))

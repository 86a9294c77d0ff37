"""How far a reader has come in logs that are written side by side, as one word: a browser's `Last-Event-ID`. Pure.

With one log it is the index of the newest record seen; with several it is `s1i120s3i88`: slot 1 up to index 120, slot 3 up to 88.
"""

import re
from typing import Final

_ONE: Final = re.compile(r"[0-9]{1,15}")
_SEVERAL: Final = re.compile(r"(?:s[0-9]{1,2}i[0-9]{1,15}){1,60}")
_PART: Final = re.compile(r"s([0-9]{1,2})i([0-9]{1,15})")


class Position:
    """Where one reader is."""

    def __init__(self, given: str = "") -> None:
        """`given` is what the reader sent back; what is no position counts as none."""
        self._seen: dict[int, int] = {}
        if _ONE.fullmatch(given):
            self._seen[1] = int(given)
        elif _SEVERAL.fullmatch(given):
            self._seen = {int(slot): int(index) for slot, index in _PART.findall(given)}

    def has(self, slot: int, index: int) -> bool:
        """Whether a record was seen."""
        return index <= self._seen.get(slot, -1)

    def advance(self, slot: int, index: int) -> str:
        """Count a record as seen, and return the position after it."""
        self._seen[slot] = max(index, self._seen.get(slot, -1))
        if self._seen.keys() == {1}:
            return str(self._seen[1])
        return "".join(f"s{slot}i{index}" for slot, index in sorted(self._seen.items()))

"""RFC 6962 tree hash, the verifier's own: a list of (height, hash), merged when two have the same height."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Self


class Hashes:
    """Takes leaf hashes one by one; memory grows with the logarithm of their number."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, bytes]] = []

    @classmethod
    def of(cls, size: int, subtrees: Sequence[bytes]) -> Self:
        """Go on from a tree of `size` leaves with these complete subtrees, largest first. ValueError when they don't fit."""
        heights = [height for height in range(size.bit_length() - 1, -1, -1) if size >> height & 1] if size > 0 else []
        tree = cls()
        tree._subtrees = list(zip(heights, subtrees, strict=True))
        return tree

    def push(self, leaf: bytes) -> None:
        """Take the next leaf hash."""
        self._subtrees.append((0, leaf))
        while len(self._subtrees) > 1 and self._subtrees[-1][0] == self._subtrees[-2][0]:
            height, right = self._subtrees.pop()
            left = self._subtrees.pop()[1]
            self._subtrees.append((height + 1, sha256(b"\x01" + left + right).digest()))

    def root(self) -> str:
        """Return the tree hash of everything taken so far, hex."""
        if not self._subtrees:
            return sha256().hexdigest()
        result = b""
        for _, subtree in reversed(self._subtrees):
            result = sha256(b"\x01" + subtree + result).digest() if result else subtree
        return result.hex()

    def subtrees(self) -> list[str]:
        """Return the hashes of the complete subtrees, largest first, hex."""
        return [subtree.hex() for _, subtree in self._subtrees]

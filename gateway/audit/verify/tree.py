"""RFC 6962 tree hash, the verifier's own: a list of (height, hash), merged when two have the same height."""

from hashlib import sha256


class Hashes:
    """Takes leaf hashes one by one; memory grows with the logarithm of their number."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, bytes]] = []

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

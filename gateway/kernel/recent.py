"""A bounded memory of recent values: what is asked for again stays, what is not asked for any more goes."""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps the last `size` keys that were asked for, and at most about twice as many. Belongs to one thread.

    In two generations: a key that is found in the old one moves to the young one; when that is full, the old one is forgotten
    as a whole. So a look-up is one access to a dictionary, and there is no order to keep.
    """

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size: Final = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        """Return what was put under the key; None when it was never, or is forgotten."""
        value = self._young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember a value (not None)."""
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = value

"""Which lines there must be: nginx numbers the requests of each connection. Pure.

A number that comes twice is a line that was copied. A number that is passed over is a request that still runs (HTTP/2 lets later
ones end first), or a line that is lost: nginx's own count of requests tells which (`gateway.leases.count`).
"""

import collections
from typing import Final

import msgspec

KEPT: Final = 20_000
"""Connections that are remembered; the longest silent ones are forgotten first."""


class _Seen(msgspec.Struct):
    upto: int = 0
    """All numbers up to this one were seen."""
    beyond: set[int] = msgspec.field(default_factory=set)


class Sequence:
    """The numbers of requests by connection."""

    def __init__(self) -> None:
        self._connections: collections.OrderedDict[tuple[int, int], _Seen] = collections.OrderedDict()
        self._missing: dict[tuple[int, int], int] = {}

    def see(self, pid: int, connection: int, n: int) -> bool:
        """Note a line; False when this very request has had one."""
        key = (pid, connection)
        seen = self._connections.get(key)
        if seen is None:
            seen = self._connections[key] = _Seen()
            if len(self._connections) > KEPT:
                self._missing.pop(self._connections.popitem(last=False)[0], None)
        else:
            self._connections.move_to_end(key)
        if n == seen.upto + 1 and not seen.beyond:
            seen.upto = n
            return True
        if n <= seen.upto or n in seen.beyond:
            return False
        if n == seen.upto + 1:
            seen.upto = n
            while seen.upto + 1 in seen.beyond:
                seen.upto += 1
                seen.beyond.discard(seen.upto)
        else:
            seen.beyond.add(n)
        missing = max(seen.beyond, default=seen.upto) - seen.upto - len(seen.beyond)
        if missing:
            self._missing[key] = missing
        else:
            self._missing.pop(key, None)
        return True

    def gaps(self) -> dict[tuple[int, int], int]:
        """How many numbers are passed over, by (pid, connection)."""
        return dict(self._missing)

    def forget_gaps(self) -> None:
        """Having reported them: count every passed-over number as seen."""
        for key in self._missing:
            seen = self._connections[key]
            seen.upto = max(seen.beyond, default=seen.upto)
            seen.beyond.clear()
        self._missing.clear()

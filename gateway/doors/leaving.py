"""Handing over to a successor without losing a request: how a listener that no longer accepts lets its connections go.

Closing an idle connection at once would race with the request that its client is sending on it this very moment, and that would
be lost. So every connection stays for a while: a request that still comes is answered with `Connection: close` (RFC 9112 §9.6),
and only what was silent for some seconds is closed.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

_LOOK_SECONDS: Final = 0.05


class Leaver(Protocol):
    """A connection."""

    @property
    def idle(self) -> bool:
        """Whether it waits for the first byte of a request."""
        ...

    @property
    def served(self) -> int:
        """How many requests it carried so far."""
        ...

    def force_close(self) -> None:
        """End it."""
        ...


class Place(Protocol):
    """Where the connections are."""

    def leavers(self) -> Sequence[Leaver]:
        """Return the connections that are open."""
        ...

    def coming(self) -> int:
        """Return how many were accepted and are not open yet (TLS)."""
        ...


async def leave(place: Place, *, grace_seconds: float, idle_seconds: float) -> None:
    """Return when every connection is gone, or after `grace_seconds`. Those that are silent for `idle_seconds` are closed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + grace_seconds
    silent: dict[Leaver, tuple[int, float]] = {}
    while (leavers := place.leavers()) or place.coming():
        now = loop.time()
        if now >= until:
            return
        seen: dict[Leaver, tuple[int, float]] = {}
        for leaver in leavers:
            if not leaver.idle:
                continue
            count, since = silent.get(leaver, (-1, now))
            seen[leaver] = (leaver.served, since if count == leaver.served else now)
            if now - seen[leaver][1] >= idle_seconds:
                leaver.force_close()
        silent = seen
        await asyncio.sleep(_LOOK_SECONDS)

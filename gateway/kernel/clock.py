"""Time as an argument: the pure parts never read a clock, the rest reads one of these."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Wall time is for records and expiry, monotonic time for measuring."""

    def now(self) -> float:
        """Seconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's clock."""

    # The functions themselves: they are called several times in each request.
    now = staticmethod(time.time)
    """Seconds since the Unix epoch, UTC."""
    monotonic = staticmethod(time.monotonic)
    """Seconds that never go back."""


class ManualClock:
    """A clock that moves only when told to, for tests."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Seconds since the Unix epoch, as set."""
        return self._now

    def monotonic(self) -> float:
        """The same as `now`: it can't go back either."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds` (not negative)."""
        if seconds < 0:
            raise ValueError("a clock moves forward only")
        self._now += seconds

"""Times as the log writes them."""

import functools
from datetime import UTC, datetime


def rfc3339(now: float) -> str:
    """RFC 3339 UTC with milliseconds; what is less is cut."""
    # From the same rounding to microseconds that `datetime` does: 1.999 is stored as a little less.
    second, micro = divmod(round(now * 1_000_000), 1_000_000)
    return f"{_second(second)}{micro // 1000:03d}Z"


@functools.lru_cache(maxsize=64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", ".")

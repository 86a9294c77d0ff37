"""Times as others write them: ISO 8601, to whole seconds since the epoch and back. Pure: reads no clock."""

import re
from datetime import UTC, datetime
from typing import Final

_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})")


def moment(at: int) -> str:
    """Return a time in UTC, to the second: `2027-01-15T08:00:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_moment(text: str) -> int | None:
    """Return epoch seconds of a date with time and zone (`2027-01-15T17:00:00+09:00`); None when it is none."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return None

"""Times as the log writes them."""

from datetime import UTC, datetime


def rfc3339(now: float) -> str:
    """RFC 3339 UTC with milliseconds."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

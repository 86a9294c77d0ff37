"""JSON Lines: one object a row, everything that the log holds of it."""

import msgspec

from gateway.audit.encoding import safe_json
from gateway.audit.query import Row


def line(row: Row) -> bytes:
    """Return a row as one line: `index`, `slot`, `hash`, `integrity`, `record`, `completion`, `signed_in_at`.

    Invisible and bidirectional characters are JSON escapes, as in the log itself.
    """
    return safe_json(msgspec.json.encode(row)) + b"\n"

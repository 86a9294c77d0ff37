"""What a replay says. Plain data, JSON-able.

`lost` and `gained` count requests: decisions, and the uses that a front made of them under a lease. A person with several roles
counts under each of them.
"""

from typing import Final

import msgspec

SAMPLES: Final = 60
"""Sample records of one kind, at most."""
SAMPLES_A_ROUTE: Final = 3
UNKNOWN_HOUR: Final = 24
"""Place of records whose time can't be read, behind the hours of the day."""


class Line(msgspec.Struct, kw_only=True):
    """One person, role or route."""

    key: str
    """Subject, role or route id, as recorded: not safe to show as it is. Empty: all beyond the number that is kept."""
    login: str = ""
    name: str = ""
    """Of a person, as recorded."""
    lost: int = 0
    gained: int = 0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One record. Its texts are as recorded: not safe to show as they are."""

    id: str
    at: str
    subject: str
    login: str
    name: str
    roles: tuple[str, ...]
    app: str
    route: str
    action: str
    recorded: str
    """The outcome that was recorded."""
    before: tuple[str, ...] = ()
    """Policies that determine the answer of those in force; empty where none permits."""
    after: tuple[str, ...] = ()
    """The same of the draft."""
    allowed_before: bool = False
    allowed_after: bool = False
    errors: tuple[str, ...] = ()
    """Of the draft."""
    remedy: tuple[str, ...] = ()
    """What would let the person in by the draft, of those who lose access."""
    why: str = ""
    """Of a record that could not be compared."""


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """Records that do not hold facts which the draft or the policies in force read."""

    facts: tuple[str, ...]
    """Names as in `policies/README.md`."""
    requests: int


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a replay."""

    before: str
    """Version of the policies in force."""
    after: str
    """Of the draft."""
    content: str = ""
    """Hash over the draft with its cases; empty where nobody asked for it."""
    made_at: str = ""
    """RFC 3339."""
    days: int
    since: str
    """Records from this time on were replayed."""
    zone: str
    records: int
    """In the whole log, all of which was verified."""
    signed: int
    first_at: str
    last_at: str
    notes: tuple[str, ...] = ()
    """Of the verifier."""
    requests: int
    """Decisions and uses of the days asked for: all that follow add up to this."""
    lost: int
    gained: int
    still_allowed: int
    still_denied: int
    lacking: int
    unreadable: int
    """Facts that are there and of a wrong type."""
    not_reproduced: int
    """Recorded under the policies in force, with another outcome than they give now."""
    uses: int
    """Of `requests`, how many were let through by a front under a lease."""
    loose_uses: int = 0
    """Uses whose decision is not in the same segment of the log; in no other number."""
    older: int = 0
    """Decisions from before the days asked for; in no other number."""
    undecided: int = 0
    """Decisions of those days without facts: sign-in required, refused, unavailable; in no other number."""
    otherwise: int = 0
    """Of `lost` to `still_denied`: recorded under other policies, with another outcome than those in force give. They count by
    what the policies in force say, not by what was said then.
    """
    questions: int = 0
    """How often the policies were asked: records whose facts none of them can tell apart are asked once."""
    seconds: float = 0.0
    people: tuple[Line, ...] = ()
    """Whoever loses or gains something, most losses first; likewise the next two."""
    roles: tuple[Line, ...] = ()
    routes: tuple[Line, ...] = ()
    hours: tuple[Line, ...] = ()
    """24, keys 00 to 23; a 25th, `?`, where a record's time can't be read."""
    lacks: tuple[Lacking, ...] = ()
    lost_samples: tuple[Sample, ...] = ()
    """Newest first; at most 3 of a route."""
    gained_samples: tuple[Sample, ...] = ()
    lacking_samples: tuple[Sample, ...] = ()
    unreadable_samples: tuple[Sample, ...] = ()
    not_reproduced_samples: tuple[Sample, ...] = ()

"""What would be decided about a request, for pages that lead a person to it."""

import msgspec

from gateway.domain.reason import RemedyStep
from gateway.domain.route import Match


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """A request's route, and what would let the person in now."""

    match: Match
    allowed: bool
    remedy: tuple[RemedyStep, ...]
    """What would let the person in; empty also when nothing is missing."""
    break_glass: bool
    """Whether break-glass would, next and by itself: it is the remedy, or offered beside it."""

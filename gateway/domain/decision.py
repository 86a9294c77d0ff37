"""A decision is a value. Five kinds, closed reasons, and enough to explain itself; one module maps it to HTTP."""

import msgspec

from gateway.domain.identity import Handle
from gateway.domain.posture import Posture
from gateway.domain.reason import ChallengeReason, DenyReason, RefuseReason, RemedyStep, UnavailableReason
from gateway.domain.request import Request
from gateway.domain.route import Route


class _Base(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """Decision id: `dec_...`; names the record, the completion record, the `jti` of the assertion, and the page's reference."""


class Allow(_Base, frozen=True, kw_only=True):
    """The request may go to the upstream, exactly as in `request`."""

    request: Request
    route: Route
    handle: Handle
    posture: Posture
    policies: tuple[str, ...]
    record_index: int = -1
    """Index of the written decision record; -1 only while it is not written yet."""
    lease_seconds: int = 0
    """How long a door may tell its front to reuse this answer for the same session, device, method and target; 0: not at all.
    By the policies' @lease, for plain reads (GET, HEAD) in the normal situation only.
    """
    break_glass: str = ""
    """Id of the break-glass in force in the session; empty without one."""


class Challenge(_Base, frozen=True, kw_only=True):
    """Nobody is signed in (any more): sign in and come back."""

    reason: ChallengeReason
    request: Request
    route: Route


class Deny(_Base, frozen=True, kw_only=True):
    """A known person may not do this now. `remedy` lists, in order, what would let them in; empty means: ask someone."""

    reason: DenyReason
    request: Request
    route: Route
    handle: Handle
    posture: Posture
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    remedy: tuple[RemedyStep, ...] = ()
    grant: str = ""
    """With the step `grant`: the name of the one that would help."""
    waiting: bool = False
    """Whether the person has asked for it already, and nobody has decided yet."""
    last_resort: bool = False
    """Whether break-glass would let the person in at once, where `remedy` takes an officer or a card."""
    break_glass: str = ""
    """As in `Allow`."""


class Refuse(_Base, frozen=True, kw_only=True):
    """The request is malformed, ambiguous or for nobody. Never repaired."""

    reason: RefuseReason
    detail: str = ""
    """For the log and the page; contains no raw control characters."""


class Unavailable(_Base, frozen=True, kw_only=True):
    """Something that the decision needs does not answer: nothing is let through."""

    reason: UnavailableReason
    detail: str = ""


Decision = Allow | Challenge | Deny | Refuse | Unavailable

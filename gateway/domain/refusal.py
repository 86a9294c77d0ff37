"""Why a request was not accepted, before anybody decided anything."""

import msgspec

from gateway.domain.reason import RefuseReason


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not accepted. Becomes `decision.Refuse`."""

    reason: RefuseReason
    detail: str = ""
    """Which rule was broken, in words of ours: never a copy of what was sent."""

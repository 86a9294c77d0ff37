"""Did the provider do what it was asked for? Pure: the time comes in.

What a request asks for (`gateway.rp.flows.request_extras`) passes through the browser's address bar, where whoever sits before it
can strike it out; and a provider may give less than it was asked for (OpenID Connect Core 1.0 §3.1.2.1: `acr_values` is a wish).
So the ID token is held against the request. It is no decision: policies judge every request by themselves. But nothing that a
policy reads tells a sign-in that was asked for anew from one that the provider remembered, and a step that was not done must
not stand in the log as done.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.domain.identity import AuthEvent, Proofing
from gateway.policy.facts import count_factors
from gateway.rp.flows import Purpose

SKEW_SECONDS: Final = 60
"""How far the provider's clock may be behind ours. What happened so shortly before the request counts as its answer."""
_FACTORS: Final = 2


def left_out(
    purpose: Purpose,
    *,
    anew: bool,
    asked_at: int,
    claims: Mapping[str, Any],
    events: tuple[AuthEvent, ...],
    proofing: Proofing | None,
    now: float,
) -> str | None:
    """Return what was asked for and not done, in words for the log; None when all was.

    `claims` are verified, `events` read from them (`gateway.rp.token.events_of`), and so is `proofing`. `asked_at` is when the
    request was made, epoch seconds. An `anew` sign-in and each step that asks for something fresh need times: a provider that
    does not tell them (`auth_time` is required after `max_age`, §2) has not done it.
    """
    since = asked_at - SKEW_SECONDS
    at = claims.get("auth_time")
    if anew and (not isinstance(at, int) or isinstance(at, bool) or at < since):
        return "the person was not asked to sign in again"
    fresh = [event for event in events if event.at >= since]
    if purpose == "key_touch" and not any(event.kind == "fido2" and event.phishing_resistant for event in fresh):
        return "no fresh touch of a security key"
    if purpose in {"second_factor", "break_glass"} and count_factors(event.kind for event in fresh) < _FACTORS:
        return "no two fresh factors"
    if purpose == "identity_proofing" and (proofing is None or (proofing.expires_at is not None and proofing.expires_at <= now)):
        return "no identity proofing in force"
    return None

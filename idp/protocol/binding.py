"""Which authenticators an identity proofing is bound to: the rules. Pure; docs/ekyc/binding.md says why.

A *sitting* is what one person proved in one browser in one go: in a sign-in, and in that browser's session shortly before it.
"""

from collections.abc import Collection, Iterable
from typing import Final

from idp.model import ACR_MFA, ACR_PHR, AuthEvent
from idp.protocol.assurance import reached_at

FRESH_SECONDS: Final = 900
"""How long before a sign-in something may have been proved in the same session to belong to its sitting."""
KEY: Final = "fido2:"
"""A key's name in `proofing_binding` is this and its credential id; those of the others are their kinds, `pwd` and `otp`."""


def authenticator(event: AuthEvent) -> str:
    """Return the name of what was used; empty for what is never bound: a recovery code, and a key that was not told apart."""
    if event.kind == "fido2":
        return event.authenticator if event.authenticator.startswith(KEY) else ""
    return event.kind if event.kind in {"pwd", "otp"} else ""


def kinds(bound: Iterable[str]) -> list[str]:
    """Return the claim `bound_kinds`: of which kinds authenticators are bound."""
    return sorted({name.partition(":")[0] for name in bound})


def sitting(proved: Iterable[AuthEvent], session: Iterable[AuthEvent], since: int) -> tuple[AuthEvent, ...]:
    """Return the events of one sitting: everything `proved` in it, and of the session's what is not older than `since`."""
    return (*(event for event in session if event.at >= since), *proved)


def used(events: Iterable[AuthEvent]) -> frozenset[str]:
    """Return what was used and can be bound. In the sitting in which the person was proofed, this is what gets bound."""
    return frozenset(name for event in events if (name := authenticator(event)))


def confirms(events: Collection[AuthEvent], bound: Collection[str], since: int) -> bool:
    """Whether what one session proved lets something be bound that is not: NIST SP 800-63B-4 §4.1.2.

    What is `bound` must be a whole authentication by itself, and no weaker than the strongest that is bound: with a key among
    them only a key will do. What one has (the key, the app) was shown at `since` or later. With a recovery code since then
    nothing is bound.
    """
    if any(event.kind == "recovery" and event.at >= since for event in events):
        return False
    own = [event for event in events if authenticator(event) in bound]
    needed = ACR_PHR if any(name.startswith(KEY) for name in bound) else ACR_MFA
    if needed == ACR_PHR:
        own = [event for event in own if event.kind == "fido2"]
    shown = any(event.kind != "pwd" and event.at >= since for event in own)
    return shown and reached_at(own, needed) is not None

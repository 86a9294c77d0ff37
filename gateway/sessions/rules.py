"""What both session stores hold to: limits, the shape of tokens, and what a change may change. Pure."""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from gateway.domain.identity import Proofing, Session

GRACE_SECONDS: Final = 30
"""How long a token stays valid after `attach` gave its host a newer one at the same generation: several tabs that finish a
sign-in together must not log each other out. Tokens of an older generation get no grace, nor do those that `change` replaces."""
MAX_GRACE_TOKENS: Final = 8
"""Tokens of one session and host that may be in grace at once; the ones that would end first go first."""
REMEMBER_SECONDS: Final = 3600
"""How long after a session's absolute limit the store still says why its tokens are dead; then they are just unknown."""
MAX_LAZY_SECONDS: Final = 5.0

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_HOST: Final = re.compile(r"[a-z0-9.:\[\]_-]{1,255}")


def well_formed_token(token: str) -> bool:
    """True for the shape that `kernel.ids.new_token` gives: anything else is unknown without looking it up or hashing it."""
    return _TOKEN.fullmatch(token) is not None


def well_formed_id(session_id: str) -> bool:
    """True for what may be a session id; anything else (a path from a console URL, say) is not found."""
    return _SESSION_ID.fullmatch(session_id) is not None


def well_formed_host(host: str) -> bool:
    """True for a canonical host with or without port: lower case, no user info, no spaces."""
    return _HOST.fullmatch(host) is not None


def lazy_seconds(idle_seconds: int) -> float:
    """How stale a stored last-seen time may be: 5 s, or a tenth of the idle limit where that is less.

    A store that writes lazily adds this to the idle limit, so that nobody is logged out early.
    """
    return min(MAX_LAZY_SECONDS, idle_seconds / 10)


def check_new(session: Session, host: str, now: float) -> None:
    """Raise ValueError when a session can't be stored: a caller's mistake, never a client's."""
    if not well_formed_id(session.id):
        raise ValueError("session id: 1 to 128 letters, digits, `_` or `-`")
    check_host(host)
    if session.expires_at <= now:
        raise ValueError(f"session {session.id} is over before it begins: expires_at {session.expires_at}, now {now:.0f}")
    if session.idle_seconds < 1:
        raise ValueError(f"session {session.id}: idle_seconds must be 1 or more, not {session.idle_seconds}")


def check_host(host: str) -> None:
    """Raise ValueError when a token can't be issued for `host`."""
    if not well_formed_host(host):
        raise ValueError("host: a canonical host name in lower case, with a port where the URL has one")


def check_change(old: Session, new: Session) -> Session:
    """Return `new` when it is a lawful successor of `old`; ValueError when not.

    A change raises the generation, stays the same session of the same person, and never lengthens the absolute limit.
    """
    if new.id != old.id or new.created_at != old.created_at:
        raise ValueError(f"session {old.id}: a change can't make it another session")
    if new.identity.subject != old.identity.subject:
        raise ValueError(f"session {old.id}: a change can't give it to another person; revoke it and create a new one")
    if new.generation <= old.generation:
        raise ValueError(f"session {old.id}: a change must raise the generation {old.generation}, not set {new.generation}")
    if new.expires_at > old.expires_at:
        raise ValueError(f"session {old.id}: a change can't lengthen the absolute limit")
    if new.idle_seconds < 1:
        raise ValueError(f"session {old.id}: idle_seconds must be 1 or more, not {new.idle_seconds}")
    return new


def without_proofing(session: Session, which: Callable[[Proofing], bool]) -> Session | None:
    """Return the session without its identity proofing, and without what is bound to it; None when it holds none, or none of
    which `which` is true.
    """
    proofing = session.identity.proofing
    if proofing is None or not which(proofing):
        return None
    identity = msgspec.structs.replace(session.identity, proofing=None, bound_kinds=())
    return msgspec.structs.replace(session, identity=identity)


def without_emergency(session: Session, emergency_id: str) -> Session | None:
    """Return the session without its break-glass; None when it holds none of this id."""
    if session.emergency is None or session.emergency.id != emergency_id:
        return None
    return msgspec.structs.replace(session, emergency=None)

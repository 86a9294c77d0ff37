"""Who asks: the person, how they authenticated, and how strongly they were proofed.

These are plain values that can't be in a cycle, so the garbage collector is told to leave them alone (`gc=False`): with a hundred
thousand sessions in memory it would stop the process for a good part of a second.
"""

from typing import Literal

import msgspec

AuthKind = Literal["pwd", "otp", "fido2", "recovery"]
"""Kinds of authentication event. `fido2` always had user verification (PIN or biometric) here."""


class AuthEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that a person proved, once."""

    kind: AuthKind
    at: int
    """Epoch seconds."""
    phishing_resistant: bool = False
    generation: int = 0
    """The session generation that this event began; a handle sees only events up to its own generation."""


class Proofing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The result of identity proofing: what is kept of it, and no more (never a certificate, never the Individual Number)."""

    level: int
    """Identity assurance level 1 to 3."""
    method: str
    """`simulated`, `jpki_sign`, `in_person_ic` ..."""
    verified_at: int
    """Epoch seconds."""
    expires_at: int | None
    verifier: str
    transaction: str


class Identity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A person as the identity provider described them in a verified ID token."""

    subject: str
    """The provider's `sub`: stable, opaque."""
    login: str
    name: str
    roles: tuple[str, ...]
    organization: str = ""
    department: str = ""
    proofing: Proofing | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One sign-in of one person in one browser. Each host holds its own handle to it (`Handle`)."""

    id: str
    identity: Identity
    events: tuple[AuthEvent, ...]
    generation: int
    """Rises by one at each change of privilege (sign-in, step-up, proofing, device); handles of older generations see less."""
    created_at: int
    last_seen_at: int
    expires_at: int
    """Absolute limit, epoch seconds."""
    idle_seconds: int
    device_id: str | None = None
    """The registered device that proved itself in this session, by cookie or key. A certificate is read per connection."""
    device_evidence: Literal["none", "cookie", "key"] = "none"
    device_generation: int = 0
    proofing_generation: int = 0
    """The generation that `identity.proofing` began; older handles do not see it."""
    provider_session: str = ""
    """`sid` of the ID token."""
    id_token: str = ""
    """Kept for RP-initiated logout's `id_token_hint`; never leaves the gateway otherwise."""
    address: str = ""
    user_agent: str = ""


class Handle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a host's cookie stands for: a session, seen at the generation that the cookie was issued in."""

    session: Session
    host: str
    generation: int

    def events(self) -> tuple[AuthEvent, ...]:
        """The authentication events that this handle may rely on."""
        return tuple(event for event in self.session.events if event.generation <= self.generation)

    def device_id(self) -> str | None:
        """The device that proved itself, where this handle is new enough to rely on it."""
        return self.session.device_id if self.session.device_generation <= self.generation else None

    def proofing(self) -> Proofing | None:
        """The identity proofing, where this handle is new enough to rely on it."""
        return self.session.identity.proofing if self.session.proofing_generation <= self.generation else None

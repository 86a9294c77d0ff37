"""Who asks: the person, how they authenticated, and how strongly they were proofed.

These are plain values that can't be in a cycle, so the garbage collector is told to leave them alone (`gc=False`): with a hundred
thousand sessions in memory it would stop the process for a good part of a second.
"""

import unicodedata
from typing import Final, Literal

import msgspec

AuthKind = Literal["pwd", "otp", "fido2", "recovery"]
"""Kinds of authentication event. `fido2` always had user verification (PIN or biometric) here."""


def same_login(one: str, other: str) -> bool:
    """Whether two logins may be one person's: capitals and full-width letters make no second one. No login is nobody's."""
    return bool(one) and bool(other) and _spelt(one) == _spelt(other)


def _spelt(login: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", login).casefold())


class AuthEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that a person proved, once."""

    kind: AuthKind
    at: int
    """Epoch seconds."""
    phishing_resistant: bool = False
    generation: int = 0
    """The session generation that this event began; a handle sees only events up to its own generation."""
    bound: bool = False
    """Whether the authenticator was bound to the proofing of the same ID token, by the provider's word."""
    bound_generation: int = 0
    """The session generation in which that was first said; older handles don't see it."""


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


class Emergency(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Break-glass in one session: access beyond the usual rules where policies offer it (guideline 6.0/ops/11)."""

    id: str
    """`brk_...`: in every record under it, and of the review that follows."""
    began_at: int
    until: int
    """Epoch seconds: it ends by itself."""
    reason: str
    """One of the configured words."""
    patient: str
    """Whom it concerns."""


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
    bound_kinds: tuple[AuthKind, ...] = ()
    """Of which kinds the person has authenticators that are bound to the proofing, sorted: what would help, no evidence."""


_STRENGTH: Final[dict[AuthKind, int]] = {"pwd": 0, "recovery": 1, "otp": 2, "fido2": 3}


def _strength(event: AuthEvent) -> tuple[int, int]:
    return _STRENGTH[event.kind], event.at


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
    emergency: Emergency | None = None
    """Break-glass of this session; may be over."""
    emergency_generation: int = 0
    """The generation that it began; older handles do not see it."""
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

    def authenticator_bound(self, latest: float) -> bool:
        """Whether what this handle's session was authenticated with is bound to the proofing that the handle sees.

        Of the events that the handle may rely on, the newest of the strongest kind is looked at (a key before a one-time code,
        that before a recovery code, a password last): its authenticator must be bound, and this handle new enough to know it.
        Events after `latest` (epoch seconds) don't count.
        """
        if self.proofing() is None:
            return False
        deciding = max((event for event in self.events() if event.at <= latest), key=_strength, default=None)
        return deciding is not None and deciding.bound and deciding.bound_generation <= self.generation

    def proofing(self) -> Proofing | None:
        """The identity proofing, where this handle is new enough to rely on it."""
        return self.session.identity.proofing if self.session.proofing_generation <= self.generation else None

    def emergency(self, now: float) -> Emergency | None:
        """The break-glass in force at `now` (epoch seconds), where this handle is new enough to rely on it."""
        found = self.session.emergency
        if found is None or self.session.emergency_generation > self.generation:
            return None
        return found if found.began_at <= now + 60 and now < found.until else None

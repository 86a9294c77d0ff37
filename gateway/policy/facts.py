"""The closed set of facts that policies can read. `policies/schema.cedarschema` types the same set; a test compares them.

Pure data. Ages are whole seconds at decision time. `None` means "not known": the attribute is absent in Cedar, and a policy
must test with `has`.
"""

from typing import Literal

import msgspec


class PrincipalFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The person. `roles` become parents `Role::"..."`, `organization` a parent `Organization::"..."`."""

    id: str
    roles: tuple[str, ...]
    organization: str


class AuthenticationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the person signed in, in this session, as far as this host's handle may know."""

    kinds: tuple[str, ...]
    """Sorted, from `pwd`, `otp`, `fido2`, `recovery`."""
    factors: int
    """Number of different factor kinds proved (knowledge, possession, inherence): FIDO2 with user verification counts two."""
    phishing_resistant: bool
    age_seconds: int
    """Since the newest event."""
    key_touch_age_seconds: int | None
    """Since the newest FIDO2 assertion with user verification."""


class ProofingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Identity proofing that is in force now; expired proofing counts as level 0."""

    level: int
    method: str
    age_days: int


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The device that proved itself on this request."""

    registered: bool
    compliant: bool
    evidence: str
    """`none`, `cookie`, `key`, `certificate`."""
    evidence_strength: int
    """0 to 3, the same order."""
    ownership: str
    """`hospital`, `personal`, `vendor`, or empty."""
    compliance_age_seconds: int | None


class NetworkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where the request came from."""

    zone: str
    """The configured zone whose ranges hold the client address, or `other`."""
    tls: bool


class TimeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Time in the hospital's time zone."""

    hour: int
    weekday: int
    """1 Monday to 7 Sunday (ISO 8601)."""
    date: str
    """YYYY-MM-DD."""


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    app: str
    route: str
    action: str
    sensitivity: str
    patient: str
    """Empty when the route does not know it."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that policies can read about one request."""

    principal: PrincipalFacts
    authentication: AuthenticationFacts
    proofing: ProofingFacts
    device: DeviceFacts
    network: NetworkFacts
    time: TimeFacts
    situation: Literal["normal", "emergency", "break_glass"]
    grants: tuple[str, ...]
    """Ids of approved grants in force for this person."""
    target: TargetFacts

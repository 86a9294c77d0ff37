"""The closed set of facts that policies can read. `policies/schema.cedarschema` types the same set; a test compares them.

Pure data. Ages are whole seconds at decision time. `None` means "not known": the attribute is absent in Cedar, and a policy
must test with `has`. A `Literal` is a closed set of words: a policy that compares the attribute with another word is refused
at load, because it could never be true.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

AuthKind = Literal["pwd", "otp", "fido2", "recovery"]
Evidence = Literal["none", "cookie", "key", "certificate"]
Ownership = Literal["hospital", "personal", "vendor", ""]
Situation = Literal["normal", "emergency", "break_glass"]
Action = Literal["read", "write", "delete", "export", "administer"]
Sensitivity = Literal["normal", "high"]


class PrincipalFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The person. `roles` become parents `Role::"..."`, `organization` (unless empty) a parent `Organization::"..."`."""

    id: str
    roles: tuple[str, ...]
    organization: str


class AuthenticationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the person signed in, in this session, as far as this host's handle may know."""

    kinds: tuple[AuthKind, ...]
    """Sorted, from `pwd`, `otp`, `fido2`, `recovery`."""
    factors: int
    """Number of different factor kinds proved, as `count_factors` counts them."""
    phishing_resistant: bool
    """One of the events could not have been relayed by a look-alike site."""
    age_seconds: int
    """Since the newest event."""
    key_touch_age_seconds: int | None
    """Since the newest FIDO2 assertion with user verification."""


class ProofingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Identity proofing that is in force now; expired proofing counts as level 0."""

    level: int
    method: str
    age_days: int
    expires_in_days: int | None = None
    """Whole days until it ends by itself; None without an end, or without a proofing."""
    authenticator_bound: bool = False
    """Whether what the person signed in with, in this session, is bound to the proofing: see `Handle.authenticator_bound`."""


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The device that proved itself on this request."""

    registered: bool
    compliant: bool
    evidence: Evidence
    """`none`, `cookie`, `key`, `certificate`."""
    evidence_strength: int
    """0 to 3, the same order."""
    ownership: Ownership
    """`hospital`, `personal`, `vendor`, or empty."""
    compliance_age_seconds: int | None
    disk_encrypted: bool | None = None
    """What an officer or an inventory last said, and how long ago; both None when nobody has. So with the other attributes."""
    disk_encrypted_age_seconds: int | None = None
    screen_lock: bool | None = None
    screen_lock_age_seconds: int | None = None
    antivirus: bool | None = None
    antivirus_age_seconds: int | None = None
    os_supported: bool | None = None
    os_supported_age_seconds: int | None = None


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
    day: int = 0
    """The same as the number YYYYMMDD, so that days can be compared."""
    holiday: bool = False
    """A national holiday, or one of the hospital's own. Weekends are not."""
    shifts: tuple[str, ...] = ()
    """Names of the configured shifts that are on, sorted."""


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    app: str
    route: str
    action: Action
    sensitivity: Sensitivity
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
    situation: Situation
    grants: tuple[str, ...]
    """Names of the approved grants that are in force for this person, sorted."""
    target: TargetFacts


def count_factors(kinds: Iterable[AuthKind]) -> int:
    """Return how many different kinds of factor these events prove: what one knows, has, or is (0 to 2).

    A password is knowledge; a one-time code and a recovery code are possession, so both together still count one. FIDO2 with
    user verification counts two by itself: the key, and the PIN or biometric that opened it. It never makes three together
    with a password, because the authenticator does not say whether it was the PIN (knowledge again) or the biometric.
    """
    proved: set[str] = set()
    for kind in kinds:
        proved |= {"pwd": {"knowledge"}, "otp": {"possession"}, "recovery": {"possession"}, "fido2": {"knowledge", "possession"}}[
            kind
        ]
    return len(proved)

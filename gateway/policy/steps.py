"""What each step of a remedy yields, as facts: what doing it really changes, and no more. Pure.

What a step yields differs between hospitals and people (may people register devices themselves? is there a proofing service? is
there a database for grants?), so that is a parameter: `Outcomes`.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from gateway.policy.facts import AuthKind, DeviceFacts, Evidence, Facts, Ownership, ProofingFacts, count_factors

Step = Literal[
    "key_touch", "second_factor", "register_device", "device_compliance", "identity_proofing", "grant", "break_glass"
]  # fmt: skip
STEPS: Final[tuple[Step, ...]] = (
    "key_touch", "second_factor", "register_device", "device_compliance", "identity_proofing", "grant", "break_glass",
)  # fmt: skip
"""The words of `gateway.domain.reason.RemedyStep`, cheapest first."""

CEREMONY_SECONDS: Final = 600
"""How old a sign-in may be that an identity proofing is bound to without asking again (`gateway.rp.flows.request_extras`)."""
EVIDENCE_STRENGTH: Final[dict[Evidence, int]] = {"none": 0, "cookie": 1, "key": 2, "certificate": 3}


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What registering this browser as a device yields at once. Where a registration waits for approval, it yields nothing:
    use None in its place.
    """

    compliant: bool = True
    """Whether a new device counts as compliant: True where the person's own word is enough."""
    evidence: Evidence = "key"
    """What the browser will show from then on."""
    ownership: Ownership = "personal"


class Proofing(msgspec.Struct, frozen=True, kw_only=True):
    """What the identity proofing step yields."""

    level: int = 3
    method: str = "simulated"
    expires_in_days: int | None = None
    """When the result will end by itself."""
    binds: bool = True
    """Whether the provider binds what the person signs in with to the proofing."""


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps yield, for this person, device and hospital. None: the step is not possible now."""

    key_touch: bool = True
    """Whether the person can use a security key or passkey, or get one on the way."""
    enrolment: Enrolment | None = Enrolment()
    """None also for a browser whose device is blocked: registering again must not be a way around that."""
    proofing: Proofing | None = Proofing()
    bound: tuple[AuthKind, ...] = ("fido2", "otp", "pwd")
    """Of which kinds the person has authenticators that are bound to the proofing in force."""
    compliance: bool = True
    """Whether a registered device can be brought into compliance."""
    grants: bool = True
    """Whether people can ask for a grant here."""
    break_glass: bool = True
    """Whether there is break-glass here, and none in the session yet."""


def apply_steps(facts: Facts, steps: Sequence[Step], outcomes: Outcomes, *, grant: str = "") -> Facts | None:
    """Return the facts after doing `steps` in order, or None when one of them is not possible or would change nothing.

    `grant` is the name of the grant that is asked for.
    """
    for step in steps:
        after = _granted(facts, outcomes, grant) if step == "grant" else _APPLY[step](facts, outcomes)
        if after is None or after == facts:
            return None
        facts = after
    return facts


def _signed_in(facts: Facts, outcomes: Outcomes, kinds: set[AuthKind], *, key: bool) -> Facts:
    now = facts.authentication
    every = tuple(sorted({*now.kinds, *kinds}))
    after = msgspec.structs.replace(
        now,
        kinds=every,
        factors=max(now.factors, count_factors(every)),
        phishing_resistant=now.phishing_resistant or key,
        age_seconds=0,
        key_touch_age_seconds=0 if key else now.key_touch_age_seconds,
    )
    # The strongest kind says whether what was used is bound. Of several keys the one at hand is taken for a bound one.
    strongest: AuthKind = "fido2" if "fido2" in every else "otp"
    bound = facts.proofing.authenticator_bound and strongest in now.kinds
    if strongest in kinds:
        bound = bound or strongest in outcomes.bound
    proofing = msgspec.structs.replace(facts.proofing, authenticator_bound=bound and facts.proofing.level > 0)
    return msgspec.structs.replace(facts, authentication=after, proofing=proofing)


def _key_touch(facts: Facts, outcomes: Outcomes) -> Facts | None:
    """A FIDO2 assertion with user verification: two factors by itself. A person without a key is led through getting one."""
    if not outcomes.key_touch:
        return None
    return _signed_in(facts, outcomes, {"fido2"}, key=True)


def _second_factor(facts: Facts, outcomes: Outcomes) -> Facts | None:
    """What is missing of password and one-time code. With two factors already, the provider would not ask for anything."""
    if facts.authentication.factors >= 2:  # noqa: PLR2004  two is what two-factor means
        return None
    kinds: set[AuthKind] = {"pwd", "otp"}
    if {"otp", "recovery"} & set(facts.authentication.kinds):
        kinds = {"pwd"}
    return _signed_in(facts, outcomes, kinds, key=False)


def _register_device(facts: Facts, outcomes: Outcomes) -> Facts | None:
    enrolment = outcomes.enrolment
    if facts.device.registered or enrolment is None:
        return None
    shown = max(facts.device.evidence, enrolment.evidence, key=EVIDENCE_STRENGTH.__getitem__)
    device = DeviceFacts(
        registered=True,
        compliant=enrolment.compliant,
        evidence=shown,
        evidence_strength=EVIDENCE_STRENGTH[shown],
        ownership=enrolment.ownership,
        compliance_age_seconds=0,
    )
    return msgspec.structs.replace(facts, device=device)


def _device_compliance(facts: Facts, outcomes: Outcomes) -> Facts | None:
    if not outcomes.compliance or not facts.device.registered or facts.device.compliant:
        return None
    device = msgspec.structs.replace(facts.device, compliant=True, compliance_age_seconds=0)
    return msgspec.structs.replace(facts, device=device)


def _identity_proofing(facts: Facts, outcomes: Outcomes) -> Facts | None:
    """The new result takes the place of the old one; a service that yields less than what is in force is no step.

    What counts as bound afterwards is what the session was most strongly signed in with: a key only when it was touched lately,
    because the ceremony asks again for password and code, not for the key.
    """
    proofing, now = outcomes.proofing, facts.authentication
    if proofing is None or proofing.level < facts.proofing.level:
        return None
    touch = now.key_touch_age_seconds
    bound = "otp" in now.kinds if touch is None else touch < CEREMONY_SECONDS
    after = ProofingFacts(
        level=proofing.level,
        method=proofing.method,
        age_days=0,
        expires_in_days=proofing.expires_in_days,
        authenticator_bound=proofing.binds and bound,
    )
    return msgspec.structs.replace(facts, proofing=after)


def _granted(facts: Facts, outcomes: Outcomes, name: str) -> Facts | None:
    """What an officer's approval adds, by its name."""
    if not outcomes.grants or not name or name in facts.grants:
        return None
    return msgspec.structs.replace(facts, grants=tuple(sorted({*facts.grants, name})))


def _break_glass(facts: Facts, outcomes: Outcomes) -> Facts | None:
    """The situation, after the fresh second factor that its page asks for first: of what kind is left to the person."""
    if not outcomes.break_glass or facts.situation == "break_glass":
        return None
    fresh = msgspec.structs.replace(facts.authentication, factors=max(2, facts.authentication.factors), age_seconds=0)
    return msgspec.structs.replace(facts, authentication=fresh, situation="break_glass")


_APPLY: Final[dict[Step, Callable[[Facts, Outcomes], Facts | None]]] = {
    "key_touch": _key_touch,
    "second_factor": _second_factor,
    "register_device": _register_device,
    "device_compliance": _device_compliance,
    "identity_proofing": _identity_proofing,
    "break_glass": _break_glass,
}

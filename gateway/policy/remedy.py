"""What would let a person in: the policies asked again with hypothetical facts, cheapest first. Pure.

Each step's hypothesis sets what doing that step really yields, and no more, so that a remedy that is followed is a remedy
that works. What a step yields differs between hospitals (may people register devices themselves? is there a proofing
service?), so that is a parameter.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Final, Literal, Protocol

import msgspec

from gateway.policy.evaluate import Answer
from gateway.policy.facts import AuthKind, DeviceFacts, Evidence, Facts, Ownership, ProofingFacts, count_factors

Step = Literal["key_touch", "second_factor", "register_device", "device_compliance", "identity_proofing"]
STEPS: Final[tuple[Step, ...]] = ("key_touch", "second_factor", "register_device", "device_compliance", "identity_proofing")
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


class Policies(Protocol):
    """What is asked: a `Bundle`, or its answers remembered (`gateway.policy.cache`)."""

    def evaluate(self, facts: Facts) -> Answer:
        """Decide one request."""
        ...

    def allowed(self, hypotheses: Sequence[Facts]) -> list[bool]:
        """Say for each of several facts about one person and target whether it would be allowed."""
        ...


def find_remedy(policies: Policies, facts: Facts, outcomes: Outcomes = Outcomes()) -> tuple[Step, ...]:  # noqa: B008  frozen
    """Return the steps, in order, after which the same request would be allowed; empty when it is allowed now or none help.

    Single steps first, then the smallest set, by the order of STEPS: at most 32 evaluations. The answer is a hint, never a
    grant: whoever follows it is decided anew. It assumes that steps are done promptly; a key touch that grows old during a
    long identity proofing will be asked for again. Never raises.
    """
    now = policies.evaluate(facts)
    if now.allowed or any(error.startswith("request:") for error in now.errors):
        return ()
    for size in range(1, len(STEPS) + 1):
        plans = [
            (steps, after) for steps in combinations(STEPS, size) if (after := apply_steps(facts, steps, outcomes)) is not None
        ]
        if plans:
            answers = policies.allowed([after for _, after in plans])
            for (steps, _), allowed in zip(plans, answers, strict=True):
                if allowed:
                    return steps
    return ()


def apply_steps(facts: Facts, steps: tuple[Step, ...], outcomes: Outcomes) -> Facts | None:
    """Return the facts after doing `steps` in order, or None when one of them is not possible or would change nothing."""
    for step in steps:
        after = _APPLY[step](facts, outcomes)
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


_APPLY: Final[dict[Step, Callable[[Facts, Outcomes], Facts | None]]] = {
    "key_touch": _key_touch,
    "second_factor": _second_factor,
    "register_device": _register_device,
    "device_compliance": _device_compliance,
    "identity_proofing": _identity_proofing,
}

"""What each step of a remedy yields, as facts: what doing it really changes, and no more. And how long it may take meanwhile what
was done before grows old. Pure.

What a step yields differs between hospitals and people (may people register devices themselves? is there a proofing service? is
there a database for grants?), so that is a parameter: `Outcomes`.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from gateway.policy.facts import (
    AuthenticationFacts,
    AuthKind,
    DeviceFacts,
    Evidence,
    Facts,
    Ownership,
    ProofingFacts,
    count_factors,
)

Part = TypeVar("Part", AuthenticationFacts, DeviceFacts)
Step = Literal[
    "key_touch", "second_factor", "register_device", "device_compliance", "identity_proofing", "grant", "break_glass"
]  # fmt: skip
STEPS: Final[tuple[Step, ...]] = (
    "key_touch", "second_factor", "register_device", "device_compliance", "identity_proofing", "grant", "break_glass",
)  # fmt: skip
"""The words of `gateway.domain.reason.RemedyStep`, cheapest first."""

CEREMONY_SECONDS: Final = 600
"""How old a sign-in may be that an identity proofing is bound to without asking again (`gateway.rp.flows.request_extras`)."""
STEP_SECONDS: Final[dict[Step, int]] = {
    "key_touch": 120, "second_factor": 300, "register_device": 600, "device_compliance": 3600, "identity_proofing": 2400,
    "grant": 3600, "break_glass": 600,
}  # fmt: skip
"""How long a step takes at most here. Flows end sooner (`gateway.rp.flows`); whoever waits longer for an officer may have to sign
in again, and is asked anew.
"""
WAIT_SECONDS: Final = 3600
"""The same for a device that an officer has to approve."""
AGEING: Final[frozenset[Step]] = frozenset({"key_touch", "second_factor"})
"""What is worth less as it grows old."""
RETURN_SECONDS: Final = 30
"""From the end of a step to the next request."""
FRESH_SECONDS: Final = 180
"""How old the second factor may be when break-glass begins (`gateway.doors.portal.emergency`)."""
EVIDENCE_STRENGTH: Final[dict[Evidence, int]] = {"none": 0, "cookie": 1, "key": 2, "certificate": 3}


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What registering this browser as a device yields in the end. For a browser whose device waits for approval already,
    registering yields nothing: use None in its place.
    """

    approval: bool = False
    """Whether an officer has to approve it first."""

    compliant: bool = True
    """Whether a new device counts as compliant: True where the person's own word is enough, or the officer's approval says so."""
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


def apply_steps(
    facts: Facts, steps: Sequence[Step], outcomes: Outcomes, *, grant: str = "", slowly: bool = False
) -> Facts | None:
    """Return the facts after doing `steps` in order, or None when one of them is not possible or would change nothing. What is
    fresh now may not be any more once the others are done: it does not count as nothing beside them.

    `grant` is the name of the grant that is asked for. `slowly`: each step takes as long as it may, and `facts` are those of
    somebody who has done nothing for `seconds_of(steps)`; otherwise no time passes.
    """
    ahead = seconds_of(steps, outcomes) if slowly else 0
    for step in steps:
        took = _seconds(step, outcomes) if slowly else 0
        ahead -= took
        now = _Moment(age=ahead, took=took)
        after = _granted(facts, outcomes, grant) if step == "grant" else _APPLY[step](facts, outcomes, now)
        if after is None or (after == facts and (len(steps) == 1 or step not in AGEING)):
            return None
        facts = after
    return facts


def seconds_of(steps: Sequence[Step], outcomes: Outcomes) -> int:
    """How long these steps take at most, until the next request."""
    return sum(_seconds(step, outcomes) for step in steps) + RETURN_SECONDS


def waits(step: Step, outcomes: Outcomes) -> bool:
    """Whether a step takes an officer or a card: nothing for somebody in a hurry."""
    if step == "register_device":
        return outcomes.enrolment is not None and outcomes.enrolment.approval
    return step in {"device_compliance", "identity_proofing", "grant"}


def idle(facts: Facts, seconds: int) -> Facts:
    """Return the facts of somebody who has done nothing for so long, where nobody can say it better: ages grow, days don't."""
    return msgspec.structs.replace(
        facts, authentication=_older(facts.authentication, seconds), device=_older(facts.device, seconds)
    )


class _Moment(msgspec.Struct, frozen=True):
    """When a step ends."""

    age: int
    """Seconds from then to the decision."""
    took: int
    """Seconds that the step itself takes."""


def _seconds(step: Step, outcomes: Outcomes) -> int:
    return WAIT_SECONDS if step == "register_device" and waits(step, outcomes) else STEP_SECONDS[step]


def _older(part: Part, seconds: int) -> Part:
    ages = {
        name: age + seconds
        for name in part.__struct_fields__
        if name.endswith("age_seconds") and (age := getattr(part, name)) is not None
    }
    return msgspec.structs.replace(part, **ages)


def _signed_in(facts: Facts, outcomes: Outcomes, kinds: set[AuthKind], age: int) -> Facts:
    now = facts.authentication
    every = tuple(sorted({*now.kinds, *kinds}))
    key = "fido2" in kinds
    after = msgspec.structs.replace(
        now,
        kinds=every,
        factors=max(now.factors, count_factors(every)),
        phishing_resistant=now.phishing_resistant or key,
        age_seconds=min(now.age_seconds, age),
        key_touch_age_seconds=age if key else now.key_touch_age_seconds,
    )
    # The strongest kind says whether what was used is bound. Of several keys the one at hand is taken for a bound one.
    strongest: AuthKind = "fido2" if "fido2" in every else "otp"
    bound = facts.proofing.authenticator_bound and strongest in now.kinds
    if strongest in kinds:
        bound = bound or strongest in outcomes.bound
    proofing = msgspec.structs.replace(facts.proofing, authenticator_bound=bound and facts.proofing.level > 0)
    return msgspec.structs.replace(facts, authentication=after, proofing=proofing)


def _key_touch(facts: Facts, outcomes: Outcomes, now: _Moment) -> Facts | None:
    """A FIDO2 assertion with user verification: two factors by itself. A person without a key is led through getting one."""
    if not outcomes.key_touch:
        return None
    return _signed_in(facts, outcomes, {"fido2"}, now.age)


def _second_factor(facts: Facts, outcomes: Outcomes, now: _Moment) -> Facts | None:
    """Two factors, asked for anew: what is missing of password and one-time code. With two factors already nothing is added but
    that they are fresh: the person may use the same ones, or others.
    """
    kinds: set[AuthKind] = {"pwd", "otp"}
    if facts.authentication.factors >= 2:  # noqa: PLR2004  two is what two-factor means
        kinds = set()
    elif {"otp", "recovery"} & set(facts.authentication.kinds):
        kinds = {"pwd"}
    return _signed_in(facts, outcomes, kinds, now.age)


def _register_device(facts: Facts, outcomes: Outcomes, now: _Moment) -> Facts | None:
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
        compliance_age_seconds=now.age,
    )
    return msgspec.structs.replace(facts, device=device)


def _device_compliance(facts: Facts, outcomes: Outcomes, now: _Moment) -> Facts | None:
    if not outcomes.compliance or not facts.device.registered or facts.device.compliant:
        return None
    device = msgspec.structs.replace(facts.device, compliant=True, compliance_age_seconds=now.age)
    return msgspec.structs.replace(facts, device=device)


def _identity_proofing(facts: Facts, outcomes: Outcomes, now: _Moment) -> Facts | None:
    """The new result takes the place of the old one; a service that yields less than what is in force is no step.

    What counts as bound afterwards is what the session was most strongly signed in with: a key only when it was touched lately
    before it begins, because the ceremony asks again for password and code, not for the key.
    """
    proofing, signed_in = outcomes.proofing, facts.authentication
    if proofing is None or proofing.level < facts.proofing.level:
        return None
    touch = signed_in.key_touch_age_seconds
    bound = "otp" in signed_in.kinds if touch is None else touch - now.age - now.took < CEREMONY_SECONDS
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


def _break_glass(facts: Facts, outcomes: Outcomes, now: _Moment) -> Facts | None:
    """The situation, after the fresh second factor that its page asks for first: of what kind is left to the person."""
    if not outcomes.break_glass or facts.situation == "break_glass":
        return None
    signed_in = facts.authentication
    age = min(signed_in.age_seconds, FRESH_SECONDS + RETURN_SECONDS if now.took else 0)
    fresh = msgspec.structs.replace(signed_in, factors=max(2, signed_in.factors), age_seconds=age)
    return msgspec.structs.replace(facts, authentication=fresh, situation="break_glass")


_APPLY: Final[dict[Step, Callable[[Facts, Outcomes, _Moment], Facts | None]]] = {
    "key_touch": _key_touch,
    "second_factor": _second_factor,
    "register_device": _register_device,
    "device_compliance": _device_compliance,
    "identity_proofing": _identity_proofing,
    "break_glass": _break_glass,
}

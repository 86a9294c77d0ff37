"""What would let a person in: the policies asked again with hypothetical facts, cheapest first. Pure.

Each step's hypothesis sets what doing that step really yields, and no more (`gateway.policy.steps`), so that a remedy that is
followed is a remedy that works.

What a person can do alone comes first, then an approved grant, and break-glass only where nothing else helps.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final, Protocol

import msgspec

from gateway.policy.evaluate import Answer
from gateway.policy.facts import Facts
from gateway.policy.granted import names_for
from gateway.policy.reads import Reads
from gateway.policy.steps import CEREMONY_SECONDS, EVIDENCE_STRENGTH, STEPS, Enrolment, Outcomes, Proofing, Step, apply_steps

__all__ = [
    "CEREMONY_SECONDS",
    "EVIDENCE_STRENGTH",
    "MAX_EVALUATIONS",
    "STEPS",
    "Enrolment",
    "Outcomes",
    "Policies",
    "Proofing",
    "Remedy",
    "Step",
    "apply_steps",
    "find_remedy",
    "last_resort",
    "search",
]

MAX_NAMES: Final = 4
"""Names of grants that are tried."""
_ALONE: Final = STEPS[:5]
_AT_ONCE: Final[tuple[Step, ...]] = ("key_touch", "second_factor", "register_device")
"""What somebody in a hurry can do before break-glass: nothing that takes an officer or a card."""
_SLOW: Final[frozenset[Step]] = frozenset({"device_compliance", "identity_proofing", "grant"})
MAX_EVALUATIONS: Final = 1 + (2 ** len(_ALONE) - 1) + 2 ** len(_ALONE) * MAX_NAMES + 2 ** len(_AT_ONCE)
"""How often the policies are asked at most for one remedy."""


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """What would let a person in."""

    steps: tuple[Step, ...] = ()
    """In the order in which they are to be done; empty: nothing helps, or nothing has to."""
    grant: str = ""
    """With the step `grant`: the name of the one that helps."""


class Policies(Protocol):
    """What is asked: a `Bundle`, or its answers remembered (`gateway.policy.cache`)."""

    @property
    def reads(self) -> Reads:
        """What the policies can tell of the facts."""
        ...

    def evaluate(self, facts: Facts) -> Answer:
        """Decide one request."""
        ...

    def allowed(self, hypotheses: Sequence[Facts]) -> list[bool]:
        """Say for each of several facts about one person and target whether it would be allowed."""
        ...


def find_remedy(policies: Policies, facts: Facts, outcomes: Outcomes = Outcomes()) -> tuple[Step, ...]:  # noqa: B008  frozen
    """Return the steps of `search`."""
    return search(policies, facts, outcomes).steps


def search(policies: Policies, facts: Facts, outcomes: Outcomes) -> Remedy:
    """Return the steps, in order, after which the same request would be allowed; none when it is allowed now or none help.

    Single steps first, then the smallest set, by the order of STEPS; sets with a grant after all without, break-glass last: at
    most MAX_EVALUATIONS evaluations. The answer is a hint, never a grant: whoever follows it is decided anew. Never raises.
    """
    now = policies.evaluate(facts)
    if now.allowed or any(error.startswith("request:") for error in now.errors):
        return Remedy()
    for plans in _plans(policies.reads, facts, outcomes):
        hypotheses = [(plan, after) for plan in plans if (after := _after(facts, plan, outcomes)) is not None]
        if hypotheses:
            answers = policies.allowed([after for _, after in hypotheses])
            for (plan, _), allowed in zip(hypotheses, answers, strict=True):
                if allowed:
                    return plan
    return Remedy()


def last_resort(policies: Policies, facts: Facts, outcomes: Outcomes, remedy: Remedy) -> bool:
    """Whether break-glass would let a person in at once whose remedy takes an officer or a card: both are offered then. A patient
    in danger can't wait for either.
    """
    if _SLOW.isdisjoint(remedy.steps) or "break_glass" in remedy.steps:
        return False
    after = apply_steps(facts, ("break_glass",), outcomes)
    return after is not None and policies.allowed([after])[0]


def _after(facts: Facts, plan: Remedy, outcomes: Outcomes) -> Facts | None:
    return apply_steps(facts, plan.steps, outcomes, grant=plan.grant)


def _plans(reads: Reads, facts: Facts, outcomes: Outcomes) -> Iterator[list[Remedy]]:
    """Yield what to try, in batches: the first of the first batch that helps is the remedy."""
    for size in range(1, len(_ALONE) + 1):
        yield [Remedy(steps=steps) for steps in combinations(_ALONE, size)]
    names = names_for(reads.grants, facts)[:MAX_NAMES] if outcomes.grants else ()
    for size in range(len(_ALONE) + 1):
        yield [Remedy(steps=(*steps, "grant"), grant=name) for steps in combinations(_ALONE, size) for name in names]
    for size in range(len(_AT_ONCE) + 1):
        yield [Remedy(steps=(*steps, "break_glass")) for steps in combinations(_AT_ONCE, size)]

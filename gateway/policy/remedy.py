"""What would let a person in: the policies asked again with hypothetical facts, cheapest first. Pure.

Each step's hypothesis sets what doing that step really yields, and no more (`gateway.policy.steps`), so that a remedy that is
followed is a remedy that works: whether the person is quick about it, or each step takes as long as it may while what was done
before grows old. So a touch of the key that a policy wants fresh comes after what takes long.

What a person can do alone comes first, then an approved grant, and break-glass only where nothing else helps.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import combinations
from typing import Final, Protocol

import msgspec

from gateway.policy.evaluate import Answer
from gateway.policy.facts import Facts
from gateway.policy.granted import names_for
from gateway.policy.reads import Reads
from gateway.policy.steps import (
    AGEING,
    CEREMONY_SECONDS,
    EVIDENCE_STRENGTH,
    STEPS,
    Enrolment,
    Outcomes,
    Proofing,
    Step,
    apply_steps,
    idle,
    seconds_of,
    waits,
)

__all__ = [
    "CEREMONY_SECONDS",
    "EVIDENCE_STRENGTH",
    "MAX_EVALUATIONS",
    "STEPS",
    "Enrolment",
    "Later",
    "Outcomes",
    "Policies",
    "Proofing",
    "Remedy",
    "Step",
    "apply_steps",
    "find_remedy",
    "last_resort",
    "search",
    "searching",
]

MAX_EVALUATIONS: Final = 256
"""How many different hypotheses are put to the policies at most for one remedy. What would take more to find is not found."""
MAX_NAMES: Final = 4
"""Names of grants that are tried with other steps; of more, those that help when everything else is done."""
_MOST_NAMES: Final = 64
_ALONE: Final = STEPS[:5]
_AT_ONCE: Final[tuple[Step, ...]] = ("key_touch", "second_factor", "register_device")
"""What somebody in a hurry can do before break-glass: nothing that takes an officer or a card."""

Later = Callable[[int], Facts]
"""The facts when the person has done nothing for so many seconds."""
Asking = Generator[Sequence[Facts], Sequence[bool], "Remedy"]
"""Yields hypotheses about one person and target, is sent whether each would be allowed, and returns the remedy."""


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


def search(policies: Policies, facts: Facts, outcomes: Outcomes, later: Later | None = None) -> Remedy:
    """Return the steps, in the order in which to do them, after which the same request would be allowed; none when it is allowed
    now or none help.

    Single steps first, then the smallest set, by the order of STEPS; sets with a grant after all without, break-glass last: at
    most MAX_EVALUATIONS. The answer is a hint, never a grant: whoever follows it is decided anew. `later` knows what time does to
    the facts; without it ages grow, and days don't pass. Never raises.
    """
    now = policies.evaluate(facts)
    asking = searching(now, policies.reads, facts, outcomes, later)
    try:
        hypotheses = next(asking)
        while True:
            hypotheses = asking.send(policies.allowed(hypotheses))
    except StopIteration as done:
        found: Remedy = done.value
        return found


def searching(now: Answer, reads: Reads, facts: Facts, outcomes: Outcomes, later: Later | None = None) -> Asking:
    """Search, with whoever drives this generator asking the policies. `now` is their answer to the facts as they are."""
    if now.allowed or any(error.startswith("request:") for error in now.errors):
        return Remedy()
    one = _Search(facts, outcomes, later or (lambda seconds: idle(facts, seconds)))
    for size in range(1, len(_ALONE) + 1):
        found = yield from one.first([Remedy(steps=steps) for steps in combinations(_ALONE, size)])
        if found is not None:
            return found
    names = yield from one.names(names_for(reads.grants, facts) if outcomes.grants else ())
    for size in range(len(_ALONE) + 1 if names else 0):
        plans = [Remedy(steps=(*steps, "grant"), grant=name) for steps in combinations(_ALONE, size) for name in names]
        found = yield from one.first(plans)
        if found is not None:
            return found
    hurried = [step for step in _AT_ONCE if not waits(step, outcomes)]
    for size in range(len(hurried) + 1):
        found = yield from one.first([Remedy(steps=(*steps, "break_glass")) for steps in combinations(hurried, size)])
        if found is not None:
            return found
    return Remedy()


def last_resort(policies: Policies, facts: Facts, outcomes: Outcomes, remedy: Remedy) -> bool:
    """Whether break-glass would let a person in at once whose remedy takes an officer or a card: both are offered then. A patient
    in danger can't wait for either.
    """
    if "break_glass" in remedy.steps or not any(waits(step, outcomes) for step in remedy.steps):
        return False
    after = apply_steps(facts, ("break_glass",), outcomes)
    return after is not None and policies.allowed([after])[0]


class _Search:
    """One search: what was asked already, and how much may still be."""

    def __init__(self, facts: Facts, outcomes: Outcomes, later: Later) -> None:
        self._facts = facts
        self._outcomes = outcomes
        self._later = later
        self._known: dict[Facts, bool] = {}

    def first(self, plans: Sequence[Remedy]) -> Generator[Sequence[Facts], Sequence[bool], Remedy | None]:
        """Return the first of the plans that helps, its steps in an order in which it does however long they take."""
        afters = [self._after(plan) for plan in plans]
        allowed = yield from self._ask(afters)
        for plan, helps in zip(plans, allowed, strict=True):
            if not helps:
                continue
            for steps in _orders(plan.steps):
                ordered = msgspec.structs.replace(plan, steps=steps)
                both = yield from self._ask([self._after(ordered), self._after(ordered, slowly=True)])
                if all(both):
                    return ordered
        return None

    def names(self, names: Sequence[str]) -> Generator[Sequence[Facts], Sequence[bool], Sequence[str]]:
        """Return the names that are worth trying. Of many, those that help alone, or when all else is done that can be."""
        if len(names) <= MAX_NAMES:
            return names
        possible: tuple[Step, ...] = ()
        for step in _ALONE:
            if apply_steps(self._facts, (*possible, step), self._outcomes) is not None:
                possible = (*possible, step)
        tried = names[:_MOST_NAMES]
        alone = yield from self._ask([self._after(Remedy(steps=("grant",), grant=name)) for name in tried])
        found = [name for name, helps in zip(tried, alone, strict=True) if helps]
        if not found:
            whole = yield from self._ask([self._after(Remedy(steps=(*possible, "grant"), grant=name)) for name in tried])
            found = [name for name, helps in zip(tried, whole, strict=True) if helps]
        return found[:MAX_NAMES]

    def _after(self, plan: Remedy, *, slowly: bool = False) -> Facts | None:
        facts = self._later(seconds_of(plan.steps, self._outcomes)) if slowly else self._facts
        return apply_steps(facts, plan.steps, self._outcomes, grant=plan.grant, slowly=slowly)

    def _ask(self, hypotheses: Sequence[Facts | None]) -> Generator[Sequence[Facts], Sequence[bool], list[bool]]:
        """Say of each whether it would be allowed: not, where it is impossible or there has been asked too much already."""
        new = [one for one in dict.fromkeys(hypotheses) if one is not None and one not in self._known]
        new = new[: MAX_EVALUATIONS - len(self._known)]
        if new:
            answers = yield new
            self._known.update(zip(new, answers, strict=True))
        return [one is not None and self._known.get(one, False) for one in hypotheses]


def _orders(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """Yield the orders in which steps can be done: as they stand; what grows old last; and the key both before an identity
    proofing, which it is then bound to, and after it.
    """
    yield steps
    last = tuple(step for step in steps if step == "break_glass")
    ageing = tuple(step for step in steps if step in AGEING)
    others = tuple(step for step in steps if step not in AGEING and step not in last)
    if ageing and others:
        yield (*others, *ageing, *last)
        if "identity_proofing" in others:
            yield (*ageing, *others, *ageing, *last)

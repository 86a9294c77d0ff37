"""A remedy that is offered is one that works, and no smaller one does."""

from itertools import combinations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.remedy import STEPS, Enrolment, Outcomes, Proofing, Remedy, Step, apply_steps, search
from gateway.policy.steps import idle, seconds_of, waits
from tests.support.policy import STARTER, all_facts, bundle, policy

BUNDLE = load_bundle(STARTER)
DEMANDS = (
    "context.authentication.factors >= 2",
    "context.authentication.phishing_resistant",
    "context.authentication.age_seconds < 300",
    'context.authentication.kinds.contains("otp")',
    '!context.authentication.kinds.contains("fido2")',
    "context.device.registered",
    "context.device.compliant",
    "context.device.evidence_strength >= 2",
    'context.device.ownership != "personal"',
    "context.proofing.level >= 3",
    "context.proofing.age_days < 30",
    "context.proofing.authenticator_bound",
    "context.proofing has expires_in_days && context.proofing.expires_in_days < 14",
    "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds < 300",
    'context.grants.contains("ehr-maintenance")',
    "!context.grants.isEmpty()",
    'context.grants.containsAny(["night", "weekend"])',
    'context.situation == "break_glass"',
)

ALONE: tuple[Step, ...] = STEPS[:5]
NAMES = ("access", "ehr-maintenance", "night", "weekend")
SETS: list[tuple[Step, ...]] = [steps for size in range(len(ALONE) + 1) for steps in combinations(ALONE, size)]
HURRIED: list[tuple[Step, ...]] = [steps for size in range(4) for steps in combinations(ALONE[:3], size)]
PLANS = [
    *(Remedy(steps=steps) for steps in SETS if steps),
    *(Remedy(steps=(*steps, "grant"), grant=name) for steps in SETS for name in NAMES),
    *(Remedy(steps=(*steps, "break_glass")) for steps in HURRIED),
]


def works(made: Bundle, facts: Facts, plan: Remedy, possible: Outcomes) -> bool:
    """Whether it helps when the person is quick, and when each step takes as long as it may."""
    slow = idle(facts, seconds_of(plan.steps, possible))
    both = (
        apply_steps(facts, plan.steps, possible, grant=plan.grant),
        apply_steps(slow, plan.steps, possible, grant=plan.grant, slowly=True),
    )
    return all(after is not None and made.evaluate(after).allowed for after in both)


def cost(steps: tuple[Step, ...]) -> tuple[bool, bool, int, list[int]]:
    """What comes first: what a person can do alone, then an approved grant, then break-glass; the smallest set of steps."""
    chosen = sorted(map(STEPS.index, set(steps)))
    return "break_glass" in steps, "grant" in steps, len(chosen), chosen


outcomes = st.builds(
    Outcomes,
    key_touch=st.booleans(),
    enrolment=st.sampled_from(
        [None, Enrolment(), Enrolment(compliant=False, approval=True), Enrolment(evidence="cookie", ownership="hospital")]
    ),
    proofing=st.sampled_from([None, Proofing(), Proofing(level=2, method="x", expires_in_days=30)]),
    bound=st.sampled_from([(), ("fido2",), ("otp", "pwd")]),
    compliance=st.booleans(),
    grants=st.booleans(),
    break_glass=st.booleans(),
)


def check(made: Bundle, facts: Facts, possible: Outcomes) -> None:
    found = search(made, facts, possible)
    remedy = found.steps
    before = made.evaluate(facts)
    event(f"{'allowed' if before.allowed else 'denied'}, {len(remedy)} steps")
    if before.allowed:
        assert found == Remedy()
        return
    assert bool(found.grant) == ("grant" in remedy)
    for plan in PLANS:
        slow = "break_glass" in plan.steps and any(waits(step, possible) for step in plan.steps)
        if slow or (remedy and cost(plan.steps) >= cost(remedy)):
            continue
        assert not works(made, facts, plan, possible), f"{plan} would do"
    if remedy:
        assert works(made, facts, found, possible)
        assert all(step == "key_touch" for step in remedy if remedy.count(step) > 1)


@settings(max_examples=400, deadline=None)
@given(all_facts(), outcomes)
def test_the_starter_policies(facts: Facts, possible: Outcomes) -> None:
    check(BUNDLE, facts, possible)


@settings(max_examples=150, deadline=None)
@given(all_facts(), outcomes, st.lists(st.sampled_from(DEMANDS), min_size=1, max_size=4, unique=True), st.sampled_from(DEMANDS))
def test_any_demands(facts: Facts, possible: Outcomes, demands: list[str], stop: str) -> None:
    scope = "principal, action, resource"
    made = bundle(
        policy("ask", " && ".join(f"({one})" for one in demands), scope=scope),
        policy("stop", f"!({stop})", effect="forbid", scope=scope),
    )
    check(made, facts, possible)

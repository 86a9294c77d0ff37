"""A remedy that is offered is one that works, and no smaller one does."""

from itertools import combinations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.remedy import STEPS, Enrolment, Outcomes, Proofing, apply_steps, find_remedy
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
)

outcomes = st.builds(
    Outcomes,
    key_touch=st.booleans(),
    enrolment=st.sampled_from(
        [None, Enrolment(), Enrolment(compliant=False), Enrolment(evidence="cookie", ownership="hospital")]
    ),
    proofing=st.sampled_from([None, Proofing(), Proofing(level=2, method="x", expires_in_days=30)]),
    bound=st.sampled_from([(), ("fido2",), ("otp", "pwd")]),
    compliance=st.booleans(),
)


def check(made: Bundle, facts: Facts, possible: Outcomes) -> None:
    remedy = find_remedy(made, facts, possible)
    before = made.evaluate(facts)
    event(f"{'allowed' if before.allowed else 'denied'}, {len(remedy)} steps")
    if before.allowed:
        assert remedy == ()
        return
    smaller = [steps for size in range(1, (len(remedy) or len(STEPS) + 1)) for steps in combinations(STEPS, size)]
    for steps in smaller:
        hypothesis = apply_steps(facts, steps, possible)
        assert hypothesis is None or not made.evaluate(hypothesis).allowed, f"{steps} would do"
    if remedy:
        assert list(remedy) == sorted(remedy, key=STEPS.index)
        after = apply_steps(facts, remedy, possible)
        assert after is not None
        assert made.evaluate(after).allowed
        cheaper = [
            steps
            for steps in combinations(STEPS, len(remedy))
            if steps < remedy and [*map(STEPS.index, steps)] < [*map(STEPS.index, remedy)]
        ]
        for steps in cheaper:
            hypothesis = apply_steps(facts, steps, possible)
            assert hypothesis is None or not made.evaluate(hypothesis).allowed, f"{steps} is cheaper"


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

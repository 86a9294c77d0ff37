"""Conditions taken apart have the value that Cedar gives them."""

from typing import Any

import cedarpy
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.policy.bundle import load_bundle
from gateway.policy.expression import Truth, matches, pst_of, truth_of
from gateway.policy.facts import Facts
from gateway.policy.schema import cedar_entities, cedar_request
from tests.support.policy import STARTER, all_facts

BUNDLE = load_bundle(STARTER)


def cedar_says(policy: str, facts: Facts) -> Truth:
    said = cedarpy.is_authorized(cedar_request(facts), policy, cedar_entities(facts.principal, facts.target))
    assert said.decision is not cedarpy.Decision.NoDecision
    if said.diagnostics.errors:
        return "erring"
    return "true" if said.decision is cedarpy.Decision.Allow else "false"


@settings(max_examples=300, deadline=None)
@given(all_facts())
def test_the_starter_policies(facts: Facts) -> None:
    for policy in BUNDLE.policies:
        # As a permit that stands alone, so that Cedar tells of each whether it applies.
        said = cedar_says(policy.cedar.replace("forbid (", "permit ("), facts)
        assert matches(pst_of(policy), facts).applies == said, policy.id


_leaves = st.sampled_from(
    [
        "true", "false", "0", "1", "(-1)", "2", "9223372036854775807", "(-9223372036854775808)",
        '""', '"ward"', '"pwd"', '"p001"', '"a*b"',
        "principal", "action", "resource", 'User::"usr_1"', 'Role::"physician"', 'Organization::"第一病院"',
        'App::"ehr"', 'Route::"ehr.chart"', 'Action::"read"',
        "[]", '["pwd", "otp"]', '[Role::"nurse", Role::"physician"]', "[1, true, 1]",
        "context.authentication.kinds", "context.authentication.factors", "context.authentication.key_touch_age_seconds",
        "context.proofing.level", "context.proofing.expires_in_days", "context.proofing.method",
        "context.device.registered", "context.device.compliant", "context.device.compliance_age_seconds", "context.device",
        "context.network.zone", "context.network", "context.time.hour", "context.situation", "context.grants", "context.nothing",
        "resource.sensitivity", "resource.patient", "principal.nothing", 'Route::"ehr.chart".patient', 'Role::"nurse".x',
        '{ zone: "ward", tls: true }', '{ "a b": 1 }["a b"]',
    ]
)  # fmt: skip
_BINARY = ("==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "in")
_ATTRIBUTES = ("kinds", "key_touch_age_seconds", "authentication", "patient", "zone", "nothing", "device.compliance_age_seconds")
_PATTERNS = ("*", "", "w*d", "*a*", "a\\*b", "p0*1", "**", "第*")


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(_BINARY), inner).map(lambda part: f"({part[0]} {part[1]} {part[2]})"),
        inner.map(lambda one: f"(!{one})"),
        inner.map(lambda one: f"(-({one}))"),
        st.tuples(inner, inner, inner).map(lambda part: f"(if {part[0]} then {part[1]} else {part[2]})"),
        st.tuples(inner, st.sampled_from(["contains", "containsAll", "containsAny"]), inner).map(
            lambda part: f"({part[0]}).{part[1]}({part[2]})"
        ),
        inner.map(lambda one: f"({one}).isEmpty()"),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        inner.map(lambda one: f"{{ zone: {one} }}"),
        st.tuples(inner, st.sampled_from(_ATTRIBUTES)).map(lambda part: f"(({part[0]}) has {part[1]})"),
        st.tuples(inner, st.sampled_from(_PATTERNS)).map(lambda part: f'(({part[0]}) like "{part[1]}")'),
        st.tuples(inner, st.sampled_from(["User", "Role", "Route"])).map(lambda part: f"(({part[0]}) is {part[1]})"),
        st.tuples(inner, inner).map(lambda part: f"(({part[0]}) is User in {part[1]})"),
    )


expressions = st.recursive(_leaves, _grow, max_leaves=8)
conditions = st.one_of(
    expressions,
    # What is a condition by its form reaches past type errors more often.
    st.tuples(expressions, st.sampled_from(["==", "!="]), expressions).map(lambda part: f"({part[0]} {part[1]} {part[2]})"),
    st.lists(
        st.sampled_from(
            [
                "context.authentication has key_touch_age_seconds",
                "context.authentication.key_touch_age_seconds < 300",
                'context.authentication.kinds.contains("fido2")',
                'principal in [Role::"physician", Role::"nurse"]',
                'principal is User in Role::"physician"',
                "!(context.device.registered || context.network.tls)",
                'resource in App::"ehr"',
                "context.proofing.level + 9223372036854775806 > 0",
            ]
        ),
        min_size=1,
        max_size=4,
    ).map(" && ".join),
)


def _agrees(text: str, facts: Facts) -> Truth:
    policy = f"permit (principal, action, resource) {text};"
    parsed: Any = next(iter(cedarpy.PolicySet.from_str(policy).to_pst().static_policies.values()))
    ours = matches(parsed, facts)
    assert ours.applies == cedar_says(policy, facts), text
    return ours.applies


@settings(max_examples=1500, deadline=None)
@given(conditions, all_facts())
def test_any_condition(condition: str, facts: Facts) -> None:
    event(_agrees(f"when {{ {condition} }}", facts))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["when", "unless"]), conditions), min_size=1, max_size=3), all_facts())
def test_any_clauses(clauses: list[tuple[str, str]], facts: Facts) -> None:
    event(_agrees(" ".join(f"{kind} {{ {condition} }}" for kind, condition in clauses), facts))


@settings(max_examples=200, deadline=None)
@given(conditions, all_facts())
def test_what_is_read_is_named_and_true(condition: str, facts: Facts) -> None:
    policy = f"permit (principal, action, resource) when {{ {condition} }};"
    parsed: Any = next(iter(cedarpy.PolicySet.from_str(policy).to_pst().static_policies.values()))
    reads: dict[str, object] = {}
    truth_of(parsed.clauses[0].expr, facts, reads)
    for name, value in reads.items():
        part, _, attribute = name.partition(".")
        whole = getattr(facts, part)
        assert value == (getattr(whole, attribute) if attribute else whole)

"""Conditions one by one: which Cedar reaches, what they looked at, what can't be evaluated and what is not modelled."""

import cedarpy
import pytest
from cedarpy import pst

from gateway.policy.expression import Match, NotModelled, clause_of, matches, question_of, truth_of, value_of
from tests.support.policy import facts

TOUCH = "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds < 300"


def parsed(text: str) -> pst.Template:
    return next(
        iter(cedarpy.PolicySet.from_str(f"permit (principal, action, resource) {text};").to_pst().static_policies.values())
    )


def condition(text: str) -> pst.Expr:
    return parsed(f"when {{ {text} }}").clauses[0].expr


def matched(text: str) -> Match:
    return matches(parsed(text), facts())


def test_cedar_stops_at_the_first_that_does_not_hold_and_the_rest_is_looked_at_all_the_same() -> None:
    found = matched(f"when {{ context.network.tls && {TOUCH} }} when {{ context.device.compliant }}")
    assert [one.value for one in found.conjuncts] == ["true", "false", "not_reached", "not_reached"]
    assert [one.alone for one in found.conjuncts] == ["true", "false", "erring", "true"]
    assert found.applies == "false"
    assert [len(clause) for clause in found.clauses] == [3, 1]


def test_what_was_looked_at() -> None:
    found = matched(f'when {{ principal in Role::"nurse" || resource in App::"ehr" }} when {{ {TOUCH} }}')
    assert [one.reads for one in found.conjuncts] == [
        {"principal.roles": ("physician",), "target.app": "ehr"},
        {"authentication.key_touch_age_seconds": None},
        {"authentication.key_touch_age_seconds": None},
    ]
    reads: dict[str, object] = {}
    value_of(condition("context.device == context.device"), facts(), reads)
    assert reads["device.evidence"] == "cookie"
    assert len(reads) > 10


def test_unless_is_its_negation_taken_apart() -> None:
    parts = clause_of(parsed("unless { context.network.tls || !(context.device.compliant) }").clauses[0])
    assert [truth_of(part, facts())[0] for part in parts] == ["false", "true"]


def test_the_head() -> None:
    text = 'permit (principal is User in Role::"nurse", action in [Action::"read"], resource == Route::"ehr.chart");'
    head = next(iter(cedarpy.PolicySet.from_str(text).to_pst().static_policies.values()))
    found = matches(head, facts())
    assert (found.principal, found.action, found.resource, found.applies) == (False, True, True, "false")
    assert matches(head, facts(principal={"roles": ("nurse",)})).applies == "true"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("context.proofing.age_days + 9223372036854775807 > 0", "too large"),
        ("-(-9223372036854775808) > 0", "too large"),
        ("context.authentication.key_touch_age_seconds < 300", "key_touch_age_seconds is not known"),
        ("context.network.tls < 3", "yes or no is not a number"),
        ("context.network.zone", "a text is not yes or no"),
        ("principal in context.network.zone", "a text is not an entity"),
        ('context.time.hour like "1*"', "a number is not a text"),
        ("principal.name == 1", "name is not known"),
    ],
)
def test_what_cedar_cannot_evaluate(text: str, what: str) -> None:
    truth, said = truth_of(condition(text), facts())
    assert (truth, what in said) == ("erring", True), said


@pytest.mark.parametrize("text", ['ip("127.0.0.1").isLoopback()', 'decimal("1.0") == decimal("1.0")', 'principal.hasTag("x")'])
def test_what_is_not_modelled_is_unknown(text: str) -> None:
    with pytest.raises(NotModelled):
        value_of(condition(text), facts())
    assert truth_of(condition(text), facts())[0] == "unknown"
    # Where Cedar does not get as far, nothing is unknown.
    assert truth_of(condition(f"false && {text}"), facts())[0] == "false"
    assert matched(f"when {{ {text} }}").applies == "unknown"


def test_places_that_nobody_filled() -> None:
    text = "permit (principal == ?principal, action, resource);"
    template = next(iter(cedarpy.PolicySet.from_str(text).to_pst().templates.values()))
    with pytest.raises(NotModelled):
        matches(template, facts())


def test_a_truth_is_no_number() -> None:
    assert value_of(condition("true == 1"), facts()) is False
    assert value_of(condition("[true].contains(1)"), facts()) is False
    assert value_of(condition("[1, 1] == [1]"), facts()) is True


def test_a_pattern_takes_no_longer_than_its_length_allows() -> None:
    stars = "*a" * 200
    long = facts(network={"zone": "a" * 5000 + "b"})
    assert truth_of(condition(f'context.network.zone like "{stars}"'), long)[0] == "false"


def test_facts_that_cedar_cannot_take() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        question_of(facts(network={"zone": "\ud800"}))

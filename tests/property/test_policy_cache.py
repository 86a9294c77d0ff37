"""A remembered answer is the answer: for the starter bundle, for bundles made up at random, and for facts at every limit."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.bundle import load_bundle
from gateway.policy.cache import AnswerCache
from gateway.policy.facts import Facts
from gateway.policy.remedy import find_remedy
from tests.support.policy import STARTER, all_facts, bundle, policy

STARTER_BUNDLE = load_bundle(STARTER)

_numbers = st.sampled_from(
    [
        "context.authentication.age_seconds",
        "context.authentication.factors",
        "context.proofing.age_days",
        "context.proofing.level",
        "context.time.hour",
        "context.time.weekday",
        "context.device.evidence_strength",
        "(if context has authentication then context.authentication.age_seconds else 0)",
        "(if context.network.tls then context.time else context.time).hour",
    ]
)
_literals = st.one_of(st.integers(0, 30), st.sampled_from([299, 300, 301, 10**6, 9223372036854775807])).map(str)
_optional = st.sampled_from(["authentication.key_touch_age_seconds", "device.compliance_age_seconds"])
_comparing = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def _with_optional(name: str, compare: str, literal: str) -> str:
    part, _, attribute = name.partition(".")
    return f"(context.{part} has {attribute} && context.{name} {compare} {literal})"


_atoms = st.one_of(
    st.builds("{} {} {}".format, _numbers, _comparing, _literals),
    st.builds("{} {} {}".format, _literals, _comparing, _numbers),
    st.builds("{} {} {}".format, _numbers, _comparing, _numbers),
    st.builds("{} + {} {} {}".format, _numbers, _literals, _comparing, _literals),
    st.builds("[{}, {}].contains({})".format, _literals, _numbers, _numbers),
    st.builds(_with_optional, _optional, _comparing, _literals),
    st.sampled_from(
        [
            "context.authentication has key_touch_age_seconds",
            "context.device.registered",
            "context.authentication.phishing_resistant",
            "context.network.tls",
            'context.network.zone == "ward"',
            'context.time.date < "2026-12"'.replace("<", "=="),
            'context.device.ownership == "personal"',
            'context.authentication.kinds.contains("fido2")',
            "context.grants.isEmpty()",
            'context.situation != "normal"',
            'resource.patient == "p001"',
            'resource.sensitivity == "high"',
            'principal in Role::"nurse"',
            'resource in App::"ehr"',
            "context.device == context.device",
        ]
    ),
)
_conditions = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("(if {} then {} else {})".format, inner, inner, inner),
    ),
    max_leaves=4,
)
_rules = st.lists(st.tuples(st.sampled_from(["permit", "forbid"]), _conditions, st.booleans()), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.lists(all_facts(), min_size=2, max_size=8))
def test_the_starter_bundle_answers_as_if_nothing_were_remembered(many: list[Facts]) -> None:
    cache = AnswerCache(STARTER_BUNDLE, size=2)
    for facts in (*many, *reversed(many)):
        assert cache.evaluate(facts) == STARTER_BUNDLE.evaluate(facts)
        assert find_remedy(cache, facts) == find_remedy(STARTER_BUNDLE, facts)


@settings(max_examples=300, deadline=None)
@given(_rules, st.lists(all_facts(), min_size=2, max_size=6))
def test_any_bundle_answers_as_if_nothing_were_remembered(rules: list[tuple[str, str, bool]], many: list[Facts]) -> None:
    texts = [policy("base", "context.network.tls", scope="principal, action, resource")]
    for index, (effect, condition, marked) in enumerate(rules):
        more = '@mode("report-only")\n' if marked else ""
        texts.append(policy(f"p{index}", condition, effect=effect, more=more, scope="principal, action, resource"))
    made = bundle(*texts)
    cache = AnswerCache(made)
    for facts in (*many, *reversed(many)):
        assert cache.evaluate(facts) == made.evaluate(facts)
        assert cache.allowed([facts, facts]) == made.allowed([facts, facts])


@settings(max_examples=200, deadline=None)
@given(all_facts(), st.sampled_from([-1, 0, 1, 299, 300, 2**63 - 1, 2**63]), st.integers(-2, 2))
def test_an_age_that_passes_a_limit_is_another_question(facts: Facts, age: int, more: int) -> None:
    from msgspec.structs import replace

    made = bundle(
        policy("young", "context.authentication.age_seconds < 300", scope="principal, action, resource"),
        policy("exactly", "context.authentication.age_seconds == 0", scope="principal, action, resource"),
    )
    cache = AnswerCache(made)
    for seconds in (age, age + more, age):
        aged = replace(facts, authentication=replace(facts.authentication, age_seconds=seconds))
        assert cache.evaluate(aged) == made.evaluate(aged)


@settings(max_examples=100, deadline=None)
@given(all_facts(), st.sampled_from([True, 1.0, "1", None]))
def test_facts_of_a_wrong_type_are_never_looked_up(facts: Facts, wrong: Any) -> None:
    from msgspec.structs import replace

    made = bundle(policy("one", "context.time.weekday == 1", scope="principal, action, resource"))
    cache = AnswerCache(made)
    right = replace(facts, time=replace(facts.time, weekday=1))
    assert cache.evaluate(right).allowed
    broken = replace(facts, time=replace(facts.time, weekday=wrong))
    assert not cache.evaluate(broken).allowed
    assert cache.evaluate(broken) == made.evaluate(broken)

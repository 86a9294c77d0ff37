"""Why a bundle answers as it does: what determined it, what it looked at, what the others missed."""

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.kernel.i18n import LANGUAGES
from gateway.policy.bundle import load_bundle
from gateway.policy.explain import Explanation, PolicyExplained, explain
from gateway.policy.explained import lines_of
from gateway.policy.facts import Facts
from gateway.policy.steps import Outcomes
from tests.support.policy import STARTER, all_facts, bundle, facts, policy

BUNDLE = load_bundle(STARTER)
TOUCH = "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds < 300"


def permit(said: Explanation, name: str) -> PolicyExplained:
    return next(one for one in said.permits if one.id == name)


@settings(max_examples=200, deadline=None)
@given(all_facts())
def test_it_agrees_with_the_decision(facts: Facts) -> None:
    said = explain(BUNDLE, facts)
    assert said.consistent
    event(said.why)
    every = [*said.determining, *said.erring, *said.permits, *said.forbids, *said.report_only]
    assert sorted(one.id for one in every) == sorted(one.id for one in BUNDLE.policies)
    for one in every:
        assert (one.applies == "true") == (not one.unmet), one.id
    assert {one.id for one in said.determining} == set(said.answer.policies)
    would = {one.id for one in said.report_only if one.applies == "true"}
    assert said.answer.report_only is None or set(said.answer.report_only.policies) <= would
    for language in LANGUAGES:
        assert lines_of(said, language)


CONDITIONS = (
    "context.network.tls", "context.time.hour < 12", "context.proofing.age_days + 9223372036854775807 > 0", TOUCH,
    "context.device.registered || context.proofing.age_days + 9223372036854775807 > 0", 'context.network.zone == "ward"',
    "if context.network.tls then context.device.compliant else context.proofing.age_days * -9223372036854775807 < 0",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["permit", "forbid"]), st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3), st.booleans()
        ),
        min_size=1,
        max_size=4,
    ),
    all_facts(),
)
def test_it_agrees_with_the_decision_of_any_policies(rules: list[tuple[str, list[str], bool]], facts: Facts) -> None:
    texts = [policy("base", 'principal in Role::"nurse"')]
    for number, (effect, conditions, marked) in enumerate(rules):
        more = '@mode("report-only")\n' if marked else ""
        texts.append(
            policy(
                f"p{number}",
                " && ".join(f"({one})" for one in conditions),
                effect=effect,
                more=more,
                scope="principal, action, resource",
            )
        )
    said = explain(bundle(*texts), facts)
    assert said.consistent
    event(said.why)
    assert {one.id for one in said.erring} == {error.partition(":")[0] for error in said.answer.errors}


def test_what_was_found_and_what_is_wanted() -> None:
    made = bundle(policy("touch", f"{TOUCH} && context.device.compliant"))
    said = explain(made, facts(authentication={"key_touch_age_seconds": 412}))
    (only,) = said.permits
    assert (said.why, only.met, len(only.unmet)) == ("nothing", 3, 1)
    assert [one.en for one in only.unmet[0].wanted] == ["the security key was touched less than 5 min ago"]
    assert [one.en for one in only.unmet[0].found] == ["the security key was touched 6 min 52 s ago"]
    assert [one.ja for one in only.unmet[0].found] == ["セキュリティキーに触れてから6分52秒たっている"]
    assert [one.en for one in said.steps] == ["touch the security key"]


def test_a_guard_that_fails_says_what_it_guards() -> None:
    said = explain(bundle(policy("touch", TOUCH)), facts())
    (unmet,) = said.permits[0].unmet
    assert [one.en for one in unmet.wanted] == ["the security key was touched less than 5 min ago"]
    assert [one.en for one in unmet.found] == ["no security key was touched in this session"]


def test_the_nearest_permit_comes_first_and_those_of_other_requests_last() -> None:
    made = bundle(
        policy("far", 'context.time.hour > 20 && context.device.compliant && context.network.zone == "x"'),
        policy("elsewhere", scope='principal, action == Action::"read", resource in App::"imaging"'),
        policy("near", "context.time.hour > 20 && context.device.compliant"),
    )
    said = explain(made, facts())
    assert [(one.id, one.about_this, len(one.unmet)) for one in said.permits] == [
        ("near", True, 1),
        ("far", True, 2),
        ("elsewhere", False, 1),
    ]
    assert "About other requests: 1" in "\n".join(lines_of(said, "en"))


def test_a_forbid_says_what_it_looked_at() -> None:
    made = bundle(policy("read"), policy("stop", 'context.network.zone == "ward"', effect="forbid"))
    said = explain(made, facts())
    assert said.why == "forbids"
    assert [(read.name, read.value) for read in said.determining[0].reads] == [
        ("target.action", "read"),
        ("network.zone", "ward"),
    ]
    assert [one.id for one in said.permits] == ["read"]
    assert said.permits[0].applies == "true"
    assert "the connection comes from “ward”" in "\n".join(lines_of(said, "en"))


def test_an_error_is_told_apart_from_a_condition_that_does_not_hold() -> None:
    made = bundle(
        policy("read"),
        policy("broken", "context.proofing.age_days + 9223372036854775807 > 0", effect="forbid"),
    )
    said = explain(made, facts())
    assert (said.why, [one.id for one in said.erring]) == ("error", ["broken"])
    assert said.erring[0].unmet[0].truth == "erring"
    assert "a number would be too large" in "\n".join(lines_of(said, "en"))
    assert "評価できない" in "\n".join(lines_of(said, "ja"))


def test_what_is_not_modelled_is_unknown_and_never_false() -> None:
    made = bundle(policy("address", 'ip("127.0.0.1").isLoopback()'))
    said = explain(made, facts())
    assert said.answer.allowed
    assert said.determining[0].applies == "unknown"
    assert said.consistent
    assert "can't be explained" in said.determining[0].unmet[0].found[0].en


def test_facts_that_cedar_cannot_take_are_no_explanation_of_policies() -> None:
    broken = facts(principal={"organization": "\ud800"})
    for impossible in (broken, facts(time={"hour": 2**63})):
        said = explain(BUNDLE, impossible)
        assert (said.why, said.determining, said.permits) == ("request", (), ())
        assert "could not be put to the policies" in lines_of(said, "en")[0]


def test_report_only_policies_are_marked() -> None:
    outside = facts(device={"ownership": "personal"}, network={"zone": "other"})
    said = explain(BUNDLE, outside)
    text = "\n".join(lines_of(said, "en"))
    assert said.answer.allowed
    assert said.report_only[0].id == "personal-device-outside"
    assert said.report_only[0].applies == "true"
    assert "personal-device-outside" in text
    assert "forbid, would apply" in text


def test_no_remedy_says_so() -> None:
    nobody = facts(principal={"roles": ()})
    said = explain(BUNDLE, nobody, Outcomes(key_touch=False, enrolment=None, proofing=None, grants=False, break_glass=False))
    assert said.steps == ()
    assert "Nothing that the person can do" in "\n".join(lines_of(said, "en"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_ticket_holds_no_text_of_a_policy(language: str) -> None:
    made = bundle(
        policy("odd", "context.proofing.level + 1 > 9", scope="principal, action, resource"),
        policy("other", effect="forbid", scope='principal, action, resource in App::"imaging"'),
    )
    said = explain(made, facts())
    ticket = "\n".join(lines_of(said, "ja" if language == "ja" else "en", ticket=True))
    assert "context.proofing.level + 1" in "\n".join(lines_of(said, "en"))
    assert "context." not in ticket
    assert "odd, a.cedar:1" in ticket
    assert "other" not in ticket  # about another request: nothing for the help desk


def test_hostile_text_of_a_record_stays_on_its_line() -> None:
    hostile = facts(principal={"roles": ("nurse\u202etxet", "a\nDenied: no\x1b[2J")}, network={"zone": "<script>\u200b"})
    for ticket in (False, True):
        for language in LANGUAGES:
            for line in lines_of(explain(BUNDLE, hostile), language, ticket=ticket):
                assert line == "" or line.isprintable() or "　" in line
                assert not {"\u202e", "\n", "\x1b", "\u200b"} & set(line)


def test_it_is_plain_data() -> None:
    said = explain(BUNDLE, facts())
    again = msgspec.json.decode(msgspec.json.encode(said), type=Explanation)
    assert msgspec.json.encode(again) == msgspec.json.encode(said)

"""One question, one answer, and never an exception."""

import subprocess
import sys
from typing import Any

import cedarpy
import msgspec
import pytest

from gateway.policy.evaluate import facts_of_record
from gateway.policy.schema import SCHEMA, cedar_entities, cedar_request
from tests.support.policy import bundle, facts, policy

OVERFLOW = "context.proofing.age_days + 9223372036854775807 > 0"
"""Strictly typed, and an error for any age but 0."""


def test_a_permit_allows_and_names_itself() -> None:
    answer = bundle(
        policy("b-read"), policy("a-read"), policy("write", scope='principal, action == Action::"write", resource')
    ).evaluate(facts())
    assert (answer.allowed, answer.forbidden, answer.policies, answer.errors) == (True, False, ("a-read", "b-read"), ())
    assert answer.report_only is None


def test_a_forbid_wins_and_names_itself() -> None:
    answer = bundle(policy(), policy("stop", "context.network.tls", effect="forbid")).evaluate(facts())
    assert (answer.allowed, answer.forbidden, answer.policies) == (False, True, ("stop",))


def test_nothing_permits() -> None:
    answer = bundle(policy(when='principal in Role::"nurse"')).evaluate(facts())
    assert (answer.allowed, answer.forbidden, answer.policies, answer.errors) == (False, False, (), ())


def test_a_forbid_that_errs_does_not_let_in_where_cedar_would() -> None:
    made = bundle(policy(), policy("stop", OVERFLOW, effect="forbid"))
    given = facts()
    everything = "\n".join(one.cedar for one in made.policies)
    cedar = cedarpy.is_authorized(cedar_request(given), everything, cedar_entities(given.principal, given.target), SCHEMA)
    assert cedar.allowed, "Cedar skips the policy that errs: this is the divergence"
    answer = made.evaluate(given)
    assert (answer.allowed, answer.forbidden, answer.policies) == (False, False, ())
    assert answer.errors == ("stop: integer overflow while attempting to add the values … and …",)
    # Without the error, the same forbid is an ordinary one.
    assert made.evaluate(facts(proofing={"age_days": 0})).policies == ("stop",)


def test_an_unless_that_errs_denies_as_well() -> None:
    stop = policy("stop", effect="forbid").replace(";", f" unless {{ {OVERFLOW} }};")
    answer = bundle(policy(), stop).evaluate(facts())
    assert not answer.allowed
    assert answer.errors[0].startswith("stop: ")


def test_a_permit_that_errs_spoils_another_permit() -> None:
    answer = bundle(policy(), policy("broken", OVERFLOW)).evaluate(facts())
    assert (answer.allowed, answer.policies) == (False, ())
    assert answer.errors[0].startswith("broken: ")


def test_an_error_beside_a_forbid_leaves_it_forbidden() -> None:
    answer = bundle(policy(), policy("broken", OVERFLOW), policy("stop", effect="forbid")).evaluate(facts())
    assert (answer.allowed, answer.forbidden, answer.policies, len(answer.errors)) == (False, True, ("stop",), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"authentication": {"age_seconds": 2**63}},
        {"authentication": {"age_seconds": 1.5}},
        {"authentication": {"factors": None}},
        {"authentication": {"kinds": "pwd"}},
        {"device": {"compliant": "yes"}},
        {"principal": {"id": "\ud800"}},
        {"principal": {"roles": 7}},
        {"target": {"patient": "\udcff"}},
        {"target": {"action": "fly"}},
        {"target": {"patient": 7}},
        {"grants": None},
        {"situation": object()},
    ],
)
def test_facts_that_are_none_deny_with_an_error_and_never_raise(change: dict[str, Any]) -> None:
    answer = bundle(policy(scope="principal, action, resource", when="true")).evaluate(facts(**change))
    assert (answer.allowed, answer.forbidden, answer.policies) == (False, False, ())
    assert answer.errors
    assert all(error.startswith("request: ") for error in answer.errors)


def test_errors_do_not_quote_values() -> None:
    answer = bundle(policy()).evaluate(facts(authentication={"factors": "p-secret"}, target={"patient": "p-secret"}))
    assert answer.errors
    assert "secret" not in str(answer.errors)


def test_a_lease_is_the_shortest_of_the_determining_policies() -> None:
    made = bundle(policy("a", more='@lease("5s")\n'), policy("b", "context.network.tls", more='@lease("2s")\n'))
    assert made.evaluate(facts()).lease_seconds == 2
    assert made.evaluate(facts(network={"tls": False})).lease_seconds == 5
    assert made.evaluate(facts(target={"action": "write"})).lease_seconds == 0
    assert bundle(policy("a", more='@lease("5s")\n'), policy("b")).evaluate(facts()).lease_seconds == 0


def test_report_only_policies_report_and_change_nothing() -> None:
    mark = '@mode("report-only")\n'
    made = bundle(
        policy("read", 'principal in Role::"physician"'),
        policy("trial-stop", "!context.network.tls", effect="forbid", more=mark),
        policy("trial-open", 'principal in Role::"nurse"', more=mark),
    )

    def seen(**change: Any) -> tuple[bool, bool, tuple[str, ...]]:
        answer = made.evaluate(facts(**change))
        assert answer.report_only is not None
        assert "trial" not in str(answer.policies)
        return answer.allowed, answer.report_only.allowed, answer.report_only.policies

    assert seen() == (True, True, ())
    assert seen(network={"tls": False}) == (True, False, ("trial-stop",))
    assert seen(principal={"roles": ("nurse",)}) == (False, True, ("trial-open",))
    assert seen(principal={"roles": ("clerk",)}) == (False, False, ())


def test_a_report_only_policy_that_errs_is_reported_and_changes_nothing() -> None:
    answer = bundle(policy(), policy("trial", OVERFLOW, effect="forbid", more='@mode("report-only")\n')).evaluate(facts())
    assert (answer.allowed, answer.errors) == (True, ())
    assert answer.report_only is not None
    assert (answer.report_only.allowed, answer.report_only.policies) == (False, ())
    assert answer.report_only.errors[0].startswith("trial: ")


def test_a_report_only_permit_does_not_outweigh_an_enforced_error() -> None:
    answer = bundle(policy("broken", OVERFLOW), policy("trial", more='@mode("report-only")\n')).evaluate(facts())
    assert answer.report_only is not None
    assert (answer.report_only.allowed, answer.report_only.policies) == (False, ())


def test_hypotheses_are_about_one_person_and_target() -> None:
    made = bundle(policy(when="context.network.tls"))
    assert made.allowed([facts(), facts(network={"tls": False})]) == [True, False]
    with pytest.raises(ValueError, match="one person and one target"):
        made.allowed([facts(), facts(principal={"roles": ("nurse",)})])


def test_people_with_the_same_name_in_other_roles_are_not_mixed_up() -> None:
    made = bundle(policy(when='principal in Role::"physician"'))
    for _ in range(3):
        assert made.evaluate(facts()).allowed
        assert not made.evaluate(facts(principal={"roles": ("nurse",)})).allowed
        assert not made.evaluate(facts(principal={"roles": ()})).allowed


def test_the_facts_of_a_record_are_the_facts() -> None:
    given = facts(grants=("grt_1",))
    recorded = msgspec.json.decode(msgspec.json.encode(given))
    assert facts_of_record(recorded) == given
    with pytest.raises(msgspec.ValidationError):
        facts_of_record(recorded | {"situation": "holiday"})


_IMPORTS = "import sys, gateway.policy.{0}; print(*(m for m in ('asyncio', 'socket', 'sqlite3', 'aiohttp') if m in sys.modules))"


@pytest.mark.parametrize("module", ["facts", "schema", "evaluate", "remedy", "compile", "cases"])
def test_the_pure_parts_pull_in_no_io(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORTS.format(module)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

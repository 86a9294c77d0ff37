"""A policy that can't be evaluated, with the error in every position where Cedar's grammar takes an expression.

Cedar skips such a policy: a forbid would stop forbidding. Here everybody is denied while it errs, whatever else permits, and the
record names it. Cedar's own limits are shown as well: what is not reached does not err, and heads have no expressions.
"""

import pytest

from gateway.domain.decision import Allow, Deny
from gateway.domain.reason import DenyReason
from gateway.kernel.errors import BundleError
from gateway.policy.analysis import analyse
from gateway.policy.compile import problems_of
from tests.support.policy import bundle, facts, policy
from tests.support.world import World

BOOM = "context.authentication.age_seconds + 9223372036854775807"
"""A number that is too large as soon as any time went by."""
FALSE = "(context.time.hour > 24)"
TRUE = "(context.time.hour <= 24)"
"""What Cedar does not see through: a literal would be typed away."""

POSITIONS = {
    "a comparison's left": f"{BOOM} > 0",
    "a comparison's right": f"0 < {BOOM}",
    "equality": f"{BOOM} == 3",
    "inequality": f"{BOOM} != 3",
    "after a true &&": f"{TRUE} && {BOOM} > 0",
    "before &&": f"{BOOM} > 0 && {TRUE}",
    "after a false ||": f"{FALSE} || {BOOM} > 0",
    "before ||": f"{BOOM} > 0 || {TRUE}",
    "if": f"if {BOOM} > 0 then {TRUE} else {FALSE}",
    "then": f"if {TRUE} then {BOOM} > 0 else {TRUE}",
    "else": f"if {FALSE} then {TRUE} else {BOOM} > 0",
    "not": f"!({BOOM} > 0)",
    "a set's first": f"[{BOOM}, 1].contains(1)",
    "a set's last": f"[1, 2, {BOOM}].contains(1)",
    "a set of sets": f"[[1], [{BOOM}]].contains([1])",
    "what a set contains": f"[1, 2].contains({BOOM})",
    "containsAll": f"[1, 2].containsAll([{BOOM}])",
    "containsAny": f"[{BOOM}].containsAny([1])",
    "isEmpty": f"![{BOOM}].isEmpty()",
    "a record": f"{{a: {BOOM}, b: 1}}.b == 1",
    "addition": f"({BOOM}) + context.time.hour > 0",
    "subtraction": "-9223372036854775807 - context.authentication.age_seconds < 0",
    "multiplication": "context.authentication.age_seconds * 9223372036854775807 > 0",
    "negation": f"-({BOOM}) < 0",
    "deep inside": f"{TRUE} && ({FALSE} || ({TRUE} && (if {TRUE} then !([1, {BOOM}].contains(2)) else {TRUE})))",
}
CLAUSES = {
    "when": "when {{ {} }}",
    "unless": "unless {{ {} }}",
    "a second when": "when {{ context.time.hour <= 24 }} when {{ {} }}",
    "a when after an unless": "unless {{ context.time.hour > 24 }} when {{ {} }}",
}
GOOD = policy(when="context.device.registered", scope="principal, action, resource")


def erring(effect: str, clause: str, condition: str) -> str:
    scope = "principal, action, resource"
    return f'@id("err")\n@title_ja("題")\n@title_en("Title")\n{effect} ({scope})\n{CLAUSES[clause].format(condition)};\n'


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("clause", CLAUSES)
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_an_error_anywhere_denies_and_names_the_policy(effect: str, clause: str, position: str) -> None:
    made = bundle(GOOD, erring(effect, clause, POSITIONS[position]))
    answer = made.evaluate(facts(authentication={"age_seconds": 60}))
    assert not answer.allowed
    assert not answer.forbidden
    assert answer.policies == ()
    (error,) = answer.errors
    assert error.startswith("err: ")
    assert "9223372036854775807" not in error  # values do not get into records by way of errors
    assert made.allowed([facts(authentication={"age_seconds": 60})]) == [False]
    # It is the error that denies: where there is none, either the other policy lets in, or this one forbids.
    no_time = made.evaluate(facts(authentication={"age_seconds": 0}, time={"hour": 0}))
    assert no_time.errors == ()
    assert no_time.allowed or no_time.forbidden


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_the_static_check_knew(effect: str, position: str) -> None:
    made = bundle(GOOD, erring(effect, "when", POSITIONS[position]))
    found = {(finding.code, finding.severity) for finding in analyse(made) if finding.policy == "err"}
    assert (("forbid_errs", "error") if effect == "forbid" else ("permit_errs", "warning")) in found


@pytest.mark.parametrize(
    "condition",
    [
        f"{FALSE} && {BOOM} > 0",
        f"{TRUE} || {BOOM} > 0",
        f"if {TRUE} then {TRUE} else {BOOM} > 0",
        f"!({TRUE} || {BOOM} > 0)",
    ],
)
def test_what_is_not_reached_does_not_err(condition: str) -> None:
    assert bundle(GOOD, erring("permit", "when", condition)).evaluate(facts(authentication={"age_seconds": 60})).allowed


@pytest.mark.parametrize(
    "scope", ["principal == 1 + 1, action, resource", "principal, action, resource in (if true then 1 else 2)"]
)
def test_heads_take_no_expressions(scope: str) -> None:
    with pytest.raises(BundleError) as caught:
        bundle(GOOD, policy("x", scope=scope))
    assert all(problem.where.startswith("b/a.cedar:") for problem in problems_of(caught.value))


@pytest.mark.parametrize("position", ["a comparison's left", "then", "a set's last", "deep inside"])
@pytest.mark.parametrize("effect", ["permit", "forbid"])
async def test_through_the_pipeline_it_is_a_deny_and_in_the_record(effect: str, position: str) -> None:
    world = World()
    world.good_device()
    _, token = await world.sign_in()
    world.policies.current = bundle(GOOD)
    assert isinstance(await world.pipeline.decide(world.request("/patients/p1", cookie=token), "proxy"), Allow)
    world.clock.advance(60)
    world.policies.current = bundle(GOOD, erring(effect, "when", POSITIONS[position]))
    decision = await world.pipeline.decide(world.request("/patients/p1", cookie=token), "proxy")
    assert isinstance(decision, Deny)
    assert decision.reason is DenyReason.POLICY_ERROR
    record = world.decisions()[-1]
    assert (record.outcome, record.policies) == ("deny", ())
    assert [error.partition(":")[0] for error in record.errors] == ["err"]


async def test_a_report_only_policy_that_errs_stops_nobody_and_is_in_the_record() -> None:
    world = World()
    world.good_device()
    _, token = await world.sign_in()
    world.clock.advance(60)
    watched = policy("err", f"{BOOM} > 0", effect="forbid", scope="principal, action, resource", more='@mode("report-only")\n')
    world.policies.current = bundle(GOOD, watched)
    assert isinstance(await world.pipeline.decide(world.request("/patients/p1", cookie=token), "proxy"), Allow)
    assert "err: " in str(world.decisions()[-1].report_only)

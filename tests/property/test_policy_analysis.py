"""What the analysis says is so: Cedar is asked, with thousands of facts such as requests have.

And the other way round: where it says that a policy can match, it has facts to show for it, and Cedar agrees.
"""

import random
from typing import Any

import cedarpy
import pytest
from cedarpy import pst

from gateway.policy.analysis import Report, report
from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.expression import clause_of, pst_of, scope_of
from gateway.policy.facts import (
    AuthenticationFacts,
    DeviceFacts,
    Facts,
    NetworkFacts,
    PrincipalFacts,
    ProofingFacts,
    TargetFacts,
    TimeFacts,
    count_factors,
)
from gateway.policy.known import NOTHING, Known, KnownRoute
from gateway.policy.schema import cedar_entities, cedar_request
from gateway.policy.solve import Conditions, Given
from tests.support.policy import STARTER, bundle, policy

NUMBERS = (0, 1, 2, 59, 60, 61, 299, 300, 301, 3600)
ROLES = ("physician", "nurse", "vendor")
ROUTES = [("ehr", "ehr.chart"), ("ehr", "ehr.prescribe"), ("imaging", "imaging.study"), ("orders", "orders.enter")]
CONDITIONS = (
    'principal in Role::"physician"',
    '(principal in Role::"physician" || principal in Role::"nurse")',
    '!(principal in Role::"nurse")',
    'principal in Organization::"外"',
    "context.authentication.factors >= 2",
    "context.authentication.factors == 1",
    "context.authentication.phishing_resistant",
    'context.authentication.kinds.contains("fido2")',
    '!context.authentication.kinds.contains("fido2")',
    '["otp", "pwd"].containsAll(context.authentication.kinds)',
    "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds < 300",
    "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds >= 60",
    "context.authentication.age_seconds > 300",
    "context.proofing.level >= 2",
    "context.proofing.level == 0",
    "context.proofing.authenticator_bound",
    "context.proofing.age_days > 60",
    "context.device.registered",
    "!context.device.registered",
    "context.device.compliant",
    "context.device.evidence_strength >= 2",
    'context.device.evidence == "cookie"',
    'context.device.ownership == "hospital"',
    "context.device has disk_encrypted && context.device.disk_encrypted",
    "!(context.device has disk_encrypted_age_seconds)",
    "context.device has compliance_age_seconds && context.device.compliance_age_seconds < 60",
    'context.network.zone == "ward"',
    'context.network.zone != "other"',
    '["ward", "office"].contains(context.network.zone)',
    "context.network.tls",
    "context.time.hour >= 8 && context.time.hour < 20",
    "context.time.hour == 24",
    "context.time.weekday <= 5",
    "context.time.day >= 20261201",
    "context.time.day < 20261201",
    'context.time.shifts.contains("night")',
    "context.time.holiday",
    'context.situation == "normal"',
    'context.situation == "emergency"',
    'context.grants.contains("work")',
    "!context.grants.isEmpty()",
    'resource == Route::"ehr.chart"',
    'resource.sensitivity == "high"',
    'resource.patient != ""',
    'if context.device.registered then context.device.compliant else context.situation == "emergency"',
    "(context.time.hour < 6 || context.device.evidence_strength >= 3)",
)
HEADS = (
    "principal, action, resource",
    'principal in Role::"vendor", action, resource',
    'principal, action == Action::"read", resource in App::"ehr"',
    'principal in Role::"nurse", action == Action::"read", resource in App::"ehr"',
    'principal, action in [Action::"read", Action::"write"], resource in App::"ehr"',
    'principal, action == Action::"write", resource == Route::"ehr.prescribe"',
)
KNOWN = Known(routes=tuple(KnownRoute(id=route, app=app, action="read") for app, route in ROUTES))
"""Which application each route is of, as in the facts below."""


def some_facts(chance: random.Random) -> Facts:
    """Facts as requests have them: `gateway.pipeline.gather` makes nothing else of sessions and devices."""
    kinds = tuple(sorted(chance.sample(["pwd", "otp", "fido2", "recovery"], chance.randrange(1, 4))))
    age = chance.choice(NUMBERS)
    device: dict[str, Any] = {"registered": False, "compliant": False, "evidence": "none", "ownership": ""}
    if chance.random() < 0.7:
        device = {
            "registered": True,
            "compliant": chance.random() < 0.6,
            "evidence": chance.choice(["cookie", "key", "certificate"]),
            "ownership": chance.choice(["hospital", "personal", "vendor"]),
            "compliance_age_seconds": chance.choice(NUMBERS),
        }
        if chance.random() < 0.6:
            device |= {"disk_encrypted": chance.random() < 0.7, "disk_encrypted_age_seconds": chance.choice(NUMBERS)}
    level = chance.randrange(4)
    proofing: dict[str, Any] = {"age_days": chance.choice(NUMBERS) if level else 0}
    if level:
        proofing["authenticator_bound"] = chance.random() < 0.5
    app, route = chance.choice(ROUTES)
    return Facts(
        principal=PrincipalFacts(
            id="usr_1",
            roles=tuple(chance.sample(ROLES, chance.randrange(3))),
            organization=chance.choice(["", "外", "第一病院"]),
        ),
        authentication=AuthenticationFacts(
            kinds=kinds,  # type: ignore[arg-type]  # they are of the words
            factors=count_factors(kinds),  # type: ignore[arg-type]  # as above
            phishing_resistant="fido2" in kinds,
            age_seconds=age,
            key_touch_age_seconds=age + chance.choice(NUMBERS) if "fido2" in kinds else None,
        ),
        proofing=ProofingFacts(level=level, method="jpki_sign" if level else "none", **proofing),
        device=DeviceFacts(
            evidence_strength=["none", "cookie", "key", "certificate"].index(device["evidence"]),
            **{"compliance_age_seconds": None, **device},
        ),
        network=NetworkFacts(zone=chance.choice(["ward", "office", "other", "hall"]), tls=chance.random() < 0.8),
        time=TimeFacts(
            hour=chance.randrange(24),
            weekday=chance.randrange(1, 8),
            date="2026-11-30",
            day=chance.choice([20261130, 20261201, 20261202]),
            holiday=chance.random() < 0.3,
            shifts=tuple(sorted(chance.sample(["day", "late", "night"], chance.randrange(3)))),
        ),
        situation=chance.choice(["normal", "emergency", "break_glass"]),
        grants=tuple(sorted(chance.sample(["work", "visit"], chance.randrange(3)))),
        target=TargetFacts(
            app=app,
            route=route,
            action=chance.choice(["read", "write", "delete", "export", "administer"]),
            sensitivity=chance.choice(["normal", "high"]),
            patient=chance.choice(["", "p001"]),
        ),
    )


CHANCE = random.Random(20261123)  # noqa: S311  no secret: the same every time
FACTS = [some_facts(CHANCE) for _ in range(1500)]


class Matching:
    """Which policies match, by Cedar's own word: all as permits, so that it names every one."""

    def __init__(self, made: Bundle) -> None:
        self.ids = [one.id for one in made.policies]
        texts = [one.cedar.replace(" forbid (", " permit (", 1) for one in made.policies]
        self.handle = cedarpy.PolicySet.from_str("\n".join(texts))

    def of(self, facts: Facts) -> set[str]:
        response = cedarpy.is_authorized(cedar_request(facts), self.handle, cedar_entities(facts.principal, facts.target))
        return {self.ids[int(reason.removeprefix("policy"))] for reason in response.diagnostics.reasons}


def some_bundle(seed: int) -> Bundle:
    chance = random.Random(seed)  # noqa: S311  as above
    texts = [policy("base", "context.network.tls")]
    for number in range(30):
        chosen = chance.sample(CONDITIONS, chance.randrange(1, 5))
        more = '@mode("report-only")\n' if chance.random() < 0.1 else '@lease("2s")\n' if chance.random() < 0.1 else ""
        effect, head = chance.choice(["permit", "permit", "forbid"]), chance.choice(HEADS)
        texts.append(policy(f"p{number}", " && ".join(f"({one})" for one in chosen), effect=effect, scope=head, more=more))
        if 'App::"ehr"' in head and effect == "permit" and chance.random() < 0.3:  # the same for one route of the application
            inner = head.replace('resource in App::"ehr"', 'resource == Route::"ehr.chart"')
            texts.append(policy(f"r{number}", " && ".join(f"({one})" for one in chosen), scope=inner, more=more))
        if chance.random() < 0.3:  # a narrower one of the same, so that there is something to find
            narrower = " && ".join(f"({one})" for one in (*chosen, chance.choice(CONDITIONS)))
            texts.append(policy(f"n{number}", narrower, effect=effect, scope=head, more=more))
    return bundle(*texts)


def given_of(one: Policy, conditions: Conditions) -> Given:
    parsed = pst_of(one)
    variables = [pst.Var("principal"), pst.Var("action"), pst.Var("resource")]
    scopes = [scope_of(getattr(parsed, variable.name), variable) for variable in variables]
    exprs = [scope for scope in scopes if scope is not None] + [expr for clause in parsed.clauses for expr in clause_of(clause)]
    return Given(conditions.of(exprs))


def contradictions(made: Bundle, found: Report, facts: list[Facts]) -> list[tuple[str, Facts]]:
    matching = Matching(made)
    never = {finding.policy for finding in found.findings if finding.code == "never"}
    shadowed = [(finding.policy, finding.other) for finding in found.findings if finding.code == "shadowed"]
    wrong: list[tuple[str, Facts]] = []
    for one in facts:
        matched = matching.of(one)
        wrong += [(name, one) for name in matched & never]
        wrong += [(name, one) for name, other in shadowed if name in matched and other not in matched]
    return wrong


@pytest.mark.parametrize("known", [NOTHING, KNOWN], ids=["alone", "configured"])
@pytest.mark.parametrize("seed", range(25))
def test_cedar_never_contradicts_a_finding(seed: int, known: Known) -> None:
    made = some_bundle(seed)
    found = report(made, known)
    assert contradictions(made, found, FACTS) == []


def test_knowing_the_application_of_a_route_finds_more() -> None:
    def shadowed(known: Known) -> int:
        return sum(finding.code == "shadowed" for seed in range(25) for finding in report(some_bundle(seed), known).findings)

    assert shadowed(KNOWN) > shadowed(NOTHING)


def test_there_was_something_to_contradict() -> None:
    codes = [finding.code for seed in range(25) for finding in report(some_bundle(seed)).findings]
    assert codes.count("never") > 50
    assert codes.count("shadowed") > 50


@pytest.mark.parametrize("seed", range(25))
def test_what_can_match_has_facts_to_show_for_it(seed: int) -> None:
    made = some_bundle(seed)
    never = {finding.policy for finding in report(made).findings if finding.code == "never"}
    matching, conditions = Matching(made), Conditions()
    for one in made.policies:
        example = conditions.example(given_of(one, conditions))
        assert (example is None) == (one.id in never), one.text
        if example is not None:
            assert one.id in matching.of(example), (one.text, example)


@pytest.mark.parametrize("seed", range(8))
def test_taking_a_superfluous_policy_away_changes_no_answer(seed: int) -> None:
    made = some_bundle(seed)
    superfluous = {finding.policy for finding in report(made).findings if finding.code in {"never", "shadowed"}}
    first = next((one for one in made.policies if one.id in superfluous and not one.report_only), None)
    if first is None:
        pytest.fail("choose another seed")
    without = bundle(*(one.text for one in made.policies if one is not first))
    for one in FACTS[:700]:
        before, after = made.evaluate(one), without.evaluate(one)
        assert (before.allowed, before.forbidden, before.lease_seconds) == (after.allowed, after.forbidden, after.lease_seconds)


@pytest.mark.parametrize("seed", range(10))
def test_nobody_is_let_in_at_a_route_that_nothing_opens(seed: int) -> None:
    made = some_bundle(seed)
    routes = [
        KnownRoute(id=route, app=app, action=action, sensitivity=sensitivity)
        for app, route in ROUTES
        for action in ("read", "write", "delete")
        for sensitivity in ("normal", "high")
    ]
    chosen = routes[seed::3]
    # One finding for each id and action: a route has one of each, and here the same id stands for several.
    for route in chosen:
        found = report(made, Known(routes=(route,)))
        if any(finding.code == "route" for finding in found.findings):
            here = [one for one in FACTS if (one.target.app, one.target.route) == (route.app, route.id)]
            fitting = [one for one in here if (one.target.action, one.target.sensitivity) == (route.action, route.sensitivity)]
            assert not any(made.evaluate(one).allowed for one in fitting)


def test_the_starter_bundle_has_nothing_to_be_said_of() -> None:
    found = report(load_bundle(STARTER))
    assert found.findings == ()
    assert found.undecided == ()

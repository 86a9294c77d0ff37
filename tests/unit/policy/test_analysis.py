"""Planted flaws are found, each with its place and what to do; what is only unusual is not called a flaw."""

import msgspec
import pytest

from gateway.policy.analysis import Finding, analyse, by_severity, report
from gateway.policy.compile import SCHEMA_FILE, compile_bundle
from gateway.policy.known import NOTHING, Known, KnownRoute
from gateway.policy.schema import cedar_schema
from tests.support.policy import bundle, policy

GROUND = "context.device.registered"
READ = 'principal, action == Action::"read", resource in App::"ehr"'
TOUCH = "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds"
NEVER = (
    "context.device.evidence_strength >= 4",
    "context.time.hour > 23",
    "context.time.weekday == 0",
    "context.proofing.level > 3",
    "context.authentication.factors == 3",
    "context.proofing.age_days < 0",
    'context.network.zone == "ward" && context.network.zone == "hall"',
    "!context.device.registered && context.device.compliant",
    '!context.device.registered && context.device.evidence == "cookie"',
    'context.device.evidence == "cookie" && context.device.evidence_strength == 2',
    'context.authentication.factors == 2 && ["otp", "recovery"].containsAll(context.authentication.kinds)',
    'context.authentication has key_touch_age_seconds && !context.authentication.kinds.contains("fido2")',
    f"context.authentication.age_seconds > 600 && {TOUCH} < 300",
    "context.proofing.level == 0 && context.proofing.authenticator_bound",
    'context.situation == "normal" && context.situation == "emergency"',
    'context.grants.contains("a") && context.grants.isEmpty()',
    "context.time.day > 20261231 && context.time.day < 20260101",
    "context.device has disk_encrypted && !(context.device has disk_encrypted_age_seconds)",
    'resource.sensitivity == "high" && resource.sensitivity == "normal"',
    'resource == Route::"ehr.chart" && resource == Route::"ehr.home"',
    'principal in Role::"nurse" && !(principal in Role::"nurse")',
    "if context.network.tls then context.time.hour > 30 else context.time.hour > 40",
)
SOMETIMES = (
    'principal in Role::"nurse" && principal in Role::"physician"',
    "context.device.evidence_strength >= 3",
    "context.time.hour == 23",
    'context.network.zone != "ward" && context.network.zone != "hall"',
    "context.time.day > 20261231 && context.time.day < 20270102",
    'context.grants.contains("a") && context.grants.contains("b")',
    'context.device has compliance_age_seconds && context.device.ownership == "personal"',
    'context.authentication.kinds.contains("recovery") && context.authentication.factors == 1',
    f"context.authentication.age_seconds == 300 && {TOUCH} == 300",
)


def found(*texts: str, known: Known = Known()) -> list[Finding]:  # noqa: B008  frozen
    return list(analyse(bundle(policy("plain", GROUND, scope=READ), *texts), known))


def codes(*texts: str) -> list[tuple[str, str]]:
    return [(finding.code, finding.policy) for finding in found(*texts)]


def test_a_good_bundle_has_nothing() -> None:
    assert found() == []


# ---------------------------------------------------------------- never


@pytest.mark.parametrize("when", NEVER)
def test_what_can_never_match_is_found(when: str) -> None:
    (finding,) = found(policy("x", f"context.device.registered == context.device.registered && ({when})"))
    assert (finding.code, finding.policy, finding.severity) == ("never", "x", "warning")
    assert (finding.file, finding.line) == ("b/a.cedar", 7)
    assert finding.todo


@pytest.mark.parametrize("when", SOMETIMES)
def test_what_seldom_matches_is_let_be(when: str) -> None:
    assert codes(policy("x", f"context.device.compliant && {when}", scope='principal, action == Action::"write", resource')) == []


def test_a_head_that_excludes_a_condition_is_found() -> None:
    scope = 'principal, action == Action::"read", resource == Route::"a"'
    assert codes(policy("x", f'{GROUND} && resource == Route::"b"', scope=scope)) == [("never", "x")]
    assert codes(policy("x", f'{GROUND} && action == Action::"write"', scope=scope)) == [("never", "x")]
    assert codes(policy("x", f'{GROUND} && resource in App::"b"', scope=scope)) == []


# ---------------------------------------------------------------- superfluous


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("context.device.registered", "context.device.compliant"),  # what complies is registered
        ("context.device.evidence_strength >= 1", 'context.device.evidence == "key"'),
        ("context.authentication.factors >= 2", 'context.authentication.kinds.contains("fido2")'),
        ("context.device.registered && context.time.hour >= 8", "context.device.registered && context.time.hour == 9"),
        (
            'context.device.registered && (principal in Role::"a" || principal in Role::"b")',
            'context.device.registered && principal in Role::"b"',
        ),
        (
            "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds < 600",
            "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds <= 300",
        ),
    ],
)
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_policy_that_a_wider_one_covers_is_found(wide: str, narrow: str, effect: str) -> None:
    scope = 'principal, action == Action::"write", resource'
    inner = 'principal, action == Action::"write", resource in App::"ehr"'
    texts = policy("narrow", narrow, effect=effect, scope=inner), policy("wide", wide, effect=effect, scope=scope)
    (finding,) = found(*texts)
    assert (finding.code, finding.policy, finding.other) == ("shadowed", "narrow", "wide")
    assert "wide (b/a.cedar:" in finding.what
    (other,) = found(policy("narrow", narrow, effect=effect, scope=scope), policy("wide", wide, effect=effect, scope=scope))
    assert other.policy == "narrow"


def test_of_two_that_are_the_same_the_later_is_superfluous() -> None:
    write = 'principal, action == Action::"write", resource'
    assert codes(policy("x", GROUND, scope=write), policy("y", GROUND, scope=write)) == [("shadowed", "y")]


def test_a_permit_that_is_always_forbidden_is_found() -> None:
    (finding,) = found(policy("no", 'resource in App::"ehr"', effect="forbid"))
    assert (finding.code, finding.policy, finding.other) == ("shadowed", "plain", "no")
    assert "never lets anybody in" in finding.what


def test_a_forbid_is_never_superfluous_for_a_permit() -> None:
    assert codes(policy("no", 'context.device.ownership == "vendor"', effect="forbid", scope=READ)) == []


def test_what_only_reports_makes_nothing_superfluous_and_is_it_itself() -> None:
    watched = policy("x", GROUND, scope=READ, more='@mode("report-only")\n')
    assert codes(watched) == [("shadowed", "x")]


def test_a_policy_that_takes_the_lease_away_is_not_superfluous() -> None:
    write = 'principal, action == Action::"write", resource'
    wide = policy("wide", GROUND, scope=write, more='@lease("2s")\n')
    narrow = "context.device.compliant"
    assert codes(wide, policy("none", narrow, scope=write)) == []
    assert codes(wide, policy("shorter", narrow, scope=write, more='@lease("1s")\n')) == []
    assert codes(wide, policy("longer", narrow, scope=write, more='@lease("3s")\n')) == [("shadowed", "longer")]


def test_the_rule_for_an_application_covers_the_one_for_its_route_where_a_configuration_says_whose_it_is() -> None:
    wide = policy("wide", GROUND, scope='principal, action == Action::"write", resource in App::"ehr"')
    narrow = policy("narrow", GROUND, scope='principal, action == Action::"write", resource == Route::"ehr.write"')
    elsewhere = policy(
        "odd", f'{GROUND} && resource in App::"imaging"', scope='principal, action, resource == Route::"ehr.write"'
    )
    shadowed = [one for one in found(wide, narrow, known=routes("read", "write")) if one.code == "shadowed"]
    assert [(one.policy, one.other) for one in shadowed] == [("narrow", "wide")]
    other_app = Known(routes=(KnownRoute(id="ehr.write", app="imaging", action="write"),))
    both = Known(routes=(*(routes("write").routes or ()), *(other_app.routes or ())))
    for known in (NOTHING, other_app, both):
        assert not any(one.code == "shadowed" for one in found(wide, narrow, known=known))
    # What contradicts the configuration is not said to be covered by everything.
    assert not any(one.code == "shadowed" for one in found(wide, elsewhere, known=routes("read", "write")))


# ---------------------------------------------------------------- routes


def routes(*actions: str, app: str = "ehr", sensitivity: str = "normal") -> Known:
    return Known(
        routes=tuple(
            msgspec.convert({"id": f"{app}.{action}", "app": app, "action": action, "sensitivity": sensitivity}, KnownRoute)
            for action in actions
        )
    )


def test_a_route_that_no_permit_fits_is_found() -> None:
    (finding,) = found(known=routes("read", "write"))
    assert (finding.code, finding.other, finding.severity, finding.file) == ("route", "ehr.write", "warning", "")
    assert "no permit fits it" in finding.what


def test_a_route_whose_permits_are_all_forbidden_is_found() -> None:
    texts = (
        policy("write", GROUND, scope='principal, action == Action::"write", resource'),
        policy("no", effect="forbid", scope='principal, action == Action::"write", resource in App::"ehr"'),
    )
    (finding,) = found(*texts, known=routes("read", "write"))
    assert "no forbids whatever a permit allows there" in finding.what
    assert found(texts[0], known=routes("read", "write")) == []


def test_a_permit_that_only_reports_opens_no_route() -> None:
    watched = policy("w", GROUND, scope='principal, action == Action::"write", resource', more='@mode("report-only")\n')
    assert [finding.other for finding in found(watched, known=routes("write"))] == ["ehr.write"]


def test_sensitivity_counts() -> None:
    high = policy("w", f'{GROUND} && resource.sensitivity == "high"', scope='principal, action == Action::"write", resource')
    assert found(high, known=routes("write", sensitivity="high")) == []
    assert [finding.other for finding in found(high, known=routes("write"))] == ["ehr.write"]


# ---------------------------------------------------------------- ground, errors, names


@pytest.mark.parametrize(
    "when",
    [
        "",
        "context.network.tls",
        "context.proofing.level >= 2",
        "context.device.registered || !context.device.registered",
        "context.authentication.factors >= 0",
        "context.time.hour < 12 && context.authentication.factors < 3",
    ],
)
def test_a_permit_that_asks_nothing_of_sign_in_and_device_is_an_error(when: str) -> None:
    (finding,) = found(policy("x", when, scope='principal in Role::"nurse", action == Action::"write", resource'))
    assert (finding.code, finding.severity, finding.line) == ("no_ground", "error", 7)


@pytest.mark.parametrize(
    "when", ["context.authentication.factors >= 1", "!context.device.registered", "context.device.compliant"]
)
def test_any_condition_of_them_will_do(when: str) -> None:
    assert codes(policy("x", when, scope='principal in Role::"nurse", action == Action::"write", resource')) == []


@pytest.mark.parametrize(
    ("when", "errs"),
    [
        ("context.proofing.age_days + 1 > 30", True),
        ("context.authentication.age_seconds * 2 > 30", True),
        ("-context.authentication.age_seconds < 30", True),
        ("context.time.hour + 1 > 30", False),
        ("context.time.hour * 60 - context.time.weekday > 30", False),
        ("context.time.day - 20260101 > 30", False),
        ("(if context.network.tls then 9223372036854775807 else 0) + context.time.hour > 0", True),
        ("9223372036854775807 + 0 > context.time.hour", False),
    ],
)
def test_what_can_overflow_is_an_error_in_a_forbid_and_a_warning_in_a_permit(when: str, errs: bool) -> None:
    write = 'principal, action == Action::"write", resource'
    forbid = [finding for finding in found(policy("x", when, effect="forbid", scope=write)) if finding.code == "forbid_errs"]
    permit = [finding for finding in found(policy("x", f"{GROUND} && {when}", scope=write)) if finding.code == "permit_errs"]
    assert [finding.severity for finding in (*forbid, *permit)] == (["error", "warning"] if errs else [])


def test_a_clause_that_is_in_no_catalogue_is_an_error_with_the_nearest() -> None:
    (finding,) = found(policy("x", "context.device.compliant", more='@guideline("7.0/ops/14-5, 7.0/ops/10-3")\n'))
    assert (finding.code, finding.severity, finding.line) == ("unknown_clause", "error", 10)
    assert finding.todo == "Did you mean 6.0/ops/10-3?"


KNOWN = Known(
    routes=(KnownRoute(id="ehr.chart", app="ehr", action="read"),), roles=("nurse",), zones=("ward",), shifts=("day",), grants=()
)


@pytest.mark.parametrize(
    ("when", "what", "todo", "severity"),
    [
        ('principal in Role::"nures"', 'no role "nures" is configured', 'Did you mean "nurse"?', "error"),
        ('resource == Route::"ehr.chrat"', 'no route "ehr.chrat" is configured', 'Did you mean "ehr.chart"?', "error"),
        ('context.network.zone == "wrad"', 'no zone "wrad" is configured', 'Did you mean "ward"?', "error"),
        ('context.time.shifts.contains("dya")', 'no shift "dya" is configured', 'Did you mean "day"?', "error"),
        ('resource in App::"orders"', 'no application "orders" is configured', "There are: ehr.", "warning"),
        ('context.grants.contains("work")', 'no grant "work" is configured', "None is configured", "warning"),
    ],
)
def test_a_name_that_is_not_configured(when: str, what: str, todo: str, severity: str) -> None:
    (finding,) = found(policy("x", f"context.device.compliant\n  && {when}"), known=KNOWN)
    assert finding.code == "unknown_name"
    assert what in finding.what
    assert finding.todo.startswith(todo)
    assert (finding.severity, finding.line) == (severity, 12)


def test_routes_of_an_application_that_is_not_there_are_not_said_again() -> None:
    when = 'context.device.compliant && (resource == Route::"orders.home" || resource == Route::"orders.enter")'
    scope = 'principal, action == Action::"read", resource in App::"orders"'
    (finding,) = found(policy("x", when, scope=scope), known=KNOWN)
    assert 'no application "orders"' in finding.what


def test_names_that_always_are_and_names_of_which_nobody_told() -> None:
    assert found(policy("x", 'context.device.compliant && context.network.zone == "other"'), known=KNOWN) == []
    assert codes(policy("x", 'context.device.compliant && principal in Role::"anything"')) == []


# ---------------------------------------------------------------- what is not known


@pytest.mark.parametrize(
    "when",
    [
        "context.proofing.age_days + 1 > context.authentication.age_seconds",
        'resource.patient like "p*"',
        "context.network.zone == context.proofing.method",
        "context.grants.containsAny(context.time.shifts)",
        'ip("10.0.0.1").isInRange(ip("10.0.0.0/8"))',
    ],
)
def test_what_can_not_be_tried_is_counted_and_not_guessed(when: str) -> None:
    made = report(bundle(policy("plain", GROUND, scope=READ), policy("x", f"context.device.compliant && {when}")))
    assert [finding.code for finding in made.findings if finding.code in {"never", "shadowed"}] == []
    assert "x" in made.undecided


def test_it_is_said_all_the_same_where_the_rest_shows_it() -> None:
    odd = 'resource.patient like "p*"'
    assert codes(policy("x", f"context.time.hour > 24 && {odd}")) == [("never", "x")]
    assert codes(policy("x", f"{GROUND} && {odd}", scope=READ)) == [("shadowed", "x")]
    both = policy("x", f"{GROUND} && {odd}", scope=WRITE), policy("y", f"context.device.compliant && {odd}", scope=WRITE)
    assert codes(*both) == [("shadowed", "y")]


WRITE = 'principal, action == Action::"write", resource'


def test_too_many_cases_are_left_undecided() -> None:
    roles = " || ".join(f'principal in Role::"r{number}"' for number in range(16))
    made = report(bundle(policy("x", f"{GROUND} && ({roles})")))
    assert made.undecided == ("x",)
    assert made.findings == ()


def test_a_link_is_looked_at_like_any_policy() -> None:
    template = (
        '@id("t")\n@title_ja("題")\n@title_en("T")\n@guideline("6.0/ops/99")\n@value_resource("app; アプリ; App")\n'
        '@value_from("date; 始; From")\n@value_until("date; 終; Until")\n'
        "permit (principal, action, resource in ?resource)\n"
        "when { context.device.registered && context.time.day >= ?from && context.time.day <= ?until };\n"
    )
    link = '[[link]]\nid = "a"\ntemplate = "t"\nresource = "ehr"\nvalues = { from = "2026-12-02", until = "2026-12-01" }\n'
    files = {SCHEMA_FILE: cedar_schema().encode(), "t.cedar": template.encode(), "links.toml": link.encode()}
    findings = list(analyse(compile_bundle(files, "b")))
    assert [(one.code, one.policy, one.file, one.line) for one in findings] == [
        ("unknown_clause", "a", "b/links.toml", 1),
        ("never", "a", "b/links.toml", 1),
        ("unknown_clause", "t", "b/t.cedar", 4),
    ]
    assert by_severity(findings) == {"error": 2, "warning": 1}

"""Cases: read strictly, judged exactly."""

import pytest

from gateway.kernel.errors import BundleError
from gateway.policy.case_files import MAX_CASES, parse_cases
from gateway.policy.cases import Case, run_cases
from gateway.policy.remedy import Enrolment, Outcomes
from tests.support.policy import bundle, facts, facts_toml, policy

BASES = facts_toml(facts(authentication={"key_touch_age_seconds": 5})) + b"\n"
HEAD = '[[case]]\nname = "one"\nbase = "anyone"\ntarget = "ehr.chart"\n'
ALLOW = 'expect = { outcome = "allow", policies = ["read"] }\n'
DENY = 'expect = { outcome = "deny", policies = [], remedy = [] }\n'


def read(text: str, bases: bytes = BASES) -> tuple[Case, ...]:
    return parse_cases({"bases.toml": bases, "a.toml": text.encode()}, "p")


def one(text: str) -> Case:
    (case,) = read(text)
    return case


def test_a_case_starts_from_its_base_and_target() -> None:
    case = one("\n" + HEAD + ALLOW)
    assert case.facts == facts(authentication={"key_touch_age_seconds": 5})
    assert (case.name, case.file, case.line) == ("one", "p/cases/a.toml", 2)
    assert case.outcomes == Outcomes()


def test_facts_differ_where_it_says_so() -> None:
    case = one(HEAD + 'patient = "p9"\nfacts.device = { compliant = false }\nfacts.grants = ["g"]\n' + ALLOW)
    assert case.facts == facts(
        authentication={"key_touch_age_seconds": 5}, device={"compliant": False}, grants=("g",), target={"patient": "p9"}
    )


def test_a_fact_can_be_unknown() -> None:
    case = one(HEAD + 'without = ["authentication.key_touch_age_seconds"]\n' + ALLOW)
    assert case.facts.authentication.key_touch_age_seconds is None
    with pytest.raises(BundleError, match=r"there is no fact 'authentication\.nonsense'"):
        read(HEAD + 'without = ["authentication.nonsense"]\n' + ALLOW)


def test_bases_extend_bases_fact_by_fact() -> None:
    bases = (
        BASES
        + b"""
[base.new]
extends = "anyone"
device = { compliant = false }
[base.newer]
extends = "new"
device = { ownership = "personal" }
"""
    )
    (case,) = read(HEAD.replace("anyone", "newer") + ALLOW, bases)
    assert (case.facts.device.compliant, case.facts.device.ownership, case.facts.device.registered) == (False, "personal", True)


def test_what_the_steps_yield_can_be_said() -> None:
    more = "can_touch_key = false\nnew_device_compliant = false\nproofing_service = false\n"
    assert one(HEAD + more + ALLOW).outcomes == Outcomes(key_touch=False, enrolment=Enrolment(compliant=False), proofing=None)
    assert one(HEAD + "can_register = false\n" + ALLOW).outcomes == Outcomes(enrolment=None)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (HEAD + "fact.device = {}\n" + ALLOW, "p/cases/a.toml:5: 'fact' is not known in a case. Did you mean facts?"),
        (HEAD + "facts.devise = {}\n" + ALLOW, "p/cases/a.toml:5: 'devise' is not known in facts. Did you mean device?"),
        (
            HEAD + "facts.device = { complaint = true }\n" + ALLOW,
            "a.toml:5: 'complaint' is not known in facts.device. Did you mean compliant?",
        ),
        (HEAD + "facts.device = true\n" + ALLOW, "a.toml:5: device must be a table. Write device = { ... }"),
        (HEAD + "facts = 3\n" + ALLOW, "a.toml:5: facts must be a table"),
        (
            HEAD + 'facts.authentication = { factors = "2" }\n' + ALLOW,
            "a.toml:1: Expected `int`, got `str` - at `$.authentication.factors`",
        ),
        (HEAD + 'facts.device = { evidence = "cert" }\n' + ALLOW, "a.toml:1: Invalid enum value 'cert' - at `$.device.evidence`"),
        (HEAD + 'can_register = "no"\n' + ALLOW, "a.toml:1: Expected `bool`, got `str` - at `$.can_register`"),
        (HEAD + ALLOW.replace("outcome", "outcom"), "a.toml:5: 'outcom' is not known in expect. Did you mean outcome?"),
        (HEAD + ALLOW.replace('"allow"', '"maybe"'), "a.toml:1: Invalid enum value 'maybe' - at `$.outcome`"),
        (HEAD + 'expect = { outcome = "allow" }\n', "a.toml:1: Object missing required field `policies`"),
        (HEAD, "a.toml:1: this case expects nothing. Add expect.outcome"),
        (HEAD + DENY.replace(", remedy = []", ""), "a.toml:1: expect.remedy goes with a deny. Say what would let the person in"),
        (HEAD + ALLOW.replace("] }", "], remedy = [] }"), "a.toml:1: expect.remedy goes with a deny. An allow has no remedy"),
        (HEAD + DENY.replace("remedy = []", 'remedy = ["touch"]'), "a.toml:1: Invalid enum value 'touch' - at `$.remedy[0]`"),
        (HEAD.replace("anyone", "anyon") + ALLOW, "a.toml:1: there is no base 'anyon'. Did you mean anyone?"),
        (HEAD.replace("ehr.chart", "ehr.chat") + ALLOW, "a.toml:1: there is no target 'ehr.chat'. Did you mean ehr.chart?"),
        (HEAD.replace('name = "one"', "name = 1") + ALLOW, "a.toml:1: this case has no name"),
        (HEAD.replace('"one"', '"o\\u202ene"') + ALLOW, "a.toml:1: this case's name holds an invisible character"),
        (2 * (HEAD + ALLOW), "a.toml:6: two cases are named 'one'"),
        ("[[cases]]\n" + HEAD + ALLOW, "a.toml:1: 'cases' is not known in the file. Did you mean case?"),
        ("case = 1\n", "a.toml:1: cases are not a list of tables"),
        ("[case]\n", "a.toml:1: cases are not a list of tables"),
        (HEAD + "x = [\n", "a.toml:"),
        ("x = " + "[" * 5000 + "]" * 5000, "a.toml: tables or arrays nest too deep"),
        ("", "p/cases: there is no case. Write at least one [[case]]"),
    ],
)
def test_what_can_not_be_read_is_said_with_its_line(text: str, error: str) -> None:
    with pytest.raises(BundleError) as caught:
        read(text)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("bases", "error"),
    [
        (b"", "there is no base 'anyone'. Add [base.anyone] to bases.toml"),
        (BASES + b"[bases.x]\n", "bases.toml:16: 'bases' is not known in the file. Did you mean base?"),
        (BASES + b'[base.x]\nextend = "anyone"\n', "'extend' is not known in base.x. Did you mean extends?"),
        (BASES + b"\n[base.x]\ndevice = { complaint = true }\n", "bases.toml:18: 'complaint' is not known in base.x.device"),
        (BASES + b'[target."y"]\npatients = ""\n', "'patients' is not known in target.y. Did you mean patient?"),
        (BASES + b'[base."X Y"]\n', "'X Y' is not a name"),
        (BASES.replace(b"[base.anyone]", b'[base.anyone]\nextends = "anyone"'), "base anyone extends itself"),
        (BASES.replace(b"[base.anyone]", b'[base.anyone]\nextends = "anybody"'), "there is no base 'anybody'"),
        (BASES.replace(b'route = "ehr.chart"\n', b""), "Object missing required field `route` - at `$.target`"),
        (b"base = 1", "base must be a table"),
        (BASES + b'[base.x]\nextends = ["anyone"]\n', "bases.toml:17: extends must be one name"),
        (BASES + b"[base]\nx = 1\n", "base.x must be a table"),
    ],
)
def test_bases_that_can_not_be_read_are_said(bases: bytes, error: str) -> None:
    with pytest.raises(BundleError) as caught:
        read(HEAD + ALLOW, bases)
    assert error in str(caught.value)


def test_no_cases_are_no_success() -> None:
    for files in ({}, {"bases.toml": BASES}):
        with pytest.raises(BundleError, match="there is no case"):
            parse_cases(files, "p")


def test_too_many_cases_are_refused() -> None:
    with pytest.raises(BundleError, match="at most"):
        read("".join(HEAD.replace('"one"', f'"c{index}"') + ALLOW for index in range(MAX_CASES + 1)))


MADE = bundle(
    policy(when="context.device.compliant"),
    policy("stop", 'context.network.zone == "moon"', effect="forbid"),
    policy("trial", "!context.network.tls", effect="forbid", more='@mode("report-only")\n'),
    policy("idle", 'principal in Role::"nobody"'),
)


def differences(text: str) -> dict[str, tuple[str, str]]:
    report = run_cases(MADE, read(text))
    return {one.what: (one.expected, one.got) for failure in report.failures for one in failure.differences}


def test_cases_that_hold_pass() -> None:
    more = 'facts.device = { compliant = false }\nexpect = { outcome = "deny", policies = [], remedy = ["device_compliance"] }\n'
    report = run_cases(MADE, read(HEAD + ALLOW + HEAD.replace('"one"', '"two"') + more))
    assert (report.passed, report.failures, report.uncovered) == (2, (), ("stop", "trial", "idle"))


def test_each_difference_fails() -> None:
    assert differences(HEAD + DENY) == {"outcome": ("deny", "allow"), "policies": ("(none)", "read")}
    assert differences(HEAD + ALLOW.replace('["read"]', "[]")) == {"policies": ("(none)", "read")}
    assert differences(HEAD + "facts.device = { compliant = false }\n" + DENY) == {"remedy": ("(none)", "device_compliance")}
    moon = 'facts.network = { zone = "moon" }\n'
    assert differences(HEAD + moon + DENY) == {"policies": ("(none)", "stop")}
    wrong = "facts.device = { compliance_age_seconds = 9223372036854775808 }\n"
    assert differences(HEAD + wrong + DENY) == {"errors": ("(none)", "request")}
    assert differences(HEAD + wrong + DENY.replace("remedy", 'errors = ["request"], remedy')) == {}


def test_report_only_is_compared_where_it_is_expected() -> None:
    trial = "facts.network = { tls = false }\n"
    assert differences(HEAD + trial + ALLOW) == {}
    assert differences(HEAD + trial + ALLOW.replace("] }", '], report_only = ["trial"] }')) == {}
    assert differences(HEAD + trial + ALLOW.replace("] }", "], report_only = [] }")) == {"report_only": ("(none)", "trial")}
    assert differences(HEAD + ALLOW.replace("] }", '], report_only = ["trial"] }')) == {"report_only": ("trial", "(none)")}


def test_a_lease_is_compared_where_it_is_expected() -> None:
    assert differences(HEAD + ALLOW.replace("] }", "], lease_seconds = 0 }")) == {}
    assert differences(HEAD + ALLOW.replace("] }", "], lease_seconds = 2 }")) == {"lease_seconds": ("2", "0")}


def test_policies_that_only_report_count_as_covered() -> None:
    report = run_cases(MADE, read(HEAD + "facts.network = { tls = false }\n" + ALLOW))
    assert report.uncovered == ("stop", "idle")


def test_progress_is_told() -> None:
    told: list[int] = []
    run_cases(MADE, read(HEAD + ALLOW + HEAD.replace('"one"', '"two"') + ALLOW), told.append)
    assert told == [1, 2]


def test_the_day_follows_from_the_date_and_may_not_contradict_it() -> None:
    def day(time: str) -> int:
        return one(f"{HEAD}facts.time = {{ {time} }}\n{ALLOW}").facts.time.day

    assert day("hour = 3") == 20261124
    assert day('date = "2027-04-01"') == 20270401
    assert day('date = "2027-04-01", day = 20270401') == 20270401
    with pytest.raises(BundleError, match=r"time\.day is 20270402, and time\.date '2027-04-01'"):
        day('date = "2027-04-01", day = 20270402')
    (undated,) = read(HEAD + ALLOW, BASES.replace(b"day = 20261124, ", b""))
    assert undated.facts.time.day == 20261124

"""The policies that come with the gateway."""

import itertools
import re
import tomllib
from collections import Counter

import msgspec

from gateway.cli.people import KNOWN_ROLES
from gateway.policy.bundle import load_bundle
from gateway.policy.case_files import CASE_KEYS, parse_cases
from gateway.policy.cases import Expectation, run_cases
from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.facts import Facts
from gateway.policy.folder import read_folder
from gateway.policy.holder import PolicyHolder
from gateway.policy.remedy import STEPS
from gateway.policy.schema import known_attributes
from tests.support.policy import STARTER, bundle, policy

README = (STARTER / "README.md").read_text("utf-8")
CASES = parse_cases(read_folder(STARTER).cases, str(STARTER))


def test_they_load_and_their_cases_hold() -> None:
    holder = PolicyHolder.open(STARTER)
    assert len(holder.current.policies) >= 30
    report = run_cases(holder.current, CASES)
    assert (report.failures, report.uncovered) == ((), ())
    assert report.passed == len(CASES) >= 200


def test_every_enforced_policy_is_shown_to_matter() -> None:
    """Without any one of them, some case fails: none is dead, none is untested."""
    made = load_bundle(STARTER)
    for left_out in made.policies:
        rest = Bundle(version="x", policies=[one for one in made.policies if one is not left_out])
        assert _noticed(rest, left_out), f"no case notices that {left_out.id} is missing"


def test_every_condition_is_shown_to_matter() -> None:
    made, unneeded = load_bundle(STARTER), []
    for one in made.policies:
        clauses = _conditions(one.cedar.split("{", 1)[1].rsplit("}", 1)[0])
        for index, clause in enumerate(clauses):
            if " has " in clause or "evidence_strength" in clause or "registered" in clause:
                continue  # `has` alone can't be left out; a registered, compliant device always shows some evidence
            weaker = " && ".join(text for position, text in enumerate(clauses) if position != index) or "true"
            cedar = f"{one.cedar.split('{', 1)[0]} {{ {weaker} }} ;"
            changed = [other if other is not one else msgspec.structs.replace(one, cedar=cedar) for other in made.policies]
            if not _noticed(Bundle(version="x", policies=changed), one):
                unneeded.append(f"{one.id}: {clause.strip()}")
    assert unneeded == []


def _conditions(text: str) -> list[str]:
    """What stands between the outermost `&&`."""
    parts, depth = [""], 0
    for word in text.split():
        depth += word.count("(") - word.count(")")
        if word == "&&" and depth == 0:
            parts.append("")
        else:
            parts[-1] += f" {word}"
    return parts


def _noticed(changed: Bundle, policy_: Policy) -> bool:
    """Whether some case fails; those about what this policy is about are asked first."""
    about = {case.facts.target.app for case in CASES if policy_.id in case.expect.policies}
    return any(run_cases(changed, [case]).failures for case in sorted(CASES, key=lambda case: case.facts.target.app not in about))


def test_every_remedy_is_offered_by_a_case() -> None:
    offered = Counter(itertools.chain.from_iterable(case.expect.remedy or () for case in CASES))
    assert set(offered) == set(STEPS)


def test_both_answers_and_an_error_are_shown() -> None:
    outcomes = Counter(case.expect.outcome for case in CASES)
    assert min(outcomes["allow"], outcomes["deny"]) >= 60
    assert any(case.expect.errors for case in CASES)


def test_the_report_only_policies_are_the_only_ones() -> None:
    watched = ["personal-device-outside", "prescribe-bound-only"]
    assert [one.id for one in load_bundle(STARTER).policies if one.report_only and not one.template] == watched


def test_nothing_is_leased() -> None:
    """Every request is decided by the gateway itself until somebody asks for less."""
    assert {one.lease_seconds for one in load_bundle(STARTER).policies} == {0}


def test_the_readme_lists_everything_that_policies_can_read_with_an_example_that_is_one() -> None:
    table = README.split("## What policies can read")[1].split("## ")[0]
    rows = re.findall(r"^\| `([^`]+)` .*\| `([^`]+)` \|$", table, re.MULTILINE)
    listed = {what for what, _ in rows}
    parts = {name for path in known_attributes() if len(path) == 2 for name in path[1:]}
    attributes = {".".join((*path, name)) for path, names in known_attributes().items() for name in names if name not in parts}
    assert {what for what in listed if "." in what and " in " not in what} == attributes
    assert len(rows) == len(attributes) + 6, "and principal, role, organisation, action, resource, app"
    for what, example in rows:
        assert what.split(" in ")[0] in example
        bundle(policy(when=example, scope="principal, action, resource"))


def test_the_readme_lists_every_key_of_a_case_and_no_other() -> None:
    table = README.rpartition("| Key | |")[2].split("\n\n")[0]
    listed = [key for keys in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for key in re.findall(r"`([\w.]+)`", keys)]
    expected = {f"expect.{name}" for name in Expectation.__struct_fields__}
    assert sorted(listed) == sorted((set(CASE_KEYS) - {"expect"}) | expected)
    (parts,) = re.findall(r"^\| `facts` \| (.*) \|$", table, re.MULTILINE)
    assert set(Facts.__struct_fields__) - {"target"} <= set(re.findall(r"`(\w+)`", parts))
    (steps,) = re.findall(r"^\| `expect.remedy` \| .* Words: (.*)\. \|$", table, re.MULTILINE)
    assert re.findall(r"`(\w+)`", steps) == list(STEPS)


def test_policies_in_the_readme_are_those_in_force() -> None:
    shown = re.findall(r"```cedar\n(.*?)```", README, re.DOTALL)
    whole = [text for text in shown if text.startswith("@id") and "@lease" not in text and "?" not in text]
    assert len(whole) == 2
    for text in whole:
        (one,) = bundle(text).policies
        made = load_bundle(STARTER).policy(one.id)
        assert made is not None
        assert (one.title_ja, one.title_en, one.effect, one.report_only) == (
            made.title_ja,
            made.title_en,
            made.effect,
            made.report_only,
        )


def test_conditions_in_the_readme_are_conditions() -> None:
    conditions = [text for text in re.findall(r"```cedar\n(.*?)```", README, re.DOTALL) if text.startswith(("context", "//"))]
    assert len(conditions) == 3
    for text in conditions:
        for part in re.split(r"^//.*$", text, flags=re.MULTILINE):
            if part.strip():
                bundle(policy(when=part, scope="principal, action, resource"))


def test_the_readme_names_each_starter_policy_where_it_stands() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+\.cedar)` \| (.*) \|$", README, re.MULTILINE))
    listed = {(file, name) for file, names in rows.items() for name in re.findall(r"`([\w-]+)`", names)}
    made = load_bundle(STARTER).policies
    assert listed == {(one.file.rpartition("/")[2], one.id) for one in made if not one.template}


def test_every_role_and_application_is_known_everywhere_and_shown_from_both_sides() -> None:
    made = "\n".join(one.cedar for one in load_bundle(STARTER).policies)
    roles = set(re.findall(r'Role :: "(\w+)"', made))
    assert roles == set(KNOWN_ROLES) == set(re.findall(r"^\| `(\w+)` \|", README.rpartition("| Role |")[2], re.MULTILINE))
    assert {language: roles - set(texts) for language, texts in _role_words().items()} == {"ja": set(), "en": set()}
    apps = set(re.findall(r'App :: "([\w-]+)"', made))
    assert apps == {"ehr", "imaging", "orders", "online-consultation", "cloud-ehr", "console"}
    for outcome in ("allow", "deny"):
        shown = [case.facts for case in CASES if case.expect.outcome == outcome]
        assert {facts.target.app for facts in shown} == apps
        assert {role for facts in shown for role in facts.principal.roles} >= roles


def test_every_fact_is_asked_for_by_some_case() -> None:
    """Situations, attributes with their ages, the calendar and grants stand in cases with more than one value."""
    for part, name in (
        ("device", "disk_encrypted"), ("device", "disk_encrypted_age_seconds"), ("device", "os_supported_age_seconds"),
        ("device", "screen_lock"), ("device", "ownership"), ("device", "evidence"), ("time", "holiday"), ("time", "shifts"),
        ("time", "weekday"), ("network", "zone"), ("proofing", "authenticator_bound"),
    ):  # fmt: skip
        assert len({getattr(getattr(case.facts, part), name) for case in CASES}) > 1, (part, name)
    assert {case.facts.situation for case in CASES} == {"normal", "emergency", "break_glass"}
    assert len({case.facts.grants for case in CASES}) > 2


def _role_words() -> dict[str, list[str]]:
    """The roles that every page has a word for."""
    places = (("present", "portal.role"), ("kernel/web", "role"), ("audit", "roles"))
    known: dict[str, list[str]] = {}
    for language in ("ja", "en"):
        tables = []
        for folder, path in places:
            table = tomllib.loads((STARTER.parent / "gateway" / folder / "text" / f"{language}.toml").read_text("utf-8"))
            for key in path.split("."):
                table = table[key]
            tables.append(set(table))
        known[language] = sorted(set.intersection(*tables))
    return known

"""What differs between two bundles, in words that an officer reads."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.kernel.i18n import LANGUAGES
from gateway.policy.bundle import load_bundle
from gateway.policy.case_files import parse_cases
from gateway.policy.difference import Difference, PolicyChange, difference
from gateway.policy.difference_text import difference_lines
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.folder import read_folder
from tests.support.policy import STARTER, all_facts, bundle, policy

BUNDLE = load_bundle(STARTER)
TOUCH = "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds < {n}"


def only(found: Difference) -> PolicyChange:
    (change,) = found.policies
    return change


def compared(before: str, after: str, **changes: str) -> PolicyChange:
    return only(difference(bundle(policy(when=before)), bundle(policy(when=after, **changes))))


def test_nothing_differs() -> None:
    found = difference(BUNDLE, load_bundle(STARTER))
    assert found.empty
    assert difference_lines(found, "en") == ["Nothing differs in what is decided."]


def test_layout_and_comments_are_no_difference() -> None:
    found = difference(
        bundle(policy(when="context.network.tls && (context.device.registered)")),
        bundle("// why\n" + policy(when="context.network.tls\n  && context.device.registered")),
    )
    assert found.empty
    assert found.before != found.after
    assert difference_lines(found, "ja") == ["違いはコメント・順序・書式だけです。"]


def test_a_changed_limit() -> None:
    change = compared(TOUCH.format(n=300), TOUCH.format(n=600))
    (condition,) = change.conditions
    assert (condition.kind, condition.reach) == ("changed", "wider")
    assert condition.before is not None
    assert condition.after is not None
    assert condition.before.en == "the security key was touched less than 5 min ago"
    assert condition.after.ja == "セキュリティキーに触れてから10分未満である"
    lines = "\n".join(difference_lines(difference(bundle(policy(when=TOUCH.format(n=300))), bundle(policy())), "en"))
    assert "Condition gone (lets more in):" in lines


@pytest.mark.parametrize(
    ("before", "after", "reach"),
    [
        ("context.proofing.level >= 2", "context.proofing.level >= 3", "narrower"),
        ("context.proofing.level >= 3", "context.proofing.level >= 2", "wider"),
        ('context.network.zone == "a"', 'context.network.zone == "a" || context.network.zone == "b"', "wider"),
        ('context.network.zone != "a"', 'context.network.zone != "b"', ""),
        ('principal in [Role::"nurse", Role::"clerk"]', 'principal in Role::"nurse"', "narrower"),
        ('principal in Role::"nurse"', 'principal in Role::"clerk"', ""),
        ("context.proofing.level >= 2", "context.proofing.level < 2", ""),
        ("context.device.registered", "!context.device.registered", ""),
    ],
)
def test_what_follows_from_a_changed_condition(before: str, after: str, reach: str) -> None:
    (condition,) = compared(before, after).conditions
    assert (condition.kind, condition.reach) == ("changed", reach)


def test_effect_mode_titles_and_more() -> None:
    change = only(
        difference(
            bundle(policy(), policy("other")),
            bundle(
                policy("other"),
                policy(effect="forbid", more='@mode("report-only")\n@guideline("7.0/ops/14-5")\n').replace("Title", "Name"),
            ),
        )
    )
    said = [one.en for one in change.statements]
    assert said == [
        "it forbids now; before, it permitted",
        "it is only recorded now; before, it was enforced",
        "its title was “Title”, and is “Name”",
        "its guideline clauses were (none), and are 7.0/ops/14-5",
    ]
    assert change.outline.en == "would forbid (report-only)"


def test_added_and_removed_policies_say_all_their_conditions() -> None:
    found = difference(
        bundle(policy("old", "context.network.tls")),
        bundle(policy("new", "context.device.registered", effect="permit", scope="principal, action, resource")),
    )
    assert [(one.kind, one.id) for one in found.policies] == [("added", "new"), ("removed", "old")]
    assert [one.en for one in found.policies[0].when] == ["the device is registered"]
    assert [one.en for one in found.policies[1].when] == ["the action is read", "the connection is encrypted"]


def test_another_id_for_the_same_policy_is_seen() -> None:
    found = difference(bundle(policy("old")), bundle(policy("new")))
    assert "under another id" in found.policies[0].statements[0].en
    assert "“new”" in found.policies[1].statements[0].en


def test_the_same_in_words_is_said_to_be_written_differently() -> None:
    guarded = compared("context.time.hour < 12 && " + TOUCH.format(n=300), TOUCH.format(n=300) + " && context.time.hour < 12")
    assert [one.en for one in guarded.statements] == ["it is written differently; its conditions are the same in words"]
    assert guarded.conditions == ()


def test_what_has_no_words_stands_as_cedar_text() -> None:
    change = compared("context.proofing.level + 1 > 2", "context.proofing.level + 1 > 3")
    (condition,) = change.conditions
    assert condition.before is not None
    assert condition.before.cedar
    assert condition.before.en == "“context.proofing.level + 1 > 2”"


def _changed_copy(folder: Path, change: Callable[[str], str], name: str) -> Path:
    copy = folder / "copy"
    shutil.copytree(STARTER, copy)
    file = copy / name
    file.write_text(change(file.read_text("utf-8")), "utf-8")
    return copy


def test_cases_and_links(tmp_path: Path) -> None:
    copy = _changed_copy(
        tmp_path,
        lambda text: text.replace('name = "a physician reads a chart"', 'name = "a physician opens a chart"', 1),
        "cases/ehr.toml",
    )
    links = copy / "links.toml"
    text = links.read_text("utf-8")
    links.write_text(text.replace("2026-12-01", "2026-12-03"), "utf-8")
    assert links.read_text("utf-8") != text
    old, new = read_folder(STARTER), read_folder(copy)
    found = difference(BUNDLE, load_bundle(copy), (parse_cases(old.cases, old.folder), parse_cases(new.cases, new.folder)))
    assert sorted((one.kind, one.name) for one in found.cases) == [
        ("added", "a physician opens a chart"),
        ("removed", "a physician reads a chart"),
    ]
    assert found.policies
    assert all(any("2026-12-03" in said.en for said in one.statements) for one in found.policies)
    for language in LANGUAGES:
        assert all(line == "" or line.isprintable() for line in difference_lines(found, language))


_LIMITS = ("context.proofing.level", "context.authentication.factors", "context.time.hour", "context.device.evidence_strength")
_conditions = st.tuples(st.sampled_from(_LIMITS), st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 4)).map(
    lambda part: f"{part[0]} {part[1]} {part[2]}"
)
_zones = st.lists(st.sampled_from(['"ward"', '"other"', '"lab"']), min_size=1, max_size=3, unique=True).map(", ".join)
_sets = st.tuples(st.sampled_from(["", "!"]), _zones).map(lambda part: f"{part[0]}[{part[1]}].contains(context.network.zone)")


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.tuples(_conditions, _conditions), st.tuples(_sets, _sets)), st.lists(all_facts(), min_size=5, max_size=5))
def test_wider_and_narrower_are_true(conditions: tuple[str, str], several: list[Facts]) -> None:
    scope = "principal, action, resource"

    def made(condition: str) -> Bundle:
        return bundle(policy("ask", condition, scope=scope))

    before, after = (made(one) for one in conditions)
    for change in difference(before, after).policies:
        for condition in change.conditions:
            event(condition.reach or "not told")
            for facts in several:
                if len(change.conditions) == 1 and condition.reach == "wider":
                    assert after.evaluate(facts).allowed >= before.evaluate(facts).allowed
                elif len(change.conditions) == 1 and condition.reach == "narrower":
                    assert after.evaluate(facts).allowed <= before.evaluate(facts).allowed

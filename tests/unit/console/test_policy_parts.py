"""Changes of a policy's text by buttons, line differences, cases that are meant to change, and the steps that an officer sees."""

import itertools
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.changes.bundle_files import files_of_snapshot
from gateway.changes.checking import check_files
from gateway.changes.model import Approval, Checked, Draft, FailedCase, Person, Problem
from gateway.console.policy_expect import expect_now
from gateway.console.policy_lines import changed_files, difference
from gateway.console.policy_said import said
from gateway.console.policy_steps import STEPS, Look, next_of, steps
from gateway.console.policy_text import places, set_mode, set_number, set_titles, take_out
from gateway.policy.folder import read_folder

FILES: Final = files_of_snapshot(read_folder(Path(__file__).parents[3] / "policies"))
PLACES: Final = places(FILES)
POLICIES: Final = sorted(PLACES)
ME: Final = Person(subject="usr_1", login="one")
YOU: Final = Person(subject="usr_2", login="two")


# ------------------------------------------------------------------ text


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_can_be_switched_and_back(policy: str) -> None:
    before = PLACES[policy].report_only
    switched = set_mode(FILES, policy, report_only=not before)
    assert places(switched)[policy].report_only is not before
    assert {name for name in FILES if FILES[name] != switched[name]} == {PLACES[policy].file}
    assert places(set_mode(switched, policy, report_only=before))[policy].source.tokens == PLACES[policy].source.tokens
    assert set_mode(FILES, policy, report_only=before) == FILES


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_can_be_taken_out_alone(policy: str) -> None:
    left = places(take_out(FILES, policy))
    assert {name: place.source.text for name, place in left.items()} == {
        name: place.source.text for name, place in PLACES.items() if name != policy
    }


def test_the_last_policy_of_a_file_takes_it_along() -> None:
    files = {
        "a.cedar": b'// why\n@id("a")\npermit(principal,action,resource);\n',
        "b.cedar": b'@id("b") permit(principal,action,resource);',
    }
    assert set(take_out(files, "a")) == {"b.cedar"}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(POLICIES), st.integers(0, 10**9 - 1), st.data())
def test_a_number_is_replaced_and_nothing_else(policy: str, value: int, data: st.DataObject) -> None:
    numbers = PLACES[policy].numbers
    if not numbers:
        with pytest.raises(LookupError):
            set_number(FILES, policy, 0, value)
        return
    index = data.draw(st.integers(0, len(numbers) - 1))
    after = places(set_number(FILES, policy, index, value))[policy]
    expected = [value if number.index == index else number.value for number in numbers]
    assert [number.value for number in after.numbers] == expected
    assert set_number(set_number(FILES, policy, index, value), policy, index, numbers[index].value) == FILES


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=80))
def test_any_visible_title_survives(title: str) -> None:
    after = set_titles(FILES, "vendor-only-with-grant", {"title_ja": title})
    assert set(places(after)) == set(POLICIES), "quotes and backslashes end no text"
    assert len(places(after)["vendor-only-with-grant"].source.tokens) == len(PLACES["vendor-only-with-grant"].source.tokens)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(LookupError):
        set_mode(FILES, "none", report_only=True)
    with pytest.raises(LookupError):
        take_out(FILES, "none")
    with pytest.raises(LookupError):
        set_number(FILES, POLICIES[0], 10**6, 1)


def test_comments_strings_and_broken_files_mislead_nobody() -> None:
    text = b"""// @id("in-a-comment") @mode("report-only")
@id("real") @title_en("@mode(\\"report-only\\") permit 300 //") permit (principal, action, resource) when { 1 < 2 }; // 5
"""
    files = {"a.cedar": text, "broken.cedar": b'@id("x") permit (', "latin.cedar": b"\xff"}
    assert set(places(files)) == {"real"}
    assert [number.value for number in places(files)["real"].numbers] == [1, 2]
    assert not places(files)["real"].report_only
    assert b"< 7 };" in set_number(files, "real", 1, 7)["a.cedar"]


# ------------------------------------------------------------------ lines


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_lines_lead_from_one_text_to_the_other(old: list[str], new: list[str]) -> None:
    lines = difference("\n".join(old), "\n".join(new))
    for line in lines:
        assert line.before is None or old[line.before - 1] == line.text
        assert line.after is None or new[line.after - 1] == line.text
    gone = {line.before for line in lines if line.kind == "gone"}
    fresh = {line.after for line in lines if line.kind == "new"}
    assert [text for number, text in enumerate(old, 1) if number not in gone] == [
        text for number, text in enumerate(new, 1) if number not in fresh
    ]


def test_files_that_come_go_and_are_too_long() -> None:
    changes = changed_files({"a": b"x\n", "b": b"1\n", "cases/c": b"y" * 9}, {"a": b"x\n", "b": b"2\n", "d": b"z\n"})
    assert [(one.name, one.kind, one.added, one.removed) for one in changes] == [
        ("b", "changed", 1, 1), ("d", "added", 1, 0), ("cases/c", "removed", 0, 1),
    ]  # fmt: skip
    (long,) = changed_files({"a": b""}, {"a": b"x\n" * 10_000})
    assert long.lines == ()


# ------------------------------------------------------------------ cases


def test_a_case_is_made_to_expect_what_is_answered_and_the_others_stay() -> None:
    changed = set_number(FILES, "ehr-prescribe-physician", 0, 120)
    (failed,) = check_files(changed, ())[0].failed
    after, left = expect_now(changed, {(failed.file, failed.name)})
    assert left == 0
    assert check_files(after, ())[0].failed == ()
    assert {name for name in after if after[name] != changed[name]} == {failed.file}
    assert sum(one.added for one in changed_files(changed, after)) == 1
    assert expect_now(changed, {(failed.file, "none"), ("cases/none.toml", failed.name)}) == (changed, 2)
    broken = {**changed, "ehr.cedar": b"permit ("}
    assert expect_now(broken, {(failed.file, failed.name)}) == (broken, 1)


# ------------------------------------------------------------------ steps


def draft(**values: Any) -> Draft:
    base: dict[str, Any] = {
        "id": "chg_1", "title": "t", "why": "w", "author": ME, "editors": (ME,), "base": 1, "files": {}, "content": "c",
        "revision": 1, "state": "open", "created_at": 0, "changed_at": 0,
    }  # fmt: skip
    return Draft(**(base | values))


def look(one: Draft, **values: Any) -> Look:
    good = Checked(version="v", content="c", problems=(), passed=3, failed=())
    base: dict[str, Any] = {
        "draft": one, "checked": good, "in_force": 1, "files_changed": 1, "replayed": False, "officer": True, "who": ME,
    }  # fmt: skip
    return Look(**(base | values))


def test_what_is_next_at_each_point_of_a_life() -> None:
    problem = Problem(file="a", line=1, what="w", todo="t")
    bad = Checked(version="v", content="c", problems=(problem,), passed=0, failed=())
    failing = Checked(
        version="v", content="c", problems=(), passed=0, failed=(FailedCase(file="f", line=1, name="n", differences=()),)
    )
    assert next_of(look(draft(), files_changed=0)) == "change"
    assert next_of(look(draft(), checked=bad)) == "fix"
    assert next_of(look(draft(), checked=failing)) == "cases"
    assert next_of(look(draft())) == "replay"
    assert next_of(look(draft(), replayed=True)) == "submit"
    assert next_of(look(draft(), in_force=2)) == "update"
    assert next_of(look(draft(state="waiting"))) == "wait"
    assert next_of(look(draft(state="waiting"), who=YOU)) == "decide"
    assert next_of(look(draft(state="waiting", editors=(ME, YOU)), who=YOU)) == "wait"
    assert next_of(look(draft(state="waiting"), who=Person(subject="other", login="ONE"))) == "wait", (
        "a second account is no second person"
    )
    assert next_of(look(draft(state="approved"))) == "publish"
    assert next_of(look(draft(state="approved"), in_force=2)) == "update"
    assert next_of(look(draft(state="published"), in_force=2)) == "published"
    assert next_of(look(draft(), officer=False)) == "look"


def test_a_warning_keeps_nothing_back_and_a_declined_draft_says_why() -> None:
    problem = Problem(file="a", line=1, what="w", todo="t", severity="warning")
    warned = Checked(version="v", content="c", problems=(problem,), passed=1, failed=())
    assert next_of(look(draft(), checked=warned, replayed=True)) == "submit"
    no = Approval(by=YOU, at=1, content="c", verdict="declined", note="why not")
    assert look(draft(approvals=(no,))).declined == no
    yes = msgspec.structs.replace(no, verdict="approved")
    assert look(draft(approvals=(no, yes))).declined is None


def test_every_combination_has_all_steps_in_order() -> None:
    for state, changed, number, replayed in itertools.product(
        ("open", "waiting", "approved", "published", "withdrawn"), (0, 1), (1, 2), (False, True)
    ):
        found = steps(look(draft(state=state), files_changed=changed, in_force=number, replayed=replayed))
        assert tuple(step.name for step in found) == STEPS
        assert sum(step.state == "now" for step in found) <= 2
        if state == "published":
            assert [step.state for step in found if step.name in {"second", "publish"}] == ["done", "done"]


# ------------------------------------------------------------------ what the check says, in Japanese


@pytest.mark.parametrize(
    "text",
    [
        b"permit (",
        b"permit (principal, action, resource) };",
        b'@id("a',
        "@id（".encode(),
        b"// nothing",
        "// \u202e".encode(),
        b'@id("a") permit (principal, action, resource) when { context.nothing };',
        b'@idd("a") @title_ja("x") permit (principal in Role::"nurse", action, resource);',
        FILES["guards.cedar"],
    ],
)
def test_what_the_check_says_of_usual_mistakes_is_japanese(text: bytes) -> None:
    problems = check_files({**FILES, "new.cedar": text}, ())[0].problems
    mine = [problem for problem in problems if problem.file == "new.cedar" and problem.severity == "error"]
    assert mine
    for problem in mine:
        for sentence in (problem.what, problem.todo):
            assert re.search("[\u3040-\u30ff\u4e00-\u9fff]", said(sentence, "ja")), sentence
            assert said(sentence, "en") == sentence
    assert said("something new {0}", "ja") == "something new {0}"

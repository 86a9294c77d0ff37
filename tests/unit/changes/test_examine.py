"""What is looked at here and in another process is the same, and a process that dies harms nobody."""

import sys

import pytest

from gateway.changes import examine as module
from gateway.changes.examine import Question, examine, examine_apart, is_large
from gateway.console.routes import ROUTES
from tests.support.changes import CONSOLE, OFFICERS, READ, files
from tests.support.policy import policy

NO_OFFICERS = policy("f", 'principal in Role::"security_officer"', effect="forbid", scope="principal, action, resource")


def question(read: str = READ) -> Question:
    return Question(files=files(read), routes=ROUTES, officers=OFFICERS)


@pytest.mark.parametrize("read", [READ, "permit(;", READ + NO_OFFICERS, READ.replace("registered", "registred")])
def test_apart_as_here(read: str) -> None:
    asked = question(read)
    assert examine_apart(asked) == examine(asked)


def test_places_and_texts_are_of_the_draft_and_not_of_a_folder() -> None:
    found = examine(question(READ + "\n" + CONSOLE)).checked
    [twice] = [problem for problem in found.problems if "used twice" in problem.what]
    assert (twice.file, twice.line) == ("console.cedar", 1)
    assert "first at a.cedar:7" in twice.what


def test_a_lockout_is_one_of_the_problems_and_says_who_and_what() -> None:
    found = examine(question(READ + NO_OFFICERS))
    assert found.locked is not None
    assert found.locked.left == 0
    assert found.locked.out[0].startswith("s.yamamoto (console.")
    assert found.checked.problems[0].what == found.locked.what
    assert not found.checked.good


def test_a_process_that_dies_is_a_problem_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = examine_apart(question())
    assert found.locked is None
    assert not found.checked.good
    assert [problem.what for problem in found.checked.problems] == ["checking it ended with status 1 and no answer"]
    assert found.checked.content == examine(question()).checked.content


def test_a_hospitals_bundle_is_large_and_that_of_a_test_is_not() -> None:
    assert not is_large(files())
    assert is_large({"a.cedar": b"x" * (module.LARGE_BYTES + 1)})

"""Cases: what the policies are meant to answer, and the judge that compares. Pure. `case_files` reads them."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.remedy import Outcomes, Step, find_remedy


class Expectation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a case expects. A deny must say its remedy (`[]`: none); an allow has none."""

    outcome: Literal["allow", "deny"]
    policies: tuple[str, ...]
    """Exactly the determining policies, in any order."""
    remedy: tuple[Step, ...] | None = None
    errors: tuple[str, ...] = ()
    """Ids of the policies that can't be evaluated (`request` for the facts themselves)."""
    report_only: tuple[str, ...] | None = None
    """The report-only policies that would have determined it; not compared when left out."""
    lease_seconds: int | None = None
    """How long a front may reuse the allow (0: not at all); not compared when left out."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One question and the expected answer."""

    name: str
    file: str
    line: int
    facts: Facts
    outcomes: Outcomes
    expect: Expectation


class Difference(msgspec.Struct, frozen=True):
    """One thing that is not as a case expects."""

    what: str
    expected: str
    got: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A case that does not hold."""

    case: Case
    differences: tuple[Difference, ...]


class CaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of running all cases."""

    passed: int
    failures: tuple[Failure, ...]
    uncovered: tuple[str, ...]
    """Policies that determined no case's answer (nor would have, for report-only ones)."""


def run_cases(bundle: Bundle, cases: Sequence[Case], on_progress: Callable[[int], None] | None = None) -> CaseReport:
    """Ask every case and compare. `on_progress` is told how many are done after each."""
    failures: list[Failure] = []
    used: set[str] = set()
    for done, case in enumerate(cases, 1):
        differences, determining = _judge(bundle, case)
        used |= determining
        if differences:
            failures.append(Failure(case=case, differences=differences))
        if on_progress is not None:
            on_progress(done)
    uncovered = tuple(policy.id for policy in bundle.policies if policy.id not in used)
    return CaseReport(passed=len(cases) - len(failures), failures=tuple(failures), uncovered=uncovered)


def _judge(bundle: Bundle, case: Case) -> tuple[tuple[Difference, ...], set[str]]:
    answer = bundle.evaluate(case.facts)
    expect = case.expect
    compared: list[tuple[str, Sequence[str], Sequence[str]]] = [
        ("outcome", [expect.outcome], ["allow" if answer.allowed else "deny"]),
        ("policies", sorted(expect.policies), answer.policies),
        ("errors", sorted(expect.errors), sorted({error.partition(":")[0] for error in answer.errors})),
        ("remedy", expect.remedy or (), find_remedy(bundle, case.facts, case.outcomes)),
    ]
    report = answer.report_only.policies if answer.report_only else ()
    if expect.report_only is not None:
        compared.append(("report_only", sorted(expect.report_only), report))
    if expect.lease_seconds is not None:
        compared.append(("lease_seconds", [str(expect.lease_seconds)], [str(answer.lease_seconds)]))
    differences = tuple(
        Difference(what, ", ".join(expected) or "(none)", ", ".join(got) or "(none)")
        for what, expected, got in compared
        if list(expected) != list(got)
    )
    return differences, {*answer.policies, *report}

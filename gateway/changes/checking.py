"""The one place that says what is wrong with a bundle's files: for the console's editor, the command line, and before a change is
submitted or published. Pure; seconds for large bundles.
"""

from collections.abc import Sequence

import msgspec

from gateway.changes.bundle_files import FOLDER, content_of, snapshot_of
from gateway.changes.model import Checked, FailedCase, Files, Problem
from gateway.domain.route import Route
from gateway.kernel.errors import BundleError
from gateway.policy.analysis import report
from gateway.policy.case_files import parse_cases
from gateway.policy.cases import CaseReport, Failure, run_cases
from gateway.policy.compile import compile_bundle, version_of
from gateway.policy.evaluate import Bundle
from gateway.policy.known import NOTHING, Known, KnownRoute
from gateway.policy.problems import problems_of


def check_files(
    files: Files, routes: Sequence[Route], known: Known = NOTHING, *, analysed: bool = True
) -> tuple[Checked, Bundle | None]:
    """Compile the files, analyse them and run their cases; return all that is to be said of them, and the bundle if it compiles.

    `routes` are those of all applications, the console's included; `known` has the other names of the configuration. Never
    raises, whatever the files hold. Whether the officers could still change things is said by `gateway.changes.lockout`. Not
    `analysed`: only what a gateway would not load is a problem (decision 22), as when going back to what was in force before.
    """
    snapshot = snapshot_of(files)
    problems: list[Problem] = []
    bundle: Bundle | None = None
    ran = CaseReport(passed=0, failures=(), uncovered=())
    try:
        bundle = compile_bundle(snapshot.policies, FOLDER)
    except BundleError as error:
        problems += (problem_of(one) for one in problems_of(error))
    except Exception as error:  # noqa: BLE001  whatever a file brings up is said of it, and it is not used
        problems.append(_broke(error))
    undecided: tuple[str, ...] = ()
    if bundle is not None and analysed:
        found, undecided = _analysed(bundle, routes, known)
        problems += found
    try:
        cases = parse_cases(snapshot.cases, FOLDER)
        if bundle is not None:
            ran = run_cases(bundle, cases)
    except BundleError as error:
        problems += (problem_of(one) for one in problems_of(error))
    except Exception as error:  # noqa: BLE001  as above
        problems.append(_broke(error))
    checked = Checked(
        version=version_of(snapshot.policies),
        content=content_of(files),
        problems=tuple(sorted(problems, key=lambda problem: (problem.file, problem.line))),
        passed=ran.passed,
        failed=tuple(_failed(failure) for failure in ran.failures),
        uncovered=ran.uncovered,
        undecided=undecided,
    )
    return checked, bundle


def _analysed(bundle: Bundle, routes: Sequence[Route], known: Known) -> tuple[list[Problem], tuple[str, ...]]:
    """What the analysis says, and of which policies it can't tell."""
    if routes:
        named = (KnownRoute(id=one.id, app=one.app, action=one.action, sensitivity=one.sensitivity) for one in routes)
        known = msgspec.structs.replace(known, routes=tuple(named))
    try:
        found = report(bundle, known)
    except Exception as error:  # noqa: BLE001  as for compiling: a check that breaks is a problem, never a pass
        return [_broke(error)], ()
    problems = [
        Problem(
            file=_place(f"{one.file}:{one.line}")[0], line=one.line, what=_bare(one.what), todo=one.todo, severity=one.severity
        )
        for one in found.findings
    ]
    return problems, (*found.undecided, *found.undecided_routes)


def problem_of(error: BundleError) -> Problem:
    """Return an error of a bundle that comes from no folder as a problem with its place."""
    file, line = _place(error.where)
    return Problem(file=file, line=line, what=_bare(error.what), todo=_bare(error.todo))


def _place(where: str) -> tuple[str, int]:
    file, colon, number = where.rpartition(":")
    if not colon or not number.isascii() or not number.isdecimal():
        file, number = where, "0"
    return ("" if file == FOLDER else file.removeprefix(f"{FOLDER}/")), int(number)


def _bare(text: str) -> str:
    """Texts that name another place name it with the folder, which there is none of."""
    return text.replace(f" {FOLDER}/", " ")


def _broke(error: Exception) -> Problem:
    return Problem(
        file="", line=0, what=f"checking it broke: {type(error).__name__}", todo="Undo the last change, and report this"
    )


def _failed(failure: Failure) -> FailedCase:
    file, _ = _place(failure.case.file)
    return FailedCase(
        file=file,
        line=failure.case.line,
        name=failure.case.name,
        differences=tuple((one.what, one.expected, one.got) for one in failure.differences),
    )

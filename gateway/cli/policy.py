"""`gateway policy check` and `gateway policy test`."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli import COMMANDS, OK, UNUSABLE, Parser, policy_diff, policy_explain, policy_publish, policy_replay
from gateway.kernel.errors import BundleError
from gateway.policy.analysis import by_severity, report
from gateway.policy.bundle import load_bundle
from gateway.policy.case_files import parse_cases
from gateway.policy.cases import Failure, run_cases
from gateway.policy.compile import compile_bundle, problems_of
from gateway.policy.evaluate import Bundle
from gateway.policy.folder import read_folder
from gateway.policy.known import NOTHING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

NO: Final = 1
"""The policies can't be used (check), or a case does not hold (test)."""

_DEFAULT: Final = Path("policies")
_CHECK = """\
Reads the policies in DIR as the gateway would, and says what is wrong with them, one problem a line: file, line, what, what
to do. Warnings are marked: a policy that never matches, one that another makes superfluous, a route that no policy opens; they
are said only where it is proved. Policies after which fewer than two officers could still edit, approve and publish are refused:
with the zones, hours and officers of --config; without it in any zone and shift that the policies name. Cases are not run.
Exit status: 0 good (warnings or not), 1 not.
"""
_CHECK_EXAMPLES = """\
examples:
  gateway policy check                           the policies in ./policies
  gateway policy check /etc/gateway/policies --config /etc/gateway/gateway.toml
                                                 also whether routes, zones and shifts exist, and every route can be opened
"""
_TEST = """\
Asks the policies in DIR every case in DIR/cases, and shows where the answer is not the expected one. No case at all is a
failure. Exit status: 0 all pass, 1 some do not, 2 the policies or cases can't be read.
"""
_TEST_EXAMPLES = """\
examples:
  gateway policy test                            the policies in ./policies
  gateway policy test /etc/gateway/policies
"""


def add_parser(commands: "Commands") -> None:
    """Add `policy` with its two commands."""
    parser = commands.add_parser(
        "policy", help=COMMANDS["policy"][1], description="Check, test, replay, explain, compare, publish and roll back policies."
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="policy_command")
    check = inner.add_parser("check", help="say whether policies can be used", description=_CHECK, epilog=_CHECK_EXAMPLES)
    test = inner.add_parser("test", help="run the cases of policies", description=_TEST, epilog=_TEST_EXAMPLES)
    for command in (check, test):
        command.add_argument(
            "dir", type=Path, metavar="DIR", nargs="?", default=_DEFAULT, help="folder of the policies (policies)"
        )
    check.add_argument("--config", type=Path, metavar="FILE", help="the configuration whose names and routes are to be known")
    check.add_argument("--strict", action="store_true", help="warnings are problems, too")
    parser.set_defaults(run=run)
    policy_replay.add(inner)
    policy_explain.add_parser(inner)
    policy_diff.add_parser(inner)
    policy_publish.add_parser(inner)


def run(args: argparse.Namespace) -> int:
    """Run the command that was chosen and return its exit status."""
    return _test(args.dir) if args.policy_command == "test" else _check(args.dir, args.config, strict=args.strict)


def _complain(error: BundleError) -> None:
    for problem in problems_of(error):
        print(problem, file=sys.stderr)


def _summary(bundle: Bundle) -> str:
    marked = sum(policy.report_only for policy in bundle.policies)
    enforced = len(bundle.policies) - marked
    return f"{enforced} {_plural(enforced, 'policy', 'policies')} enforced, {marked} report-only, version {bundle.version[:12]}"


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _check(folder: Path, config: Path | None, *, strict: bool) -> int:
    # Loads the servers' modules, which running cases doesn't need.
    from gateway.app.lockout import judge_alone, judge_with
    from gateway.app.policies import known_of
    from gateway.changes.lockout import TODO
    from gateway.config import load_config
    from gateway.kernel.clock import SystemClock

    settings = load_config(config, os.environ) if config is not None else None
    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        _complain(error)
        return NO
    found = report(bundle, known_of(settings) if settings is not None else NOTHING)
    judged = asyncio.run(judge_with(bundle, settings, SystemClock())) if settings is not None else judge_alone(bundle)
    for finding in found.findings:
        place = f"{finding.file}:{finding.line}" if finding.file else str(folder)
        mark = "" if finding.severity == "error" else "warning: "
        print(f"{place}: {mark}{finding.what}. {finding.todo}", file=sys.stderr)
    counts = dict(by_severity(found.findings))
    if judged.locked is not None:
        counts["error"] += 1
        print(f"{folder}: {judged.locked.what}. {TODO}", file=sys.stderr)
    if judged.note:
        print(f"note: {judged.note}")
    undecided = (*found.undecided, *found.undecided_routes)
    if undecided:
        print(f"note: whether these ever match, or are superfluous, is not known: {', '.join(undecided)}")
    said = [f"{count} {_plural(count, word, f'{word}s')}" for word, count in counts.items() if count]
    good = not counts["error"] and not (strict and counts["warning"])
    print(f"{folder} is {'good' if good else 'not good'}: {', '.join([_summary(bundle), *said])}")
    return OK if good else NO


def _test(folder: Path) -> int:
    started = time.monotonic()
    try:
        snapshot = read_folder(folder)
        bundle = compile_bundle(snapshot.policies, snapshot.folder)
        cases = parse_cases(snapshot.cases, snapshot.folder)
    except BundleError as error:
        _complain(error)
        return UNUSABLE
    report = run_cases(bundle, cases, _progress(len(cases), started))
    for failure in report.failures:
        print(_describe(failure))
    for policy_id in report.uncovered:
        print(f"note: no case shows {policy_id} deciding")
    print(f"{folder}: {_summary(bundle)}, {time.monotonic() - started:.1f} s")
    print(f"{report.passed} passed, {len(report.failures)} failed")
    return NO if report.failures else OK


def _progress(total: int, started: float) -> Callable[[int], None]:
    """Show how far it is, on a terminal, from the first second on."""
    shown = started

    def show(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if sys.stderr.isatty() and (now - shown > 1 or (done == total and shown > started)):
            shown = now
            print(f"\r{done} of {total} cases", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def _describe(failure: Failure) -> str:
    case = failure.case
    lines = [f"FAIL {case.file}:{case.line}: {case.name}"]
    lines += [f"     {one.what + ':':<12} expected {one.expected}; got {one.got}" for one in failure.differences]
    return "\n".join(lines)

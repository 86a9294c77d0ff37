"""`gateway policy replay`: what other policies would have done to the requests that the log holds."""

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from gateway.audit.encoding import safe_json
from gateway.cli import OK, Parser
from gateway.cli.terminal import print_table
from gateway.kernel.errors import GatewayError
from gateway.kernel.web.show import visible

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.replay.report import Line, ReplayReport, Sample

    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

LOSES: Final = 1
"""Somebody loses access."""
DAYS: Final = 7
_ROWS: Final = 20
_SAMPLES: Final = 10
_BAR: Final = 40
_VERSION: Final = re.compile(r"[0-9a-f]{64}")
_DESCRIPTION: Final = """\
Puts every decision that the log holds of the last days to the policies in force and to those in DIR, and says who would lose
access, who would gain it, and when. The whole log is verified first; one that does not verify is refused. Records that lack a
fact which a policy reads are counted apart, never guessed. Changes nothing; runs beside `gateway serve`.

Exit status: 0 nobody would lose access, 1 somebody would, 2 it can't be said (policies, configuration or log can't be used).
"""
_EXAMPLES: Final = """\
examples:
  gateway policy replay new-policies --config /etc/gateway/gateway.toml
  gateway policy replay new-policies --config gateway.toml --days 30 --json > replay.json
  gateway policy replay new-policies --config gateway.toml --against last-week/policies
"""


def add(inner: "Commands") -> None:
    """Add `replay` to the commands of `gateway policy`."""
    parser = inner.add_parser("replay", help="say who would lose or gain access", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder of the policies to try")
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="the gateway's configuration")
    parser.add_argument("--days", type=_days, metavar="N", default=DAYS, help=f"how far back ({DAYS})")
    parser.add_argument(
        "--against",
        metavar="DIR|VERSION",
        help="compare with this folder's policies, or with this version that was once in force",
    )
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser.set_defaults(run=run)


def _days(text: str) -> int:
    from gateway.replay.run import MAX_DAYS

    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days from 1 to {MAX_DAYS}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Replay and print; return the exit status. Raises GatewayError for what can't be used."""
    from gateway.app.replaying import wish_of
    from gateway.changes.bundle_files import files_of_snapshot
    from gateway.config import load_config
    from gateway.policy.folder import read_folder
    from gateway.replay.run import replay

    config = load_config(args.config, os.environ)
    after = files_of_snapshot(read_folder(args.dir))
    before = _against(args.against, config)
    with _Progress() as progress:
        report = replay(wish_of(config, before, after, args.days, time.time()), progress=progress)
    if args.json:
        print(safe_json(msgspec.json.encode(report)).decode())
    else:
        for line in _spoken(report):
            print(line)
        _tables(report)
    return LOSES if report.lost else OK


def _against(given: str | None, config: "Config") -> Mapping[str, bytes]:
    """Return the policies to compare with."""
    from gateway.changes.bundle_files import files_of_snapshot
    from gateway.policy.folder import read_folder

    version = given if given is not None and _VERSION.fullmatch(given) else None
    if given is not None and version is None:
        return files_of_snapshot(read_folder(Path(given)))
    if config.policies.database is not None or config.policies.postgres_url is not None:
        return asyncio.run(_of_desk(config, version))
    if version is not None:
        raise GatewayError(
            "there is no database of policies, so nothing of earlier versions is known",
            where="--against",
            todo="Name a folder, or set [policies] database",
        )
    return files_of_snapshot(read_folder(config.policies.dir))


async def _of_desk(config: "Config", version: str | None) -> Mapping[str, bytes]:
    from gateway.app.policies import Officers, open_desk, open_lasting
    from gateway.changes.bundle_files import files_of_snapshot
    from gateway.changes.model import ChangeRefused
    from gateway.kernel.clock import SystemClock
    from gateway.policy.folder import read_folder

    clock = SystemClock()
    lasting = open_lasting(config)
    if lasting is None:
        raise AssertionError("asked only where there is a database")
    try:
        desk = open_desk(config, lasting, clock, Officers(None, clock))
        if version is not None:
            return await desk.files_of(version)
        if not await desk.history():
            return files_of_snapshot(read_folder(config.policies.dir))
        return (await desk.in_force())[1]
    except ChangeRefused as refused:
        raise GatewayError(str(refused), where="--against") from refused
    finally:
        lasting.close()


def _spoken(report: "ReplayReport") -> Iterator[str]:
    """Yield the report for a person."""
    yield f"{report.requests:,} requests of {report.days} days ({report.since} on), {report.questions:,} different questions"
    yield f"  in force {report.before[:12]}, tried {report.after[:12]}; the log verifies: {report.records:,} records"
    yield ""
    for name, number in (
        ("would LOSE access", report.lost),
        ("would gain access", report.gained),
        ("stay allowed", report.still_allowed),
        ("stay denied", report.still_denied),
        ("lack a fact that a policy reads", report.lacking),
        ("hold facts of a wrong type", report.unreadable),
        ("recorded under the policies in force, and come out otherwise now", report.not_reproduced),
    ):
        yield f"{number:>12,}  {name}"
    for lacking in report.lacks[:_SAMPLES]:
        yield f"{lacking.requests:>16,}  {', '.join(lacking.facts) or 'others'}"
    for name, number in (
        ("older decisions left out", report.older),
        ("decided without facts: sign-in required, refused", report.undecided),
        ("uses of a lease whose decision is elsewhere", report.loose_uses),
        ("decided the other way at the time, by other policies; counted by what those in force say", report.otherwise),
    ):
        if number:
            yield f"{'':12}  {name}: {number:,}"


def _tables(report: "ReplayReport") -> None:
    for title, lines in (("person", report.people), ("role", report.roles), ("route", report.routes)):
        if lines:
            print()
            print_table([(title, "loses", "gains"), *(_row(line) for line in lines[:_ROWS])])
            if len(lines) > _ROWS:
                print(f"and {len(lines) - _ROWS:,} more: --json has them all")
    if report.lost or report.gained:
        print(f"\nby hour ({visible(report.zone, 60)}): # loses, + gains")
        most = max(max(line.lost, line.gained) for line in report.hours)
        for line in report.hours:
            losses, gains = ("#+"[kind] * -(-_BAR * number // most) for kind, number in enumerate((line.lost, line.gained)))
            print(f"{line.key:>2} {line.lost:>9,} {losses}".rstrip())
            if line.gained:
                print(f"   {line.gained:>9,} {gains}")
    for title, samples in (
        ("lose", report.lost_samples),
        ("gain", report.gained_samples),
        ("differ", report.not_reproduced_samples),
    ):
        if samples:
            print(f"\nrecords that {title}, newest first (`gateway policy explain --decision ID`):")
            for sample in samples[:_SAMPLES]:
                print(_sample(sample))


def _row(line: "Line") -> tuple[str, str, str]:
    name = line.key if not line.login else f"{line.name} ({line.login})"
    return visible(name or "others", 60), f"{line.lost:,}", f"{line.gained:,}"


def _sample(sample: "Sample") -> str:
    words = [
        sample.id,
        sample.at,
        sample.login or sample.subject,
        sample.route,
        f"before: {', '.join(sample.before) or 'no policy permits'}",
        f"after: {', '.join(sample.after) or '; '.join(sample.errors) or 'no policy permits'}",
    ]
    if sample.remedy:
        words.append(f"would help: {', '.join(sample.remedy)}")
    return "  " + "  ".join(visible(word, 120) for word in words)


class _Progress:
    """Says on the standard error how far it is, once it has taken a second."""

    def __init__(self) -> None:
        self._person = sys.stderr.isatty()
        self._every = 0.2 if self._person else 5.0
        self._next = time.monotonic() + 1
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every
            percent = min(100, 100 * done // total) if total else 100
            print(f"verifying and replaying: {percent} %", file=sys.stderr, end="\r" if self._person else "\n", flush=True)
            self._shown = True

    def __exit__(self, *_: object) -> None:
        if self._shown and self._person:
            print(" " * 40, file=sys.stderr, end="\r", flush=True)

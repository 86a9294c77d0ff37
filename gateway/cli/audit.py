"""`gateway audit`: verify a log, export it.

Exit codes: 0 the log is whole; 1 it was tampered with (an export is written all the same, and says so); 2 it could not be read.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import msgspec

from gateway.audit.encoding import safe_json, visible
from gateway.audit.export import Export
from gateway.audit.installation import Installation
from gateway.audit.query import Filters, parse_moment, parse_offset
from gateway.audit.verify import Overall, Report
from gateway.cli import COMMANDS, OK, Parser
from gateway.kernel.errors import GatewayError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

TAMPERED: Final = 1
"""The log is not whole."""

_PROGRESS_AFTER: Final = 1.0
_PROGRESS_EVERY: Final = {True: 0.2, False: 5.0}
"""Seconds between two lines of progress, by whether a person watches."""

_VERIFY: Final = """\
Says whether a log is whole, and if not, where: record, file, line, time. Works on a copy, and while the gateway writes: what it
wrote in the last second is not signed yet, and is counted. Where several processes wrote, the folder holds a log of each: all
are verified, and that none is missing. Exit status: 0 whole, 1 tampered with, 2 not readable or no log.
"""
_VERIFY_EXAMPLES: Final = """\
examples:
  gateway audit verify /var/lib/gateway/audit
      with the key that lies in the folder
  gateway audit verify /mnt/copy/audit --public-key audit-key.pem --anchor newest-checkpoint
      what an auditor does: key and anchor come from outside the folder, so that neither a log that was
      signed anew nor one whose end was cut off together with its checkpoints passes for whole
"""
_EXPORT: Final = """\
Writes the log as CSV (opens in Excel) or JSON Lines. Verifies it first; each row says whether it is verified. A decision and
how its request ended are one row. Exit status: 0 exported, 1 exported although the log was tampered with, 2 not exported.
"""
_EXPORT_EXAMPLES: Final = """\
examples:
  gateway audit export /var/lib/gateway/audit --format csv --since 2027-01-01 --until 2027-01-31 --output january.csv
  gateway audit export /var/lib/gateway/audit --format csv --lang en --patient 10023 --output patient.csv
  gateway audit export /var/lib/gateway/audit --format jsonl --person dr.sato --outcome deny | jq .record.path
"""


def add_parser(commands: "Commands") -> None:
    """Add `audit` with its two commands."""
    parser = commands.add_parser("audit", help=COMMANDS["audit"][1], description="Verify and export the log, here or on a copy.")
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="audit_command")
    verify = inner.add_parser(
        "verify", help="say whether a log is whole, and if not, where", description=_VERIFY, epilog=_VERIFY_EXAMPLES
    )
    export = inner.add_parser("export", help="write the log as CSV or JSON Lines", description=_EXPORT, epilog=_EXPORT_EXAMPLES)
    for command in (verify, export):
        command.add_argument("dir", metavar="DIR", type=Path, help="the log's folder")
        command.add_argument("--anchor", metavar="FILE", type=Path, help="the newest checkpoint, kept outside the folder")
        command.add_argument(
            "--public-key", metavar="FILE", type=Path, help="the log's public key (PEM), kept outside the folder"
        )
    verify.add_argument("--json", action="store_true", help="print the whole report as JSON")
    _add_export_options(export)
    parser.set_defaults(run=run)


def _add_export_options(export: argparse.ArgumentParser) -> None:
    outcomes = ("allow", "challenge", "deny", "refuse", "unavailable", "success", "failure")
    export.add_argument("--format", choices=("csv", "jsonl"), required=True)
    export.add_argument("--output", metavar="FILE", type=Path, help="write here (mode 0600) instead of to the standard output")
    export.add_argument("--since", metavar="WHEN", help="from this date or time on: 2027-01-01, 2027-01-01T09:30")
    export.add_argument("--until", metavar="WHEN", help="up to the end of this date, or up to this time")
    export.add_argument(
        "--timezone", metavar="OFFSET", default="+09:00", help="of --since, --until and the CSV: +09:00 (default), Z"
    )
    export.add_argument(
        "--person", metavar="NAME", help="who acted: login, name or subject; or the account that an event is about"
    )
    export.add_argument("--patient", metavar="ID", help="only what concerns this patient")
    export.add_argument("--app", metavar="APP", help="only decisions about this app")
    export.add_argument("--outcome", choices=outcomes, help="only this outcome")
    export.add_argument("--lang", choices=("ja", "en"), default="ja", help="language of the CSV (ja)")


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say; return the exit code. Raises GatewayError for 2, and `gateway.cli.main` says it in one line."""
    command: Callable[[argparse.Namespace], int] = {"verify": _verify, "export": _export}[args.audit_command]
    try:
        return command(args)
    except GatewayError as error:
        if getattr(args, "json", False):
            print(msgspec.json.encode({"verdict": "unreadable", "error": str(error)}).decode())
        raise


def _verify(args: argparse.Namespace) -> int:
    with _Progress("verifying") as progress:
        logs = Installation(args.dir, anchor=args.anchor, public_key=args.public_key)
        overall = logs.verify(progress=progress)
    if args.json:
        print(safe_json(msgspec.json.encode(_as_json(overall))).decode())
    else:
        for line in _spoken(overall, logs.strangers):
            print(visible(line))
    return OK if overall.whole else TAMPERED


def _as_json(overall: Overall) -> dict[str, object]:
    """Return the report: of one log as it is; of several what was found in any, and each one's own by slot."""
    verdict = {"verdict": "whole" if overall.whole else "tampered"}
    logs = {str(slot): msgspec.structs.asdict(report) for slot, report in overall.logs.items()}
    if len(logs) == 1:
        return verdict | logs["1"] | {"findings": overall.findings}
    more = {"records": overall.records, "findings": overall.findings, "more_findings": overall.more_findings}
    return verdict | more | {"logs": logs}


def _spoken(overall: Overall, strangers: list[str]) -> Iterator[str]:
    """Yield the report for a person."""
    reports = overall.logs.values()
    begins, ends = [report.first_at for report in reports if report.first_at], [report.last_at for report in reports]
    segments = sum(report.segments for report in reports)
    extent = f"{overall.records:,} records in {segments:,} segments, {min(begins, default='?')} to {max(ends) or '?'}"
    if len(reports) > 1:
        extent = f"{len(reports)} logs, {extent}"
    if overall.whole:
        yield f"whole: {extent}"
    else:
        yield f"TAMPERED: {len(overall.findings) + overall.more_findings:,} findings in {extent}"
        for finding in overall.findings:
            yield f"  {finding}"
        if overall.more_findings:
            yield f"  and {overall.more_findings:,} more"
    for slot, report in overall.logs.items():
        yield from _details(slot, report, several=len(reports) > 1)
    if not all(report.key_given for report in reports):
        yield "  the key is the folder's own: a log that was signed anew with another key is found only with --public-key"
    if not any(report.anchored for report in reports):
        yield "  no anchor: an end that was cut off together with its checkpoints is found only with --anchor"
    if strangers:
        yield f"  note: not part of the log and not looked at: {', '.join(map(repr, strangers))}"


def _details(slot: int, report: Report, *, several: bool) -> Iterator[str]:
    indent = "  "
    if several:
        indent = "    "
        yield f"  slot {slot}: {report.records:,} records, {report.first_at or '?'} to {report.last_at or '?'}"
    if not report.findings:
        checkpoints = f"newest of {report.checkpoints:,} checkpoints: {report.signed_at}"
        yield f"{indent}signed: {report.signed:,} records; {checkpoints}"
    yield f"{indent}{report.log or 'log unknown'}, key SHA-256 {report.key or 'unknown'}"
    if several and not report.anchored:
        yield f"{indent}compared with no anchor of its own"
    for note in report.notes:
        yield f"{indent}note: {note}"


def _export(args: argparse.Namespace) -> int:
    try:
        zone = parse_offset(args.timezone)
        filters = Filters(
            since=parse_moment(args.since, zone) if args.since is not None else None,
            until=parse_moment(args.until, zone, end=True) if args.until is not None else None,
            person=args.person,
            patient=args.patient,
            app=args.app,
            outcome=args.outcome,
        )
    except ValueError as error:
        raise GatewayError(str(error), todo="See: gateway audit export --help") from error
    with _Progress("verifying") as progress:
        export = Export(args.dir, anchor=args.anchor, public_key=args.public_key, progress=progress)
    with export, _Progress("exporting") as progress:
        if not export.report.whole:
            _warn(export.report)
        if args.format == "csv":
            pieces = export.csv(filters, language=args.lang, zone=zone, progress=progress)
        else:
            pieces = export.jsonl(filters, progress=progress)
        _put(pieces, args.output)
    return OK if export.report.whole else TAMPERED


def _warn(report: Overall) -> None:
    print("WARNING: THE LOG WAS TAMPERED WITH; what is exported proves nothing. Each row says so.", file=sys.stderr)
    for finding in report.findings[:5]:
        print(f"  {visible(str(finding))}", file=sys.stderr)
    print("  Run `gateway audit verify` for the whole report.", file=sys.stderr)


def _put(pieces: Iterator[bytes], output: Path | None) -> None:
    """Write to the standard output, or beside the file, whose place is taken when all is there."""
    try:
        if output is None:
            _write(sys.stdout.buffer, pieces)
            return
        part = output.with_name(f"{output.name}.part")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            _write(file, pieces)
            os.fsync(fd)
        part.replace(output)
    except BrokenPipeError:
        raise  # the reader of a pipe had enough; `gateway.cli.main` knows
    except OSError as error:
        raise GatewayError(
            f"can't be written ({error.strerror or error}); the export is not complete",
            where=str(output or "standard output"),
            todo="Make room, or name another --output",
        ) from error


def _write(file: BinaryIO, pieces: Iterator[bytes]) -> None:
    file.writelines(pieces)
    file.flush()


class _Progress:
    """Says on the standard error how far it is, once something has taken a second."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + _PROGRESS_AFTER
        self._person = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _PROGRESS_EVERY[self._person]
        percent = min(100, 100 * done // total) if total else 100
        print(f"{self._what}: {percent} %", file=sys.stderr, end="\r" if self._person else "\n", flush=True)
        self._shown = True

    def __exit__(self, *_: object) -> None:
        if self._shown and self._person:
            print(" " * 40, file=sys.stderr, end="\r", flush=True)

"""`gateway policy publish`, `rollback` and `history`: the life of a change for teams that keep their policies in git."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import OK
from gateway.cli.terminal import print_table
from gateway.kernel.errors import ConfigError

if TYPE_CHECKING:
    from gateway.changes.desk import Desk
    from gateway.changes.lockout import Officer
    from gateway.changes.model import Checked, Person, Publication
    from gateway.config import Config

REFUSED: Final = 1
MAX_TITLE: Final = 100

_PUBLISH: Final = """\
Makes the policies in DIR a change, as an officer does at the console, with the same checks: it must compile, its cases must hold,
and two officers must be able to go on. Without --approved-by it then waits at the console for a second officer. With it, somebody
else has approved it outside (in a review of the repository, say), and it is in force on every process within about a second.

Run it as the gateway's user. Exit status: 0 done, 1 refused, 2 what was given can't be used.
"""
_PUBLISH_EXAMPLES: Final = """\
examples:
  gateway policy publish policies --config gateway.toml --by sec.abe --why "Vendor visit, ticket 4711"
  gateway policy publish policies --config gateway.toml --by sec.abe --approved-by sec.kato --why "$(git log -1 --format=%s)"
"""
_ROLLBACK: Final = """\
Puts the policies of an earlier publication in force again, at once: `gateway policy history` shows the numbers. One officer may
do that alone, because a second one has approved those policies before.

Run it as the gateway's user. Exit status: 0 done, 1 refused, 2 what was given can't be used.
"""
_ROLLBACK_EXAMPLES: Final = """\
examples:
  gateway policy rollback 12 --config gateway.toml --by sec.abe --why "Ward 3 can't prescribe"
"""
_HISTORY: Final = """\
Shows what was published when, by whom, why and who approved it, the newest first: that one is in force.
"""
_HISTORY_EXAMPLES: Final = """\
examples:
  gateway policy history --config gateway.toml
"""


def add_parser(inner: "argparse._SubParsersAction[Any]") -> None:
    """Add the three commands to `gateway policy`."""
    publish = inner.add_parser(
        "publish", help="propose policies, or put approved ones in force", description=_PUBLISH, epilog=_PUBLISH_EXAMPLES
    )
    publish.add_argument("dir", type=Path, metavar="DIR", help="folder of the policies")
    publish.add_argument("--title", default="", help="in a few words what changes (the first line of the reason)")
    publish.add_argument("--approved-by", metavar="LOGIN", default="", help="the second officer, who has approved it")
    rollback = inner.add_parser(
        "rollback", help="put earlier policies in force again", description=_ROLLBACK, epilog=_ROLLBACK_EXAMPLES
    )
    rollback.add_argument("number", type=int, metavar="NUMBER", help="of the publication")
    history = inner.add_parser("history", help="show what was published", description=_HISTORY, epilog=_HISTORY_EXAMPLES)
    for command in (publish, rollback, history):
        command.add_argument("--config", type=Path, metavar="FILE", required=True, help="configuration of the gateway")
    for command in (publish, rollback):
        command.add_argument("--by", metavar="LOGIN", required=True, help="the officer who does it")
        command.add_argument("--why", metavar="TEXT", required=True, help="the reason, for history and log")
    publish.set_defaults(run=lambda args: _run(args, _publish))
    rollback.set_defaults(run=lambda args: _run(args, _roll_back))
    history.set_defaults(run=lambda args: _run(args, _show))


_Act = Callable[["Desk", "Sequence[Officer] | None", "Config", argparse.Namespace], Awaitable[int]]


def _run(args: argparse.Namespace, act: _Act) -> int:
    """Return the exit status. Raises GatewayError for what was given and can't be used."""
    from gateway.app.desk import open_desk_alone
    from gateway.changes.model import ChangeRefused
    from gateway.config import load_config
    from gateway.kernel.clock import SystemClock

    async def run() -> int:
        config = load_config(args.config, os.environ)
        async with open_desk_alone(config, SystemClock()) as (desk, officers):
            try:
                return await act(desk, officers, config, args)
            except ChangeRefused as error:
                if error.checked is None or not _print_problems(error.checked):
                    print(f"gateway: refused: {error}", file=sys.stderr)
                return REFUSED

    return asyncio.run(run())


async def _publish(desk: "Desk", officers: "Sequence[Officer] | None", config: "Config", args: argparse.Namespace) -> int:
    from gateway.changes.bundle_files import files_of_snapshot
    from gateway.changes.model import ChangeRefused
    from gateway.changes.rules import same_person
    from gateway.policy.folder import read_folder

    who = _person(args.by, officers)
    approver = _person(args.approved_by, officers) if args.approved_by else None
    if approver is not None and same_person(who, approver):
        raise ChangeRefused(
            "own", "who makes a change can't approve it", "Name another security officer, or leave --approved-by out"
        )
    files = files_of_snapshot(read_folder(args.dir))
    checked = await desk.check(files)
    if _print_problems(checked):
        return REFUSED
    title = args.title or args.why.strip().partition("\n")[0][:MAX_TITLE]
    draft = await desk.begin(who, title=title, why=args.why, files=files)
    try:
        await desk.submit(who, draft.id, content=draft.content)
        if approver is None:
            print(f"{draft.id} waits for a second officer at the console; nothing is in force yet")
            return OK
        await desk.approve(approver, draft.id, content=draft.content)
        publication = await desk.publish(who, draft.id, content=draft.content)
    except ChangeRefused:
        await desk.withdraw(who, draft.id)  # what goes no further leaves nothing that waits
        raise
    _print_done(publication)
    return OK


async def _roll_back(desk: "Desk", officers: "Sequence[Officer] | None", config: "Config", args: argparse.Namespace) -> int:
    now, _ = await desk.in_force()
    _print_done(await desk.roll_back(_person(args.by, officers), args.number, why=args.why, expected=now.number))
    return OK


async def _show(desk: "Desk", officers: "Sequence[Officer] | None", config: "Config", args: argparse.Namespace) -> int:
    zone = config.policies.timezone
    rows = [("NUMBER", "AT", "WHAT", "VERSION", "BY", "APPROVED BY", "TITLE", "WHY")]
    rows += (
        (
            str(one.number),
            datetime.fromtimestamp(one.at, zone).strftime("%Y-%m-%d %H:%M"),
            f"back to {one.returns_to}" if one.returns_to else one.kind,
            one.version[:12],
            _name(one.author),
            _name(one.approved_by),
            one.title,
            " ".join(one.why.split()),
        )
        for one in await desk.history()
    )
    print_table(rows)
    return OK


def _person(login: str, officers: "Sequence[Officer] | None") -> "Person":
    """Somebody whom the command line names. ConfigError when the embedded provider knows no such officer."""
    from gateway.changes.model import Person
    from gateway.changes.texts import check_text

    check_text("the login", login, MAX_TITLE)
    if officers is not None and all(officer.login != login for officer in officers):
        known = ", ".join(sorted(officer.login for officer in officers)) or "there is none"
        raise ConfigError(f"{login!a} is no active security officer", todo=f"Name one of: {known}.")
    return Person(subject=f"cli:{login}", login=login)


def _name(person: "Person | None") -> str:
    return "" if person is None else person.login or person.subject


def _print_done(publication: "Publication") -> None:
    what = f"back to {publication.returns_to}" if publication.returns_to else "approved"
    print(f"publication {publication.number} is in force ({what}), version {publication.version[:12]}")


def _print_problems(checked: "Checked") -> bool:
    """Say what is wrong, one problem a line; False when nothing is."""
    for problem in checked.problems:
        place = ":".join(str(part) for part in (problem.file, problem.line) if part)
        mark = "" if problem.severity == "error" else "warning: "
        print(f"{place}: {mark}{problem.what}. {problem.todo}".removeprefix(": "), file=sys.stderr)
    for case in checked.failed:
        what = "; ".join(f"{name} is {got}, expected {expected}" for name, expected, got in case.differences)
        print(f"{case.file}:{case.line}: the case {case.name!r} does not hold: {what}", file=sys.stderr)
    return not checked.good

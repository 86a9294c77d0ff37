"""`gateway proofing`: who is proofed, who is invited, what officers have to look at, and asking the verifier again."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from gateway.cli import COMMANDS, OK, Parser
from gateway.cli.terminal import operator, print_table
from gateway.kernel.errors import GatewayError

if TYPE_CHECKING:
    from gateway.app.proofing import CaseView, PersonStanding, ProofingOffice, Recheck

    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

Act = Callable[["Desk", argparse.Namespace], Awaitable[int]]

NO: Final = 1
FIRST_KEY: Final = "first"
"""What the key without a name is called here."""
_DOCUMENTS: Final = ("ic_chip", "my_number_card", "driving_licence", "passport", "residence_card", "photo_document")
_DESCRIPTION: Final = """\
Identity proofings of the embedded identity provider, on its files: run it as the gateway's user, on its machine.

It works while `gateway serve` runs, which notices a change within a second, writes the event and takes an ended proofing out of
the person's open sessions. --by names the officer who decided it (an account here); the log has who ran the command, too.
"""
_EXAMPLES: Final = {
    "status": """\
  gateway proofing status --config gateway.toml
  gateway proofing status --expiring 60 --config gateway.toml
""",
    "invite": """\
  gateway proofing invite --all --by sec.abe --due 2027-03-31 --config gateway.toml
  gateway proofing invite dr.mori ns.ito --by sec.abe --due 2027-03-31 --batch ward-3 --config gateway.toml
""",
    "batches": "  gateway proofing batches --config gateway.toml\n",
    "recheck": "  gateway proofing recheck --config gateway.toml\n",
    "cases": """\
  gateway proofing cases --config gateway.toml
  gateway proofing cases case_01ARZ3NDEKTSV4RRFFQ69G5FAV --config gateway.toml
""",
    "check": """\
  gateway proofing check dr.mori 123456 --document driving_licence --by sec.abe --config gateway.toml
""",
    "decide": """\
  gateway proofing decide case_01ARZ3NDEKTSV4RRFFQ69G5FAV --approve --by sec.abe --note "old kanji" --config gateway.toml
""",
    "keys": """\
  gateway proofing keys --config gateway.toml
  gateway proofing keys --rotate --config gateway.toml
  gateway proofing keys --drop first --config gateway.toml
""",
    "end": "  gateway proofing end dr.mori --why officer --by sec.abe --config gateway.toml\n",
    "export": "  gateway proofing export dr.mori --config gateway.toml > dr.mori.json\n",
    "delete": "  gateway proofing delete dr.mori --by sec.abe --config gateway.toml\n",
}


class Desk:
    """An open office, and how its dates are written."""

    def __init__(self, office: "ProofingOffice", zone: ZoneInfo) -> None:
        self.office: Final = office
        self._zone: Final = zone

    def day(self, at: int | None) -> str:
        """Write the day of a moment."""
        return f"{datetime.fromtimestamp(at, self._zone):%Y-%m-%d}" if at is not None else ""

    def moment(self, at: int | None) -> str:
        """Write a moment to the minute."""
        return f"{datetime.fromtimestamp(at, self._zone):%Y-%m-%d %H:%M}" if at is not None else ""

    def end_of(self, day: str) -> int:
        """Read a day; return when it is over."""
        try:
            began = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=self._zone)
            return int((began + timedelta(days=1)).timestamp())
        except (ValueError, OverflowError):
            raise GatewayError(f"{day!r} is no date", todo="Write YYYY-MM-DD.") from None

    async def officer(self, name: str) -> tuple[str, str]:
        """Return login and id of whom `--by` means, who must have an active account."""
        user = await self.office.find(name)
        if not user.active:
            raise GatewayError(f"{user.login} is deactivated and decides nothing")
        return user.login, user.id


def add_parser(commands: "Commands") -> None:
    """Add `proofing` with its commands."""
    parser = commands.add_parser("proofing", help=COMMANDS["proofing"][1], description=_DESCRIPTION)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="proofing_command")

    def command(name: str, act: Act, line: str, *, login: bool = False, by: bool = False) -> argparse.ArgumentParser:
        made = inner.add_parser(
            name, help=line, description=f"{line[0].upper()}{line[1:]}.", epilog=f"examples:\n{_EXAMPLES[name]}"
        )
        if login:
            made.add_argument("login", metavar="LOGIN", help="login name or e-mail address")
        if by:
            made.add_argument("--by", metavar="LOGIN", required=True, help="who decided it")
        made.add_argument("--config", type=Path, metavar="FILE", required=True, help="the gateway's configuration")
        made.set_defaults(act=act)
        return made

    status = command("status", _status, "show how everybody stands, or whose proofing ends soon")
    status.add_argument("--expiring", metavar="DAYS", type=int, help="only those whose proofing ends within so many days")
    invite = command("invite", _invite, "ask people to have their identity proofed, until a day", by=True)
    invite.add_argument("logins", metavar="LOGIN", nargs="*", help="login names; people who are proofed are asked to renew")
    invite.add_argument("--all", action="store_true", help="everybody who has no proofing in force")
    invite.add_argument("--due", metavar="YYYY-MM-DD", required=True, help="the last day")
    invite.add_argument(
        "--batch", metavar="NAME", default="", help="add to a batch of before; said twice, nobody is invited twice"
    )
    command("batches", _batches, "show how far the invitations are")
    command("recheck", _recheck, "ask the verifier whether the proofings in force still hold, and wait for the answers")
    cases = command("cases", _cases, "show what waits for officers, or both sides of one case")
    cases.add_argument("case", metavar="CASE", nargs="?", default="")
    check = command("check", _check, "take the first officer's word on a person at the counter", login=True, by=True)
    check.add_argument("code", metavar="CODE", help="the six digits that the person shows")
    check.add_argument("--document", metavar="KIND", choices=_DOCUMENTS, required=True, help=", ".join(_DOCUMENTS))
    decide = command("decide", _decide, "take an officer's word in a case", by=True)
    decide.add_argument("case", metavar="CASE")
    word = decide.add_mutually_exclusive_group(required=True)
    word.add_argument("--approve", action="store_true", help="it is this person")
    word.add_argument("--refuse", action="store_true", help="it is not, or nobody can tell")
    decide.add_argument("--note", metavar="TEXT", default="", help="why, for whoever asks later")
    keys = command("keys", _keys, "show the keys of person digests and what uses them; make a new one, or drop an old one")
    change = keys.add_mutually_exclusive_group()
    change.add_argument(
        "--rotate", action="store_true", help="use a new key from now on; older ones stay as long as they are needed"
    )
    change.add_argument("--drop", metavar="KEY", help=f"forget a key that no living record uses ({FIRST_KEY}: the first one)")
    end = command("end", _end, "end a person's proofing now, in their open sessions too", login=True, by=True)
    end.add_argument("--why", choices=("officer", "revoked", "withdrawn"), default="officer", help="for the record")
    command("export", _export, "print everything that is kept about a person's proofings, as JSON", login=True)
    command("delete", _delete, "delete everything that is kept about a person's proofings", login=True, by=True)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say. Raises GatewayError with what is wrong."""
    # After the arguments were understood, so that what is wrong with them is said at once.
    from gateway.app.proofing import open_office
    from gateway.config import load_config
    from gateway.kernel.clock import SystemClock

    config = load_config(arguments.config, os.environ)

    async def work() -> int:
        async with open_office(config, SystemClock(), through=operator()) as office:
            status: int = await arguments.act(Desk(office, config.policies.timezone), arguments)
            return status

    return asyncio.run(work())


async def _status(desk: Desk, arguments: argparse.Namespace) -> int:
    everybody = await desk.office.standings(expiring_days=arguments.expiring)
    shown = everybody if arguments.expiring is None else await desk.office.expiring(arguments.expiring)
    if shown:
        head = ("login", "name", "proofing", "since", "until", "invited until", "case")
        print_table([head, *(_row(desk, one) for one in shown)])
    active = [one for one in everybody if one.user.active]
    proofed, soon = sum(one.in_force for one in active), sum(one.expiring for one in active)
    print(f"{len(active)} active accounts, {proofed} with a proofing in force, of which {soon} end soon.")
    for run_ in (await desk.office.rechecks(1))[:1]:
        print(_said(desk, run_))
    return OK


async def _invite(desk: Desk, arguments: argparse.Namespace) -> int:
    if arguments.all == bool(arguments.logins):
        raise GatewayError("it is not said who is invited", todo="Name people, or say --all.")
    due = desk.end_of(arguments.due)
    login, _ = await desk.officer(arguments.by)
    people = None if arguments.all else [(await desk.office.find(name)).id for name in arguments.logins]
    batch, added = await desk.office.invite(people, by=_signed(login), due_at=due, batch=arguments.batch)
    print(f"{added} invited until {arguments.due}, as batch {batch}.")
    return OK


async def _batches(desk: Desk, _: argparse.Namespace) -> int:
    rows: list[tuple[str, ...]] = [("batch", "by", "invited", "until", "people", "done", "in review", "open", "overdue")]
    for one in await desk.office.batches():
        counts = (one.invited, one.done, one.review, one.open, one.overdue)
        rows.append((one.id, one.invited_by, desk.day(one.invited_at), desk.day(one.due_at - 1), *map(str, counts)))
    print_table(rows)
    return OK


async def _recheck(desk: Desk, _: argparse.Namespace) -> int:
    print(_said(desk, await desk.office.recheck_now(by=operator())))
    return OK


async def _cases(desk: Desk, arguments: argparse.Namespace) -> int:
    if arguments.case:
        view = await desk.office.case(arguments.case)
        if view is None:
            raise GatewayError(f"there is no case {arguments.case!r}", todo="The list of cases shows which there are.")
        _show(desk, view)
        return OK
    names = {one.user.id: one.user.login for one in await desk.office.standings()}
    rows: list[tuple[str, ...]] = [("case", "person", "why", "since", "until", "first officer")]
    for case in await desk.office.cases():
        days = desk.day(case.opened_at), desk.day(case.expires_at)
        rows.append((case.id, names.get(case.user_id, case.user_id), case.kind, *days, case.first_by))
    print_table(rows)
    return OK


async def _check(desk: Desk, arguments: argparse.Namespace) -> int:
    from gateway.app.proofing import Looked, NotChecked

    login, user_id = await desk.officer(arguments.by)
    name, birth_date, kana = _typed("name: ", "birth date (YYYY-MM-DD): ", "kana (empty: not there): ")
    looked = Looked(document=arguments.document, name=name, birth_date=birth_date, kana=kana)
    outcome = await desk.office.officer_check(arguments.login, arguments.code, looked, by=login, by_user=user_id)
    if isinstance(outcome, NotChecked):
        print(f"gateway: nothing came of it: {outcome.reason}", file=sys.stderr)
        return NO
    print(f"A second officer has to confirm it: case {outcome.case_id}.")
    return OK


async def _decide(desk: Desk, arguments: argparse.Namespace) -> int:
    from gateway.app.proofing import Decided

    login, user_id = await desk.officer(arguments.by)
    outcome = await desk.office.decide(arguments.case, by=login, by_user=user_id, approve=arguments.approve, note=arguments.note)
    if isinstance(outcome, Decided):
        print("A second officer has to confirm it." if outcome.state == "open" else f"The case is {outcome.state}.")
        return OK
    print(f"gateway: nothing was decided: {outcome.reason}", file=sys.stderr)
    return NO


async def _keys(desk: Desk, arguments: argparse.Namespace) -> int:
    if arguments.rotate:
        print(f"The key {await desk.office.rotate_key()} is used from now on.")
    if arguments.drop is not None:
        await desk.office.drop_key("" if arguments.drop == FIRST_KEY else arguments.drop)
        print(f"The key {arguments.drop} is forgotten.")
    rows: list[tuple[str, ...]] = [("key", "state", "living records", "others")]
    for one in await desk.office.keys_in_use():
        state = "missing" if not one.there else "in use" if one.newest else "old" if one.living else "can be dropped"
        rows.append((one.id or FIRST_KEY, state, str(one.living), str(one.others)))
    print_table(rows)
    return OK


async def _end(desk: Desk, arguments: argparse.Namespace) -> int:
    user = await desk.office.find(arguments.login)
    login, _ = await desk.officer(arguments.by)
    ended = await desk.office.end(user.id, why=arguments.why, by=_signed(login))
    if not ended:
        print(f"gateway: {user.login} has no proofing in force", file=sys.stderr)
        return NO
    print(f"The proofing of {user.login} has ended. A running gateway takes it out of their sessions within a second.")
    return OK


async def _export(desk: Desk, arguments: argparse.Namespace) -> int:
    user = await desk.office.find(arguments.login)
    print(json.dumps(await desk.office.export(user.id, by=operator()), ensure_ascii=False, indent=2))
    return OK


async def _delete(desk: Desk, arguments: argparse.Namespace) -> int:
    user = await desk.office.find(arguments.login)
    login, _ = await desk.officer(arguments.by)
    kept = await desk.office.delete(user.id, by=_signed(login))
    counts = f"{len(kept.records)} proofings, {len(kept.cases)} cases, {len(kept.invitations)} invitations"
    print(f"What was kept of {user.login} is deleted: {counts}. The log says that it was.")
    return OK


def _typed(*questions: str) -> list[str]:
    """Ask for what stands in a document: not on the command line, which others see and the shell keeps."""
    print("Type what stands in the document; what should is not shown.", file=sys.stderr)
    try:
        return [input(question) for question in questions]
    except EOFError:
        raise GatewayError("the document was not typed in") from None


def _signed(login: str) -> str:
    """An officer, by whoever runs this: the command believes --by."""
    return f"{login} through {operator()}"


# ---------------------------------------------------------------- what is printed


def _row(desk: Desk, one: "PersonStanding") -> tuple[str, ...]:
    record, state = one.record, "none"
    if record is not None:
        state = f"level {record.level} {record.method}"
        if record.ended_at is not None:
            state = f"ended ({record.ended_why}) {desk.day(record.ended_at)}"
        elif not one.in_force:
            state = "expired"
        elif one.expiring:
            state += ", ends soon"
    invited = desk.day(one.due_at - 1) if one.due_at is not None else ""
    if one.invitation is not None and one.invitation.state in {"done", "overdue"}:
        invited += f" ({one.invitation.state})"
    name = one.user.name if one.user.active else f"{one.user.name} (deactivated)"
    since, until = (desk.day(record.verified_at), desk.day(record.expires_at)) if record is not None else ("", "")
    return one.user.login, name, state, since, until, invited, one.open_case


def _said(desk: Desk, run_: "Recheck") -> str:
    state = f"ended {desk.moment(run_.finished_at)}" if run_.finished_at is not None else f"asked about {run_.asked} so far"
    found = f"{run_.valid} valid, {run_.revoked} revoked, {run_.expired} expired, {run_.unknown} without an answer"
    begun = f"Recheck {run_.number} by {run_.started_by}, begun {desk.moment(run_.started_at)}"
    return f"{begun}, {state}: {run_.total} in all, {found}."


def _show(desk: Desk, view: "CaseView") -> None:
    case = view.case
    print(f"{case.id}: {case.kind} of {view.user.login}, {case.state}, since {desk.moment(case.opened_at)}")
    if view.result is None:
        print(f"by {case.decided_by} {desk.moment(case.decided_at)} {case.note}".rstrip() if case.decided_by else "over")
        return
    result = view.result
    until = f" until {desk.day(result.expires_at)}" if result.expires_at is not None else ""
    print(f"would be kept: level {result.level} {result.method}, verified {desk.moment(result.verified_at)}{until}")
    if case.first_by:
        print(f"first officer: {case.first_by} {desk.moment(case.first_at)}")
    if view.differences:
        print(f"differences: {', '.join(view.differences)}")
    if view.rows:
        same = {True: "same", False: "DIFFERENT", None: ""}
        print_table(
            [("field", "staff ledger", "card", ""), *((row.field, row.roster, row.card, same[row.equal]) for row in view.rows)]
        )

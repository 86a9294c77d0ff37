"""`gateway people`: accounts of the embedded identity provider."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli import COMMANDS, OK, Parser
from gateway.cli.terminal import operator, print_table
from gateway.kernel.errors import GatewayError
from gateway.kernel.secret import Secret

if TYPE_CHECKING:
    from gateway.app.people import Details, Enrolment, People, Standing

    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

Act = Callable[["People", argparse.Namespace], Awaitable[None]]

LONGEST_INPUT: Final = 4096
KNOWN_ROLES: Final = (
    "physician", "resident", "nurse", "pharmacist", "technologist", "clerk", "external_reader", "vendor", "security_officer",
    "auditor",
)  # fmt: skip
"""What the starter policies know; others may be known to a hospital's own."""

_DESCRIPTION: Final = """\
Makes and changes the accounts of the embedded identity provider, on its files: run it as the gateway's user, on its machine.

It works while `gateway serve` runs. The log has one writer, the running gateway: it notices a change within a second, writes the
event (with your user name) and ends the person's sessions where the change asks for it. While none runs, the next start does
that, before it serves anybody.
"""
_ADD: Final = """\
Makes an account that signs in with a password and an authenticator app. The password is read from the standard input (one line),
or asked for twice on a terminal. Prints, once, what the person's authenticator app has to scan. Name, kana, birth date, former
names and licences are compared in identity proofing: write them as on the person's My Number Card.
"""
_SET: Final = """\
Changes what identity proofing compares with a person's card. What is not given stays; an empty text takes it away (--kana "").
Former names and licences that are given replace those of before. The log gets which were changed, not from what to what.
"""
_RESET: Final = """\
For a person who lost what they sign in with. Replaces their password and authenticator app, removes their keys and recovery
codes, and ends their sessions, sign-ins in progress and identity proofing: make sure who it is before you hand the new ones over.
"""
_EXAMPLES: Final = {
    "add": """\
  gateway people add --config gateway.toml --login dr.mori --name "森 あゆみ" --kana "モリ アユミ" --birth-date 1985-04-01 \\
      --department 内科 --role physician
  gateway people add --config gateway.toml --login sec.abe --name "阿部 誠" --role security_officer < first-password
""",
    "list": "  gateway people list --config gateway.toml\n",
    "deactivate": "  gateway people deactivate dr.mori --config gateway.toml\n",
    "activate": "  gateway people activate dr.mori --config gateway.toml\n",
    "set": """\
  gateway people set dr.mori --config gateway.toml --birth-date 昭和60年4月1日 --former-name "林 あゆみ" --former-name 原
  gateway people set dr.mori --config gateway.toml --licence ""
""",
    "unlock": "  gateway people unlock dr.mori --config gateway.toml\n",
    "set-roles": "  gateway people set-roles dr.mori --role physician --role auditor --config gateway.toml\n",
    "reset-factors": "  gateway people reset-factors dr.mori --config gateway.toml\n",
}


def add_parser(commands: "Commands") -> None:
    """Add `people` with its commands."""
    parser = commands.add_parser("people", help=COMMANDS["people"][1], description=_DESCRIPTION)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="people_command")

    def command(name: str, act: Act, line: str, description: str = "", *, login: bool = True) -> argparse.ArgumentParser:
        made = inner.add_parser(
            name, help=line, description=description or _sentence(line), epilog=f"examples:\n{_EXAMPLES[name]}"
        )
        if login:
            made.add_argument("login", metavar="LOGIN", help="login name or e-mail address")
        made.add_argument("--config", type=Path, metavar="FILE", required=True, help="the gateway's configuration")
        made.set_defaults(act=act)
        return made

    add = command("add", _add, "make an account", _ADD, login=False)
    add.add_argument("--login", metavar="NAME", required=True, help="name to sign in with: a-z, 0-9, dot, hyphen, underscore")
    add.add_argument("--name", metavar="NAME", required=True, help="name as on the name plate")
    add.add_argument("--email", metavar="ADDRESS", default="", help="a second name to sign in with; nothing is sent to it")
    add.add_argument("--department", metavar="NAME", default="")
    add.add_argument("--organization", metavar="NAME", default="")
    change = command("set", _set, "change what identity proofing compares", _SET)
    change.add_argument("--name", metavar="NAME", help="name as on the name plate")
    for one in (add, change):
        _add_details(one)
    command("list", _list, "show everybody and what their accounts have", login=False)
    command("deactivate", _deactivate, "keep a person out from now on, and end all their sessions")
    command("activate", _activate, "let a deactivated person sign in again")
    command("unlock", _unlock, "end the lock after failed attempts")
    roles = command("set-roles", _set_roles, "give a person these roles and no others")
    command("reset-factors", _reset, "new password and authenticator app, after a loss", _RESET)
    for one in (add, roles):
        one.add_argument(
            "--role",
            metavar="ROLE",
            action="append",
            required=True,
            dest="roles",
            help=f"one of {', '.join(KNOWN_ROLES)}; repeatable",
        )
    parser.set_defaults(run=run)


def _add_details(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kana", metavar="NAME", help="name in katakana")
    parser.add_argument("--birth-date", metavar="DATE", help="YYYY-MM-DD, or with the era: S59.5.12, 昭和59年5月12日")
    parser.add_argument(
        "--former-name", metavar="NAME", action="append", dest="former_names",
        help="that cards may still show: a whole name with a space, or a family name alone; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--licence", metavar="NUMBER", action="append", dest="licences", help="number of a national licence; repeatable"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say. Raises GatewayError with what is wrong."""
    # After the arguments were understood, so that what is wrong with them is said at once.
    from gateway.app.people import open_accounts
    from gateway.config import load_config
    from gateway.kernel.clock import SystemClock

    config = load_config(arguments.config, os.environ)

    async def work() -> None:
        async with open_accounts(config, SystemClock()) as people:
            await arguments.act(people, arguments)

    asyncio.run(work())
    return OK


async def _add(people: "People", arguments: argparse.Namespace) -> None:
    _doubt(arguments.roles)
    enrolment = await people.add(
        login=arguments.login,
        name=arguments.name,
        roles=tuple(arguments.roles),
        organization=arguments.organization,
        department=arguments.department,
        email=arguments.email,
        details=_details(arguments),
        password=read_password(),
        by=operator(),
    )
    print(f"{enrolment.user.login} was added.")
    _show(enrolment)


async def _set(people: "People", arguments: argparse.Namespace) -> None:
    details = _details(arguments)
    if not any(getattr(details, field) is not None for field in details.__struct_fields__):
        raise GatewayError("nothing was said to change", todo="Give --name, --kana, --birth-date, --former-name or --licence.")
    user, changed = await people.set_details(arguments.login, details, by=operator())
    print(f"{user.login}: {', '.join(field.replace('_', ' ') for field in changed) or 'nothing'} changed.")


def _details(arguments: argparse.Namespace) -> "Details":
    from gateway.app.people import Details

    former, licences = (tuple(given) if given is not None else None for given in (arguments.former_names, arguments.licences))
    return Details(
        name=arguments.name, kana=arguments.kana, birth_date=arguments.birth_date, former_names=former, licences=licences
    )


async def _list(people: "People", arguments: argparse.Namespace) -> None:
    rows: list[tuple[str, ...]] = [("login", "name", "department", "roles", "state", "has")]
    rows += [_row(standing) for standing in await people.list()]
    print_table(rows)


async def _deactivate(people: "People", arguments: argparse.Namespace) -> None:
    user = await people.set_active(arguments.login, active=False, by=operator())
    print(f"{user.login} is deactivated. A running gateway ends their sessions within a second.")


async def _activate(people: "People", arguments: argparse.Namespace) -> None:
    user = await people.set_active(arguments.login, active=True, by=operator())
    print(f"{user.login} may sign in again.")


async def _unlock(people: "People", arguments: argparse.Namespace) -> None:
    user = await people.unlock(arguments.login, by=operator())
    print(f"{user.login} is not locked." + ("" if user.active else " The account is deactivated."))


async def _set_roles(people: "People", arguments: argparse.Namespace) -> None:
    _doubt(arguments.roles)
    user = await people.set_roles(arguments.login, tuple(arguments.roles), by=operator())
    print(f"{user.login}: {', '.join(user.roles)}. A running gateway ends their sessions within a second; they sign in again.")


async def _reset(people: "People", arguments: argparse.Namespace) -> None:
    await people.find(arguments.login)
    enrolment = await people.reset(arguments.login, read_password(), by=operator())
    print(f"{enrolment.user.login} has a new password and authenticator app; keys and recovery codes of before are removed.")
    _show(enrolment)


# ---------------------------------------------------------------- what goes in and out


def read_password() -> Secret:
    """Read a new password: one line of the standard input, or typed twice, unseen, at a terminal."""
    if sys.stdin.isatty():
        typed = getpass.getpass("New password: ")
        if getpass.getpass("Once more: ") != typed:
            raise GatewayError("the two passwords differ; nothing was changed", todo="Try again.")
        return Secret(typed)
    try:
        text = sys.stdin.buffer.read(LONGEST_INPUT).decode("utf-8")
    except UnicodeDecodeError:
        raise GatewayError("the password on the standard input is not UTF-8 text", todo="Give another.") from None
    lines = text.removesuffix("\n").removesuffix("\r").split("\n")
    if len(lines) > 1 or not lines[0]:
        what = "more than one line" if len(lines) > 1 else "no password"
        raise GatewayError(f"there is {what} on the standard input", todo="Give one line, or run this at a terminal.")
    return Secret(lines[0])


def _show(enrolment: "Enrolment") -> None:
    """Print what the authenticator app scans. It is kept sealed, and not shown again."""
    url = enrolment.url.reveal()
    print("To be scanned with the person's authenticator app; it is not shown again:\n")
    if sys.stdout.isatty():
        import segno

        segno.make(url, error="m").terminal(sys.stdout, compact=True)
        print()
    print(url)


def _row(standing: "Standing") -> tuple[str, ...]:
    user = standing.user
    state = "active"
    if not user.active:
        state = "deactivated"
    elif standing.locked_until:
        state = f"locked until {datetime.fromtimestamp(standing.locked_until, UTC).astimezone():%H:%M}"
    has = [name for name, there in (("password", standing.password), ("app", standing.totp)) if there]
    if standing.keys:
        has.append(f"{standing.keys} key{'s' if standing.keys > 1 else ''}")
    if standing.recovery_codes:
        has.append(f"{standing.recovery_codes} recovery codes")
    if standing.proofed:
        has.append("proofed")
    return user.login, user.name, user.department, " ".join(user.roles), state, ", ".join(has) or "nothing to sign in with"


def _doubt(roles: list[str]) -> None:
    for role in roles:
        if role not in KNOWN_ROLES:
            print(f"note: the starter policies know no role {role!r}, only {', '.join(KNOWN_ROLES)}", file=sys.stderr)


def _sentence(line: str) -> str:
    return f"{line[0].upper()}{line[1:]}."

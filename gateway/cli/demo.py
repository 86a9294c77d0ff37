"""`gateway demo`."""

import argparse
import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli import COMMANDS, OK, Parser
from gateway.cli.running import run_until_stopped

if TYPE_CHECKING:
    from gateway.demo.run import Shown

    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

_DESCRIPTION = """\
Runs the whole product on this machine: portal, identity provider, a sample record system and imaging viewer, the console. Staff
and patients are synthetic, the card verifier is a simulation. Everything that it writes is in its data directory. Ctrl-C ends it.
"""
_EPILOG = """\
examples:
  gateway demo                                then open http://portal.localhost:8080
  gateway demo --code dr.sato                 print the six digits that Dr. Sato's authenticator app shows now
  gateway demo --tls --port 8443              with TLS and a device certificate (.p12) to import into the browser
  gateway demo --port 9000 --ready-file ready.json --data-dir /tmp/demo
"""


def add_parser(commands: "Commands") -> None:
    """Add `demo`."""
    parser = commands.add_parser("demo", help=COMMANDS["demo"][1], description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--port", type=_port, default=8080, help="where it listens, on 127.0.0.1 (default: 8080)")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(".gateway-demo"),
        metavar="DIR",
        help="where it keeps everything (default: .gateway-demo)",
    )
    parser.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="write addresses, people and paths there as JSON once it serves"
    )
    parser.add_argument("--tls", action="store_true", help="serve https with a CA of its own")
    parser.add_argument("--code", metavar="NAME", help="print a person's current one-time code and end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo until it is stopped, or print a code."""
    if arguments.code:
        return _code(arguments.data_dir, arguments.code)

    from gateway.demo.run import Options, run_demo

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    options = Options(port=arguments.port, data_dir=arguments.data_dir, ready_file=arguments.ready_file, tls=arguments.tls)
    run_until_stopped(run_demo(options, lambda shown: _ready(shown, arguments.data_dir)))
    return OK


def _ready(shown: "Shown", folder: Path) -> None:
    print(f"\nReady. Open {shown.urls['portal']}\n", file=sys.stderr)
    for name in ("ehr", "imaging", "orders", "console", "id"):
        print(f"  {name:8} {shown.urls[name]}", file=sys.stderr)
    print("\nSynthetic staff (password; then a one-time code, or a passkey once one is registered):", file=sys.stderr)
    for person in shown.people:
        roles = ", ".join(str(role) for role in person["roles"]) if isinstance(person["roles"], list) else ""
        print(f"  {person['name']!s:15} {person['password']!s:32} {roles}", file=sys.stderr)
    again = "" if folder == Path(".gateway-demo") else f" --data-dir {folder}"
    program = "gateway" if shutil.which("gateway") else sys.argv[0]
    print(f"\nOne-time code:  {program} demo --code dr.sato{again}", file=sys.stderr)
    if shown.p12:
        print(f"Device certificate to import: {shown.p12} (password {shown.p12_password}); CA: {shown.ca}", file=sys.stderr)
    anchor = Path(shown.log_dir).parent / "anchor" / "audit-checkpoint.json"
    print(f"Log:            {program} audit verify {shown.log_dir} --anchor {anchor}", file=sys.stderr)
    print("Ctrl-C ends it.", file=sys.stderr, flush=True)


def _code(folder: Path, login: str) -> int:
    from gateway.demo.people import code_now, known_secrets
    from gateway.kernel.clock import SystemClock
    from gateway.kernel.errors import ConfigError

    people = known_secrets(folder / "people.json")
    if login not in people:
        raise ConfigError(f"there is nobody called {login!r} in the demo", todo=f"Try one of: {', '.join(people)}.")
    print(code_now(people[login].totp_secret, SystemClock().now()))
    return OK


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65_535:  # noqa: PLR2004  TCP
        raise ValueError
    return port

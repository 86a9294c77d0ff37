"""The `gateway` command: one file per command group, no logic.

A command's module is imported when the command is given, so that `--help` is quick and a broken part leaves the other
commands alone. Each has `add_parser(commands)`, which adds its parser and sets `run` on it: `run(arguments) -> exit status`.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from gateway.kernel.errors import GatewayError

OK: Final = 0
UNUSABLE: Final = 2
"""What was given can't be used: arguments, a file, a configuration."""
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells say it."""
BROKEN_PIPE: Final = 141
"""128 + SIGPIPE: the reader of our output went away."""

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("gateway.cli.demo", "run the whole product on this machine, with synthetic patients"),
    "serve": ("gateway.cli.serve", "run the gateway in production"),
    "check-config": ("gateway.cli.config", "say whether `gateway serve` would take a configuration"),
    "front-config": ("gateway.cli.front", "print the configuration of nginx, Envoy or Caddy in front of the gateway"),
    "policy": ("gateway.cli.policy", "check, test, replay, explain, compare, publish and roll back policies"),
    "people": ("gateway.cli.people", "manage the accounts of the embedded identity provider"),
    "devices": ("gateway.cli.devices", "the ledger of devices, and what an inventory tool says of them"),
    "proofing": ("gateway.cli.proofing", "identity proofings: status, invitations, review, rechecks"),
    "audit": ("gateway.cli.audit", "verify and export the log"),
    "version": ("gateway.cli.version", "say which version this is"),
}
_DESCRIPTION: Final = """\
Zero-trust access gateway with My Number Card identity proofing for hospital record systems.

commands:
""" + "\n".join(f"  {name:14}{line}" for name, (_, line) in COMMANDS.items())
_EPILOG: Final = """\
examples:
  gateway demo                               try everything; then open http://portal.localhost:8080
  gateway check-config /etc/gateway/gateway.toml
  gateway serve --config /etc/gateway/gateway.toml
  gateway policy test policies
  gateway people list --config /etc/gateway/gateway.toml
  gateway audit verify /var/lib/gateway/audit

`gateway COMMAND --help` shows the options and more examples of a command.
Exit status: 0 done, 1 the answer is no (see the command), 2 what was given can't be used.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose help keeps its lines and whose errors are one line."""

    def __init__(self, *arguments: object, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # passed through as they come

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; exit with 2."""
        self.exit(UNUSABLE, f"gateway: {message}. See: {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. What a person can mend is said in one line each, without a traceback."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser(given).parse_args(given)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except GatewayError as error:
        # Several problems (of a configuration) come as several lines.
        for line in str(error).splitlines():
            print(f"gateway: {line}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more; without this the interpreter would complain once again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def _parser(given: Sequence[str]) -> Parser:
    parser = Parser(prog="gateway", usage="gateway COMMAND [OPTIONS]", description=_DESCRIPTION, epilog=_EPILOG)
    # The commands stand in the description: argparse would list them with less room than their names need.
    commands = parser.add_subparsers(prog="gateway", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    for name, (module, _) in COMMANDS.items():
        if name in given[:1]:
            importlib.import_module(module).add_parser(commands)
        else:
            commands.add_parser(name)
    return parser

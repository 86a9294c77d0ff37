"""`gateway version`."""

import argparse
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from gateway.cli import COMMANDS, OK, Parser

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

_EPILOG = """\
examples:
  gateway version
"""


def add_parser(commands: "Commands") -> None:
    """Add `version`."""
    parser = commands.add_parser("version", help=COMMANDS["version"][1], epilog=_EPILOG)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the versions that a bug report needs."""
    print(f"gateway {version('zt-gateway')} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
    return OK

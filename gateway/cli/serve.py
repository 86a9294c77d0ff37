"""`gateway serve`."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli import COMMANDS, OK, Parser
from gateway.cli.config import check_all
from gateway.cli.running import run_until_stopped
from gateway.config import Config, load_config

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

_DESCRIPTION = """\
Runs the gateway in the foreground until SIGTERM or Ctrl-C. There is no demo default in it: it does not start with a demo key, a
simulated verifier, or without TLS here or at a trusted front. `gateway check-config` tells beforehand.
"""
_EPILOG = """\
examples:
  gateway serve --config /etc/gateway/gateway.toml
  GATEWAY_CLIENT_SECRET=... gateway serve --config gateway.toml    (with client_secret_env = "GATEWAY_CLIENT_SECRET")
"""


def add_parser(commands: "Commands") -> None:
    """Add `serve`."""
    parser = commands.add_parser("serve", help=COMMANDS["serve"][1], description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="the configuration; see deploy/gateway.toml")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, then serve until told to stop."""
    config = load_config(arguments.config, os.environ)
    check_all(config)

    # After the file is read, so that what is wrong with it is said without loading the servers.
    from gateway.app import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run_until_stopped(serve(config, lambda: _ready(config)))
    return OK


def _ready(config: Config) -> None:
    print(f"gateway: ready at {config.origin(config.portal.host)}", file=sys.stderr, flush=True)

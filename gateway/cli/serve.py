"""`gateway serve`."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli import COMMANDS, Parser
from gateway.cli.config import check_all
from gateway.config import Config, load_config, read_config

if TYPE_CHECKING:
    from gateway.app.supervisor import Loaded

    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

_DESCRIPTION = """\
Runs the gateway in the foreground until SIGTERM or Ctrl-C. There is no demo default in it: it does not start with a demo key, a
simulated verifier, or without TLS here or at a trusted front. `gateway check-config` tells beforehand.

SIGHUP takes over a changed configuration without losing a request: it is checked, new workers start on the same sockets, and the
old ones finish what they have begun. A configuration that is wrong changes nothing.
"""
_EPILOG = """\
examples:
  gateway serve --config /etc/gateway/gateway.toml
  GATEWAY_CLIENT_SECRET=... gateway serve --config gateway.toml    (with client_secret_env = "GATEWAY_CLIENT_SECRET")
  systemctl reload gateway                                         (with deploy/systemd/gateway.service: the SIGHUP)
"""


def add_parser(commands: "Commands") -> None:
    """Add `serve`."""
    parser = commands.add_parser("serve", help=COMMANDS["serve"][1], description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="the configuration; see deploy/gateway.toml")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, then serve until told to stop."""
    first = _checked(arguments.config)

    # After the file is read, so that what is wrong with it is said without loading the servers.
    from gateway.app.notify import Notifier
    from gateway.app.supervisor import Supervisor

    async def supervise() -> int:
        supervisor = Supervisor(lambda: _checked(arguments.config), ready=_ready, notifier=Notifier.of_environment())
        return await supervisor.run(first)

    set_up_logging()
    return asyncio.run(supervise())


def _checked(path: Path) -> "Loaded":
    text = read_config(path)
    config = load_config(path, os.environ, text=text)
    check_all(config)

    from gateway.app.supervisor import Loaded

    return Loaded(config=config, text=text)


def set_up_logging() -> None:
    """Log to the standard error, each line with its process: several write there."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")


def _ready(config: Config) -> None:
    print(f"gateway: ready at {config.origin(config.portal.host)}", file=sys.stderr, flush=True)

"""`gateway check-config`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli import COMMANDS, OK, Parser
from gateway.config import Config, InvalidConfigError, check_production, load_config
from gateway.config.model import FrontListener

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

_DESCRIPTION = """\
Reads a configuration as `gateway serve` would, with the secrets, keys, certificates and policies that it names, runs the cases
of the policies, and prints what it means. Nothing is started or written; no other machine is asked. Run it as the gateway's
user: what another one may read and write is another answer. Exit status: 0 good, 2 not (each problem on one line: file, line,
what, what to do).
"""
_EPILOG = """\
examples:
  gateway check-config /etc/gateway/gateway.toml
  gateway check-config --file-only demo.toml     the file alone: not what production asks, nor what is in the files it names
"""


def add_parser(commands: "Commands") -> None:
    """Add `check-config`."""
    parser = commands.add_parser("check-config", help=COMMANDS["check-config"][1], description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration")
    parser.add_argument(
        "--file-only",
        action="store_true",
        help="leave out the rules for production and what only serving needs, as for a demo's file",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, and print a summary when it is good."""
    config = load_config(arguments.file, os.environ)
    if not arguments.file_only:
        check_all(config)
    print(summary(config))
    return OK


def check_all(config: Config) -> None:
    """Raise InvalidConfigError with everything for which `gateway serve` does not start with this configuration."""
    # Loads the servers' modules, which reading a file alone doesn't need.
    from gateway.app.preflight import preflight

    problems = [*check_production(config), *preflight(config)]
    if problems:
        raise InvalidConfigError(problems)


def summary(config: Config) -> str:
    """Say in a table what a configuration means."""
    rows = [
        ("portal", config.origin(config.portal.host)),
        ("console", config.origin(config.console.host) if config.console else "off"),
        ("listens on", _listener(config)),
        *_fronts(config),
        ("workers", f"{config.server.workers}, each with {config.server.drain_seconds} s to finish"),
        ("identity", _identity(config)),
        ("sessions", _sessions(config)),
        ("devices", f"{config.devices.enrolment}, {config.devices.database}"),
        ("policies", f"{config.policies.dir}, {config.policies.timezone.key}"),
        ("log", f"{config.audit.dir}, " + (f"anchored at {config.audit.anchor}" if config.audit.anchor else "no anchor")),
        ("zones", ", ".join(f"{name} ({', '.join(ranges)})" for name, ranges in config.network.zones.items()) or "none"),
    ]
    apps = [("app", "address", "upstream", "routes")]
    apps += [(app.id, config.origin(app.host), app.upstream, str(len(app.routes))) for app in config.apps]
    return f"{config.file} is good.\n\n{_table(rows)}\n\n{_table(apps)}"


def _listener(config: Config) -> str:
    server = config.server
    if server.port is None:
        return "no address of its own"
    address = f"[{server.host}]" if ":" in server.host else server.host
    parts = [f"{address}:{server.port}"]
    if server.tls is not None:
        parts.append(f"TLS ({server.tls.preset})")
        parts.append("asks for client certificates" if server.tls.client_ca_file else "no client certificates")
    else:
        parts.append("no TLS")
    return ", ".join(parts)


def _fronts(config: Config) -> list[tuple[str, str]]:
    rows = [("front", _proof(config.server.front))] if config.server.front is not None else []
    return rows + [(f"door {door.kind}", _proof(door)) for door in config.doors]


def _proof(listener: FrontListener) -> str:
    if listener.socket is not None:
        return f"{listener.socket}, for user ids {', '.join(map(str, listener.trusted_uids))}"
    return f"{listener.host}:{listener.port}, mTLS, for {', '.join(listener.client_names)}"


def _identity(config: Config) -> str:
    rehearsal = " (rehearsal: counts for level 1)" if config.idp is not None and config.idp.rehearsal else ""
    kind = f"embedded, proofing: {config.idp.proofing}{rehearsal}" if config.idp is not None else "external"
    return f"{config.identity.issuer} ({kind})"


def _sessions(config: Config) -> str:
    sessions = config.sessions
    return f"{sessions.backend}, end after {sessions.idle_seconds} s without use, {sessions.absolute_seconds} s at most"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )

"""`gateway devices`: the ledger of devices, and what an inventory tool says of them."""

import argparse
import asyncio
import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from gateway.cli import COMMANDS, OK, Parser
from gateway.cli.terminal import operator, print_table
from gateway.kernel.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.domain.posture import Device

    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_DESCRIPTION: Final = """\
The ledger of devices, on its file: run it as the gateway's user, on its machine.

It works while `gateway serve` runs, which notices a change within a second, decides open streams again, and writes the event.
While none runs, the next start writes it.
"""
_POSTURE: Final = """\
Takes in what an inventory tool says of devices: a CSV file (UTF-8) whose first line names the columns, in any order.

  device,attribute,value,observed_at
  dev_01ARZ3NDEKTSV4RRFFQ69G5FAV,disk_encrypted,true,2026-11-23T06:00:00+09:00

attribute: disk_encrypted, screen_lock, antivirus, os_supported. value: true, false. observed_at: when the tool saw it; without an
offset it is the hospital's time. Policies read each value and its age. The newest word on each attribute stays, be it an
officer's in the console: a file that is taken twice, or late, spoils nothing. With one bad line nothing is taken.
"""
_EXAMPLES: Final = {
    "list": "  gateway devices list --config gateway.toml\n",
    "posture": "  gateway devices posture --config gateway.toml --csv /var/lib/mdm/export.csv --source mdm\n",
}


def add_parser(commands: "Commands") -> None:
    """Add `devices` with its commands."""
    parser = commands.add_parser("devices", help=COMMANDS["devices"][1], description=_DESCRIPTION)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="devices_command")

    def command(name: str, line: str, description: str) -> argparse.ArgumentParser:
        made = inner.add_parser(name, help=line, description=description, epilog=f"examples:\n{_EXAMPLES[name]}")
        made.add_argument("--config", type=Path, metavar="FILE", required=True, help="the gateway's configuration")
        return made

    listing = command("list", "show every device, its id, and what is known of its state", "Shows every device, newest first.")
    listing.set_defaults(run=run_list)
    posture = command("posture", "take in what an inventory tool says", _POSTURE)
    posture.add_argument("--csv", type=Path, metavar="FILE", required=True, help="what the tool exported")
    posture.add_argument("--source", metavar="NAME", default="csv", help='what the log and the console call the tool; "csv"')
    posture.set_defaults(run=run_posture)


def run_list(arguments: argparse.Namespace) -> int:
    """Print the ledger."""
    from gateway.app.inventory import open_devices

    config = _config(arguments)

    async def work() -> "list[Device]":
        async with open_devices(config) as devices:
            return await devices.list()

    rows: list[tuple[str, ...]] = [("device", "label", "owner", "state", "compliance", "last said")]
    rows += [_row(device, config.policies.timezone) for device in asyncio.run(work())]
    print_table(rows)
    return OK


def run_posture(arguments: argparse.Namespace) -> int:
    """Take in a file. Raises GatewayError with every bad line."""
    from gateway.app.inventory import take_inventory
    from gateway.kernel.clock import SystemClock

    if not _SOURCE.fullmatch(arguments.source):
        raise GatewayError(f"{arguments.source!r} is no name for a source", todo="Write it like mdm, with a-z, 0-9, _ . and -.")
    taking = take_inventory(_config(arguments), SystemClock(), arguments.csv, source=arguments.source, by=operator())
    taken = asyncio.run(taking)
    known = taken.devices - taken.changed
    print(
        f"{taken.said} words on {taken.devices} devices: {taken.changed} changed"
        + (f", {known} of which as much was known" if known else "")
    )
    return OK


def _config(arguments: argparse.Namespace) -> "Config":
    from gateway.config import load_config

    return load_config(arguments.config, os.environ)


def _row(device: "Device", zone: ZoneInfo) -> tuple[str, ...]:
    said = [
        f"{one.name}={str(one.value).lower()} ({datetime.fromtimestamp(one.at, zone):%Y-%m-%d %H:%M})"
        for one in device.attributes
    ]
    return device.id, device.label, device.ownership, device.status, device.compliance, ", ".join(said) or "nothing"

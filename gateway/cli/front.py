"""`gateway front-config`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.cli import COMMANDS, OK, Parser
from gateway.config import load_config
from gateway.kernel.errors import ConfigError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  argparse has no public name for it

_DESCRIPTION = """\
Prints the configuration of a proxy in front of the gateway: hosts, applications, sockets, and the header fields that clients
may never send, as gateway.toml has them. What gateway.toml does not know is set with --set; deploy/FRONT/README.md says more.
"""
_EPILOG = """\
examples:
  gateway front-config nginx --config /etc/gateway/gateway.toml > /etc/nginx/nginx.conf
  gateway front-config nginx --config gateway.toml --set port=8443 --set certificate=/etc/ssl/hospital.pem
  gateway front-config nginx --config gateway.toml --options        what can be set, with its default
"""


def add_parser(commands: "Commands") -> None:
    """Add `front-config`."""
    from gateway.frontconf import FRONTS

    parser = commands.add_parser("front-config", help=COMMANDS["front-config"][1], description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("front", choices=list(FRONTS), help="which proxy")
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="the gateway's configuration")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="what gateway.toml does not know")
    parser.add_argument("--options", action="store_true", help="print what --set takes, and nothing else")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration."""
    from gateway.frontconf import FRONTS

    front = FRONTS[arguments.front]
    options = read_options(front.options, arguments.set)
    if arguments.options:
        for name in front.options.__struct_fields__:
            print(f"{name} = {getattr(options, name)}")
        return OK
    print(front.render(load_config(arguments.config, os.environ), options), end="")
    return OK


def read_options(kind: type[msgspec.Struct], given: list[str]) -> Any:
    """Return the options of a front with what `--set` gave. Raises ConfigError for an unknown name or an unfit value."""
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in kind.__struct_fields__:
            known = ", ".join(kind.__struct_fields__)
            raise ConfigError(f"--set {text} names nothing that can be set", todo=f"Write NAME=VALUE with one of: {known}.")
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"--set: {error}", todo="See --options for the values that it has by default.") from error

"""`gateway policy diff`: what differs between two bundles, in plain words."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import OK, UNUSABLE

if TYPE_CHECKING:
    from gateway.policy.folder import Snapshot

DIFFERENT: Final = 1

_DESCRIPTION: Final = """\
Says in plain words what differs from the policies in DIR to those in OTHER: policies that came, went or changed, which of their
conditions, templates, and cases. With --config instead of OTHER: from what is in force to what is in DIR, as a reviewer asks.
Whom a change concerns, `gateway policy replay` shows.

Exit status: 0 nothing differs in what is decided or expected, 1 something does, 2 one of them can't be read.
"""
_EXAMPLES: Final = """\
examples:
  gateway policy diff policies /tmp/draft
  gateway policy diff /tmp/draft --config /etc/gateway/gateway.toml --lang en
"""


def add_parser(inner: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to `gateway policy`."""
    parser = inner.add_parser(
        "diff", help="say in plain words what differs between two bundles", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder of policies")
    parser.add_argument("other", type=Path, metavar="OTHER", nargs="?", help="folder that it is compared with")
    parser.add_argument("--config", type=Path, metavar="FILE", help="compare what is in force by this configuration with DIR")
    parser.add_argument("--lang", choices=("ja", "en"), default="ja", help="language (ja)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare, and return the exit status. Raises GatewayError when one of both can't be read."""
    from gateway.policy.case_files import parse_cases
    from gateway.policy.compile import compile_bundle
    from gateway.policy.difference import difference
    from gateway.policy.difference_text import difference_lines
    from gateway.policy.folder import read_folder

    if (args.other is None) == (args.config is None):
        print("gateway: give OTHER, or --config FILE. See: gateway policy diff --help", file=sys.stderr)
        return UNUSABLE
    if args.config is not None:
        snapshots = (_in_force(args.config), read_folder(args.dir))
    else:
        snapshots = (read_folder(args.dir), read_folder(args.other))
    before, after = (compile_bundle(one.policies, one.folder) for one in snapshots)
    cases_before, cases_after = (parse_cases(one.cases, one.folder) if one.cases else () for one in snapshots)
    found = difference(before, after, (cases_before, cases_after))
    for line in difference_lines(found, args.lang):
        print(line)
    return OK if found.empty else DIFFERENT


def _in_force(config: Path) -> "Snapshot":
    from gateway.app.explaining import snapshot_in_force
    from gateway.config import load_config

    return snapshot_in_force(load_config(config, os.environ))

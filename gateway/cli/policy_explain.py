"""`gateway policy explain`: why a decision was as it was, or what one would be."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import OK, UNUSABLE
from gateway.kernel.errors import GatewayError
from gateway.kernel.i18n import Language

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.policy.facts import Facts

DIFFERS: Final = 1
"""The recorded answer is not the one that the same policies give to the same facts."""
EVERYTHING: Final = 1 << 60

_DESCRIPTION: Final = """\
Says why the gateway answered as it did, or would answer: the policies that determined it and what they looked at, what would let
the person in, and what the other policies want that was not found.

With --decision: a decision in the log, explained by the policies of that time, which are kept from the time on when a database is
configured. Without: what if? The facts begin with an ordinary case: nobody's roles; signed in with password and one-time code
ten minutes ago; identity proofed (level 3) thirty days ago; the hospital's own device in good order, with a key of its browser;
from outside all zones; now; nothing out of the ordinary. What is said differs from that. No patient is named unless you do.

Exit status: 0 explained; 1 explained, but the record says otherwise than the same policies say now; 2 not explained.
"""
_EXAMPLES: Final = """\
examples:
  gateway policy explain --decision dec_3f0c... --config gateway.toml
  gateway policy explain --config gateway.toml --role nurse --route ehr.prescribe
  gateway policy explain --config gateway.toml --person dr.sato --route ehr.chart --device none --lang en
  gateway policy explain --config gateway.toml --role vendor --route ehr.chart --grant ehr-maintenance --at 2027-01-15T22:30
  gateway policy explain --config gateway.toml --role physician --route ehr.prescribe --sign-in key_now \\
      --fact network.zone=ward --fact device.disk_encrypted=no --policies /tmp/draft
"""


def add_parser(inner: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to `gateway policy`."""
    from gateway.policy.suppose import DEVICES, SIGN_INS

    parser = inner.add_parser(
        "explain", help="say why a decision was as it was, or what one would be", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="the gateway's configuration")
    parser.add_argument("--lang", choices=("ja", "en"), default="ja", help="language of the explanation (ja)")
    parser.add_argument("--decision", metavar="ID", help="a decision in the log")
    parser.add_argument("--ticket", action="store_true", help="shorter, without any policy text: for the help desk")
    what_if = parser.add_argument_group("what if")
    what_if.add_argument("--route", metavar="ROUTE", help="what is asked for, as the configuration names it: ehr.chart")
    what_if.add_argument("--person", metavar="LOGIN", help="roles and organisation of an account of the embedded provider")
    what_if.add_argument("--role", metavar="ROLE", action="append", default=[], help="a role of the person; repeatable")
    what_if.add_argument("--sign-in", choices=tuple(SIGN_INS), help="how the person signed in (two_factors)")
    what_if.add_argument("--device", choices=tuple(DEVICES), help="from what (hospital)")
    what_if.add_argument("--zone", metavar="ZONE", help="from which network zone (other)")
    what_if.add_argument("--at", metavar="TIME", help="when, by the hospital's clock: 2027-01-15T22:30 (now)")
    what_if.add_argument("--situation", choices=("normal", "emergency", "break_glass"), help="the situation (normal)")
    what_if.add_argument("--grant", metavar="NAME", action="append", default=[], help="a grant in force; repeatable")
    what_if.add_argument(
        "--fact", metavar="NAME=VALUE", action="append", default=[], help="any fact: device.compliant=no; repeatable"
    )
    what_if.add_argument("--policies", metavar="DIR", type=Path, help="ask a draft in this folder instead of what is in force")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain, and return the exit status. Raises GatewayError with what is wrong."""
    from gateway.config import load_config

    if (args.decision is None) == (args.route is None):
        print("gateway: give --decision ID, or --route ROUTE for what if. See: gateway policy explain --help", file=sys.stderr)
        return UNUSABLE
    config = load_config(args.config, os.environ)
    return _decision(config, args) if args.decision is not None else _what_if(config, args)


def _decision(config: "Config", args: argparse.Namespace) -> int:
    from gateway.app.explaining import bundle_of_version, possible_steps
    from gateway.audit.find import find_decision
    from gateway.policy.recorded import NoFacts, explain_record, facts_in_record
    from gateway.policy.recorded_text import record_lines, text_of, verdict_lines

    language: Language = args.lang
    reason = _reasons(language)
    record = find_decision(config.audit.dir, args.decision, most_bytes=EVERYTHING).record
    if record is None:
        raise GatewayError(
            f"there is no decision {args.decision[:80]!a} in the log", where=str(config.audit.dir), todo="Records begin with dec_"
        )
    _print(record_lines(record, language, _local(config), reason))
    print()
    held, why = facts_in_record(record), reason(str(record.get("reason", "")))
    if isinstance(held, NoFacts):
        _print(verdict_lines(held, language, why, ticket=args.ticket))
        return OK
    version = str(record.get("bundle", ""))
    bundle = bundle_of_version(config, version)
    if bundle is None:
        print(text_of(language, "not_kept", value=version[:12]))
        return UNUSABLE
    said = explain_record(record, held, bundle, possible_steps(config))
    _print(verdict_lines(said, language, why, ticket=args.ticket))
    return DIFFERS if said.verdict == "differs" else OK


def _what_if(config: "Config", args: argparse.Namespace) -> int:
    from gateway.app.explaining import bundle_of, possible_steps, snapshot_in_force
    from gateway.policy.bundle import load_bundle
    from gateway.policy.explain import explain
    from gateway.policy.explained import lines_of, taken_lines

    bundle = load_bundle(args.policies) if args.policies is not None else bundle_of(snapshot_in_force(config))
    facts = _facts(config, args)
    _print(
        [*taken_lines(facts, args.lang), *lines_of(explain(bundle, facts, possible_steps(config)), args.lang, ticket=args.ticket)]
    )
    return OK


def _facts(config: "Config", args: argparse.Namespace) -> "Facts":
    import msgspec

    from gateway.app.calendar import calendar_of
    from gateway.app.explaining import person_of, target_of
    from gateway.audit.query import parse_moment
    from gateway.kernel.clock import SystemClock
    from gateway.policy.suppose import DEVICES, ORDINARY, SIGN_INS, NotSupposable, suppose

    clock = SystemClock()
    try:
        moment = parse_moment(args.at, config.policies.timezone) if args.at else clock.now()
    except ValueError as error:
        raise NotSupposable(str(error), "By the hospital's clock") from None
    base = msgspec.structs.replace(
        ORDINARY,
        target=target_of(config, args.route),
        time=calendar_of(config).at(int(moment)),
        principal=person_of(config, args.person, clock) if args.person else ORDINARY.principal,
    )
    changes = {**SIGN_INS.get(args.sign_in, {}), **DEVICES.get(args.device, {})}
    named = {"situation": args.situation, "network.zone": args.zone, "grants": ",".join(args.grant)}
    changes |= {name: value for name, value in named.items() if value}
    if args.role:
        changes["principal.roles"] = ",".join(args.role)
    for given in args.fact:
        name, equals, value = given.partition("=")
        if not equals:
            raise NotSupposable(f"{given[:80]!a} is no fact", "Write NAME=VALUE: device.compliant=no")
        changes[name.strip()] = value
    return suppose(base, changes)


def _local(config: "Config") -> Callable[[str], str]:
    """Times of records by the hospital's clock; what is no time as it is, made visible."""
    from datetime import datetime

    from gateway.kernel.web.show import visible

    def local(at: str) -> str:
        try:
            return datetime.fromisoformat(at).astimezone(config.policies.timezone).strftime("%Y-%m-%d %H:%M:%S %Z")
        except (ValueError, OverflowError):
            return visible(at, 40)

    return local


def _reasons(language: Language) -> Callable[[str], str]:
    """The words of a closed reason; the word itself where there are none."""
    from gateway.audit.formats.table import words_of

    return lambda reason: words_of(language, "reason", reason)


def _print(lines: list[str]) -> None:
    for line in lines:
        print(line)

"""Records and bundles for tests of the replay."""

from collections.abc import Mapping, Sequence
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.record import Actor, DecisionRecord, Source
from gateway.kernel.canonical import canonical_json
from gateway.policy.compile import SCHEMA_FILE, compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.folder import read_folder
from gateway.policy.remedy import Outcomes
from gateway.policy.schema import cedar_schema
from gateway.replay.judge import Replayer, Seen, read
from gateway.replay.run import Wish
from tests.support.logs import START
from tests.support.policy import STARTER, facts

JAPAN = timezone(timedelta(hours=9))
AT = "2027-01-15T08:00:00.000Z"
"""17:00 in Japan; the moment of `tests.support.logs.START`."""


def files(*texts: str) -> dict[str, bytes]:
    """The policy files of a bundle."""
    return {SCHEMA_FILE: cedar_schema().encode(), "a.cedar": "\n".join(texts).encode()}


def starter() -> dict[str, bytes]:
    """The starter bundle's policy files."""
    return dict(read_folder(STARTER).policies)


def compiled(given: Mapping[str, bytes]) -> Bundle:
    """Compile a bundle's policy files."""
    return compile_bundle(given, "b")


def record(given: Facts | dict[str, Any] | None = None, number: int = 1, **changes: Any) -> DecisionRecord:
    """A decision about these facts (`None`: a physician who reads a chart). Its actor is who is in the facts."""
    plain = msgspec.to_builtins(facts() if given is None else given)
    person = plain.get("principal", {})
    target = plain.get("target", {})
    target = target if isinstance(target, dict) else {}
    values: dict[str, Any] = {
        "id": f"dec_{number:032x}",
        "at": AT,
        "outcome": "allow",
        "reason": "",
        "actor": Actor(
            subject=str(person.get("id", "")),
            login="dr.sato",
            name="佐藤 恵",
            roles=tuple(map(str, person.get("roles", ()))),
            session="ses_1",
        ),
        "source": Source(address="192.0.2.10", door="proxy"),
        "host": "ehr.localhost",
        "method": "GET",
        "path": "/patients/p001",
        "app": str(target.get("app", "")),
        "route": str(target.get("route", "")),
        "action": str(target.get("action", "")),
        "bundle": "0" * 64,
        "facts": plain,
    }
    return DecisionRecord(**(values | changes))


def seen(one: DecisionRecord) -> Seen:
    """The record as replay reads it from a line of the log."""
    return read(canonical_json(one))


def counted(before: Bundle, after: Bundle, records: Sequence[Any], *, since: str = "") -> Replayer:
    """Count records in one process."""
    replayer = Replayer(before, after, zone=JAPAN, since=since, outcomes=Outcomes())
    for index, one in enumerate(records):
        replayer.take(index, one if isinstance(one, Seen) else seen(one))
    replayer.finish()
    return replayer


def wish(folder: Path, before: Mapping[str, bytes], after: Mapping[str, bytes], **changes: Any) -> Wish:
    """A replay of the last seven days, as of a minute after the tests' logs begin."""
    values: dict[str, Any] = {
        "folder": folder,
        "before": before,
        "after": after,
        "days": 7,
        "now": START + 60,
        "zone": JAPAN,
        "workers": 2,
    }
    return Wish(**(values | changes))

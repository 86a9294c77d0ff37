"""Replays by themselves: `python -m bench.replay [--quick]`. A log of a million decisions, one draft, as many processes as cores.

What is timed is the whole of it, as `gateway policy replay` does it: starting the processes, compiling both bundles, verifying
every line of the log, asking, putting together.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any, Final

from bench.replay_log import DAYS, START, Hospital, write_log
from gateway.audit.reader import LogFolder
from gateway.policy.bundle import load_bundle
from gateway.policy.compile import SCHEMA_FILE
from gateway.policy.folder import read_folder
from gateway.replay.report import ReplayReport
from gateway.replay.run import Wish, replay

ROOT: Final = Path(__file__).parents[1]
DECISIONS: Final = 1_000_000
FEW: Final = 100_000
PEOPLE: Final = 600
POLICIES: Final = (10, 100, 1000)
"""About so many on each side."""
_DAY: Final = 86_400
_MANY: Final = 50
Say = Callable[[str], None]

_DRAFT: Final = """
@id("bench-night")
@title_ja("題")
@title_en("Title")
forbid (principal in Role::"nurse", action, resource) when { context.time.hour >= 20 };
"""
_FILLER: Final = """
@id("bench-{number}")
@title_ja("題")
@title_en("Title")
permit (principal in Role::"bench-{number}", action == Action::"read", resource in App::"ehr")
when {{ context.authentication.factors >= 2 && context.proofing.level >= 2 && context.device.compliant }};
"""
_TELLING: Final = """
@id("bench-telling")
@title_ja("題")
@title_en("Title")
forbid (principal, action, resource) when {{ context.device.registered && ({condition}) }};
"""
_LIMITS: Final = " || ".join(f"context.authentication.age_seconds == {second}" for second in range(0, 32_400, 900))
_EXACT: Final = "context.authentication.age_seconds * 2 < 0"
"""Reads the very number: no two ages are the same question."""


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """Return what was found."""
    before = dict(read_folder(ROOT / "policies").policies)
    hospital = Hospital(load_bundle(ROOT / "policies"), people=PEOPLE)
    found: dict[str, Any] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="gw-bench-replay-") as name:
        folder = Path(name)
        few, many = folder / "few", folder / "many"
        say(f"a log of {FEW:,} decisions")
        write_log(few, folder / "few.key", hospital.records(FEW))
        began = time.monotonic()
        walked = LogFolder(few).verify()
        found["walk_us"] = (time.monotonic() - began) / walked.records * 1e6
        found["by_policies"] = {}
        for count in POLICIES:
            old = _filled(before, count)
            found["by_policies"][str(count)] = _timed(few, old, old | {"bench-draft.cedar": _DRAFT.encode()})
        found["by_questions"] = {}
        for kind, condition in (("36 ages told apart", _LIMITS), ("every age told apart", _EXACT)):
            draft = _DRAFT + _TELLING.format(condition=condition)
            found["by_questions"][kind] = _timed(few, before, before | {"bench-draft.cedar": draft.encode()})
        count = FEW
        if not quick:
            count = DECISIONS
            say(f"a log of {DECISIONS:,} decisions")
            write_log(many, folder / "many.key", hospital.records(DECISIONS))
        say(f"replay of {count:,} decisions")
        found["million"] = _timed(few if quick else many, before, before | {"bench-draft.cedar": _DRAFT.encode()})
    found["worker_mib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    found["targets"] = {"replay_million_s": found["million"]["seconds"] * DECISIONS / count}
    return found


def _filled(starter: dict[str, bytes], count: int) -> dict[str, bytes]:
    """About so many policies: those of the health record alone, or the whole starter bundle and more that nobody comes under."""
    if count < _MANY:
        return {name: starter[name] for name in (SCHEMA_FILE, "ehr.cedar")}
    own = load_bundle(ROOT / "policies")
    # Templates count as well; room for the draft's own.
    room = count - len(own.policies) - len(own.templates) - 3
    fill = "".join(_FILLER.format(number=number) for number in range(room))
    return starter | {"bench.cedar": fill.encode()}


def _timed(log: Path, before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, Any]:
    used = _cpu()
    began = time.monotonic()
    report: ReplayReport = replay(
        Wish(
            folder=log,
            before=before,
            after=after,
            days=DAYS,
            now=START + DAYS * _DAY,
            zone=timezone(timedelta(hours=9)),
            workers=os.cpu_count() or 1,
        )
    )
    seconds = time.monotonic() - began
    return {
        "seconds": seconds,
        "cpu_seconds": _cpu() - used,
        "decisions": report.requests,
        "records": report.records,
        "questions": report.questions,
        "lost": report.lost,
    }


def _cpu() -> float:
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime


def cells(found: dict[str, Any]) -> list[list[str]]:
    """Return the table."""
    rows = [["replay", "decisions", "records", "questions", "s", "records/s", "CPU s"]]
    named = [("the starter policies, one more", found["million"])]
    named += [(f"about {int(count):,} policies on each side", one) for count, one in found["by_policies"].items()]
    named += list(found["by_questions"].items())
    for name, one in named:
        rate = one["records"] / one["seconds"]
        counts = [f"{one[column]:,}" for column in ("decisions", "records", "questions")]
        rows.append([name, *counts, f"{one['seconds']:.1f}", f"{rate:,.0f}", f"{one['cpu_seconds']:.1f}"])
    rows.append([f"verifying alone, line by line in one process: {found['walk_us']:.0f} µs a record", "", "", "", "", "", ""])
    rows.append([f"memory of the largest process: {found['worker_mib']:.0f} MiB", "", "", "", "", "", ""])
    return rows


if __name__ == "__main__":
    print(json.dumps(measure("--quick" in sys.argv, lambda words: print(words, file=sys.stderr)), indent=2))

"""`python -m bench [--quick]`: one run, everything side by side."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from bench import docs, plot, report
from bench.children import BenchError, children, raise_file_limit
from bench.measure import (
    measure_decisions,
    measure_latency,
    measure_memory,
    measure_policies,
    measure_profile,
    measure_rates,
    measure_remedies,
    measure_replay,
    measure_sockets,
    measure_tls_sockets,
)
from bench.plan import FULL, QUICK, Plan
from bench.report import Run
from bench.stand import open_stand
from bench.targets import judge_limits, judge_ratios

PARTS: Final = ("rates", "latency", "profile", "sockets", "memory", "decisions", "policies")


async def run(plan: Plan, parts: tuple[str, ...], folder: Path) -> Run:
    """Measure the parts of a plan."""
    began = time.monotonic()
    found = Run(quick=plan.quick)
    files = raise_file_limit()
    async with children(folder) as kids:
        if {"rates", "latency", "profile"} & set(parts):
            say("starting the servers")
            async with open_stand(kids, files) as stand:
                found.absent |= stand.absent
                if "rates" in parts:
                    await measure_rates(stand, plan, found, say)
                if "latency" in parts:
                    await measure_latency(stand, plan, found, say)
                if "profile" in parts:
                    await measure_profile(stand, plan, found, say)
            kids.stop_all()
        if "sockets" in parts:
            await attempt(found, ("cut_p99_ms", "cut_one_p99_ms", "websocket_kib"), measure_sockets(kids, plan, found, say))
            await attempt(found, ("websocket_tls_kib",), measure_tls_sockets(kids, plan, found, say))
        if "memory" in parts:
            await attempt(found, ("sessions_100k_mib",), measure_memory(kids, plan, found, say))
        if "decisions" in parts:
            await measure_decisions(plan, found, say)
        if "policies" in parts:
            await attempt(found, ("reload_p99", "reload_wrong"), measure_policies(kids, plan, found, say))
            await measure_remedies(plan, found, say)
            await measure_replay(plan, found, say)
    found.ratios = judge_ratios(found.rates, found.absent)
    found.bounds = judge_limits(found.limits, found.absent)
    found.seconds = time.monotonic() - began
    return found


async def attempt(found: Run, names: tuple[str, ...], work: Coroutine[Any, Any, None]) -> None:
    """Measure what the rest of the run does not hang on; when it can't be done, the reason stands in its place."""
    try:
        await work
    except BenchError as error:
        say(str(error))
        found.absent |= dict.fromkeys(names, str(error).partition("\n")[0])


def say(words: str) -> None:
    """Tell how far the run is."""
    print(f"bench: {words}", file=sys.stderr, flush=True)


def main() -> int:
    """Run, print, write. Exit status 0 whatever the verdicts are: the table is the result; 1 when the run itself failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures the gateway beside what it is compared with.")
    parser.add_argument("--quick", action="store_true", help="short rounds, less than four minutes")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; nothing is written then")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    parts = tuple(arguments.only or PARTS)
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as name:
        try:
            found = asyncio.run(_until_stopped(run(plan, parts, Path(name))))
        except BenchError as error:
            say(f"failed: {error}")
            return 1
        except (KeyboardInterrupt, asyncio.CancelledError):
            say("stopped")
            return 130
    print(report.tables(found))
    if parts == PARTS:
        report.write(found)
        plot.write_picture(found)
        if not plan.quick:
            docs.write_page(report.as_json(found))
        say(f"written: {report.LATEST.relative_to(Path.cwd())}, {plot.PICTURE.relative_to(Path.cwd())}")
    return 0


async def _until_stopped(work: Coroutine[Any, Any, Run]) -> Run:
    """End in order at SIGTERM as at Ctrl-C: the servers must not outlive the run."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


if __name__ == "__main__":
    sys.exit(main())

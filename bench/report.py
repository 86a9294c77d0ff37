"""What a run found, as tables for people and as `bench/results/latest.json` for machines."""

import datetime as dt
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.targets import ROWS, Verdict

RESULTS: Final = Path(__file__).parent / "results"
LATEST: Final = RESULTS / "latest.json"
_MS: Final = 1000.0


class Run(msgspec.Struct, kw_only=True):
    """Everything that a run found."""

    quick: bool
    rates: dict[str, list[float]] = {}
    """Requests a second by row, one number for each round."""
    cpu: dict[str, list[float]] = {}
    """CPU seconds for each request by row: of the proxy and what it asks, without the application and wrk."""
    lease_lag: dict[str, list[float]] = {}
    """Seconds after each leased round until all of its requests were in the log."""
    absent: dict[str, str] = {}
    """Why a row or a limit was not measured."""
    limits: dict[str, list[float]] = {}
    latency: dict[str, Any] = {}
    sockets: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    decisions: dict[str, Any] = {}
    policies: dict[str, list[list[str]]] = {}
    """Tables about policies that change, by name: reload, replay, remedies."""
    profile: dict[str, Any] = {}
    seconds: float = 0.0
    ratios: list[Verdict] = []
    bounds: list[Verdict] = []


# ---------------------------------------------------------------- tables


def tables(run: Run) -> str:
    """Return all tables for a terminal."""
    verdicts = [*run.ratios, *run.bounds]
    parts = [_title(run), rate_table(run), verdict_table(verdicts)]
    if run.latency:
        parts.append(latency_table(run))
    if "at_once" in run.sockets:
        parts.append(table(socket_cells(run.sockets), right=range(1, 5)))
    if run.decisions:
        parts += [table(cells, right=range(1, 9)) for cells in decision_cells(run.decisions)]
    parts += [table(cells, right=range(1, len(cells[0]))) for cells in run.policies.values()]
    if run.profile:
        parts.append(profile_table(run))
    if reasons := notes(run):
        parts.append(reasons)
    words = [verdict.word for verdict in verdicts]
    counts = ", ".join(f"{words.count(word)} {word}" for word in ("met", "NOT MET", "not measured"))
    parts.append(f"targets: {counts}; the run took {run.seconds:.0f} s")
    return "\n\n".join(parts)


def notes(run: Run) -> str:
    """Say why something is missed or missing, one line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, why in run.absent.items():
        by_reason.setdefault(f"not measured: {why}", []).append(dict(ROWS).get(name, name))
    for verdict in (*run.ratios, *run.bounds):
        if verdict.met is False:
            by_reason.setdefault(f"NOT MET: {verdict.why or 'the reason is not known'}", []).append(verdict.name)
    return "\n".join(f"{', '.join(names)}\n    {why}" for why, names in by_reason.items())


def _title(run: Run) -> str:
    machine = describe_machine()
    kind = "QUICK run: short rounds" if run.quick else "full run"
    return f"{kind}; {machine['cpu']}, {machine['cores']} cores; one worker of everything; median of rounds [lowest to highest]"


def rate_table(run: Run) -> str:
    """Requests a second."""
    rows = [("", "requests/s", "[lowest to highest]", "CPU µs each")]
    for name, what in ROWS:
        values = run.rates.get(name)
        if values is None:
            rows.append((what, "not measured", "", ""))
        else:
            low_high = f"[{min(values):,.0f} to {max(values):,.0f}]"
            cpu = f"{statistics.median(run.cpu[name]) * 1e6:.0f}" if name in run.cpu else ""
            rows.append((what, f"{statistics.median(values):,.0f}", low_high, cpu))
    return table(rows, right=(1, 3))


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Targets, what was found, and the verdict."""
    rows = [("target", "wanted", "found", "[lowest to highest]", "")]
    rows += [
        (verdict.what, wanted(verdict), number(verdict.value, verdict.unit), between(verdict), verdict.word)
        for verdict in verdicts
    ]
    return table(rows, right=(1, 2))


def latency_table(run: Run) -> str:
    """Latency at a constant rate, in milliseconds."""
    rows = [("at 200 requests/s, from when each was due", "p50 ms", "p99 ms", "client late p99 ms")]
    for name, found in run.latency.items():
        p50, p99, late = (f"{statistics.median(one[key] for one in found) * _MS:.2f}" for key in ("p50", "p99", "late_p99"))
        rows.append((dict(ROWS).get(name, name), p50, p99, late))
    return table(rows, right=(1, 2, 3))


def socket_cells(found: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of WebSockets that are cut, in milliseconds."""
    kinds = (("all sessions revoked at once", "at_once"), ("one session after the other", "one_by_one"))
    cells = [[f"from revocation to cut, {found['count']:,} WebSockets open", "cut", "p50 ms", "p99 ms", "last ms"]]
    for what, kind in kinds:
        values = (f"{found[kind][key] * _MS:,.1f}" for key in ("p50", "p99", "max"))
        cells.append([what, f"{found[kind]['count']:,}", *values])
    return cells


def decision_cells(found: Mapping[str, Any]) -> list[list[list[str]]]:
    """Return the tables of decisions by themselves: microseconds of CPU."""
    one = found["one_decision_us"]
    routes, policies = found["by_routes_us"], found["by_policies_us"]
    sizes = list(routes)
    by_size = [["µs of CPU, by the number of routes or policies", *sizes]]
    by_size += [
        ["a repeated decision, its record included, by routes", *(f"{routes[size]['decide']:.1f}" for size in sizes)],
        ["finding the route, by routes", *(f"{routes[size]['route_lookup']:.2f}" for size in sizes)],
        ["the policies' answer, remembered, by policies", *(f"{policies[size]['cached']:.1f}" for size in sizes)],
        ["the policies' answer, not remembered", *(f"{policies[size]['uncached']:.0f}" for size in sizes)],
        ["cedarpy's own call on the same input", *(f"{policies[size]['cedarpy_is_authorized']:.0f}" for size in sizes)],
    ]
    parts = [["µs of CPU of one decision, repeated", *one], ["", *(f"{value:.1f}" for value in one.values())]]
    return [parts, by_size]


def profile_table(run: Run) -> str:
    """Where the gateway's CPU time goes under full load, step by step."""
    return table(profile_cells(run.profile, run.cpu), right=range(1, len(run.profile) + 1))


def profile_cells(profile: Mapping[str, Any], cpu: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Return the cells: a column for each door, a line for each step; shares of the gateway's own time."""
    steps = dict.fromkeys(step for found in profile.values() for step in found["steps"])
    rows = [["where the gateway's time goes", *profile]]
    rows += [[step, *(f"{found['steps'].get(step, 0):.0%}" for found in profile.values())] for step in steps]
    whole = [f"{statistics.median(cpu[name]) * 1e6:.0f}" if cpu.get(name) else "" for name in profile]
    return [*rows, ["CPU µs for each request, the front's included", *whole]] if any(whole) else rows


def wanted(verdict: Verdict) -> str:
    """The bound in words."""
    sign = {"least": "≥", "less": "<", "most": "≤"}[verdict.kind]
    return f"{sign} {verdict.bound:g}{f' {verdict.unit}' if verdict.unit else ''}"


def number(value: float | None, unit: str) -> str:
    """Return a value in its unit; a dash for none."""
    if value is None:
        return "–"
    return f"{value:.2f}" if not unit else f"{value:,.1f} {unit}" if value >= 10 else f"{value:.2f} {unit}"  # noqa: PLR2004


def between(verdict: Verdict) -> str:
    """Return the spread; empty where there is one value."""
    if verdict.low is None or verdict.high is None or verdict.low == verdict.high:
        return ""
    return f"[{number(verdict.low, '')} to {number(verdict.high, '')}]"


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Set cells in columns; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


# ---------------------------------------------------------------- files


def as_json(run: Run) -> dict[str, Any]:
    """Return the run as `latest.json` holds it: ratios are plain numbers, null where not measured."""
    return {
        "ratios": {verdict.name: _rounded(verdict.value) for verdict in run.ratios},
        "raw": {
            "quick": run.quick,
            "seconds": round(run.seconds),
            "targets": [{**msgspec.structs.asdict(verdict), "verdict": verdict.word} for verdict in (*run.ratios, *run.bounds)],
            "requests_per_second": run.rates,
            "cpu_seconds_per_request": run.cpu,
            "lease_lag_seconds": run.lease_lag,
            "not_measured": run.absent,
            "latency_at_200_per_second": run.latency,
            "websockets": run.sockets,
            "memory": run.memory,
            "decisions": run.decisions,
            "policies": run.policies,
            "profile": run.profile,
        },
        "machine": describe_machine(),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def write(run: Run) -> None:
    """Replace `latest.json`."""
    RESULTS.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(as_json(run), indent=2, ensure_ascii=False) + "\n", "utf-8")


def describe_machine() -> dict[str, Any]:
    """Say what the run ran on, without naming it."""
    cpuinfo = Path("/proc/cpuinfo").read_text("ascii").splitlines()
    processors = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    memory = next(line for line in Path("/proc/meminfo").read_text("ascii").splitlines() if line.startswith("MemTotal"))
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cpu": processors[0] if processors else platform.machine(),
        "cores": len(processors),
        "memory_gib": round(int(memory.split()[1]) / 2**20, 1),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "load_before": LOAD_BEFORE,
        "versions": _versions(),
    }


def _versions() -> Mapping[str, str]:
    found = {name: metadata.version(name) for name in ("aiohttp", "cedarpy", "cryptography", "redis")}
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{Path(sys.executable).parent}:{Path.home() / 'go' / 'bin'}"
    for name, option, wanted in _PROGRAMS:
        program = shutil.which(name, path=path)
        if program is None:
            continue
        done = subprocess.run([program, option], capture_output=True, text=True, check=False)
        version = re.search(wanted, done.stdout + done.stderr)
        found[name] = version[1] if version is not None else "unknown"
    return found


_PROGRAMS: Final = (
    ("nginx", "-v", r"nginx/(\S+)"),
    ("envoy", "--version", r"/(\d+\.\d+\.\d+)/"),
    ("redis-server", "--version", r"v=(\S+)"),
    ("wrk", "-v", r"wrk (\S+)"),
    ("oauth2-proxy", "--version", r"(v\d\S+)"),
)
"""What else is told of a run: the program, the option that makes it say its version, and where that stands."""

LOAD_BEFORE: Final = float(Path("/proc/loadavg").read_text("ascii").split()[0])
"""How busy the machine was with other things when the run began (runnable processes, one minute's mean)."""

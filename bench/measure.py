"""The parts of a run. Each adds what it found to the `Run`."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Final

from bench import decisions, reload, remedies, replay
from bench.children import BenchError, Children, free_port, run_tool
from bench.load import press
from bench.plan import Plan
from bench.report import Run
from bench.sockets import close_sockets, cut_at_once, cut_one_by_one, more_sessions, open_sockets, spread, weigh
from bench.stand import Guarded, Records, Row, Stand, start_gateway

Say = Callable[[str], None]
RATE: Final = 200
WRITTEN_SECONDS: Final = 30.0
LEASED_ROWS: Final = ("nginx_lease", "nginx_lease_many")
_MS: Final = 1000.0
_KIB: Final = 1024.0
PROFILED: Final = ("embedded", "nginx_door", "envoy_door")
LATENCY_ROWS: Final = ("direct", "naive", "embedded")


# ---------------------------------------------------------------- requests a second


async def measure_rates(stand: Stand, plan: Plan, run: Run, say: Say) -> None:
    """Press every row once in each round, every second round in the opposite order.

    A row that fails once (an answer that is not 2xx, a record that is missing) has no numbers at all.
    """
    for name in plan.leave_out:
        if stand.rows.pop(name, None) is not None:
            run.absent[name] = "left out of the quick run"
    logs = {name: records for records, names in stand.recorded() for name in names}
    for name, records in logs.items():  # warm them, and see that each request leaves its record: without it, no row
        await _pressed(stand, name, 1, run, say, records)
    run.rates.clear()
    run.cpu.clear()
    for number in range(plan.rounds):
        say(f"requests a second, round {number + 1} of {plan.rounds}")
        names = [name for name in stand.rows if name not in run.absent]
        for name in names if number % 2 == 0 else reversed(names):
            await _pressed(stand, name, plan.seconds, run, say, logs[name] if name in LEASED_ROWS else None)


async def _pressed(stand: Stand, name: str, seconds: int, run: Run, say: Say, records: Records | None) -> None:
    row = stand.rows[name]
    written = records.count() if records is not None else 0
    before = stand.children.cpu_seconds(row.processes)
    try:
        done = await press(row.target(), seconds)
        if records is not None:
            waited = await _caught_up(records, written + done.total)
            run.lease_lag.setdefault(name, []).append(waited)
    except BenchError as error:
        say(f"{name}: {error}")
        run.absent[name] = str(error)
        for found in (run.rates, run.cpu):
            found.pop(name, None)
        return
    run.rates.setdefault(name, []).append(done.rate)
    run.cpu.setdefault(name, []).append((stand.children.cpu_seconds(row.processes) - before) / done.total)


async def _caught_up(records: Records, wanted: int) -> float:
    """Wait until the log has so many records; return how long, in seconds. BenchError when some never come.

    Those of a lease come out of nginx's access log, later than the requests: the next row must not pay for them.
    """
    began = time.monotonic()
    while (there := records.count()) < wanted:
        if time.monotonic() - began > WRITTEN_SECONDS:
            raise BenchError(f"{wanted - there} requests left no record within {WRITTEN_SECONDS:.0f} s")
        await asyncio.sleep(0.02)
    return time.monotonic() - began


# ---------------------------------------------------------------- latency


async def measure_latency(stand: Stand, plan: Plan, run: Run, say: Say) -> None:
    """Send at a constant rate, row after row in each round; what is added is taken round by round."""
    names = [name for name in LATENCY_ROWS if name in stand.rows and not (plan.quick and name == "naive")]
    run.latency = {name: [] for name in names}
    for number in range(plan.rounds):
        say(f"latency at {RATE} requests/s, round {number + 1} of {plan.rounds}")
        for name in names if number % 2 == 0 else reversed(names):
            run.latency[name].append(await _paced(stand.rows[name], plan.latency_seconds))
    for limit, key in (("added_p50_ms", "p50"), ("added_p99_ms", "p99")):
        pairs = zip(run.latency["embedded"], run.latency["direct"], strict=True)
        run.limits[limit] = [(ours[key] - direct[key]) * _MS for ours, direct in pairs]


async def _paced(row: Row, seconds: float) -> dict[str, float]:
    headers = row.headers or (("Host", f"ehr.localhost:{row.port}"),)
    options = [part for name, value in headers for part in ("--header", f"{name}: {value}")]
    command = [sys.executable, "-m", "bench.rate", str(row.port), row.path, "--rate", str(RATE), "--seconds", str(seconds)]
    found: dict[str, float] = json.loads(await run_tool(*command, *options))
    if found["count"] != round(RATE * seconds):
        raise BenchError(f"{row.name}: {found['count']} answers")
    return found


# ---------------------------------------------------------------- profile


async def measure_profile(stand: Stand, plan: Plan, run: Run, say: Say) -> None:
    """Look where the gateway's time goes under full load, behind each of its doors."""
    if stand.memory is None:
        raise BenchError("there is no gateway to look at")
    say("profile")
    for name in (name for name in PROFILED if name in stand.rows):
        await stand.memory.talk.ask("profile")
        await press(stand.rows[name].target(), plan.profile_seconds)
        run.profile[name] = await stand.memory.talk.ask("profiled")


# ---------------------------------------------------------------- streams and memory


async def measure_sockets(children: Children, plan: Plan, run: Run, say: Say) -> None:
    """Weigh idle WebSockets, and time how soon they are cut: one session after the other, then all at once."""
    say(f"{plan.sockets} WebSockets")
    guarded = await _fresh(children, "gateway-sockets")
    talk, site = guarded.talk, guarded.site
    try:
        each, sockets, sessions = await weigh(talk, site, plan.sockets)
        one_by_one = await cut_one_by_one(talk, sockets, sessions, plan.one_by_one)
        # As many as were cut are opened anew, so that all are open again.
        more = (await more_sessions(talk))[: plan.one_by_one]
        sockets = [socket for socket in sockets if socket.cut_at is None]
        sockets += await open_sockets(site, more, plan.sockets - len(sockets))
        before = children.cpu_seconds(("gateway-sockets",))
        at_once = await cut_at_once(talk, sockets, [*sessions[plan.one_by_one :], *more])
        used = children.cpu_seconds(("gateway-sockets",)) - before
        close_sockets(sockets)
    finally:
        children.stop_all()
    run.sockets |= {
        "count": plan.sockets,
        "kib_each": each / _KIB,
        "at_once": spread(at_once),
        "at_once_cpu_seconds": used,
        "one_by_one": spread(one_by_one),
    }
    run.limits["websocket_kib"] = [each / _KIB]
    run.limits["cut_p99_ms"] = [run.sockets["at_once"]["p99"] * _MS]
    run.limits["cut_one_p99_ms"] = [run.sockets["one_by_one"]["p99"] * _MS]


async def measure_tls_sockets(children: Children, plan: Plan, run: Run, say: Say) -> None:
    """Weigh fewer of them where the gateway itself speaks TLS: buffers of asyncio and OpenSSL come on top."""
    say(f"{plan.tls_sockets} WebSockets over TLS")
    guarded = await _fresh(children, "gateway-tls", tls=True)
    try:
        each, sockets, _ = await weigh(guarded.talk, guarded.site, plan.tls_sockets)
        close_sockets(sockets)
    finally:
        children.stop_all()
    run.sockets["kib_each_with_tls"] = each / _KIB
    run.limits["websocket_tls_kib"] = [each / _KIB]


async def measure_memory(children: Children, plan: Plan, run: Run, say: Say) -> None:
    """Fill a fresh worker with sessions."""
    say(f"{plan.sessions} sessions")
    guarded = await _fresh(children, "gateway-memory")
    try:
        before = (await guarded.talk.ask("memory"))["rss"]
        filled = await guarded.talk.ask("fill", count=plan.sessions, host="ehr.localhost")
        after = (await guarded.talk.ask("memory"))["rss"]
    finally:
        children.stop_all()
    mib = _KIB * _KIB
    run.memory = {
        "sessions": plan.sessions,
        "before_mib": before / mib,
        "after_mib": after / mib,
        "fill_seconds": filled["seconds"],
    }
    run.limits["sessions_100k_mib"] = [after / mib]


async def _fresh(children: Children, name: str, *, tls: bool = False) -> Guarded:
    upstream = free_port()
    process = children.python(f"{name}-upstream", "bench.ws_upstream", str(upstream))
    await children.ready(f"{name}-upstream", process, upstream)
    return await start_gateway(children, name, upstream=upstream, tls=tls)


# ---------------------------------------------------------------- policies that change


async def measure_policies(children: Children, plan: Plan, run: Run, say: Say) -> None:
    """Exchange a thousand policies under load."""
    say("1,000 policies exchanged under load")
    guarded = await _fresh(children, "gateway-reload")
    try:
        found = await reload.measure_reload(guarded, 1 if plan.quick else 3)
    finally:
        children.stop_all()
    run.policies["reload"] = reload.cells(found)
    run.limits["reload_p99"] = [during / before for during, before in zip(found.p99_during, found.p99_before, strict=True)]
    run.limits["reload_wrong"] = [float(found.refused + found.wrong)]


async def measure_remedies(plan: Plan, run: Run, say: Say) -> None:
    """Search for remedies, with 10 to 1,000 policies."""
    say("the search for a remedy")
    run.policies["remedies"] = await asyncio.to_thread(remedies.table, plan.quick)


async def measure_replay(plan: Plan, run: Run, say: Say) -> None:
    """Replay a log of a million decisions; of fewer in a quick run."""
    found = await asyncio.to_thread(replay.measure, plan.quick, say)
    run.policies["replay"] = replay.cells(found)
    run.limits |= {name: [value] for name, value in found["targets"].items()}


# ---------------------------------------------------------------- decisions alone


async def measure_decisions(plan: Plan, run: Run, say: Say) -> None:
    """Time decisions by themselves."""
    say("decisions with 10 to 1,000 routes and policies")
    run.decisions = await decisions.measure(plan.quick)
    run.limits |= {name: [target["value"]] for name, target in run.decisions["targets"].items()}

"""Where the time of one request through the embedded door goes, and how it compares with a proxy that checks nothing.

    python bench/profile_embedded.py            # rounds of wrk: plain aiohttp proxy, the door, in turn
    python bench/profile_embedded.py profile    # cProfile of the door under the same load

Needs wrk and nginx (Debian packages). The upstream is nginx with a body of 1 KiB; every server is one process with one thread.
The door has everything on: session lookup, policy, signed assertion, log written to disk.
"""

import argparse
import asyncio
import contextlib
import cProfile
import logging
import os
import pstats
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import aiohttp
from aiohttp import web
from joserfc.jwk import ECKey

from gateway.audit.writer import DiskAuditLog
from gateway.domain.cookies import SESSION_COOKIE
from gateway.domain.identity import AuthEvent, Identity, Session
from gateway.domain.network import Zones
from gateway.domain.request import Request
from gateway.domain.route import App, Route, RouteTable
from gateway.doors.proxy import create_proxy
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import new_id
from gateway.pipeline import Pipeline
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.outgoing import Outgoing
from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.remedy import Outcomes
from gateway.posture.observe import RegistryPosture
from gateway.posture.registry import SqliteDevices
from gateway.present.mapper import Presenter
from gateway.present.pages import Pages
from gateway.rp.keys import FileSigner
from gateway.sessions.memory import MemorySessions

ROOT: Final = Path(__file__).parents[1]
HOST: Final = "ehr.localhost"
PORTAL: Final = "portal.localhost"
BODY: Final = 1024
POLICY: Final = """
@id("everything")
@title_ja("すべて許可")
@title_en("Everything is allowed")
permit (principal, action, resource in App::"ehr");
"""
NGINX: Final = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 60s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; default_type text/plain; }}
}}
"""


# ---------------------------------------------------------------- the two proxies


async def naive(upstream: int, port: int) -> None:
    """The plain way: web.Application and ClientSession, streaming."""
    skipped = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as client:

        async def handle(request: web.Request) -> web.StreamResponse:
            headers = [(name, value) for name, value in request.headers.items() if name.lower() not in skipped]
            url = f"http://127.0.0.1:{upstream}{request.raw_path}"
            body = request.content if request.body_exists else None
            async with client.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
                response = web.StreamResponse(status=answer.status)
                response.headers.extend((name, value) for name, value in answer.headers.items() if name.lower() not in skipped)
                response.content_length = answer.content_length
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await _until_stopped("")
        await runner.cleanup()


class Fixed:
    """One policy set that nobody changes."""

    def __init__(self, bundle: Bundle) -> None:
        self.current = bundle
        self.trial: Bundle | None = None


async def _portal(request: Request, http: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="portal")


async def door(upstream: int, port: int, folder: Path, profile: Path | None) -> None:
    """The embedded door with everything behind it; prints the Cookie of a signed-in person."""
    clock = SystemClock()
    policies = folder / "policies"
    policies.mkdir()
    shutil.copy(ROOT / "policies" / "schema.cedarschema", policies)
    (policies / "bench.cedar").write_text(POLICY, "utf-8")
    app = App(
        id="ehr", host=HOST, upstream=f"http://127.0.0.1:{upstream}", title_ja="電子カルテ", title_en="EHR",
        headers=(("X-Remote-User", "login"),),
        routes=(Route(id="ehr.all", app="ehr", methods=("*",), pattern=("**",), action="read"),),
    )  # fmt: skip
    log = await DiskAuditLog.open(folder / "audit", key_file=folder / "audit.pem", clock=clock)
    devices = SqliteDevices(folder / "devices.sqlite3")
    sessions = MemorySessions(clock=clock)
    pipeline = Pipeline(
        routes=RouteTable([app]), sessions=sessions, posture=RegistryPosture(devices, clock=clock),
        policies=Fixed(load_bundle(policies)), log=log,
        outgoing=Outgoing(issuer=f"https://{PORTAL}", signer=FileSigner(ECKey.generate_key("P-256", private=True)), apps=[app]),
        zones=Zones({}), calendar=Calendar(ZoneInfo("Asia/Tokyo")), clock=clock, outcomes=Outcomes(),
    )  # fmt: skip
    pipeline.streams.start()
    proxy = create_proxy(
        pipeline=pipeline, present=Presenter(Pages(portal=f"https://{PORTAL}", simulated=False), [app]),
        portal=_portal, portal_host=PORTAL, apps=[app], clock=clock, public_scheme="http",
    )  # fmt: skip
    await proxy.listen("127.0.0.1", port)
    now = int(clock.now())
    session = Session(
        id=new_id("ses"), identity=Identity(subject="usr_1", login="dr.sato", name="佐藤 恵", roles=("physician",)),
        events=(AuthEvent(kind="pwd", at=now, generation=1), AuthEvent(kind="otp", at=now, generation=1)), generation=1,
        created_at=now, last_seen_at=now, expires_at=now + 36_000, idle_seconds=900,
    )  # fmt: skip
    cookie = f"{SESSION_COOKIE}={(await sessions.create(session, HOST)).reveal()}"
    measure = cProfile.Profile() if profile is not None else None
    if measure is not None:
        measure.enable()
    await _until_stopped(cookie)
    if measure is not None:
        measure.disable()
        measure.dump_stats(profile or "")
    await proxy.close()
    await pipeline.streams.stop()
    await log.close()


async def _until_stopped(say: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    sys.stdout.write(f"{say}\n")
    sys.stdout.flush()
    await stopped.wait()


# ---------------------------------------------------------------- measuring


def free_port() -> int:
    """Return a port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """Run the upstream; gives its port."""
    port = free_port()
    folder.chmod(0o755)  # nginx's worker is another user
    (folder / "www").mkdir()
    (folder / "www" / "small").write_bytes(b"x" * BODY)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port), "utf-8")
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[tuple[int, str]]:
    """Run one of the proxies in a process of its own; gives its id, and what it says when it listens."""
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise RuntimeError("no pipe")
    try:
        yield process.pid, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def wrk(port: int, cookie: str, seconds: int, connections: int) -> float:
    """Return requests a second. Raises ValueError when an answer was not 2xx."""
    address = f"http://127.0.0.1:{port}/small"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"Host: {HOST}", "-H", f"Cookie: {cookie}", address]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise ValueError(said)
    return float(found[1])


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(pid: int, port: int, cookie: str, seconds: int, connections: int) -> tuple[float, float]:
    """Return requests a second, and microseconds of the server's processor time for each: that counts less of the neighbours."""
    before = cpu_seconds(pid)
    rate = wrk(port, cookie, seconds, connections)
    return rate, (cpu_seconds(pid) - before) / (rate * seconds) * 1e6


def compare(rounds: int, seconds: int, connections: int) -> None:
    """Print requests a second of both, round by round, and the median ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "door").mkdir()
        with nginx(folder) as upstream:
            ours, plain = free_port(), free_port()
            with (
                server("serve-door", str(upstream), str(ours), str(folder / "door")) as (door_pid, cookie),
                server("serve-naive", str(upstream), str(plain)) as (plain_pid, _),
            ):
                time.sleep(0.3)
                ratios = []
                for number in range(rounds + 1):
                    slow, slow_cpu = load(plain_pid, plain, "", seconds, connections)
                    fast, fast_cpu = load(door_pid, ours, cookie, seconds, connections)
                    if number:  # the first round warms up
                        ratios.append((fast / slow, slow_cpu / fast_cpu))
                        sys.stdout.write(
                            f"plain aiohttp {slow:7.0f}/s {slow_cpu:4.0f} us   door {fast:7.0f}/s {fast_cpu:4.0f} us   "
                            f"ratio {fast / slow:.2f}, by processor time {slow_cpu / fast_cpu:.2f}\n"
                        )
                for what, values in zip(("embedded_vs_naive", "by processor time"), zip(*ratios, strict=True), strict=True):
                    sys.stdout.write(f"{what} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})\n")


def profile(seconds: int, connections: int, lines: int) -> None:
    """Print where the door's time goes, by function. The profiler slows Python code down more than C code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "door").mkdir()
        stats = folder / "stats"
        with nginx(folder) as upstream:
            port = free_port()
            with server("serve-door", str(upstream), str(port), str(folder / "door"), "--profile", str(stats)) as (_, cookie):
                time.sleep(0.3)
                rate = wrk(port, cookie, seconds, connections)
        sys.stdout.write(f"{rate:.0f}/s under the profiler\n")
        pstats.Stats(str(stats), stream=sys.stdout).sort_stats("tottime").print_stats(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    for command in ("compare", "profile"):
        measuring = commands.add_parser(command)
        measuring.add_argument("--rounds", type=int, default=5)
        measuring.add_argument("--seconds", type=int, default=3)
        measuring.add_argument("--connections", type=int, default=32)
        measuring.add_argument("--lines", type=int, default=60)
    serving = commands.add_parser("serve-door")
    serving.add_argument("upstream", type=int)
    serving.add_argument("port", type=int)
    serving.add_argument("folder", type=Path)
    serving.add_argument("--profile", type=Path)
    plain = commands.add_parser("serve-naive")
    plain.add_argument("upstream", type=int)
    plain.add_argument("port", type=int)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # wrk breaks off at its end
    given = parser.parse_args(sys.argv[1:] or ["compare"])
    if given.command == "serve-door":
        asyncio.run(door(given.upstream, given.port, given.folder, given.profile))
    elif given.command == "serve-naive":
        asyncio.run(naive(given.upstream, given.port))
    elif given.command == "profile":
        profile(given.seconds, given.connections, given.lines)
    else:
        compare(given.rounds, given.seconds, given.connections)


if __name__ == "__main__":
    main()

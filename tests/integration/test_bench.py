"""What of `make bench` would go wrong silently: what is pressed is guarded and recorded, and nothing outlives a run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from bench import doors, nginx, reload
from bench.children import BenchError, children, free_port
from bench.guarded import LEASED
from bench.measure import measure_rates
from bench.plan import QUICK
from bench.report import Run
from bench.sockets import SESSIONS, close_sockets, cut_at_once, cut_one_by_one, more_sessions, open_sockets, weigh
from bench.stand import Records, Row, Stand, check, start_gateway

FILES = 1024


async def test_the_gateway_that_is_pressed_lets_in_one_person_and_keeps_a_record(tmp_path: Path) -> None:
    async with children(tmp_path) as kids:
        application = free_port()
        await nginx.start_nginx(kids, "application", nginx.application(application), [application], files=FILES)
        guarded = await start_gateway(kids, "gateway", upstream=application, fronted=True)
        records = Records(guarded.site)
        before = records.count()
        check(Row(name="embedded", port=guarded.site.port, headers=guarded.headers(), guarded=True))
        assert records.count() >= before + 3  # two decisions and a completion
        nginx_port = await doors.start_nginx_door(kids, "nginx", guarded.site)
        envoy_port = await doors.start_envoy_door(kids, "envoy", guarded.site)
        check(Row(name="nginx_door", port=nginx_port, headers=guarded.headers(), guarded=True))
        check(Row(name="nginx_lease", port=nginx_port, headers=guarded.headers(LEASED), guarded=True))
        check(Row(name="envoy_door", port=envoy_port, headers=guarded.headers(), guarded=True))
        with pytest.raises(BenchError, match="lets everybody in"):
            check(Row(name="direct", port=application, guarded=True))


@pytest.mark.parametrize("tls", [False, True])
async def test_sockets_are_cut_by_their_own_session_alone(tmp_path: Path, tls: bool) -> None:
    async with children(tmp_path) as kids:
        upstream = free_port()
        await kids.ready("upstream", kids.python("upstream", "bench.ws_upstream", str(upstream)), upstream)
        guarded = await start_gateway(kids, "gateway", upstream=upstream, tls=tls)
        talk, site = guarded.talk, guarded.site
        each, sockets, sessions = await weigh(talk, site, 2 * SESSIONS)
        assert each >= 0
        assert all(socket.cut_at is None for socket in sockets)
        assert len(await cut_at_once(talk, sockets, sessions)) == 2 * SESSIONS
        assert all(socket.cut_at is not None for socket in sockets)
        sessions = await more_sessions(talk)
        sockets = await open_sockets(site, sessions, 2 * SESSIONS)
        assert len(await cut_one_by_one(talk, sockets, sessions, 2)) == 4
        close_sockets(sockets)


async def test_a_row_with_one_wrong_answer_has_no_numbers(tmp_path: Path) -> None:
    async with children(tmp_path) as kids:
        stand, good, bad = Stand(kids, FILES), free_port(), free_port()
        inside = nginx.application(good) + f"server {{ listen 127.0.0.1:{bad}; return 403; }}"
        await nginx.start_nginx(kids, "application", inside, [good, bad], files=FILES)
        stand.rows = {"direct": Row(name="direct", port=good), "naive": Row(name="naive", port=bad)}
        run = Run(quick=True)
        await measure_rates(stand, msgspec.structs.replace(QUICK, rounds=1), run, lambda _: None)
    assert list(run.rates) == ["direct"]
    assert "Non-2xx" in run.absent["naive"]


async def test_nothing_outlives_the_block(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []

    async def broken() -> None:
        async with children(tmp_path) as kids:
            port = free_port()
            started.append(kids.python("trivial", "bench.trivial", str(port)))
            await kids.ready("trivial", started[0], port)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken()
    assert started[0].poll() is not None


def test_nothing_outlives_a_run_that_was_killed(tmp_path: Path) -> None:
    """The kernel ends the children of a run that could not."""
    port = free_port()
    script = (
        "import asyncio, os, signal, sys\nfrom pathlib import Path\nfrom bench.children import Children\n"
        f"kids = Children(Path({str(tmp_path)!r}), Path({str(tmp_path)!r}))\n"
        f"process = kids.python('trivial', 'bench.trivial', '{port}')\n"
        f"asyncio.run(kids.ready('trivial', process, {port}))\n"
        "print(process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -9, done.stderr
    pid = int(done.stdout)
    while _runs(pid):
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Whether a process is there that is no zombie waiting for its foster parent."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2][0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def test_policies_exchanged_under_load_refuse_nobody_and_give_no_answer_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "POLICIES", 100)
    monkeypatch.setattr(reload, "ROUND_SECONDS", 2.0)
    monkeypatch.setattr(reload, "EVERY_SECONDS", 0.2)
    async with children(tmp_path) as kids:
        upstream = free_port()
        await kids.ready("upstream", kids.python("upstream", "bench.ws_upstream", str(upstream)), upstream)
        guarded = await start_gateway(kids, "gateway", upstream=upstream)
        found = await reload.measure_reload(guarded, 2)
    assert found.exchanges >= 2  # of each bundle one
    assert found.asked >= 50
    assert (found.refused, found.wrong) == (0, 0)


def test_an_answer_of_policies_that_are_gone_is_counted() -> None:
    watch = reload.Watch.__new__(reload.Watch)
    watch.turns = [(1.0, 403), (2.0, 200)]
    watch.told = [
        reload.Told(asked, asked + 0.01, status)
        for asked, status in ((0.5, 200), (1.1, 200), (1.2, 403), (1.3, 200), (1.4, 403), (2.1, 403), (2.2, 200), (2.3, 200))
    ]
    assert watch.wrong() == 1

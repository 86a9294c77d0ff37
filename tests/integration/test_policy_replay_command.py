"""`gateway policy replay` as a process: what it prints, its exit status, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.configuration import MINIMAL, write_config
from tests.support.logs import Place
from tests.support.policy import policy, write_bundle
from tests.support.replay import record

ANY = "principal, action, resource"
BEFORE = policy("read", "context.network.tls", scope=ANY)
NURSES = policy("nurses", scope='principal in Role::"nurse", action, resource')


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """A gateway's configuration, with a log of three decisions of just now."""
    path = write_config(tmp_path, MINIMAL.replace('key_file = "audit.pem"', 'key_file = "log.pem"'))
    write_bundle(tmp_path / "policies", BEFORE)
    place = Place(tmp_path)
    place.folder, place.key = tmp_path / "audit", tmp_path / "log.pem"
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    log = await place.open(anchor=None)
    for number in range(3):
        await log.synced(await log.append(record(number=number, at=now)))
    await log.close()
    return path


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", "policy", "replay", *arguments, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_somebody_loses_access(config: Path, tmp_path: Path) -> None:
    draft = write_bundle(tmp_path / "draft", NURSES)
    done = run(config, str(draft))
    assert (done.returncode, done.stderr) == (1, "")
    assert "3  would LOSE access" in done.stdout
    assert "佐藤 恵 (dr.sato)" in done.stdout
    assert "#" * 40 in done.stdout
    found = json.loads(run(config, str(draft), "--json", "--days", "1").stdout)
    assert (found["lost"], found["requests"], found["people"][0]["login"]) == (3, 3, "dr.sato")
    assert found["zone"] == "Asia/Tokyo"


def test_nobody_loses_access(config: Path, tmp_path: Path) -> None:
    draft = write_bundle(tmp_path / "draft", BEFORE, NURSES)
    done = run(config, str(draft))
    assert done.returncode == 0
    assert "0  would LOSE access" in done.stdout
    other = write_bundle(tmp_path / "other", NURSES)
    against = run(config, str(draft), "--against", str(other))
    assert against.returncode == 0
    assert "3  would gain access" in against.stdout


def test_what_cannot_be_said(config: Path, tmp_path: Path) -> None:
    draft = write_bundle(tmp_path / "draft", NURSES)
    assert run(config, str(draft), "--days", "0").returncode == 2
    unknown = run(config, str(draft), "--against", "0" * 64)
    assert unknown.returncode == 2
    assert "no database" in unknown.stderr
    path = next((tmp_path / "audit").glob("segment-*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"allow"', b'"deny"', 1))
    refused = run(config, str(draft))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "segment-000001.jsonl:1: record 0" in refused.stderr


def workers() -> list[str]:
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and b"gateway.replay.worker" in (path / "cmdline").read_bytes():
                found.append(path.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def parent_of(pid: str) -> int:
    """0 for one that is gone."""
    try:
        status = (Path("/proc") / pid / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.partition("PPid:")[2].split()[0])


# What runs in the background of a shell is born deaf to Ctrl-C, and its children with it; the suite may be.
LISTENING = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from gateway.cli import main; sys.exit(main())"
)


def test_ctrl_c_leaves_nothing_behind(config: Path, tmp_path: Path) -> None:
    draft = write_bundle(tmp_path / "draft", NURSES)
    command = [sys.executable, "-c", LISTENING, "policy", "replay", str(draft), "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    mine: list[str] = []
    while process.poll() is None and not mine:
        mine = [pid for pid in workers() if parent_of(pid) == process.pid]
        time.sleep(0.01)
    # Held still, so that they can't be done before the signal is there.
    for pid in mine:
        os.kill(int(pid), signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    for pid in mine:
        os.kill(int(pid), signal.SIGCONT)
    printed, _ = process.communicate(timeout=60)
    assert mine
    assert (process.returncode, printed) == (130, b"")
    assert not [pid for pid in mine if pid in workers()]

"""The systemd unit: systemd takes it, and the gateway runs under what it forbids."""

import subprocess
from pathlib import Path

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "gateway.service"


def installed(folder: Path) -> Path:
    """The unit as an administrator puts it somewhere, with the program where it is."""
    program = folder / "gateway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = folder / "gateway.service"
    path.write_text(UNIT.read_text("utf-8").replace("/usr/local/bin/gateway", str(program)), "utf-8")
    return path


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(installed(tmp_path))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_mistake_in_it_would_be_found(tmp_path: Path) -> None:
    path = installed(tmp_path)
    path.write_text(path.read_text("utf-8").replace("Type=notify", "Type=notifies").replace("UMask=", "Umask="), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    assert "notifies" in done.stderr
    assert "Umask" in done.stderr


def test_little_is_left_that_the_service_may_do(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(installed(tmp_path))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stop_is_given_longer_than_the_gateway_takes() -> None:
    from gateway.app.supervisor import LATE_SECONDS
    from gateway.config.model import Server

    assert "TimeoutStopSec=2min\n" in UNIT.read_text("utf-8")
    assert Server().drain_seconds + LATE_SECONDS < 120

"""The scripts that prepare a machine: POSIX sh that parses, and the same names on both sides."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.chromium import NAMES

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "deploy/dev").glob("*.sh"))


def test_there_are_scripts() -> None:
    assert {script.name for script in SCRIPTS} >= {"setup.sh", "packages.sh", "servers.sh", "lock.sh"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_posix_sh(script: Path) -> None:
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = script.read_text("utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in text
    assert not re.search(r"\[\[|\blocal |\bfunction |<<<|\bpipefail\b|[ =]\$'", text), "that is not POSIX"


def test_the_browsers_that_setup_takes_are_the_ones_that_tests_find() -> None:
    found = re.search(r"^    for name in (.+); do$", (ROOT / "deploy/dev/servers.sh").read_text("utf-8"), re.MULTILINE)
    assert found
    assert tuple(found[1].split()) == NAMES


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    text = script.read_text("utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    assert text.endswith("\nexec make test\n")


def test_make_test_does_everything_and_ends_with_the_tests() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    rule = re.search(r"^test: ([a-z -]+?) *##", makefile, re.MULTILINE)
    assert rule
    assert rule[1].split() == ["setup-test", "lint", "types", "unit"]
    for command in ("ruff check .", "ruff format --check .", "lint-imports", "mypy", "python -m pytest"):
        assert re.search(rf"^\t\.venv/bin/{re.escape(command)}( |$)", makefile, re.MULTILINE), command


@pytest.mark.parametrize("arguments", [[], ["everything"]])
def test_setup_without_a_known_word(arguments: list[str]) -> None:
    done = subprocess.run(["sh", ROOT / "deploy/dev/setup.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "setup: say what to prepare: setup.sh run, or setup.sh test\n"


def test_packages_says_in_one_line_what_is_missing_where_it_may_not_install(tmp_path: Path) -> None:
    for name, body in {"id": "echo 1000", "sudo": "exit 1", "apt-get": "touch called"}.items():
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)
    done = subprocess.run(
        ["sh", ROOT / "deploy/dev/packages.sh", "redis-server", "orthanc"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        done.stderr
        == "setup: missing Debian packages, and no right to install them. As root: apt-get install redis-server orthanc\n"
    )
    assert not (tmp_path / "called").exists()

"""The import rules of docs/architecture.md hold, and each of them is seen to fail when it is broken."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from sysconfig import get_path

import pytest

ROOT = Path(__file__).parents[2]

BREAKS: dict[str, tuple[str, str]] = {
    "layers": ("gateway/domain/route.py", "import gateway.ports"),
    "pure": ("gateway/domain/route.py", "import socket"),
    "pure-matching": ("idp/proofing/names.py", "import time"),
    "idp-separate": ("idp/model.py", "import gateway.domain.route"),
    "only-app-mounts-idp": ("gateway/config/model.py", "import idp.model"),
    "no-jose-at-run-time": ("gateway/kernel/ids.py", "import jose"),
}
"""For each contract an import that breaks it, and no other."""

SIDEWAYS = [
    ("gateway/doors/trust.py", "import gateway.console"),
    ("gateway/sessions/memory.py", "import gateway.audit"),
    ("gateway/policy/facts.py", "import gateway.domain.route"),
]
"""Parts of one layer do not see each other."""


def contracts() -> dict[str, str]:
    """Name of each contract by id."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    return {contract["id"]: contract["name"] for contract in linter["contracts"]}


def lint(folder: Path) -> tuple[int, dict[str, str]]:
    """Run import-linter on a tree; return its exit status, and KEPT or BROKEN by contract name."""
    done = subprocess.run(
        [Path(get_path("scripts")) / "lint-imports", "--config", folder / "pyproject.toml", "--no-cache"],
        # The tree of this folder, not the installed one.
        capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}, check=False,
    )  # fmt: skip
    found = dict(re.findall(r"^(.+) (KEPT|BROKEN)$", done.stdout, re.MULTILINE))
    assert found, done.stdout + done.stderr
    return done.returncode, found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both packages and the rules, to break."""
    folder = tmp_path_factory.mktemp("tree")
    for package in ("gateway", "idp"):
        shutil.copytree(ROOT / package, folder / package, ignore=lambda where, names: [n for n in names if n == "__pycache__"])
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken_by(folder: Path, file: str, line: str) -> list[str]:
    path = folder / file
    before = path.read_text("utf-8")
    path.write_text(f"{before}\n{line}\n", "utf-8")
    try:
        status, found = lint(folder)
    finally:
        path.write_text(before, "utf-8")
    assert status == 1
    return [name for name, verdict in found.items() if verdict == "BROKEN"]


def test_the_tree_keeps_every_contract() -> None:
    assert lint(ROOT) == (0, dict.fromkeys(contracts().values(), "KEPT"))


def test_the_copy_keeps_every_contract_until_it_is_broken(copy: Path) -> None:
    assert lint(copy) == (0, dict.fromkeys(contracts().values(), "KEPT"))


def test_there_is_a_break_for_every_contract() -> None:
    assert list(BREAKS) == list(contracts())


@pytest.mark.parametrize("contract", BREAKS)
def test_a_broken_contract_is_reported(copy: Path, contract: str) -> None:
    assert broken_by(copy, *BREAKS[contract]) == [contracts()[contract]]


@pytest.mark.parametrize(("file", "line"), SIDEWAYS)
def test_siblings_do_not_see_each_other(copy: Path, file: str, line: str) -> None:
    assert broken_by(copy, file, line) == [contracts()["layers"]]

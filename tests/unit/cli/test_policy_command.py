"""`gateway policy check` and `gateway policy test`, as a person runs them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from tests.support.policy import CASES, STARTER, policy, write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "policies", policy())


def test_check_of_good_policies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"{folder} is good: 1 policy enforced, 0 report-only, version [0-9a-f]{{12}}\n", out)
    assert err == ""


def test_check_tells_every_problem_on_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(folder, policy("a", "context.foo"), policy("B"))
    assert main(["policy", "check", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == f"{folder}/a.cedar:5: attribute `foo` not found. policies/README.md lists what policies can read"
    assert second.startswith(f"{folder}/a.cedar:7: @id('B') is not an id. Use up to 64")


def test_check_does_not_run_cases(folder: Path) -> None:
    write_bundle(folder, policy(when='principal in Role::"nurse"'))
    assert main(["policy", "check", str(folder)]) == 0


def test_check_of_nothing_is_a_no(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(tmp_path / "nowhere")]) == 1
    assert "can't be read: No such file or directory. Check the path" in capsys.readouterr().err
    assert main(["policy", "check", str(tmp_path)]) == 1


def test_cases_that_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"


def test_cases_that_fail_show_expected_and_got(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(
        folder,
        policy(),
        policy("idle", 'principal in Role::"nobody"'),
        cases=CASES.replace(b'"allow"', b'"deny"').replace(b"] }", b"], remedy = [] }"),
    )
    assert main(["policy", "test", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"FAIL {folder}/cases/a.toml:2: read", "     outcome:     expected deny; got allow"]
    assert "note: no case shows idle deciding" in lines
    assert lines[-1] == "0 passed, 1 failed"


@pytest.mark.parametrize(
    ("text", "cases", "error"),
    [
        ("permit(;", CASES, "a.cedar:1: "),
        (policy(), None, "cases: there is no case. Write at least one"),
        (policy(), b"[[case]]\nx = 1\n", "cases/a.toml:2: 'x' is not known in a case"),
        (policy(), b"\xff", "cases/a.toml:1: byte 0xff is not UTF-8"),
    ],
)
def test_what_can_not_be_read_is_told_apart_from_failing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, cases: bytes | None, error: str
) -> None:
    folder = write_bundle(tmp_path / "p", text, cases=cases)
    assert main(["policy", "test", str(folder)]) == 2
    assert error in capsys.readouterr().err


def test_the_starter_policies_from_a_shell() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "policy", "test"], cwd=STARTER.parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d+ passed, 0 failed", done.stdout.splitlines()[-1])
    assert "note:" not in done.stdout


@pytest.mark.parametrize("command", [["policy"], ["policy", "check"], ["policy", "test"]])
def test_help_reads_well(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert ("examples:" in out) == (len(command) == 2)


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["policy"])
    assert caught.value.code == 2
    assert "gateway policy --help" in capsys.readouterr().err

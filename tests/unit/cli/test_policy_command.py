"""`gateway policy check` and `gateway policy test`, as a person runs them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from tests.support.configuration import MINIMAL, write_config
from tests.support.policy import CASES, STARTER, policy, write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "policies", policy(when="context.device.registered"))


def test_check_of_good_policies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(folder)]) == 0
    out, err = capsys.readouterr()
    note, said = out.splitlines()
    assert note.startswith("note: no policy names the console; --config tells whether")
    assert re.fullmatch(rf"{folder} is good: 1 policy enforced, 0 report-only, version [0-9a-f]{{12}}", said)
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
    write_bundle(folder, policy(when='context.device.registered && principal in Role::"nurse"'))
    assert main(["policy", "check", str(folder)]) == 0


def test_check_marks_warnings_and_counts_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, never = policy(when="context.device.registered"), policy("x", "context.device.compliant && context.time.hour > 24")
    write_bundle(folder, good, never, policy("y", 'context.device.compliant && resource.patient like "p*"', scope=WRITE))
    assert main(["policy", "check", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"{folder}/a.cedar:7: warning: x: this policy can never match any request. Look for conditions")
    assert "note: whether these ever match, or are superfluous, is not known: y" in out
    assert out.splitlines()[-1].endswith(", 1 warning")
    assert main(["policy", "check", "--strict", str(folder)]) == 1
    assert f"{folder} is not good: 3 policies enforced" in capsys.readouterr().out


def test_check_refuses_what_nobody_can_have_meant(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(folder, policy(), policy("f", "context.proofing.age_days + 1 > 2", effect="forbid"))
    assert main(["policy", "check", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert f"{folder}/a.cedar:1: read: this permit asks for nothing of the sign-in or the device. Ask for" in err
    assert f"{folder}/a.cedar:6: f: this forbid can fail to be evaluated: `+` can make a number too large. Compare" in err
    assert f"{folder} is not good: " in out
    assert ", 2 errors" in out


def test_check_with_a_configuration_knows_its_names(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "c", MINIMAL)
    read = policy(when='context.device.registered && context.network.zone == "nowhere"', scope=WRITE)
    write_bundle(folder, read)
    assert main(["policy", "check", str(folder), "--config", str(config)]) == 0
    err = capsys.readouterr().err
    assert 'warning: read: no zone "nowhere" is configured' in err
    assert f"{folder}: warning: nobody can ever use the route " in err
    assert main(["policy", "check", str(folder), "--config", str(tmp_path / "none.toml")]) == 2


WRITE = 'principal, action == Action::"write", resource'
CONSOLE_SECTION = '[console]\nhost = "c.hospital.example"\n'
CONSOLE = policy(
    "console",
    'context.device.registered && context.network.zone == "hq" && context.time.shifts.contains("day")',
    scope='principal in Role::"security_officer", action, resource in App::"console"',
)
SHUT = policy("shut", effect="forbid", scope='principal, action == Action::"administer", resource in App::"console"')


def test_check_refuses_what_locks_the_officers_out(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starter = tmp_path / "starter"
    shutil.copytree(STARTER, starter)
    config = write_config(tmp_path / "c", CONSOLE_SECTION + MINIMAL)
    for good in (write_bundle(folder, CONSOLE), starter):
        assert main(["policy", "check", str(good)]) == 0, capsys.readouterr()
    assert main(["policy", "check", str(starter), "--config", str(config)]) == 0
    (starter / "shut.cedar").write_text(SHUT)
    capsys.readouterr()
    for bad, more in ((write_bundle(folder, CONSOLE, SHUT), []), (starter, []), (starter, ["--config", str(config)])):
        assert main(["policy", "check", str(bad), *more]) == 1
        out, err = capsys.readouterr()
        assert f"{bad}: under these policies 0 of the security officers could still edit, approve and publish" in err
        assert f"{bad} is not good" in out


def test_check_knows_the_zones_of_a_configuration(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(folder, CONSOLE)
    config = write_config(tmp_path / "c", CONSOLE_SECTION + MINIMAL)  # without the zone and the shift
    assert main(["policy", "check", str(folder), "--config", str(config)]) == 1
    assert "out would be officer 1 (console." in capsys.readouterr().err
    assert main(["policy", "check", str(folder), "--config", str(write_config(tmp_path / "d", MINIMAL))]) == 0  # no console


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

import csv
import io
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import gateway.cli.audit
from gateway.cli import main
from tests.support.logs import Place, completion, decision, sign_in


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    await place.write([sign_in(), decision(0), completion(0), decision(1, outcome="deny")])
    return place


def tamper(place: Place) -> None:
    place.records().write_bytes(place.records().read_bytes().replace(b"/patients/10023", b"/patients/10024", 1))


def audit(*arguments: object) -> int:
    return main(["audit", *map(str, arguments)])


def test_a_whole_log(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit("verify", place.folder, "--anchor", place.anchor, "--public-key", place.folder / "public-key.pem") == 0
    said = capsys.readouterr()
    assert said.out.startswith("whole: 4 records in 1 segments, 2027-01-15T07:59:00.000Z to 2027-01-15T08:00:00.000Z\n")
    assert "only with" not in said.out
    assert said.err == ""


def test_what_was_not_checked_is_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit("verify", place.folder) == 0
    said = capsys.readouterr().out
    assert "found only with --public-key" in said
    assert "found only with --anchor" in said


def test_a_tampered_log(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    tamper(place)
    assert audit("verify", place.folder) == 1
    said = capsys.readouterr().out
    assert said.startswith("TAMPERED: 1 findings in 4 records")
    assert "segment-000001.jsonl:2: record 1 (2027-01-15T08:00:00.000Z): the record or its hash was changed" in said


def test_the_report_as_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit("verify", place.folder, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["records"], report["findings"]) == ("whole", 4, [])
    tamper(place)
    assert audit("verify", place.folder, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "tampered"
    assert report["findings"][0] | {"what": ""} == {
        "code": "record_changed",
        "what": "",
        "file": "segment-000001.jsonl",
        "line": 2,
        "index": 1,
        "at": "2027-01-15T08:00:00.000Z",
    }
    assert audit("verify", place.root / "nothing", "--json") == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["verdict"] == "unreadable"
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", [["verify"], ["export", "--format", "csv"]])
def test_what_can_not_be_read(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "nothing"], "does not exist"),
        ([tmp_path / "empty"], "holds no log"),
        ([tmp_path / "file"], "is not a folder"),
        ([place.folder, "--anchor", tmp_path / "nothing"], "can't be read (No such file or directory)"),
        ([place.folder, "--public-key", tmp_path / "nothing"], "can't be read (No such file or directory)"),
        ([place.folder, "--public-key", place.key], "holds no Ed25519 public key"),
    ]
    for arguments, message in cases:
        assert audit(*command, *arguments) == 2
        said = capsys.readouterr()
        assert message in said.err
        assert said.err.count("\n") == 1, "one line, with what to do"
        assert said.out == ""


AS_SOMEBODY_ELSE = """
import os, shutil, sys  # argparse asks for shutil later, when it can no longer be read
import gateway.cli.audit
from gateway.cli import main
if os.geteuid() == 0:  # root may read everything
    os.setgid(65534)
    os.setuid(65534)
sys.exit(main(["audit", "verify", sys.argv[1]]))
"""


def test_a_folder_without_permission(place: Place) -> None:
    place.folder.chmod(0)
    command = [sys.executable, "-c", AS_SOMEBODY_ELSE, str(place.folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path.cwd())
    place.folder.chmod(0o700)
    assert result.returncode == 2, result.stderr
    assert "can't be read (Permission denied)" in result.stderr
    assert result.stderr.count("\n") == 1


def test_export_to_a_file(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.csv"
    assert audit("export", place.folder, "--format", "csv", "--output", target) == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    rows = list(csv.reader(io.StringIO(target.read_text("utf-8-sig"))))
    assert len(rows) == 4
    assert list(tmp_path.glob("*.part")) == []
    assert capsys.readouterr().out == ""


def test_export_with_filters(place: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert (
        audit("export", place.folder, "--format", "jsonl", "--outcome", "deny", "--person", "dr.sato", "--since", "2027-01-15")
        == 0
    )
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["index"] for line in lines] == [3]


def test_export_of_a_tampered_log_warns_loudly(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    tamper(place)
    assert audit("export", place.folder, "--format", "csv", "--lang", "en") == 1
    said = capfd.readouterr()
    assert "WARNING: THE LOG WAS TAMPERED WITH" in said.err
    assert "segment-000001.jsonl:2" in said.err
    assert said.out.count("NOT VERIFIED") == 3


def test_export_errors(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases: list[tuple[list[object], str]] = [
        (["--since", "yesterday"], "'yesterday' is no date or time; write 2027-01-31"),
        (["--timezone", "JST"], "'JST' is no offset from UTC; write +09:00 or Z"),
        (["--output", tmp_path / "no" / "folder"], "can't be written (No such file or directory); the export is not complete"),
    ]
    for arguments, message in cases:
        assert audit("export", place.folder, "--format", "csv", *arguments) == 2
        said = capsys.readouterr()
        assert message in said.err
        assert said.err.count("\n") == 1


def test_progress_after_a_second(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ticks = iter([0.0, 0.5, 1.5, 2.0, 7.0])
    monkeypatch.setattr("gateway.cli.audit.time.monotonic", lambda: next(ticks))
    with gateway.cli.audit._Progress("verifying") as progress:
        for done in (10, 30, 50, 90):
            progress(done, 100)
    assert capsys.readouterr().err == "verifying: 30 %\nverifying: 90 %\n"


@pytest.mark.parametrize("command", [["--help"], ["verify", "--help"], ["export", "--help"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audit", *command])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "usage:" in said
    if len(command) == 2:
        assert "examples:\n  gateway audit" in said
        assert "Exit status: 0" in said

"""`gateway policy explain` and `gateway policy diff`, as a person runs them, over a real log and a real database."""

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from gateway.app.policies import Officers, open_desk
from gateway.changes.bundle_files import files_of_snapshot
from gateway.cli import main
from gateway.config import load_config
from gateway.domain.record import DecisionRecord
from gateway.kernel.clock import ManualClock
from gateway.lasting.sqlite import SqliteLasting
from gateway.policy.bundle import load_bundle
from gateway.policy.facts import Facts
from gateway.policy.folder import read_folder
from tests.support.configuration import MINIMAL, write_config
from tests.support.logs import START, Place, decision
from tests.support.policy import STARTER, facts

LEFT_OUT = facts(authentication={"key_touch_age_seconds": None}, device={"compliant": False})


class Site:
    """A configuration, the starter policies, and a log."""

    def __init__(self, folder: Path) -> None:
        text = MINIMAL.replace('dir = "policies"\n', 'dir = "policies"\ndatabase = "policies.sqlite3"\n')
        text = text.replace('[audit]\ndir = "audit"', '[audit]\ndir = "log"')
        text += '[[apps.routes]]\nid = "ehr.chart"\nmethods = ["GET"]\npath = "/patients/{patient}"\naction = "read"\n'
        self.folder = folder
        self.config = write_config(folder, text)
        self.policies = folder / "policies"
        self.policies.rmdir()
        shutil.copytree(STARTER, self.policies)
        self.database = folder / "policies.sqlite3"
        self.place = Place(folder)

    def write(self, *records: DecisionRecord) -> None:
        asyncio.run(self.place.write(records))

    def publish(self) -> None:
        """Put what is in the folder into the database, as the first start does."""
        config = load_config(self.config, {})
        lasting = SqliteLasting(self.database)
        desk = open_desk(config, lasting, ManualClock(START), Officers(None, ManualClock(START)))
        asyncio.run(desk.begin_with_folder(files_of_snapshot(read_folder(self.policies))))
        lasting.close()

    def record(self, number: int, what: Facts, **changes: object) -> DecisionRecord:
        bundle = load_bundle(self.policies)
        answer = bundle.evaluate(what)
        values = {
            "outcome": "allow" if answer.allowed else "deny",
            "policies": answer.policies,
            "errors": answer.errors,
            "bundle": bundle.version,
            "facts": msgspec.to_builtins(what),
            **changes,
        }
        return msgspec.structs.replace(decision(number), **values)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def explain(site: Site, *arguments: str) -> int:
    return main(["policy", "explain", "--config", str(site.config), *arguments])


def test_a_decision_of_the_log(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(decision(1), site.record(7, LEFT_OUT), decision(8))
    assert explain(site, "--decision", f"dec_{7:032x}", "--lang", "en") == 0
    out = capsys.readouterr().out
    assert "Person: dr.sato 佐藤 花子" in out
    assert "The same policies give the same answer to the same facts now." in out
    assert "Denied: no policy permits it." in out
    assert "1. bring the device into compliance" in out
    assert "Found: the device is not compliant" in out
    assert "10023" not in out  # the patient, whom no policy looked at
    assert explain(site, "--decision", f"dec_{7:032x}", "--ticket") == 0
    assert "端末が適合していない" in capsys.readouterr().out


def test_another_answer_than_the_recorded_one(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(site.record(1, LEFT_OUT, outcome="allow", policies=("ehr-read-clinical",)))
    assert explain(site, "--decision", f"dec_{1:032x}", "--lang", "en") == 1
    assert "give another answer" in capsys.readouterr().out


def test_policies_of_then_come_from_the_database(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.publish()
    site.write(site.record(1, LEFT_OUT))
    # The folder has moved on; the database keeps what decided.
    guards = site.policies / "guards.cedar"
    guards.write_text("// Newer.\n" + guards.read_text("utf-8"), "utf-8")
    assert explain(site, "--decision", f"dec_{1:032x}", "--lang", "en") == 0
    assert "the same answer" in capsys.readouterr().out


def test_policies_of_then_that_nobody_kept(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(site.record(1, LEFT_OUT, bundle="f" * 64))
    assert explain(site, "--decision", f"dec_{1:032x}", "--lang", "en") == 2
    assert "(version ffffffffffff) are not kept here" in capsys.readouterr().out


def test_a_record_that_no_policy_was_asked_for(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(msgspec.structs.replace(decision(1), outcome="challenge", reason="sign_in_required", facts=None, policies=()))
    assert explain(site, "--decision", f"dec_{1:032x}", "--lang", "en") == 0
    assert "Nobody was signed in, so no policy was asked" in capsys.readouterr().out


@pytest.mark.parametrize("nonsense", ["dec_" + "0" * 32, "", "../../etc/passwd", "\u202e", "x" * 3000])
def test_ids_of_nonsense(site: Site, nonsense: str, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(decision(1))
    assert explain(site, "--decision", nonsense) == 2
    err = capsys.readouterr().err
    assert "there is no decision" in err
    assert "\u202e" not in err


def test_what_if(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(site, "--role", "nurse", "--route", "ehr.chart", "--lang", "en") == 0
    out = capsys.readouterr().out
    assert out.startswith("Supposed\n  - the person's roles: nurse\n")
    assert "Allowed: a policy permits it" in out
    assert explain(site, "--role", "nurse", "--route", "ehr.chart", "--device", "none", "--lang", "en") == 0
    out = capsys.readouterr().out
    assert "1. register this device" in out
    assert "Found: the device is not registered" in out
    assert explain(site, "--role", "clerk", "--route", "ehr.chart") == 0
    assert "本人にできることはありません" in capsys.readouterr().out


def test_what_if_of_a_draft_and_of_any_fact(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    draft = site.folder / "draft"
    shutil.copytree(site.policies, draft)
    ehr = draft / "ehr.cedar"
    ehr.write_text(ehr.read_text("utf-8").replace('principal in Role::"nurse" || ', ""), "utf-8")
    what = ("--role", "nurse", "--route", "ehr.chart", "--fact", "network.zone=ward", "--at", "2027-01-15T22:30", "--lang", "en")
    assert explain(site, *what, "--policies", str(draft)) == 0
    assert "Denied" in capsys.readouterr().out
    assert explain(site, *what) == 0
    assert "Allowed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--role", "nurse"), "give --decision ID, or --route ROUTE"),
        (("--decision", "dec_1", "--route", "ehr.chart"), "give --decision ID, or --route ROUTE"),
        (("--route", "ehr.chrt"), "there is no route 'ehr.chrt'. There are: ehr.chart, ehr.home"),
        (("--route", "ehr.chart", "--fact", "device.complaint=no"), "Did you mean device.compliant?"),
        (("--route", "ehr.chart", "--fact", "nonsense"), "Write NAME=VALUE"),
        (("--route", "ehr.chart", "--at", "noon"), "no date or time"),
        (("--route", "ehr.chart", "--person", "dr.sato"), "accounts are kept by the provider"),
        (("--route", "ehr.chart", "--policies", "/nowhere"), "can't be read"),
    ],
)
def test_what_cannot_be_explained(site: Site, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(site, *arguments) == 2
    assert says in capsys.readouterr().err


def test_diff_of_two_folders(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    draft = site.folder / "draft"
    shutil.copytree(site.policies, draft)
    assert main(["policy", "diff", str(site.policies), str(draft)]) == 0
    assert capsys.readouterr().out == "判定の内容に違いはありません。\n"
    ehr = draft / "ehr.cedar"
    ehr.write_text(ehr.read_text("utf-8").replace("key_touch_age_seconds < 300", "key_touch_age_seconds < 600"), "utf-8")
    assert main(["policy", "diff", str(site.policies), str(draft), "--lang", "en"]) == 1
    out = capsys.readouterr().out
    assert "~ ehr-prescribe-physician (permits)" in out
    assert "+ the security key was touched less than 10 min ago" in out


def test_diff_with_what_is_in_force(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.publish()
    guards = site.policies / "guards.cedar"
    guards.write_text(guards.read_text("utf-8").replace('@mode("report-only")\n', "", 1), "utf-8")
    assert main(["policy", "diff", str(site.policies), "--config", str(site.config), "--lang", "en"]) == 1
    assert "it is enforced now; before, it was only recorded" in capsys.readouterr().out


def test_diff_of_what_cannot_be_read(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "diff", str(site.policies), str(site.folder / "nowhere")]) == 2
    assert "can't be read" in capsys.readouterr().err
    assert main(["policy", "diff", str(site.policies)]) == 2
    assert "give OTHER, or --config FILE" in capsys.readouterr().err

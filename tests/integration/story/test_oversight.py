"""Those who oversee: the security officer watches and cuts off, the auditor takes the log away and verifies it offline."""

import csv
import io
import shutil
import time
from pathlib import Path
from typing import Final

import msgspec
from playwright.sync_api import Locator, Page, expect

from tests.support.demo import Demo
from tests.support.visitor import Arrive, Visitor

CHART: Final = "/patients/P1001"
STREAM: Final = f"{CHART}/vitals/stream"
NAME: Final = "見本 花子"


def test_the_officer_watches_and_ends_a_session(demo: Demo, arrive: Arrive) -> None:
    yamamoto = arrive("sec.yamamoto", folder="officer")
    page = yamamoto.page
    yamamoto.open("console")
    yamamoto.sign_in()
    yamamoto.reach("console")
    page.wait_for_function("() => document.getElementById('live').dataset.now === 'on'")
    page.evaluate("() => { window.notReloaded = true; }")

    # What Dr. Sato does appears while it happens.
    sato = arrive("dr.sato", folder="officer-victim", desk="内科外来 2番")
    sato.reach("ehr", CHART)
    sato.page.wait_for_function("() => document.getElementById('vitals').dataset.now === 'live'")
    rows = page.locator("tbody[data-decisions] tr")
    seen = rows.filter(has_text="佐藤 恵").filter(has_text=f"GET {CHART}").filter(has_text="許可")
    expect(seen.first).to_be_visible()
    expect(page.locator("tbody[data-happenings] tr").filter(has_text="サインイン成功").first).to_be_visible()
    assert page.evaluate("() => window.notReloaded")
    page.fill("input[name=person]", "佐藤")
    expect(rows.locator("visible=true").filter(has_text="山本")).to_have_count(0)
    yamamoto.look("live")
    yamamoto.open("console", "/devices")
    yamamoto.look("devices")
    yamamoto.open("console", "/policies")
    listed = page.locator("ul.policies li")
    expect(listed.filter(has_text="ehr-prescribe-physician")).to_have_count(1)
    assert listed.filter(has_text="記録のみ").count() == 3
    yamamoto.look("policies")

    # The session is ended: the open stream with it, within a second, and the page shows the record no longer.
    stream = sato.open_stream(STREAM)
    yamamoto.open("console", "/sessions")
    victim = page.locator("tbody tr").filter(has_text=sato.desk)
    victim.locator("summary").first.click()
    yamamoto.look("revoke")
    pressed = time.time() * 1000
    yamamoto.act(victim.locator("form button").first.click)
    ended = stream.evaluate("() => window.ended")
    assert ended["code"] == 1008
    assert 0 <= ended["at"] - pressed < 1000, "the open stream ends within a second"
    assert "セッションを終了しました" in yamamoto.text()
    expect(page.locator("tbody tr").filter(has_text=sato.desk)).to_have_count(0)
    yamamoto.look("revoked")
    sato.page.wait_for_url(lambda url: "//id." in url)
    assert NAME not in sato.page.locator("body").inner_text()
    sato.look("out")
    told = [
        row
        for row in demo.log("--person", "dr.sato")
        if row.get("event") == "session.revoked" and row["source"]["door"] == "console"
    ]
    assert [row["actor"]["login"] for row in told] == ["sec.yamamoto"]


def test_the_officer_blocks_a_device_and_lets_it_in_again(demo: Demo, arrive: Arrive) -> None:
    yamamoto = arrive("sec.yamamoto", folder="officer-devices")
    sato = arrive("dr.sato", folder="blocked", desk="救急外来 1番")
    sato.open("ehr")
    sato.sign_in()
    sato.press("#start")
    sato.register_device()
    sato.reach("ehr", CHART)
    sato.page.wait_for_function("() => document.getElementById('vitals').dataset.now === 'live'")
    yamamoto.reach("console", "/devices")
    row = yamamoto.page.locator("tbody tr").filter(has_text=sato.desk)
    row.locator("summary.danger").click()
    yamamoto.look("block")
    _press(yamamoto, row, "block")
    assert "端末の利用を停止しました" in yamamoto.text()

    # Open pages stop by themselves; a new one says why.
    sato.page.wait_for_function("() => document.getElementById('vitals')?.dataset.now !== 'live'")
    sato.open("ehr", CHART)
    for title, whom in (("この端末は利用を停止されています", "情報システム担当"), ("This device is blocked", "IT staff")):
        assert sato.heading() == title
        assert whom in sato.text()
        sato.look(f"blocked-{sato.language}")
        sato.switch_language()

    _press(yamamoto, row, "unblock")
    sato.open("ehr", CHART)
    assert sato.heading() == "端末の承認を待っています"
    sato.look("pending")
    _press(yamamoto, row, "approve")
    sato.open("ehr", CHART)
    assert sato.heading() == NAME
    yamamoto.look("approved")


def test_the_officer_invites_those_who_lack_a_proofing_and_ends_one(demo: Demo, arrive: Arrive) -> None:
    suzuki = arrive("nurse.suzuki", folder="proofing-ended", desk="3東病棟 7番")
    suzuki.reach("ehr", CHART)
    yamamoto = arrive("sec.yamamoto", folder="officer-proofings")
    page = yamamoto.page
    yamamoto.reach("console", "/proofing")
    row = page.locator("tbody tr").filter(has_text="nurse.suzuki")
    expect(row).to_contain_text("有効")
    yamamoto.look("staff")

    yamamoto.reach("console", "/proofing/invite")
    yamamoto.look("whom-to-invite")
    yamamoto.act(page.locator("form[action$='/choose'] button").first.click)
    yamamoto.look("invite")
    expect(page.locator("tbody tr").filter(has_text="nurse.suzuki")).to_have_count(0)
    yamamoto.act(page.locator("form[action='/proofing/invite'] button").click)
    assert "案内しました" in yamamoto.text()
    yamamoto.look("invited")

    yamamoto.open("console", "/proofing?q=nurse.suzuki")
    yamamoto.act(page.locator("tbody th a").click)
    page.locator("summary").first.click()
    page.check("[value=officer]")
    yamamoto.act(page.locator("form[action$='/end'] button").click)
    assert "本人確認を終了しました" in yamamoto.text()
    yamamoto.look("ended")
    suzuki.open("ehr", CHART)
    assert suzuki.heading() == "本人確認が必要です"

    told = [row for row in demo.log("--person", "sec.yamamoto") if row.get("event") in {"console.act", "proofing.ended"}]
    assert {(row["event"], row["source"]["door"], row["outcome"]) for row in told} == {
        ("console.act", "console", "success"), ("proofing.ended", "idp", "success"),
    }  # fmt: skip
    nakamura = arrive("audit.nakamura", folder="auditor-proofings")
    nakamura.reach("console", "/proofing/batches")
    nakamura.open("console", "/proofing/counter")
    assert nakamura.page.locator("input").count() == 0, "the counter is for officers"


def test_the_auditor_looks_exports_and_changes_nothing(demo: Demo, arrive: Arrive, tmp_path: Path) -> None:
    nakamura = arrive("audit.nakamura", folder="auditor")
    page = nakamura.page
    nakamura.reach("console", "/sessions")
    assert page.locator("form[action$='/revoke']").count() == 0, "an auditor looks and does not touch"
    assert page.evaluate("async () => (await fetch('/sessions/ses_x/revoke', { method: 'POST' })).status") == 403
    nakamura.look("sessions")
    nakamura.open("console", "/export")
    nakamura.look("export")
    rows = list(csv.reader(io.StringIO(_exported(page, "csv").decode("utf-8-sig"))))
    assert len({len(row) for row in rows}) == 1, "as many cells in every row"
    assert any("中村 律" in row for row in rows[1:])
    lines = [msgspec.json.decode(line) for line in _exported(page, "jsonl").splitlines()]
    assert any(line["record"].get("event") == "gateway.started" for line in lines)
    assert {line["integrity"] for line in lines} <= {"signed", "unsigned"}
    exports = [row for row in demo.log("--person", "audit.nakamura") if row.get("event") == "console.export"]
    assert len(exports) == 2, "taking the log away is in the log"
    nakamura.switch_language()
    nakamura.look("export-en")

    # Offline: whole; one byte changed: where; not a log: 2.
    whole = demo.verify()
    assert whole.returncode == 0, whole.stdout + whole.stderr
    copy = tmp_path / "copy"
    shutil.copytree(demo.shown.log_dir, copy)
    segment = next(path for path in sorted(copy.rglob("*")) if path.is_file() and b"signin.succeeded" in path.read_bytes())
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b"signin.succeeded", b"signin.succeedec", 1))
    tampered = demo.verify(copy)
    assert tampered.returncode == 1
    assert "TAMPERED" in tampered.stdout
    assert segment.name in tampered.stdout
    nothing = demo.verify(tmp_path / "nowhere")
    assert nothing.returncode == 2
    assert len(nothing.stderr.strip().splitlines()) == 1


# ----------------------------------------------------------------------


def _press(officer: Visitor, row: Locator, change: str) -> None:
    """Press a button of a row; those that hurt unfold first."""
    button = row.locator(f"form[action$='/{change}'] button").first
    if not button.is_visible():
        row.locator(f"details:has(form[action$='/{change}']) summary").click()
    officer.act(button.click)


def _exported(page: Page, form: str) -> bytes:
    page.check(f"input[name=format][value={form}]")
    with page.expect_download() as download:
        page.click("form.export button")
    assert download.value.suggested_filename.endswith(f".{form}")
    return download.value.path().read_bytes()

"""Everybody sees what their role may, and every "no" says why, in both languages."""

from typing import Final

import pytest
from playwright.sync_api import FilePayload

from tests.support.demo import Demo
from tests.support.visitor import Arrive, Visitor

CHART: Final = "/patients/P1002"
NO_ROLE: Final = {"ja": "このページを開く権限がありません", "en": "You do not have access to this page"}
NO_RIGHT: Final = "この操作を行う権限がありません"
FORBIDDEN: Final = {"ja": "この操作は許可されていません", "en": "This is not allowed"}
WHOM_TO_ASK: Final = {"ja": "情報システム担当", "en": "IT staff"}
NOTE: Final = b"\x00note"


def test_a_nurse_reads_and_uploads_and_does_not_prescribe(demo: Demo, arrive: Arrive) -> None:
    suzuki = arrive("nurse.suzuki", folder="nurse")
    suzuki.reach("ehr", CHART)
    suzuki.page.wait_for_function("() => document.getElementById('vitals').dataset.now === 'live'")
    suzuki.page.set_input_files("#file", files=[FilePayload(name="看護記録.txt", mimeType="text/plain", buffer=NOTE)])
    suzuki.press("form.upload button")
    assert "書類を登録しました：看護記録.txt" in suzuki.text()
    suzuki.open("imaging")
    assert suzuki.host() == "imaging"
    suzuki.look("imaging")
    suzuki.press("main li a")
    suzuki.look("study")

    suzuki.open("ehr", f"{CHART}/prescriptions/new")
    page = suzuki.page
    page.select_option("#drug", "amlodipine-5")
    page.fill("#amount", "1")
    page.fill("#days", "7")
    page.select_option("#timing", "bid")
    suzuki.press("form.body button[type=submit]")
    assert suzuki.heading() == NO_RIGHT
    assert "送信しようとした内容は登録されていません" in suzuki.text()
    assert page.locator("#start, #resend").count() == 0, "nothing that this person can do would let it through"
    suzuki.look("prescription-refused")
    assert not (demo.data / "ehr" / "prescriptions" / "P1002").exists()
    _refused_everywhere(suzuki, [("console", "/")], NO_ROLE)


def test_a_pharmacist_reads_the_chart_and_adds_nothing_to_it(demo: Demo, arrive: Arrive) -> None:
    takahashi = arrive("pharm.takahashi", folder="pharmacist")
    takahashi.reach("ehr", CHART)
    assert takahashi.page.locator("#prescriptions").is_visible()
    large = FilePayload(name="note.txt", mimeType="text/plain", buffer=NOTE * 100_000)
    takahashi.page.set_input_files("#file", files=[large])
    takahashi.press("form.upload button")
    assert takahashi.heading() == NO_RIGHT
    assert WHOM_TO_ASK["ja"] in takahashi.text()
    assert "送信しようとした内容は登録されていません" in takahashi.text()
    takahashi.look("upload-refused")
    kept = list((demo.data / "ehr" / "documents").rglob("*.bin"))
    assert not [path for path in kept if path.stat().st_size == len(NOTE * 100_000)]
    _refused_everywhere(takahashi, [("imaging", "/"), ("console", "/sessions")], NO_ROLE)


def test_a_vendor_opens_nothing_and_is_told_so(demo: Demo, arrive: Arrive) -> None:
    ito = arrive("vendor.ito", folder="vendor")
    ito.open("portal")
    ito.sign_in()
    assert ito.heading() == "伊藤 健 さん"
    ito.look("portal")
    _refused_everywhere(ito, [("ehr", "/"), ("imaging", "/"), ("console", "/")], FORBIDDEN)
    assert ito.page.locator("#start").count() == 0


@pytest.mark.parametrize(("language", "title"), [("ja", "ページが見つかりません"), ("en", "Page not found")])
def test_an_address_that_leads_nowhere_says_so(arrive: Arrive, language: str, title: str) -> None:
    suzuki = arrive("nurse.suzuki", language=language, folder=f"nowhere-{language}")
    suzuki.open("ehr", "/admin")
    assert suzuki.heading() == title
    suzuki.look("no-route")
    suzuki.open("ehr", "/patients//P1001")
    suzuki.look("refused")
    suzuki.open("portal", "/.gateway/go?flow=none")
    suzuki.look("flow-expired")


# ----------------------------------------------------------------------


def _refused_everywhere(person: Visitor, places: list[tuple[str, str]], title: dict[str, str]) -> None:
    for host, path in places:
        person.open(host, path)
        for _ in ("ja", "en"):
            assert person.host() == host
            assert person.heading() == title[person.language], f"{host}{path}: {person.text()}"
            assert WHOM_TO_ASK[person.language] in person.text()
            assert "dec_" in person.text(), "a reference for the help desk"
            person.look(f"{host}-refused-{person.language}")
            person.switch_language()

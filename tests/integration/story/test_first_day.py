"""Dr. Sato's first day: from an unknown browser to a prescription, through every check, in both languages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import FilePayload, Page, expect

from gateway.demo.patients import PATIENTS
from tests.support.demo import Demo, running_demo
from tests.support.visitor import Arrive, Visitor

PATIENT: Final = "P1001"
CHART: Final = f"/patients/{PATIENT}"
COMMENT: Final = "食後に服用。\n「めまい」があれば <至急> 連絡 & 相談"
SCAN: Final = bytes(range(256)) * 512
FILE: Final[FilePayload] = {"name": "紹介状 (1).pdf", "mimeType": "application/pdf", "buffer": SCAN}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Demo]:
    """A demo in which nobody has ever done anything."""
    with running_demo(tmp_path, recorded=True) as running:
        yield running


def test_dr_sato_goes_from_nothing_to_a_prescription_in_japanese(fresh: Demo, arrive: Arrive) -> None:
    sato = arrive("dr.sato", fresh, folder="first-day-ja")
    page = sato.page

    # The EHR sends the browser to the identity provider: a password, and the code that `gateway demo --code` prints.
    sato.open("ehr")
    assert sato.host() == "id"
    assert sato.heading() == "サインイン"
    sato.look("sign-in")
    sato.type_password()
    assert sato.heading() == "認証アプリの番号を入力してください"
    sato.look("code")
    code = fresh.printed_code("dr.sato")
    assert re.fullmatch(r"[0-9]{6}\n", code)
    with page.expect_navigation():
        page.locator("input[data-code]").press_sequentially(code.strip())

    # The page says what is missing, all of it, and what comes first.
    page.wait_for_url(re.compile(r"//ehr\."))
    assert sato.heading() == "この端末の登録が必要です"
    steps = page.locator("ol.steps li")
    assert [step.split("\n")[0] for step in steps.all_inner_texts()] == ["この端末の登録", "本人確認"]
    sato.look("device-needed")
    sato.press("#start")
    assert sato.heading() == "この端末を登録します"
    sato.look("device")
    sato.register_device()

    # Then the card, with a verifier that says of itself that it is none.
    assert sato.host() == "ehr"
    assert sato.heading() == "本人確認が必要です"
    assert steps.count() == 0, "one thing is left: no list of one"
    sato.look("proofing-needed")
    sato.press("#start")
    assert "実際のカードは読み取らず、誰の確認も行いません" in page.locator(".simulated").inner_text()
    assert "個人番号(マイナンバー)、電子証明書、顔写真、住所は保存しません。" in sato.text()
    assert "個人番号を求めることは決してありません。" in sato.text()
    sato.look("proofing")
    sato.press("form[action='/login/proofing'] button")
    assert "模擬の本人確認です。カードは読み取りません" in page.locator(".simulated").inner_text()
    sato.look("simulated-verifier")
    sato.press("button[value=success]")
    assert sato.heading() == "本人確認ができました"
    sato.look("proofed")
    sato.press("main a.button")

    # The record system.
    assert sato.host() == "ehr"
    assert sato.heading() == "病棟の状況"
    sato.look("ehr")
    sato.press("a[href='/patients']")
    assert page.locator("tbody tr").count() == len(PATIENTS)
    sato.look("patients")
    sato.press(f"a[href='{CHART}']")
    _vitals_are_live(page)
    sato.look("chart")

    # Server-sent events: what happens in one tab is heard in the other, without a reload.
    other = sato.context.new_page()
    other.goto(f"{fresh.urls['ehr']}/")
    notices = other.locator("#notices li")
    notices.first.wait_for()
    page.set_input_files("#file", files=[FILE])
    sato.press("form.upload button")
    expect(page.locator("p.saved")).to_have_text(re.compile(r"書類を登録しました：紹介状 \(1\)\.pdf（128.0 KiB）"))
    expect(notices.filter(has_text="見本 花子様の書類が登録されました。")).to_have_count(1)
    sato.look("notices", other)
    other.close()
    with page.expect_download() as download:
        page.click("#documents th a")
    assert download.value.suggested_filename == FILE["name"]
    assert download.value.path().read_bytes() == SCAN

    # Prescribing wants a touch of the key from the last five minutes: just that is asked for, and the form stays.
    _write_prescription(sato)
    sato.look("prescription-form")
    sato.press("form.body button[type=submit]")
    assert sato.heading() == "セキュリティキーで確認してください"
    assert "直近5分以内" in sato.text()
    assert "入力した内容はまだ送信されていません" in sato.text()
    sato.look("key-needed")
    with sato.step_window() as window:
        window.locator("input[data-code]").wait_for()  # a first key: only after a fresh second factor
        sato.type_code(window)
        assert window.locator("h1").inner_text() == "パスキー・セキュリティキーの登録"
        sato.look("register-key", window)
        sato.register_key(window)
    expect(page).to_have_title("手続きが済みました")
    expect(page.locator("#start")).to_be_hidden()
    expect(page.locator("#resend")).to_be_focused()
    sato.look("key-touched")
    sato.act(lambda: page.keyboard.press("Enter"))
    assert page.url.startswith(f"{fresh.urls['ehr']}{CHART}?prescription=rx_")
    expect(page.locator("p.saved")).to_have_text("処方を登録しました：アムロジピン錠 5mg")
    order = page.locator("#prescriptions li.new")
    assert order.locator(".comment").inner_text() == COMMENT
    assert "1回1.5錠 1日2回 朝夕食後 14日分" in order.inner_text()
    assert "佐藤 恵" in order.inner_text()
    sato.look("prescribed")

    # Within five minutes the next one passes at once.
    _write_prescription(sato)
    sato.press("form.body button[type=submit]")
    expect(page.locator("p.saved")).to_be_visible()
    assert len(list((fresh.data / "ehr" / "prescriptions" / PATIENT).glob("*.json"))) == 2

    sato.open("portal")
    assert sato.heading() == "佐藤 恵 さん"
    assert "3階東病棟 1番" in sato.text()
    sato.look("portal")
    _the_log_tells_it(fresh)


def test_dr_sato_goes_from_nothing_to_a_prescription_in_english(fresh: Demo, arrive: Arrive) -> None:
    sato = arrive("dr.sato", fresh, language="en", folder="first-day-en", desk="3 East, nurses' station, no. 1")
    page = sato.page
    sato.open("ehr", CHART)
    assert sato.heading() == "Sign in"
    sato.look("sign-in")
    sato.type_password()
    sato.look("code")
    sato.type_code()
    page.wait_for_url(re.compile(r"//ehr\."))
    assert sato.heading() == "This device must be registered"
    sato.look("device-needed")
    sato.press("#start")
    sato.look("device")
    sato.register_device()
    assert sato.heading() == "An identity check is needed"
    sato.look("proofing-needed")
    sato.press("#start")
    assert "simulat" in page.locator(".simulated").inner_text().lower()
    sato.look("proofing")
    sato.press("form[action='/login/proofing'] button")
    sato.look("simulated-verifier")
    sato.press("button[value=success]")
    sato.look("proofed")
    sato.press("main a.button")

    # Back at the very page that was asked for at first.
    assert page.url == f"{fresh.urls['ehr']}{CHART}"
    _vitals_are_live(page)
    sato.look("chart")
    _write_prescription(sato)
    sato.press("form.body button[type=submit]")
    assert sato.heading() == "Confirm with your security key"
    assert "has not been sent" in sato.text()
    sato.look("key-needed")
    with sato.step_window() as window:
        window.locator("input[data-code]").wait_for()
        sato.type_code(window)
        sato.look("register-key", window)
        sato.register_key(window)
    expect(page.locator("#resend")).to_be_focused()
    sato.look("key-touched")
    sato.act(lambda: page.keyboard.press("Enter"))
    expect(page.locator("p.saved")).to_be_visible()
    assert page.locator("#prescriptions li.new .comment").inner_text() == COMMENT
    sato.look("prescribed")
    sato.open("portal")
    sato.look("portal")
    sato.sign_out()
    sato.look("signed-out")


# ---------------------------------------------------------------------- parts of the story


def _vitals_are_live(page: Page) -> None:
    values = "() => [...document.querySelectorAll('#vitals output')].map((each) => each.textContent).join(' ')"
    page.wait_for_function("() => document.getElementById('vitals').dataset.now === 'live'")
    before = page.evaluate(values)
    assert "--" not in before
    page.wait_for_function(f"(before) => ({values})() !== before", arg=before)


def _write_prescription(sato: Visitor) -> None:
    page = sato.page
    sato.open("ehr", f"{CHART}/prescriptions/new")
    page.select_option("#drug", "amlodipine-5")
    page.fill("#amount", "１.５")  # as a Japanese keyboard gives them
    page.fill("#days", "14")
    page.select_option("#timing", "bid")
    page.fill("#comment", COMMENT)


def _the_log_tells_it(demo: Demo) -> None:
    rows = demo.log()
    orders = [row for row in rows if row.get("route") == "ehr.prescribe"]
    assert [row["outcome"] for row in orders] == ["deny", "allow", "allow"]
    denied, allowed, _ = orders
    assert denied["remedy"] == ["key_touch"]
    assert denied["completion"] is None, "the record system saw nothing of it"
    assert allowed["facts"]["authentication"]["key_touch_age_seconds"] < 300
    assert allowed["patient"] == PATIENT
    assert allowed["policies"] == ["ehr-prescribe-physician"]
    assert allowed["completion"]["status"] == 303
    assert {row["actor"]["login"] for row in orders} == {"dr.sato"}
    events = [row["event"] for row in rows if row["type"] == "event"]
    for name in ("gateway.started", "signin.succeeded", "device.registered", "proofing.succeeded", "factor.registered"):
        assert name in events
    whole = demo.verify()
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "whole" in whole.stdout
    written = b"".join(path.read_bytes() for path in Path(demo.shown.log_dir).rglob("*") if path.is_file())
    for secret in (demo.password("dr.sato"), "めまい", "\\u3081\\u307e\\u3044"):
        assert secret.encode() not in written

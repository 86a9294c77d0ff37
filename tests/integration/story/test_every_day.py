"""The days after: the passkey alone signs in, and signing out ends everything at once."""

import http.client
import re
from typing import Final

from playwright.sync_api import Page, expect

from gateway.domain.cookies import SESSION_COOKIE
from tests.support.demo import Demo
from tests.support.visitor import Arrive, Visitor

CHART: Final = "/patients/P1001"
NAME: Final = "見本 花子"


def test_from_then_on_the_passkey_alone_signs_in(demo: Demo, arrive: Arrive) -> None:
    sato = arrive("dr.sato", folder="every-day")
    sato.reach("ehr")
    sato.own_a_key()
    sato.reach("ehr")
    sato.sign_out()

    # The same browser: one press of Enter on the empty form, and the record is open. Nothing else is asked.
    sato.open("ehr", CHART)
    assert sato.heading() == "サインイン"
    sato.hold_key(sato.page)
    sent: list[str] = []
    sato.page.on("request", lambda request: sent.append(request.post_data or "") if request.method == "POST" else None)
    sato.page.keyboard.press("Enter")
    sato.page.wait_for_url(f"{demo.urls['ehr']}{CHART}")
    assert sato.heading() == NAME
    assert sent, "the key's answer was sent"
    assert not any("password=" in body or "code=" in body for body in sent)
    sato.open("portal")
    assert "登録済み(ブラウザの鍵)" in sato.text(), "the device proved its key on the way"
    assert "認証方法\nパスキー・セキュリティキー\n" in sato.text()
    sato.look("portal-passkey-alone")

    # Another browser: the key is in the pocket, the device is not. The identity stays proofed.
    elsewhere = arrive("dr.sato", language="en", folder="every-day-elsewhere")
    elsewhere.open("ehr")
    elsewhere.press("form[action='/login/key'] button")
    elsewhere.page.wait_for_url(re.compile(r"//ehr\."))
    assert elsewhere.heading() == "This device must be registered"
    assert elsewhere.page.locator("ol.steps").count() == 0
    assert elsewhere.page.locator("#start").inner_text() == "Register this device"


def test_a_form_outlives_the_session_that_it_was_written_in(demo: Demo, arrive: Arrive) -> None:
    sato = arrive("dr.sato", folder="form-outlives")
    sato.reach("ehr")
    sato.own_a_key()
    sato.open("ehr", f"{CHART}/prescriptions/new")
    page = sato.page
    page.select_option("#drug", "loxoprofen-60")
    page.fill("#amount", "1")
    page.fill("#days", "3")
    page.select_option("#timing", "tid")
    page.fill("#comment", "疼痛時")
    other = sato.context.new_page()
    other.goto(demo.urls["portal"])
    with other.expect_navigation(url=re.compile("signed-out")):
        other.click("#sign-out")
    other.close()

    sato.press("form.body button[type=submit]")
    assert sato.host() == "ehr"
    assert sato.heading() == "サインインしてください"
    assert "入力した内容はまだ送信されていません" in sato.text()
    sato.look("kept")
    with sato.step_window() as window:
        assert window.locator("h1").inner_text() == "サインイン"
        window.click("form[action='/login/key'] button")
    expect(page.locator("#resend")).to_be_focused()
    sato.look("signed-in-again")
    sato.press("#resend")
    assert "処方を登録しました：ロキソプロフェン錠 60mg" in sato.text()
    assert page.locator("#prescriptions li.new .comment").inner_text() == "疼痛時"


def test_signing_out_ends_everything_at_once(demo: Demo, arrive: Arrive) -> None:
    sato = arrive("dr.sato", folder="sign-out")
    sato.reach("imaging")
    imaging = sato.page
    chart = sato.context.new_page()
    chart.goto(f"{demo.urls['ehr']}{CHART}")
    _settle(sato, chart)
    stream = sato.open_stream(f"{CHART}/vitals/stream")
    stored = next(cookie for cookie in sato.context.cookies(demo.urls["ehr"]) if cookie["name"] == SESSION_COOKIE)
    copied = f"{stored['name']}={stored['value']}"
    assert _status(demo, CHART, copied) == 200

    # One press in one tab.
    with (
        chart.expect_response(re.compile("/.gateway/sign-out")) as pressed,
        chart.expect_navigation(url=re.compile("signed-out")),
    ):
        chart.click("form[action='/.gateway/sign-out'] button")
    answered = pressed.value.request.timing["startTime"] + pressed.value.request.timing["responseStart"]
    ended = stream.evaluate("() => window.ended")
    assert ended["code"] == 1008
    assert ended["at"] - answered < 1000, "the open stream ends within a second"
    assert chart.locator("h1").inner_text() == "サインアウトしました"
    sato.look("signed-out", chart)

    # The other tab, the back button, the old cookie: nothing.
    imaging.reload()
    assert sato.host() == "id"
    assert sato.heading() == "サインイン"
    for _ in range(3):
        chart.go_back(wait_until="load")
        chart.wait_for_load_state("load")
        assert NAME not in chart.locator("body").inner_text()
    chart.goto(f"{demo.urls['ehr']}{CHART}")
    assert chart.locator("h1").inner_text() == "サインイン"
    assert _status(demo, CHART, copied) == 302
    assert _status(demo, f"{CHART}/vitals/stream", copied, upgrade=True) == 401
    assert sato.page.locator("input[name=login]").input_value() == "", "a shared terminal remembers nobody"


# ----------------------------------------------------------------------


def _settle(sato: Visitor, page: Page) -> None:
    assert page.url == f"{sato.demo.urls['ehr']}{CHART}", "one sign-in and one device serve both systems"
    page.wait_for_function("() => document.getElementById('vitals').dataset.now === 'live'")


def _status(demo: Demo, path: str, cookie: str, *, upgrade: bool = False) -> int:
    """What somebody who copied the cookie gets."""
    connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=10)
    headers = {"Host": f"ehr.localhost:{demo.port}", "Cookie": cookie, "Accept": "text/html"}
    if upgrade:
        headers |= {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": demo.urls["ehr"],
        }  # fmt: skip
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status

"""The card step when it goes wrong: each page says why and what to do, nothing is granted, and a service that is down is no "no".

The clerk, who then gets as far as a clerk may.
"""

from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import expect

from tests.support.demo import Demo, running_demo
from tests.support.visitor import Arrive, Visitor

TOLD: Final = {
    "wrong_person": {
        "ja": (
            "ご本人のカードではありません",
            "職員名簿の情報と一致しませんでした",
            "ご本人のマイナンバーカードでやり直してください",
        ),
        "en": ("This is not your card", "does not match the staff ledger", "Try again with your own My Number Card"),
    },
    "expired": {
        "ja": ("カードの有効期限が切れています", "電子証明書の有効期限が切れている", "市区町村の窓口で更新してから"),
        "en": ("The card has expired", "The card or its certificate has expired", "Renew yours at your municipal office"),
    },
    "down": {
        "ja": (
            "確認サービスが応答しません",
            "カードやご本人に問題があるわけではありません",
            "数分待ってからやり直してください",
        ),
        "en": (
            "The verification service does not answer",
            "says nothing about you or your card",
            "Wait a few minutes and try again",
        ),
    },
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One of this module's own: in the shared one these people may have proved who they are."""
    with running_demo(tmp_path_factory.mktemp("card")) as running:
        yield running


def test_each_outcome_says_why_and_what_to_do_and_none_lets_in(demo: Demo, arrive: Arrive) -> None:
    tanaka = arrive("clerk.tanaka", folder="card")
    page = tanaka.page
    tanaka.open("ehr", "/patients")
    tanaka.sign_in()
    tanaka.press("#start")
    tanaka.register_device()
    assert tanaka.heading() == "本人確認が必要です"
    tanaka.press("#start")
    for outcome in TOLD:
        for language in ("ja", "en"):
            _ends(tanaka, outcome, language)
    assert _outcomes(demo) == [
        *[("proofing.refused", "wrong_person")] * 2,
        *[("proofing.refused", "card_expired")] * 2,
        *[("proofing.broken", "simulated: the service does not answer")] * 2,
    ]

    # Nothing was granted, and nothing was taken: the same step can be done now.
    away = tanaka.context.new_page()
    away.goto(f"{demo.urls['ehr']}/patients")
    assert "step=identity_proofing" in (away.locator("#start").get_attribute("href") or "")
    away.close()
    tanaka.press("main a.button")
    tanaka.prove_identity()
    assert page.url == f"{demo.urls['ehr']}/patients"
    expect(page.locator("tbody tr").first).to_be_visible()
    tanaka.language = "ja"  # each host keeps its own choice; at the EHR it is still the browser's
    tanaka.look("clerk-patients")

    # A clerk sees the list and no chart.
    tanaka.open("ehr", "/patients/P1001")
    assert tanaka.heading() == "このページを開く権限がありません"
    tanaka.look("clerk-chart-ja")
    tanaka.switch_language()
    assert tanaka.heading() == "You do not have access to this page"
    tanaka.look("clerk-chart-en")


def test_the_step_can_be_left_and_says_so(demo: Demo, arrive: Arrive) -> None:
    takahashi = arrive("pharm.takahashi", folder="card-left")
    takahashi.open("ehr")
    takahashi.sign_in()
    takahashi.press("#start")
    takahashi.register_device()
    takahashi.press("#start")
    takahashi.press("form[action='/login/proofing'] button")
    takahashi.press("button[value=cancel]")
    takahashi.look("cancelled")
    takahashi.press("form[action='/login/cancel'] button")
    assert takahashi.host() == "portal"
    assert takahashi.heading() == "続けられませんでした"
    assert "手続きは中止されました" in takahashi.text()
    takahashi.look("left")
    takahashi.press("main a.button")
    assert takahashi.heading() == "マイナンバーカードによる本人確認"


# ----------------------------------------------------------------------


def _ends(person: Visitor, outcome: str, language: str) -> None:
    """From the card page to an outcome, told in a language, and back to the card page."""
    if person.heading() not in {"マイナンバーカードによる本人確認", "Identity check with your My Number Card"}:
        person.press("main a.button")
    if person.language != language:
        person.switch_language()
    person.press("form[action='/login/proofing'] button")
    with person.page.expect_response("**/login/proofing?tx=*") as answer:
        person.press(f"button[value={outcome}]")
    assert answer.value.status == (503 if outcome == "down" else 403)
    title, why, todo = TOLD[outcome][language]
    assert person.heading() == title
    assert why in person.text()
    assert todo in person.text()
    looks = person.page.locator("[role=alert]").get_attribute("class")
    assert looks == ("notice warn" if outcome == "down" else "notice error")
    person.look(f"{outcome}-{language}")


def _outcomes(demo: Demo) -> list[tuple[str, str]]:
    rows = demo.log("--person", "clerk.tanaka")
    ends = [row for row in rows if row.get("event") in {"proofing.refused", "proofing.broken", "proofing.succeeded"}]
    return [(row["event"], row["detail"].get("reason") or row["detail"].get("detail", "")) for row in ends]

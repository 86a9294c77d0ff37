"""The life of a change, told by two security officers who have never seen the console: one changes a rule with buttons, sees
whom it would hit, has it approved by the other in another browser, publishes, watches, and rolls it back. In both languages.
"""

import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import expect

from tests.support.demo import Demo, running_demo
from tests.support.visitor import Arrive, Visitor

LIST: Final = "/patients"
TABLET: Final = {"width": 820, "height": 1180}
RULE: Final = "ehr-patient-list-clerk"
_POST: Final = """async (path) =>
  (await fetch(path, { method: "POST", body: new URLSearchParams("content=x") })).status"""
WORDS: Final = {
    "ja": {
        "find": "患者一覧", "title": "医事課: 患者一覧を止める", "why": "監査の指摘 12: 医事課は別の画面で足りるため",
        "waiting": "承認待ちの変更 1件", "approved": "承認しました", "back": "受付で患者を探せなくなったため", "clerk": "田中 誠",
        "sent": "承認を依頼しました", "own": "作成・編集した人は承認できません",
    },
    "en": {
        "find": "list of patients", "title": "Clerks: no list of patients", "why": "Audit finding 12: clerks have another page",
        "waiting": "Changes that wait for a second person: 1", "approved": "Approved", "back": "Reception could find nobody",
        "clerk": "田中 誠", "sent": "A second person is asked", "own": "Whoever made or edited it can't approve it",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo of its own: what is in force changes."""
    with running_demo(tmp_path_factory.mktemp("officer")) as running:
        yield running


def tablet(visitor: Visitor, name: str) -> None:
    """Look at desk, tablet and phone width."""
    page = visitor.page
    page.set_viewport_size(TABLET)  # type: ignore[arg-type]
    assert page.evaluate("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
    visitor.look(name)


def officer(arrive: Arrive, own: Demo, login: str, language: str) -> Visitor:
    found = arrive(login, own, language=language, folder=f"officer-{login}-{language}")
    found.reach("console")
    found.own_a_key()
    return found


@pytest.mark.parametrize("language", ["ja", "en"])
def test_one_rule_from_the_first_look_to_the_way_back(own: Demo, arrive: Arrive, language: str) -> None:
    words = WORDS[language]
    tanaka = arrive("clerk.tanaka", own, folder=f"officer-clerk-{language}", desk=f"医事課 {language}")
    tanaka.reach("ehr", LIST)
    assert "見本 花子" in tanaka.text()

    # She finds the rule by its words, and begins a change of it.
    yamamoto = officer(arrive, own, "sec.yamamoto", language)
    page = yamamoto.page
    yamamoto.reach("console", "/policies")
    tablet(yamamoto, "in-force")
    page.fill("form[data-search] input", words["find"])
    rule = page.locator("li[data-item]", has_text=RULE)
    expect(rule).to_be_visible()
    yamamoto.act(rule.locator("a.button").click)
    page.fill("#title", words["title"])
    page.fill("#why", words["why"])
    yamamoto.look("begin")
    yamamoto.press("form.export button")
    tablet(yamamoto, "one-rule")

    # One button; then the page says what comes next, and what would not hold any more.
    yamamoto.press("form:has(input[value=report_only]) button")
    draft = page.url.split("?")[0]
    tablet(yamamoto, "cases-fail")
    assert page.locator("#cases li.error").count() >= 2
    page.click("#cases > details.sure > summary")
    yamamoto.press("#cases details.sure button")
    assert page.locator("#cases li.error").count() == 0
    tablet(yamamoto, "cases-hold")

    # Whom would it hit? The replay names the clerk.
    if language == "ja":
        yamamoto.press(".next a[href$='/replay']")
    else:  # of the very same content there is a result already: the page leads on, and the replay is a place beside
        page.goto(f"{draft}/replay")
    yamamoto.press("form.filters button[type=submit]")
    expect(page.locator("section.result")).to_be_visible(timeout=60_000)
    assert words["clerk"] in yamamoto.text()
    tablet(yamamoto, "replayed")

    # A second person is asked. She can't approve it herself: there is no button, and no way around it.
    page.goto(draft)
    yamamoto.press("form[action$='/submit'] button")
    assert words["sent"] in yamamoto.text()
    assert words["own"] in yamamoto.text()
    assert page.locator("form[action$='/approve']").count() == 0
    yamamoto.look("asked")

    # The second officer, in another browser, is told on the first page.
    inoue = officer(arrive, own, "sec.inoue", language)
    inoue.reach("console")
    assert words["waiting"] in inoue.text()
    tablet(inoue, "first-page")
    inoue.act(inoue.page.get_by_role("link", name=words["waiting"]).click)
    inoue.press("tbody th a")
    tablet(inoue, "to-decide")
    assert RULE in inoue.text()
    inoue.page.fill("form[action$='/approve'] textarea", "OK")
    inoue.press("form[action$='/approve'] button")
    assert words["approved"] in inoue.text()

    # Published, it counts at once, and the page of what it does shows whom it stops.
    page.reload()
    page.click(".next summary")
    yamamoto.look("publish")
    yamamoto.press("form[action$='/publish'] button")
    assert page.url.endswith("/policies/watch?done=draft_published")
    expect(page.locator("#watch")).to_have_attribute("data-now", "on")
    _until_denied(tanaka)
    denied = page.locator("section[data-kind=denied]")
    expect(denied.locator("ol[data-by=person] li")).to_have_text([re.compile(words["clerk"])])
    denied.locator("details summary").click()
    expect(denied.locator("tbody tr", has_text=words["clerk"]).first).to_be_visible()
    reported = page.locator("section[data-kind=report_only] ol[data-by=policy] li", has_text=RULE)
    expect(reported).to_be_visible()
    tablet(yamamoto, "watch")

    # Back: one officer, at once, with a reason, after seeing what changes back.
    yamamoto.press("section[data-kind=denied] a[href$='/back']")
    assert RULE in yamamoto.text()
    page.fill("#why", words["back"])
    tablet(yamamoto, "roll-back")
    yamamoto.press("form.export button.danger")
    assert page.url.endswith("/policies/watch?done=rolled_back")
    _until_allowed(tanaka)
    yamamoto.open("console", "/policies/history")
    first = page.locator("tbody tr").first
    for text in (words["back"], "sec.yamamoto"):
        expect(first).to_contain_text(text)
    expect(page.locator("tbody tr").nth(1)).to_contain_text("sec.inoue")
    tablet(yamamoto, "history")

    # All of it is in the log, and the log is whole.
    told = [
        (row["event"].removeprefix("policy."), row["actor"]["login"])
        for row in own.log()
        if str(row.get("event", "")).startswith("policy.")
        and row["source"].get("door") == "console"
        and row["outcome"] == "success"
    ]
    steps = ["drafted", "saved", "saved", "replayed", "submitted", "approved", "published", "rolled_back"]
    assert [event for event, _ in told][-len(steps) :] == steps
    assert dict(told)["approved"] == "sec.inoue"
    assert own.verify().returncode == 0


def test_the_auditor_reads_it_all_and_changes_nothing(own: Demo, arrive: Arrive) -> None:
    nakamura = arrive("audit.nakamura", own, folder="officer-auditor")
    nakamura.reach("console", "/policies/history")
    page = nakamura.page
    assert page.locator("a[href$='/back']").count() == 0
    nakamura.press("tbody tr >> nth=1 >> a[href*='/policies/drafts/']")
    tablet(nakamura, "a-change")
    assert page.locator("main form[method=post]").count() == 0
    for path in ("/publish", "/withdraw", "/save"):
        answer = page.evaluate(_POST, page.url.split("?")[0].removeprefix(own.urls["console"]) + path)
        assert answer == 403, path


def _until_denied(visitor: Visitor) -> None:
    _until(visitor, "見本 花子", there=False)


def _until_allowed(visitor: Visitor) -> None:
    _until(visitor, "見本 花子", there=True)


def _until(visitor: Visitor, text: str, *, there: bool) -> None:
    for _ in range(40):
        visitor.open("ehr", LIST)
        if (text in visitor.page.locator("body").inner_text()) is there:
            return
        visitor.page.wait_for_timeout(100)
    raise AssertionError(f"{text} {'never came' if there else 'stayed'}")

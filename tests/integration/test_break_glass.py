"""Break-glass at a whole gateway: from the denial to the chart, and what is left of it afterwards."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.config.emergency import BreakGlass, Notices
from gateway.domain.record import CompletionRecord, DecisionRecord
from gateway.kernel.secret import Secret
from tests.support.emergency import Hook, MailServer, open_hook, until
from tests.support.glass import CHART, FORM, TYPED, broken, confirmed, emergencies, ledger_of, offered, ready, settle
from tests.support.whole import Browser, Whole, open_whole


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with open_hook() as hook:
        yield hook


@pytest.fixture
async def whole(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> AsyncIterator[Whole]:
    notices = Notices(webhook_url=hook.url, webhook_secret=Secret("w" * 43))
    async with open_whole(tmp_path_factory.mktemp("whole") / "data", notices=notices) as running:
        yield running


@pytest.fixture
def browser(whole: Whole) -> Browser:
    return whole.browser()


def decisions(whole: Whole, outcome: str = "allow") -> list[DecisionRecord]:
    return [record for record in whole.records if isinstance(record, DecisionRecord) and record.outcome == outcome]


async def test_from_the_denial_to_the_chart_with_everything_marked(whole: Whole, browser: Browser, hook: Hook) -> None:
    denied = await ready(browser)
    assert denied.status == 403
    assert "identity_proofing" in denied.text
    form = await confirmed(browser, denied)
    assert form.status == 200
    assert f"{browser.url('portal', FORM)}?flow=" in form.url
    for word in ("60分間", "セキュリティ担当者に、すぐに通知", "印を付けて記録", "別の担当者", 'value="P1001"'):
        assert word in form.text, word
    page = await browser.follow(await browser.submit(form, FORM, **TYPED))
    assert (page.status, page.url) == (200, browser.url("ehr", CHART))
    assert page.text == "upstream dr.sato"
    # The session, the ledger, the event, the notice.
    (emergency,) = await emergencies(whole)
    assert emergency.until - emergency.began_at == 3600
    one = await ledger_of(whole).get(emergency.id)
    assert one is not None
    assert (one.state, one.login, one.patient, one.reason, one.text) == ("running", "dr.sato", "P1001", "critical", TYPED["text"])
    assert (one.app, one.route, one.method, one.path) == ("ehr", "ehr.chart", "GET", CHART)
    (event,) = whole.events("breakglass.began")
    assert (event.target, event.actor.login, event.detail["patient"]) == (emergency.id, "dr.sato", "P1001")
    await until(lambda: bool(whole.events("notice.sent")))
    (told,) = hook.bodies
    assert told["kind"] == "break_glass.began"
    assert "佐藤 恵" in told["text"]
    assert "P1001" not in repr(told)
    assert "既往歴" not in repr(told)
    # Every record under it is marked, and no other.
    marked = decisions(whole)[-1]
    assert (marked.break_glass, marked.path) == (emergency.id, CHART)
    assert isinstance(marked.facts, object)
    completions = [record for record in whole.records if isinstance(record, CompletionRecord)]
    assert completions[-1].break_glass == emergency.id
    assert all(record.at >= event.at for record in decisions(whole) if isinstance(record.break_glass, str))
    # The portal says so while it lasts.
    home = await browser.open("portal")
    assert "緊急アクセス中" in home.text
    assert "P1001" in home.text
    # So do our own pages at the app's host, and the session's events.
    refused = await browser.request("POST", browser.url("ehr", f"{CHART}/prescriptions"), {"x": "y"})
    assert refused.status == 403
    assert "緊急アクセス中" in refused.text
    await browser.submit(home, "/.gateway/sign-out")
    assert whole.events("signout")[0].detail["break_glass"] == emergency.id


async def test_other_sessions_other_people_and_older_handles_are_not_lifted(whole: Whole, browser: Browser) -> None:
    elsewhere, colleague = whole.browser(), whole.browser()
    assert (await ready(elsewhere)).status == 403
    assert (await ready(colleague, "nurse.suzuki")).status == 403
    older = dict(await _cookies_before(browser))
    assert (
        await browser.follow(await browser.submit(await confirmed(browser, await browser.open("ehr", CHART)), FORM, **TYPED))
    ).status == 200
    assert (await elsewhere.open("ehr", CHART)).status == 403
    assert (await colleague.open("ehr", CHART)).status == 403
    # A cookie of this very browser from before does not see it, if it counts at all.
    browser.cookies["ehr.localhost"] = older
    again = await browser.get(browser.url("ehr", CHART))
    assert again.status in {302, 403}
    assert len(await emergencies(whole)) == 1


async def _cookies_before(browser: Browser) -> dict[str, str]:
    await ready(browser)
    return browser.cookies["ehr.localhost"]


async def test_it_ends_by_itself_and_cuts_what_is_open(whole: Whole, browser: Browser) -> None:
    assert (await broken(browser)).status == 200
    (emergency,) = await emergencies(whole)
    url = browser.url("ehr", f"{CHART}/vitals/stream")
    headers = browser.headers("GET", url) | {"Accept": "text/event-stream"}
    async with whole.http.get(url, headers=headers) as stream:
        assert stream.status == 200
        assert await stream.content.readany()
        for _ in range(4):  # somebody works: a session that nobody uses ends before
            whole.clock.advance(800)
            await settle(whole)
            assert (await browser.open("ehr", CHART)).status == 200
        left = emergency.until - whole.clock.now()
        whole.clock.advance(left - 1)
        await settle(whole)
        assert (await browser.open("ehr", CHART)).status == 200
        assert len(await emergencies(whole)) == 1
        whole.clock.advance(1)
        async with asyncio.timeout(10):
            with pytest.raises(aiohttp.ClientPayloadError):
                await stream.content.read()
    await settle(whole)
    denied = await browser.open("ehr", CHART)
    assert denied.status == 403
    assert offered(denied)
    await until(lambda: bool(whole.events("breakglass.ended")))
    (event,) = whole.events("breakglass.ended")
    assert (event.target, event.detail["how"]) == (emergency.id, "time")
    one = await ledger_of(whole).get(emergency.id)
    assert one is not None
    assert (one.state, one.ended_how, one.ended_at) == ("ended", "time", emergency.until)
    assert one.to_review
    assert "緊急アクセス中" not in (await browser.open("portal")).text


async def test_the_person_ends_it(whole: Whole, browser: Browser) -> None:
    await broken(browser)
    home = await browser.open("portal")
    ended = await browser.follow(await browser.submit(home, "/.gateway/emergency/end"))
    assert ended.status == 200
    assert "緊急アクセス中" not in ended.text
    assert await emergencies(whole) == []
    assert (await browser.open("ehr", CHART)).status == 403
    (event,) = whole.events("breakglass.ended")
    assert (event.actor.login, event.detail["how"]) == ("dr.sato", "person")


async def test_it_ends_with_the_sign_out_and_with_the_session(whole: Whole, browser: Browser) -> None:
    await broken(browser)
    await browser.request("POST", browser.url("portal", "/.gateway/sign-out"))
    await until(lambda: bool(whole.events("breakglass.ended")))
    assert whole.events("breakglass.ended")[0].detail["how"] == "sign_out"
    other = whole.browser()
    await broken(other)
    for session in await whole.gateway.sessions.list(whole.clock.now()):
        await whole.gateway.sessions.revoke(session.id)
    await until(lambda: len(whole.events("breakglass.ended")) == 2)
    assert whole.events("breakglass.ended")[1].detail["how"] == "session"


async def test_what_was_being_sent_is_what_policies_are_asked_about(whole: Whole, browser: Browser) -> None:
    """The page keeps the form; break-glass runs in a window of its own and ends on the page that says so."""
    await ready(browser)
    sent = await browser.request("POST", browser.url("ehr", f"{CHART}/documents"), {"title": "x"})
    assert sent.status == 403
    assert "method=POST&target=%2Fpatients%2FP1001%2Fdocuments" in offered(sent)
    form = await confirmed(browser, sent)
    done = await browser.follow(await browser.submit(form, FORM, **TYPED))
    assert done.url == browser.url("ehr", "/.gateway/done")
    assert (await browser.request("POST", browser.url("ehr", f"{CHART}/documents"), {"title": "x"})).status == 200
    one = (await ledger_of(whole).open())[0]
    assert (one.method, one.path, one.route) == ("POST", f"{CHART}/documents", "ehr.upload")


async def test_a_form_that_is_not_filled_in_says_what_is_missing_and_forgets_nothing(whole: Whole, browser: Browser) -> None:
    form = await confirmed(browser, await ready(browser))
    for wrong, words in (({"reason": ""}, "理由を一つ"), ({"text": "あ"}, "4文字から"), ({"patient": " "}, "64文字以内")):
        again = await browser.submit(form, FORM, **{**TYPED, **wrong})
        assert again.status == 422
        assert words in again.text
        assert (TYPED["text"] in again.text) is ("text" not in wrong)
        form = again
    for hidden in ({"text": f"{TYPED['text']}\u202e"}, {"patient": "P1\u200b001"}):
        again = await browser.submit(form, FORM, **{**TYPED, **hidden})
        assert again.status == 422
        (name,) = hidden
        label = {"text": "状況の説明", "patient": "対象の患者ID"}[name]
        char = {"text": "U+202E", "patient": "U+200B"}[name]
        assert f"{label}に目に見えない文字({char})が含まれていた" in again.text
        assert "文字以内で入力" not in again.text
        assert hidden[name] not in again.text
        form = again
    assert await emergencies(whole) == []
    assert whole.events("breakglass.began") == []


async def test_the_log_verifies_and_its_exports_show_the_mark(whole: Whole, browser: Browser) -> None:
    await broken(browser)
    (emergency,) = await emergencies(whole)
    await asyncio.sleep(1.5)
    log = str(whole.folder / "audit")
    verified = await asyncio.to_thread(_gateway, "audit", "verify", log)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for form in ("csv", "jsonl"):
        exported = await asyncio.to_thread(_gateway, "audit", "export", log, "--format", form)
        assert exported.returncode == 0, exported.stderr
        assert emergency.id in exported.stdout
    exported = await asyncio.to_thread(_gateway, "audit", "export", log, "--format", "csv")
    assert "緊急アクセス" in exported.stdout.splitlines()[0]


def _gateway(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


async def test_officers_are_told_by_mail_too_and_a_dead_server_delays_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    with MailServer() as server:
        notices = Notices(
            smtp_host="localhost", smtp_port=server.port, smtp_tls="plain", mail_from="gateway@hospital.example",
            mail_to=("officers@hospital.example",), webhook_url="http://127.0.0.1:9/", webhook_secret=Secret("w" * 43),
            patient_id=True,
        )  # fmt: skip
        glass = BreakGlass(minutes=5)
        async with open_whole(tmp_path_factory.mktemp("mail") / "data", notices=notices, break_glass=glass) as whole:
            browser = whole.browser()
            assert (await broken(browser)).status == 200
            await until(lambda: bool(server.mails))
            await until(lambda: bool(whole.events("notice.failed")))
            (emergency,) = await emergencies(whole)
            assert emergency.until - emergency.began_at == 300
    (mail,) = server.mails
    assert "佐藤 恵" in str(mail["Subject"])
    text = mail.get_content()
    assert emergency.id in text
    assert "患者ID: P1001" in text
    assert f"http://console.localhost:{whole.port}/emergencies/{emergency.id}" in text

"""Break-glass in the console: what officers see, what auditors see, who may end one and who may review it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from gateway.audit.marked import Marked
from gateway.domain.identity import Emergency, Session
from gateway.emergency.ledger import Ledger
from gateway.emergency.model import REASONS, BreakGlass
from gateway.emergency.notices import OutboxNotices
from gateway.emergency.outbox import GIVE_UP_SECONDS, Message
from gateway.emergency.service import Emergencies
from gateway.emergency.words import Manner
from gateway.lasting.sqlite import SqliteLasting
from tests.support.console import AUDITOR, OFFICER, World
from tests.support.emergency import a_break_glass

Client = TestClient[web.Request, web.Application]
Visit = Callable[..., Awaitable[Client]]
SECOND = {"sub": "usr_ito", "login": "sec.ito", "name": "伊藤 葵", "roles": ["security_officer"], "aud": "console"}
NASTY = "<script>alert(1)</script>\u202e\u200b"
TYPED = {"word": "justified", "text": "担当医に確認し、急変への対応と判断した"}


@pytest.fixture
async def emergencies(world: World, tmp_path: Path) -> AsyncIterator[Emergencies]:
    lasting = SqliteLasting(tmp_path / "policies.sqlite3")
    ledger = Ledger(lasting)
    manner = Manner(
        language="ja", zone=ZoneInfo("Asia/Tokyo"), hospital="h", patient_id=False, link=lambda _: "", apps={},
    )  # fmt: skip
    notices = OutboxNotices(ledger.outbox, (), clock=world.clock, wake=lambda: None)
    yield Emergencies(
        ledger=ledger, sessions=world.sessions, log=world.audit, clock=world.clock, seconds=3600, reasons=REASONS,
        notices=notices, manner=manner,
    )  # fmt: skip
    lasting.close()


@pytest.fixture
def go(visit: Visit, emergencies: Emergencies) -> Visit:
    async def visited(person: dict[str, Any], **parts: Any) -> Client:
        return await visit(person, emergencies=emergencies, **parts)

    return visited


async def began(emergencies: Emergencies, **changes: Any) -> BreakGlass:
    one = a_break_glass(**changes)
    await emergencies.ledger.begin(one)
    await emergencies.ledger.in_force(one.id, one.began_at)
    return one


async def ended(emergencies: Emergencies, **changes: Any) -> BreakGlass:
    one = await began(emergencies, **changes)
    await emergencies.ledger.end(one.id, "person", one.began_at + 60)
    return one


async def text_of(client: Client, path: str, status: int = 200, **options: Any) -> str:
    reply = await client.get(path, **options)
    assert reply.status == status, path
    return await reply.text()


async def test_the_first_page_counts_what_runs_and_what_waits(go: Visit, emergencies: Emergencies) -> None:
    officer = await go(OFFICER)
    page = await text_of(officer, "/")
    assert "glass-running" not in page
    assert "glass-review" not in page
    await began(emergencies)
    await ended(emergencies, session="ses_2")
    page = await text_of(officer, "/")
    assert "緊急アクセスが実行中です(1)" in page
    assert "事後確認を待っている緊急アクセスがあります(1)" in page
    assert "確認待ち: 1" in page


async def test_notices_that_could_not_be_sent_are_on_the_first_page(go: Visit, emergencies: Emergencies, world: World) -> None:
    officer, outbox = await go(OFFICER), emergencies.ledger.outbox
    one = await began(emergencies)
    message = Message(id="ntc_1", channel="mail", kind="break_glass.began", subject="s", text="t", at="2027-01-15T08:00:00.000Z")
    await outbox.put([message], about=one.id, now=one.began_at)
    assert "glass-unsent" not in await text_of(officer, "/")
    taken = await outbox.take(one.began_at)
    assert taken is not None
    await outbox.failed(taken, "the mail server answered 451", one.began_at)
    assert "送信できていない責任者への通知があります(1)" in await text_of(officer, "/")
    page = await text_of(officer, "/emergencies")
    assert "the mail server answered 451" in page
    assert "1 回試行" in page
    assert "送信待ち" in await text_of(officer, f"/emergencies/{one.id}")


async def given_up(emergencies: Emergencies, about: BreakGlass, notice_id: str = "ntc_1", tries: int = 1) -> None:
    """A notice that failed; the last try was three days after the first."""
    outbox, began_at = emergencies.ledger.outbox, about.began_at
    message = Message(
        id=notice_id, channel="mail", kind="break_glass.began", subject="s", text="t", at="2027-01-15T08:00:00.000Z"
    )
    await outbox.put([message], about=about.id, now=began_at)
    for at in (began_at, began_at + GIVE_UP_SECONDS)[:tries]:
        taken = await outbox.take(at)
        assert taken is not None
        await outbox.failed(taken, "the mail server answered 550", at)


async def test_an_officer_takes_a_notice_that_was_given_up_off_the_list(
    go: Visit, emergencies: Emergencies, world: World
) -> None:
    officer, auditor = await go(OFFICER), await go(AUDITOR)
    one = await began(emergencies)
    await given_up(emergencies, one, tries=2)
    place = "/emergencies/notices/ntc_1/told"
    assert place not in await text_of(auditor, "/emergencies")
    assert (await auditor.post(place, allow_redirects=False)).status == 403
    assert place in await text_of(officer, "/emergencies")
    assert "glass-unsent" in await text_of(officer, "/")
    evil = await officer.post(place, headers={"Origin": "https://evil.example"}, allow_redirects=False)
    assert evil.status == 403
    assert len(await emergencies.ledger.outbox.unsent()) == 1
    reply = await officer.post(place, allow_redirects=False)
    assert reply.headers["Location"] == "/emergencies?done=notice_told"
    assert "glass-unsent" not in await text_of(officer, "/")
    assert "責任者が直接連絡" in await text_of(officer, f"/emergencies/{one.id}")
    (event,) = world.events("console.act")
    assert (event.outcome, event.target, event.actor.login) == ("success", "ntc_1", "sec.yamamoto")
    assert (event.detail["act"], event.detail["about"]) == ("notice.told", one.id)
    again = await officer.post(place, allow_redirects=False)
    assert again.headers["Location"].endswith("done=notice_gone")
    assert len(world.events("console.act")) == 1


async def test_a_notice_that_is_tried_again_stays(go: Visit, emergencies: Emergencies, world: World) -> None:
    officer = await go(OFFICER)
    await given_up(emergencies, await began(emergencies), tries=1)
    assert "/told" not in await text_of(officer, "/emergencies")
    for notice in ("ntc_1", "ntc_2"):
        reply = await officer.post(f"/emergencies/notices/{notice}/told", allow_redirects=False)
        assert reply.headers["Location"].endswith("done=notice_gone")
    assert len(await emergencies.ledger.outbox.unsent()) == 1
    assert world.events("console.act") == []


async def test_nobody_takes_the_notice_of_their_own_break_glass_off(go: Visit, emergencies: Emergencies) -> None:
    await given_up(emergencies, await began(emergencies, login="SEC.Yamamoto"), tries=2)
    reply = await (await go(OFFICER)).post("/emergencies/notices/ntc_1/told", allow_redirects=False)
    assert reply.headers["Location"].endswith("done=notice_own")
    assert len(await emergencies.ledger.outbox.unsent()) == 1
    reply = await (await go(SECOND)).post("/emergencies/notices/ntc_1/told", allow_redirects=False)
    assert reply.headers["Location"].endswith("done=notice_told")


async def test_a_notice_stays_on_the_list_when_the_log_can_not_be_written(
    go: Visit, emergencies: Emergencies, world: World
) -> None:
    await given_up(emergencies, await began(emergencies), tries=2)
    officer = await go(OFFICER)
    world.audit.fail()
    assert (await officer.post("/emergencies/notices/ntc_1/told", allow_redirects=False)).status == 503
    assert len(await emergencies.ledger.outbox.unsent()) == 1


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("person", [OFFICER, AUDITOR])
async def test_lists_and_one_of_them_in_both_languages(
    go: Visit, emergencies: Emergencies, person: dict[str, Any], language: str
) -> None:
    client = await go(person)
    one = await began(emergencies, name=NASTY, text=NASTY, department=NASTY, patient=NASTY, path=f"/{NASTY}", problem=NASTY)
    for path in ("/emergencies", f"/emergencies/{one.id}", "/emergencies?page=2", "/emergencies?page=x"):
        page = await text_of(client, f"{path}{'&' if '?' in path else '?'}lang={language}")
        assert "<script>alert" not in page
        assert "\u202e" not in page
    page = await text_of(client, f"/emergencies/{one.id}?lang={language}")
    assert ("急変" if language == "ja" else "Critical") in page
    assert ("/end" in page) is (person is OFFICER)
    await text_of(client, "/emergencies/brk_other", 404)


async def test_what_was_done_is_shown_with_other_patients_marked(go: Visit, emergencies: Emergencies) -> None:
    rows = (
        {"type": "event", "at": "2027-01-15T08:00:00.000Z", "event": "breakglass.began", "outcome": "success"},
        {
            "type": "decision", "at": "2027-01-15T08:00:01.000Z", "outcome": "allow", "patient": "P1001", "method": "GET",
            "app": "ehr", "path": f"/patients/{NASTY}", "completion": {"status": 200},
        },
        {"type": "event", "at": "no time", "event": "of.tomorrow", "outcome": "?"},
    )  # fmt: skip
    asked: list[tuple[str, float]] = []

    def marked(break_id: str, since: float) -> Marked:
        asked.append((break_id, since))
        return Marked(rows=rows, decisions=7, patients=(("P1001", 5), ("P1002", 2)), everything=False)

    one = await ended(emergencies)
    page = await text_of(await go(OFFICER, marked=marked), f"/emergencies/{one.id}")
    assert asked == [(one.id, one.began_at)]
    assert "アクセスの判定は 7 件です" in page
    assert '<span class="tag warn">P1002 × 2</span>' in page
    assert '<span class="tag">P1001 × 5</span>' in page
    assert "すべては表示していません" in page
    assert "2027-01-15 17:00:01" in page
    assert "of.tomorrow" in page
    assert "<script>alert" not in page


async def test_an_officer_ends_one_in_the_session_too(go: Visit, emergencies: Emergencies, world: World) -> None:
    session = await world.session()
    one = await began(emergencies, session=session.id)
    emergency = Emergency(id=one.id, began_at=one.began_at, until=one.until, reason="critical", patient="P1001")

    def lift(old: Session) -> Session:
        return msgspec.structs.replace(old, emergency=emergency, generation=old.generation + 1)

    await world.sessions.change(session.id, lift, "portal.localhost:8080")
    officer = await go(OFFICER)
    reply = await officer.post(f"/emergencies/{one.id}/end", allow_redirects=False)
    assert reply.headers["Location"] == f"/emergencies/{one.id}?done=glass_ended"
    after = await world.sessions.get(session.id, world.clock.now())
    assert after is not None
    assert after.emergency is None
    kept = await emergencies.ledger.get(one.id)
    assert kept is not None
    assert (kept.state, kept.ended_how, kept.ended_by) == ("ended", "officer", "sec.yamamoto")
    acts = [(event.event, event.target, event.detail.get("act") or event.detail.get("how")) for event in world.events()]
    assert ("console.act", one.id, "breakglass.end") in acts
    assert ("breakglass.ended", one.id, "officer") in acts
    again = await officer.post(f"/emergencies/{one.id}/end", allow_redirects=False)
    assert again.headers["Location"].endswith("done=glass_over")


async def test_a_second_officer_closes_the_review_with_a_finding(go: Visit, emergencies: Emergencies, world: World) -> None:
    one = await ended(emergencies)
    officer = await go(OFFICER)
    assert "事後確認を終える" in await text_of(officer, f"/emergencies/{one.id}")
    reply = await officer.post(f"/emergencies/{one.id}/review", data=TYPED, allow_redirects=False)
    assert reply.headers["Location"] == "/emergencies?done=glass_reviewed"
    kept = await emergencies.ledger.get(one.id)
    assert kept is not None
    assert kept.finding is not None
    assert (kept.finding.word, kept.finding.text, kept.finding.login) == ("justified", TYPED["text"], "sec.yamamoto")
    (event,) = world.events("breakglass.reviewed")
    assert (event.target, event.detail["finding"], event.detail["login"]) == (one.id, "justified", "dr.sato")
    second = await go(SECOND)
    reply = await second.post(f"/emergencies/{one.id}/review", data=TYPED | {"word": "unclear"}, allow_redirects=False)
    assert reply.headers["Location"].endswith("done=glass_already")
    page = await text_of(second, f"/emergencies/{one.id}")
    assert "やむを得ない利用だった" in page
    assert "/review" not in page


@pytest.mark.parametrize("who", [{"subject": "usr_yamamoto"}, {"login": "SEC.Yamamoto"}])
async def test_nobody_reviews_their_own(go: Visit, emergencies: Emergencies, who: dict[str, str]) -> None:
    one = await ended(emergencies, **who)
    officer = await go(OFFICER)
    page = await text_of(officer, f"/emergencies/{one.id}")
    assert "ご本人の緊急アクセスです" in page
    assert "/review" not in page
    reply = await officer.post(f"/emergencies/{one.id}/review", data=TYPED, allow_redirects=False)
    assert reply.headers["Location"].endswith("done=glass_own")
    assert (await emergencies.ledger.counts()).to_review == 1


async def test_what_runs_is_not_reviewed_yet(go: Visit, emergencies: Emergencies) -> None:
    one = await began(emergencies)
    reply = await (await go(OFFICER)).post(f"/emergencies/{one.id}/review", data=TYPED, allow_redirects=False)
    assert reply.headers["Location"].endswith("done=glass_in_force")


@pytest.mark.parametrize(
    "wrong", [{"word": ""}, {"word": "fine"}, {"text": ""}, {"text": "。。。。。"}, {"text": "あ" * 2001}, {"text": NASTY}]
)
async def test_a_finding_without_word_or_text_closes_nothing(go: Visit, emergencies: Emergencies, wrong: dict[str, str]) -> None:
    one = await ended(emergencies)
    reply = await (await go(OFFICER)).post(f"/emergencies/{one.id}/review", data=TYPED | wrong, allow_redirects=False)
    assert reply.status == 422
    page = await reply.text()
    assert 'role="alert"' in page
    assert "<script>alert" not in page
    assert (await emergencies.ledger.counts()).to_review == 1


@pytest.mark.parametrize("act", ["end", "review"])
async def test_auditors_and_other_sites_change_nothing(go: Visit, emergencies: Emergencies, act: str) -> None:
    one = await (began if act == "end" else ended)(emergencies)
    auditor, officer = await go(AUDITOR), await go(OFFICER)
    assert (await auditor.post(f"/emergencies/{one.id}/{act}", data=TYPED, allow_redirects=False)).status == 403
    headers = {"Origin": "https://evil.example"}
    assert (await officer.post(f"/emergencies/{one.id}/{act}", data=TYPED, headers=headers, allow_redirects=False)).status == 403
    assert await emergencies.ledger.get(one.id) == msgspec.structs.replace(
        one,
        **({"state": "running"} if act == "end" else {"state": "ended", "ended_at": one.began_at + 60, "ended_how": "person"}),
    )


async def test_without_a_database_there_is_none(visit: Visit) -> None:
    officer = await visit(OFFICER)
    assert (await officer.get("/emergencies")).status == 404
    assert "/emergencies#" not in await (await officer.get("/")).text()


async def test_every_view_is_in_the_log(go: Visit, emergencies: Emergencies, world: World) -> None:
    one = await ended(emergencies)
    client = await go(AUDITOR)
    await text_of(client, "/emergencies")
    await text_of(client, f"/emergencies/{one.id}")
    assert [event.target for event in world.events("console.view")] == ["/emergencies", f"/emergencies/{one.id}"]

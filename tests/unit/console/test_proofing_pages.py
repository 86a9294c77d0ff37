import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

import gateway.console
from gateway.console.page import DONE
from gateway.console.parts import JAPAN
from gateway.console.proofing_list import COLUMNS, KINDS, PAGE
from gateway.console.proofing_port import CaseState, InvitationState, State
from gateway.grants.model import Why as GrantRefusal
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.i18n import LANGUAGES, Catalogue
from idp.model import CaseKind, User
from idp.proofing.in_person.counter import NotCheckedReason
from idp.proofing.in_person.settings import DOCUMENTS
from idp.proofing.letters import LETTERS, letter
from idp.proofing.likeness import Difference
from idp.proofing.matching import Field
from idp.proofing.port import Verified
from idp.store.changes import EndedWhy
from idp.stored_proofing import CaseRefusal, CaseVerdict
from tests.support.console import AUDITOR, OFFICER, ORIGIN
from tests.support.console_proofing import KOBAYASHI, SECOND_OFFICER, YAMAMOTO, ProofingWorld, opened
from tests.support.office import DAY, until
from tests.support.proofing import NEAR_SATO, SATO, SUZUKI
from tests.unit.console.conftest import Client
from tests.unit.console.test_who_gets_in import HEADERS_OF_OTHERS

KEYS: Final = Catalogue.load(Path(gateway.console.__file__).parent / "text").keys()
NASTY: Final = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202egpj.exe\u2066\u200b"
LOOKED_AT: Final = [
    "/proofing", "/proofing?kind=expiring", "/proofing/review", "/proofing/people/usr_sato", "/proofing/batches",
    "/proofing/rechecks",
]  # fmt: skip
FOR_OFFICERS: Final = ["/proofing/cases/CASE", "/proofing/counter", "/proofing/invite"]
BATCH: Final = "inv_" + "0" * 32
INVITE: Final = {"who": "selected", "department": "", "people": SATO.id, "batch": BATCH, "due": "2027-02-15"}
LOOKED: Final = {
    "login": "dr.sato", "code": "", "document": "driving_licence", "name": "佐藤 恵", "birth_date": "1984-05-12", "kana": "",
}  # fmt: skip
ACTS: Final[list[tuple[str, dict[str, str]]]] = [
    ("/proofing/cases/CASE/decide", {"verdict": "approve", "note": ""}),
    ("/proofing/cases/CASE/decide", {"verdict": "refuse", "note": "別人"}),
    ("/proofing/counter", LOOKED),
    ("/proofing/invite/choose", {"who": "lacking"}),
    ("/proofing/invite", INVITE),
    ("/proofing/rechecks", {}),
    (f"/proofing/people/{SUZUKI.id}/end", {"why": "officer"}),
    (f"/proofing/people/{SUZUKI.id}/delete", {"login": SUZUKI.login}),
]

_LOGIN: Final = r'</a><small class="mono">([\w.]+)</small>'

Go = Callable[..., Awaitable[Client]]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[ProofingWorld]:
    async with opened(tmp_path) as found:
        yield found


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[ProofingWorld]:
    async with opened(tmp_path, counter=True) as found:
        yield found


@pytest.fixture
async def go(aiohttp_client: Callable[..., Awaitable[Client]]) -> Go:
    """Open the console of a world as somebody."""

    async def open_console(world: ProofingWorld, person: dict[str, Any], **parts: Any) -> Client:
        server = TestServer(world.application(**parts))
        return await aiohttp_client(server, headers=world.world.headers(person))

    return open_console


async def state_of(world: ProofingWorld) -> tuple[object, ...]:
    """Everything that an act could change."""
    return (
        await world.port.cases(all_of_them=True), await world.port.batches(), await world.port.rechecks(),
        [(one.state, one.proof) for one in await world.port.standings()],
    )  # fmt: skip


async def filled(world: ProofingWorld) -> str:
    """A proofing in force, and a case; return the case."""
    await world.bench.proofed(SUZUKI)
    return await world.near()


# ------------------------------------------------------------------ who gets in


@pytest.mark.parametrize(("path", "form"), ACTS)
async def test_an_auditor_changes_nothing(office: ProofingWorld, go: Go, path: str, form: dict[str, str]) -> None:
    case = await filled(office)
    before, auditor = await state_of(office), await go(office, AUDITOR)
    reply = await auditor.post(path.replace("CASE", case), data=form)
    assert reply.status == 403
    assert await state_of(office) == before
    assert [(event.event, event.outcome) for event in office.world.events()] == [("console.view", "failure")]


@pytest.mark.parametrize("path", FOR_OFFICERS)
async def test_an_auditor_never_sees_both_sides(office: ProofingWorld, go: Go, path: str) -> None:
    case = await filled(office)
    reply = await (await go(office, AUDITOR)).get(path.replace("CASE", case))
    assert reply.status == 403
    assert "1984-05-21" not in await reply.text()
    assert [(event.event, event.outcome) for event in office.world.events()] == [("console.view", "failure")]


@pytest.mark.parametrize("path", LOOKED_AT)
async def test_an_auditor_looks_without_buttons_and_it_is_recorded_first(office: ProofingWorld, go: Go, path: str) -> None:
    await filled(office)
    await office.office.invite(None, by="sec.yamamoto", due_at=office.bench.now + DAY)
    auditor = await go(office, AUDITOR)
    reply = await auditor.get(path)
    page = await reply.text()
    assert reply.status == 200
    assert 'method="post"' not in page.replace('method="post" action="/.gateway/sign-out"', "")
    assert "1984" not in page
    assert "/proofing/cases/" not in page
    assert [(event.event, event.outcome, event.target) for event in office.world.events()] == [
        ("console.view", "success", path.partition("?")[0])
    ]
    office.world.audit.fail()
    broken = await auditor.get(path)
    assert broken.status == 503
    assert "佐藤" not in await broken.text()


@pytest.mark.parametrize("path", [*LOOKED_AT, *FOR_OFFICERS, "/proofing/export"])
async def test_others_are_told_so(office: ProofingWorld, go: Go, path: str) -> None:
    client = await go(office, OFFICER | {"roles": ["physician"]})
    reply = await client.get(path)
    assert reply.status == 403
    assert "佐藤" not in await reply.text()


@pytest.mark.parametrize("headers", HEADERS_OF_OTHERS)
@pytest.mark.parametrize(("path", "form"), ACTS)
async def test_another_sites_form_changes_nothing(
    office: ProofingWorld, go: Go, path: str, form: dict[str, str], headers: dict[str, str]
) -> None:
    case = await filled(office)
    before, officer = await state_of(office), await go(office, OFFICER)
    assert (await officer.post(path.replace("CASE", case), data=form, headers=headers)).status == 403
    assert await state_of(office) == before


@pytest.mark.parametrize(("path", "form"), ACTS)
async def test_what_cannot_be_recorded_is_not_done(office: ProofingWorld, go: Go, path: str, form: dict[str, str]) -> None:
    case = await filled(office)
    before, officer = await state_of(office), await go(office, OFFICER)
    office.world.audit.fail()
    assert (await officer.post(path.replace("CASE", case), data=form)).status == 503
    assert await state_of(office) == before


@pytest.mark.parametrize(("path", "form"), ACTS)
async def test_a_store_that_does_not_answer_is_said(office: ProofingWorld, go: Go, path: str, form: dict[str, str]) -> None:
    case = await filled(office)
    officer = await go(office, OFFICER)
    await office.bench.store.close()
    reply = await officer.post(path.replace("CASE", case), data=form)
    assert reply.status == 503 if path != "/proofing/counter" else reply.status in {409, 503}


async def test_an_act_that_breaks_half_way_is_in_the_log_as_a_failure(office: ProofingWorld, go: Go) -> None:
    class Broken:
        verifier, expiring_days, documents = "jpki", 30, ()

        def __getattr__(self, name: str) -> Any:
            return getattr(office.port, name)

        async def end(self, person_id: str, **_: str) -> int:
            raise StoreUnavailable("the disk is full")

    await office.bench.proofed(SUZUKI)
    officer = await go(office, OFFICER, proofing=Broken())
    assert (await officer.post(f"/proofing/people/{SUZUKI.id}/end", data={"why": "officer"})).status == 503
    assert [(event.outcome, event.detail.get("why")) for event in office.world.events("console.act")] == [
        ("success", "officer"),
        ("failure", "the store did not answer"),
    ]


# ------------------------------------------------------------------ no office


async def test_another_provider_has_no_office_here(office: ProofingWorld, go: Go) -> None:
    officer = await go(office, OFFICER, proofing=None)
    reply = await officer.get("/proofing")
    assert (reply.status, "外部の認証基盤" in await reply.text()) == (200, True)
    assert "本人確認が有効" not in await (await officer.get("/")).text()
    for path in ("/proofing/review", "/proofing/export", "/proofing/cases/x", "/proofing/people/x", "/proofing/rechecks"):
        assert (await officer.get(path)).status == 404
    for path, form in ACTS:
        assert (await officer.post(path, data=form)).status == 404


async def test_without_a_verifier_records_are_shown_and_nobody_is_invited_or_asked(office: ProofingWorld, go: Go) -> None:
    await office.bench.proofed(SUZUKI)
    officer = await go(office, OFFICER, proofing=office.adapted("none"))
    page = await (await officer.get("/proofing")).text()
    assert "設定されていません" in page
    assert "鈴木 翔" in page
    assert "/proofing/invite" not in page
    for path, form in [("/proofing/invite/choose", {"who": "lacking"}), ("/proofing/invite", INVITE), ("/proofing/rechecks", {})]:
        assert (await officer.post(path, data=form)).status == 409
    assert await office.port.batches() == []
    assert await office.port.rechecks() == []


# ------------------------------------------------------------------ the list


async def everybody(world: ProofingWorld) -> None:
    users = await world.bench.crowd(5)
    await world.bench.proofed(SUZUKI, seconds=10 * DAY)
    await world.bench.proofed(users[0], seconds=5)
    await world.office.end(users[1].id, why="withdrawn", by="sec.yamamoto")
    await world.bench.store.users.update(users[2].id, lambda user: replace(user, active=False))
    await world.near()
    world.bench.clock.advance(10)


@pytest.mark.parametrize(
    ("kind", "logins"),
    [
        ("all", "dr.sato hr.hara hr.mori n0 n1 n3 n4 nurse.suzuki sec.kobayashi sec.yamamoto"),
        ("none", "dr.sato hr.hara hr.mori sec.kobayashi sec.yamamoto"),
        ("in_force", "n3 n4 nurse.suzuki"),
        ("expiring", "nurse.suzuki"),
        ("over", "n0 n1"),
        ("waiting", "dr.sato"),
        ("inactive", "n2"),
    ],
)
async def test_the_list_is_filtered_counted_and_handed_out(office: ProofingWorld, go: Go, kind: str, logins: str) -> None:
    await everybody(office)
    officer = await go(office, OFFICER)
    page = await (await officer.get("/proofing", params={"kind": kind})).text()
    assert re.findall(_LOGIN, page) == logins.split()
    assert re.findall(rf'\?kind={kind}&amp;days=30"[^>]*><strong>(\d+)', page) == [str(len(logins.split()))]
    exported = await officer.get("/proofing/export", params={"kind": kind})
    assert exported.headers["Content-Disposition"] == 'attachment; filename="proofing-20270115T080010Z.csv"'
    content = (await exported.read()).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(content)))
    assert [row[0] for row in rows[1:]] == logins.split()
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert office.world.events("console.export")[0].detail["kind"] == kind


async def test_days_and_text_narrow_the_list(office: ProofingWorld, go: Go) -> None:
    await office.bench.crowd(2)
    await office.bench.proofed(SUZUKI, seconds=10 * DAY)
    officer = await go(office, OFFICER)

    async def found(**query: str) -> list[str]:
        return re.findall(_LOGIN, await (await officer.get("/proofing", params=query)).text())

    assert await found(kind="expiring", days="9") == []
    assert await found(kind="expiring", days="100") == ["nurse.suzuki", "n0", "n1"]
    assert await found(q=" 鈴木翔 ") == ["nurse.suzuki"]
    assert await found(q="ＮＵＲＳＥ．") == ["nurse.suzuki"]
    assert await found(q="nobody") == []
    everybody_ = await found()
    for nonsense in ({"kind": "x"}, {"days": "-1"}, {"days": "9" * 400}, {"page": "99"}, {"page": "٣"}, {"q": " "}):
        assert await found(**nonsense) == everybody_


async def test_a_long_list_comes_in_pages(office: ProofingWorld, go: Go) -> None:
    for number in range(PAGE + 1):
        await office.add(User(id=f"usr_z{number}", login=f"clerk{number:03}", name=f"事務 {number}", roles=("clerk",)))
    officer = await go(office, OFFICER)
    first = await (await officer.get("/proofing?q=clerk")).text()
    assert 'rel="next" href="?kind=all&amp;days=30&amp;q=clerk&amp;page=2"' in first
    assert ("clerk099" in first, "clerk100" in first) == (True, False)
    second = await (await officer.get("/proofing?q=clerk&page=2")).text()
    assert ("clerk099" in second, "clerk100" in second, 'rel="next"' in second) == (False, True, False)


@pytest.mark.parametrize(
    ("method", "since", "now", "words"),
    [
        ("jpki_sign", date(2027, 1, 20), date(2027, 1, 21), "方法区分「{then}」</small>"),
        ("jpki_sign", date(2027, 1, 20), date(2027, 6, 1), "方法区分「{then}」 （現在は「{now}」）"),
        ("card_image", date(2027, 1, 20), date(2027, 1, 21), ""),
    ],
)
async def test_the_methods_letter_is_that_of_its_day(
    office: ProofingWorld, go: Go, method: str, since: date, now: date, words: str
) -> None:
    office.bench.clock.advance(_midday(since) - office.bench.now)
    office.bench.verifier.method = method
    await office.bench.proofed(SUZUKI, seconds=None)
    office.bench.clock.advance(_midday(now) - office.bench.now)
    page = await (await (await go(office, OFFICER)).get("/proofing?q=nurse.suzuki")).text()
    assert ("方法区分「" in page) == bool(words)
    assert words.format(then=letter(method, since), now=letter(method, now)) in page


async def test_a_rehearsals_method_is_told_in_words(office: ProofingWorld, go: Go) -> None:
    office.bench.verifier.method = "rehearsal_jpki_sign"
    await office.bench.proofed(SUZUKI, seconds=None)
    page = await (await (await go(office, OFFICER)).get("/proofing?q=nurse.suzuki")).text()
    assert "署名用電子証明書 （接続試験）" in page
    assert "rehearsal_" not in page


def _midday(day: date) -> int:
    return int(datetime.combine(day, datetime.min.time(), JAPAN).timestamp()) + DAY // 2


async def test_no_cell_of_the_file_runs_as_a_formula(office: ProofingWorld, go: Go) -> None:
    await office.add(User(id="usr_x", login="x.formula", name="=HYPERLINK(1)", roles=("clerk",), department="@SUM\u202e"))
    text = await (await (await go(office, OFFICER)).get("/proofing/export?q=formula")).text("utf-8-sig")
    assert '"\'=HYPERLINK(1)"' in text
    assert "\"'@SUM" in text
    assert "\u202e" not in text


async def test_the_home_page_leads_to_what_is_to_be_done(office: ProofingWorld, go: Go) -> None:
    officer = await go(office, OFFICER)
    assert "/proofing?kind=expiring" not in await (await officer.get("/")).text()
    await everybody(office)
    page = await (await officer.get("/")).text()
    assert 'href="/proofing?kind=expiring">まもなく期限 1名' in page
    assert 'href="/proofing/review">審査待ち 1件' in page


async def test_names_with_markup_and_bidi_stay_text_everywhere(office: ProofingWorld, go: Go) -> None:
    user = await office.add(
        User(id="usr_n", login="n.b", name=NASTY, roles=("clerk",), department=NASTY, birth_date="1984-05-12")
    )
    await office.near(user, Verified(name=NASTY + "x", birth_date="1984-05-12"))
    await office.office.invite([user.id], by=NASTY, due_at=office.bench.now + DAY)
    (batch,) = await office.port.batches()
    (case,) = await office.port.cases()
    officer = await go(office, OFFICER)
    paths = ("", "/review", f"/cases/{case.id}", "/people/usr_n", f"/batches/{batch.id}", "/batches", "/invite")
    for path in (f"/proofing{path}" for path in paths):
        page = await (await officer.get(path)).text()
        assert "<script>alert" not in page
        assert "<img" not in page
        page = re.sub(r' value="[^"]*"', "", page)  # a field's own value, which nobody sees
        assert not set(page) & set("\u202e\u2066\u200b")
    page = await (await officer.post("/proofing/invite/choose", data={"who": "department", "department": NASTY})).text()
    assert "<script>alert" not in page
    await officer.post(f"/proofing/cases/{case.id}/decide", data={"verdict": "refuse", "note": NASTY})
    page = await (await officer.get("/proofing/review")).text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not set(page) & set("\u202e\u2066\u200b")


# ------------------------------------------------------------------ review


async def decide(client: Client, case: str, verdict: str = "approve", note: str = "") -> str:
    reply = await client.post(f"/proofing/cases/{case}/decide", data={"verdict": verdict, "note": note}, allow_redirects=False)
    assert reply.status == 303, await reply.text()
    return reply.headers["Location"].removeprefix("/proofing/review?done=")


async def test_the_queue_is_oldest_first_and_a_case_shows_both_sides(office: ProofingWorld, go: Go) -> None:
    await office.near(SUZUKI, replace(NEAR_SATO, name="鈴木 翔", kana="スズキ ショウ", birth_date="1990-11-30"))
    office.bench.clock.advance(60)
    case = await office.near()
    officer = await go(office, OFFICER)
    queue = await (await officer.get("/proofing/review")).text()
    assert queue.index("鈴木 翔") < queue.index("佐藤 恵")
    page = await (await officer.get(f"/proofing/cases/{case}")).text()
    assert "1984-05-12" in page
    assert "1984-05-21" in page
    assert page.count('class="differs"') == 1
    assert "生年月日が異なります。" in page


@pytest.mark.parametrize(
    ("verdict", "done", "in_force"), [("approve", "case_approved", True), ("refuse", "case_rejected", False)]
)
async def test_after_the_decision_both_sides_are_gone(
    office: ProofingWorld, go: Go, verdict: str, done: str, in_force: bool
) -> None:
    case = await office.near()
    sealed = office.bench.desk.sealed()
    officer = await go(office, OFFICER)
    assert await decide(officer, case, verdict, "電話で確認") == done
    assert sealed not in office.bench.desk.files()
    page = await (await officer.get(f"/proofing/cases/{case}")).text()
    assert "1984" not in page
    assert "電話で確認" in page
    assert "<textarea" not in page
    record = await office.bench.store.proofing.latest(SATO.id)
    assert (record is not None and record.in_force(office.bench.now)) == in_force
    (asked,) = office.world.events("console.act")
    assert (asked.actor.login, asked.target, asked.detail["act"], asked.detail["login"]) == (
        "sec.yamamoto", case, f"proofing.{verdict}", "dr.sato",
    )  # fmt: skip
    assert "電話" not in str(asked)
    assert office.told("proofing.decided")[-1][:2] == ("success", "sec.yamamoto")


@pytest.mark.parametrize("note", ["", "   ", "\u200b\u202e", "・。"])
async def test_a_refusal_says_why(office: ProofingWorld, go: Go, note: str) -> None:
    case = await office.near()
    before, officer = await state_of(office), await go(office, OFFICER)
    reply = await officer.post(f"/proofing/cases/{case}/decide", data={"verdict": "refuse", "note": note})
    assert reply.status == 422
    assert 'id="note-wrong"' in await reply.text()
    assert await state_of(office) == before
    long = await officer.post(f"/proofing/cases/{case}/decide", data={"verdict": "approve", "note": "長" * 501})
    assert (long.status, "長" * 501 in await long.text()) == (422, True)
    assert await state_of(office) == before


@pytest.mark.parametrize("form", [{}, {"verdict": "yes"}, {"verdict": ""}, [("verdict", "approve"), ("verdict", "refuse")]])
async def test_a_verdict_that_is_none(office: ProofingWorld, go: Go, form: Any) -> None:
    case = await office.near()
    before, officer = await state_of(office), await go(office, OFFICER)
    assert (await officer.post(f"/proofing/cases/{case}/decide", data=form)).status == 400
    assert await state_of(office) == before


@pytest.mark.parametrize("verdict", ["approve", "refuse"])
async def test_nobody_decides_on_themselves_nor_sees_what_the_card_said(office: ProofingWorld, go: Go, verdict: str) -> None:
    await office.bench.store.users.update(YAMAMOTO.id, lambda user: replace(user, birth_date="1982-03-19"))
    yamamoto = await office.bench.store.users.get(YAMAMOTO.id)
    assert yamamoto is not None
    case = await office.near(yamamoto, Verified(name="山本 凛", birth_date="1982-03-91".replace("91", "29")))
    officer = await go(office, OFFICER)
    page = await (await officer.get(f"/proofing/cases/{case}")).text()
    assert "あなた自身の審査" in page
    assert "1982" not in page
    assert 'name="verdict"' not in page
    assert await decide(officer, case, verdict, "自分です") == "not_own_case"
    (still,) = await office.port.cases()
    assert (still.id, still.state) == (case, "open")
    assert [event.outcome for event in office.world.events("console.act")] == ["success", "failure"]
    assert await decide(await go(office, SECOND_OFFICER), case) == "case_approved"


async def test_four_answers_at_once_are_one_decision(office: ProofingWorld, go: Go) -> None:
    case = await office.near()
    officer, second = await go(office, OFFICER), await go(office, SECOND_OFFICER)
    words = await asyncio.gather(*(decide(client, case) for client in (officer, second, officer, second)))
    assert sorted(words) == ["case_approved", "not_decided", "not_decided", "not_decided"]
    assert len((await office.office.own_view(SATO.id)).records) == 1


async def test_cases_that_are_over_are_said_to_be(office: ProofingWorld, go: Go) -> None:
    officer = await go(office, OFFICER)
    assert (await officer.get("/proofing/cases/case_unknown")).status == 404
    assert (await officer.post("/proofing/cases/case_unknown/decide", data={"verdict": "approve"})).status == 404
    first = await office.near()
    second = await office.near()  # the person has begun again
    assert await decide(officer, first) == "not_replaced"
    assert "この審査は無効です" in await (await officer.get("/proofing/review?done=not_replaced")).text()
    assert "1984" not in await (await officer.get(f"/proofing/cases/{first}")).text()
    office.bench.clock.advance(15 * DAY)
    officer = await go(office, OFFICER)
    assert await decide(officer, second) == "not_expired"
    page = await (await officer.get(f"/proofing/cases/{second}")).text()
    assert ("期限までに" in page, "1984" in page) == (True, False)
    review = await (await officer.get("/proofing/review")).text()
    assert "審査待ちはありません" in review


async def test_another_card_than_before_is_one_officers_decision(office: ProofingWorld, go: Go) -> None:
    office.bench.verifier.vouched = True
    await office.bench.proofed(SATO)
    office.bench.clock.advance(DAY)
    office.bench.verifier.person = "the re-issued card"
    case = (await office.bench.desk.case(SATO)).case_id
    officer = await go(office, OFFICER)
    page = await (await officer.get(f"/proofing/cases/{case}")).text()
    assert "カードからは何も読み取っていません" in page
    assert "有効な確認とは別のカードです。" in page
    assert "以前の確認は終了します" in page
    assert await decide(officer, case) == "case_approved"
    history = await office.port.history(SATO.id)
    assert history is not None
    assert [(proof.state, proof.ended_why) for proof in history.proofs] == [("in_force", ""), ("ended", "replaced")]
    assert "新しい確認に置き換え" in await (await officer.get(f"/proofing/people/{SATO.id}")).text()


async def test_a_deactivated_account_is_not_proofed_by_an_approval(office: ProofingWorld, go: Go) -> None:
    case = await office.near()
    await office.bench.store.users.update(SATO.id, lambda user: replace(user, active=False))
    officer = await go(office, OFFICER)
    assert await decide(officer, case) == "not_inactive"
    assert await decide(officer, case, "refuse", "退職") in {"case_rejected", "not_inactive"}


# ------------------------------------------------------------------ the counter


async def test_the_first_officer_does_not_confirm_by_a_form_of_their_own(counter: ProofingWorld, go: Go) -> None:
    code = await counter.at_counter()
    first, second = await go(counter, OFFICER), await go(counter, SECOND_OFFICER)
    reply = await first.post("/proofing/counter", data=LOOKED | {"code": code}, allow_redirects=False)
    assert (reply.status, reply.headers["Location"]) == (303, "/proofing/review?done=checked")
    (case,) = await counter.port.cases()
    assert (case.kind, case.first_by) == ("in_person", "sec.yamamoto")
    page = await (await first.get(f"/proofing/cases/{case.id}")).text()
    assert ('value="approve"' in page, 'value="refuse"' in page) == (False, True)
    assert await decide(first, case.id) == "not_same_officer"
    assert await decide(await go(counter, OFFICER | {"login": "Sec.Yamamoto "}), case.id) == "not_same_officer"
    assert await counter.bench.store.proofing.latest(SATO.id) is None
    again = await first.post("/proofing/counter", data=LOOKED | {"code": code})
    assert again.status == 422  # the code was used up
    assert await decide(second, case.id) == "case_approved"
    asked = counter.world.events("console.act")[0]
    assert asked.detail == {"act": "proofing.check", "document": "driving_licence", "login": "dr.sato", "decision": "dec_1"}
    assert "1984" not in str(counter.world.events())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code": "000000"}, "正しくありません"),
        ({"login": "nobody"}, "正しくありません"),
        ({"document": "photo_document"}, "この書類は受け付けていません"),
        ({"document": "library_card"}, "この書類は受け付けていません"),
        ({"name": ""}, "書類のとおりに"),
        ({"name": "佐藤\u202e恵"}, "書類のとおりに"),
        ({"birth_date": "1984-13-01"}, "書類のとおりに"),
        ({"birth_date": "2099-01-01"}, "書類のとおりに"),
        ({"name": "田中 実", "birth_date": "1950-01-01"}, "名簿と別人です"),
    ],
)
async def test_what_is_wrong_at_the_counter_is_said_and_nothing_kept(
    counter: ProofingWorld, go: Go, change: dict[str, str], words: str
) -> None:
    code = await counter.at_counter()
    form = LOOKED | {"code": code if code.replace(" ", "") != "000000" else "111111"} | change
    reply = await (await go(counter, OFFICER)).post("/proofing/counter", data=form)
    page = await reply.text()
    assert (reply.status, words in page) == (422, True)
    assert 'id="code" name="code" type="text" value=""' in page
    assert "\u202e" not in page
    assert await counter.port.cases(all_of_them=True) == []
    assert [event.outcome for event in counter.world.events("console.act")] == ["success", "failure"]


async def test_nobody_checks_themselves_at_the_counter(counter: ProofingWorld, go: Go) -> None:
    code = await counter.at_counter(YAMAMOTO)
    form = LOOKED | {"login": YAMAMOTO.login, "code": code, "name": YAMAMOTO.name}
    reply = await (await go(counter, OFFICER)).post("/proofing/counter", data=form)
    assert (reply.status, "自分の確認はできません" in await reply.text()) == (422, True)
    assert await counter.port.cases(all_of_them=True) == []


async def test_without_a_counter_there_is_none(office: ProofingWorld, go: Go) -> None:
    officer = await go(office, OFFICER)
    page = await (await officer.get("/proofing/counter")).text()
    assert ("窓口での本人確認は行っていません" in page, "<input" in page) == (True, False)
    assert (await officer.post("/proofing/counter", data=LOOKED)).status == 409
    assert (await officer.post("/proofing/counter", data={"login": "dr.sato"})).status == 400


# ------------------------------------------------------------------ invitations, asking again


@pytest.mark.parametrize(
    ("form", "people"),
    [
        ({"who": "lacking"}, {"dr.sato", "hr.hara", "hr.mori", "sec.kobayashi", "sec.yamamoto"}),
        ({"who": "department", "department": "情報システム室"}, {"sec.kobayashi", "sec.yamamoto"}),
        ({"who": "logins", "logins": "DR.SATO, nurse.suzuki\n"}, {"dr.sato", "nurse.suzuki"}),
        ([("person", SATO.id), ("person", SUZUKI.id), ("person", "usr_gone")], {"dr.sato", "nurse.suzuki"}),
    ],
)
async def test_people_are_shown_before_they_are_invited_and_only_once(
    office: ProofingWorld, go: Go, form: Any, people: set[str]
) -> None:
    await office.bench.proofed(SUZUKI)
    officer = await go(office, OFFICER)
    page = await (await officer.post("/proofing/invite/choose", data=form)).text()
    assert set(re.findall(_LOGIN, page)) == people
    assert await office.port.batches() == []
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    assert ("除かれます" in page) == (isinstance(form, list))
    for _ in range(2):  # sent twice, it is one
        reply = await officer.post("/proofing/invite", data=hidden | {"due": "2027-02-15"}, allow_redirects=False)
        assert (reply.status, reply.headers["Location"]) == (303, f"/proofing/batches/{hidden['batch']}?done=invited")
    (batch,) = await office.port.batches()
    assert (batch.id, batch.by, batch.invited, batch.due_at) == (hidden["batch"], "sec.yamamoto", len(people), 1_802_703_600)
    asked = office.world.events("console.act")
    assert [event.detail["people"] for event in asked] == [str(len(people))] * 2
    shown = await (await officer.get(f"/proofing/batches/{batch.id}")).text()
    assert set(re.findall(_LOGIN, shown)) == people
    assert "2027-02-15" in shown


async def test_progress_is_seen(office: ProofingWorld, go: Go) -> None:
    _, added = await office.office.invite([SATO.id, SUZUKI.id, YAMAMOTO.id], by="sec.yamamoto", due_at=office.bench.now + DAY)
    assert added == 3
    (batch,) = await office.port.batches()
    await office.bench.proofed(SUZUKI)
    await office.near()
    office.bench.clock.advance(2 * DAY)
    page = await (await (await go(office, OFFICER)).get(f"/proofing/batches/{batch.id}")).text()
    assert re.findall(r'<tr><th.*?mono">([\w.]+)<.*?tag \w+">([^<]+)<', page) == [
        ("sec.yamamoto", "期限超過"), ("dr.sato", "審査中"), ("nurse.suzuki", "完了"),
    ]  # fmt: skip
    history = await (await (await go(office, OFFICER)).get(f"/proofing/people/{SUZUKI.id}")).text()
    assert '完了</span> 期限 2027-01-16 <span class="mono">sec.yamamoto' in history


@pytest.mark.parametrize("due", ["", "x", "2027-01-14", "2028-12-31", "9999-12-31", "2027-02-30", "９"])
async def test_a_due_date_that_makes_no_sense(office: ProofingWorld, go: Go, due: str) -> None:
    reply = await (await go(office, OFFICER)).post("/proofing/invite", data=INVITE | {"due": due})
    assert reply.status == 422
    assert 'id="due-wrong"' in await reply.text()
    assert await office.port.batches() == []


async def test_invitations_of_nobody_and_invented_batches(office: ProofingWorld, go: Go) -> None:
    officer = await go(office, OFFICER)
    reply = await officer.post("/proofing/invite/choose", data={"who": "logins", "logins": f"dr.sato nobody {NASTY}"})
    page = await reply.text()
    assert (reply.status, "nobody" in page, "<script>alert" in page) == (422, True, False)
    assert (await officer.post("/proofing/invite/choose", data={"who": "logins", "logins": " "})).status == 422
    assert "職員が選ばれていません" in await (await officer.post("/proofing/invite/choose", data={"x": "y"})).text()
    assert (await officer.post("/proofing/invite", data=INVITE | {"people": "usr_gone"})).status == 422
    assert (await officer.post("/proofing/invite", data=INVITE | {"batch": "x"})).status == 400
    assert (await officer.post("/proofing/invite", data=INVITE | {"batch": BATCH + "\n"})).status == 400
    too_many = "&".join(["person=x"] * 4000)
    plain = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await officer.post("/proofing/invite/choose", data=too_many, headers=plain)).status == 400
    assert (await officer.post("/proofing/invite/choose", data="person=%FF", headers=plain)).status == 400
    assert (await officer.post("/proofing/invite/choose", json={"who": "lacking"})).status == 400
    assert await office.port.batches() == []
    assert (await officer.get("/proofing/batches/inv_x")).status == 404


async def test_asking_again_shows_its_progress_and_is_one_run_at_a_time(office: ProofingWorld, go: Go) -> None:
    await office.bench.crowd(3)
    office.bench.verifier.gate = asyncio.Event()
    officer = await go(office, OFFICER)
    places = [(await officer.post("/proofing/rechecks", allow_redirects=False)).headers["Location"]]
    await until(lambda: bool(office.bench.verifier.running))
    places.append((await officer.post("/proofing/rechecks", allow_redirects=False)).headers["Location"])
    assert places == ["/proofing/rechecks?done=recheck_started", "/proofing/rechecks?done=recheck_busy"]
    page = await (await officer.get("/proofing/rechecks")).text()
    assert '<progress max="3" value="0"' in page
    assert '<meta http-equiv="refresh" content="5; url=?tick=1">' in page
    assert "<details" not in page
    for tick in ("120", "999", "x", "-1", "٣"):  # bounded, so that a page left open does not keep its session alive
        assert 'http-equiv="refresh"' not in await (await officer.get("/proofing/rechecks", params={"tick": tick})).text()
    office.bench.verifier.gate.set()

    async def finished() -> bool:
        return (await office.port.rechecks())[0].finished_at is not None

    await until(finished)
    page = await (await officer.get("/proofing/rechecks")).text()
    assert ('http-equiv="refresh"' in page, "sec.yamamoto" in page) == (False, True)
    (run,) = await office.port.rechecks()
    assert (run.total, run.valid, run.asked) == (3, 3, 3)
    assert [event.outcome for event in office.world.events("console.act")] == ["success", "success", "failure"]


# ------------------------------------------------------------------ one person


async def test_a_proofing_is_ended_with_a_reason(office: ProofingWorld, go: Go) -> None:
    await office.bench.proofed(SUZUKI)
    officer, path = await go(office, OFFICER), f"/proofing/people/{SUZUKI.id}"
    for form in ({}, {"why": "replaced"}, {"why": "x"}):
        assert (await officer.post(f"{path}/end", data=form)).status == 400
    places = [
        (await officer.post(f"{path}/end", data={"why": "revoked"}, allow_redirects=False)).headers["Location"] for _ in range(2)
    ]
    assert places == [f"{path}?done=proofing_ended", f"{path}?done=nothing_to_end"]
    ended = office.told("proofing.ended")
    assert [(outcome, by, detail["why"]) for outcome, by, detail in ended] == [("success", "sec.yamamoto", "revoked")]
    page = await (await officer.get(f"{path}?done=proofing_ended")).text()
    assert "発行元で失効" in page
    assert "/end" not in page


async def test_everything_is_deleted_when_the_login_is_typed(office: ProofingWorld, go: Go) -> None:
    await office.bench.proofed(SUZUKI)
    officer, path = await go(office, OFFICER), f"/proofing/people/{SUZUKI.id}"
    for login in ("", "dr.sato", "nurse.suzuk"):
        assert (await officer.post(f"{path}/delete", data={"login": login})).status == 422
    assert len((await office.office.own_view(SUZUKI.id)).records) == 1
    reply = await officer.post(f"{path}/delete", data={"login": " NURSE.suzuki"}, allow_redirects=False)
    assert reply.headers["Location"] == f"{path}?done=proofing_deleted"
    assert (await office.office.own_view(SUZUKI.id)).records == ()
    assert [told[:2] for told in office.told("proofing.deleted")] == [("success", "sec.yamamoto")]
    page = await (await officer.get(path)).text()
    assert ("まだ行われていません" in page, "/delete" in page) == (True, False)


@pytest.mark.parametrize("person", ["usr_unknown", "x" * 3000, "<script>", "%2e%2e"])
async def test_somebody_who_is_not_there(office: ProofingWorld, go: Go, person: str) -> None:
    officer = await go(office, OFFICER)
    assert (await officer.get(f"/proofing/people/{person}")).status == 404
    assert (await officer.post(f"/proofing/people/{person}/end", data={"why": "officer"})).status == 404
    assert (await officer.post(f"/proofing/people/{person}/delete", data={"login": ""})).status == 404


# ------------------------------------------------------------------ pages and words


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_speaks_both_languages_and_runs_nothing(counter: ProofingWorld, go: Go, language: str) -> None:
    await everybody(counter)
    await counter.office.invite([SATO.id], by="sec.yamamoto", due_at=counter.bench.now + DAY)
    (batch,), (case,) = await counter.port.batches(), await counter.port.cases()
    officer = await go(counter, OFFICER)
    more = ("/counter", "/invite", f"/cases/{case.id}", f"/batches/{batch.id}", "/people/nobody")
    for path in (*LOOKED_AT, *(f"/proofing{path}" for path in more)):
        reply = await officer.get(path, headers={"Accept-Language": language})
        body = await reply.text()
        assert f'<html lang="{language}">' in body
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", body), path
        assert reply.headers["Cache-Control"] == "no-store"
        for name in re.findall(r'<(?:input|select|textarea)[^>]*\bid="(\w+)"', body):
            assert f'<label for="{name}">' in body
        if language == "en":
            assert not re.findall("[\u3040-\u309f]+", body.replace("日本語", "")), path


def test_every_code_has_a_word_and_every_word_a_code() -> None:
    def words(prefix: str) -> set[str]:
        return {key.removeprefix(f"proofing.{prefix}.") for key in KEYS if key.startswith(f"proofing.{prefix}.")}

    assert words("state") == set(get_args(State))
    assert words("kind") == set(KINDS)
    assert words("case_kind") == words("case_about") == set(get_args(CaseKind))
    assert words("case_state") == set(get_args(CaseState))
    assert words("case_over") == set(get_args(CaseState)) - {"open"}
    assert words("invited") == set(get_args(InvitationState))
    assert words("why") == set(get_args(EndedWhy))
    assert words("field") == set(get_args(Field))
    assert words("difference") == {*get_args(Difference), "new_card"}
    assert words("document") == set(DOCUMENTS)
    assert words("counter_wrong") == set(get_args(NotCheckedReason))
    assert words("column") == set(COLUMNS)
    refusals = {f"not_{reason}" for part in get_args(CaseRefusal) for reason in (get_args(part) or (part,))}
    others = {f"not_{why}" for why in get_args(GrantRefusal)}
    assert {word for word in DONE if word.startswith("not_")} - others == refusals - others
    verdicts = {f"case_{verdict}" for verdict in get_args(CaseVerdict)}
    assert {word for word in DONE if word.startswith("case_")} == verdicts | {"case_by_hand"}  # the last: a policy's case
    assert {"jpki_sign"} <= set(LETTERS) & words("method")


def test_a_text_that_no_page_uses_is_none() -> None:
    folder = Path(gateway.console.__file__).parent
    source = "".join(path.read_text("utf-8") for path in [*folder.glob("templates/*.html"), *folder.glob("*.py")])
    computed = (
        "state.", "kind.", "case_kind.", "case_about.", "case_state.", "case_over.", "invited.", "why.", "field.", "difference.",
        "document.", "counter_wrong.", "column.", "method.", "tab.", "wrong.", "case.on_approve_", "case.card_", "recheck.",
        "keys.", "counter.", "person_page.why_",
    )  # fmt: skip
    texts = {key for key in KEYS if key.startswith("proofing.") and not key.removeprefix("proofing.").startswith(computed)}
    assert {key for key in texts if f'"{key}"' not in source} == set()


def test_two_officers_are_two_people() -> None:
    assert {YAMAMOTO.id, YAMAMOTO.login}.isdisjoint({KOBAYASHI.id, KOBAYASHI.login})
    assert ORIGIN.startswith("http://console.")

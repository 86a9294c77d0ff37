"""A person's page: their grants and break-glasses, each a step away from its own page."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.emergency.ledger import Ledger
from gateway.emergency.model import REASONS, Finding
from gateway.emergency.notices import OutboxNotices
from gateway.emergency.service import Emergencies
from gateway.emergency.words import Manner
from gateway.grants.model import Person
from gateway.kernel.clock import ManualClock
from gateway.lasting.sqlite import SqliteLasting
from tests.support.console import AUDITOR, OFFICER, World
from tests.support.emergency import a_break_glass
from tests.support.grants import NOW, VENDOR, a_grant, approved, open_office
from tests.unit.console.conftest import Visit

SATO = Person(subject="usr_sato", login="dr.sato", name="佐藤 恵")
PAGE = "/people/usr_sato"


@pytest.fixture
async def lasting(tmp_path: Path) -> AsyncIterator[SqliteLasting]:
    opened = SqliteLasting(tmp_path / "policies.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def emergencies(world: World, lasting: SqliteLasting) -> Emergencies:
    ledger = Ledger(lasting)
    manner = Manner(language="ja", zone=ZoneInfo("Asia/Tokyo"), hospital="h", patient_id=False, link=lambda _: "", apps={})
    return Emergencies(
        ledger=ledger, sessions=world.sessions, log=world.audit, clock=world.clock, seconds=3600, reasons=REASONS, manner=manner,
        notices=OutboxNotices(ledger.outbox, (), clock=world.clock, wake=lambda: None),
    )  # fmt: skip


@pytest.mark.parametrize("person", [OFFICER, AUDITOR])
async def test_grants_and_break_glasses_are_shown_with_their_pages(
    visit: Visit, world: World, tmp_path: Path, clock: ManualClock, emergencies: Emergencies, person: dict[str, Any]
) -> None:
    await world.session()
    office, ledger = open_office(tmp_path, clock, world.audit), emergencies.ledger
    waits = await office.ledger.ask(a_grant(holder=SATO, asked_by=SATO, why="待っている申請"))
    holds = await approved(office.ledger, holder=SATO, asked_by=SATO, why="有効な許可")
    other = await approved(office.ledger, holder=VENDOR, asked_by=VENDOR)
    past = []
    for number in range(7):
        one = await office.ledger.ask(a_grant(holder=SATO, asked_by=SATO, asked_at=NOW - 100 + number))
        past.append(await office.ledger.withdraw(one.id, SATO, NOW))
    runs = a_break_glass(began_at=NOW, until=NOW + 3600)
    over = a_break_glass(session="ses_2", began_at=NOW - 9000, until=NOW - 5400)
    closed = a_break_glass(session="ses_3", began_at=NOW - 19000, until=NOW - 15400, subject="usr_old", login="DR.Sato")
    others = a_break_glass(session="ses_4", subject="usr_x", login="dr.tanaka")
    for glass in (runs, over, closed, others):
        await ledger.begin(glass)
        await ledger.in_force(glass.id, glass.began_at)
    for glass in (over, closed):
        await ledger.end(glass.id, "person", glass.began_at + 60)
    await ledger.review(
        closed.id, Finding(word="justified", text="確認した", by="usr_y", login="sec.yamamoto", name="山本 凛", at=NOW)
    )
    client = await visit(person, grants=office, emergencies=emergencies)
    page = await (await client.get(PAGE)).text()
    for shown in (waits, holds, *past[2:]):
        assert f'href="/grants/{shown.id}"' in page
    for hidden in (other, *past[:2]):
        assert hidden.id not in page
    for link in (runs, over, closed):
        assert f'href="/emergencies/{link.id}"' in page
    assert others.id not in page
    assert page.index(runs.id) < page.index(over.id) < page.index(closed.id)
    assert page.count(">承認待ち</span>") == 1
    assert page.count(">有効</span>") == 1
    assert page.count(">取り下げ</span>") == 5
    english = await (await client.get(f"{PAGE}?lang=en")).text()
    for word in ("Break-glass", "Grants", "in force", "to be reviewed", "Justified"):
        assert word in english, word
    for path in (f"/grants/{holds.id}", f"/emergencies/{over.id}"):
        assert (await client.get(path)).status == 200


async def test_a_store_that_does_not_answer_is_said_where_it_is_missed(
    visit: Visit, world: World, tmp_path: Path, clock: ManualClock, emergencies: Emergencies, lasting: SqliteLasting
) -> None:
    await world.session()
    office = open_office(tmp_path, clock, world.audit)
    await office.ledger.ask(a_grant(holder=SATO, asked_by=SATO))
    client = await visit(OFFICER, grants=office, emergencies=emergencies)
    assert "保存先が応答しない" not in await (await client.get(PAGE)).text()
    lasting.close()
    (tmp_path / "policies.sqlite3").write_bytes(b"no database any more" * 500)
    page = await (await client.get(PAGE)).text()
    assert page.count("保存先が応答しない") == 1
    assert "/grants/grt_" in page
    assert "佐藤 恵" in page


async def test_without_a_database_or_anything_to_show_there_is_no_such_part(
    visit: Visit, world: World, emergencies: Emergencies
) -> None:
    await world.session()
    for parts in ({}, {"emergencies": emergencies}):
        page = await (await (await visit(AUDITOR, **parts)).get(PAGE)).text()
        assert 'id="emergencies"' not in page
        assert 'id="grants"' not in page

"""Grants that nobody else approved: own approvals, replayed and cross-site forms, hostile text, times that run backwards."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.grants.model import Grant
from gateway.grants.office import GrantOffice
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_id
from tests.support.console import AUDITOR, OFFICER, World, opened
from tests.support.grants import NOW, SECOND, VENDOR, a_grant, open_office
from tests.support.grants import OFFICER as YAMAMOTO

Client = TestClient[web.Request, web.Application]
INOUE = {"sub": "usr_inoue", "login": "sec.inoue", "name": "井上 蓮", "roles": ["security_officer"], "aud": "console"}


class Bench:
    """A console with grants, and whoever comes."""

    def __init__(self, world: World, office: GrantOffice, open_client: Callable[..., Awaitable[Client]]) -> None:
        self.world, self.office, self._open = world, office, open_client

    async def come(self, person: dict[str, Any], **headers: str) -> Client:
        server = TestServer(self.world.application(grants=self.office))
        return await self._open(server, headers=self.world.headers(person) | headers)

    def field(self, at: float) -> str:
        from gateway.console.parts import JAPAN

        return datetime.fromtimestamp(at, JAPAN).strftime("%Y-%m-%dT%H:%M")

    async def decide(self, client: Client, grant: Grant, verdict: str = "approve", **changes: str) -> str:
        fields = {"from": self.field(grant.asked_from), "until": self.field(grant.asked_until), "note": "よく確かめた"}
        reply = await client.post(f"/grants/{grant.id}/{verdict}", data=fields | changes, allow_redirects=False)
        return reply.headers.get("Location", str(reply.status))

    async def standing(self, grant: Grant) -> str:
        found = await self.office.ledger.get(grant.id)
        assert found is not None
        return found.state


@pytest.fixture
async def bench(tmp_path: Path, aiohttp_client: Callable[..., Awaitable[Client]]) -> AsyncIterator[Bench]:
    clock = ManualClock(NOW)
    async with opened(tmp_path, clock) as world:
        office = open_office(tmp_path, clock, world.audit)
        await office.book.start()
        yield Bench(world, office, aiohttp_client)


async def test_nobody_approves_what_is_for_them_or_what_they_entered(bench: Bench) -> None:
    own = await bench.office.ledger.ask(a_grant(holder=YAMAMOTO, asked_by=YAMAMOTO))
    entered = await bench.office.ledger.ask(a_grant(asked_by=YAMAMOTO))
    for_them = await bench.office.ledger.ask(a_grant(holder=YAMAMOTO, asked_by=SECOND))
    officer = await bench.come(OFFICER)
    renamed = await bench.come({**OFFICER, "sub": "usr_renamed", "login": "SEC.Yamamoto"})
    for grant in (own, entered, for_them):
        for client in (officer, renamed):
            assert await bench.decide(client, grant) == "/grants?done=not_own"
            assert await bench.decide(client, grant, "decline") == "/grants?done=not_own"
        assert await bench.standing(grant) == "waiting"
        page = await (await officer.get(f"/grants/{grant.id}")).text()
        assert "別の責任者が判断します" in page
        assert "/approve" not in page
    failures = [event for event in bench.world.events("grant.approved") if event.outcome == "failure"]
    assert len(failures) == 6, "each attempt is in the log"


@pytest.mark.parametrize(
    ("person", "headers", "status"),
    [
        (AUDITOR, {}, "403"),
        ({**OFFICER, "roles": ["nurse"]}, {}, "403"),
        (OFFICER, {"Origin": "https://evil.example"}, "403"),
        (OFFICER, {"Origin": "null"}, "403"),
    ],
)
async def test_who_may_not_and_forms_of_other_sites(
    bench: Bench, person: dict[str, Any], headers: dict[str, str], status: str
) -> None:
    grant = await bench.office.ledger.ask(a_grant())
    client = await bench.come(person, **headers)
    for verdict in ("approve", "decline", "end"):
        assert await bench.decide(client, grant, verdict) == status
    assert await bench.standing(grant) == "waiting"
    reply = await client.post("/grants/emergency", data={"why": "地震", "until": bench.field(NOW + 600)})
    assert reply.status == 403
    assert await bench.office.ledger.emergencies() == []


async def test_a_replayed_approval_changes_nothing(bench: Bench) -> None:
    grant = await bench.office.ledger.ask(a_grant())
    officer = await bench.come(OFFICER)
    assert await bench.decide(officer, grant) == "/grants?done=grant_approved"
    assert await bench.decide(officer, grant, "end") == "/grants?done=grant_ended"
    assert await bench.decide(officer, grant) == "/grants?done=not_state"
    assert await bench.decide(officer, grant, "end") == "/grants?done=not_state"
    assert await bench.standing(grant) == "ended"
    assert bench.office.book.grants_of(VENDOR.subject, NOW + 1) == ()


async def test_two_officers_at_once(bench: Bench) -> None:
    grant = await bench.office.ledger.ask(a_grant())
    one, two = await bench.come(OFFICER), await bench.come(INOUE)
    said = await asyncio.gather(bench.decide(one, grant), bench.decide(two, grant, "decline"))
    assert len([word for word in said if word in {"/grants?done=grant_approved", "/grants?done=grant_declined"}]) == 1
    assert len([word for word in said if word == "/grants?done=not_state"]) == 1


async def test_an_approval_never_gives_more_than_was_asked_for(bench: Bench) -> None:
    grant = await bench.office.ledger.ask(a_grant())
    officer = await bench.come(OFFICER)
    for changes in (
        {"until": bench.field(grant.asked_until + 60)},
        {"from": bench.field(grant.asked_from - 60)},
        {"from": bench.field(grant.asked_until), "until": bench.field(grant.asked_from)},
        {"until": "9999-12-31T23:59"},
        {"until": "0001-01-01T00:00"},
        {"until": "tomorrow"},
        {"from": ""},
    ):
        assert await bench.decide(officer, grant, **changes) == "422", changes
    assert await bench.standing(grant) == "waiting"


@pytest.mark.parametrize(
    "why", ["\u202egnihton", "a\u200bb\u200bc\u200bd", "\x00\x01\x02\x03", "x" * 501, "<script>alert(1)</script>"]
)
async def test_hostile_text_is_refused_or_shown_as_text(bench: Bench, why: str) -> None:
    officer = await bench.come(OFFICER)
    session = await bench.world.session(identity={"subject": VENDOR.subject, "login": VENDOR.login, "name": VENDOR.name})
    form = {
        "grant": new_id("grt"), "login": session.identity.login, "name": "ehr-maintenance", "why": why,
        "from": bench.field(NOW), "until": bench.field(NOW + 3600),
    }  # fmt: skip
    reply = await officer.post("/grants/new", data=form, allow_redirects=False)
    assert reply.status == (303 if why.startswith("<") else 422)
    text = await (await officer.get("/grants")).text()
    assert "<script>alert" not in text
    assert "\u202e" not in text


async def test_names_that_no_policy_asks_for_can_not_be_granted(bench: Bench) -> None:
    officer = await bench.come(OFFICER)
    session = await bench.world.session(identity={"subject": VENDOR.subject, "login": VENDOR.login, "name": VENDOR.name})
    for name in ("admin", "", "*", "ehr-maintenance\u200b", "EHR-MAINTENANCE"):
        form = {
            "grant": new_id("grt"), "login": session.identity.login, "name": name, "why": "保守作業",
            "from": bench.field(NOW), "until": bench.field(NOW + 3600),
        }  # fmt: skip
        assert (await officer.post("/grants/new", data=form, allow_redirects=False)).status == 422, name
    assert await bench.office.ledger.open() == []


async def test_a_form_that_is_sent_twice_is_one_request(bench: Bench) -> None:
    officer = await bench.come(OFFICER)
    session = await bench.world.session(identity={"subject": VENDOR.subject, "login": VENDOR.login, "name": VENDOR.name})
    form = {
        "grant": new_id("grt"), "login": session.identity.login, "name": "ehr-maintenance", "why": "保守作業",
        "from": bench.field(NOW), "until": bench.field(NOW + 3600),
    }  # fmt: skip
    for _ in range(2):
        assert (await officer.post("/grants/new", data=form, allow_redirects=False)).status == 303
    other = await bench.come(INOUE)
    reply = await other.post("/grants/new", data=form, allow_redirects=False)
    assert reply.headers["Location"] == "/grants?done=not_taken", "another officer's form is not theirs"
    assert len(await bench.office.ledger.open()) == 1


async def test_a_clock_that_is_put_back_brings_nothing_back(bench: Bench) -> None:
    grant = await bench.office.ledger.ask(a_grant())
    assert await bench.decide(await bench.come(OFFICER), grant) == "/grants?done=grant_approved"
    await bench.office.ledger.settle(NOW + 7200)
    await bench.office.book.changed_here()
    assert bench.office.book.grants_of(VENDOR.subject, NOW + 60) == ()
    assert await bench.decide(await bench.come(INOUE), grant) == "/grants?done=not_state"

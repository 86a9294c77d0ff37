from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from gateway.audit.memory import MemoryAuditLog
from gateway.console.routes import ROUTES, console_app
from gateway.kernel.assertion import ASSERTION_HEADER
from tests.support.assertions import TestSigner, segment
from tests.support.console import AUDITOR, OFFICER, ORIGIN, World
from tests.unit.console.conftest import Client, Visit

PAGES = ["/", "/sessions", "/devices", "/policies", "/export", "/export?format=csv", "/decisions/stream"]
PAGES += ["/people", "/policies/watch", "/policies/watch/stream"]
CHANGES = [
    "/sessions/ses_1/revoke",
    "/devices/dev_1/approve",
    "/devices/dev_1/block",
    "/devices/dev_1/unblock",
    "/devices/dev_1/compliance",
]
WITH_A_DATABASE = ["/emergencies/notices/ntc_1/told"]


@pytest.mark.parametrize(
    ("method", "path"),
    [*[("GET", page) for page in [*PAGES, "/static/live.js", "/x"]], *[("POST", c) for c in [*CHANGES, *WITH_A_DATABASE]]],
)
async def test_nothing_without_a_good_assertion(aiohttp_client: Any, world: World, method: str, path: str) -> None:
    client: Client = await aiohttp_client(TestServer(world.application()), headers={"Origin": ORIGIN})
    now, signer = world.clock.now(), world.signer
    forger = TestSigner(kid=signer.kid)
    claims = signer.claims(now, **OFFICER)
    tokens = {
        "missing": None,
        "empty": "",
        "forged": forger.sign(claims),
        "another app's": signer.sign({**claims, "aud": "ehr"}),
        "another gateway's": signer.sign({**claims, "iss": "http://portal.example"}),
        "expired": signer.sign({**claims, "iat": int(now) - 120, "exp": int(now) - 60}),
        "not yet valid": signer.sign({**claims, "nbf": int(now) + 60}),
        "none": f"{segment({'alg': 'none', 'kid': signer.kid})}.{segment(claims)}.",
        "hs256": signer.sign(claims, {"alg": "HS256", "kid": signer.kid}),
        "truncated": signer.sign(claims)[:-4],
    }
    for what, token in tokens.items():
        reply = await client.request(method, path, headers={} if token is None else {ASSERTION_HEADER: token})
        assert reply.status == 401, what
        assert "WWW-Authenticate" in reply.headers
    good = signer.sign(claims)
    twice = [(ASSERTION_HEADER, good), (ASSERTION_HEADER, good)]
    assert (await client.request(method, path, headers=twice)).status == 401
    assert world.audit.records == []  # the gateway recorded the decision; the console did nothing


@pytest.mark.parametrize(
    "roles", [[], ["physician"], ["clerk", "vendor"], ["Auditor"], ["security_officer "], ["security", "officer"]]
)
async def test_others_are_told_so_and_it_is_recorded(visit: Visit, world: World, roles: list[str]) -> None:
    client = await visit(OFFICER, {"roles": roles})
    await world.session()
    for number, path in enumerate(PAGES, 1):
        reply = await client.get(path)
        assert reply.status == 403
        assert "佐藤" not in await reply.text()
        assert world.exported == []
        assert len(world.events("console.view")) == number
        last = world.events()[-1]
        assert (last.outcome, last.target, last.actor.login) == ("failure", path.partition("?")[0], "sec.yamamoto")
    assert (await client.get("/static/console.css")).status == 200


@pytest.mark.parametrize("path", CHANGES)
async def test_an_auditor_changes_nothing(auditor: Client, world: World, path: str) -> None:
    session = await world.session(id="ses_1")
    await world.device(id="dev_1", status="pending")
    before = await world.devices.get("dev_1")
    reply = await auditor.post(path, data={"state": "compliant"})
    assert reply.status == 403
    assert await world.devices.get("dev_1") == before
    assert await world.sessions.get(session.id, world.clock.now()) is not None
    assert [(event.event, event.outcome) for event in world.events()] == [("console.view", "failure")]


async def test_an_auditor_is_shown_no_buttons(auditor: Client, officer: Client, world: World) -> None:
    await world.session()
    await world.device(status="pending")
    for path in ("/sessions", "/devices"):
        assert "<details" in await (await officer.get(path)).text()
        page = await (await auditor.get(path)).text()
        assert "<details" not in page
        assert page.count("<form") == 1  # signing out


@pytest.mark.parametrize("path", PAGES[:6])
async def test_each_view_is_recorded_before_it_is_shown(officer: Client, world: World, path: str) -> None:
    assert (await officer.get(path)).status == 200
    event = world.events()[0]
    assert event.event == ("console.export" if "format" in path else "console.view")
    assert (event.outcome, event.actor.login, event.actor.name) == ("success", "sec.yamamoto", "山本 凛")
    assert (event.source.address, event.source.door) == ("192.0.2.7", "console")
    assert event.detail["decision"] == "dec_1"
    assert event.at == "2027-01-15T08:00:00.000Z"


@pytest.mark.parametrize(("method", "path"), [*[("GET", page) for page in PAGES], *[("POST", change) for change in CHANGES]])
async def test_when_the_log_is_broken_nothing_is_shown_or_done(officer: Client, world: World, method: str, path: str) -> None:
    session = await world.session(id="ses_1")
    status = "blocked" if path.endswith("unblock") else "active" if path.endswith("compliance") else "pending"
    before = await world.device(id="dev_1", status=status)
    world.audit.fail()
    reply = await officer.request(method, path, data={"state": "non_compliant"} if method == "POST" else None)
    body = await reply.text()
    assert reply.status == 503
    assert "佐藤" not in body
    assert "端末1" not in body
    assert await world.devices.get("dev_1") == before
    assert await world.sessions.get(session.id, world.clock.now()) is not None
    assert world.exported == []


async def test_a_log_that_breaks_before_the_sync_stops_the_change(visit: Visit, world: World) -> None:
    class Unsynced(MemoryAuditLog):
        async def synced(self, index: int) -> None:
            self.fail("the disk went away")
            await super().synced(index)

    client = await visit(OFFICER, audit=Unsynced())
    await world.session(id="ses_1")
    await world.device(id="dev_1", status="pending")
    assert (await client.post("/sessions/ses_1/revoke")).status == 503
    assert (await client.post("/devices/dev_1/approve")).status == 503
    assert (await client.get("/export?format=csv")).status == 503
    assert await world.sessions.get("ses_1", world.clock.now()) is not None
    device = await world.devices.get("dev_1")
    assert device is not None
    assert device.status == "pending"
    assert world.exported == []


HEADERS_OF_OTHERS: list[dict[str, str]] = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://ehr.localhost:8080"},
    {"Origin": ORIGIN + ".evil.example"},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("headers", HEADERS_OF_OTHERS)
@pytest.mark.parametrize("path", CHANGES)
async def test_another_sites_form_changes_nothing(officer: Client, world: World, path: str, headers: dict[str, str]) -> None:
    await world.session(id="ses_1")
    before = await world.device(id="dev_1", status="pending")
    reply = await officer.post(path, data={"state": "compliant"}, headers=headers)
    assert reply.status == 403
    assert await world.devices.get("dev_1") == before
    assert await world.sessions.get("ses_1", world.clock.now()) is not None


async def test_a_change_by_get_is_no_change(officer: Client, world: World) -> None:
    await world.session(id="ses_1")
    for path in CHANGES:
        assert (await officer.get(path)).status in {404, 405}
    assert await world.sessions.get("ses_1", world.clock.now()) is not None


# ------------------------------------------------------------------ as the gateway sees it


def test_the_gateways_routes_cover_the_console_and_name_what_changes(world: World) -> None:
    app = console_app("console.localhost", "http://127.0.0.1:9")
    assert (app.id, app.host) == ("console", "console.localhost")
    served = set()
    for resource in world.application().router.resources():
        pattern = tuple(resource.canonical.removeprefix("/").split("/"))
        served |= {(route.method, pattern) for route in resource if route.method != "HEAD"}
    named = {
        (method, tuple("{name}" if part == "**" else part for part in route.pattern))
        for route in ROUTES
        for method in route.methods
    }
    assert served == named
    changing = {"revoke", "device", "policy-rollback"} | {
        f"proofing-{act}" for act in ("end", "delete", "decide", "check", "choose", "invite", "recheck")
    }
    changing |= {f"draft-{act}" for act in ("submit", "approve", "decline", "publish", "trial", "trial-end")}
    changing |= {f"grant-{act}" for act in ("give", "approve", "decline", "end")}
    changing |= {"notice-told"}
    changing |= {f"emergency-{act}" for act in ("declare", "lift", "end", "review")}
    drafting = {
        f"draft-{act}"
        for act in ("begin", "save", "file", "change", "case", "link-add", "link-change", "about", "update", "withdraw")
    }
    only_asking = {"draft-check", "what-if-ask", "draft-replay-start", "draft-replay-cancel"}
    shown_to_officers = {f"proofing-{form}" for form in ("case", "counter", "invitees")}
    by_method = {
        method: {
            route.id.removeprefix("console.") for route in ROUTES if route.action == "administer" and route.methods == (method,)
        }
        for method in ("GET", "POST")
    }
    assert by_method == {"POST": changing, "GET": shown_to_officers}
    others = {route.id.removeprefix("console."): route.action for route in ROUTES if "POST" in route.methods}
    assert {name: action for name, action in others.items() if name not in changing} == dict.fromkeys(
        drafting, "write"
    ) | dict.fromkeys(only_asking, "read")
    assert [route.id for route in ROUTES if route.action == "export"] == ["console.export", "console.proofing-export"]
    assert len({route.id for route in ROUTES}) == len(ROUTES)


async def test_another_role_set_can_be_configured(visit: Visit) -> None:
    client = await visit(AUDITOR, {"roles": ["ciso"]}, viewer_roles=frozenset({"ciso"}))
    assert (await client.get("/policies")).status == 200

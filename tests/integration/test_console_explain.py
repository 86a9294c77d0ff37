"""Explanations in the console: over a real log on disk, the desk of changes, and in Chromium."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from playwright.async_api import Browser, Page, expect

from gateway.app.explaining import target_of
from gateway.audit.find import Searched, find_decision
from gateway.changes.bundle_files import snapshot_of
from gateway.config import load_config
from gateway.console.routes import ROUTES
from gateway.domain.record import Actor, DecisionRecord
from gateway.kernel.clock import ManualClock
from gateway.policy.bundle import load_bundle
from gateway.policy.compile import compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.known import Known, KnownRoute
from tests.support.configuration import write_config
from tests.support.console import AUDITOR, OFFICER
from tests.support.console_policies import PoliciesWorld, policies_world
from tests.support.logs import Place, decision
from tests.support.policy import STARTER, facts
from tests.support.ports import free_port

Client = TestClient[web.Request, web.Application]
Visit = Callable[..., Awaitable[Client]]
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts" / "console-explain"
BUNDLE = load_bundle(STARTER)
UNTOUCHED = facts(
    target={"route": "ehr.prescribe", "action": "write", "sensitivity": "high"}, authentication={"key_touch_age_seconds": 412}
)
KNOWN = Known(
    routes=(
        KnownRoute(id="ehr.chart", app="ehr", action="read"),
        KnownRoute(id="ehr.prescribe", app="ehr", action="write", sensitivity="high"),
        *(KnownRoute(id=one.id, app=one.app, action=one.action, sensitivity=one.sensitivity) for one in ROUTES),
    ),
    zones=("ward",),
)


def name(number: int) -> str:
    return f"dec_{number:032x}"


def recorded(number: int, what: Facts, bundle: Bundle = BUNDLE, **changes: Any) -> DecisionRecord:
    """The record of what `bundle` answers."""
    answer = bundle.evaluate(what)
    values = {
        "outcome": "allow" if answer.allowed else "deny",
        "reason": "policy_permits" if answer.allowed else "no_policy_permits",
        "policies": answer.policies,
        "errors": answer.errors,
        "bundle": bundle.version,
        "facts": msgspec.to_builtins(what),
        "route": what.target.route,
        "action": what.target.action,
        "patient": "10023",
        "remedy": ("key_touch",),
    }
    return msgspec.structs.replace(decision(number), **(values | changes))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000)


@pytest.fixture
async def policies(tmp_path: Path, clock: ManualClock) -> AsyncIterator[PoliciesWorld]:
    async with policies_world(tmp_path, clock) as world:
        yield world


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "audit")


@pytest.fixture
async def visit(aiohttp_client: Callable[..., Awaitable[Client]], policies: PoliciesWorld, place: Place) -> Visit:
    async def find(given: str) -> Searched:
        return await asyncio.to_thread(find_decision, place.folder, given, most_bytes=1 << 30)

    async def go(person: dict[str, Any] = OFFICER, language: str = "en", **parts: Any) -> Client:
        application = policies.application(**{"find_decision": find, "known": KNOWN, **parts})
        headers = {**policies.world.headers(person), "Accept-Language": language}
        return await aiohttp_client(TestServer(application), headers=headers)

    return go


async def page(client: Client, path: str, status: int = 200) -> str:
    async with client.get(path) as reply:
        assert reply.status == status, await reply.text()
        return await reply.text()


async def ask(client: Client, status: int = 200, **form: str) -> str:
    usual = {"sign_in": "two_factors", "proofing": "proofed", "device": "hospital", "situation": "normal", "route": "ehr.chart"}
    async with client.post("/policies/what-if", data=usual | form) as reply:
        assert reply.status == status, await reply.text()
        return await reply.text()


def tickets(text: str) -> dict[str, str]:
    return dict(re.findall(r'<textarea id="ticket-(ja|en)"[^>]*>([^<]*)</textarea>', text))


async def test_why_a_decision_was_as_it_was(visit: Visit, place: Place, policies: PoliciesWorld) -> None:
    await place.write([decision(1), recorded(7, UNTOUCHED)])
    text = await page(await visit(AUDITOR), f"/policies/explain?decision={name(7)}")
    for said in (
        "Denied: no policy permits it.",
        "touch the security key",
        "the security key was touched less than 5 min ago",
        "the security key was touched 6 min 52 s ago",
        "The same policies give the same answer",
        "dr.sato 佐藤 花子",
    ):
        assert said in text, said
    both = tickets(text)
    assert both.keys() == {"ja", "en"}
    assert "セキュリティキーに触れてから6分52秒たっている" in both["ja"]
    for ticket in both.values():
        assert name(7) in ticket
        assert "10023" not in ticket
        assert "permit (" not in ticket
        assert "context." not in ticket
    assert [(event.target, event.actor.login) for event in policies.world.events("policy.explained")] == [
        (name(7), "audit.nakamura")
    ]
    japanese = await page(await visit(language="ja"), f"/policies/explain?decision={name(7)}")
    assert "拒否：許可するポリシーがありません。" in japanese


async def test_policies_of_then_are_kept_by_the_desk(visit: Visit, place: Place, policies: PoliciesWorld) -> None:
    before = BUNDLE
    draft = await policies.published()
    now = compile_bundle(snapshot_of(draft.files).policies, ".")
    policies.world.in_force = type(policies.world.in_force)(version=now.version, loaded_at=0, policies=now.policies)
    await place.write([recorded(1, UNTOUCHED, before), recorded(2, UNTOUCHED, now), recorded(3, UNTOUCHED, bundle_unknown())])
    client = await visit()
    for number in (1, 2):
        assert "The same policies give the same answer" in await page(client, f"/policies/explain?decision={name(number)}")
    text = await page(client, f"/policies/explain?decision={name(3)}")
    assert "are not kept here" in text
    assert tickets(text) == {}


def bundle_unknown() -> Bundle:
    return Bundle(version="f" * 64, policies=BUNDLE.policies)


async def test_a_record_that_says_otherwise(visit: Visit, place: Place) -> None:
    await place.write([recorded(1, UNTOUCHED, outcome="allow", policies=("ehr-prescribe-physician",))])
    text = await page(await visit(), f"/policies/explain?decision={name(1)}")
    assert "give another answer" in text
    assert 'class="notice error" role="alert"' in text


async def test_a_record_of_an_older_version(visit: Visit, place: Place) -> None:
    plain = msgspec.to_builtins(UNTOUCHED)
    del plain["proofing"]["authenticator_bound"]
    old = recorded(1, UNTOUCHED, facts=plain)
    broken = recorded(2, UNTOUCHED, facts={**plain, "device": "unknown"})
    await place.write([old, broken])
    client = await visit()
    text = await page(client, f"/policies/explain?decision={name(1)}")
    assert "does not hold these facts" in text
    assert "the binding of the sign-in to the identity proofing" in text
    assert "can&#39;t be read by this version" in await page(client, f"/policies/explain?decision={name(2)}")


@pytest.mark.parametrize(
    ("outcome", "reason", "says"),
    [
        ("challenge", "sign_in_required", "Nobody was signed in, so no policy was asked"),
        ("refuse", "target_dot_segments", "The request itself was not taken"),
        ("unavailable", "session_store", "did not answer"),
    ],
)
async def test_records_that_no_policy_was_asked_for(visit: Visit, place: Place, outcome: str, reason: str, says: str) -> None:
    await place.write([recorded(1, UNTOUCHED, outcome=outcome, reason=reason, facts=None, policies=(), actor=Actor())])
    text = await page(await visit(), f"/policies/explain?decision={name(1)}")
    assert says in text
    assert "(not signed in)" in tickets(text)["en"]


@pytest.mark.parametrize("nonsense", ["x", "../../etc/passwd", "dec_%E2%80%AE", "%00", "<script>", "d" * 4000, "' OR 1=1"])
async def test_ids_of_nonsense(visit: Visit, place: Place, nonsense: str, policies: PoliciesWorld) -> None:
    await place.write([decision(1)])
    text = await page(await visit(), f"/policies/explain?decision={nonsense}", 404)
    assert "That is no decision" in text
    assert "\u202e" not in text
    assert "<script>" not in text.replace('<script src="', "")
    assert policies.world.events("policy.explained") == []


async def test_a_decision_that_is_not_in_the_log(visit: Visit, place: Place) -> None:
    await place.write([decision(1)])

    async def bounded(given: str) -> Searched:
        return Searched(record=None, looked_at=1, everything=False, back_to="2027-01-15T08:00:00.000Z")

    assert "There is no decision" in await page(await visit(), f"/policies/explain?decision={name(9)}", 404)
    assert "looked back to 2027-01-15 17:00:00" in await page(
        await visit(find_decision=bounded), f"/policies/explain?decision={name(9)}", 404
    )
    assert "can&#39;t be searched" in await page(await visit(find_decision=None), f"/policies/explain?decision={name(9)}", 404)


async def test_hostile_text_of_a_record_stays_text(visit: Visit, place: Place) -> None:
    roles = ("nurse\u202e", "<img src=x onerror=alert(1)>", "a\nOutcome: allowed")
    hostile = msgspec.structs.replace(UNTOUCHED, principal=msgspec.structs.replace(UNTOUCHED.principal, roles=roles))
    actor = Actor(login="<b>\u202e", name='"><script>alert(1)</script>', roles=roles, device="</textarea>")
    await place.write([recorded(1, hostile, actor=actor)])
    text = await page(await visit(), f"/policies/explain?decision={name(1)}")
    assert "\u202e" not in text
    assert "<script>alert" not in text
    assert "<img" not in text
    assert tickets(text)["en"].count("\nOutcome:") == 0


async def test_what_if(visit: Visit, policies: PoliciesWorld) -> None:
    client = await visit()
    form = await page(client, "/policies/what-if")
    assert '<option value="ehr.prescribe"' in form
    text = await ask(client, roles="physician", route="ehr.prescribe")
    assert "Denied" in text
    assert "touch the security key" in text
    assert 'value="physician"' in text  # the form keeps what was typed
    assert "Allowed" in await ask(client, roles="physician", route="ehr.prescribe", sign_in="key_now")
    assert "Denied" in await ask(client, roles="nurse", device="none")
    assert "Allowed" in await ask(client, roles="nurse", at="2027-01-15T22:30", facts="time.holiday=yes\nnetwork.zone=ward")
    (*_, last) = policies.world.events("policy.explained")
    assert (last.target, last.detail["route"], last.detail["roles"]) == ("what-if", "ehr.chart", "nurse")


async def test_what_if_of_somebody_who_is_signed_in(visit: Visit, policies: PoliciesWorld) -> None:
    session = await policies.world.session()
    client = await visit()
    assert "dr.sato" in await page(client, "/policies/what-if")
    # The roles are the person's, whatever stands in the field.
    assert "Allowed" in await ask(client, person=session.identity.subject, roles="clerk")


async def test_what_if_of_a_draft(visit: Visit, policies: PoliciesWorld) -> None:
    draft = await policies.changed()
    files = {
        file: data.replace(b'principal in Role::"nurse" || ', b"") if file == "ehr.cedar" else data
        for file, data in draft.files.items()
    }
    draft = await policies.desk.save(draft.author, draft.id, revision=draft.revision, files=files)
    client = await visit()
    assert "Allowed" in await ask(client, roles="nurse")
    assert "Denied" in await ask(client, roles="nurse", policies=draft.id)
    broken = {**files, "ehr.cedar": b"permit ("}
    await policies.desk.save(draft.author, draft.id, revision=draft.revision, files=broken)
    assert "can&#39;t be asked" in await ask(client, 400, roles="nurse", policies=draft.id)
    assert "can&#39;t be asked" in await ask(client, 400, roles="nurse", policies="chg_nothing")


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"route": "nowhere"}, "Choose a request."),
        ({"at": "yesterday"}, "Look at the time again."),
        ({"at": "9999-12-31T23:59+00:00"}, "Look at the time again."),
        ({"device": "toaster"}, "Choose a device."),
        ({"roles": "nurse\u202e"}, "Look at the roles again."),
        ({"situation": "panic"}, "never &#39;panic&#39;"),
        ({"facts": "device.complaint=no"}, "Did you mean device.compliant?"),
        ({"facts": "nonsense"}, "Look at the other facts again."),
        ({"facts": "time.hour=1\n" * 100}, "Look at the other facts again."),
    ],
)
async def test_what_cannot_be_asked(visit: Visit, form: dict[str, str], says: str) -> None:
    text = await ask(await visit(), 400, **form)
    assert says in text
    assert "\u202e" not in text
    assert 'aria-invalid="true"' in text


async def test_a_form_of_another_site_asks_nothing(visit: Visit, policies: PoliciesWorld) -> None:
    client = await visit()
    async with client.post("/policies/what-if", data={"route": "ehr.chart"}, headers={"Origin": "https://evil.example"}) as reply:
        assert reply.status == 403
    assert policies.world.events("policy.explained") == []


async def test_without_a_written_record_nothing_is_shown(visit: Visit, place: Place, policies: PoliciesWorld) -> None:
    await place.write([recorded(1, UNTOUCHED)])
    client = await visit()
    await policies.world.audit.close()
    await page(client, f"/policies/explain?decision={name(1)}", 503)


async def test_targets_come_from_the_configuration(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "configuration"), {})
    assert (target_of(config, "ehr.home").app, target_of(config, "ehr.home").action) == ("ehr", "read")


# ---------------------------------------------------------------- in a browser


async def fits(page: Page, name: str) -> None:
    """A picture, at the officer's desk and on a tablet: nothing runs out of the page."""
    for width in (1280, 820):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.screenshot(path=ARTEFACTS / f"{name}-{width}.png", full_page=True)
        wide = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1], (name, width)


@pytest.mark.parametrize("language", ["ja-JP", "en-US"])
async def test_in_a_browser(chromium: Browser, tmp_path: Path, clock: ManualClock, place: Place, language: str) -> None:
    port = free_port()
    origin = f"http://localhost:{port}"
    await place.write([recorded(1, UNTOUCHED)])
    await asyncio.to_thread(ARTEFACTS.mkdir, parents=True, exist_ok=True)

    async def find(given: str) -> Searched:
        return await asyncio.to_thread(find_decision, place.folder, given, most_bytes=1 << 30)

    async with policies_world(tmp_path, clock, origin) as world:
        server = TestServer(world.application(find_decision=find, known=KNOWN), port=port, host="127.0.0.1")
        await server.start_server()
        signed = world.world.signer.headers(clock.now(), exp=int(clock.now()) + 290, **OFFICER)
        context = await chromium.new_context(
            locale=language, extra_http_headers=signed, viewport={"width": 1280, "height": 900},
            permissions=["clipboard-read", "clipboard-write"],
        )  # fmt: skip
        page = await context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        await page.goto(f"{origin}/policies/explain")
        # The keyboard alone: paste the id, explain, copy for the ticket.
        await page.locator("input[name=decision]").focus()
        await page.keyboard.insert_text(name(1))
        await page.keyboard.press("Enter")
        await expect(page.locator("#answer")).to_be_visible()
        await fits(page, f"decision-{language}")
        await page.locator("[data-copy]:visible").press("Enter")
        await expect(page.locator(".ticket [role=status]:visible")).not_to_be_empty()
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == await page.locator(".ticket textarea:visible").input_value()
        assert name(1) in copied
        # What if the key were touched now?
        await page.goto(f"{origin}/policies/what-if")
        await page.select_option("#f-route", "ehr.prescribe")
        await page.fill("#f-roles", "physician")
        await page.select_option("#f-sign_in", "key_now")
        await page.locator("form[action^='/policies/what-if'] button").press("Enter")
        await expect(page.locator("#answer.yes")).to_be_visible()
        await fits(page, f"what-if-{language}")
        await page.locator("details").evaluate_all("(every) => every.forEach((one) => { one.open = true; })")
        await fits(page, f"what-if-open-{language}")
        assert wrong == []
        await context.close()
        await server.close()

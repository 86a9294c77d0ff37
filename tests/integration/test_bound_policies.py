"""From the ceremony to the decision: the real provider binds, the ID token says so, the policy sees it, and the remedy works."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.domain.record import DecisionRecord
from tests.support.whole import Browser, Page, Whole, open_whole

STARTER = Path(__file__).parents[2] / "policies"
PRESCRIBE = "/patients/p001/prescriptions"


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    """The starter policies, with the one about bound authenticators enforced."""
    policies = tmp_path / "policies"
    shutil.copytree(STARTER, policies)
    guards = policies / "guards.cedar"
    before, _, after = guards.read_text("utf-8").partition('@id("prescribe-bound-only")')
    guards.write_text(before + '@id("prescribe-bound-only")' + after.replace('@mode("report-only")\n', "", 1), "utf-8")
    shutil.rmtree(policies / "cases")
    (policies / "cases").mkdir()
    (policies / "cases" / "bases.toml").write_bytes((STARTER / "cases" / "bases.toml").read_bytes())
    (policies / "cases" / "bound.toml").write_text(
        '[[case]]\nname = "bound"\nbase = "physician-touched"\ntarget = "ehr.prescribe"\n'
        'facts.proofing = { authenticator_bound = false }\nbound = ["otp", "pwd"]\n'
        'expect = { outcome = "deny", policies = ["prescribe-bound-only"], remedy = ["identity_proofing", "key_touch"] }\n',
        "utf-8",
    )
    async with open_whole(tmp_path / "data", policies=policies) as running:
        yield running


def facts(whole: Whole, route: str = "") -> dict[str, Any]:
    """What the newest decision was made from."""
    decided = [one for one in whole.records if isinstance(one, DecisionRecord) and one.facts and route in ("", one.route)]
    newest: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(decided[-1].facts))
    return newest


async def prescribe(browser: Browser) -> Page:
    return await browser.request("POST", browser.url("ehr", PRESCRIBE), {"drug": "x"})


async def step(browser: Browser, name: str) -> Page:
    return await browser.follow(await browser.get(browser.url("ehr", f"/.gateway/remedy?step={name}&rd=%2F")))


async def touch(browser: Browser, page: Page) -> Page:
    """The ceremony of a page that asks for a key, registered there first where it says so."""
    if 'action="/login/code"' in page.text:
        page = await browser.follow(await browser.submit(page, "/login/code", code=await browser.code()))
    if 'action="/login/register"' in page.text:
        page = await browser.follow(await browser._ceremony(page, "/login/register"))
    return await browser.follow(await browser._ceremony(page, "/login/key"))


async def test_a_key_registered_in_the_ceremony_prescribes(whole: Whole) -> None:
    browser = whole.browser()
    page = await browser.register_device(await browser.sign_in())
    await touch(browser, await step(browser, "key_touch"))
    assert facts(whole)["proofing"] == {
        "level": 0, "method": "none", "age_days": 0, "authenticator_bound": False, "expires_in_days": None,
    }  # fmt: skip
    page = await browser.open("ehr")
    await browser.proof(page)
    seen = facts(whole)["proofing"]
    assert (seen["level"], seen["authenticator_bound"]) == (3, True)
    assert seen["expires_in_days"] > 0
    assert (await prescribe(browser)).status == 200
    assert facts(whole, "ehr.prescribe")["proofing"]["authenticator_bound"] is True


async def test_an_older_key_does_not_until_it_was_used_with_what_is_bound(whole: Whole) -> None:
    browser = whole.browser()
    await browser.register_device(await browser.sign_in())
    await touch(browser, await step(browser, "key_touch"))
    whole.clock.advance(3600)
    await revoke(whole)
    # The person is proofed at another terminal, with password and code.
    ward = whole.browser()
    await ward.proof(await ward.register_device(await ward.sign_in()))
    assert facts(whole)["proofing"]["authenticator_bound"] is True
    # Back at the first, with nothing but the key.
    page = await browser.open("ehr")
    page = await browser.follow(await browser._ceremony(page, "/login/key"))
    assert facts(whole)["authentication"]["kinds"] == ["fido2"]
    assert facts(whole)["proofing"]["level"] == 3
    assert facts(whole)["proofing"]["authenticator_bound"] is False
    refused = await prescribe(browser)
    assert refused.status == 403
    assert "step=identity_proofing" in refused.text
    # At the terminal where password and code are bound, the same key is touched once.
    ward.key = browser.key
    await touch(ward, await step(ward, "key_touch"))
    assert facts(whole)["proofing"]["authenticator_bound"] is True
    assert (await prescribe(ward)).status == 200
    # From then on it is bound everywhere, as soon as the provider has been asked.
    assert (await prescribe(browser)).status == 403
    await touch(browser, await step(browser, "key_touch"))
    assert (await prescribe(browser)).status == 200


async def test_the_remedy_for_an_unbound_key_is_a_new_proofing_and_it_works(whole: Whole) -> None:
    browser = whole.browser()
    await browser.register_device(await browser.sign_in())
    await touch(browser, await step(browser, "key_touch"))
    whole.clock.advance(3600)
    await revoke(whole)
    ward = whole.browser()
    await ward.proof(await ward.register_device(await ward.sign_in()))
    page = await browser.open("ehr")
    await browser.follow(await browser._ceremony(page, "/login/key"))
    first = facts(whole)["proofing"]
    refused = await prescribe(browser)
    await browser.proof(refused)
    await browser.open("ehr")
    assert facts(whole)["proofing"]["authenticator_bound"] is True
    assert first["authenticator_bound"] is False
    assert (await prescribe(browser)).status == 200
    assert [event.detail["how"] for event in whole.events("proofing.bound")][-1] == "ceremony"
    # Whoever strikes the wish for a new one out of the address gets the old one, and it is no step.
    await revoke(whole)
    page = await browser.open("ehr")
    await browser.follow(await browser._ceremony(page, "/login/key"))
    asked = await browser.open("ehr", "/.gateway/remedy?step=identity_proofing&rd=%2F", until="/authorize")
    assert "proofed-anew" in asked.location
    page = await browser.follow(await browser.get(asked.location.replace("proofed-anew", "other")), "/.gateway/callback")
    assert (await browser.get(page.location)).status == 403
    assert "no new identity proofing" in whole.events("signin.failed")[-1].detail["why"]


async def test_a_policy_can_warn_before_a_proofing_ends(whole: Whole) -> None:
    browser = whole.browser()
    await browser.proof(await browser.register_device(await browser.sign_in()))
    days = facts(whole)["proofing"]["expires_in_days"]
    whole.clock.advance(86_400)
    await browser.open("ehr")
    await browser.sign_in()
    assert days - 2 <= facts(whole)["proofing"]["expires_in_days"] < days
    assert json.dumps(facts(whole))


async def revoke(whole: Whole) -> None:
    for session in await whole.gateway.sessions.list(whole.clock.now()):
        await whole.gateway.sessions.revoke(session.id)

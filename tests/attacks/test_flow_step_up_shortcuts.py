"""Steps that were asked for and left out on the way: the person edits the authorization request, or waits until it is void."""

import re
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.domain.cookies import DEVICE_COOKIE, SESSION_COOKIE
from gateway.domain.posture import Device
from gateway.posture.registry import SqliteDevices
from tests.support.whole import Browser, Page, Whole, open_whole, query, with_query

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with open_whole(tmp_path_factory.mktemp("whole") / "data") as whole:
        yield whole


@pytest.fixture
def whole(running: Whole) -> Whole:
    """One gateway for all tests here; what it saw before does not count."""
    running.records.clear()
    running.hits.clear()
    return running


@pytest.fixture
def browser(whole: Whole) -> Browser:
    return whole.browser()


def without(url: str, *names: str) -> str:
    base, _, _ = url.partition("?")
    return with_query(base, **{name: value for name, value in query(url).items() if name not in names})


async def asked(browser: Browser, step: str) -> str:
    """The authorization request that a remedy leads to."""
    page = await browser.open("ehr", f"/.gateway/remedy?step={step}&rd=%2F", until="/authorize")
    assert "/authorize" in page.location
    return page.location


def why(whole: Whole) -> str:
    failed = [event for event in whole.events("signin.failed") if event.source.door == "portal"]
    return failed[-1].detail["why"] if failed else ""


async def revoke_all(whole: Whole) -> None:
    for session in await whole.gateway.sessions.list(whole.clock.now()):
        await whole.gateway.sessions.revoke(session.id)


# ------------------------------------------------------------------ an ended session


@pytest.mark.parametrize("host", ["ehr", "imaging"])
async def test_after_the_end_of_a_session_the_provider_is_told_to_ask_again(whole: Whole, browser: Browser, host: str) -> None:
    """Also where only the portal's cookie knows that there was one: `imaging` was never opened."""
    await browser.sign_in()
    await revoke_all(whole)
    wanted = query((await browser.open(host, until="/authorize")).location)
    assert (wanted["prompt"], wanted["max_age"]) == ("login", "0")
    assert (await browser.open(host)).host == "id.localhost"


async def test_who_strikes_out_that_they_must_sign_in_again_does_not_get_in(whole: Whole, browser: Browser) -> None:
    """A shared terminal: the next person keeps the provider from asking (its own session is still good) and edits our request."""
    await browser.sign_in()
    whole.clock.advance(120)
    await revoke_all(whole)
    page = await browser.open("ehr", until="/authorize")
    page = await browser.follow(await browser.get(without(page.location, "prompt", "max_age")), "/.gateway/callback")
    assert "code=" in page.location  # the provider did its part of the trick
    page = await browser.get(page.location)
    assert page.status == 403
    assert "again" in why(whole)
    assert (await browser.get(browser.url("ehr"))).status == 302
    assert await whole.gateway.sessions.list(whole.clock.now()) == []


# ------------------------------------------------------------------ a step that was not done


@pytest.mark.parametrize(
    ("step", "left_out"), [("key_touch", "key"), ("second_factor", "factors"), ("identity_proofing", "proof")]
)
async def test_a_step_that_was_not_done_changes_nothing(whole: Whole, browser: Browser, step: str, left_out: str) -> None:
    await browser.register_device(await browser.sign_in())
    whole.clock.advance(120)
    url = await asked(browser, step)
    before = (await whole.gateway.sessions.list(whole.clock.now()))[0]
    page = await browser.follow(await browser.get(without(url, "acr_values", "max_age", "prompt")), "/.gateway/callback")
    assert "code=" in page.location
    page = await browser.get(page.location)
    assert page.status == 403
    assert left_out in why(whole)
    assert not whole.events("stepup.succeeded")
    after = (await whole.gateway.sessions.list(whole.clock.now()))[0]
    assert (after.id, after.generation, after.events) == (before.id, before.generation, before.events)
    await revoke_all(whole)


async def test_a_second_factor_that_was_asked_for_and_given_steps_up(whole: Whole, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.follow(await browser.get(await asked(browser, "second_factor")))
    await browser.follow(await browser.credentials(page))
    ours = [event.detail for event in whole.events("stepup.succeeded") if event.source.door == "portal"]
    assert ours == [{"purpose": "second_factor"}]
    await revoke_all(whole)


async def test_a_step_of_another_person_neither_counts_nor_ends_the_session(whole: Whole, browser: Browser) -> None:
    """The hint that names the person is struck out, and a colleague signs in: what was typed would be sent in her name."""
    await browser.sign_in()
    url = await asked(browser, "second_factor")
    browser.cookies["id.localhost"].clear()
    page = await browser.follow(await browser.get(without(url, "id_token_hint")))
    page = await browser.credentials(page, login="nurse.suzuki")
    assert (await browser.get(page.location)).status == 403
    assert "another person" in why(whole)
    (session,) = await whole.gateway.sessions.list(whole.clock.now())
    assert session.identity.login == "dr.sato"
    await revoke_all(whole)


async def test_a_step_begun_before_a_session_was_ended_does_not_bring_it_back(whole: Whole, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.follow(await browser.get(await asked(browser, "second_factor")))
    back = await browser.credentials(page)
    await revoke_all(whole)
    page = await browser.get(back.location)
    assert page.status == 403
    assert "ended" in why(whole)
    assert await whole.gateway.sessions.list(whole.clock.now()) == []


# ------------------------------------------------------------------ a device that an officer has judged


async def ledger(whole: Whole, browser: Browser, **changes: str) -> None:
    """What an officer's hand does to the device of this browser."""

    def change(device: Device) -> Device:
        return msgspec.structs.replace(device, **changes)

    devices = SqliteDevices(whole.folder / "devices.sqlite3")
    for device in await devices.list():
        await devices.update(device.id, change)
    await devices.close()


async def device_form(browser: Browser) -> Page:
    return await browser.follow(await browser.get(browser.url("ehr", "/.gateway/remedy?step=register_device&rd=%2F")))


@pytest.mark.parametrize(("status", "code"), [("blocked", 403), ("pending", 200)])
async def test_a_browser_whose_device_was_blocked_does_not_register_itself_again(
    whole: Whole, browser: Browser, status: str, code: int
) -> None:
    page = await browser.sign_in()
    form = (await device_form(browser)).form("/.gateway/device")  # kept for later
    await browser.register_device(page)
    await ledger(whole, browser, status=status)
    shown = await device_form(browser)
    assert shown.status == code
    assert 'action="/.gateway/device"' not in shown.text
    known = browser.cookies["portal.localhost"][DEVICE_COOKIE]
    whole.records.clear()
    sent = await browser.request("POST", browser.url("portal", "/.gateway/device"), {**form, "label": "new", "attested": "yes"})
    assert sent.status == code
    assert browser.cookies["portal.localhost"][DEVICE_COOKIE] == known
    assert not whole.events("device.registered")
    assert (await browser.open("ehr")).status == 403
    await revoke_all(whole)


async def test_a_device_found_wanting_is_not_made_good_by_registering_it_once_more(whole: Whole, browser: Browser) -> None:
    page = await browser.sign_in()
    form = (await device_form(browser)).form("/.gateway/device")
    await browser.register_device(page)
    await ledger(whole, browser, compliance="non_compliant")
    whole.records.clear()
    await browser.request("POST", browser.url("portal", "/.gateway/device"), {**form, "label": "new", "attested": "yes"})
    assert not whole.events("device.registered")
    assert (await browser.open("ehr")).status == 403
    await revoke_all(whole)


# ------------------------------------------------------------------ handles from before


async def test_a_handle_from_before_the_proofing_does_not_profit_from_it(whole: Whole, browser: Browser) -> None:
    """Decision 5: a token that was stolen before a step-up never profits from it."""
    page = await browser.register_device(await browser.sign_in())
    assert (await browser.open("imaging")).status == 403
    thief = whole.browser()
    thief.cookies = {"imaging.localhost": dict(browser.cookies["imaging.localhost"])}
    page = await browser.proof(page)
    assert page.status == 200
    assert (await thief.get(thief.url("imaging"))).status == 403
    own = await browser.open("imaging")
    link = next(iter(re.findall(r'href="(/\.gateway/remedy\?step=identity_proofing[^"]*)"', own.text)))
    assert (await browser.follow(await browser.get(browser.url("imaging", link.replace("&amp;", "&"))))).status == 200
    assert (await thief.get(thief.url("imaging"))).status == 302  # and now it is dead
    await revoke_all(whole)


async def test_signed_out_is_never_said_while_the_session_is_alive(whole: Whole, browser: Browser) -> None:
    """CVE-2026-34454: a link to the last page of a sign-out makes nobody believe that it is over, and takes no handle away."""
    await browser.sign_in()
    page = await browser.get(browser.url("portal", "/.gateway/signed-out"))
    assert page.location == browser.url("portal")
    assert SESSION_COOKIE in browser.cookies["portal.localhost"]
    assert "佐藤" in (await browser.open("portal")).text
    await revoke_all(whole)
    assert (await browser.get(browser.url("portal", "/.gateway/signed-out"))).status == 200

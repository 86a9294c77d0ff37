"""Grants at a whole gateway: a vendor is refused, asks, is approved by an officer in the console, works, and is cut off."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from gateway.config.remedies import Remedies
from gateway.domain.record import DecisionRecord
from gateway.kernel.secret import Secret
from tests.support.emergency import until
from tests.support.policy import policy, write_bundle
from tests.support.whole import PASSWORD, SECRET, Browser, Page, Whole, open_whole

PAGE = "/.gateway/grants"
STREAM = "/patients/P1001/vitals/stream"
TOKYO = ZoneInfo("Asia/Tokyo")
POLICIES = (
    policy("read", scope='principal in Role::"physician", action == Action::"read", resource in App::"ehr"'),
    policy(
        "maintenance", 'context.grants.contains("ehr-maintenance")',
        scope='principal in Role::"vendor", action == Action::"read", resource in App::"ehr"',
    ),
    policy("console", scope='principal in Role::"security_officer", action, resource in App::"console"'),
)  # fmt: skip
PEOPLE = (
    ("vendor.ito", "伊藤 健", "vendor"),
    ("sec.yamamoto", "山本 凛", "security_officer"),
    ("sec.inoue", "井上 蓮", "security_officer"),
)  # fmt: skip


async def opened(tmp_path_factory: pytest.TempPathFactory, **changes: object) -> AsyncIterator[Whole]:
    folder = write_bundle(tmp_path_factory.mktemp("policies") / "policies", *POLICIES)
    async with open_whole(tmp_path_factory.mktemp("whole") / "data", policies=folder, **changes) as running:
        assert running.gateway.provider is not None
        for login, name, role in PEOPLE:
            await running.gateway.provider.seed_user(
                login=login, name=name, roles=(role,), organization="demo-hospital", birth_date="1984-05-12", kana="カナ",
                password=Secret(PASSWORD), totp_secret=Secret(SECRET),
            )  # fmt: skip
        yield running


@pytest.fixture
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async for running in opened(tmp_path_factory):
        yield running


def field(at: float) -> str:
    return datetime.fromtimestamp(at, TOKYO).strftime("%Y-%m-%dT%H:%M")


async def asked(browser: Browser, denied: Page, *, seconds: int = 300) -> Page:
    """From the denial, through the form."""
    form = await browser.follow(await browser.get(denied.remedy("grant")))
    assert form.status == 200, form.text
    assert "ehr-maintenance" in form.text
    now = browser.whole.clock.now()
    typed = {"name": "ehr-maintenance", "why": "月次の保守作業のため", "from": field(now), "until": field(now + seconds)}
    return await browser.follow(await browser.submit(form, PAGE, **typed))


async def decided(whole: Whole, verdict: str, login: str = "sec.yamamoto", **fields: str) -> Page:
    """What an officer does in the console with the one request that waits."""
    officer = whole.browser()
    home = await officer.sign_in("console", "/", login=login)
    assert "承認待ちの一時許可の申請があります(1)" in home.text
    listed = await officer.open("console", "/grants")
    path = re.findall(r'href="(/grants/grt_[0-9a-f]{32})"', listed.text)[0]
    one = await officer.open("console", path)
    assert "月次の保守作業のため" in one.text
    values = dict(re.findall(r'name="(from|until)" required value="([^"]+)"', one.text))
    return await officer.follow(await officer.request("POST", officer.url("console", f"{path}/{verdict}"), {**values, **fields}))


async def cut_off(stream: aiohttp.ClientResponse) -> None:
    """Read until the gateway ends the stream."""
    async with asyncio.timeout(10):
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.content.read()


async def until_status(browser: Browser, status: int, path: str = "/patients") -> Page:
    async with asyncio.timeout(10):
        while True:
            page = await browser.open("ehr", path)
            if page.status == status:
                return page
            await asyncio.sleep(0.05)


async def test_from_the_denial_to_the_work_and_its_end(whole: Whole) -> None:
    vendor = whole.browser()
    denied = await vendor.sign_in("ehr", "/patients", login="vendor.ito")
    assert (denied.status, "一時許可が必要です" in denied.text) == (403, True)
    page = await asked(vendor, denied)
    assert "承認を待っています" in page.text
    assert "承認待ち" in page.text
    waiting = await vendor.open("ehr", "/patients")
    assert (waiting.status, "一時許可の承認を待っています" in waiting.text) == (403, True)
    script = await vendor.get(vendor.url("ehr", "/patients"), Sec_Fetch_Mode="cors")
    assert json.loads(script.text)["reason"] == "grant_waiting"
    done = await decided(whole, "approve", note="夜間のみ")
    assert "承認しました" in done.text
    page = await until_status(vendor, 200)
    assert page.text == "upstream vendor.ito"
    record = next(one for one in reversed(whole.records) if isinstance(one, DecisionRecord) and one.outcome == "allow")
    assert b'"grants":["ehr-maintenance"]' in bytes(record.facts)  # type: ignore[arg-type]  # Raw
    # A stream is cut at the second at which the grant ends.
    headers = vendor.headers("GET", vendor.url("ehr", STREAM))
    async with whole.http.get(vendor.url("ehr", STREAM), headers=headers) as stream:
        assert stream.status == 200
        assert await stream.content.readany()
        whole.clock.advance(301)
        await cut_off(stream)
    assert (await vendor.open("ehr", "/patients")).status == 403
    await until(lambda: bool(whole.events("grant.ended")))
    cut = [one for one in whole.records if isinstance(one, DecisionRecord) and one.phase == "stream"]
    assert [one.reason for one in cut] == ["no_policy_permits"]
    events = {name: whole.events(name) for name in ("grant.asked", "grant.approved", "grant.ended")}
    assert [len(found) for found in events.values()] == [1, 1, 1]
    assert {found[0].target for found in events.values()} == {events["grant.asked"][0].target}
    assert events["grant.approved"][0].actor.login == "sec.yamamoto"
    assert events["grant.ended"][0].detail["how"] == "time"


async def test_an_officer_takes_it_away_and_the_stream_is_cut(whole: Whole) -> None:
    vendor = whole.browser()
    await asked(vendor, await vendor.sign_in("ehr", "/patients", login="vendor.ito"))
    await decided(whole, "approve")
    await until_status(vendor, 200)
    headers = vendor.headers("GET", vendor.url("ehr", STREAM))
    async with whole.http.get(vendor.url("ehr", STREAM), headers=headers) as stream:
        assert await stream.content.readany()
        officer = whole.browser()
        listed = await officer.sign_in("console", "/grants", login="sec.inoue")
        path = re.findall(r'action="(/grants/grt_[0-9a-f]{32}/end)"', listed.text)[0]
        assert "終了させました" in (await officer.follow(await officer.submit(listed, path))).text
        await cut_off(stream)
    assert (await vendor.open("ehr", "/patients")).status == 403
    assert whole.events("grant.ended")[0].actor.login == "sec.inoue"


async def test_a_declined_request_opens_nothing_and_says_why(whole: Whole) -> None:
    vendor = whole.browser()
    await asked(vendor, await vendor.sign_in("ehr", "/patients", login="vendor.ito"))
    done = await decided(whole, "decline", note="作業計画書がありません")
    assert "却下しました" in done.text
    page = await vendor.open("portal", PAGE)
    assert "作業計画書がありません" in page.text
    denied = await vendor.open("ehr", "/patients")
    assert (denied.status, "一時許可が必要です" in denied.text) == (403, True)


async def test_the_hospitals_emergency_in_the_console(whole: Whole) -> None:
    officer = whole.browser()
    listed = await officer.sign_in("console", "/grants", login="sec.yamamoto")
    typed = {"why": "震度6強の地震", "until": field(whole.clock.now() + 3600)}
    done = await officer.follow(await officer.submit(listed, "/grants/emergency", **typed))
    assert "緊急体制を宣言しました" in done.text
    home = await officer.open("console", "/")
    assert 'id="emergency-banner"' in home.text
    doctor = whole.browser()
    await doctor.sign_in("ehr", "/patients")
    record = next(one for one in reversed(whole.records) if isinstance(one, DecisionRecord) and one.outcome == "allow")
    assert b'"situation":"emergency"' in bytes(record.facts)  # type: ignore[arg-type]  # Raw
    path = re.findall(r'action="(/grants/emergency/sit_[0-9a-f]{32}/end)"', done.text)[0]
    ended = await officer.follow(await officer.submit(done, path))
    assert "緊急体制を終了しました" in ended.text
    assert 'id="emergency-banner"' not in (await officer.open("console", "/")).text
    assert [event.detail["situation"] for event in whole.events("situation.changed")] == ["emergency", "normal"]


async def test_people_who_are_told_only_to_ask_the_help_desk_learn_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    remedies = Remedies(help_desk_roles=("vendor",), help_desk_ja="内線 1234")
    async for whole in opened(tmp_path_factory, remedies=remedies):
        vendor = whole.browser()
        denied = await vendor.sign_in("ehr", "/patients", login="vendor.ito")
        script = await vendor.get(vendor.url("ehr", "/patients"), Sec_Fetch_Mode="cors")
        assert (denied.status, script.status) == (403, 403)
        assert "内線 1234" in denied.text
        assert "ヘルプデスク" in denied.text
        for page in (denied, script):
            said = page.text + repr(page.headers)
            for word in ("grant", "maintenance", "許可", "remedy?", "step", "no_policy", "forbid", 'vendor"'):
                assert word not in said, word
        answer = json.loads(script.text)
        assert (answer["reason"], answer["remedy"], sorted(answer)) == (
            "help_desk", [], ["decision", "error", "message", "reason", "remedy"],
        )  # fmt: skip
        records = [one for one in whole.records if isinstance(one, DecisionRecord) and one.outcome == "deny"]
        assert records[-1].id == answer["decision"]
        assert records[-1].remedy == ("grant",), "the log holds it"
        # No way round: neither the link that others get, nor the page, nor a form that was made up.
        asked_all_the_same = await vendor.follow(
            await vendor.get(vendor.url("ehr", "/.gateway/remedy?step=grant&grant=ehr-maintenance&rd=%2F"))
        )
        assert asked_all_the_same.status == 404
        assert "ehr-maintenance" not in asked_all_the_same.text
        assert "grants" not in (await vendor.open("portal")).text
        form = {"grant": f"grt_{'0' * 32}", "name": "ehr-maintenance", "why": "please", "from": "2027-01-15T17:00",
                "until": "2027-01-15T18:00"}  # fmt: skip
        assert (await vendor.request("POST", vendor.url("portal", PAGE), form)).status == 404
        assert whole.events("grant.asked") == []
        # A physician is told what would help.
        doctor = await whole.browser().sign_in("imaging", "/")
        assert doctor.status == 403
        assert "ヘルプデスク" not in doctor.text

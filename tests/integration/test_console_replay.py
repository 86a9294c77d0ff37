"""The replay of a draft in the console, over real logs, with processes of its own; and in a browser."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from playwright.async_api import Browser, expect

from gateway.kernel.clock import ManualClock
from gateway.replay.office import Failure
from tests.support.chromium import serving
from tests.support.console import AUDITOR, OFFICER
from tests.support.console_policies import SECOND
from tests.support.console_replay import NIGHT, ReplayWorld, of, replay_world
from tests.support.logs import START
from tests.support.ports import free_port

Client = TestClient[web.Request, web.Application]
Visit = Callable[..., Awaitable[Client]]
ARTEFACTS: Final = Path(__file__).parents[2] / "test-artefacts" / "console-replay"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ReplayWorld]:
    async with replay_world(tmp_path, ManualClock(START)) as found:
        yield found


@pytest.fixture
async def visit(aiohttp_client: Callable[..., Awaitable[Client]], world: ReplayWorld) -> Visit:
    async def go(person: dict[str, Any], **parts: Any) -> Client:
        return await aiohttp_client(TestServer(world.application(**parts)), headers=world.policies.world.headers(person))

    return go


async def text(client: Client, path: str, status: int = 200) -> str:
    reply = await client.get(path)
    assert reply.status == status
    return re.sub(r"\s+", " ", html.unescape(await reply.text()))


def told(world: ReplayWorld) -> list[tuple[str, str]]:
    return [(event.outcome, event.detail.get("why", "")) for event in world.policies.world.events("policy.replayed")]


async def test_the_author_and_the_second_person_see_the_same_result(visit: Visit, world: ReplayWorld) -> None:
    await world.fill()
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}/replay"
    author = await visit(OFFICER)
    form = await text(author, url)
    assert "試算する" in form
    assert "試算の結果" not in form
    assert (await world.office.replayed(draft.content)) is False
    begun = await author.post(url, data={"days": "7"}, allow_redirects=False)
    assert (begun.status, begun.headers["Location"]) == (303, url)
    await world.over(draft.content)
    [event] = world.policies.world.events("policy.replayed")
    assert (event.target, event.detail["content"], event.detail["days"]) == (draft.id, draft.content, "7")
    page = await text(author, url)
    assert "試算の結果" in page
    assert "看護師は夜間に検査画像を閲覧できません" in page
    assert "staff.040" in page
    assert re.search(r"<strong>4\d</strong> 件が使えなくなる（\d+人）", page)
    assert re.search(r"<strong>10</strong> 件が使えるようになる（3人）", page)
    assert "/policies/explain?decision=dec_" in page
    second = await visit(SECOND, replays=world.another())
    assert (await text(second, url)).partition("試算の結果")[2] == page.partition("試算の結果")[2]
    # The draft's own page knows, on every process.
    assert 'class="done"> <span class="dot" aria-hidden="true">✓</span> <span><a href="' + url in await text(second, url[:-7])
    english = await second.get(url, headers={"Accept-Language": "en"})
    assert "By hour" in await english.text()


async def test_a_replay_counts_only_while_what_it_was_compared_with_is_in_force(visit: Visit, world: ReplayWorld) -> None:
    await world.fill()
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}"
    client = await visit(OFFICER)
    await client.post(f"{url}/replay", data={"days": "7"})
    await world.over(draft.content)
    done = f'class="done"> <span class="dot" aria-hidden="true">✓</span> <span><a href="{url}/replay'
    assert done in await text(client, url)
    await world.policies.published()
    assert done not in await text(client, url)


async def test_names_in_records_are_text_and_hide_nothing(visit: Visit, world: ReplayWorld) -> None:
    await world.fill()
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}/replay"
    client = await visit(OFFICER)
    await client.post(url, data={"days": "7"})
    await world.over(draft.content)
    body = await (await client.get(url)).text()
    assert "<script>alert" not in body
    assert "\u202e" not in body
    assert "\\u{202e}" in body


async def test_a_log_that_does_not_verify_is_refused_and_says_where(visit: Visit, world: ReplayWorld) -> None:
    await world.fill()
    path = world.place.records()
    path.write_bytes(path.read_bytes().replace(b'"outcome":"allow"', b'"outcome":"deny"', 1))
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}/replay"
    client = await visit(OFFICER)
    await client.post(url, data={"days": "7"})
    await world.over(draft.content)
    page = await text(client, url)
    assert "ログの検証に失敗したため" in page
    assert "segment-000001.jsonl:1" in page
    assert "試算の結果" not in page
    assert "田中" not in page
    assert told(world) == [("success", ""), ("failure", "log")]


async def test_only_one_at_a_time_whoever_asks(visit: Visit, world: ReplayWorld) -> None:
    await world.fill([of(number % 5, "nurse", number % 24, number) for number in range(3000)])
    first, other = await world.draft(), await world.draft(NIGHT)
    client, beside = await visit(OFFICER), await visit(SECOND, replays=world.another())
    replies = await asyncio.gather(
        *(client.post(f"/policies/drafts/{first.id}/replay", data={"days": "7"}, allow_redirects=False) for _ in range(3)),
        beside.post(f"/policies/drafts/{other.id}/replay", data={"days": "7"}, allow_redirects=False),
    )
    assert sorted(reply.status for reply in replies) == [303, 409, 409, 409]
    assert len(told(world)) == 1
    await world.over(first.content)
    await world.over(other.content)


async def test_cancelled_from_another_process(visit: Visit, world: ReplayWorld) -> None:
    await world.fill([of(number % 5, "nurse", number % 24, number) for number in range(3000)])
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}/replay"
    client, beside = await visit(OFFICER), await visit(SECOND, replays=world.another())
    await client.post(url, data={"days": "30"}, allow_redirects=False)
    assert (await (await beside.get(f"{url}/progress")).json())["running"] is True
    assert (await beside.post(f"{url}/cancel", allow_redirects=False)).status == 303
    await world.over(draft.content)
    assert "試算は中止されました" in await text(beside, url)
    assert told(world)[-1] == ("failure", "cancelled")
    assert (await (await beside.get(f"{url}/progress")).json())["running"] is False


async def test_what_runs_ends_with_its_process(world: ReplayWorld) -> None:
    await world.fill([of(number % 5, "nurse", number % 24, number) for number in range(3000)])
    draft = await world.draft()
    _, before = await world.policies.desk.in_force()
    heard: list[str] = []

    async def announce() -> None:
        heard.append("began")

    async def failed(why: str) -> None:
        heard.append(why)

    office = world.another()
    assert await office.start(draft.content, before, draft.files, 7, by="x", announce=announce, failed=failed)
    await office.close()
    assert heard == ["began", "cancelled"]
    standing = await world.office.standing(draft.content)
    assert standing.running is None
    assert isinstance(standing.failure, Failure)


async def test_a_process_that_died_does_not_keep_others_from_it(world: ReplayWorld) -> None:
    await world.fill()
    draft = await world.draft()
    _, before = await world.policies.desk.in_force()

    async def nothing(*_: object) -> None: ...

    world.policies.lasting.write_now(
        lambda cursor: cursor.run(
            "INSERT INTO replay_run (slot, id, at, stop, body) VALUES (1, 'rpl_dead', ?, 0, ?)",
            (
                int(world.clock.now()) - 31,
                f'{{"id":"rpl_dead","content":"{draft.content}","days":7,"began_at":0,"by":"x","done":0,"total":0}}',
            ),
        )
    )
    assert (await world.office.standing(draft.content)).running is None
    assert await world.office.start(draft.content, before, draft.files, 7, by="x", announce=nothing, failed=nothing)
    await world.over(draft.content)
    assert (await world.office.standing(draft.content)).report is not None


async def test_what_cannot_be_announced_does_not_begin(world: ReplayWorld) -> None:
    draft = await world.draft()
    _, before = await world.policies.desk.in_force()

    async def broken() -> None:
        raise RuntimeError("no log")

    async def failed(why: str) -> None:
        raise AssertionError(why)

    with pytest.raises(RuntimeError):
        await world.office.start(draft.content, before, draft.files, 7, by="x", announce=broken, failed=failed)
    assert (await world.office.standing(draft.content)).running is None


async def test_a_result_against_what_was_in_force_before_says_so(visit: Visit, world: ReplayWorld) -> None:
    await world.fill()
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}/replay"
    client = await visit(OFFICER)
    await client.post(url, data={"days": "7"})
    await world.over(draft.content)
    assert "もう一度試算してください" not in await text(client, url)

    async def nothing(*_: object) -> None: ...

    older = (await world.draft(NIGHT)).files
    assert await world.office.start(draft.content, older, draft.files, 7, by="x", announce=nothing, failed=nothing)
    await world.over(draft.content)
    assert "もう一度試算してください" in await text(client, url)


@pytest.mark.parametrize("days", ["", "0", "8", "-1", "7 ", "７", "999999999999", "1e1"])
async def test_days_that_nobody_offered(visit: Visit, world: ReplayWorld, days: str) -> None:
    draft = await world.draft()
    client = await visit(OFFICER)
    assert (await client.post(f"/policies/drafts/{draft.id}/replay", data={"days": days})).status == 400
    assert told(world) == []


async def test_who_may(visit: Visit, world: ReplayWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}/replay"
    auditor = await visit(AUDITOR)
    assert (await auditor.get(url)).status == 200
    nurse = await visit(OFFICER | {"roles": ["nurse"]})
    assert (await nurse.get(url)).status == 403
    foreign = await auditor.post(url, data={"days": "7"}, headers={"Origin": "http://evil.example"})
    assert foreign.status == 403
    assert (await auditor.get("/policies/drafts/chg_none/replay")).status == 404
    assert (await (await visit(OFFICER, replays=None)).get(url)).status == 404
    assert told(world) == []


# ---------------------------------------------------------------- in a browser


@pytest.mark.parametrize("language", ["ja-JP", "en-US"])
async def test_in_a_browser(chromium: Browser, tmp_path: Path, language: str) -> None:
    port = free_port()
    origin = f"http://localhost:{port}"
    async with replay_world(tmp_path, ManualClock(START), origin) as world, serving(world.application(), port):
        await world.fill()
        draft = await world.draft()
        signed = world.policies.world.signer.headers(START, exp=int(START) + 290, **OFFICER)
        context = await chromium.new_context(locale=language, extra_http_headers=signed, viewport={"width": 1280, "height": 900})
        page = await context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        await page.goto(f"{origin}/policies/drafts/{draft.id}/replay")
        await asyncio.to_thread(ARTEFACTS.mkdir, parents=True, exist_ok=True)
        await page.screenshot(path=ARTEFACTS / f"form-{language}.png", full_page=True)
        await page.locator("form[action$='/replay'] button").press("Enter")
        await page.screenshot(path=ARTEFACTS / f"running-{language}.png", full_page=True)
        # The page's own script notices that it is over.
        await expect(page.locator(".verdicts .lost")).to_be_visible(timeout=60_000)
        chart = page.get_by_role("img")
        await expect(chart).to_have_count(1)
        assert await chart.locator("rect.lost").count() >= 8
        assert await chart.locator("rect.gained").count() == 10
        for width in (1280, 820, 390):
            await page.set_viewport_size({"width": width, "height": 900})
            await page.screenshot(path=ARTEFACTS / f"result-{language}-{width}.png", full_page=True)
            wide = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert wide[0] <= wide[1], width
        await page.emulate_media(media="print")
        await page.set_viewport_size({"width": 1000, "height": 900})
        # On paper every chart has its table, whether it was opened or not.
        await expect(page.get_by_role("row", name="23 6 0")).to_be_visible()
        await page.screenshot(path=ARTEFACTS / f"print-{language}.png", full_page=True)
        assert wrong == []
        await context.close()

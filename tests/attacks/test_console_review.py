"""What a second officer is shown of a change, and what of the console's pages is shown without a word in the log."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.console import policy_text
from gateway.console.policy_lines import difference
from gateway.grants.model import Person
from gateway.kernel.clock import ManualClock
from gateway.policy.source import Token, tokenize
from tests.support.console import AUDITOR, OFFICER
from tests.support.console_policies import FIRST_PERSON, SECOND, PoliciesWorld, policies_world
from tests.support.console_replay import ReplayWorld, of, replay_world

Client = TestClient[web.Request, web.Application]
Visit = Callable[..., Awaitable[Client]]
NOW: Final = 1_800_000_000
ZONES: Final = ", ".join(f'"ward-{number}"' for number in range(60))
LONG_LINE: Final = f"""
@id("nurses-on-wards")
@title_ja("看護師は病棟から検査画像を閲覧できます")
@title_en("Nurses may view images from wards")
permit (principal in Role::"nurse", action == Action::"read", resource in App::"imaging")
when {{ context.device.registered && [{ZONES}, "other"].contains(context.network.zone) && context.authentication.factors >= 2 }};
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[PoliciesWorld]:
    async with policies_world(tmp_path, ManualClock(NOW)) as found:
        yield found


@pytest.fixture
async def visit(aiohttp_client: Callable[..., Awaitable[Client]], world: PoliciesWorld) -> Visit:
    async def go(person: dict[str, Any]) -> Client:
        return await aiohttp_client(TestServer(world.application()), headers=world.world.headers(person))

    return go


def views(world: PoliciesWorld) -> int:
    """Events of the console: none of them may be missing for a page that was shown."""
    return len(world.world.events())


async def test_the_end_of_a_long_line_is_shown_to_whoever_approves(world: PoliciesWorld, visit: Visit) -> None:
    """A list of zones in one line; the last of them lets everybody in from anywhere."""
    draft = await world.draft("病棟の追加")
    files = {**draft.files, "wards.cedar": LONG_LINE.encode()}
    draft = await world.desk.save(FIRST_PERSON, draft.id, revision=draft.revision, files=files)
    page = await (await (await visit(SECOND)).get(f"/policies/drafts/{draft.id}")).text()
    shown = "".join(re.findall(r"<code>(.*?)</code>", page, re.DOTALL))
    assert "&#34;ward-59&#34;, &#34;other&#34;].contains(context.network.zone)" in shown


async def test_the_end_of_a_long_condition_is_said(world: PoliciesWorld, visit: Visit) -> None:
    """Many alternatives, and after them one that always holds."""
    many = " || ".join(f'(context.network.zone == "ward-{number}" && context.device.compliant)' for number in range(14))
    draft = await world.draft("病棟の追加")
    text = re.sub(r"when \{.*\}", f"when {{ {many} || context.time.hour < 24 }}", LONG_LINE)
    files = {**draft.files, "wards.cedar": text.encode()}
    draft = await world.desk.save(FIRST_PERSON, draft.id, revision=draft.revision, files=files)
    page = await (await (await visit(SECOND)).get(f"/policies/drafts/{draft.id}")).text()
    said = page.partition('<ul class="said">')[2].partition("</section>")[0].partition("<details")[0]
    assert "24" in said
    assert "…" not in said


async def test_the_whole_reason_is_shown(world: PoliciesWorld, visit: Visit) -> None:
    draft = await world.desk.begin(FIRST_PERSON, title="変更", why="必要なため。" * 100 + "ただし全員に開く。")
    page = await (await (await visit(SECOND)).get(f"/policies/drafts/{draft.id}")).text()
    assert "ただし全員に開く。" in page.partition("<dl")[2].partition("</dl>")[0]


# ---------------------------------------------------------------- shown, and not in the log


async def test_a_what_if_that_is_not_answered_is_in_the_log(world: PoliciesWorld, visit: Visit) -> None:
    """The form lists everybody who is signed in."""
    await world.world.session()
    client, before = await visit(AUDITOR), views(world)
    reply = await client.post("/policies/what-if", data={})
    assert reply.status == 400
    assert "佐藤 恵" in await reply.text()
    assert views(world) == before + 1


async def test_a_conflict_that_shows_the_file_is_in_the_log(world: PoliciesWorld, visit: Visit) -> None:
    draft = await world.changed()
    client, before = await visit(SECOND), views(world)
    fields = {"file": "guards.cedar", "text": "// mine\n", "was": "0"}
    reply = await client.post(f"/policies/drafts/{draft.id}/save", data=fields)
    assert reply.status == 409
    assert "見直し済み" in await reply.text()
    assert views(world) == before + 1


async def test_a_number_that_is_none_shows_a_policy_and_is_in_the_log(world: PoliciesWorld, visit: Visit) -> None:
    draft = await world.changed()
    client, before = await visit(SECOND), views(world)
    fields = {"do": "number", "index": "0", "value": "x"}
    reply = await client.post(f"/policies/drafts/{draft.id}/policies/ehr-prescribe-physician", data=fields)
    assert reply.status == 422
    assert views(world) == before + 1


async def test_a_replay_that_can_not_begin_shows_the_last_one_and_is_in_the_log(
    tmp_path: Path, aiohttp_client: Callable[..., Awaitable[Client]]
) -> None:
    """Its samples are people's records."""
    async with replay_world(tmp_path, ManualClock(NOW), slow=True) as replays:
        await _nights(replays)
        mine, other = await replays.draft(), await replays.draft("// another\n" + LONG_LINE)
        headers = replays.policies.world.headers
        officer = await aiohttp_client(TestServer(replays.application()), headers=headers(OFFICER))
        await officer.post(f"/policies/drafts/{mine.id}/replay", data={"days": "7"})
        await replays.over(mine.content)
        other_page, my_page = (f"/policies/drafts/{draft.id}/replay" for draft in (other, mine))
        began, shown = await asyncio.gather(
            officer.post(other_page, data={"days": "7"}, allow_redirects=False), _when_it_runs(officer, replays, my_page)
        )
        assert (began.status, shown[0]) == (303, 409)
        assert "試算の結果" in shown[1]
        assert shown[2] == 1
        await replays.office.cancel(other.content)
        await replays.over(other.content)


async def _nights(replays: ReplayWorld) -> None:
    await replays.fill([of(number % 5, "nurse", number % 24, number) for number in range(4000)])


async def _when_it_runs(client: Client, replays: ReplayWorld, page: str) -> tuple[int, str, int]:
    while (await replays.office.standing("")).running is None:  # noqa: ASYNC110  the database announces nothing
        await asyncio.sleep(0.01)
    before = len(replays.policies.world.events("console.view"))
    reply = await client.post(page, data={"days": "7"}, allow_redirects=False)
    return reply.status, await reply.text(), len(replays.policies.world.events("console.view")) - before


# ---------------------------------------------------------------- texts that take long to look at


def test_the_same_line_thousands_of_times_is_compared_by_what_it_costs() -> None:
    """The smallest difference of these takes minutes to find; all of it is shown all the same."""
    old, new = "\n".join(["# a"] * 5_000), "\n".join("# b" if number % 2 else "# a" for number in range(5_000))
    shown = difference(old, new)
    assert [line.text for line in shown if line.kind in {"same", "gone"}] == ["# a"] * 5_000
    assert "\n".join(line.text for line in shown if line.kind in {"same", "new"}) == new


def test_one_change_within_many_lines_that_are_the_same() -> None:
    """Only what lies between the first and the last difference is compared."""
    many = "# a\n" * 5_000
    shown = difference(f"{many}permit\n", f"{many}forbid\n")
    assert [(line.text, line.before, line.after) for line in shown if line.kind != "same"][1:] == [
        ("permit", 5_001, None),
        ("forbid", None, 5_001),
    ]


def test_hundreds_of_policies_in_one_file_are_each_found_once() -> None:
    """Each is read on its own: reading the file once for each of them took minutes."""
    one = LONG_LINE.replace(f"[{ZONES}, ", "[").replace("nurses-on-wards", "nurses-{}")
    text = "".join(one.replace("{}", str(number)) for number in range(800))
    read: list[int] = []

    def counting(text: str, file: str) -> Iterator[tuple[Token, int, int]]:
        read.append(len(text))
        return tokenize(text, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy_text, "tokenize", counting)
        found = policy_text.places({"many.cedar": text.encode()})
    assert len(found) == 800
    assert {number.value for place in found.values() for number in place.numbers} == {2}
    assert sum(read) <= len(text)


def test_another_spelling_of_a_login_is_no_second_person() -> None:
    one = Person(subject="usr_1", login="sec.abe")
    assert one.same_as(Person(subject="usr_2", login="\uff53\uff45\uff43.\uff21\uff42\uff45"))
    assert not one.same_as(Person(subject="usr_2", login="sec.kato"))
    nameless = Person(subject="usr_3", login="")
    assert not nameless.same_as(Person(subject="usr_4", login="")), "of a provider that gives no logins"

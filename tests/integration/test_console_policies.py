"""Changes of policies in the console, with the real desk over SQLite: who may what, what is in the log, what two officers do at
once, and that nothing that somebody typed is ever lost.
"""

import asyncio
import html
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from gateway.changes.model import Draft
from gateway.console.policy_editor import digest
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import StoreUnavailable
from tests.support.console import AUDITOR, OFFICER
from tests.support.console_policies import FIRST_PERSON, KEY_AGE, SECOND, SECOND_PERSON, PoliciesWorld, policies_world

Client = TestClient[web.Request, web.Application]
Visit = Callable[..., Awaitable[Client]]
NONSENSE: Final = ("chg_0", "...", "%00", "chg_" + "9" * 900, "' OR 1=1 --", "\u202e")
RTL: Final = "処方\u202eexe.cedar"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[PoliciesWorld]:
    async with policies_world(tmp_path, ManualClock(1_800_000_000)) as found:
        yield found


@pytest.fixture
async def visit(aiohttp_client: Callable[..., Awaitable[Client]], world: PoliciesWorld) -> Visit:
    async def go(person: dict[str, Any], **parts: Any) -> Client:
        return await aiohttp_client(TestServer(world.application(**parts)), headers=world.world.headers(person))

    return go


@pytest.fixture
async def officer(visit: Visit) -> Client:
    return await visit(OFFICER)


@pytest.fixture
async def second(visit: Visit) -> Client:
    return await visit(SECOND)


async def send(client: Client, path: str, **fields: str) -> ClientResponse:
    return await client.post(path, data=fields, allow_redirects=False)


async def text_of(client: Client, path: str) -> str:
    reply = await client.get(path)
    assert reply.status == 200, (path, reply.status)
    return await reply.text()


def acts(draft: str) -> list[str]:
    names = (
        "check", "save", "files", "cases", "about", "update", "withdraw", "submit", "approve", "decline", "publish", "trial",
        "trial-end", "policies/ehr-prescribe-physician", "templates/touch-before-action", "links/imaging-write-touched",
    )  # fmt: skip
    return ["/policies/drafts", *(f"/policies/drafts/{draft}/{name}" for name in names), "/policies/versions/1/back"]


def events(world: PoliciesWorld) -> list[tuple[str, str]]:
    return [(event.event, event.outcome) for event in world.world.events() if event.event != "console.view"]


# ------------------------------------------------------------------ the life of a change


async def test_a_change_from_its_beginning_to_its_end(officer: Client, second: Client, world: PoliciesWorld) -> None:
    begun = await send(officer, "/policies/drafts", title="処方: 2分以内", why="監査の指摘", policy="ehr-prescribe-physician")
    assert begun.status == 303
    page = begun.headers["Location"]
    assert page.endswith("/policies/ehr-prescribe-physician")
    url = page.rsplit("/policies/", 1)[0]
    assert KEY_AGE in html.unescape(await text_of(officer, page))

    assert (await send(officer, page, do="number", index="0", value="120")).status == 303
    shown = html.unescape(await text_of(officer, url))
    assert "a touch of 299 seconds ago still prescribes" in shown, "a case that does not hold any more"
    assert "2分未満" in shown, "the difference in plain words"
    draft = await world.desk.draft(url.rsplit("/", 1)[1])
    refused = await send(officer, f"{url}/submit", content=draft.content)
    assert refused.status == 409
    assert "成り立たない事例" in await refused.text()

    assert (
        await send(officer, f"{url}/cases", file="cases/ehr.toml", name="a touch of 299 seconds ago still prescribes")
    ).status == 303
    draft = await world.desk.draft(draft.id)
    assert (await world.desk.check(draft.files)).good
    assert (await send(officer, f"{url}/submit", content=draft.content)).status == 303
    own = await send(officer, f"{url}/approve", content=draft.content, revision=str(draft.revision))
    assert own.status == 409
    assert "別の担当者が承認します" in await own.text()
    assert 'action="' + url + '/approve"' in await text_of(second, url)
    assert "承認待ちの変更 1件" in await text_of(second, "/")

    note = "確認しました"
    assert (await send(second, f"{url}/approve", content=draft.content, revision=str(draft.revision), note=note)).status == 303
    assert (await send(officer, f"{url}/publish", content=draft.content)).headers["Location"].startswith("/policies/watch")
    publication, files = await world.desk.in_force()
    assert publication.number == 2
    assert publication.approved_by == SECOND_PERSON
    assert b"key_touch_age_seconds < 120" in files["ehr.cedar"]
    for path in ("/policies/history", "/policies/versions/2", "/policies/compare?from=1&to=2", url, "/policies"):
        assert "処方: 2分以内" in await text_of(officer, path), path

    back = html.unescape(await text_of(second, "/policies/versions/1/back"))
    assert "5分未満" in back, "what changes back"
    assert (await send(second, "/policies/versions/1/back", why="", expected="2")).status == 422
    assert (await send(second, "/policies/versions/1/back", why="外来で処方できない", expected="2")).status == 303
    newest, files = await world.desk.in_force()
    assert (newest.number, newest.kind, newest.returns_to, newest.author) == (3, "rollback", 1, SECOND_PERSON)
    assert KEY_AGE.encode() in files["ehr.cedar"]
    assert [event for event in events(world) if event[1] == "success"] == [
        ("policy.drafted", "success"), ("policy.saved", "success"), ("policy.submitted", "success"), ("policy.saved", "success"),
        ("policy.submitted", "success"), ("policy.approved", "success"), ("policy.approved", "success"),
        ("policy.published", "success"), ("policy.rolled_back", "success"), ("policy.rolled_back", "success"),
    ]  # fmt: skip
    assert [event for event in events(world) if event[1] == "failure"] == [
        ("policy.submitted", "failure"), ("policy.approved", "failure"), ("policy.rolled_back", "failure"),
    ]  # fmt: skip


async def test_each_step_says_what_comes_next(officer: Client, second: Client, world: PoliciesWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}"
    assert "違いはまだありません" in await text_of(officer, url)
    draft = await world.changed()
    url = f"/policies/drafts/{draft.id}"
    assert "ログで試算してください" in await text_of(officer, url)
    await send(officer, f"{url}/submit", content=draft.content)
    assert "承認を待っています" in await text_of(officer, url)
    assert "承認を依頼されています" in await text_of(second, url)
    declined = await send(second, f"{url}/decline", content=draft.content, note="")
    assert declined.status == 409, "sent back without a word"
    await send(second, f"{url}/decline", content=draft.content, note="題名を直してください")
    page = await text_of(officer, url)
    assert "題名を直してください" in page
    assert "作成中" in page
    other = await world.published()
    assert other.state == "published"
    assert "最新の版に合わせてください" in await text_of(officer, url)
    updated = await send(officer, f"{url}/update", revision=str((await world.desk.draft(draft.id)).revision))
    assert updated.status in {303, 409}  # both changed the same file: then it says so, and which
    if updated.status == 409:
        assert "guards.cedar" in await updated.text()
    assert (await send(officer, f"{url}/withdraw")).status == 303
    assert "取り下げられました" in await text_of(officer, url)


async def test_a_trial_begins_and_ends(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.changed()
    url = f"/policies/drafts/{draft.id}"
    assert (await send(officer, f"{url}/trial", content=draft.content)).status == 303
    for path in ("/policies", "/policies/watch", url):
        assert draft.title in await text_of(officer, path), path
    assert "試行中" in await text_of(officer, "/policies")
    assert (await send(officer, f"{url}/trial-end", content=draft.content)).status == 303
    assert not (await world.desk.draft(draft.id)).trial


async def test_a_rule_from_a_template(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}"
    form = f"{url}/templates/touch-before-action"
    assert "本人確認からの秒数" in await text_of(officer, form)
    values = {"principal": "nurse", "resource": "imaging", "action": "write", "seconds": "9", "mode": "report-only"}
    wrong = await send(officer, form, **values)
    assert wrong.status == 422
    page = await wrong.text()
    assert 'value="nurse"' in page, "nothing typed is lost"
    assert 'aria-invalid="true"' in page
    assert (await send(officer, form, **{**values, "seconds": "600"})).status == 303
    files = (await world.desk.draft(draft.id)).files
    assert b"seconds = 600" in files["links.toml"]
    assert "touch-before-action-1" in await text_of(officer, url)
    link = f"{url}/links/touch-before-action-1"
    assert 'value="600"' in await text_of(officer, link)
    assert (await send(officer, link, do="remove")).status == 303
    assert (await world.desk.draft(draft.id)).files["links.toml"] == draft.files["links.toml"]
    assert (await send(officer, f"{url}/templates/none", **values)).status in {404, 422}


async def test_buttons_change_one_policy_and_leave_the_rest(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}"
    page = f"{url}/policies/vendor-only-with-grant"
    await send(officer, page, do="report_only")
    files = (await world.desk.draft(draft.id)).files
    assert files["guards.cedar"].count(b"@mode") == draft.files["guards.cedar"].count(b"@mode") + 1
    await send(officer, page, do="enforce")
    assert (await world.desk.draft(draft.id)).files == draft.files, "byte for byte"
    await send(officer, page, do="titles", title_ja='題名 "引用"', title_en="A title")
    assert '題名 \\"引用\\"'.encode() in (await world.desk.draft(draft.id)).files["guards.cedar"]
    await send(officer, page, do="take_out")
    left = (await world.desk.draft(draft.id)).files["guards.cedar"]
    assert b"vendor-only-with-grant" not in left
    assert b"recovery-code-reads-only" in left
    assert (await officer.get(page)).status == 404
    for wrong in ({"do": "number", "index": "99", "value": "1"}, {"do": "x"}, {"do": "number", "index": "-1", "value": "1"}):
        assert (await send(officer, f"{url}/policies/ehr-prescribe-physician", **wrong)).status == 400
    for value in ("", "5 min", "1e3", "-1", "９", "1" * 30):
        reply = await send(officer, f"{url}/policies/ehr-prescribe-physician", do="number", index="0", value=value)
        assert reply.status == 422, value


# ------------------------------------------------------------------ who may what


async def test_an_auditor_sees_everything_and_changes_nothing(visit: Visit, world: PoliciesWorld) -> None:
    auditor = await visit(AUDITOR)
    draft = await world.published()
    going = await world.changed()
    url = f"/policies/drafts/{going.id}"
    for path in ("/policies", "/policies/drafts", url, f"{url}/edit/ehr.cedar", f"{url}/edit/cases/ehr.toml", "/policies/watch",
                 f"{url}/policies/ehr-prescribe-physician", f"{url}/templates/touch-before-action", "/policies/history",
                 "/policies/versions/1", "/policies/versions/1/back", "/policies/compare?from=1&to=2", "/people",
                 f"/policies/drafts/{draft.id}"):  # fmt: skip
        page = await text_of(auditor, path)
        posts = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', page)
        assert [action for action in posts if action not in {"/.gateway/sign-out", f"{url}/save"}] == [
            action for action in posts if action.endswith("/templates/touch-before-action")
        ], path
        assert world.world.events("console.view")[-1].target == path.partition("?")[0]
    before = (await world.desk.drafts(), await world.desk.history())
    for path in acts(going.id):
        assert (await send(auditor, path, content=going.content, revision="2", title="x", why="y")).status == 403, path
    assert (await world.desk.drafts(), await world.desk.history()) == before
    assert events(world) == []


async def test_another_sites_form_changes_nothing(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.changed()
    before = (await world.desk.drafts(), await world.desk.history())
    for path in acts(draft.id):
        for headers in ({"Origin": "http://evil.example"}, {"Origin": world.world.origin, "Sec-Fetch-Site": "cross-site"}):
            assert (await officer.post(path, data={"content": draft.content}, headers=headers)).status == 403, path
        assert (await officer.get(path)).status in {200, 404, 405}
    assert (await world.desk.drafts(), await world.desk.history()) == before
    assert events(world) == []


async def test_when_the_log_is_broken_nothing_is_shown_or_done(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.changed()
    before = (await world.desk.drafts(), await world.desk.history())
    world.world.audit.fail()
    fields = {
        "content": draft.content, "title": "x", "why": "y", "file": "ehr.cedar", "text": "x", "do": "take_out", "expected": "1",
        "was": digest(draft.files["ehr.cedar"]), "revision": str(draft.revision),
    }  # fmt: skip
    for path in acts(draft.id):
        assert (await send(officer, path, **fields)).status in {303, 400, 422, 503}, path
    for path in ("/policies", "/policies/drafts", f"/policies/drafts/{draft.id}", "/policies/history", "/people"):
        assert (await officer.get(path)).status == 503
    assert (await world.desk.drafts(), await world.desk.history()) == before


# ------------------------------------------------------------------ two officers at once


def saving(draft: Draft, name: str, text: bytes) -> dict[str, str]:
    return {"file": name, "text": text.decode().replace("\n", "\r\n"), "was": digest(draft.files[name])}


async def test_two_who_edit_the_same_file_see_both_texts(officer: Client, second: Client, world: PoliciesWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}"
    mine, theirs = (draft.files["ehr.cedar"] + line for line in (b"// mine <b>\n", b"// theirs\n"))
    assert (await send(second, f"{url}/save", **saving(draft, "ehr.cedar", theirs))).status == 303
    # Another file is no conflict: both are kept.
    other = draft.files["imaging.cedar"] + b"// beside\n"
    assert (await send(officer, f"{url}/save", **saving(draft, "imaging.cedar", other))).status == 303
    conflict = await send(officer, f"{url}/save", **saving(draft, "ehr.cedar", mine))
    assert conflict.status == 409
    page = html.unescape(await conflict.text())
    assert "// mine <b>" in page
    assert "// theirs" in page
    assert (await world.desk.draft(draft.id)).files["ehr.cedar"] == theirs
    was = re.findall(r'name="was" value="(\w+)"', page)[0]
    fields = {"file": "ehr.cedar", "text": mine.decode(), "was": was}
    assert (await send(officer, f"{url}/save", **fields)).status == 303
    now = await world.desk.draft(draft.id)
    assert now.files["ehr.cedar"] == mine
    assert now.files["imaging.cedar"] == other
    assert {person.login for person in now.editors} == {"sec.yamamoto", "sec.kobayashi"}
    revision = now.revision
    assert (await send(officer, f"{url}/save", **fields)).status == 303, "sent twice"
    assert (await world.desk.draft(draft.id)).revision == revision


async def test_of_two_who_publish_at_once_one_is_told_to_look_again(
    officer: Client, second: Client, world: PoliciesWorld
) -> None:
    drafts = [await world.changed(title=f"変更 {number}") for number in (1, 2)]
    for draft in drafts:
        await world.desk.submit(FIRST_PERSON, draft.id, content=draft.content)
        await world.desk.approve(SECOND_PERSON, draft.id, content=draft.content)
    replies = await asyncio.gather(
        *(
            send(client, f"/policies/drafts/{draft.id}/publish", content=draft.content)
            for client, draft in zip((officer, second), drafts, strict=True)
        )
    )
    assert sorted(reply.status for reply in replies) == [303, 409]
    (lost,) = [reply for reply in replies if reply.status == 409]
    assert re.search("別の版が公開されました|適用中の内容と同じ", await lost.text())
    assert len(await world.desk.history()) == 2


async def test_what_is_sent_twice_is_done_once(officer: Client, second: Client, world: PoliciesWorld) -> None:
    places = {(await send(officer, "/policies/drafts", title="一度だけ", why="理由")).headers["Location"] for _ in range(2)}
    assert len(places) == 1
    assert len(await world.desk.drafts()) == 1
    draft = await world.changed()
    url = f"/policies/drafts/{draft.id}"
    for client, name in ((officer, "submit"), (second, "approve"), (officer, "publish")):
        for _ in range(2):
            reply = await send(client, f"{url}/{name}", content=draft.content, revision=str(draft.revision))
            assert reply.status == 303, name
    assert len(await world.desk.history()) == 2
    for _ in range(2):
        assert (await send(officer, "/policies/versions/1/back", why="戻す", expected="2")).status == 303
    assert len(await world.desk.history()) == 3


async def test_a_draft_that_is_gone_or_changed_meanwhile(officer: Client, second: Client, world: PoliciesWorld) -> None:
    draft = await world.changed()
    url = f"/policies/drafts/{draft.id}"
    await world.desk.submit(FIRST_PERSON, draft.id, content=draft.content)
    await send(officer, f"{url}/policies/vendor-only-with-grant", do="report_only")
    stale = await send(second, f"{url}/approve", content=draft.content, revision=str(draft.revision))
    assert stale.status == 409, "approving what was changed since it was looked at"
    assert (await world.desk.draft(draft.id)).state == "open"
    assert (await send(officer, f"{url}/about", revision="1", title="別の題", why="別の理由")).status == 409
    await world.desk.withdraw(SECOND_PERSON, draft.id)
    kept = await send(officer, f"{url}/save", **saving(draft, "ehr.cedar", b"// my hour of work\n"))
    assert kept.status == 409
    page = html.unescape(await kept.text())
    assert "// my hour of work" in page
    assert "取り下げられた" in page
    assert (await send(officer, f"{url}/submit", content=draft.content)).status == 409


# ------------------------------------------------------------------ the editor's check


async def test_the_check_says_where_and_keeps_nothing(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}/check"
    text = draft.files["ehr.cedar"].decode()
    broken = text.replace("context.proofing.level", "context.profing.level", 1)
    found = await (await send(officer, url, file="ehr.cedar", text=broken)).json()
    line = broken[: broken.index("profing")].count("\n") + 1
    assert not found["good"]
    assert [(one["file"], one["line"], one["severity"]) for one in found["problems"]] == [("ehr.cedar", line, "error")]
    found = await (await send(officer, url, file="ehr.cedar", text=text.replace("< 300", "< 120"))).json()
    assert [one["name"] for one in found["failed"]] == ["a touch of 299 seconds ago still prescribes"]
    found = await (await send(officer, url, file="ehr.cedar", text=text + "// \u202e\n")).json()
    assert "U+202E" in found["problems"][0]["what"]
    assert (await send(officer, url, file="ehr.cedar", text=text)).status == 200
    assert await world.desk.draft(draft.id) == draft
    assert (await send(officer, url, file="none.cedar", text="x")).status == 400


async def test_of_many_checks_only_the_newest_is_worked_on(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}/check"
    replies = await asyncio.gather(*(send(officer, url, file="ehr.cedar", text=f"// {number}\n") for number in range(12)))
    statuses = [reply.status for reply in replies]
    assert set(statuses) == {200, 204}
    assert statuses.count(200) < 6, "the others were overtaken before their turn"


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_draft_of_nonsense_is_no_draft(officer: Client, name: str) -> None:
    for path in (f"/policies/drafts/{name}", f"/policies/versions/{name}", f"/policies/versions/{name}/back", f"/people/{name}"):
        assert (await officer.get(path)).status == 404, path
    assert (await officer.get(f"/policies/compare?from={name}&to=1")).status == 404
    assert (await send(officer, f"/policies/drafts/{name}/publish", content="x")).status in {404, 405}


@pytest.mark.parametrize("title", [RTL, "", " ", "x" * 400, "見\u200bえない"])
async def test_titles_that_a_reader_could_not_see_are_refused_and_kept(officer: Client, world: PoliciesWorld, title: str) -> None:
    reply = await send(officer, "/policies/drafts", title=title, why="理由は残る")
    assert reply.status == 422
    assert "理由は残る" in await reply.text()
    draft = await world.draft()
    reply = await send(officer, f"/policies/drafts/{draft.id}/about", revision="1", title=title, why="これも残る")
    assert reply.status in {409, 422}
    assert "これも残る" in await reply.text()
    assert await world.desk.draft(draft.id) == draft
    assert "\u202e" not in await text_of(officer, f"/policies/drafts/{draft.id}")


async def test_fifty_megabytes_are_refused_and_the_next_request_is_answered(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}"
    body = b"file=ehr.cedar&was=x&text=" + b"a" * 50_000_000
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in (f"{url}/save", f"{url}/check", "/policies/drafts"):
        assert (await officer.post(path, data=io.BytesIO(body), headers=head)).status == 413, path
    large = await send(officer, f"{url}/save", file="ehr.cedar", text="// x\n" * 60_000, was=digest(draft.files["ehr.cedar"]))
    assert large.status == 422
    assert "256 KiB" in await large.text()
    assert (await officer.get(url)).status == 200
    assert await world.desk.draft(draft.id) == draft


async def test_files_are_named_as_a_bundle_names_them(officer: Client, world: PoliciesWorld) -> None:
    draft = await world.draft()
    url = f"/policies/drafts/{draft.id}"
    for name in ("../x", "a/b", "x.py", "", "schema.cedarschema", "Ａ"):
        reply = await send(officer, f"{url}/files", do="add", kind="policies", name=name)
        assert "done=file_name" in reply.headers["Location"], name
    assert (await send(officer, f"{url}/save", file="../../etc/passwd", text="x", was="y")).status == 400
    assert (await send(officer, f"{url}/save", file="schema.cedarschema", text="x", was="y")).status == 400
    added = await send(officer, f"{url}/files", do="add", kind="policies", name="night-shift")
    assert added.headers["Location"].endswith("/edit/night-shift.cedar")
    now = await world.desk.draft(draft.id)
    assert (await world.desk.check(now.files)).good, "what a new file begins with is a good policy, and only recorded"
    assert (await send(officer, f"{url}/files", do="remove", name="night-shift.cedar")).status == 303
    assert (await world.desk.draft(draft.id)).files == draft.files


# ------------------------------------------------------------------ the store is down


class Down:
    """A desk whose database does not answer."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: Any, **__: Any) -> None:
            raise StoreUnavailable("no answer")

        return fail


async def test_while_the_store_is_down_the_policies_are_shown_and_texts_kept(visit: Visit, world: PoliciesWorld) -> None:
    draft = await world.changed()
    client = await visit(OFFICER, desk=Down())
    for path in ("/", "/policies", "/policies/watch"):
        assert "応答しません" in await text_of(client, path), path
    assert "ehr-prescribe-physician" in await text_of(client, "/policies")
    for path in ("/policies/drafts", f"/policies/drafts/{draft.id}", "/policies/history"):
        assert (await client.get(path)).status == 503
    kept = await send(client, f"/policies/drafts/{draft.id}/save", **saving(draft, "ehr.cedar", b"// my hour of work\n"))
    assert kept.status == 503
    assert "// my hour of work" in html.unescape(await kept.text())
    begun = await send(client, "/policies/drafts", title="題", why="長い理由")
    assert begun.status == 503


async def test_policies_of_a_folder_are_shown_and_nothing_else_is_offered(visit: Visit) -> None:
    client = await visit(OFFICER, desk=None)
    page = await text_of(client, "/policies")
    assert "フォルダー" in page
    assert "/policies/drafts" not in page
    for path in ("/policies/drafts", "/policies/history", "/policies/versions/1"):
        assert (await client.get(path)).status == 404

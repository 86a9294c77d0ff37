"""Changes of the policies that somebody would like to slip through: past the second person, past the officers, half, twice."""

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from gateway.changes import store
from gateway.changes.desk import Desk
from gateway.changes.lockout import Reach
from gateway.changes.model import ChangeRefused, Draft, Person
from gateway.changes.published import Published
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import BundleError, StoreUnavailable
from gateway.lasting.port import Cursor
from gateway.lasting.postgres import PostgresLasting
from gateway.lasting.sqlite import SqliteLasting
from gateway.policy.facts import TimeFacts
from gateway.policy.folder import MAX_FILE_BYTES, MAX_FILES
from gateway.policy.holder import Loaded, PolicyHolder, Unchanged
from tests.support.changes import (
    CONSOLE,
    KATO,
    MORI,
    NURSE,
    READ,
    YAMAMOTO,
    approved,
    changed,
    files,
    new_desk,
    officer,
    publish_elsewhere,
    published,
)
from tests.support.policy import policy
from tests.support.postgres import running_postgres

OFFICER = 'principal in Role::"security_officer"'


@pytest.fixture
def database(tmp_path: Path) -> SqliteLasting:
    return SqliteLasting(tmp_path / "policies.sqlite3")


@pytest.fixture
async def desk(database: SqliteLasting) -> Desk:
    one = new_desk(database)
    await one.begin_with_folder(files())
    return one


async def refused(call: Awaitable[object], why: str) -> ChangeRefused:
    with pytest.raises(ChangeRefused) as caught:
        await call
    assert caught.value.why == why, caught.value
    return caught.value


async def with_files(desk: Desk, given: dict[str, bytes]) -> Draft:
    return await desk.begin(YAMAMOTO, title="変更", why="必要なため", files=given)


# ---------------------------------------------------------------- twice at once


async def test_two_officers_who_publish_at_once_from_two_processes(desk: Desk, tmp_path: Path) -> None:
    drafts = [await approved(desk, await changed(desk, f"// {name}\n")) for name in ("one", "other", "third", "fourth")]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        loop, path, at = asyncio.get_running_loop(), str(tmp_path / "policies.sqlite3"), time.time() + 4
        calls = [loop.run_in_executor(processes, publish_elsewhere, path, draft.id, draft.content, at) for draft in drafts]
        results = await asyncio.gather(*calls)
    assert sorted(results) == ["2", "overtaken", "overtaken", "overtaken"]
    assert [publication.number for publication in await desk.history()] == [2, 1]
    states = [draft.state for draft in await desk.drafts()]
    assert sorted(states) == ["approved", "approved", "approved", "published"]


async def test_a_publication_and_a_rollback_at_once(desk: Desk, database: SqliteLasting) -> None:
    await published(desk)
    draft = await approved(desk, await changed(desk, "// more\n"))
    results = await asyncio.gather(
        desk.publish(YAMAMOTO, draft.id, content=draft.content),
        new_desk(database).roll_back(KATO, 1, why="w", expected=2),
        return_exceptions=True,
    )
    assert [result.why for result in results if isinstance(result, ChangeRefused)] == ["overtaken"]
    assert len(await desk.history()) == 3


# ---------------------------------------------------------------- past the second person


async def test_a_change_that_was_edited_between_looking_and_approving(desk: Desk) -> None:
    draft = await changed(desk)
    await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    worse = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=files(READ + NURSE))
    await desk.submit(YAMAMOTO, draft.id, content=worse.content)
    await refused(desk.approve(KATO, draft.id, content=draft.content), "changed")
    assert (await desk.draft(draft.id)).state == "waiting"


async def test_a_reason_that_was_edited_between_looking_and_approving(desk: Desk) -> None:
    draft = await changed(desk)
    await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    same = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=draft.files, why="another")
    await desk.submit(YAMAMOTO, draft.id, content=same.content)
    await refused(desk.approve(KATO, draft.id, content=draft.content, revision=draft.revision), "changed")


async def test_approved_content_can_not_be_exchanged_before_it_is_published(desk: Desk) -> None:
    draft = await approved(desk, await changed(desk))
    other = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=files(READ + "// worse\n"))
    for content in (draft.content, other.content):
        await refused(desk.publish(YAMAMOTO, draft.id, content=content), "state")
    assert len(await desk.history()) == 1


@pytest.mark.parametrize(
    "who",
    [
        YAMAMOTO,
        Person(subject="usr_yamamoto", login="another.login"),
        Person(subject="usr_second_account", login="s.yamamoto"),
        Person(subject="cli:s.yamamoto", login="s.yamamoto"),
        Person(subject="usr_second_account", login="S.Yamamoto"),
        Person(subject="usr_second_account", login="ｓ.ｙａｍａｍｏｔｏ"),
        Person(subject="cli:S.YAMAMOTO", login="S.YAMAMOTO", name="somebody else"),
    ],
)
async def test_the_author_under_another_account(desk: Desk, who: Person) -> None:
    draft = await changed(desk)
    await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    await refused(desk.approve(who, draft.id, content=draft.content), "own")


async def test_an_editor_of_long_ago(desk: Desk) -> None:
    draft = await changed(desk)
    draft = await desk.save(KATO, draft.id, revision=draft.revision, files=files(READ + "// kato\n"))
    draft = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=files(READ + "// yamamoto\n"))
    await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    await refused(desk.approve(KATO, draft.id, content=draft.content), "own")


async def test_who_brought_it_up_to_date_has_edited_it(desk: Desk) -> None:
    draft = await changed(desk)
    other = await with_files(desk, files(b=NURSE))
    await approved(desk, other)
    await desk.publish(YAMAMOTO, other.id, content=other.content)
    draft = await desk.bring_up_to_date(KATO, draft.id, revision=draft.revision)
    await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    await refused(desk.approve(KATO, draft.id, content=draft.content), "own")


# ---------------------------------------------------------------- past the officers

EVERY = "principal, action, resource"
HERE = 'principal, action, resource in App::"console"'


def forbid(when: str, scope: str = HERE, name: str = "f") -> str:
    return policy(name, when, effect="forbid", scope=scope)


def only(action: str) -> str:
    return HERE.replace("action", f'action == Action::"{action}"')


@pytest.mark.parametrize(
    "more",
    [
        forbid(f'{OFFICER} && principal != User::"usr_yamamoto"', EVERY),
        forbid('principal == User::"usr_kato" || principal == User::"usr_mori"', EVERY),
        forbid(OFFICER, only("write")),
        forbid(OFFICER, only("administer")),
        forbid(OFFICER, only("read")),
        forbid('context.network.zone != "machine-room"'),
        forbid("context.time.hour >= 5"),
        forbid("context.time.weekday < 7"),
        forbid("context.authentication has key_touch_age_seconds", EVERY),
        forbid('context.device.ownership != "personal"'),
        forbid('context.situation == "normal"'),
        forbid('context.situation == "emergency"'),
        # From everywhere in the hospital, though not from outside.
        forbid('context.network.zone != "other"'),
        forbid("context.time.day > 0 && context.time.day + 9223372036854775807 > 0", EVERY),
        # A single step is enough to keep everybody from publishing.
        forbid(OFFICER, 'principal, action, resource == Route::"console.draft-approve"'),
        # Each step somewhere, but never all of them in one place.
        forbid('context.network.zone == "ward"', only("write"))
        + forbid('context.network.zone != "ward"', only("read"), "g"),
    ],
)  # fmt: skip
async def test_officers_who_would_be_locked_out(desk: Desk, more: str) -> None:
    draft = await with_files(desk, files(READ + more))
    checked = await desk.check(draft.files)
    assert not checked.good
    error = await refused(desk.submit(YAMAMOTO, draft.id, content=draft.content), "lockout")
    assert "of the security officers could still edit, approve and publish" in str(error)
    assert (await desk.draft(draft.id)).state == "open"


@pytest.mark.parametrize(
    "more",
    [
        forbid('principal == User::"usr_mori"', EVERY),
        forbid('context.network.zone == "other"'),
        forbid("context.time.hour < 8 || context.time.hour > 18", EVERY),
        forbid('context.device.ownership != "hospital" || !context.device.compliant', EVERY),
    ],
)
async def test_two_who_are_left_are_enough(desk: Desk, more: str) -> None:
    draft = await with_files(desk, files(READ + more))
    assert (await desk.submit(YAMAMOTO, draft.id, content=draft.content)).state == "waiting"


async def test_officers_leave_between_submission_and_publication(database: SqliteLasting) -> None:
    """Two of three could go on when it was submitted; one of them has left the hospital since."""
    people = [officer(YAMAMOTO), officer(KATO), officer(MORI)]
    desk = new_desk(database, officers=people)
    await desk.begin_with_folder(files())
    draft = await with_files(desk, files(READ + forbid('principal == User::"usr_mori"', EVERY)))
    await approved(desk, draft)
    people.remove(officer(KATO))
    await refused(desk.publish(YAMAMOTO, draft.id, content=draft.content), "lockout")
    assert len(await desk.history()) == 1


async def test_a_rollback_to_policies_that_lock_out_the_officers_of_today(database: SqliteLasting) -> None:
    people = [officer(YAMAMOTO), officer(KATO)]
    desk = new_desk(database, officers=people)
    only = CONSOLE.replace(OFFICER, '(principal == User::"usr_yamamoto" || principal == User::"usr_kato")')
    await desk.begin_with_folder(files(console=only))
    draft = await with_files(desk, files())
    await approved(desk, draft, by=MORI)
    await desk.publish(YAMAMOTO, draft.id, content=draft.content)
    people[:] = [officer(YAMAMOTO), officer(MORI)]
    await refused(desk.roll_back(YAMAMOTO, 1, why="w", expected=2), "lockout")
    assert (await desk.in_force())[0].number == 2


async def test_an_hour_that_is_no_working_hour_does_not_count(database: SqliteLasting) -> None:
    night = TimeFacts(hour=3, weekday=2, date="2026-11-24", day=20261124)
    only_at_night = files(READ + forbid("context.time.hour != 3"))
    desk = new_desk(database)
    await desk.begin_with_folder(files())
    assert not (await desk.check(only_at_night)).good
    assert (await new_desk(database, reach=Reach(times=(night,))).check(only_at_night)).good


# ---------------------------------------------------------------- half, damaged, another time


async def test_a_publication_that_breaks_off_halfway_is_none(desk: Desk, database: SqliteLasting) -> None:
    draft = await approved(desk, await changed(desk))
    before = await desk.history()
    true = store.keep_draft

    def dies(cursor: Cursor, draft: Draft) -> None:
        raise OSError("the power fails")

    store.keep_draft = dies
    try:
        with pytest.raises(StoreUnavailable):
            await desk.publish(YAMAMOTO, draft.id, content=draft.content)
    finally:
        store.keep_draft = true
    assert await desk.history() == before
    assert (await desk.publish(YAMAMOTO, draft.id, content=draft.content)).number == 2


async def test_a_bundle_that_was_exchanged_in_the_database_is_not_loaded(desk: Desk, database: SqliteLasting) -> None:
    holder = PolicyHolder.open(Published(database))
    before = holder.current
    second = await published(desk)
    other = store._json(files(READ + "// not what was approved\n"))
    database.write_now(
        lambda cursor: cursor.run("UPDATE changes_bundle SET files = ? WHERE content = ?", (other, second.content))
    )
    holder.reload()
    assert holder.current is before
    assert holder.rejected is not None
    assert "what is kept as publication 2 is not what was published" in str(holder.rejected)
    with pytest.raises(BundleError, match="not what was published"):
        PolicyHolder.open(Published(database))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a.cedar": "no base64!"}', "x" * 100_000])
async def test_a_damaged_row_leaves_what_is_in_force(desk: Desk, database: SqliteLasting, text: str) -> None:
    holder = PolicyHolder.open(Published(database))
    before = holder.current
    second = await published(desk)
    database.write_now(lambda cursor: cursor.run("UPDATE changes_bundle SET files = ? WHERE content = ?", (text, second.content)))
    holder.reload()
    assert isinstance(holder.reload(), Unchanged), "told once"
    assert holder.current is before
    assert holder.rejected is not None


async def test_a_clock_that_jumps(database: SqliteLasting) -> None:
    """What is in force goes by number: neither a clock that fell back nor one that ran ahead brings old policies up again."""
    clock = ManualClock(4_000_000_000.0)
    desk = new_desk(database, clock=clock)
    await desk.begin_with_folder(files())
    holder = PolicyHolder.open(Published(database))
    early = new_desk(database, clock=ManualClock(1.0))
    draft = await approved(early, await changed(early))
    second = await early.publish(YAMAMOTO, draft.id, content=draft.content)
    assert (second.number, second.at) == (2, 1)
    assert (await desk.in_force())[0] == second
    assert isinstance(holder.reload(), Loaded)
    assert holder.number == 2
    third = await desk.roll_back(KATO, 1, why="w", expected=2)
    assert [one.number for one in await early.history()] == [3, 2, 1]
    assert isinstance(holder.reload(), Loaded)
    assert holder.current.version == third.version


# ---------------------------------------------------------------- texts

MISLEADING = [
    "approve \u202eton od\u202c this",  # right to left
    "\u2066isolated\u2069",
    "zero\u200bwidth",
    "joined\u200dup",
    "\ufeffmark",
    "line\u2028break",
    "bell\x07",
    "escape\x1b[31m",
    "nul\x00",
    "tag\U000e0041",
    "private\ue000",
    "unpaired\ud800",
    "filler\u3164",
    "braille\u2800blank",
    "аdmin may read",  # Cyrillic а, then Latin
    "EHR for ОPD",  # Cyrillic О
    "Ηospital rule",  # Greek Η
    "dοctor",  # Greek ο
    "",
    " \t ",
    "x" * 5_000,
]


@pytest.mark.parametrize("text", MISLEADING)
async def test_titles_reasons_and_notes_that_mislead(desk: Desk, text: str) -> None:
    draft = await changed(desk)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: desk.begin(KATO, title=text, why="w"),
        lambda: desk.begin(KATO, title="t", why=text),
        lambda: desk.roll_back(KATO, 1, why=text, expected=1),
        lambda: desk.decline(KATO, draft.id, content=draft.content, note=text),
    ]
    if text.strip():  # on saving, an empty one means that it stays
        calls += [
            lambda: desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=draft.files, title=text),
            lambda: desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=draft.files, why=text),
            lambda: desk.approve(KATO, draft.id, content=draft.content, note=text),
        ]
    for call in calls:
        await refused(call(), "form")
    assert await desk.drafts() == [draft]


@pytest.mark.parametrize(
    "text",
    [
        "葛\U000e0100城市の医師",
        "γGTP と μg の表示",
        "ＥＨＲ（病棟）",
        "β-blocker",
        "Ελλάδα",
        "Иванов",
        "O'Brien – naïve €",
        "改行\nあり",
    ],
)
async def test_what_hospitals_do_write(desk: Desk, text: str) -> None:
    draft = await desk.begin(KATO, title="題", why=text)
    assert draft.why == text


# ---------------------------------------------------------------- size and names


async def test_fifty_megabytes_are_refused_at_once(desk: Desk) -> None:
    draft = await changed(desk)
    huge = {**draft.files, "a.cedar": b"/" * 50_000_000}
    for call in (
        lambda: desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=huge),
        lambda: desk.begin(YAMAMOTO, title="t", why="w", files=huge),
        lambda: desk.check(huge),
    ):
        error = await refused(call(), "form")
        assert str(error) == "a.cedar is larger than 256 KiB. Split the file"
    many = {**draft.files, **{f"{n}.cedar": b"/" * MAX_FILE_BYTES for n in range(9)}}
    assert "the bundle is larger than 2048 KiB" in str(await refused(desk.check(many), "form"))
    small = {f"{n}.cedar": b"" for n in range(MAX_FILES + 1)}
    assert "201 files, at most 200 are kept" in str(await refused(desk.check(small), "form"))


@pytest.mark.parametrize(
    "name",
    [
        "../a.cedar", "/etc/passwd", "a/b.cedar", "cases/../a.toml", "cases/a/b.toml", "cases/", "cases/a.cedar", "a.toml",
        "a.cedar\n", ".a.cedar", "cases/.a.toml", "а.cedar", "a\u202e.cedar", "a.cedar ", "", "x" * 200 + ".cedar",
        "a b.cedar", "schema.cedar.md", "Links.toml", "cases\\a.toml", "a\x00.cedar",
    ],
)  # fmt: skip
async def test_names_that_no_folder_would_have(desk: Desk, name: str) -> None:
    draft = await changed(desk)
    await refused(desk.save(YAMAMOTO, draft.id, revision=draft.revision, files={**draft.files, name: b""}), "form")


async def test_bytes_that_are_no_text_are_kept_and_said_to_be_bad(desk: Desk) -> None:
    for data in (
        b"\xff\xfe\x00",
        b"\x00" * 1000,
        b"permit(" * 30_000,
        b"(" * 200_000,
        "\u202e".encode(),
        b"if true then " * 15_000,
    ):
        draft = await with_files(desk, {**files(), "b.cedar": data})
        assert (await desk.draft(draft.id)).files["b.cedar"] == data
        checked = await desk.check(draft.files)
        assert not checked.good
        assert all(problem.file == "b.cedar" for problem in checked.problems), checked.problems
        await refused(desk.submit(YAMAMOTO, draft.id, content=draft.content), "not_good")


# ---------------------------------------------------------------- a database that goes away


async def test_a_database_that_is_gone_in_the_middle() -> None:
    with running_postgres() as server:
        lasting = PostgresLasting(server.database("x"))
        desk = new_desk(lasting)
        await desk.begin_with_folder(files())
        holder = PolicyHolder.open(Published(lasting))
        before = holder.current
        draft = await approved(desk, await changed(desk))
        server.stop()
        for call in (
            lambda: desk.publish(YAMAMOTO, draft.id, content=draft.content),
            lambda: desk.roll_back(YAMAMOTO, 1, why="w", expected=1),
            desk.in_force,
            desk.nodes,
        ):
            with pytest.raises(StoreUnavailable):
                await call()
        assert isinstance(holder.reload(), Unchanged)
        assert holder.current is before
        assert holder.rejected is None, "not the policies' fault"
        server.start()
        assert (await desk.publish(YAMAMOTO, draft.id, content=draft.content)).number == 2
        assert isinstance(holder.reload(), Loaded)
        lasting.close()

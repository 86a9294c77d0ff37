"""What every `ChangeDesk` promises (gateway/changes/port.py), shown over each database."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.changes.desk import Desk
from gateway.changes.model import ChangeRefused, Draft, NodeState, Person
from gateway.changes.published import Published, leave, report
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_id
from gateway.lasting.port import Lasting
from gateway.lasting.postgres import PostgresLasting
from gateway.lasting.sqlite import SqliteLasting
from gateway.policy.compile import version_of
from tests.support.changes import KATO, MORI, NURSE, READ, YAMAMOTO, approved, changed, files, new_desk, published
from tests.support.policy import policy

Step = Callable[[], Awaitable[object]]
BAD = "permit (principal, action, resource) when { foo };"


@pytest.fixture(params=["sqlite", "postgres"])
def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lasting]:
    if request.param == "postgres":
        one: Lasting = PostgresLasting(request.getfixturevalue("postgres").database(new_id("test")))
    else:
        one = SqliteLasting(tmp_path / "policies.sqlite3")
    yield one
    one.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def desk(lasting: Lasting, clock: ManualClock) -> Desk:
    one = new_desk(lasting, clock=clock)
    await one.begin_with_folder(files())
    return one


class Refused:
    """Expects a refusal, and that nothing was changed by it."""

    def __init__(self, desk: Desk, why: str) -> None:
        self.desk, self.why = desk, why

    async def _all(self) -> tuple[object, object]:
        return await self.desk.history(), await self.desk.drafts()

    async def __aenter__(self) -> None:
        self.before = await self._all()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        assert isinstance(error, ChangeRefused), error
        assert error.why == self.why, error
        assert error.what
        assert await self._all() == self.before
        return True


# ---------------------------------------------------------------- the whole life


async def test_the_life_of_a_change(desk: Desk, clock: ManualClock, lasting: Lasting) -> None:
    first, before = await desk.in_force()
    assert (first.number, first.kind, first.approved_by, first.returns_to) == (1, "initial", None, 0)
    assert before == files()

    clock.advance(60)
    draft = await desk.begin(YAMAMOTO, title="薬剤師も見る", why="病棟薬剤師のため")
    assert (draft.state, draft.revision, draft.base, draft.author) == ("open", 1, 1, YAMAMOTO)
    assert (draft.files, draft.content) == (files(), first.content)
    clock.advance(60)
    draft = await desk.save(YAMAMOTO, draft.id, revision=1, files=files(READ_MORE))
    assert (draft.revision, draft.changed_at - draft.created_at) == (2, 60)
    checked = await desk.check(draft.files)
    assert checked.good
    assert (checked.passed, checked.failed, checked.content) == (1, (), draft.content)
    assert set(checked.uncovered) == {"console", "pharmacist"}

    assert (await desk.submit(YAMAMOTO, draft.id, content=draft.content)).state == "waiting"
    draft = await desk.approve(KATO, draft.id, content=draft.content, note="よい")
    assert (draft.state, draft.approvals[-1].by, draft.approvals[-1].note) == ("approved", KATO, "よい")
    clock.advance(60)
    second = await desk.publish(YAMAMOTO, draft.id, content=draft.content)
    assert (second.number, second.kind, second.draft) == (2, "publish", draft.id)
    assert (second.author, second.approved_by) == (YAMAMOTO, KATO)
    assert (second.title, second.why) == ("薬剤師も見る", "病棟薬剤師のため")
    assert second.at == int(clock.now())
    assert (await desk.draft(draft.id)).state == "published"
    assert await desk.in_force() == (second, files(READ_MORE))

    third = await desk.roll_back(MORI, 1, why="思わぬ影響", expected=2)
    assert (third.number, third.kind, third.returns_to, third.author, third.approved_by) == (3, "rollback", 1, MORI, None)
    assert (third.version, third.content) == (first.version, first.content)
    assert await desk.in_force() == (third, files())
    assert await desk.history() == [third, second, first]
    assert await desk.publication(2) == (second, files(READ_MORE))
    # Bundles are kept for as long as records name them.
    for publication, kept in ((second, files(READ_MORE)), (third, files())):
        assert await desk.files_of(publication.version) == kept
    assert await new_desk(lasting).history() == [third, second, first]


READ_MORE = READ + policy("pharmacist", 'principal in Role::"pharmacist" && context.device.registered')
NURSES_ONLY = policy(when='principal in Role::"nurse" && context.device.registered')


# ---------------------------------------------------------------- saving


async def test_of_two_who_edit_the_later_is_told_and_nothing_is_lost(desk: Desk) -> None:
    draft = await changed(desk)
    mine = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=files(READ_MORE))
    async with Refused(desk, "changed"):
        await desk.save(KATO, draft.id, revision=draft.revision, files=files())
    assert await desk.draft(draft.id) == mine


async def test_of_many_who_save_at_once_one_does(desk: Desk) -> None:
    draft = await changed(desk)
    results = await asyncio.gather(
        *(desk.save(KATO, draft.id, revision=draft.revision, files=files(READ + f"// {n}\n")) for n in range(8)),
        return_exceptions=True,
    )
    done = [result for result in results if isinstance(result, Draft)]
    assert len(done) == 1
    assert [result.why for result in results if isinstance(result, ChangeRefused)] == ["changed"] * 7
    assert await desk.draft(draft.id) == done[0]


async def test_everybody_who_saved_is_an_editor_once(desk: Desk) -> None:
    draft = await changed(desk)
    for who in (KATO, YAMAMOTO, KATO):
        draft = await desk.save(who, draft.id, revision=draft.revision, files=draft.files, title=f"by {who.login}")
    assert draft.editors == (YAMAMOTO, KATO)
    assert (draft.title, draft.why) == ("by s.kato", "必要なため")


async def test_what_is_not_good_is_kept_and_goes_no_further(desk: Desk) -> None:
    draft = await changed(desk)
    draft = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=files(BAD))
    async with Refused(desk, "not_good"):
        await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    async with Refused(desk, "not_good"):
        await desk.try_out(YAMAMOTO, draft.id, content=draft.content)


async def test_a_failed_case_goes_no_further_and_says_which(desk: Desk) -> None:
    draft = await changed(desk)
    draft = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=files(NURSES_ONLY))
    with pytest.raises(ChangeRefused, match=r"cases/a.toml:2: the case 'read' does not hold") as caught:
        await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    assert caught.value.why == "not_good"
    assert caught.value.checked is not None
    [failed] = caught.value.checked.failed
    assert (failed.file, failed.name) == ("cases/a.toml", "read")
    assert ("outcome", "allow", "deny") in failed.differences


# ---------------------------------------------------------------- the second person


async def test_nobody_who_edited_it_approves_or_declines(desk: Desk) -> None:
    draft = await changed(desk)
    draft = await desk.save(KATO, draft.id, revision=draft.revision, files=draft.files)
    await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    for who in (YAMAMOTO, KATO, Person(subject="cli:s.kato", login="S.Kato"), Person(subject="usr_kato", login="other")):
        async with Refused(desk, "own"):
            await desk.approve(who, draft.id, content=draft.content)
        async with Refused(desk, "own"):
            await desk.decline(who, draft.id, content=draft.content, note="no")
    assert (await desk.approve(MORI, draft.id, content=draft.content)).state == "approved"


async def test_only_what_was_looked_at_is_submitted_approved_and_published(desk: Desk) -> None:
    draft = await changed(desk)
    async with Refused(desk, "changed"):
        await desk.submit(YAMAMOTO, draft.id, content="0" * 64)
    await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    async with Refused(desk, "changed"):
        await desk.approve(KATO, draft.id, content="0" * 64)
    async with Refused(desk, "changed"):
        await desk.approve(KATO, draft.id, content=draft.content, revision=draft.revision - 1)
    await desk.approve(KATO, draft.id, content=draft.content, revision=draft.revision)
    async with Refused(desk, "changed"):
        await desk.publish(YAMAMOTO, draft.id, content="0" * 64)


async def test_an_edit_takes_every_approval_away(desk: Desk) -> None:
    draft = await approved(desk, await changed(desk))
    edited = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=files(READ_MORE))
    assert edited.state == "open"
    for content in (draft.content, edited.content):
        async with Refused(desk, "state"):
            await desk.publish(YAMAMOTO, draft.id, content=content)
    # Back to what was approved: it has to be approved again all the same.
    again = await desk.save(YAMAMOTO, draft.id, revision=edited.revision, files=draft.files)
    assert again.content == draft.content
    async with Refused(desk, "state"):
        await desk.publish(YAMAMOTO, draft.id, content=draft.content)


async def test_a_declined_change_is_open_again_with_the_note(desk: Desk) -> None:
    draft = await changed(desk)
    await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    declined = await desk.decline(KATO, draft.id, content=draft.content, note="夜間も必要です")
    assert (declined.state, declined.approvals[-1].verdict, declined.approvals[-1].note) == ("open", "declined", "夜間も必要です")
    draft = await approved(desk, declined)
    # An approval can be taken back until it is published.
    assert (await desk.decline(MORI, draft.id, content=draft.content, note="やはり")).state == "open"


@pytest.mark.parametrize("state", ["open", "waiting", "approved", "published", "withdrawn"])
async def test_each_step_needs_the_state_before_it(desk: Desk, state: str) -> None:
    draft = await changed(desk)
    if state != "open":
        draft = await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    if state in {"approved", "published"}:
        draft = await desk.approve(KATO, draft.id, content=draft.content)
    if state == "published":
        await desk.publish(YAMAMOTO, draft.id, content=draft.content)
    if state == "withdrawn":
        await desk.withdraw(YAMAMOTO, draft.id)
    steps: dict[str, Step] = {
        "open": lambda: desk.submit(YAMAMOTO, draft.id, content=draft.content),
        "waiting": lambda: desk.approve(MORI, draft.id, content=draft.content),
        "approved": lambda: desk.publish(MORI, draft.id, content=draft.content),
    }
    for needed, step in steps.items():
        if needed != state:
            async with Refused(desk, "state"):
                await step()
    if state in {"published", "withdrawn"}:
        after: tuple[Step, ...] = (
            lambda: desk.withdraw(YAMAMOTO, draft.id),
            lambda: desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=files()),
            lambda: desk.try_out(YAMAMOTO, draft.id, content=draft.content),
            lambda: desk.bring_up_to_date(YAMAMOTO, draft.id, revision=draft.revision),
        )
        for more in after:
            async with Refused(desk, "state"):
                await more()
    else:
        await steps[state]()


# ---------------------------------------------------------------- two at once


async def test_two_who_publish_at_once_one_does_and_the_other_is_overtaken(desk: Desk, lasting: Lasting) -> None:
    one, other = await approved(desk, await changed(desk, "// one\n")), await approved(desk, await changed(desk, "// other\n"))
    second = new_desk(lasting)
    results = await asyncio.gather(
        desk.publish(YAMAMOTO, one.id, content=one.content),
        second.publish(MORI, other.id, content=other.content),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, ChangeRefused)]
    assert [result.why for result in refused] == ["overtaken"], results
    assert len(await desk.history()) == 2


async def test_one_who_presses_twice_publishes_once(desk: Desk) -> None:
    draft = await approved(desk, await changed(desk))
    results = await asyncio.gather(
        *(desk.publish(YAMAMOTO, draft.id, content=draft.content) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(result, ChangeRefused) for result in results) == 3
    assert len(await desk.history()) == 2


async def test_an_overtaken_change_is_brought_up_to_date_and_approved_anew(desk: Desk) -> None:
    mine = await approved(desk, await changed(desk, "// mine\n"))
    theirs = await desk.begin(KATO, title="t", why="w")
    theirs = await desk.save(KATO, theirs.id, revision=1, files={**theirs.files, "b.cedar": NURSE.encode()})
    theirs = await approved(desk, theirs, by=MORI)
    await desk.publish(KATO, theirs.id, content=theirs.content)
    async with Refused(desk, "overtaken"):
        await desk.publish(YAMAMOTO, mine.id, content=mine.content)
    async with Refused(desk, "changed"):
        await desk.bring_up_to_date(YAMAMOTO, mine.id, revision=mine.revision - 1)
    draft = await desk.bring_up_to_date(YAMAMOTO, mine.id, revision=mine.revision)
    assert (draft.state, draft.base) == ("open", 2)
    assert draft.files["a.cedar"] == mine.files["a.cedar"]
    assert draft.files["b.cedar"] == theirs.files["b.cedar"]
    assert draft == await desk.bring_up_to_date(YAMAMOTO, draft.id, revision=draft.revision), "nothing to do"


async def test_a_file_that_both_changed_is_named(desk: Desk) -> None:
    mine = await changed(desk, "// mine\n")
    await published(desk, "// theirs\n")
    with pytest.raises(ChangeRefused, match=r"both sides changed a\.cedar") as caught:
        await desk.bring_up_to_date(YAMAMOTO, mine.id, revision=mine.revision)
    assert caught.value.why == "changed"


async def test_what_is_in_force_already_is_not_published_again(desk: Desk) -> None:
    draft = await desk.begin(YAMAMOTO, title="t", why="w")
    async with Refused(desk, "same"):
        await desk.submit(YAMAMOTO, draft.id, content=draft.content)


# ---------------------------------------------------------------- back


async def test_a_rollback_says_what_it_saw_in_force(desk: Desk) -> None:
    await published(desk)
    async with Refused(desk, "overtaken"):
        await desk.roll_back(KATO, 1, why="w", expected=1)
    async with Refused(desk, "same"):
        await desk.roll_back(KATO, 2, why="w", expected=2)
    for number in (0, 3, -1, 2**70):
        async with Refused(desk, "gone"):
            await desk.roll_back(KATO, number, why="w", expected=2)
    async with Refused(desk, "form"):
        await desk.roll_back(KATO, 1, why=" ", expected=2)
    results = await asyncio.gather(*(desk.roll_back(KATO, 1, why="w", expected=2) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, ChangeRefused) for result in results) == 3


# ---------------------------------------------------------------- trials


async def test_one_change_is_tried_out_at_a_time(desk: Desk, lasting: Lasting) -> None:
    source = Published(lasting)
    assert source.newest() is not None
    assert source.newest() is None
    one, other = await changed(desk, "// one\n"), await changed(desk, "// other\n")
    assert source.newest() is None, "drafts are nobody's affair yet"
    assert (await desk.try_out(YAMAMOTO, one.id, content=one.content)).trial
    assert await desk.files_of(version_of({k: v for k, v in one.files.items() if not k.startswith("cases/")})) == one.files
    offer = source.newest()
    assert offer is not None
    assert offer.trial is not None
    assert offer.trial.policies["a.cedar"].endswith(b"// one\n")
    await desk.try_out(KATO, other.id, content=other.content)
    assert [(draft.id, draft.trial) for draft in await desk.drafts()] == [(other.id, True), (one.id, False)]
    await desk.end_trial(KATO, other.id)
    offer = source.newest()
    assert offer is not None
    assert offer.trial is None
    async with Refused(desk, "changed"):
        await desk.try_out(YAMAMOTO, one.id, content="0" * 64)


async def test_what_would_lock_officers_out_may_be_tried_but_must_be_good_otherwise(desk: Desk) -> None:
    locking = policy("f", 'principal in Role::"security_officer"', effect="forbid", scope="principal, action, resource")
    draft = await desk.begin(YAMAMOTO, title="t", why="w", files=files(READ + locking))
    assert (await desk.try_out(YAMAMOTO, draft.id, content=draft.content)).trial
    async with Refused(desk, "lockout"):
        await desk.submit(YAMAMOTO, draft.id, content=draft.content)
    draft = await desk.begin(YAMAMOTO, title="t", why="w", files=files(NURSES_ONLY + locking))
    async with Refused(desk, "not_good"):
        await desk.try_out(YAMAMOTO, draft.id, content=draft.content)


async def test_a_trial_ends_with_an_edit_a_withdrawal_and_the_publication(desk: Desk, lasting: Lasting) -> None:
    source = Published(lasting)
    draft = await changed(desk)
    await desk.try_out(YAMAMOTO, draft.id, content=draft.content)
    same = await desk.save(YAMAMOTO, draft.id, revision=draft.revision, files=draft.files, title="another")
    assert same.trial, "another title is no other content"
    draft = await desk.save(YAMAMOTO, draft.id, revision=same.revision, files=files(READ_MORE))
    assert not draft.trial
    await desk.try_out(YAMAMOTO, draft.id, content=draft.content)
    await approved(desk, draft)
    assert (await desk.draft(draft.id)).trial
    await desk.publish(YAMAMOTO, draft.id, content=draft.content)
    assert not (await desk.draft(draft.id)).trial
    other = await changed(desk, "// more\n")
    await desk.try_out(YAMAMOTO, other.id, content=other.content)
    assert not (await desk.withdraw(YAMAMOTO, other.id)).trial
    offer = source.newest()
    assert offer is not None
    assert offer.trial is None


# ---------------------------------------------------------------- looking, nodes


async def test_what_is_not_there_is_gone(desk: Desk) -> None:
    for text in ("chg_none", "", "*", "%", "' OR 1=1 --", "\x00", "\ud800", "病棟"):
        with pytest.raises(ChangeRefused) as caught:
            await desk.draft(text)
        assert caught.value.why == "gone"
        with pytest.raises(ChangeRefused) as caught:
            await desk.files_of(text)
        assert caught.value.why == "gone"
    for number in (0, 2, -1, 2**70):
        with pytest.raises(ChangeRefused) as caught:
            await desk.publication(number)
        assert caught.value.why == "gone"


async def test_without_a_publication_there_is_nothing_to_begin_from(lasting: Lasting) -> None:
    desk = new_desk(lasting)
    assert await desk.history() == []
    with pytest.raises(ChangeRefused) as caught:
        await desk.begin(YAMAMOTO, title="t", why="w")
    assert caught.value.why == "gone"


async def test_of_many_processes_that_start_at_once_one_makes_the_first_publication(lasting: Lasting) -> None:
    desks = [new_desk(lasting) for _ in range(4)]
    first = await asyncio.gather(*(desk.begin_with_folder(files(READ + f"// {n}\n")) for n, desk in enumerate(desks)))
    assert len({publication.content for publication in first}) == 1
    assert len(await desks[0].history()) == 1


async def test_drafts_are_listed_the_last_changed_first_whatever_the_clock_says(desk: Desk, lasting: Lasting) -> None:
    one, other = await changed(desk, "// one\n"), await changed(desk, "// other\n")
    early = new_desk(lasting, clock=ManualClock(1.0))
    await early.save(KATO, one.id, revision=one.revision, files=files())
    assert [draft.id for draft in await desk.drafts()] == [one.id, other.id]


async def test_each_process_says_what_it_has_in_force(desk: Desk, lasting: Lasting, clock: ManualClock) -> None:
    def said(node: str, at: int, number: int = 1) -> NodeState:
        return NodeState(node=node, number=number, version="v", at=at)

    now = int(clock.now())
    assert await desk.nodes() == []
    report(lasting, said("b/1", now))
    report(lasting, said("a/2", now))
    report(lasting, said("b/1", now + 1, 2))
    assert await desk.nodes() == [said("a/2", now), said("b/1", now + 1, 2)]
    leave(lasting, "a/2")
    assert await desk.nodes() == [said("b/1", now + 1, 2)]
    report(lasting, said("c/1", now + 100_000))
    assert [node.node for node in await desk.nodes()] == ["c/1"], "one that is long gone is forgotten"

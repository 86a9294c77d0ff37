"""What the ledger of break-glasses and the outbox of notices promise, shown on each database."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.emergency.ledger import Ledger
from gateway.emergency.model import BreakGlass, Finding, NotPossible
from gateway.emergency.outbox import CLAIM_SECONDS, GIVE_UP_SECONDS, PAUSES, Message
from gateway.kernel.ids import new_id
from gateway.lasting.port import Lasting
from gateway.lasting.postgres import PostgresLasting
from gateway.lasting.sqlite import SqliteLasting
from tests.support.emergency import NOW, a_break_glass

Open = Callable[[], Ledger]


@pytest.fixture(params=["sqlite", "postgres"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    opened: list[Lasting] = []
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").database(new_id("test"))

    def again() -> Ledger:
        one: Lasting = PostgresLasting(url) if request.param == "postgres" else SqliteLasting(tmp_path / "state" / "x.sqlite3")
        opened.append(one)
        return Ledger(one)

    yield again
    for one in opened:
        one.close()


@pytest.fixture
def ledger(open_again: Open) -> Ledger:
    return open_again()


def finding(by: str = "usr_yamamoto", login: str = "sec.yamamoto") -> Finding:
    return Finding(word="justified", text="急変への対応と確認した", by=by, login=login, name="山本 凛", at=NOW + 9000)


def message(channel: str = "mail", text: str = "本文") -> Message:
    return Message(
        id=new_id("ntc"), channel="mail" if channel == "mail" else "webhook", kind="break_glass.began", subject="件名", text=text,
        at="2027-01-15T08:00:00.000Z", detail={"a": "b"},
    )  # fmt: skip


async def began(ledger: Ledger, **changes: object) -> BreakGlass:
    one = a_break_glass(**changes)
    await ledger.begin(one)
    await ledger.in_force(one.id, NOW)
    found = await ledger.get(one.id)
    assert found is not None
    return found


# ---------------------------------------------------------------- the life of one


async def test_it_is_kept_as_it_was_given(ledger: Ledger, open_again: Open) -> None:
    one = a_break_glass(text="既往歴 '\"; DROP TABLE breakglass; -- 𠮟")
    await ledger.begin(one)
    assert await open_again().get(one.id) == one
    assert await ledger.get("brk_other") is None


async def test_one_in_a_session_at_a_time_and_as_many_sessions_as_you_like(ledger: Ledger) -> None:
    await began(ledger)
    with pytest.raises(NotPossible, match="running"):
        await ledger.begin(a_break_glass(began_at=NOW + 3599, until=NOW + 7000))
    await ledger.begin(a_break_glass(session="ses_2"))
    # Over is over, noted or not.
    await ledger.begin(a_break_glass(began_at=NOW + 3600, until=NOW + 7200))
    assert len(await ledger.open()) == 3


async def test_of_many_begins_at_once_one_begins(ledger: Ledger, open_again: Open) -> None:
    ledgers = [ledger, open_again()]
    outcomes = await asyncio.gather(
        *(ledgers[number % 2].begin(a_break_glass(), [message()]) for number in range(8)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in outcomes) == ["NoneType"] + ["NotPossible"] * 7
    assert len(await ledger.open()) == 1
    assert await ledger.outbox.take(NOW) is not None
    assert await ledger.outbox.take(NOW) is None


async def test_it_comes_into_force_ends_once_and_stays_ended(ledger: Ledger, open_again: Open) -> None:
    one = await began(ledger)
    assert one.state == "running"
    ends = await asyncio.gather(*(each.end(one.id, "officer", NOW + 60, "sec.yamamoto") for each in (ledger, open_again())))
    assert sorted(ends) == [False, True]
    assert not await ledger.end(one.id, "time", NOW + 70)
    await ledger.in_force(one.id, NOW + 80)
    await ledger.void(one.id, "too late", NOW + 90)
    after = await ledger.get(one.id)
    assert after is not None
    assert (after.state, after.ended_at, after.ended_how, after.ended_by) == ("ended", NOW + 60, "officer", "sec.yamamoto")
    assert not await ledger.end("brk_other", "time", NOW)


async def test_what_ended_by_itself_ended_at_its_time_however_late_it_is_noted(ledger: Ledger) -> None:
    one = await began(ledger)
    assert await ledger.end(one.id, "time", NOW + 90_000)
    after = await ledger.get(one.id)
    assert after is not None
    assert after.ended_at == one.until


async def test_what_never_came_into_force_is_neither_told_nor_reviewed(ledger: Ledger) -> None:
    one = a_break_glass()
    await ledger.begin(one, [message()], due_at=NOW + 3)
    await ledger.void(one.id, "the session had ended", NOW)
    assert await ledger.outbox.take(NOW + 10) is None
    assert await ledger.to_review() == []
    assert [each.problem for each in await ledger.past()] == ["the session had ended"]
    with pytest.raises(NotPossible, match="unknown"):
        await ledger.review(one.id, finding())


# ---------------------------------------------------------------- the review


async def test_the_review_is_open_from_the_beginning_until_a_second_person_closes_it(ledger: Ledger) -> None:
    one = await began(ledger)
    assert [each.id for each in await ledger.to_review()] == [one.id]
    counts = await ledger.counts()
    assert (counts.running, counts.to_review) == (1, 1)
    with pytest.raises(NotPossible, match="in_force"):
        await ledger.review(one.id, finding())
    await ledger.end(one.id, "person", NOW + 60)
    for by, login in (("usr_sato", "someone"), ("usr_other", "DR.SATO"), ("usr_other", "ｄｒ．ｓａｔｏ")):
        with pytest.raises(NotPossible, match="own"):
            await ledger.review(one.id, finding(by, login))
    assert (await ledger.counts()).to_review == 1
    assert [each.id for each in await ledger.of("usr_other", "ｄｒ．ｓａｔｏ")] == [one.id]
    assert await ledger.of("usr_other", "") == []
    done = await ledger.review(one.id, finding())
    assert done.finding == finding()
    assert await ledger.get(one.id) == done
    assert await ledger.to_review() == []
    assert [each.id for each in await ledger.past()] == [one.id]
    counts = await ledger.counts()
    assert (counts.running, counts.to_review) == (0, 0)


async def test_of_two_officers_at_once_one_closes_it(ledger: Ledger, open_again: Open) -> None:
    one = await began(ledger)
    await ledger.end(one.id, "person", NOW + 60)
    outcomes = await asyncio.gather(
        ledger.review(one.id, finding()), open_again().review(one.id, finding("usr_b", "sec.b")), return_exceptions=True
    )
    refused = [each for each in outcomes if isinstance(each, NotPossible)]
    assert [each.why for each in refused] == ["reviewed"]
    with pytest.raises(NotPossible, match="unknown"):
        await ledger.review("brk_other", finding())


async def test_past_ones_come_newest_first_page_by_page(ledger: Ledger) -> None:
    for number in range(5):
        one = await began(ledger, session=f"ses_{number}", began_at=NOW + number)
        await ledger.end(one.id, "person", NOW + 60)
        await ledger.review(one.id, finding())
    pages = [[each.began_at - NOW for each in await ledger.past(2, offset)] for offset in (0, 2, 4)]
    assert pages == [[4, 3], [2, 1], [0]]


async def test_every_change_moves_the_stamp(ledger: Ledger, open_again: Open) -> None:
    other, stamps = open_again(), [await ledger.stamp()]
    one = await began(ledger)
    stamps.append(await other.stamp())
    await ledger.end(one.id, "person", NOW)
    stamps.append(await other.stamp())
    await ledger.review(one.id, finding())
    stamps.append(await other.stamp())
    assert len(set(stamps)) == 4


# ---------------------------------------------------------------- notices


async def test_a_notice_waits_for_the_session_but_not_for_ever(ledger: Ledger) -> None:
    one = a_break_glass()
    sent = message()
    await ledger.begin(one, [sent], due_at=NOW + 3)
    assert await ledger.outbox.take(NOW + 2) is None
    assert await ledger.outbox.next_due() == NOW + 3
    await ledger.in_force(one.id, NOW + 1)
    taken = await ledger.outbox.take(NOW + 1)
    assert taken is not None
    assert (taken.message, taken.about, taken.attempt, taken.created_at) == (sent, one.id, 1, NOW)


async def test_who_takes_a_notice_has_it_alone_until_it_is_given_up_for_dead(ledger: Ledger, open_again: Open) -> None:
    await ledger.outbox.put([message(), message("webhook")], about="x", now=NOW)
    taken = await asyncio.gather(*(each.outbox.take(NOW) for each in (ledger, open_again(), ledger, open_again())))
    found = [each.message.id for each in taken if each is not None]
    assert len(found) == len(set(found)) == 2
    assert await ledger.outbox.take(NOW + CLAIM_SECONDS - 1) is None
    again = await open_again().outbox.take(NOW + CLAIM_SECONDS)
    assert again is not None
    assert (again.message.id in found, again.attempt) == (True, 2)


async def test_a_notice_is_tried_again_later_and_later_and_then_never(ledger: Ledger) -> None:
    await ledger.outbox.put([message()], about="brk_1", now=NOW)
    now, dues = NOW, []
    while (taken := await ledger.outbox.take(now)) is not None:
        due = await ledger.outbox.failed(taken, "the mail server answered 451", now)
        if due is None:
            break
        assert await ledger.outbox.take(due - 1) is None
        dues.append(due - now)
        now = due
    assert tuple(dues[: len(PAUSES)]) == PAUSES
    assert set(dues[len(PAUSES) :]) == {PAUSES[-1]}
    assert now + PAUSES[-1] >= NOW + GIVE_UP_SECONDS
    (left,) = await ledger.outbox.unsent()
    assert (left.about, left.problem, left.given_up) == ("brk_1", "the mail server answered 451", True)
    assert await ledger.outbox.states("brk_1") == [("mail", "given_up", "the mail server answered 451")]
    assert await ledger.outbox.given_up(left.id) == left
    assert [await ledger.outbox.told(left.id), await ledger.outbox.told(left.id)] == [True, False]
    assert (await ledger.outbox.unsent(), await ledger.outbox.given_up(left.id)) == ([], None)
    assert await ledger.outbox.states("brk_1") == [("mail", "told", "the mail server answered 451")]


async def test_what_was_sent_after_all_is_no_trouble_any_more(ledger: Ledger) -> None:
    await ledger.outbox.put([message()], about="brk_1", now=NOW)
    assert await ledger.outbox.unsent() == []
    taken = await ledger.outbox.take(NOW)
    assert taken is not None
    due = await ledger.outbox.failed(taken, "no line", NOW)
    assert due is not None
    assert [each.given_up for each in await ledger.outbox.unsent()] == [False]
    assert not await ledger.outbox.told(taken.message.id)
    assert await ledger.outbox.given_up(taken.message.id) is None
    assert await ledger.outbox.take(due) is not None
    await ledger.outbox.sent(taken.message.id)
    assert await ledger.outbox.unsent() == []
    assert await ledger.outbox.states("brk_1") == [("mail", "sent", "")]
    assert await ledger.outbox.next_due() is None

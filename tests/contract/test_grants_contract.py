"""What the ledger of grants promises, shown on each database."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.grants.ledger import Ledger
from gateway.grants.model import MAX_AHEAD, MAX_WAITING, Grant, NotPossible, Person
from gateway.kernel.ids import new_id
from gateway.lasting.port import Lasting
from gateway.lasting.postgres import PostgresLasting
from gateway.lasting.sqlite import SqliteLasting
from tests.support.grants import NOW, OFFICER, SECOND, VENDOR, a_grant, an_emergency, approved

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


async def refused(doing: object) -> str:
    with pytest.raises(NotPossible) as caught:
        await doing  # type: ignore[misc]
    return str(caught.value.why)


# ---------------------------------------------------------------- the life of one


async def test_it_is_kept_as_it_was_asked_for(ledger: Ledger, open_again: Open) -> None:
    one = a_grant(why="保守 '\"; DROP TABLE access_grant; -- 𠮟る")
    assert await ledger.ask(one) == one
    assert await open_again().get(one.id) == one
    assert await ledger.get("grt_other") is None


async def test_it_waits_whatever_the_request_says(ledger: Ledger) -> None:
    found = await ledger.ask(a_grant(state="approved", begins=NOW - 99, until=NOW + 999_999))
    assert (found.state, found.begins, found.until) == ("waiting", NOW, NOW + 7200)
    assert not found.in_force(NOW + 1)


async def test_sent_twice_it_is_one(ledger: Ledger) -> None:
    one = a_grant()
    assert await ledger.ask(one) == await ledger.ask(msgspec.structs.replace(one, why="another text"))
    assert len(await ledger.open()) == 1


async def test_another_persons_request_can_not_be_taken_over(ledger: Ledger) -> None:
    one = await ledger.ask(a_grant())
    assert await refused(ledger.ask(msgspec.structs.replace(one, asked_by=OFFICER))) == "taken"
    assert await refused(ledger.ask(msgspec.structs.replace(one, holder=SECOND, asked_by=SECOND))) == "taken"


async def test_approved_it_is_in_force_between_its_times(ledger: Ledger) -> None:
    one = await ledger.ask(a_grant(asked_from=NOW + 600))
    found = await ledger.approve(one.id, OFFICER, NOW, begins=NOW + 900, until=NOW + 3600, note="夜間のみ")
    assert (found.state, found.decided_by, found.decided_at, found.note) == ("approved", OFFICER, NOW, "夜間のみ")
    assert [found.in_force(NOW + at) for at in (899, 900, 3599, 3600)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("begins", "until"),
    [(NOW - 1, NOW + 60), (NOW, NOW + 7201), (NOW + 100, NOW + 100), (NOW + 200, NOW + 100), (NOW, NOW + 59), (NOW, NOW - 5)],
)
async def test_an_officer_may_shorten_it_and_no_more(ledger: Ledger, begins: int, until: int) -> None:
    one = await ledger.ask(a_grant())
    assert await refused(ledger.approve(one.id, OFFICER, NOW, begins=begins, until=until)) in {"times", "over"}
    assert await ledger.get(one.id) == one


async def test_a_second_person_approves_or_declines(ledger: Ledger) -> None:
    mine = await ledger.ask(a_grant())
    given = await ledger.ask(a_grant(asked_by=OFFICER))
    spelt = Person(subject="usr_other", login="VENDOR.ITO")
    for grant, by in ((mine, VENDOR), (mine, spelt), (given, OFFICER), (given, VENDOR)):
        assert await refused(ledger.approve(grant.id, by, NOW, begins=NOW, until=NOW + 60)) == "own"
        assert await refused(ledger.decline(grant.id, by, NOW, note="not this one")) == "own"
    assert (await ledger.approve(given.id, SECOND, NOW, begins=NOW, until=NOW + 60)).state == "approved"


async def test_a_decision_is_made_once(ledger: Ledger) -> None:
    one = await approved(ledger)
    assert await refused(ledger.approve(one.id, SECOND, NOW, begins=NOW, until=NOW + 60)) == "state"
    assert await refused(ledger.decline(one.id, SECOND, NOW, note="too late")) == "state"
    other = await ledger.ask(a_grant())
    assert (await ledger.decline(other.id, SECOND, NOW, note="no reason given")).note == "no reason given"
    assert await refused(ledger.approve(other.id, OFFICER, NOW, begins=NOW, until=NOW + 60)) == "state"
    assert await refused(ledger.end(other.id, OFFICER, NOW)) == "state"


async def test_a_decline_says_why(ledger: Ledger) -> None:
    one = await ledger.ask(a_grant())
    assert await refused(ledger.decline(one.id, OFFICER, NOW, note=" ")) == "form"


async def test_two_officers_at_once_decide_once(open_again: Open) -> None:
    one = await open_again().ask(a_grant())
    nodes = [open_again() for _ in range(4)]
    by = [OFFICER, SECOND, OFFICER, SECOND]
    results = await asyncio.gather(
        *(
            node.approve(one.id, who, NOW, begins=NOW, until=NOW + 60 + number)
            if number % 2
            else node.decline(one.id, who, NOW, note="declined")
            for number, (node, who) in enumerate(zip(nodes, by, strict=True))
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Grant) for result in results) == 1
    assert all(isinstance(result, Grant) or (isinstance(result, NotPossible) and result.why == "state") for result in results)


async def test_an_officer_takes_it_away_before_its_time(ledger: Ledger) -> None:
    one = await approved(ledger)
    ended = await ledger.end(one.id, SECOND, NOW + 10)
    assert (ended.state, ended.ended_by, ended.ended_at) == ("ended", SECOND, NOW + 10)
    assert not ended.in_force(NOW + 10)
    assert await refused(ledger.end(one.id, SECOND, NOW + 11)) == "state"
    assert await refused(ledger.end("grt_none", SECOND, NOW)) == "gone"


async def test_its_holder_takes_a_request_back_or_gives_a_grant_back(ledger: Ledger) -> None:
    waiting, granted = await ledger.ask(a_grant()), await approved(ledger)
    assert await refused(ledger.withdraw(waiting.id, SECOND, NOW)) == "gone", "others don't learn that it is there"
    assert (await ledger.withdraw(waiting.id, VENDOR, NOW)).state == "withdrawn"
    assert (await ledger.withdraw(granted.id, VENDOR, NOW)).state == "ended"
    assert await refused(ledger.withdraw(granted.id, VENDOR, NOW)) == "state"


async def test_what_is_over_is_settled_once_and_stays_over(open_again: Open) -> None:
    one, waiting = await approved(open_again()), await open_again().ask(a_grant())
    nodes = [open_again() for _ in range(3)]
    assert await nodes[0].settle(NOW + 7199) == ([], [])
    told = [grant.id for grants, _ in await asyncio.gather(*(node.settle(NOW + 7200) for node in nodes)) for grant in grants]
    assert sorted(told) == sorted([one.id, waiting.id]), "each is told of once, by one node"
    again = await nodes[0].get(one.id)
    assert again is not None
    assert (again.state, again.ended_at) == ("over", NOW + 7200)
    assert not again.in_force(NOW + 60), "a clock that is put back does not bring it back"
    assert await refused(nodes[0].end(one.id, OFFICER, NOW + 60)) == "state"


# ---------------------------------------------------------------- what may be asked for


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"asked_until": NOW - 1}, "times"),
        ({"asked_from": NOW - 100, "asked_until": NOW - 1}, "over"),
        ({"asked_from": NOW + 100, "asked_until": NOW + 50}, "times"),
        ({"asked_until": NOW + 30 * 86_400 + 1}, "times"),
        ({"asked_from": NOW + MAX_AHEAD + 1, "asked_until": NOW + MAX_AHEAD + 3600}, "times"),
        ({"asked_until": NOW + 59}, "times"),
        ({"why": "x"}, "form"),
        ({"why": "x" * 501}, "form"),
        ({"why": "....."}, "form"),
        ({"why": "normal \u202e txet"}, "form"),
        ({"name": ""}, "name"),
        ({"name": "n" * 65}, "name"),
        ({"name": "ehr\u200b-maintenance"}, "name"),
        ({"id": "grt_1"}, "form"),
        ({"id": "'; DROP TABLE access_grant"}, "form"),
    ],
)
async def test_what_makes_no_sense_is_refused(ledger: Ledger, changes: dict[str, object], why: str) -> None:
    assert await refused(ledger.ask(a_grant(**changes))) == why
    assert await ledger.open() == []


async def test_only_so_much_waits_for_one_person(ledger: Ledger) -> None:
    for _ in range(MAX_WAITING):
        await ledger.ask(a_grant())
    assert await refused(ledger.ask(a_grant())) == "many"
    other = Person(subject="usr_other", login="vendor.other")
    assert (await ledger.ask(a_grant(holder=other, asked_by=other))).state == "waiting"


# ---------------------------------------------------------------- the emergency


async def test_one_emergency_at_a_time(open_again: Open) -> None:
    nodes = [open_again() for _ in range(3)]
    results = await asyncio.gather(*(node.declare(an_emergency()) for node in nodes), return_exceptions=True)
    assert [str(result) for result in results if isinstance(result, NotPossible)] == ["running", "running"]
    (one,) = await nodes[0].emergencies()
    assert [one.in_force(NOW + at) for at in (0, 3599, 3600)] == [True, True, False]
    ended = await nodes[1].end_emergency(one.id, SECOND, NOW + 60)
    assert (ended.ended_by, ended.ended_at, ended.in_force(NOW + 61)) == (SECOND, NOW + 60, False)
    assert await refused(nodes[2].end_emergency(one.id, OFFICER, NOW + 61)) == "state"
    again = await nodes[0].declare(an_emergency(declared_at=NOW + 62, until=NOW + 7200))
    assert again.in_force(NOW + 63)


async def test_an_emergency_ends_by_itself_and_is_told_of_once(open_again: Open) -> None:
    nodes = [open_again(), open_again()]
    one = await nodes[0].declare(an_emergency())
    told = [
        over.id for _, emergencies in await asyncio.gather(*(node.settle(NOW + 3600) for node in nodes)) for over in emergencies
    ]
    assert told == [one.id]
    assert (await nodes[0].emergencies())[0].ended_at == NOW + 3600


@pytest.mark.parametrize(
    "changes", [{"until": NOW + 59}, {"until": NOW - 1}, {"until": NOW + 7 * 86_400 + 1}, {"why": ""}, {"why": "\u202etxet"}]
)
async def test_an_emergency_that_makes_no_sense(ledger: Ledger, changes: dict[str, object]) -> None:
    assert await refused(ledger.declare(an_emergency(**changes))) in {"times", "form"}


# ---------------------------------------------------------------- looking


async def test_lists(ledger: Ledger) -> None:
    first, second = await approved(ledger), await ledger.ask(a_grant(asked_at=NOW + 1))
    assert [one.id for one in await ledger.open()] == [first.id, second.id]
    assert [one.id for one in await ledger.of(VENDOR.subject)] == [second.id, first.id]
    assert await ledger.of("usr_other") == []
    await ledger.decline(second.id, OFFICER, NOW, note="not needed")
    assert [one.id for one in await ledger.settled()] == [second.id]
    assert await ledger.settled(offset=1) == []


async def test_every_change_moves_the_stamp(ledger: Ledger, open_again: Open) -> None:
    other = open_again()
    seen = [other.stamp()]

    async def moved(doing: object) -> None:
        await doing  # type: ignore[misc]
        seen.append(other.stamp())

    one, gone = a_grant(), a_grant()
    await moved(ledger.ask(one))
    await moved(ledger.ask(gone))
    await moved(ledger.withdraw(gone.id, VENDOR, NOW))
    await moved(ledger.approve(one.id, OFFICER, NOW, begins=NOW, until=NOW + 60))
    await moved(ledger.settle(NOW + 60))
    emergency = an_emergency()
    await moved(ledger.declare(emergency))
    await moved(ledger.end_emergency(emergency.id, OFFICER, NOW))
    assert len(set(seen)) == len(seen)
    await ledger.settle(NOW + 61)
    assert other.stamp() == seen[-1], "nothing to settle changes nothing"

"""What every `Lasting` promises (gateway/lasting/port.py), shown on each backend."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.lasting.port import Cursor, Lasting
from gateway.lasting.postgres import PostgresLasting
from gateway.lasting.sqlite import SqliteLasting

Open = Callable[[], Lasting]
SCHEMA = ("CREATE TABLE thing (name TEXT PRIMARY KEY, body TEXT NOT NULL, many BIGINT NOT NULL)",)


@pytest.fixture(params=["sqlite", "postgres"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return what opens one and the same database, as each process does for itself."""
    opened: list[Lasting] = []
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").database(new_id("test"))

    def again() -> Lasting:
        one: Lasting = PostgresLasting(url) if request.param == "postgres" else SqliteLasting(tmp_path / "state" / "x.sqlite3")
        opened.append(one)
        return one

    yield again
    for one in opened:
        one.close()


@pytest.fixture
def lasting(open_again: Open) -> Lasting:
    one = open_again()
    one.prepare("things", SCHEMA)
    return one


def put(name: str, many: int = 0, body: str = "") -> Callable[[Cursor], int]:
    return lambda cursor: cursor.run("INSERT INTO thing (name, body, many) VALUES (?, ?, ?)", (name, body, many))


def many(name: str) -> Callable[[Cursor], int | None]:
    def work(cursor: Cursor) -> int | None:
        row = cursor.one("SELECT many FROM thing WHERE name = ?", (name,))
        return row[0] if row is not None else None

    return work


async def test_what_was_written_is_read_by_another_process(lasting: Lasting, open_again: Open) -> None:
    body = '{"title": "病棟 100% ? $1 \\\\ \'\\" 𠮟", "n": null}'
    assert await lasting.write(put("a", 2**62, body)) == 1
    other = open_again()
    assert await other.read(lambda cursor: cursor.rows("SELECT name, body, many FROM thing")) == [("a", body, 2**62)]


async def test_what_is_not_there_is_none_and_no_rows(lasting: Lasting) -> None:
    assert await lasting.read(lambda cursor: cursor.one("SELECT name FROM thing WHERE name = ?", ("a",))) is None
    assert await lasting.read(lambda cursor: cursor.rows("SELECT name FROM thing")) == []
    assert await lasting.write(lambda cursor: cursor.run("DELETE FROM thing WHERE name = ?", ("a",))) == 0


async def test_a_work_that_raises_changes_nothing_and_what_it_raised_comes_out(lasting: Lasting) -> None:
    def work(cursor: Cursor) -> None:
        put("a")(cursor)
        cursor.touched("things")
        raise LookupError("no")

    before = lasting.stamp("things")
    with pytest.raises(LookupError, match="no"):
        await lasting.write(work)
    assert await lasting.read(many("a")) is None
    assert lasting.stamp("things") == before
    assert await lasting.write(put("a")) == 1


async def test_a_read_changes_nothing(lasting: Lasting) -> None:
    with contextlib.suppress(StoreUnavailable):  # one that says so is as good
        await lasting.read(put("a"))
    assert await lasting.read(many("a")) is None


async def test_a_read_sees_one_state_whatever_is_written_meanwhile(lasting: Lasting, open_again: Open) -> None:
    await lasting.write(put("a", 1))
    other = open_again()

    def work(cursor: Cursor) -> tuple[int | None, int | None]:
        first = many("a")(cursor)
        other.write_now(lambda cursor: cursor.run("UPDATE thing SET many = 2"))
        return first, many("a")(cursor)

    assert await lasting.read(work) == (1, 1)
    assert await lasting.read(many("a")) == 2


async def test_of_many_that_count_at_once_nobody_is_lost(lasting: Lasting, open_again: Open) -> None:
    """What is read and then written in one `write` is one step, in threads and in other processes' connections."""
    await lasting.write(put("a", 0))
    databases = [lasting, open_again(), open_again()]

    def count(cursor: Cursor) -> None:
        row = cursor.one("SELECT many FROM thing WHERE name = ?", ("a",))
        assert row is not None
        cursor.run("UPDATE thing SET many = ? WHERE name = ?", (row[0] + 1, "a"))

    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(databases[n % 3].write_now, count) for n in range(30)]
        for future in futures:
            future.result()
    assert await lasting.read(many("a")) == 30


async def test_of_many_that_take_one_place_at_once_one_does(lasting: Lasting, open_again: Open) -> None:
    other = open_again()
    together = threading.Barrier(2)

    def take(database: Lasting, who: int) -> int:
        first = True

        def work(cursor: Cursor) -> int:
            nonlocal first
            found = cursor.one("SELECT many FROM thing WHERE name = ?", ("place",))
            if first and isinstance(database, PostgresLasting):
                first = False  # both have looked before either takes it: only one transaction can stand
                together.wait(10)
            if found is None:
                put("place", who)(cursor)
                return who
            return int(found[0])

        return database.write_now(work)

    with ThreadPoolExecutor(2) as threads:
        got = [future.result() for future in (threads.submit(take, lasting, 1), threads.submit(take, other, 2))]
    assert got[0] == got[1] == await lasting.read(many("place"))


async def test_a_predicate_that_two_rely_on_holds(lasting: Lasting, open_again: Open) -> None:
    """Write skew: each reads that there is room for one more, and adds a different row. Only a serialisable database sees it."""
    other = open_again()
    together = threading.Barrier(2)

    def add(database: Lasting, name: str) -> bool:
        first = True

        def work(cursor: Cursor) -> bool:
            nonlocal first
            row = cursor.one("SELECT COUNT(*) FROM thing")
            if first and isinstance(database, PostgresLasting):
                first = False
                together.wait(10)
            if row is None or row[0] > 0:
                return False
            put(name)(cursor)
            return True

        return database.write_now(work)

    with ThreadPoolExecutor(2) as threads:
        added = [future.result() for future in (threads.submit(add, lasting, "a"), threads.submit(add, other, "b"))]
    assert sorted(added) == [False, True]
    assert await lasting.read(lambda cursor: cursor.one("SELECT COUNT(*) FROM thing")) == (1,)


async def test_a_stamp_differs_once_something_was_touched_by_anybody(lasting: Lasting, open_again: Open) -> None:
    other = open_again()
    assert lasting.stamp("things") == other.stamp("things")
    seen = {lasting.stamp("things")}
    for database in (lasting, other, lasting):
        await database.write(lambda cursor: cursor.touched("things"))
        assert lasting.stamp("things") == other.stamp("things")
        assert lasting.stamp("things") not in seen
        seen.add(lasting.stamp("things"))
    elsewhere = lasting.stamp("others")
    await lasting.write(lambda cursor: cursor.touched("things"))
    assert lasting.stamp("others") == elsewhere


async def test_stamps_are_asked_from_any_thread(lasting: Lasting) -> None:
    await lasting.write(lambda cursor: cursor.touched("things"))
    expected = lasting.stamp("things")
    assert set(await asyncio.gather(*(asyncio.to_thread(lasting.stamp, "things") for _ in range(12)))) == {expected}


def test_several_processes_may_make_the_same_tables_at_once(open_again: Open) -> None:
    with ThreadPoolExecutor(4) as threads:
        opened = [future.result() for future in [threads.submit(open_again) for _ in range(4)]]
        for future in [threads.submit(one.prepare, "things", SCHEMA) for one in opened]:
            future.result()
    for n, one in enumerate(opened):
        assert one.write_now(put(str(n))) == 1


def test_tables_are_brought_to_the_newest_version_and_keep_what_they_hold(lasting: Lasting, open_again: Open) -> None:
    lasting.write_now(put("a"))
    newer = (*SCHEMA, "ALTER TABLE thing ADD COLUMN colour TEXT; -- a remark\nUPDATE thing SET colour = 'grey'")
    open_again().prepare("things", newer)
    open_again().prepare("things", newer)
    assert lasting.read_now(lambda cursor: cursor.rows("SELECT name, colour FROM thing")) == [("a", "grey")]


def test_tables_of_a_newer_program_are_left_alone(lasting: Lasting, open_again: Open) -> None:
    open_again().prepare("things", (*SCHEMA, "ALTER TABLE thing ADD COLUMN colour TEXT"))
    with pytest.raises(StoreUnavailable, match=r"newer version \(2, this program knows 1\)"):
        open_again().prepare("things", SCHEMA)


def test_a_renewal_that_fails_leaves_the_tables_as_they_were(lasting: Lasting, open_again: Open) -> None:
    bad = (*SCHEMA, "ALTER TABLE thing ADD COLUMN colour TEXT; INSERT INTO no_such_table (x) VALUES (1)")
    with pytest.raises(StoreUnavailable):
        open_again().prepare("things", bad)
    open_again().prepare("things", (*SCHEMA, "ALTER TABLE thing ADD COLUMN colour TEXT"))


async def test_more_at_once_than_there_are_connections_all_get_their_turn(lasting: Lasting) -> None:
    await asyncio.gather(*(lasting.write(put(str(n), n)) for n in range(40)))
    assert await lasting.read(lambda cursor: cursor.one("SELECT COUNT(*) FROM thing")) == (40,)


async def test_closing_breaks_no_work(open_again: Open) -> None:
    """What is at work when the process ends is done; its connection isn't taken away under it."""
    for _ in range(20):
        lasting = open_again()
        lasting.prepare("things", SCHEMA)
        begun, go = threading.Event(), threading.Event()

        def slow(cursor: Cursor, begun: threading.Event = begun, go: threading.Event = go) -> int:
            begun.set()
            assert go.wait(10)
            total = 0
            for number in range(200):
                cursor.run("INSERT INTO thing (name, body, many) VALUES (?, ?, ?)", (f"{new_id('x')}", "x" * 500, number))
                total += len(cursor.rows("SELECT body FROM thing"))
            return total

        work = asyncio.create_task(lasting.write(slow))
        assert await asyncio.to_thread(begun.wait, 10)
        lasting.close()
        go.set()
        assert await work > 0

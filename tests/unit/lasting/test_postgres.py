"""PostgreSQL that does not answer, refuses, comes back, or gets no URL: `StoreUnavailable`, in bounded time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from gateway.lasting import postgres as module
from gateway.lasting.port import Cursor
from gateway.lasting.postgres import PostgresLasting, settings_of
from tests.support.postgres import PostgresServer, running_postgres


def one(cursor: Cursor) -> object:
    return cursor.one("SELECT 1")


@pytest.fixture
def own() -> Iterator[PostgresServer]:
    """Yield a server that the test may stop."""
    with running_postgres() as server:
        yield server


def test_a_server_that_is_started_anew_is_found_again_and_one_that_is_gone_is_said_to_be(own: PostgresServer) -> None:
    lasting = PostgresLasting(own.database("x"))
    assert lasting.read_now(one) == (1,)
    own.stop()
    calls: tuple[Callable[[], object], ...] = (
        lambda: lasting.read_now(one),
        lambda: lasting.write_now(one),
        lambda: lasting.stamp("t"),
    )
    for call in calls:
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert caught.value.where == "records"
    own.start()
    assert lasting.write_now(one) == (1,)
    assert lasting.stamp("t") == 0
    own.stop()
    own.start()
    # Its idle connections are dead, and nobody has noticed yet.
    assert lasting.write_now(one) == (1,)
    lasting.close()


def test_a_server_that_stands_still_is_not_waited_for_and_what_it_had_begun_is_not_done(
    own: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 1)
    lasting = PostgresLasting(own.database("x"))
    lasting.prepare("things", ["CREATE TABLE thing (name TEXT)"])

    def work(cursor: Cursor) -> None:
        cursor.run("INSERT INTO thing (name) VALUES (?)", ("a",))
        with own.frozen():
            cursor.run("INSERT INTO thing (name) VALUES (?)", ("b",))

    with pytest.raises(StoreUnavailable, match="no answer"):
        lasting.write_now(work)
    assert lasting.read_now(lambda cursor: cursor.rows("SELECT name FROM thing")) == []
    with own.frozen(), pytest.raises(StoreUnavailable):
        lasting.stamp("things")
    lasting.close()


def test_a_lock_that_somebody_keeps_is_waited_for_so_long_and_no_longer(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 1)
    url = postgres.database(new_id("test"))
    lasting = PostgresLasting(url)
    lasting.prepare("things", ["CREATE TABLE thing (name TEXT)"])
    with psycopg.connect(url.reveal()) as other:
        other.execute("LOCK TABLE thing")
        with pytest.raises(StoreUnavailable, match="timeout"):
            lasting.write_now(lambda cursor: cursor.run("INSERT INTO thing (name) VALUES (?)", ("a",)))
    assert lasting.write_now(lambda cursor: cursor.run("INSERT INTO thing (name) VALUES (?)", ("a",))) == 1
    lasting.close()


def test_a_database_that_is_not_there_and_a_role_without_rights_say_so_without_the_password(postgres: PostgresServer) -> None:
    with pytest.raises(StoreUnavailable, match="does not exist") as caught:
        PostgresLasting(Secret(f"postgresql://gateway:hunter2@/nowhere?host={postgres.folder}"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(StoreUnavailable) as caught:
        PostgresLasting(Secret("postgresql://gateway:hunter2@127.0.0.1:9/x"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "hunter2", "mysql://gateway:hunter2@host/x", "postgresql://u:hunter2@host:port/x", "postgresql://%zz:hunter2@h/x"]
)
def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(Secret(url))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_closed_database_answers_nothing(postgres: PostgresServer) -> None:
    lasting = PostgresLasting(postgres.database(new_id("test")))
    lasting.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        lasting.read_now(one)


def test_tables_that_are_gone_are_a_broken_database_and_not_a_bug_of_the_caller(postgres: PostgresServer) -> None:
    lasting = PostgresLasting(postgres.database(new_id("test")))
    with pytest.raises(StoreUnavailable, match="does not exist"):
        lasting.read_now(lambda cursor: cursor.rows("SELECT x FROM nowhere"))
    assert lasting.read_now(one) == (1,)
    lasting.close()


def test_wishes_of_the_url_are_kept_beside_our_limits(tmp_path: Path) -> None:
    settings = settings_of(Secret("postgresql://u@h/x?sslmode=verify-full&options=-c%20search_path%3Dgw&connect_timeout=3"))
    assert settings["sslmode"] == "verify-full"
    assert settings["connect_timeout"] == "3"
    assert settings["options"].endswith("-c search_path=gw")
    assert "statement_timeout=5000" in settings["options"]

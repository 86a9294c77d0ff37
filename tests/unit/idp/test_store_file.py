"""The database file: who may read it, which versions it takes, what happens when it fails, and that the loop stays free."""

import asyncio
import sqlite3
import stat
import time
from pathlib import Path

import pytest

import idp.store
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.secret import Secret
from idp.model import AuthEvent, CodeGrant, SsoSession, TotpCredential, User
from idp.store import SqliteStore, open_store
from idp.store.database import Database

NOW = 1_800_000_000
SCHEMAS = len(list(Path(idp.store.__file__).parent.glob("schema_*.sql")))
USER = User(id="usr_a", login="a", name="A", roles=())


async def opened(path: Path, clock: ManualClock | None = None, key: bytes = b"k" * 32) -> SqliteStore:
    return await open_store(path, clock=clock or ManualClock(float(NOW)), sealing_key=key, idle_seconds=900, seconds=43_200)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_it_is_private_and_strict(tmp_path: Path) -> None:
    path = tmp_path / "idp.sqlite3"
    store = await opened(path)
    await store.users.add(USER)
    assert modes(tmp_path) == {"idp.sqlite3": 0o600, "idp.sqlite3-wal": 0o600, "idp.sqlite3-shm": 0o600}
    names = ("foreign_keys", "synchronous", "journal_mode", "user_version", "secure_delete")
    found = await store._database.run(
        lambda connection: {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
    )
    assert found == {"foreign_keys": 1, "synchronous": 2, "journal_mode": "wal", "user_version": SCHEMAS, "secure_delete": 1}
    await store.close()
    assert modes(tmp_path) == {"idp.sqlite3": 0o600}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
async def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "idp.sqlite3"
    await (await opened(path)).close()
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        await opened(path)


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "idp.sqlite3"
    await (await opened(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="newer version"):
        await opened(path)


async def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "idp.sqlite3"
    path.write_bytes(b"not a database at all, but a text" * 50)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="backup"):
        await opened(path)
    assert path.read_bytes().startswith(b"not a database")
    with pytest.raises(ConfigError, match="can't be opened"):
        await opened(tmp_path / "missing" / "idp.sqlite3")


async def test_work_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path / "idp.sqlite3")

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO attempt VALUES ('account:x', 1, 1, 1)")
        raise LookupError("no")

    with pytest.raises(LookupError):
        await store._database.run(fail)
    assert await store._database.run(lambda c: c.execute("SELECT count(*) FROM attempt").fetchone()[0]) == 0
    await store.close()


async def test_trouble_in_sqlite_is_not_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = await opened(tmp_path / "idp.sqlite3")
    await store._database.run(lambda connection: connection.execute("DROP TABLE session"))
    with pytest.raises(StoreUnavailable):
        await store.sessions.resolve("x" * 43, NOW)
    assert "no such table" in caplog.text
    await store.users.add(USER)
    await store.close()
    for call in (store.users.get("usr_a"), store.once.take("k", "n"), store.attempts.begin("a", "", NOW)):
        with pytest.raises(StoreUnavailable, match="closed"):
            await call
    await store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await Database(tmp_path / "never").run(lambda connection: None)


async def test_a_full_disk_is_not_an_answer_and_passes(tmp_path: Path) -> None:
    store = await opened(tmp_path / "idp.sqlite3")
    pages = await store._database.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await store._database.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    puts = [store.once.put("k", b"x" * 16_000, 60) for _ in range(20)]
    answers = await asyncio.gather(*puts, return_exceptions=True)
    assert isinstance(answers[-1], StoreUnavailable)
    await store._database.run(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    assert await store.once.put("k", b"x" * 16_000, 60)
    await store.close()


async def test_a_cancelled_caller_does_not_undo_or_block(tmp_path: Path) -> None:
    store = await opened(tmp_path / "idp.sqlite3")
    name = await store.once.put("k", b"v", 60)

    def slow(connection: sqlite3.Connection) -> None:
        time.sleep(0.2)

    busy = asyncio.create_task(store._database.run(slow))
    taking = asyncio.create_task(store.once.take("k", name))
    await asyncio.sleep(0.05)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await busy
    assert await store.once.take("k", name) is None, "what was consumed stays consumed"
    await store.close()


async def test_the_loop_goes_on_while_the_disk_works(tmp_path: Path) -> None:
    store = await opened(tmp_path / "idp.sqlite3")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await store._database.run(lambda connection: time.sleep(0.3))
    ticking.cancel()
    assert ticks > 10
    await store.close()


async def test_two_processes_share_the_file(tmp_path: Path) -> None:
    one, two = await opened(tmp_path / "idp.sqlite3"), await opened(tmp_path / "idp.sqlite3")
    name = await one.once.put("k", b"v", 60)
    answers = await asyncio.gather(*(store.once.take("k", name) for store in (one, two) * 10))
    assert sum(answer == b"v" for answer in answers) == 1
    await one.close()
    await two.close()


async def test_several_may_make_the_file_at_once(tmp_path: Path) -> None:
    for number in range(5):
        stores = await asyncio.gather(*(opened(tmp_path / f"{number}.sqlite3") for _ in range(8)))
        await stores[0].users.add(USER)
        assert [await store.users.get("usr_a") for store in stores] == [USER] * 8
        for store in stores:
            await store.close()


async def test_a_sealed_secret_opens_only_with_its_key_and_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "idp.sqlite3"
    store = await opened(path)
    await store.users.add(USER)
    await store.users.add(User(id="usr_b", login="b", name="B", roles=()))
    for user_id in ("usr_a", "usr_b"):
        await store.credentials.set_totp(TotpCredential(user_id=user_id, secret=Secret(f"S{user_id}"), created_at=NOW))
    await store._database.run(
        lambda c: c.execute("UPDATE totp SET sealed=(SELECT sealed FROM totp WHERE user_id='usr_a') WHERE user_id='usr_b'")
    )
    found = await store.credentials.totp("usr_a")
    assert found is not None
    assert found.secret.reveal() == "Susr_a"
    with pytest.raises(StoreUnavailable, match="does not open"):
        await store.credentials.totp("usr_b")
    await store.close()
    other = await opened(path, key=b"o" * 32)
    with pytest.raises(StoreUnavailable, match="one backup"):
        await other.credentials.totp("usr_a")
    await other.close()


async def test_enrolling_is_all_or_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path / "idp.sqlite3")
    wrong = TotpCredential(user_id="usr_nobody", secret=Secret("S"), created_at=NOW)
    with pytest.raises(ValueError, match="usr_nobody"):
        await store.accounts.add(USER, password=None, totp=wrong, by="os:root", at=NOW)
    assert await store.users.list() == []
    assert await store.accounts.pending() == []
    await store.close()


async def test_what_expired_is_purged_and_the_rest_stays(tmp_path: Path) -> None:
    clock = ManualClock(float(NOW))
    store = await opened(tmp_path / "idp.sqlite3", clock)
    await store.users.add(USER)

    async def fill() -> None:
        now = int(clock.now())
        session_id = f"sid_{now}"
        await store.sessions.create(SsoSession(id=session_id, user_id="usr_a", events=(), created_at=now, last_seen_at=now))
        grant = CodeGrant(
            client_id="c", redirect_uri="r", scope="s", nonce="n", code_challenge="c", user_id="usr_a", session_id=session_id,
            acr="", auth_time=now, events=(AuthEvent(kind="pwd", at=now),), issued_at=now, expires_at=now + 60,
        )  # fmt: skip
        assert await store.grants.put_code(f"code{now}", grant, now)
        await store.once.put("k", b"v", 60)
        await store.attempts.begin(f"user{now}", "192.0.2.1", now)

    tables = ("session", "code", "one_time", "attempt")

    async def rows() -> list[int]:
        return await store._database.run(
            lambda c: [c.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608  constants
        )

    await fill()
    assert await store.purge() == 0
    clock.advance(86_401)
    await fill()
    assert await rows() == [2, 2, 2, 3]
    assert await store.purge() == 4, "session, code, one-time value, account's attempt (the address was seen again)"
    assert await rows() == [1, 1, 1, 2]
    await store.close()

"""The SQLite ledger as a file: other processes, crashes, damage, permissions."""

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.domain.decision import Allow, Deny
from gateway.kernel.canonical import canonical_json
from gateway.kernel.errors import StoreUnavailable
from gateway.posture.ledger import block
from gateway.posture.observe import RegistryPosture
from gateway.posture.registry import TRUST_SECONDS, SqliteDevices
from tests.support.devices import NOW, new_device
from tests.support.world import World

WRITER = """
import asyncio, msgspec, os, sys
from pathlib import Path
from gateway.posture.registry import SqliteDevices

async def main():
    devices = SqliteDevices(Path(sys.argv[1]))
    await devices.update(sys.argv[2], lambda old: msgspec.structs.replace(old, status="blocked"))
    os._exit(0)  # as a crash would: nothing is closed

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devices.sqlite"


async def test_it_is_there_after_a_restart(path: Path) -> None:
    device = new_device(cookie_hash="aa" * 32, certificate_sha256="bb" * 32)
    first = SqliteDevices(path)
    await first.add(device)
    changed = await first.update(device.id, lambda old: msgspec.structs.replace(old, label="端末2"))
    await first.close()
    await first.close()
    second = SqliteDevices(path)
    assert await second.by_cookie("aa" * 32) == changed
    assert await second.by_certificate("bb" * 32) == changed
    await second.close()


async def test_what_another_process_blocked_counts_at_the_next_lookup_even_if_it_crashed_after(path: Path) -> None:
    devices = SqliteDevices(path)
    heard: list[str] = []
    device = new_device(cookie_hash="aa" * 32)
    await devices.add(device)
    devices.on_change(heard.append)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", WRITER, str(path), device.id], check=True)
    found = await devices.by_cookie("aa" * 32)
    assert found is not None
    assert (found.status, found.version) == ("blocked", 2)
    assert heard == [device.id]
    await devices.close()


async def test_two_registries_on_one_file_lose_nothing_of_each_others_changes(path: Path) -> None:
    one, other = SqliteDevices(path), SqliteDevices(path)
    device = new_device(label="")
    await one.add(device)

    async def mark(letter: str, registry: SqliteDevices) -> None:
        for _ in range(20):
            await registry.update(device.id, lambda old: msgspec.structs.replace(old, label=old.label + letter))

    await asyncio.gather(mark("a", one), mark("b", other))
    await asyncio.sleep(2 * TRUST_SECONDS)
    for registry in (one, other):
        final = await registry.get(device.id)
        assert final is not None
        assert (final.label.count("a"), final.label.count("b"), final.version) == (20, 20, 41)
        await registry.close()


async def test_what_another_worker_changed_is_told_to_those_who_follow(path: Path) -> None:
    one, other = SqliteDevices(path), SqliteDevices(path)
    device = new_device(cookie_hash="aa" * 32)
    await one.add(device)
    heard: asyncio.Queue[str] = asyncio.Queue()
    other.on_change(heard.put_nowait)
    following = asyncio.create_task(other.follow())
    async with asyncio.timeout(5):
        assert await heard.get() == device.id
        await one.update(device.id, block)
        assert await heard.get() == device.id
    found = await other.get(device.id)
    assert found is not None
    assert (found.status, found.version) == ("blocked", 2)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    for registry in (one, other):
        await registry.close()


async def test_a_block_in_another_worker_cuts_the_streams_of_this_one(path: Path) -> None:
    world = World()
    here, elsewhere = SqliteDevices(path), SqliteDevices(path)
    await elsewhere.add(world.device(cookie_hash="aa" * 32))
    world.pipeline = world.make_pipeline(RegistryPosture(here, clock=world.clock))
    here.on_change(world.pipeline.streams.device_changed)
    following = asyncio.create_task(here.follow())
    world.pipeline.streams.start()
    _, token = await world.sign_in(device="dev_1")
    allow = await world.pipeline.decide(world.request("/notices/stream", cookie=token), "proxy")
    assert isinstance(allow, Allow)
    with world.pipeline.watch(allow) as watch:
        await elsewhere.update("dev_1", block)
        async with asyncio.timeout(5):
            await watch.cut.wait()
    assert isinstance(await world.pipeline.decide(world.request(cookie=token), "proxy"), Deny)
    following.cancel()
    await asyncio.gather(following, world.pipeline.streams.stop(), return_exceptions=True)
    for registry in (here, elsewhere):
        await registry.close()


async def test_following_goes_on_when_the_file_cannot_be_read_for_a_while(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    devices = SqliteDevices(path)
    device = new_device(cookie_hash="aa" * 32)
    await devices.add(device)
    heard: asyncio.Queue[str] = asyncio.Queue()
    devices.on_change(heard.put_nowait)
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute("UPDATE device SET body = 'x', sequence = sequence + 1")
    following = asyncio.create_task(devices.follow())
    async with asyncio.timeout(5):
        while "not followed" not in caplog.text:  # noqa: ASYNC110  the log has no event
            await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable):
        await devices.get(device.id)
    fixed = canonical_json(msgspec.structs.replace(device, status="blocked", version=2)).decode()
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute("UPDATE device SET body = ?, sequence = sequence + 1", (fixed,))
    async with asyncio.timeout(5):
        assert await heard.get() == device.id
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await devices.close()


async def test_what_another_worker_registered_or_approved_is_there_at_once(path: Path) -> None:
    one, other = SqliteDevices(path), SqliteDevices(path)
    for number in range(20):
        device = new_device(status="pending", cookie_hash=f"{number:064x}", certificate_sha256=f"{number:064x}")
        assert await other.get(device.id) is None
        await one.add(device)
        assert await other.get(device.id) == device
        approved = await one.update(device.id, lambda old: msgspec.structs.replace(old, status="active"))
        assert await other.by_cookie(device.cookie_hash) == approved
        assert await other.by_certificate(device.certificate_sha256) == approved
    assert len(await other.list()) == 20
    for registry in (one, other):
        await registry.close()


async def test_only_the_owner_may_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        devices = SqliteDevices(path)
        await devices.add(new_device())
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert "devices.sqlite-wal" in modes
    assert set(modes.values()) == {0o600}
    await devices.close()


async def test_a_written_device_is_readable_by_plain_sql(path: Path) -> None:
    """An auditor opens the file with any SQLite tool."""
    devices = SqliteDevices(path)
    device = new_device()
    await devices.add(device)
    await devices.close()
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT id, json_extract(body, '$.label') FROM device").fetchall() == [(device.id, device.label)]
    assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    reader.close()


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreUnavailable, match=r"devices\.sqlite"):
        SqliteDevices(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        SqliteDevices(tmp_path / "none" / "devices.sqlite")
    assert caught.value.where == "device_registry"


async def test_a_ledger_of_a_later_version_is_not_touched(path: Path) -> None:
    await SqliteDevices(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=9")
    database.commit()
    database.close()
    with pytest.raises(StoreUnavailable, match="schema 9"):
        SqliteDevices(path)


async def test_a_damaged_row_stops_every_lookup_instead_of_hiding_a_device(path: Path) -> None:
    devices = SqliteDevices(path)
    good, bad = new_device(), new_device(status="blocked", cookie_hash="aa" * 32)
    await devices.add(good)
    await devices.add(bad)
    database = sqlite3.connect(path)
    database.execute("UPDATE device SET body='{}', sequence=sequence+10 WHERE id=?", (bad.id,))
    database.commit()
    database.close()
    await asyncio.sleep(2 * TRUST_SECONDS)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await devices.get(good.id)
    await devices.close()
    with pytest.raises(StoreUnavailable):
        SqliteDevices(path)


async def test_a_writer_that_holds_the_file_too_long_is_unavailable_and_readers_are_not_held_up(path: Path) -> None:
    devices = SqliteDevices(path)
    device = new_device()
    await devices.add(device)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await devices.update(device.id, lambda old: old)
    assert await devices.get(device.id) == device
    blocker.execute("ROLLBACK")
    blocker.close()
    assert await devices.update(device.id, lambda old: old) is not None
    await devices.close()


async def test_a_last_seen_time_that_cannot_be_written_is_logged_and_stops_nobody(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    devices = SqliteDevices(path)
    device = new_device()
    await devices.add(device)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    devices.seen(device.id, NOW)
    assert await devices.get(device.id) == device
    await devices.close()
    blocker.close()
    assert "last seen could not be written" in caplog.text

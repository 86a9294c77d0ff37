"""`gateway devices` as an administrator meets it, and how the running gateway tells the log."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.app.inventory import tell_news
from gateway.audit.memory import MemoryAuditLog
from gateway.cli import main
from gateway.cli.terminal import operator
from gateway.domain.posture import Device
from gateway.domain.record import EventRecord
from gateway.kernel.canonical import canonical_json
from gateway.kernel.clock import SystemClock
from gateway.kernel.errors import AuditError
from gateway.posture.registry import SCHEMAS, SqliteDevices
from tests.support.configuration import write_config
from tests.support.devices import new_device

HEAD = "device,attribute,value,observed_at\n"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "etc")


@pytest.fixture
def devices(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["devices", *arguments, "--config", str(config)])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def ledger(config: Path, work: Callable[[SqliteDevices], Awaitable[None]]) -> None:
    """Work on the ledger as another process would."""

    async def run() -> None:
        found = SqliteDevices(config.parent / "devices.sqlite3")
        try:
            await work(found)
        finally:
            await found.close()

    asyncio.run(run())


@pytest.fixture
def known(config: Path) -> tuple[Device, Device]:
    one, two = new_device(label="3階東 端末1"), new_device(label="往診用", status="blocked")

    async def add(found: SqliteDevices) -> None:
        await found.add(one)
        await found.add(two)

    ledger(config, add)
    return one, two


def csv(folder: Path, *rows: str) -> str:
    path = folder / "export.csv"
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows), "utf-8")
    return str(path)


def stored(config: Path) -> dict[str, Device]:
    found: dict[str, Device] = {}

    async def look(devices: SqliteDevices) -> None:
        found.update({device.id: device for device in await devices.list()})

    ledger(config, look)
    return found


def test_a_file_is_taken_and_listed(devices: Run, config: Path, known: tuple[Device, Device], tmp_path: Path) -> None:
    one, two = known
    file = csv(
        tmp_path,
        f"{one.id},disk_encrypted,true,2026-11-20T06:00:00+09:00",
        f"{one.id},antivirus,false,2026-11-20T06:00:00+09:00",
        f"{two.id},os_supported,true,2026-11-20 06:00",
    )
    assert devices("posture", "--csv", file, "--source", "mdm") == (0, "3 words on 2 devices: 2 changed\n", "")
    now = stored(config)
    assert [(said.name, said.value, said.source) for said in now[one.id].attributes] == [
        ("antivirus", False, "inventory:mdm"),
        ("disk_encrypted", True, "inventory:mdm"),
    ]
    assert (now[one.id].version, now[two.id].status, len(now[two.id].attributes)) == (one.version + 1, "blocked", 1)
    status, out, _ = devices("list")
    assert status == 0
    assert "antivirus=false (2026-11-20 06:00), disk_encrypted=true (2026-11-20 06:00)" in out
    assert "往診用" in out
    again = (0, "3 words on 2 devices: 0 changed, 2 of which as much was known\n", "")
    assert devices("posture", "--csv", file, "--source", "mdm") == again


def test_one_bad_line_and_the_ledger_stays_as_it_is(
    devices: Run, config: Path, known: tuple[Device, Device], tmp_path: Path
) -> None:
    one, _ = known
    before = stored(config)
    file = csv(
        tmp_path,
        f"{one.id},disk_encrypted,true,2026-11-20T06:00:00+09:00",
        "dev_nobody,disk_encrypted,true,2026-11-20T06:00:00+09:00",
        f"{one.id},firewall,true,2026-11-20T06:00:00+09:00",
    )
    status, out, err = devices("posture", "--csv", file)
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        f'gateway: {file}:3: there is no device "dev_nobody"',
        f'gateway: {file}:4: "firewall" is none of disk_encrypted, screen_lock, antivirus, os_supported',
        "gateway: Nothing was taken.",
    ]
    assert stored(config) == before
    assert sqlite3.connect(config.parent / "devices.sqlite3").execute("SELECT count(*) FROM news").fetchone() == (0,)


@pytest.mark.parametrize("source", ["", "MDM", "a b", "x" * 41, "inventory:mdm"])
def test_a_source_has_a_plain_name(devices: Run, known: tuple[Device, Device], tmp_path: Path, source: str) -> None:
    file = csv(tmp_path, f"{known[0].id},antivirus,true,2026-11-20T06:00:00+09:00")
    status, _, err = devices("posture", "--csv", file, "--source", source)
    assert status == 2
    assert "is no name for a source" in err


def test_without_a_ledger_or_a_file_it_says_so(devices: Run, known: tuple[Device, Device], config: Path, tmp_path: Path) -> None:
    status, _, err = devices("posture", "--csv", str(tmp_path / "none.csv"))
    assert (status, "none.csv: can't be read: no such file or directory" in err) == (2, True)
    (config.parent / "devices.sqlite3").unlink()
    status, _, err = devices("list")
    assert (status, "there is no ledger of devices yet. Start the gateway once." in err) == (2, True)


def test_the_running_gateway_tells_the_log_once(devices: Run, config: Path, known: tuple[Device, Device], tmp_path: Path) -> None:
    one, two = known
    row = "antivirus,true,2026-11-20T06:00:00+09:00"
    assert devices("posture", "--csv", csv(tmp_path, f"{one.id},{row}", f"{two.id},{row}"), "--source", "mdm")[0] == 0
    audit = MemoryAuditLog()

    async def gateway(found: SqliteDevices) -> None:
        telling = asyncio.create_task(tell_news(found, audit, SystemClock()))
        while await found.untold():  # noqa: ASYNC110  the table has no event
            await asyncio.sleep(0.01)
        telling.cancel()

    ledger(config, gateway)
    ledger(config, gateway)
    events = [record for record in audit.records if isinstance(record, EventRecord)]
    assert [(event.event, event.target, event.actor.login) for event in events] == [
        ("device.posture", device.id, operator()) for device in (one, two)
    ]
    assert events[0].detail["antivirus"] == "true at 2026-11-19T21:00:00.000Z"
    assert (events[0].detail["source"], events[0].detail["label"]) == ("inventory:mdm", one.label)


def test_what_the_log_does_not_take_is_told_later(
    devices: Run, config: Path, known: tuple[Device, Device], tmp_path: Path
) -> None:
    class Broken(MemoryAuditLog):
        async def synced(self, index: int) -> None:
            raise AuditError("the disk is full")

    assert devices("posture", "--csv", csv(tmp_path, f"{known[0].id},antivirus,true,2026-11-20T06:00:00+09:00"))[0] == 0
    audit = Broken()

    async def gateway(found: SqliteDevices) -> None:
        telling = asyncio.create_task(tell_news(found, audit, SystemClock()))
        while not audit.records:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        telling.cancel()
        assert len(await found.untold()) == 1

    ledger(config, gateway)


def test_a_ledger_of_before_is_brought_up_to_date(config: Path, devices: Run) -> None:
    path = config.parent / "devices.sqlite3"
    device = new_device(cookie_hash="aa" * 32)
    with sqlite3.connect(path) as old:
        old.execute((Path(__file__).parents[3] / "gateway/posture" / SCHEMAS[0]).read_text("utf-8"))
        old.execute("PRAGMA user_version=1")
        row = (device.id, device.cookie_hash, canonical_json(device).decode())
        old.execute("INSERT INTO device VALUES (?, ?, NULL, 1, ?)", row)
    assert device.id in devices("list")[1]
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (len(SCHEMAS),)

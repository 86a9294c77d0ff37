"""What every `DeviceRegistry` promises (gateway/ports.py), shown on each backend."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.domain.posture import Device
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.secret import hash_token
from gateway.ports import DeviceRegistry
from gateway.posture.registry import SEEN_SECONDS, SqliteDevices
from tests.support.devices import NOW, new_device


@pytest.fixture(params=["sqlite"])
async def devices(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DeviceRegistry]:
    registry = SqliteDevices(tmp_path / "devices.sqlite")
    yield registry
    await registry.close()


@pytest.fixture
def heard(devices: DeviceRegistry) -> list[str]:
    ids: list[str] = []
    devices.on_change(ids.append)
    return ids


def relabel(label: str) -> Callable[[Device], Device]:
    return lambda device: msgspec.structs.replace(device, label=label)


async def test_a_device_is_found_by_id_cookie_and_certificate(devices: DeviceRegistry) -> None:
    device = new_device(cookie_hash=hash_token("cookie"), certificate_sha256="ab" * 32, key_jwk='{"kty":"EC"}')
    await devices.add(device)
    await devices.add(new_device())
    assert await devices.get(device.id) == device
    assert await devices.by_cookie(hash_token("cookie")) == device
    assert await devices.by_certificate("ab" * 32) == device


async def test_what_was_not_registered_is_not_found(devices: DeviceRegistry) -> None:
    await devices.add(new_device())
    for text in ("", "dev_none", "*", "%", "' OR 1=1 --", "x" * 100_000, "\ud800"):
        assert await devices.get(text) is None
        assert await devices.by_cookie(text) is None
        assert await devices.by_certificate(text) is None


async def test_a_certificate_is_not_found_as_a_cookie_nor_the_other_way_round(devices: DeviceRegistry) -> None:
    await devices.add(new_device(cookie_hash="aa" * 32))
    await devices.add(new_device(certificate_sha256="bb" * 32))
    assert await devices.by_certificate("aa" * 32) is None
    assert await devices.by_cookie("bb" * 32) is None


async def test_many_devices_may_have_no_cookie_and_no_certificate(devices: DeviceRegistry) -> None:
    for _ in range(3):
        await devices.add(new_device())
    assert len(await devices.list()) == 3


@pytest.mark.parametrize("taken", ["id", "cookie_hash", "certificate_sha256"])
async def test_what_is_taken_is_refused_and_nothing_changes(devices: DeviceRegistry, heard: list[str], taken: str) -> None:
    first = new_device(cookie_hash="aa" * 32, certificate_sha256="bb" * 32)
    await devices.add(first)
    heard.clear()
    with pytest.raises(ValueError, match=r"exists already|belongs to device"):
        await devices.add(new_device(**{taken: getattr(first, taken)}))
    assert await devices.list() == [first]
    assert heard == []


async def test_a_change_takes_one_device_one_version_on(devices: DeviceRegistry) -> None:
    device, other = new_device(), new_device()
    await devices.add(device)
    await devices.add(other)
    changed = await devices.update(device.id, relabel("端末2"))
    assert changed == msgspec.structs.replace(device, label="端末2", version=2)
    assert await devices.get(device.id) == changed
    assert await devices.get(other.id) == other


async def test_the_version_is_the_registrys_whatever_the_change_says(devices: DeviceRegistry) -> None:
    device = new_device()
    await devices.add(device)
    changed = await devices.update(device.id, lambda old: msgspec.structs.replace(old, version=77))
    assert changed is not None
    assert changed.version == 2


async def test_a_change_of_what_is_unknown_is_none(devices: DeviceRegistry) -> None:
    await devices.add(new_device())
    for text in ("dev_none", "", "%", "\ud800", "x" * 100_000):
        assert await devices.update(text, relabel("x")) is None


async def test_the_indexes_follow_a_change_of_means(devices: DeviceRegistry) -> None:
    device, other = new_device(cookie_hash="aa" * 32, certificate_sha256="cc" * 32), new_device()
    await devices.add(device)
    await devices.add(other)
    await devices.update(device.id, lambda old: msgspec.structs.replace(old, cookie_hash="bb" * 32, certificate_sha256=""))
    assert await devices.by_cookie("aa" * 32) is None
    assert await devices.by_certificate("cc" * 32) is None
    assert (await devices.by_cookie("bb" * 32) or other).id == device.id
    # What one gave up another may take.
    await devices.update(other.id, lambda old: msgspec.structs.replace(old, cookie_hash="aa" * 32))
    assert (await devices.by_cookie("aa" * 32) or device).id == other.id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda old: msgspec.structs.replace(old, id="dev_other"), "rename"),
        (lambda old: msgspec.structs.replace(old, cookie_hash="aa" * 32), "cookie belongs"),
        (lambda old: msgspec.structs.replace(old, certificate_sha256="bb" * 32), "certificate belongs"),
    ],
)
async def test_a_change_that_would_break_the_ledger_changes_nothing(
    devices: DeviceRegistry, heard: list[str], change: Callable[[Device], Device], says: str
) -> None:
    first, second = new_device(cookie_hash="aa" * 32, certificate_sha256="bb" * 32), new_device()
    await devices.add(first)
    await devices.add(second)
    heard.clear()
    with pytest.raises(ValueError, match=says):
        await devices.update(second.id, change)
    assert await devices.get(second.id) == second
    assert (await devices.by_cookie("aa" * 32) or second).id == first.id
    assert heard == []


async def test_an_error_inside_the_change_changes_nothing_and_the_next_one_works(devices: DeviceRegistry) -> None:
    def fail(old: Device) -> Device:
        raise LookupError(old.id)

    device = new_device()
    await devices.add(device)
    with pytest.raises(LookupError):
        await devices.update(device.id, fail)
    assert await devices.get(device.id) == device
    assert await devices.update(device.id, relabel("端末2")) is not None


async def test_changes_at_once_are_all_kept(devices: DeviceRegistry) -> None:
    device = new_device(label="")
    await devices.add(device)
    await asyncio.gather(*(devices.update(device.id, lambda old: relabel(old.label + "x")(old)) for _ in range(50)))
    final = await devices.get(device.id)
    assert final is not None
    assert (final.label, final.version) == ("x" * 50, 51)


async def test_of_many_that_claim_one_cookie_at_once_one_gets_it(devices: DeviceRegistry) -> None:
    results = await asyncio.gather(*(devices.add(new_device(cookie_hash="aa" * 32)) for _ in range(20)), return_exceptions=True)
    assert results.count(None) == 1
    assert sum(isinstance(result, ValueError) for result in results) == 19
    assert len(await devices.list()) == 1


async def test_every_change_is_announced_when_it_can_be_read(devices: DeviceRegistry) -> None:
    seen: list[tuple[str, int]] = []
    tasks: list[asyncio.Task[None]] = []

    async def look(device_id: str) -> None:
        device = await devices.get(device_id)
        assert device is not None
        seen.append((device_id, device.version))

    devices.on_change(lambda device_id: tasks.append(asyncio.ensure_future(look(device_id))))
    device = new_device()
    await devices.add(device)
    await asyncio.gather(*tasks)
    await devices.update(device.id, relabel("端末2"))
    await asyncio.gather(*tasks)
    assert seen == [(device.id, 1), (device.id, 2)]


async def test_a_change_whose_caller_went_away_is_still_announced(devices: DeviceRegistry, heard: list[str]) -> None:
    """An officer blocks a device and closes the tab: its streams must be cut all the same."""
    begun, go_on = threading.Event(), threading.Event()

    def block(old: Device) -> Device:
        begun.set()
        go_on.wait(10)
        return msgspec.structs.replace(old, status="blocked")

    device = new_device()
    await devices.add(device)
    heard.clear()
    told = asyncio.Event()
    devices.on_change(lambda _: told.set())
    blocking = asyncio.ensure_future(devices.update(device.id, block))
    await asyncio.to_thread(begun.wait, 10)
    blocking.cancel()
    await asyncio.gather(blocking, return_exceptions=True)
    assert blocking.cancelled()
    go_on.set()
    # Nobody looks anything up meanwhile.
    await asyncio.wait_for(told.wait(), 10)
    assert heard == [device.id]
    stored = await devices.get(device.id)
    assert stored is not None
    assert stored.status == "blocked"


async def test_devices_are_listed_newest_first(devices: DeviceRegistry) -> None:
    ids = []
    for age in (2, 0, 1):
        device = new_device(registered_at=int(NOW) - age)
        ids.append(device.id)
        await devices.add(device)
    assert [device.id for device in await devices.list()] == [ids[1], ids[2], ids[0]]


async def test_being_seen_is_noted_hourly_without_a_new_version_or_announcement(
    devices: DeviceRegistry, heard: list[str]
) -> None:
    device = new_device(last_seen_at=int(NOW))
    await devices.add(device)
    heard.clear()
    devices.seen(device.id, NOW + SEEN_SECONDS - 1)
    devices.seen("dev_none", NOW)
    # Another write comes after what `seen` may have begun.
    await devices.add(new_device(registered_at=0))
    assert await devices.get(device.id) == device
    later = NOW + SEEN_SECONDS
    for _ in range(5):
        devices.seen(device.id, later)
    other = new_device(registered_at=0)
    await devices.add(other)
    assert await devices.get(device.id) == msgspec.structs.replace(device, last_seen_at=int(later))
    assert device.id not in heard


async def test_a_closed_registry_answers_nothing(devices: DeviceRegistry) -> None:
    device = new_device()
    await devices.add(device)
    assert isinstance(devices, SqliteDevices)
    await devices.close()
    calls = (
        lambda: devices.get(device.id),
        lambda: devices.by_cookie("aa" * 32),
        lambda: devices.by_certificate("aa" * 32),
        devices.list,
        lambda: devices.add(new_device()),
        lambda: devices.update(device.id, relabel("x")),
    )
    for call in calls:
        with pytest.raises(StoreUnavailable) as caught:
            await call()
        assert caught.value.where == "device_registry"

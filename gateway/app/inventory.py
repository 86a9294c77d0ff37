"""What an inventory tool says of devices, taken in from the command line: beside a running gateway, or before its first start.

The ledger and what the log has to say of it are written as one. The log has one writer, the running gateway: `tell_news` there
writes the events, and only then forgets them; while none runs, the next start does.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from gateway.app.people import check_owner
from gateway.config import Config
from gateway.domain.posture import Attribute, Device
from gateway.domain.record import Actor, EventRecord
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError, ConfigError, GatewayError, StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.pipeline.records import timestamp
from gateway.ports import AuditLog
from gateway.posture.inventory import MAX_BYTES, parse_inventory
from gateway.posture.ledger import set_attributes
from gateway.posture.registry import SqliteDevices

__all__ = ["Taken", "open_devices", "take_inventory", "tell_news"]

LOOK_SECONDS: Final = 0.5

log = logging.getLogger(__name__)


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a file."""

    said: int
    """Words in it."""
    devices: int
    """Devices that it is about."""
    changed: int
    """Devices of which more is known now, or newer."""


@contextlib.asynccontextmanager
async def open_devices(config: Config) -> AsyncIterator[SqliteDevices]:
    """Open the ledger of a configuration. ConfigError: it is not there yet, or not ours to write."""
    path = config.devices.database
    if not path.exists():
        raise ConfigError("there is no ledger of devices yet", where=str(path), todo="Start the gateway once.")
    check_owner(path)
    devices = SqliteDevices(path)
    try:
        yield devices
    finally:
        await devices.close()


async def take_inventory(config: Config, clock: Clock, file: Path, *, source: str, by: str) -> Taken:
    """Take in what a CSV file says (`gateway.posture.inventory`), all of it or nothing.

    `source` names the tool, `by` who runs this. InventoryError with every bad line; GatewayError when the file can't be read.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise GatewayError(f"can't be read: {(error.strerror or str(error)).lower()}", where=str(file)) from error
    async with open_devices(config) as devices:
        known = {device.id: device for device in await devices.list()}
        zone, now = config.policies.timezone, clock.now()
        said = parse_inventory(data, str(file), known=known.keys(), zone=zone, now=now, source=f"inventory:{source}")
        changed = {device: words for device, words in said.items() if set_attributes(known[device], words) is not known[device]}
        await devices.update_all(
            {device: partial(set_attributes, said=words) for device, words in changed.items()},
            [_news(known[device], words, by=by, now=now) for device, words in changed.items()],
        )
    return Taken(said=sum(len(words) for words in said.values()), devices=len(said), changed=len(changed))


def _news(device: Device, said: Sequence[Attribute], *, by: str, now: float) -> str:
    detail: dict[str, str] = {one.name: f"{str(one.value).lower()} at {timestamp(one.at)}" for one in said}
    record = EventRecord(
        id=new_id("evt"),
        at=timestamp(now),
        event="device.posture",
        outcome="success",
        actor=Actor(login=by[:128]),
        target=device.id,
        detail={**detail, "source": said[0].source, "label": device.label, "taken": timestamp(now)},
    )
    return msgspec.json.encode(record).decode()


async def tell_news(devices: SqliteDevices, audit: AuditLog, clock: Clock) -> None:
    """Write into the log what command lines changed in the ledger, until cancelled. One process of a gateway does it.

    Each event is forgotten once it is on disk: after a crash in between it stands there twice, under one id.
    """
    trouble = ""
    while True:
        try:
            if news := await devices.untold():
                index = 0
                for _, body in news:
                    record = msgspec.json.decode(body, type=EventRecord)
                    index = await audit.append(msgspec.structs.replace(record, at=timestamp(clock.now())))
                await audit.synced(index)
                await devices.told([number for number, _ in news])
            trouble = ""
        except (AuditError, StoreUnavailable) as error:
            if str(error) != trouble:
                trouble = str(error)
                log.warning("changed devices can't be told right now; it is tried again: %s", error)
        await asyncio.sleep(LOOK_SECONDS)

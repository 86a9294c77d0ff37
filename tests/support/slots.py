"""An installation whose log is in several slots, as workers leave it."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from gateway.audit.installation import Installation
from gateway.audit.slots import log_ids, logs_detail, prepare_slot, slot_anchor, slot_folder
from gateway.audit.verify import Overall
from gateway.audit.writer import DiskAuditLog
from gateway.domain.record import Actor, EventRecord, Record
from gateway.kernel.clock import ManualClock
from tests.support.logs import START


def naming(
    folder: Path,
    *,
    event: Literal["gateway.started", "log.slots"] = "gateway.started",
    at: str = "2027-01-15T07:00:00.000Z",
) -> EventRecord:
    """What a process writes about the logs that there are."""
    detail = logs_detail(log_ids(folder))
    return EventRecord(id="evt_slots", at=at, event=event, outcome="success", actor=Actor(), detail=detail)


class Slots:
    """Where they are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "log"
        self.key = root / "keys" / "log.pem"
        self.anchor = root / "anchor" / "newest"

    def prepare(self, *slots: int) -> None:
        for slot in slots:
            prepare_slot(self.folder, slot, key_file=self.key, anchor=self.anchor, clock=ManualClock(START))

    async def open(self, slot: int) -> DiskAuditLog:
        return await DiskAuditLog.open(
            slot_folder(self.folder, slot),
            key_file=self.key,
            anchor=slot_anchor(self.anchor, slot),
            clock=ManualClock(START),
            checkpoint_seconds=0.0,
        )

    async def write(self, slot: int, records: Iterable[Record]) -> None:
        """Write records into a slot, one that names the logs first, and close it."""
        log = await self.open(slot)
        for record in (naming(self.folder), *records):
            await log.synced(await log.append(record))
        await log.close()

    def verify(self, *, anchored: bool = False) -> Overall:
        return Installation(self.folder, anchor=self.anchor if anchored else None).verify()

    def copy(self, root: Path) -> "Slots":
        shutil.copytree(self.root, root)
        return Slots(root)

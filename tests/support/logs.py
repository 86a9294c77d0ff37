"""Logs for tests: records, a closed log in a folder, failing disks."""

import asyncio
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.audit.checkpoint import CONTEXT
from gateway.audit.files import OsDisk
from gateway.audit.keys import load_key
from gateway.audit.parts import hold, parts_of
from gateway.audit.reader import LogFolder
from gateway.audit.verify import Report
from gateway.audit.verify.parts import Head, NotHeld, joined
from gateway.audit.writer import DiskAuditLog
from gateway.domain.record import Actor, CompletionRecord, DecisionRecord, EventRecord, Record, Source
from gateway.kernel.clock import Clock, ManualClock

START = 1_800_000_000.0
"""2027-01-15T08:00:00Z"""

SATO = Actor(
    subject="usr_1", login="dr.sato", name="佐藤 花子", roles=("physician",), department="内科", session="ses_1", device="dev_1"
)
FACTS: dict[str, Any] = {
    "principal": {"id": "usr_1", "roles": ["physician"], "organization": "hospital"},
    "authentication": {
        "kinds": ["otp", "pwd"],
        "factors": 2,
        "phishing_resistant": False,
        "age_seconds": 60,
        "key_touch_age_seconds": None,
    },
    "proofing": {"level": 3, "method": "simulated", "age_days": 1},
    "device": {"registered": True, "compliant": True, "evidence": "cookie", "evidence_strength": 1, "ownership": "hospital"},
    "network": {"zone": "ward", "tls": True},
    "time": {"hour": 17, "weekday": 5, "date": "2027-01-15"},
    "situation": "normal",
    "grants": [],
    "target": {"app": "ehr", "route": "ehr.chart", "action": "read", "sensitivity": "normal", "patient": "10023"},
}


def decision(
    number: int,
    *,
    at: str = "2027-01-15T08:00:00.000Z",
    outcome: Literal["allow", "deny"] = "allow",
    path: str = "/patients/10023",
) -> DecisionRecord:
    return DecisionRecord(
        id=f"dec_{number:032x}",
        at=at,
        outcome=outcome,
        reason="" if outcome == "allow" else "no_policy_permits",
        actor=SATO,
        source=Source(address="192.0.2.7", port=40_000, door="proxy", tls="TLSv1.3"),
        host="ehr.localhost",
        method="GET",
        path=path,
        app="ehr",
        route="ehr.chart",
        action="read",
        patient="10023",
        policies=("ehr.read",),
        bundle="b" * 64,
        facts=FACTS,
        request_id=f"req_{number}",
    )


def completion(number: int, *, at: str = "2027-01-15T08:00:01.000Z") -> CompletionRecord:
    return CompletionRecord(id=f"dec_{number:032x}", at=at, status=200, bytes_in=0, bytes_out=4_321, duration_ms=1_234)


def sign_in(*, at: str = "2027-01-15T07:59:00.000Z") -> EventRecord:
    return EventRecord(
        id="evt_signin",
        at=at,
        event="signin.succeeded",
        outcome="success",
        actor=SATO,
        source=Source(address="192.0.2.7"),
        target="dr.sato",
    )


class Place:
    """Where a test's log, key and anchor are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "log"
        self.key = root / "keys" / "log.pem"
        self.anchor = root / "anchor" / "newest"

    async def open(self, **options: Any) -> DiskAuditLog:
        options.setdefault("clock", ManualClock(START))
        options.setdefault("anchor", self.anchor)
        return await DiskAuditLog.open(self.folder, key_file=self.key, **options)

    async def write(self, records: Iterable[Record], *, clock: Clock | None = None, segment_bytes: int = 1 << 20) -> None:
        """Write records and close. A checkpoint follows every record that is awaited to be on disk."""
        log = await self.open(clock=clock or ManualClock(START), segment_bytes=segment_bytes, checkpoint_seconds=0.0)
        for record in records:
            await log.synced(await log.append(record))
        await log.close()

    def verify(self, *, anchored: bool = True, public_key: Path | None = None) -> Report:
        """Verify, and see to it that the parts by themselves are never content with what the walk over all finds fault with."""
        log = LogFolder(self.folder, anchor=self.anchor if anchored else None, public_key=public_key)
        report = log.verify()
        apart = verified_in_parts(log)
        if apart is not None:
            assert msgspec.structs.replace(apart, notes=()) == msgspec.structs.replace(report, notes=())
        return report

    def copy(self, root: Path) -> "Place":
        """Copy everything, as somebody does who wants to try something out."""
        shutil.copytree(self.root, root)
        return Place(root)

    def records(self, segment: int = 1) -> Path:
        return self.folder / f"segment-{segment:06d}.jsonl"

    def checkpoints(self, segment: int = 1) -> Path:
        return self.folder / f"segment-{segment:06d}.checkpoints"

    def signed(self, body: bytes) -> bytes:
        """Sign a checkpoint's body with the log's own key: what only the gateway can do."""
        key = load_key(self.key)
        assert key is not None
        return b'{"body":%s,"signature":"%s"}\n' % (body, key.sign(CONTEXT + body).hex().encode())


def verified_in_parts(log: LogFolder) -> Report | None:
    """Verify each part of a log by itself; None when one does not hold."""
    read = msgspec.json.Decoder(Head).decode
    try:
        held = [hold(part, read=read, on_record=lambda *_: None, progress=lambda _: None) for part in parts_of(log)]
    except NotHeld:
        return None
    return joined(log.evidence, held)


async def until_signed(log: DiskAuditLog, size: int) -> None:
    """Wait for the checkpoint that covers so many records: it follows the sync by a moment."""
    async with asyncio.timeout(10):
        while log.signed < size:  # noqa: ASYNC110  a log announces records, not checkpoints
            await asyncio.sleep(0.005)


class FullDisk(OsDisk):
    """Has room for so many more bytes; a write that does not fit writes what fits, as a file system does."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(fd, data[: self.room])
        self.room -= written
        return written


class BrokenDisk(OsDisk):
    """Takes writes, and fails to sync once it is told to."""

    def __init__(self) -> None:
        self.broken = False
        self.syncs = 0

    def sync(self, fd: int) -> None:
        self.syncs += 1
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(fd)

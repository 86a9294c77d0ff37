"""Officers hear of a rollback once, whoever did it and however many processes look."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from gateway.app.rollbacks import RECENT_SECONDS, _tell
from gateway.audit.memory import MemoryAuditLog
from gateway.changes.model import Person, Publication
from gateway.emergency.ledger import Ledger
from gateway.emergency.model import REASONS
from gateway.emergency.notices import OutboxNotices
from gateway.emergency.service import Emergencies
from gateway.kernel.clock import ManualClock
from gateway.lasting.sqlite import SqliteLasting
from gateway.sessions.memory import MemorySessions
from tests.support.emergency import manner

NOW = 1_800_000_000
BACK = Publication(
    number=9, kind="rollback", version="v", content="c", at=NOW, title="t", why="病棟から\r\nBcc: 連絡", returns_to=7,
    approved_by=None, author=Person(subject="usr_yamamoto", login="sec.yamamoto", name="山本 凛"),
)  # fmt: skip


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_rollback_is_told_once_on_each_channel(tmp_path: Path, language: str) -> None:
    clock = ManualClock(NOW)
    lasting = SqliteLasting(tmp_path / "policies.sqlite3")
    ledger = Ledger(lasting)
    emergencies = Emergencies(
        ledger=ledger, sessions=MemorySessions(clock=clock), log=MemoryAuditLog(), clock=clock, seconds=60, reasons=REASONS,
        notices=OutboxNotices(ledger.outbox, ("mail", "webhook"), clock=clock, wake=lambda: None),
        manner=manner(language=language, console="https://console.hospital.example"),
    )  # fmt: skip
    for publication in (
        msgspec.structs.replace(BACK, kind="publish", number=8),
        msgspec.structs.replace(BACK, at=NOW - RECENT_SECONDS, number=8),
        BACK,
    ):
        await asyncio.gather(*(_tell(publication, emergencies, clock) for _ in range(3)))
    told = []
    while (taken := await ledger.outbox.take(NOW)) is not None:
        told.append(taken)
    assert sorted(one.message.channel for one in told) == ["mail", "webhook"]
    message = told[0].message
    assert (message.kind, message.detail["returns_to"]) == ("policy.rolled_back", "7")
    assert "7" in message.subject
    assert "山本 凛" in message.text
    assert "https://console.hospital.example/policies/history" in message.text
    assert not any(line.startswith("Bcc") for line in message.text.splitlines())
    lasting.close()

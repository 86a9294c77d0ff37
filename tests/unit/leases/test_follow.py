"""The follower of an access log, when something is wrong with its own files."""

import asyncio
import contextlib
import json
import logging
from pathlib import Path

import pytest

from gateway.audit.memory import MemoryAuditLog
from gateway.kernel.clock import SystemClock
from gateway.leases.follow import Follower
from gateway.leases.mark import Marks
from tests.unit.leases.test_reading import LINE


async def test_a_state_that_cannot_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines are taken in all the same; without the fresh file nobody gives leases. It is tried again, and said once."""
    access, state, log = tmp_path / "access.json", tmp_path / "state.json", MemoryAuditLog()
    in_its_way = tmp_path / "state.json.new"
    in_its_way.mkdir()
    access.write_text(json.dumps({**LINE, "status": "400"}) + "\n", "utf-8")
    follower = Follower(access_log=access, state=state, status_socket=None, marks=Marks(b"s" * 32), log=log, clock=SystemClock())
    with caplog.at_level(logging.ERROR):
        running = asyncio.create_task(follower.run())
        while not log.records:  # noqa: ASYNC110  a file
            await asyncio.sleep(0.05)
        while not caplog.records:  # noqa: ASYNC110  the same
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.7)
        assert not running.done()
        assert not state.exists()
        with access.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**LINE, "status": "400", "n": "2"}) + "\n")
        while len(log.records) < 2:  # noqa: ASYNC110  the same
            await asyncio.sleep(0.05)
        assert len([record for record in caplog.records if "can't be kept" in record.getMessage()]) == 1
        in_its_way.rmdir()
        while not state.exists():  # noqa: ASYNC110  the same
            await asyncio.sleep(0.05)
        in_its_way.mkdir()  # also at its end it tries, and ends all the same
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert running.cancelled()

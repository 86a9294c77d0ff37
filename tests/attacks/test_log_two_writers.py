"""Two gateways on one folder would write two chains into one file. The second is told so, and changes nothing."""

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.kernel.errors import AuditError
from tests.support.logs import Place, decision

SECOND = """
import asyncio, sys
from pathlib import Path
from gateway.kernel.errors import AuditError
from tests.support.logs import Place

try:
    asyncio.run(Place(Path(sys.argv[1])).open())
except AuditError as error:
    print(error)
"""


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await place.open()
    await log.append(decision(0))
    before = {path.name: path.stat().st_size for path in place.folder.iterdir()}
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SECOND, str(tmp_path), stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    said, _ = await second.communicate()
    assert f"another writer has this log open (process {os.getpid()})" in said.decode()
    assert "a folder of its own" in said.decode()
    await asyncio.sleep(0.1)
    assert {path.name for path in place.folder.iterdir()} == set(before)
    await log.append(decision(1))
    await log.close()
    assert place.verify().whole


async def test_a_second_log_in_the_same_process_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await place.open()
    with pytest.raises(AuditError, match="another writer"):
        await place.open()
    await log.close()
    again = await place.open()
    await again.close()


async def test_a_log_that_could_not_be_opened_is_not_left_locked(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.write([decision(0)])
    place.key.chmod(0o644)
    with pytest.raises(AuditError, match="chmod 600"):
        await place.open()
    place.key.chmod(0o600)
    log = await place.open()
    await log.close()


async def test_a_verifier_at_the_wrong_moment_does_not_stop_a_start(tmp_path: Path) -> None:
    """The verifier asks for the lock for a moment; the writer waits that long."""
    place = Place(tmp_path)
    await place.write([decision(0)])
    fd = os.open(place.folder / "writer.lock", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    release = threading.Timer(0.15, os.close, (fd,))
    release.start()
    log = await place.open()
    release.join()
    await log.close()
    assert place.verify().whole

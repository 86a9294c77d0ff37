"""Leases that were given, and how they are called back."""

import asyncio
import fcntl
import logging
import os
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway.domain.decision import Allow
from gateway.doors.nginx import NginxDoor
from gateway.doors.said import Says
from gateway.doors.trust import Fronts
from gateway.kernel.clock import ManualClock, SystemClock
from gateway.leases.follow import followed
from gateway.leases.outstanding import MAX_SECONDS, Outstanding
from tests.support.world import World


@pytest.fixture
async def allow() -> Allow:
    world = World()
    world.good_device()
    _, token = await world.sign_in()
    found = await world.pipeline.decide(world.request(cookie=token), "nginx")
    assert isinstance(found, Allow)
    return found


def given(clock: ManualClock | SystemClock, hold: Path | None, *, follows: bool = True) -> Outstanding:
    return Outstanding(clock, hold, followed=lambda: follows)


async def test_a_lease_is_short_and_in_the_future_and_somebody_reads_its_uses(allow: Allow) -> None:
    clock = ManualClock()
    leases, now = given(clock, None), clock.now()
    assert leases.give(allow, now=now, until=int(now) + 2, since=leases.number())
    assert not leases.give(allow, now=now, until=int(now), since=leases.number())
    assert not leases.give(allow, now=now, until=int(now) + MAX_SECONDS + 1, since=leases.number())
    assert not given(clock, None, follows=False).give(allow, now=now, until=int(now) + 2, since=0)


async def test_a_change_stops_leases_until_they_are_over(allow: Allow, tmp_path: Path) -> None:
    hold, clock = tmp_path / "hold", SystemClock()
    leases = given(clock, hold)
    until = int(clock.now()) + 2
    assert leases.give(allow, now=clock.now(), until=until, since=leases.number())
    leases.session_changed("another")
    assert not hold.exists(), "nobody else's sign-out stops leases"
    leases.session_changed(allow.handle.session.id)
    assert hold.exists()
    assert hold.stat().st_mtime == until
    assert not leases.give(allow, now=clock.now(), until=until + 1, since=leases.number()), "none is given meanwhile"
    while hold.exists():  # noqa: ASYNC110  a file
        await asyncio.sleep(0.05)
    assert clock.now() >= until
    assert leases.give(allow, now=clock.now(), until=int(clock.now()) + 2, since=leases.number())
    leases.stop()


@pytest.mark.parametrize("what", ["everything", "feed", "device"])
async def test_what_else_calls_leases_back(allow: Allow, tmp_path: Path, what: str) -> None:
    hold, clock = tmp_path / "hold", SystemClock()
    leases = given(clock, hold)
    assert allow.posture.device is not None
    leases.give(allow, now=clock.now(), until=int(clock.now()) + 3, since=leases.number())
    leases.device_changed("another")
    assert not hold.exists()
    if what == "everything":
        leases.everything_changed()
    elif what == "feed":
        leases.session_changed("*")
    else:
        leases.device_changed(allow.posture.device.id)
    assert hold.exists()
    leases.stop()


async def test_two_workers_share_a_file(allow: Allow, tmp_path: Path) -> None:
    """The file stays as long as the longest of them needs it."""
    hold, clock = tmp_path / "hold", SystemClock()
    one, two = given(clock, hold), given(clock, hold)
    now = clock.now()
    one.give(allow, now=now, until=int(now) + 1 + (now % 1 > 0.8), since=one.number())
    two.give(allow, now=now, until=int(now) + 3, since=two.number())
    two.everything_changed()
    one.everything_changed()
    assert hold.stat().st_mtime == int(now) + 3
    while hold.exists():  # noqa: ASYNC110  a file
        await asyncio.sleep(0.05)
    assert clock.now() >= int(now) + 3
    one.stop()
    two.stop()


async def test_a_file_that_a_crash_left_goes_at_the_next_start(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    leases = given(SystemClock(), hold)
    leases.start()
    assert not hold.exists()
    leases.stop()


def test_a_sign_of_life(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert not followed(state)
    state.touch()
    assert followed(state)
    os.utime(state, (1, 1))
    assert not followed(state)


async def test_no_lease_outlives_the_session(allow: Allow) -> None:
    """The door answers with the last second that nginx may use; checked here with the door itself."""
    clock = ManualClock()
    world = World()
    door = NginxDoor(
        pipeline=world.pipeline, present=cast("Any", None), fronts=Fronts(uids=(0,)), says=Says(), clock=clock, secret=b"s" * 32,
        leases=given(clock, None),
    )  # fmt: skip
    now = int(clock.now())

    def until(lease: int, expires_at: int) -> int:
        session = msgspec.structs.replace(allow.handle.session, expires_at=expires_at)
        handle = msgspec.structs.replace(allow.handle, session=session)
        return door._lease(msgspec.structs.replace(allow, handle=handle, lease_seconds=lease), 0)

    assert until(3, now + 100) == now + 3
    assert until(3, now + 2) == now + 2
    assert until(3, now) == 0
    assert until(0, now + 100) == 0


@pytest.mark.parametrize("what", ["session", "device", "everything", "feed"])
async def test_a_change_that_is_heard_while_it_is_decided(allow: Allow, tmp_path: Path, what: str) -> None:
    """There is no lease yet that could be called back, so none may be noted afterwards."""
    clock = ManualClock()
    leases, now = given(clock, tmp_path / "hold"), clock.now()
    assert allow.posture.device is not None
    session, device = allow.handle.session.id, allow.posture.device.id
    before = leases.number()
    leases.session_changed("another")
    leases.device_changed("another")
    assert leases.give(allow, now=now, until=int(now) + 2, since=before), "what others did does not matter"
    leases = given(clock, tmp_path / "other")
    before = leases.number()
    if what == "device":
        leases.device_changed(device)
    elif what == "everything":
        leases.everything_changed()
    else:
        leases.session_changed(session if what == "session" else "*")
    assert not leases.give(allow, now=now, until=int(now) + 2, since=before)
    assert leases.give(allow, now=now, until=int(now) + 2, since=leases.number()), "what was decided after it knows of it"


async def test_a_slow_decision_gets_no_lease_once_the_change_may_be_forgotten(allow: Allow) -> None:
    clock = ManualClock()
    leases = given(clock, None)
    before = leases.number()
    leases.session_changed(allow.handle.session.id)
    for number in range(1000):
        clock.advance(MAX_SECONDS / 100)
        leases.session_changed(f"another {number}")
    now = clock.now()
    assert not leases.give(allow, now=now, until=int(now) + 2, since=before)
    assert len(leases._changed) <= 101, "what is old is forgotten"


async def test_a_file_that_cannot_be_made(allow: Allow, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever said what changed hears nothing of it; no lease is given until it can be made again, which is tried by itself."""
    folder, clock = tmp_path / "run", SystemClock()
    leases = given(clock, folder / "hold")  # there is no such folder
    assert leases.give(allow, now=clock.now(), until=int(clock.now()) + 2, since=leases.number())
    with caplog.at_level(logging.ERROR):
        leases.everything_changed()
        leases.everything_changed()
    assert len([record for record in caplog.records if "can't be called back" in record.getMessage()]) == 1
    while clock.now() < leases._held:  # noqa: ASYNC110  a file
        await asyncio.sleep(0.05)
    assert not leases.give(allow, now=clock.now(), until=int(clock.now()) + 2, since=leases.number())
    folder.mkdir()
    while not leases.give(allow, now=clock.now(), until=int(clock.now()) + 2, since=leases.number()):  # noqa: ASYNC110  a file
        await asyncio.sleep(0.05)
    leases.stop()


async def test_a_lock_that_another_worker_holds(allow: Allow, tmp_path: Path) -> None:
    """Nothing waits for it: the file is there at once, and has its time as soon as the lock is free."""
    hold, clock = tmp_path / "hold", SystemClock()
    leases = given(clock, hold)
    until = int(clock.now()) + 4
    assert leases.give(allow, now=clock.now(), until=until, since=leases.number())
    with hold.with_name("hold.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        leases.everything_changed()
        assert hold.exists()
        hold.unlink()  # the other one was about to
        await asyncio.sleep(0.05)
    while not hold.exists() or hold.stat().st_mtime != until:  # noqa: ASYNC110  a file
        await asyncio.sleep(0.01)
    leases.stop()

"""The leases that this process has given and that may still be used, and how they are called back.

nginx keeps an answer for as long as it was told, and can't be told otherwise. But it looks for a file before it uses one (`if (-f
HOLD)`): while that file is there, every request is asked about. So when a session, a device or the policies change while a lease
may be in use, the file is made, and removed when the last such lease is over. Revocation then reaches leased requests as soon as
it reaches this process, and no later than the lease's own end where the front can't see the file.

The time until which the file must stay is its modification time, raised and read under a lock, so that several workers share one.
What stays behind after a crash stops leases, not requests; the next start removes it.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gateway.domain.decision import Allow
from gateway.kernel.clock import Clock

logger = logging.getLogger(__name__)

MAX_SECONDS: Final = 5
"""No lease is longer."""


class Outstanding:
    """Notes leases, and holds them when they must not be used any more. Belongs to one event loop."""

    def __init__(self, clock: Clock, hold: Path | None, *, followed: Callable[[], bool]) -> None:
        """`hold`: the file that stops leases; None where the front can't see our files, so that leases end by themselves only.
        `followed`: whether somebody takes the front's log in, without which none is given. Asked once a second.
        """
        self._followed = followed
        self._followed_now = False
        self._clock = clock
        self._hold: Final = hold
        self._sessions: dict[str, int] = {}
        self._devices: dict[str, int] = {}
        self._until = 0
        self._swept = 0
        self._held = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def give(self, allow: Allow, *, now: float, until: int) -> bool:
        """Note that an Allow may be reused until the epoch second `until`; False when it may not after all."""
        if not now < until <= now + MAX_SECONDS or now < self._held:
            return False
        self._sweep(int(now))
        if not self._followed_now:
            return False
        session = allow.handle.session
        self._until = max(self._until, until)
        self._sessions[session.id] = max(until, self._sessions.get(session.id, 0))
        for device in {session.device_id, allow.posture.device.id if allow.posture.device else None} - {None}:
            self._devices[str(device)] = max(until, self._devices.get(str(device), 0))
        return True

    def session_changed(self, session_id: str) -> None:
        """A session ended or changed; `*`: any may have."""
        self._call_back(self._until if session_id == "*" else self._sessions.get(session_id, 0))

    def device_changed(self, device_id: str) -> None:
        """A device changed."""
        self._call_back(self._devices.get(device_id, 0))

    def everything_changed(self) -> None:
        """The policies, or what else every decision depends on, changed."""
        self._call_back(self._until)

    def start(self) -> None:
        """See to a file that a former process left."""
        if self._hold is not None:
            self._release()

    def stop(self) -> None:
        """Stop the timer. The file stays if it has to: a later start removes it."""
        if self._timer is not None:
            self._timer.cancel()

    def _call_back(self, until: int) -> None:
        if self._hold is None or until <= self._clock.now():
            return
        self._held = max(self._held, until)
        with self._locked() as hold:
            # Another worker's leases may need it longer; a time further off than any lease is none of ours.
            there = hold.stat().st_mtime if hold.exists() else 0.0
            target = max(self._held, there) if there <= self._clock.now() + MAX_SECONDS else self._held
            hold.touch(mode=0o644)
            os.utime(hold, (target, target))
        self._later(target)

    def _release(self) -> None:
        """Remove the file when its time has come; look again otherwise."""
        self._timer = None
        if self._hold is None:
            return
        with self._locked() as hold:
            try:
                until = hold.stat().st_mtime
            except FileNotFoundError:
                return
            if until <= self._clock.now():
                hold.unlink()
                return
        self._later(until)

    def _later(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.01, min(until - self._clock.now(), MAX_SECONDS))
        self._timer = asyncio.get_running_loop().call_later(delay, self._release)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Path]:
        if self._hold is None:
            raise AssertionError("there is no file to lock")
        with self._hold.with_name(f"{self._hold.name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._hold

    def _sweep(self, now: int) -> None:
        """Forget what is over, once a second."""
        if now == self._swept:
            return
        self._swept = now
        self._followed_now = self._followed()
        self._sessions = {key: until for key, until in self._sessions.items() if until > now}
        self._devices = {key: until for key, until in self._devices.items() if until > now}

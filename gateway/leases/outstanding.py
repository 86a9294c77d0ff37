"""The leases that this process has given and that may still be used, and how they are called back.

nginx keeps an answer for as long as it was told, and can't be told otherwise. But it looks for a file before it uses one (`if (-f
HOLD)`): while that file is there, every request is asked about. So when a session, a device or the policies change while a lease
may be in use, the file is made, and removed when the last such lease is over. Revocation then reaches leased requests as soon as
it reaches this process, and no later than the lease's own end where the front can't see the file.

The time until which the file must stay is its modification time, raised and read under a lock, so that several workers share one.
What stays behind after a crash stops leases, not requests; the next start removes it.

Changes are numbered, because one may be heard while a decision is being made that knows nothing of it: then there is no lease yet
that could be called back. The door takes the number before it asks for a decision, and no lease is noted whose session or device
(or everything) has changed since.

Where the file can't be made (a full or read-only folder), no lease is given until it can: those in use end by themselves.
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
_RETRY_SECONDS: Final = 1.0
"""After a file that could not be written."""
_LOCKED_SECONDS: Final = 0.01
"""After which a lock that another worker holds is tried again: nothing here may wait for it."""
_EVERYTHING: Final = "*"


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
        self._broken = False
        self._number = self._forgotten = 0
        self._changed: dict[str, tuple[int, float]] = {}
        """What changed lately, oldest first: the number of the change, and when it was heard."""

    def number(self) -> int:
        """The number of the last change; to be taken before the decision is begun whose lease is to be noted."""
        return self._number

    def give(self, allow: Allow, *, now: float, until: int, since: int) -> bool:
        """Note that an Allow may be reused until the epoch second `until`; False when it may not after all.

        `since`: `number()` of before the decision.
        """
        if not now < until <= now + MAX_SECONDS or now < self._held or self._broken:
            return False
        self._sweep(int(now))
        if not self._followed_now:
            return False
        session = allow.handle.session
        devices = {device for device in (session.device_id, allow.posture.device and allow.posture.device.id) if device}
        if since < self._forgotten or any(
            self._changed.get(key, (0, 0.0))[0] > since
            for key in (_EVERYTHING, f"session {session.id}", *(f"device {device}" for device in devices))
        ):
            return False
        self._until = max(self._until, until)
        self._sessions[session.id] = max(until, self._sessions.get(session.id, 0))
        for device in devices:
            self._devices[device] = max(until, self._devices.get(device, 0))
        return True

    def session_changed(self, session_id: str) -> None:
        """A session ended or changed; `*`: any may have."""
        if session_id == "*":
            self.everything_changed()
            return
        self._note(f"session {session_id}")
        self._call_back(self._sessions.get(session_id, 0))

    def device_changed(self, device_id: str) -> None:
        """A device changed."""
        self._note(f"device {device_id}")
        self._call_back(self._devices.get(device_id, 0))

    def everything_changed(self) -> None:
        """The policies, or what else every decision depends on, changed."""
        self._note(_EVERYTHING)
        self._call_back(self._until)

    def start(self) -> None:
        """See to a file that a former process left."""
        if self._hold is not None:
            self._release()

    def stop(self) -> None:
        """Stop the timer. The file stays if it has to: a later start removes it."""
        if self._timer is not None:
            self._timer.cancel()

    def _note(self, what: str) -> None:
        """Number a change, and forget those that are older than any decision whose lease may still be noted."""
        now = self._clock.now()
        self._number += 1
        self._changed.pop(what, None)
        self._changed[what] = (self._number, now)
        while True:
            oldest, (number, heard) = next(iter(self._changed.items()))
            if heard > now - MAX_SECONDS:
                return
            # A decision that was begun before it gets no lease any more.
            self._forgotten = number
            del self._changed[oldest]

    def _call_back(self, until: int) -> None:
        if self._hold is None or until <= self._clock.now():
            return
        self._held = max(self._held, until)
        self._write()

    def _write(self) -> None:
        """Make the file, and have it stay until `_held`; as soon as that can be done."""
        if self._hold is None:
            return
        try:
            # There at once, also where another worker holds the lock; when it removes it just now, it is made again below.
            os.close(os.open(self._hold, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            with self._locked() as hold:
                # Another worker's leases may need it longer; a time further off than any lease is none of ours.
                there = hold.stat().st_mtime if hold.exists() else 0.0
                target = max(self._held, there) if there <= self._clock.now() + MAX_SECONDS else self._held
                hold.touch(mode=0o644)
                os.utime(hold, (target, target))
        except BlockingIOError:
            self._again(_LOCKED_SECONDS, self._write)
        except OSError as error:
            self._fail(error)
        else:
            if self._broken:
                logger.warning("leases can be called back again")
            self._broken = False
            self._later(target)

    def _fail(self, error: OSError) -> None:
        """Give no lease until the file can be written."""
        if not self._broken:
            logger.error("leases can't be called back, so none are given any more: %s", error)
        self._broken = True
        self._again(_RETRY_SECONDS, self._write)

    def _release(self) -> None:
        """Remove the file when its time has come; look again otherwise."""
        self._timer = None
        if self._hold is None:
            return
        try:
            with self._locked() as hold:
                until = hold.stat().st_mtime
                if until <= self._clock.now():
                    hold.unlink()
                    return
        except FileNotFoundError:
            return
        except BlockingIOError:
            self._again(_LOCKED_SECONDS, self._release)
        except OSError as error:
            self._fail(error)
        else:
            self._later(until)

    def _later(self, until: float) -> None:
        self._again(max(0.01, min(until - self._clock.now(), MAX_SECONDS)), self._release)

    def _again(self, seconds: float, what: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, what)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Path]:
        """Hold the lock. Raises BlockingIOError where another worker does."""
        if self._hold is None:
            raise AssertionError("there is no file to lock")
        with self._hold.with_name(f"{self._hold.name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield self._hold

    def _sweep(self, now: int) -> None:
        """Forget what is over, once a second."""
        if now == self._swept:
            return
        self._swept = now
        self._followed_now = self._followed()
        self._sessions = {key: until for key, until in self._sessions.items() if until > now}
        self._devices = {key: until for key, until in self._devices.items() if until > now}

"""The parts behind the nginx door: its secret, the leases it gives, and nginx's access log."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.app.following import keep_running
from gateway.config import Config
from gateway.config.model import Door, hold_file
from gateway.doors.external import FrontListener
from gateway.doors.nginx import NginxDoor
from gateway.doors.said import Says
from gateway.doors.trust import Fronts
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError, ConfigError, StoreUnavailable
from gateway.leases.follow import Follower, followed
from gateway.leases.mark import Marks
from gateway.leases.outstanding import Outstanding
from gateway.pipeline import Pipeline
from gateway.ports import AuditLog, SessionStore
from gateway.present import Presenter

RETRY_SECONDS: Final = 0.2


class Nginx:
    """What nginx doors need beyond what every asked door does."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._secret: Final = front_secret(config.portal.assertion_key_file)
        self._settings: Final = next((door for door in config.doors if door.kind == "nginx"), None)
        self.leases: Final = _leases(self._settings, clock) if self._settings is not None else None
        """The leases that are given; None without a log of their uses."""

    def door(self, pipeline: Pipeline, presenter: Presenter, fronts: Fronts, says: Says) -> FrontListener:
        """Make a door; nothing listens yet."""
        return NginxDoor(
            pipeline=pipeline,
            present=presenter,
            fronts=fronts,
            says=says,
            clock=self._clock,
            secret=self._secret,
            leases=self.leases,
        ).listener

    def start(
        self, sessions: SessionStore, log: AuditLog, failed: "asyncio.Future[None]", stack: contextlib.AsyncExitStack
    ) -> None:
        """Follow what calls leases back, and nginx's access log, until the stack is closed."""
        settings, leases = self._settings, self.leases
        if settings is None or leases is None or settings.access_log is None or settings.access_log_state is None:
            return
        leases.start()
        stack.callback(leases.stop)
        follower = Follower(
            access_log=settings.access_log,
            state=settings.access_log_state,
            status_socket=settings.status_socket,
            marks=Marks(self._secret),
            log=log,
            clock=self._clock,
        )
        keep_running(_follow_sessions(sessions, leases), failed, stack)
        keep_running(_follow_log(follower), failed, stack)


def _leases(settings: Door, clock: Clock) -> Outstanding | None:
    state = settings.access_log_state
    if settings.access_log is None or state is None:
        return None
    return Outstanding(clock, hold_file(settings), followed=lambda: followed(state))


async def _follow_sessions(sessions: SessionStore, leases: Outstanding) -> None:
    while True:
        with contextlib.suppress(StoreUnavailable):  # said by the open streams, which follow the same feed
            async for change in sessions.changes():
                leases.session_changed(change.session_id)
        # The feed broke: what happened meanwhile is unknown.
        leases.everything_changed()
        await asyncio.sleep(RETRY_SECONDS)


async def _follow_log(follower: Follower) -> None:
    try:
        await follower.run()
    except AuditError:
        # The log has said so itself, loudly, and ends the process after its last words to people.
        await asyncio.Event().wait()


def front_secret(key_file: Path) -> bytes:
    """Derive, from the key that signs assertions, the secret of what goes through fronts: so all workers and nodes share it.

    Raises ConfigError when the file holds no EC private key.
    """
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError("the key can't be read", where=str(key_file), todo="It must be a PEM private key on P-256.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("this is not a private key on P-256", where=str(key_file), todo="Replace the file")
    value = key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")
    return HKDF(SHA256(), 32, salt=None, info=b"zt-gateway fronts 1").derive(value)

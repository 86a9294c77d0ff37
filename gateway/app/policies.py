"""The policies in force and where changes of them are made: a folder alone, or a database with a desk."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.app.calendar import calendar_of
from gateway.changes.bundle_files import files_of_snapshot
from gateway.changes.desk import Desk
from gateway.changes.lockout import OFFICER_ROLE, Officer, Reach
from gateway.changes.model import NodeState
from gateway.changes.published import Published, leave, report
from gateway.config import Config
from gateway.console.routes import ROUTES
from gateway.domain.route import Route
from gateway.kernel.clock import Clock
from gateway.kernel.errors import BundleError, StoreUnavailable
from gateway.lasting.port import Lasting
from gateway.lasting.postgres import PostgresLasting
from gateway.lasting.sqlite import SqliteLasting
from gateway.policy.facts import TimeFacts
from gateway.policy.folder import Snapshot, read_folder
from gateway.policy.holder import PolicyHolder, load_checked
from gateway.policy.known import Known, KnownRoute
from gateway.ports import SessionStore
from idp.app import IdentityProvider

logger = logging.getLogger(__name__)

REPORT_SECONDS: Final = 10.0
"""How often a process says what it has in force while nothing changes."""
LOOK_SECONDS: Final = 0.25
_ORDINARY_HOURS: Final = (9, 13, 16)
_A_DAY: Final = 86_400


class Officers:
    """Who may change policies now: the embedded provider's active people of that role, or those of another provider whose
    sessions are seen here.
    """

    def __init__(self, sessions: SessionStore | None, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.provider: IdentityProvider | None = None
        """Once it is open."""

    async def __call__(self) -> Sequence[Officer]:
        """Return them. StoreUnavailable when nobody can say."""
        if self.provider is not None:
            return [
                Officer(subject=user.id, login=user.login, roles=user.roles, organization=user.organization)
                for user in await self.provider.list_users()
                if user.active and OFFICER_ROLE in user.roles
            ]
        if self._sessions is None:
            return []
        people = {session.identity.subject: session.identity for session in await self._sessions.list(self._clock.now())}
        return [
            Officer(subject=one.subject, login=one.login, roles=one.roles, organization=one.organization)
            for one in people.values()
            if OFFICER_ROLE in one.roles
        ]


def open_lasting(config: Config) -> Lasting | None:
    """Open the database that is configured; None for none. Blocking. StoreUnavailable when it does not answer."""
    if config.policies.postgres_url is not None:
        return PostgresLasting(config.policies.postgres_url)
    return SqliteLasting(config.policies.database) if config.policies.database is not None else None


def open_desk(config: Config, lasting: Lasting, clock: Clock, officers: Officers) -> Desk:
    """Open the desk over it. Blocking."""
    return Desk(
        lasting,
        clock=clock,
        officers=officers,
        routes=routes_of(config),
        reach=lambda: reach_of(config, clock),
        known=known_of(config),
    )


def routes_of(config: Config) -> tuple[Route, ...]:
    """Return the routes of all applications, the console's included where there is one."""
    console = ROUTES if config.console is not None else ()
    return (*(route for app in config.to_apps() for route in app.routes), *console)


def known_of(config: Config) -> Known:
    """Return the names that policies can use here. Roles and grants are words of others: nobody can tell which there are."""
    routes = (KnownRoute(id=one.id, app=one.app, action=one.action, sensitivity=one.sensitivity) for one in routes_of(config))
    return Known(routes=tuple(routes), zones=tuple(config.network.zones), shifts=tuple(config.policies.shifts))


def reach_of(config: Config, clock: Clock) -> Reach:
    """What officers can reach here: each zone, working hours of the next ten days."""
    tls = config.server.tls
    certificates = tls is not None and tls.client_ca_file is not None
    return Reach(
        zones=tuple(config.network.zones),
        times=_ordinary(config, clock.now()),
        evidence="certificate" if certificates else "key",
    )


def _ordinary(config: Config, now: float) -> tuple[TimeFacts, ...]:
    calendar = calendar_of(config)
    found = [calendar.at(int(now) + day * _A_DAY + hour * 3600) for day in range(10) for hour in range(24)]
    working = [time for time in found if time.weekday <= 5 and not time.holiday and time.hour in _ORDINARY_HOURS]  # noqa: PLR2004  Friday
    return tuple(working) or tuple(found)


async def open_holder(config: Config, desk: Desk | None, lasting: Lasting | None) -> PolicyHolder:
    """Load the policies that are to be in force: the folder's, or what was published last. A database without a publication takes
    the folder's as its first.

    Raises BundleError when they can't be used, StoreUnavailable when the database does not answer: then don't start.
    """
    folder = config.policies.dir
    if desk is None or lasting is None:
        return PolicyHolder.open(folder)
    checked = None
    if not await desk.history():
        snapshot = read_folder(folder)
        checked = snapshot, load_checked(snapshot)
        await desk.begin_with_folder(files_of_snapshot(snapshot))
    holder = PolicyHolder.open(Published(lasting), checked=checked)
    content = (await desk.in_force())[0].content
    if (other := _other(folder, content)) is not None:
        logger.warning(
            "policies come from the database, publication %d; %s %s, and that is not taken over: "
            "`gateway policy publish` makes it a change to be approved",
            holder.number,
            folder,
            other,
        )
    return holder


def _other(folder: Path, content: str) -> str | None:
    """How the folder differs from what is in force; None when it does not."""
    try:
        snapshot: Snapshot = read_folder(folder)
    except BundleError as error:
        return f"can't be read ({error.what})"
    return None if snapshot.fingerprint == content else "holds others"


async def report_state(holder: PolicyHolder, lasting: Lasting, slot: int, clock: Clock) -> None:
    """Say what this process has in force, whenever it changes and every few seconds, until cancelled; then take it back.

    A database that does not answer is no reason to stop: it is said again later.
    """
    node = f"{socket.gethostname()}/{slot}"
    said: NodeState | None = None
    due = 0.0
    try:
        while True:
            state = state_of(holder, node)
            if state != said or clock.monotonic() >= due:
                due = clock.monotonic() + REPORT_SECONDS
                with contextlib.suppress(StoreUnavailable):  # the holder logs that it can't follow
                    await asyncio.to_thread(report, lasting, msgspec.structs.replace(state, at=int(clock.now())))
                said = state
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        with contextlib.suppress(StoreUnavailable):
            leave(lasting, node)


def state_of(holder: PolicyHolder, node: str) -> NodeState:
    """Return what a process has in force, without the time."""
    errors = [str(error) for error in (holder.rejected, holder.trial_error) if error is not None]
    trial = holder.trial
    return NodeState(
        node=node,
        number=holder.number,
        version=holder.current.version,
        trial=trial.version if trial is not None else "",
        error="; ".join(errors)[:1_000],
        at=0,
    )

"""The console as an app behind the gateway: its own listener on loopback, reached through the proxy like any other."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence

from aiohttp import web

from gateway.app.calendar import calendar_of
from gateway.app.console_proofing import ConsoleOffice
from gateway.app.explaining import possible_steps
from gateway.app.policies import routes_of
from gateway.audit.export import export_csv, export_jsonl
from gateway.audit.find import Searched, find_decision
from gateway.audit.marked import Marked, marked
from gateway.audit.others import OtherLogs
from gateway.audit.query import Filters
from gateway.audit.writer import DiskAuditLog
from gateway.changes.port import ChangeDesk
from gateway.config import Config
from gateway.console.app import create_console
from gateway.console.parts import ConsoleParts, Format, InForce
from gateway.console.people_port import Account
from gateway.console.routes import APP_ID, console_app
from gateway.domain.route import App
from gateway.emergency.service import Emergencies
from gateway.grants.office import GrantOffice
from gateway.kernel.assertion import Verifier
from gateway.kernel.clock import Clock
from gateway.kernel.i18n import Language
from gateway.kernel.web.site import Front
from gateway.policy.holder import PolicyHolder
from gateway.policy.known import Known, KnownRoute
from gateway.ports import AssertionSigner, DeviceRegistry, SessionStore
from gateway.replay.office import ReplayOffice
from idp.app import IdentityProvider

LOOPBACK = "127.0.0.1"
MOST_LOG_BYTES = 512 << 20
"""How far back the console looks for one decision: some hundred thousand records."""


async def open_console(
    config: Config,
    host: str,
    *,
    clock: Clock,
    log: DiskAuditLog,
    slot: int,
    sessions: SessionStore,
    devices: DeviceRegistry,
    holder: PolicyHolder,
    desk: ChangeDesk | None,
    replays: ReplayOffice | None,
    grants: GrantOffice | None,
    signer: AssertionSigner,
    provider: IdentityProvider | None,
    emergencies: Emergencies | None,
    loaded_at: Callable[[], float],
    stack: contextlib.AsyncExitStack,
) -> App:
    """Serve the console on a loopback port of the system's choice; return it as an app of the gateway.

    `loaded_at` is when the policies in force were taken over (epoch seconds), 0 when they are those of the start.

    Whoever else is on this machine may reach that port too, and gets 401: only the assertion is believed.
    """
    portal = config.origin(config.portal.host)
    start = clock.now()

    def in_force() -> InForce:
        bundle = holder.current
        return InForce(
            version=bundle.version,
            loaded_at=loaded_at() or start,
            policies=bundle.policies,
            rejected=str(holder.rejected or ""),
        )

    def export(form: Format, filters: Filters, language: Language) -> Iterator[bytes]:
        anchor = config.audit.anchor
        if form == "csv":
            return export_csv(config.audit.dir, filters, language=language, anchor=anchor)
        return export_jsonl(config.audit.dir, filters, anchor=anchor)

    searching = asyncio.Lock()  # one at a time: each reads much, in a thread that others need, too

    async def find(decision: str) -> Searched:
        async with searching:
            return await asyncio.to_thread(find_decision, config.audit.dir, decision, most_bytes=MOST_LOG_BYTES)

    def marked_of(break_id: str, since: float) -> Marked:
        return marked(config.audit.dir, break_id, since=since)

    parts = ConsoleParts(
        emergencies=emergencies,
        marked=marked_of,
        front=Front(origin=config.origin(host), portal=portal, form_origins=(portal, config.identity.issuer)),
        verify=Verifier(signer.jwks, issuer=portal, audience=APP_ID, clock=clock),
        clock=clock,
        sessions=sessions,
        devices=devices,
        audit=log,
        feed=log,
        others=OtherLogs(config.audit.dir, slot),
        policies=in_force,
        export=export,
        desk=desk,
        replays=replays,
        grants=grants,
        accounts=_accounts(provider),
        known=_known(config),
        find_decision=find,
        calendar=calendar_of(config),
        possible=possible_steps(config),
        end_at_provider=provider.store.sessions.revoke if provider is not None else None,
        proofing=_office(config, provider, clock),
        simulated=config.demo,
    )
    runner = web.AppRunner(create_console(parts), access_log=None, shutdown_timeout=2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    bound = socket.create_server((LOOPBACK, 0))
    await web.SockSite(runner, bound).start()
    return console_app(host, f"http://{LOOPBACK}:{bound.getsockname()[1]}")


def _known(config: Config) -> Known:
    """What the forms of policy templates offer as choices."""
    routes = tuple(
        KnownRoute(id=route.id, app=route.app, action=route.action, sensitivity=route.sensitivity) for route in routes_of(config)
    )
    return Known(routes=routes, zones=tuple(config.network.zones), shifts=tuple(config.policies.shifts))


def _accounts(provider: IdentityProvider | None) -> Callable[[], Awaitable[Sequence[Account]]] | None:
    if provider is None:
        return None

    async def accounts() -> Sequence[Account]:
        return [
            Account(
                subject=user.id,
                login=user.login,
                name=user.name,
                roles=user.roles,
                organization=user.organization,
                department=user.department,
                active=user.active,
            )
            for user in await provider.list_users()
        ]

    return accounts


def _office(config: Config, provider: IdentityProvider | None, clock: Clock) -> ConsoleOffice | None:
    if provider is None or config.idp is None:
        return None
    return ConsoleOffice(provider.office, clock, verifier=config.idp.proofing, expiring_days=config.idp.expiring_days)

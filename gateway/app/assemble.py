"""Puts the parts together.

Order of starting: the log first (what can't be recorded must not happen), the stores, the policies, the parts on top, the doors
last. Order of stopping: the doors, open streams, completion records, the stores, the log last.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from gateway.app.calendar import calendar_of
from gateway.app.console import open_console
from gateway.app.doors import Doors, Farewell, fronts_of, listen_proxy, open_doors, says_of
from gateway.app.emergency import open_emergencies
from gateway.app.following import Takeover, end_with_the_log, follow_policies, keep_running, lifecycle, policy_event
from gateway.app.grants import follow_grants, help_desk_of, open_grants
from gateway.app.inventory import tell_news
from gateway.app.nginx import Nginx
from gateway.app.policies import Officers, open_desk, open_holder, open_lasting, report_state
from gateway.app.provider import accepted_claims, oidc_client, open_embedded
from gateway.app.replaying import open_replays
from gateway.app.sockets import Sockets
from gateway.app.verifiers import outcome_of
from gateway.audit.slots import log_ids, logs_detail, prepare_slot, slot_anchor, slot_folder
from gateway.audit.writer import DiskAuditLog
from gateway.changes.desk import Desk
from gateway.config import Config
from gateway.domain.network import Zones
from gateway.domain.route import RouteTable
from gateway.doors.portal import Parts, Portal
from gateway.doors.portal.parts import Origins
from gateway.doors.proxy import create_proxy
from gateway.grants.office import GrantOffice
from gateway.kernel.clock import Clock, SystemClock
from gateway.pipeline import Pipeline
from gateway.pipeline.outgoing import Outgoing
from gateway.policy.remedy import Enrolment, Outcomes
from gateway.ports import AuditLog, OneTime, SessionStore
from gateway.posture.observe import RegistryPosture
from gateway.posture.registry import SqliteDevices
from gateway.present import Presenter
from gateway.present.pages import Pages
from gateway.rp.flows import Flows
from gateway.rp.keys import FileSigner
from gateway.sessions.memory import MemorySessions
from gateway.sessions.one_time import MemoryOneTime, RedisOneTime
from gateway.sessions.redis import RedisSessions
from gateway.sessions.redis_link import RedisLink
from idp.app import IdentityProvider

logger = logging.getLogger(__name__)


class Gateway:
    """A gateway that is put together by `open_gateway`: its doors listen."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        log: AuditLog,
        sessions: SessionStore,
        provider: IdentityProvider | None,
        failed: asyncio.Future[None],
        farewell: Farewell,
    ) -> None:
        self.pipeline: Final = pipeline
        self.log: Final = log
        self.sessions: Final = sessions
        self.provider: Final = provider
        """The embedded identity provider, for seeding."""
        self.failed: Final = failed
        """Raises when a part that must live has died: then the process must end too."""
        self.farewell: Final = farewell
        """How the doors will close."""


@contextlib.asynccontextmanager
async def open_gateway(
    config: Config, clock: Clock | None = None, *, sockets: Sockets | None = None, slot: int = 1
) -> AsyncIterator[Gateway]:
    """Put everything together, listen, and take it apart again in the opposite order.

    `sockets` are bound already (by another process, say); else they are bound here. `slot` is which log this process writes
    (`gateway.audit.slots`).
    """
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        log = await _open_log(config, clock, slot)
        stack.push_async_callback(log.close)
        named = logs_detail(log_ids(config.audit.dir))
        await lifecycle(log, clock, "gateway.started", {"config": str(config.file), "slot": str(slot), **named})
        stack.push_async_callback(lifecycle, log, clock, "gateway.stopped", {})
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        parts = await _assemble(config, clock, log, failed, sockets, slot, stack)
        yield parts


async def _open_log(config: Config, clock: Clock, slot: int) -> DiskAuditLog:
    audit = config.audit
    prepare_slot(audit.dir, slot, key_file=audit.key_file, anchor=audit.anchor, clock=clock)
    return await DiskAuditLog.open(
        slot_folder(audit.dir, slot),
        key_file=audit.key_file,
        anchor=slot_anchor(audit.anchor, slot),
        clock=clock,
        sync_seconds=audit.sync_seconds / 2,
    )


async def _assemble(
    config: Config,
    clock: Clock,
    log: DiskAuditLog,
    failed: "asyncio.Future[None]",
    sockets: Sockets | None,
    slot: int,
    stack: contextlib.AsyncExitStack,
) -> Gateway:
    sessions, one_time = await _session_stores(config, clock, stack)
    devices = SqliteDevices(config.devices.database)
    stack.push_async_callback(devices.close)
    posture = RegistryPosture(devices, clock=clock)
    lasting = open_lasting(config)
    officers = Officers(sessions, clock)
    desk: Desk | None = None
    if lasting is not None:
        stack.callback(lasting.close)
        desk = open_desk(config, lasting, clock, officers)
    holder = await open_holder(config, desk, lasting)
    await policy_event(log, clock, "policy.loaded", holder.current.version, **holder.detail)
    signer = FileSigner.load(config.portal.assertion_key_file)
    portal = config.origin(config.portal.host)

    provider = await open_embedded(config, clock, log, sessions, stack)
    officers.provider = provider
    emergencies = (
        open_emergencies(config, lasting, desk, sessions=sessions, log=log, clock=clock, failed=failed, stack=stack)
        if lasting is not None
        else None
    )
    grants = await open_grants(config, lasting, policies=holder, log=log, clock=clock) if lasting is not None else None
    takeover = Takeover()
    apps = list(config.to_apps())
    if config.console is not None:
        console = await open_console(
            config,
            config.console.host,
            clock=clock,
            log=log,
            slot=slot,
            sessions=sessions,
            devices=devices,
            holder=holder,
            desk=desk,
            replays=open_replays(config, lasting, clock, stack) if lasting is not None else None,
            grants=grants,
            signer=signer,
            provider=provider,
            emergencies=emergencies,
            loaded_at=lambda: takeover.at,
            stack=stack,
        )
        apps.append(console)

    pipeline = Pipeline(
        routes=RouteTable(apps),
        sessions=sessions,
        posture=posture,
        policies=holder,
        log=log,
        outgoing=Outgoing(issuer=portal, signer=signer, apps=apps),
        zones=Zones(config.network.zones),
        calendar=calendar_of(config),
        clock=clock,
        outcomes=_outcomes(config, grants=grants is not None, break_glass=emergencies is not None),
        exceptional=grants.book if grants is not None else None,
    )
    pipeline.streams.start()
    stack.push_async_callback(pipeline.streams.stop)
    devices.on_change(pipeline.streams.device_changed)
    keep_running(devices.follow(), failed, stack)
    if slot == 1:
        keep_running(tell_news(devices, log, clock), failed, stack)
    keep_running(end_with_the_log(log), failed, stack)
    keep_running(follow_policies(holder, log, clock, pipeline, takeover), failed, stack)
    if lasting is not None:
        keep_running(report_state(holder, lasting, slot, clock), failed, stack)
    follow_grants(grants, pipeline.streams.look_again, failed, stack)

    presenter = Presenter(pages := Pages(portal=portal, simulated=config.demo), apps, help_desk_of(config))
    portal_parts = Parts(
        sessions=sessions,
        one_time=one_time,
        flows=Flows(one_time),
        provider=await oidc_client(config, clock, stack),
        devices=devices,
        posture=posture,
        log=log,
        signer=signer,
        pages=pages,
        clock=clock,
        origins=Origins(scheme=config.server.public_scheme, port=config.seen_port()),
        portal_host=config.portal.host,
        apps=tuple(apps),
        account_url=config.identity.account_url or (f"{config.identity.issuer}/account" if provider else ""),
        roles_claim=config.identity.roles_claim,
        verified_claims=accepted_claims(config),
        idle_seconds=config.sessions.idle_seconds,
        absolute_seconds=config.sessions.absolute_seconds,
        enrolment=config.devices.enrolment,
        zone=config.policies.timezone,
        emergencies=emergencies,
        grants=grants,
        help_desk=help_desk_of(config),
        consider=pipeline.consider,
    )
    idp_host, front = config.idp_host(), config.server.front
    proxy = create_proxy(
        pipeline=pipeline,
        present=presenter,
        portal=Portal(portal_parts, presenter),
        portal_host=config.portal.host,
        apps=apps,
        clock=clock,
        public_scheme=config.server.public_scheme,
        public_port=config.seen_port(),
        idp=(idp_host, provider.app) if provider is not None and idp_host is not None else None,
        fronts=fronts_of(config, ("server", "front"), front) if front is not None else None,
        says=says_of(front) if front is not None else None,
    )
    if sockets is None:
        sockets = Sockets.bind(config)
        stack.callback(sockets.close)
    doors = Doors()
    doors.add(proxy)
    stack.push_async_callback(doors.close)
    nginx = Nginx(config, clock)
    nginx.start(sessions, log, failed, stack)
    _take_leases_back(nginx, devices, takeover, grants)
    await listen_proxy(config, proxy, sockets)
    await open_doors(config, pipeline, presenter, sockets, doors, nginx)
    return Gateway(pipeline=pipeline, log=log, sessions=sessions, provider=provider, failed=failed, farewell=doors.farewell)


def _take_leases_back(nginx: Nginx, devices: SqliteDevices, takeover: Takeover, grants: GrantOffice | None) -> None:
    """Have what nginx may reuse forgotten when something changes that it was decided by."""
    if nginx.leases is None:
        return
    devices.on_change(nginx.leases.device_changed)
    takeover.listeners.append(nginx.leases.everything_changed)
    if grants is not None:
        grants.book.on_change(nginx.leases.everything_changed)


async def _session_stores(config: Config, clock: Clock, stack: contextlib.AsyncExitStack) -> tuple[SessionStore, OneTime]:
    settings = config.sessions
    if settings.backend == "memory" or settings.redis_url is None or settings.seal_key is None:
        memory = MemorySessions(clock=clock)
        stack.push_async_callback(memory.close)
        return memory, MemoryOneTime(clock=clock)
    link = RedisLink(settings.redis_url)
    for warning in await link.check():
        logger.warning("redis: %s", warning)
    sessions = RedisSessions(link, key=settings.seal_key, clock=clock)
    stack.push_async_callback(sessions.close)
    return sessions, RedisOneTime(link)


def _outcomes(config: Config, *, grants: bool, break_glass: bool) -> Outcomes:
    return Outcomes(
        # With officer approval the step still leads somewhere: to the page that says that an officer is asked.
        enrolment=Enrolment(approval=config.devices.enrolment == "officer-approval"),
        proofing=outcome_of(config),
        grants=grants,
        break_glass=break_glass,
    )

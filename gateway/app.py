"""The composition root: the only module that names concrete adapters and mounts the identity provider.

Order of starting: the log first (what can't be recorded must not happen), the stores, the policies, the parts on top, the doors
last. Order of stopping: the doors, open streams, completion records, the stores, the log last.
"""

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from gateway.audit.writer import DiskAuditLog
from gateway.config import Config
from gateway.domain.network import Zones
from gateway.domain.record import Actor, EventName, EventRecord, Source
from gateway.domain.route import RouteTable
from gateway.doors.forward_auth import create_forward_auth
from gateway.doors.portal import Parts, Portal
from gateway.doors.portal.parts import Origins
from gateway.doors.proxy import ProxyDoor, create_proxy
from gateway.doors.tls import server_context
from gateway.doors.trust import Peers
from gateway.kernel.clock import Clock, SystemClock
from gateway.kernel.errors import BundleError, ConfigError
from gateway.kernel.ids import new_id
from gateway.pipeline import Pipeline
from gateway.pipeline.outgoing import Outgoing
from gateway.pipeline.records import printable, timestamp
from gateway.policy.holder import Loaded, PolicyHolder
from gateway.policy.remedy import Enrolment, Outcomes, Proofing
from gateway.ports import AuditLog, OneTime, SessionStore
from gateway.posture.observe import RegistryPosture
from gateway.posture.registry import SqliteDevices
from gateway.present import Presenter
from gateway.present.pages import Pages
from gateway.rp.client import OidcClient
from gateway.rp.flows import Flows
from gateway.rp.keys import FileSigner
from gateway.sessions.memory import MemorySessions
from gateway.sessions.one_time import MemoryOneTime, RedisOneTime
from gateway.sessions.redis import RedisSessions
from gateway.sessions.redis_link import RedisLink
from idp.app import IdentityProvider, open_provider
from idp.model import Event
from idp.proofing.simulated import simulated_backend
from idp.settings import Client, IdpSettings
from idp.web.options import PageOptions
from idp.web.pages import setup_pages

logger = logging.getLogger(__name__)

LOOPBACK: Final = ".localhost"
"""Names that are this machine by definition (RFC 6761 §6.3); libc's resolver does not know that everywhere."""


class LoopbackResolver(AbstractResolver):
    """Resolves `*.localhost` to this machine, everything else as usual."""

    def __init__(self) -> None:
        self._usual = DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Return addresses of a host."""
        name = "127.0.0.1" if host == LOOPBACK[1:] or host.endswith(LOOPBACK) else host
        return await self._usual.resolve(name, port, socket.AF_INET if name != host else family)

    async def close(self) -> None:
        """Close the usual resolver."""
        await self._usual.close()


class ProviderEvents:
    """Writes the identity provider's events into the log, and ends our sessions of people who were shut out."""

    def __init__(self, log: AuditLog, sessions: SessionStore) -> None:
        self._log = log
        self._sessions = sessions

    async def record(self, event: Event) -> None:
        """Implement `idp.ports.EventSink`."""
        await self._log.append(
            EventRecord(
                id=new_id("evt"),
                at=timestamp(event.at),
                event=event.name,
                outcome=event.outcome,
                actor=Actor(subject=event.subject, login=printable(event.login, 128), session=event.session),
                source=Source(address=event.address, door="idp"),
                detail={key: printable(value, 256) for key, value in event.detail.items()},
            )
        )
        if event.name == "session.revoked" and event.detail.get("reason") == "deactivated":
            await self._sessions.revoke_subject(event.subject)


class Gateway:
    """A gateway that is put together by `open_gateway`: its doors listen."""

    def __init__(self, *, pipeline: Pipeline, provider: IdentityProvider | None, failed: asyncio.Future[None]) -> None:
        self.pipeline: Final = pipeline
        self.provider: Final = provider
        """The embedded identity provider, for seeding."""
        self.failed: Final = failed
        """Raises when a part that must live has died: then the process must end too."""


async def serve(config: Config, ready: Callable[[], None]) -> None:
    """Run until cancelled; `ready` is called once everything listens. Raises what made a vital part die."""
    async with open_gateway(config) as gateway:
        ready()
        await gateway.failed


@contextlib.asynccontextmanager
async def open_gateway(config: Config, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """Put everything together, listen, and take it apart again in the opposite order."""
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        log = await DiskAuditLog.open(
            config.audit.dir,
            key_file=config.audit.key_file,
            anchor=config.audit.anchor,
            clock=clock,
            sync_seconds=config.audit.sync_seconds / 2,
        )
        stack.push_async_callback(log.close)
        await _lifecycle(log, clock, "gateway.started", {"config": str(config.file)})
        stack.push_async_callback(_lifecycle, log, clock, "gateway.stopped", {})
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        parts = await _assemble(config, clock, log, failed, stack)
        yield parts


async def _assemble(
    config: Config, clock: Clock, log: DiskAuditLog, failed: "asyncio.Future[None]", stack: contextlib.AsyncExitStack
) -> Gateway:
    sessions, one_time = await _session_stores(config, clock, stack)
    devices = SqliteDevices(config.devices.database)
    stack.push_async_callback(devices.close)
    posture = RegistryPosture(devices, clock=clock)
    holder = PolicyHolder.open(config.policies.dir)
    await _policy_event(log, clock, "policy.loaded", holder.current.version)
    signer = FileSigner.load(config.portal.assertion_key_file, create=False)
    portal = config.origin(config.portal.host)

    apps = list(config.to_apps())

    pipeline = Pipeline(
        routes=RouteTable(apps),
        sessions=sessions,
        posture=posture,
        policies=holder,
        log=log,
        outgoing=Outgoing(issuer=portal, signer=signer, apps=apps),
        zones=Zones(config.network.zones),
        timezone=config.policies.timezone,
        clock=clock,
        outcomes=_outcomes(config),
    )
    stack.push_async_callback(pipeline.drain)
    pipeline.streams.start()
    stack.push_async_callback(pipeline.streams.stop)
    devices.on_change(lambda _: pipeline.streams.look_again())
    _keep_running(_follow_policies(holder, log, clock, pipeline), failed, stack)

    pages = Pages(portal=portal, simulated=config.demo)
    presenter = Presenter(pages, apps)
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=_client_context(config)),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
    stack.push_async_callback(http.close)
    provider = await _provider(config, clock, log, sessions, stack)
    portal_parts = Parts(
        sessions=sessions,
        one_time=one_time,
        flows=Flows(one_time),
        provider=OidcClient(
            http=http,
            issuer=config.identity.issuer,
            client_id=config.identity.client_id,
            client_secret=config.identity.client_secret,
            redirect_uri=f"{portal}/.gateway/callback",
            clock=clock,
            allow_http=config.server.public_scheme == "http",
        ),
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
        idle_seconds=config.sessions.idle_seconds,
        absolute_seconds=config.sessions.absolute_seconds,
        enrolment=config.devices.enrolment,
    )
    idp_host = config.idp_host()
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
        fronts=Peers(config.server.trusted_fronts, where="server.trusted_fronts"),
    )
    stack.push_async_callback(proxy.close)
    await _listen(config, proxy)
    await _forward_auth(config, pipeline, presenter, stack)
    return Gateway(pipeline=pipeline, provider=provider, failed=failed)


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


async def _provider(
    config: Config, clock: Clock, log: AuditLog, sessions: SessionStore, stack: contextlib.AsyncExitStack
) -> IdentityProvider | None:
    if config.idp is None:
        return None
    portal = config.origin(config.portal.host)
    settings = IdpSettings(
        issuer=config.identity.issuer,
        clients=(
            Client.registered(
                config.identity.client_id,
                config.identity.client_secret,
                redirect_uris=(f"{portal}/.gateway/callback",),
                post_logout_redirect_uris=(f"{portal}/.gateway/signed-out",),
            ),
        ),
        data_dir=config.idp.data_dir,
        session_idle_seconds=config.sessions.idle_seconds,
        session_seconds=config.sessions.absolute_seconds,
    )
    backend = simulated_backend(clock, demo_mode=config.demo) if config.idp.proofing == "simulated" else None
    hosts = [app.host for app in config.apps] + ([config.console.host] if config.console is not None else [])
    options = PageOptions(
        portal=portal,
        proofing=backend,
        form_origins=tuple(config.origin(host) for host in hosts),
        zone=str(config.policies.timezone),
        demo=config.demo,
    )
    provider = await open_provider(
        settings,
        clock=clock,
        events=ProviderEvents(log, sessions),
        pages=functools.partial(setup_pages, options=options),
        address_of=lambda request: request.remote or "",
    )
    stack.push_async_callback(provider.close)
    return provider


async def _listen(config: Config, proxy: ProxyDoor) -> None:
    tls = config.server.tls
    context = None
    if tls is not None:
        context = server_context(
            certificate=tls.certificate_file, key=tls.key_file, client_ca=tls.client_ca_file, preset=tls.preset
        )
    try:
        await proxy.listen(config.server.host, config.server.port, tls=context)
    except OSError as error:
        raise ConfigError(
            f"can't listen on {config.server.host}:{config.server.port} ({error.strerror})",
            where=config.where("server", "port"),
            todo="Choose a free port, or stop what uses it.",
        ) from error


async def _forward_auth(config: Config, pipeline: Pipeline, presenter: Presenter, stack: contextlib.AsyncExitStack) -> None:
    settings = config.forward_auth
    if settings is None:
        return
    door = create_forward_auth(
        pipeline=pipeline, present=presenter, trusted_peers=settings.trusted_peers, trusted_uids=settings.trusted_uids
    )
    stack.push_async_callback(door.close)
    if settings.socket is not None:
        await door.listen_unix(str(settings.socket))
    elif settings.host is not None and settings.port is not None:
        await door.listen(settings.host, settings.port)


async def _follow_policies(holder: PolicyHolder, log: AuditLog, clock: Clock, pipeline: Pipeline) -> None:
    async def loaded(outcome: Loaded) -> None:
        await _policy_event(log, clock, "policy.loaded", outcome.bundle.version, replaced=outcome.replaced)
        pipeline.streams.look_again()

    async def rejected(error: BundleError) -> None:
        logger.error("the changed policies are not taken over: %s", error)
        await _policy_event(log, clock, "policy.rejected", holder.current.version, why=str(error))

    await holder.watch(loaded, rejected)


def _keep_running(work: Coroutine[Any, Any, None], failed: "asyncio.Future[None]", stack: contextlib.AsyncExitStack) -> None:
    """Run `work` until the gateway stops; its unexpected end ends the process."""
    task = asyncio.get_running_loop().create_task(work)

    def ended(done: "asyncio.Task[None]") -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None and not failed.done():
            failed.set_exception(error)

    async def stop() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    task.add_done_callback(ended)
    stack.push_async_callback(stop)


async def _policy_event(log: AuditLog, clock: Clock, event: EventName, version: str, **detail: str) -> None:
    await log.append(
        EventRecord(
            id=new_id("evt"),
            at=timestamp(clock.now()),
            event=event,
            outcome="failure" if event == "policy.rejected" else "success",
            actor=Actor(),
            target=version,
            detail={key: printable(value, 512) for key, value in detail.items()},
        )
    )


async def _lifecycle(log: AuditLog, clock: Clock, event: EventName, detail: dict[str, str]) -> None:
    record = EventRecord(
        id=new_id("evt"), at=timestamp(clock.now()), event=event, outcome="success", actor=Actor(), detail=detail
    )
    await log.synced(await log.append(record))


def _outcomes(config: Config) -> Outcomes:
    return Outcomes(
        # With officer approval the step still leads somewhere: to the page that says that an officer is asked.
        enrolment=Enrolment(),
        proofing=Proofing(method=config.idp.proofing) if config.idp is not None and config.idp.proofing != "none" else None,
    )


def _client_context(config: Config) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if config.identity.ca_file is not None:
        context.load_verify_locations(cafile=config.identity.ca_file)
    return context

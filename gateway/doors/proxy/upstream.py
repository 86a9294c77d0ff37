"""An application's instances: which one gets a request, and the connections to each, kept and reused.

A request goes to the instance with the fewest requests under way. One that does not accept connections is left alone for some
seconds; one whose health check fails gets no new requests until it passes again, while those under way finish: that is how an
instance is drained (let its health path answer 503).
"""

import asyncio
import logging
import ssl
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.domain.reason import UpstreamProblem
from gateway.domain.route import App, HealthCheck
from gateway.doors.proxy.connection import UpstreamConnection, UpstreamError
from gateway.kernel.clock import Clock

logger = logging.getLogger(__name__)


class UpstreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long applications may take, in seconds, and how many connections each instance gets."""

    connect_seconds: float = 5.0
    response_seconds: float = 120.0
    """From the end of the request to the response's head."""
    stall_seconds: float = 300.0
    """Without a byte in the middle of a body, either way. Event streams and WebSockets may be silent for ever."""
    keep_seconds: float = 15.0
    """How long an idle connection is kept: shorter than servers usually do, so that theirs does not end under a request."""
    keep_connections: int = 64
    max_connections: int = 16_384
    """WebSockets and event streams hold one each for as long as they are open."""
    eject_seconds: float = 10.0
    """How long an instance that did not accept a connection is left alone while there are others."""


class Instance:
    """One server of an application, and the connections to it."""

    def __init__(self, origin: str, *, limits: UpstreamLimits, clock: Clock, tls: ssl.SSLContext | None) -> None:
        """`origin` is `http://host:port` or `https://...`; `tls` verifies the latter (None: the system's authorities)."""
        parts = urlsplit(origin)
        self.origin: Final = origin
        self.healthy = True
        """What the health check says."""
        self.ejected_until = 0.0
        self.under_way = 0
        """Requests and WebSockets."""
        self._host: Final = parts.hostname or ""
        secure = parts.scheme == "https"
        self._port: Final = parts.port or (443 if secure else 80)
        self._tls: Final = (tls or ssl.create_default_context()) if secure else None
        self._limits = limits
        self._clock = clock
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._places = asyncio.Semaphore(limits.max_connections)

    def kept(self) -> UpstreamConnection | None:
        """Return an idle connection, to be given back with `release`; None when there is none."""
        while self._idle:
            connection = self._idle.pop()
            if self._clock.monotonic() - connection.idle_since < self._limits.keep_seconds and connection.quiet:
                connection.used = connection.in_use = connection.silent = True
                self.under_way += 1
                return connection
            self._forget(connection)
        return None

    async def connect(self) -> UpstreamConnection:
        """Return a new connection, to be given back with `release`. Raises UpstreamError: CONNECT or TIMEOUT."""
        self.under_way += 1
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                await self._places.acquire()
                return await self._connect()
        except BaseException as error:
            self.under_way -= 1
            if isinstance(error, TimeoutError):
                what = "the application does not accept the connection in time"
                raise UpstreamError(UpstreamProblem.TIMEOUT, what) from None
            raise

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(UpstreamConnection, self._host, self._port, ssl=self._tls)
        except BaseException as error:
            self._places.release()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):  # ssl.SSLError is one too
                raise UpstreamError(UpstreamProblem.CONNECT, "the application can't be reached") from error
            raise
        connection.instance = self
        self._open.add(connection)
        return connection

    def release(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """Take a connection back: keep it when it may carry another request, end it otherwise. A second time does nothing."""
        if not connection.in_use:
            return
        connection.in_use = False
        self.under_way -= 1
        if reusable and self.healthy and connection.usable and len(self._idle) < self._limits.keep_connections:
            connection.idle_since = self._clock.monotonic()
            self._idle.append(connection)
        else:
            self._forget(connection)

    def _forget(self, connection: UpstreamConnection) -> None:
        if connection in self._open:
            self._open.remove(connection)
            self._places.release()
        connection.abort()

    def drop_idle(self) -> None:
        """End the connections that carry nothing."""
        while self._idle:
            self._forget(self._idle.pop())

    def close(self) -> None:
        """End every connection."""
        self._idle.clear()
        for connection in list(self._open):
            self._forget(connection)


class Upstream:
    """All instances of one application."""

    def __init__(self, app: App, *, limits: UpstreamLimits, clock: Clock, tls: ssl.SSLContext | None) -> None:
        """`tls` verifies `https` instances (None: the system's authorities)."""
        self.instances: Final = tuple(
            Instance(origin, limits=limits, clock=clock, tls=tls) for origin in (app.upstream, *app.upstreams)
        )
        self._app: Final = app
        self._limits = limits
        self._clock = clock
        self._last = -1
        """Which instance got the last request: of those that are equally busy the next one is first."""
        self._checks: list[asyncio.Task[None]] = []

    def kept(self) -> UpstreamConnection | None:
        """Return an idle connection to the instance whose turn it is, to be given back with `release`; None: `connect`."""
        instances = self.instances
        if len(instances) == 1 and instances[0].healthy:
            return instances[0].kept()
        candidates = self._candidates()
        connection = candidates[0].kept() if candidates else None
        if connection is not None:
            self._last = instances.index(candidates[0])
        return connection

    async def connect(self) -> UpstreamConnection:
        """Return a new connection to the first instance that accepts one; give it back with `release`. Raises UpstreamError."""
        failed = UpstreamError(UpstreamProblem.CONNECT, "no instance of the application is healthy")
        for instance in self._candidates():
            try:
                connection = await instance.connect()
            except UpstreamError as error:
                failed = error
                instance.ejected_until = self._clock.monotonic() + self._limits.eject_seconds
                logger.warning("app %s: %s does not accept connections: %s", self._app.id, instance.origin, error)
            else:
                instance.ejected_until = 0.0
                self._last = self.instances.index(instance)
                return connection
        raise failed

    def _candidates(self) -> list[Instance]:
        """The healthy instances in the order in which they are tried: those that were not ejected first, the least busy first."""
        now, count = self._clock.monotonic(), len(self.instances)
        order = sorted(
            (instance.ejected_until > now, instance.under_way, (index - self._last - 1) % count, index)
            for index, instance in enumerate(self.instances)
            if instance.healthy
        )
        return [self.instances[entry[-1]] for entry in order]

    @staticmethod
    def release(connection: UpstreamConnection, *, reusable: bool) -> None:
        """Take a connection back: keep it when it may carry another request, end it otherwise."""
        if not isinstance(connection.instance, Instance):
            raise TypeError("a connection of nobody's")
        connection.instance.release(connection, reusable=reusable)

    # ---- health

    def start(self) -> None:
        """Begin to check the instances, where the configuration says how."""
        check = self._app.health
        if check is not None and not self._checks:
            loop = asyncio.get_running_loop()
            self._checks = [loop.create_task(self._watch(instance, check)) for instance in self.instances]

    async def _watch(self, instance: Instance, check: HealthCheck) -> None:
        against = 0
        while True:
            well = await self._is_well(instance, check)
            against = 0 if well is instance.healthy else against + 1
            if against >= (check.unhealthy_after if instance.healthy else check.healthy_after):
                instance.healthy, against = well, 0
                logger.warning("app %s: %s is %s", self._app.id, instance.origin, "healthy again" if well else "not healthy")
                if not well:
                    instance.drop_idle()
            await asyncio.sleep(check.interval_seconds)

    async def _is_well(self, instance: Instance, check: HealthCheck) -> bool:
        """Whether the instance answers its health path with 2xx within an interval."""
        connection = None
        try:
            async with asyncio.timeout(check.interval_seconds):
                connection = await instance.connect()
                connection.send(
                    f"GET {check.path} HTTP/1.1\r\nHost: {self._app.host}\r\nUser-Agent: gateway-health\r\n"
                    "Connection: close\r\n\r\n".encode("ascii")
                )
                head = await connection.read_head("GET")
        except (UpstreamError, TimeoutError):
            return False
        finally:
            if connection is not None:
                instance.release(connection, reusable=False)
        return 200 <= head.status < 300  # noqa: PLR2004  successful (RFC 9110 §15.3)

    async def close(self) -> None:
        """End the checks and every connection."""
        for check in self._checks:
            check.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)
        self._checks = []
        for instance in self.instances:
            instance.close()
        await asyncio.sleep(0)  # let the transports close their sockets

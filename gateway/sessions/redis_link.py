"""The connection to Redis: every call has a time limit, and every failure is `StoreUnavailable`."""

import asyncio
import ipaddress
import logging
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, RedisError, ResponseError

from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.secret import Secret
from gateway.sessions.redis_scripts import Script

logger = logging.getLogger(__name__)

WHERE: Final = "session_store"
PING_SECONDS: Final = 0.3
LOST_SECONDS: Final = 0.5
"""A feed that hears nothing for `PING_SECONDS` asks; no answer within this counts as lost: both together stay below a second."""
OLDEST: Final = (6, 2)
"""GETDEL came with this version."""
_OPTIONS: Final = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


class RedisLink:
    """One pool of connections, shared by the session store and the one-time store."""

    def __init__(
        self, url: Secret, *, namespace: str = "zt-gateway", time_limit_seconds: float = 1.0, connections: int = 32
    ) -> None:
        """Prepare; nothing is sent yet. ConfigError when the URL or namespace can't be used.

        `url`: `rediss://user:password@host:6379/0` (TLS, the server's certificate and name are verified), `redis://` (clear:
        for loopback) or `unix:///path`; options in the query: `db`, `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` only, so that
        no URL turns verification or time limits off. `namespace` begins every key. `time_limit_seconds` holds for each call,
        waiting for a free connection included.
        """
        self._parts = _parsed(url)
        if not _NAMESPACE.fullmatch(namespace):
            raise ConfigError(
                "the Redis namespace can't be used",
                where=WHERE,
                todo="Use 1 to 63 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter",
            )
        self.prefix: Final = f"{namespace}:"
        self._limit = time_limit_seconds
        # No retries: a step that takes something once must not run twice. No socket time limits: the one around each call rules.
        self._pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            url.reveal(),
            max_connections=connections,
            timeout=None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
            client_name=f"{namespace}-gateway",
        )
        self._redis = Redis(connection_pool=self._pool)
        self._execute: Callable[..., Awaitable[Any]] = self._redis.execute_command
        self.closed = False

    async def command(self, *arguments: str | bytes | int) -> Any:
        """Send one command and return its reply (bytes, not text)."""
        if self.closed:
            raise StoreUnavailable("the connection to Redis is closed", where=WHERE)
        try:
            async with asyncio.timeout(self._limit):
                return await self._execute(*arguments)
        except NoScriptError:
            raise
        except (RedisError, OSError, TimeoutError) as error:
            raise self._unavailable(error) from error

    async def run(self, script: Script, *arguments: str | bytes | int) -> Any:
        """Run a script atomically, with the prefix as its first argument. Loads it where Redis has forgotten it."""
        try:
            return await self.command("EVALSHA", script.sha, 0, self.prefix, *arguments)
        except NoScriptError:
            return await self.command("EVAL", script.text, 0, self.prefix, *arguments)

    async def messages(self, channel: str) -> AsyncGenerator[bytes]:
        """Subscribe, yield an empty payload once that is confirmed, then every payload.

        Raises StoreUnavailable within a second after the connection or the server is lost; ends when this link is closed.
        """
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py is partly typed
        reading: asyncio.Future[Any] | None = None
        try:
            await self._guarded(self._subscribe(connection, channel))
            yield b""
            asked: float | None = None
            loop = asyncio.get_running_loop()
            while not self.closed:
                # One read goes on across time limits: cutting a read short could lose half a message.
                reading = reading or asyncio.ensure_future(connection.read_response(timeout=math.inf))
                done, _ = await asyncio.wait({reading}, timeout=PING_SECONDS)
                if done:
                    reply = await self._guarded(reading)
                    reading, asked = None, None
                    if isinstance(reply, list) and reply[0] == b"message":
                        yield bytes(reply[2])
                elif asked is None:
                    asked = loop.time()
                    await self._guarded(connection.send_command("PING"))
                elif loop.time() - asked >= LOST_SECONDS:
                    raise self._unavailable(TimeoutError("no answer on the feed of session changes"))
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await connection.disconnect(nowait=True)

    @staticmethod
    async def _subscribe(connection: AbstractConnection, channel: str) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py is partly typed
        await connection.send_command("SUBSCRIBE", channel)
        await connection.read_response()

    async def _guarded(self, waiting: Any) -> Any:
        try:
            async with asyncio.timeout(self._limit):
                return await waiting
        except (RedisError, OSError, TimeoutError) as error:
            raise self._unavailable(error) from error

    async def check(self) -> list[str]:
        """Look at the server's settings at start-up and return what an operator should know, one sentence each.

        StoreUnavailable when it does not answer; ConfigError when it is too old, read-only or a cluster.
        """
        server = _fields(await self.command("INFO", "server"))
        replication = _fields(await self.command("INFO", "replication"))
        version = server.get("redis_version", "0")
        numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
        if numbers < OLDEST:
            raise ConfigError(f"Redis {version} is too old", where=WHERE, todo="Use 6.2 or newer")
        if server.get("redis_mode") == "cluster":
            raise ConfigError("Redis Cluster is not supported", where=WHERE, todo="Use one primary, with replicas if wanted")
        if replication.get("role") == "slave":
            raise ConfigError("this Redis is a read-only replica", where=WHERE, todo="Give the primary's address")
        return [*self._transport_warnings(), *await self._settings_warnings()]

    def _transport_warnings(self) -> list[str]:
        if self._parts.scheme == "unix":
            return []
        warnings = []
        if self._parts.scheme == "redis" and not _loopback(self._parts.hostname or ""):
            warnings.append("The connection to Redis is not encrypted: use rediss://.")
        if not self._parts.password:
            warnings.append("Redis is used without a password: whoever reaches it can end and roll back sessions.")
        return warnings

    async def _settings_warnings(self) -> list[str]:
        try:
            settings = {name: await self._setting(name) for name in ("maxmemory-policy", "appendonly", "appendfsync", "save")}
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NoPermissionError | ResponseError):
                return [
                    "Redis does not tell its settings (CONFIG GET): check maxmemory-policy noeviction and appendonly yes by hand."
                ]
            raise
        warnings = []
        if settings["maxmemory-policy"] != "noeviction":
            warnings.append(
                f"Redis has maxmemory-policy {settings['maxmemory-policy']}: it may drop sessions, and forget that one was "
                "revoked; set noeviction."
            )
        if settings["appendonly"] != "yes" and settings["save"]:
            warnings.append(
                "Redis keeps snapshots only: a restart brings back sessions revoked since the last one; set appendonly yes."
            )
        elif settings["appendonly"] != "yes":
            warnings.append("Redis keeps nothing on disk: its restart signs everybody out; set appendonly yes.")
        elif settings["appendfsync"] != "always":
            warnings.append(
                f"Redis has appendfsync {settings['appendfsync']}: a power cut can undo the last second's revocations; "
                "set always if that matters more than speed."
            )
        return warnings

    async def _setting(self, name: str) -> str:
        reply = await self.command("CONFIG", "GET", name)
        flat = reply if isinstance(reply, list) else [part for pair in reply.items() for part in pair]
        return _text(flat[1]) if len(flat) > 1 else ""

    async def close(self) -> None:
        """Close every connection. May be called again."""
        self.closed = True
        await self._redis.aclose()
        await self._pool.disconnect()

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        # `what` may reach a person's page: it names no host. The operator's log gets the rest.
        place = "its socket" if self._parts.scheme == "unix" else f"{self._parts.hostname}:{self._parts.port or 6379}"
        what = "Redis did not answer in time" if isinstance(error, TimeoutError) else "Redis can't be used"
        if isinstance(error, AuthenticationError):
            what = "Redis refused the credentials"
        return StoreUnavailable(what, where=WHERE, todo=f"Redis at {place} ({type(error).__name__}: {error})")


def _parsed(url: Secret) -> SplitResult:
    """Return the URL's parts; the error names no part of it, since it may hold a password."""
    try:
        parts = urlsplit(url.reveal())
        options = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        _ = parts.port
    except ValueError:
        raise _bad_url("it can't be parsed") from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise _bad_url("its scheme is none of redis, rediss, unix")
    if parts.scheme == "unix" and not parts.path:
        raise _bad_url("the path of the socket is missing")
    if parts.scheme != "unix" and not parts.hostname:
        raise _bad_url("the host is missing")
    if parts.scheme != "unix" and not re.fullmatch(r"|/|/\d+", parts.path):
        raise _bad_url("its path is not a database number")
    if options - _OPTIONS:
        raise _bad_url(f"its query may hold {', '.join(sorted(_OPTIONS))} only")
    if parts.fragment:
        raise _bad_url("it has a `#`; write %23 in a password")
    return parts


def _bad_url(why: str) -> ConfigError:
    return ConfigError(f"the Redis URL can't be used: {why}", where=WHERE, todo="Write rediss://user:password@host:6379/0")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _fields(info: Any) -> dict[str, str]:
    """Return INFO as text fields, whichever form the client library gives it."""
    if isinstance(info, dict):
        return {_text(name): _text(value) for name, value in info.items()}
    lines = [line.partition(":") for line in _text(info).splitlines()]
    return {name: value for name, _, value in lines}

"""Every server of a run, started once and idle but for its turns: the rows that wrk presses."""

import contextlib
import http.client
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench import doors, envoy, nginx
from bench.children import LOOPBACK, BenchError, Children, NotMeasuredError, Talk, free_port
from bench.guarded import APP, CHART, LEASED, SYNCED, SignedIn, Site, make_site, sign_in
from bench.load import Target, various
from bench.oauth2_proxy import start_oauth2_proxy
from bench.redis_server import start_redis
from gateway.domain.cookies import SESSION_COOKIE

PEOPLE: Final = 500
CHARTS: Final = 1000
REQUESTS: Final = 20_000
OK: Final = 200
Headers = tuple[tuple[str, str], ...]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is pressed."""

    name: str
    port: int
    path: str = CHART
    headers: Headers = ()
    script: str = ""
    """Which requests, where they are not all the same (`bench.load.various`)."""
    processes: tuple[str, ...] = ()
    """Whose CPU time it costs: the proxy and what it asks, without the application."""
    guarded: bool = False
    """Whether it must turn away who shows no cookie."""

    def target(self) -> Target:
        """What wrk asks for."""
        return Target(url=f"http://{LOOPBACK}:{self.port}{self.path}", headers=self.headers, script=self.script)


class Guarded(msgspec.Struct, frozen=True, kw_only=True):
    """A running gateway with somebody signed in."""

    site: Site
    talk: Talk
    signed_in: SignedIn

    def headers(self, app: str = APP) -> Headers:
        """The head of a request as the person's browser sends it."""
        return (("Host", f"{app}.localhost:{self.site.port}"), ("Cookie", self.signed_in.cookies[app]))


class Records:
    """Counts the lines of a gateway's log; reads only what is new."""

    def __init__(self, site: Site) -> None:
        self._folder: Final = site.folder / "audit"
        self._read: dict[Path, int] = {}
        self._lines = 0

    def count(self) -> int:
        """How many records there are now: decisions, completions, uses of leases."""
        for file in self._folder.rglob("*.jsonl"):
            with file.open("rb") as lines:
                lines.seek(self._read.get(file, 0))
                new = lines.read()
            self._read[file] = self._read.get(file, 0) + len(new)
            self._lines += new.count(b"\n")
        return self._lines


class Stand:
    """What runs. `rows` are the ones that were found to work, `absent` says why another is not there."""

    def __init__(self, children: Children, files: int) -> None:
        self.children: Final = children
        self.files: Final = files
        self.rows: dict[str, Row] = {}
        self.absent: dict[str, str] = {}
        self.application: Final = free_port()
        self.memory: Guarded | None = None
        """The gateway with its sessions in memory."""
        self._recorded: list[tuple[Records, tuple[str, ...]]] = []

    def recorded(self) -> list[tuple[Records, list[str]]]:
        """Return our gateways' logs, each with its rows: every request under them must be in that log."""
        return [(records, [name for name in names if name in self.rows]) for records, names in self._recorded]

    def add(self, row: Row) -> None:
        """Take a row on, once it is shown to do what it says. BenchError when it does not."""
        check(row)
        self.rows[row.name] = row

    async def attempt(self, names: tuple[str, ...], start: Callable[[], Awaitable[None]]) -> None:
        """Start something that may not be had here; its rows are absent then, with the reason."""
        try:
            await start()
        except NotMeasuredError as error:
            for name in names:
                self.absent[name] = str(error)

    # ---- what is compared with

    async def plain_servers(self) -> None:
        """Start the application, the plain proxies, and the endpoint that always says 200."""
        trivial, naive, plain, asking = (free_port() for _ in range(4))
        children = self.children
        await nginx.start_nginx(
            children, "application", nginx.application(self.application), [self.application], files=self.files
        )
        self.add(Row(name="direct", processes=("application",), port=self.application))
        process = children.python("naive", "bench.naive", str(naive), f"http://{LOOPBACK}:{self.application}")
        await children.ready("naive", process, naive)
        self.add(Row(name="naive", processes=("naive",), port=naive))
        process = children.python("trivial", "bench.trivial", str(trivial))
        await children.ready("trivial", process, trivial)
        inside = "".join(
            (
                nginx.pool("application", f"{LOOPBACK}:{self.application}"),
                nginx.pool("trivial", f"{LOOPBACK}:{trivial}"),
                nginx.plain(plain),
                nginx.asking(asking, "trivial", "/"),
            )
        )
        await nginx.start_nginx(children, "nginx", inside, [plain, asking], files=self.files)
        self.add(Row(name="nginx_plain", processes=("nginx",), port=plain))
        self.add(Row(name="nginx_trivial", processes=("nginx", "trivial"), port=asking))

        async def with_envoy() -> None:
            plain, asking = free_port(), free_port()
            bootstrap = envoy.bootstrap(application=self.application, plain=plain, asking=asking, endpoint=trivial)
            await envoy.start_envoy(children, "envoy", bootstrap, [plain, asking])
            self.add(Row(name="envoy_plain", processes=("envoy",), port=plain))
            self.add(Row(name="envoy_trivial", processes=("envoy", "trivial"), port=asking))

        await self.attempt(("envoy_plain", "envoy_trivial"), with_envoy)

    # ---- ours

    async def gateways(self) -> None:
        """Start the gateway twice, with sessions in memory and in Redis, and what stands in front of it."""
        memory = await start_gateway(self.children, "gateway", upstream=self.application, fronted=True)
        self.memory = memory
        self._recorded.append(
            (
                Records(memory.site),
                (
                    "embedded",
                    "embedded_synced",
                    "embedded_many",
                    "nginx_door",
                    "nginx_lease",
                    "nginx_lease_many",
                    "envoy_door",
                    "envoy_door_grpc",
                ),
            )
        )
        headers = memory.headers()
        self.add(Row(name="embedded", processes=("gateway",), port=memory.site.port, headers=headers, guarded=True))
        self.add(
            Row(name="embedded_synced", processes=("gateway",), port=memory.site.port, path=SYNCED, headers=headers, guarded=True)
        )
        port = await doors.start_nginx_door(self.children, "nginx-door", memory.site)
        self.add(Row(name="nginx_door", processes=("nginx-door", "gateway"), port=port, headers=headers, guarded=True))
        self.add(
            Row(name="nginx_lease", processes=("nginx-door", "gateway"), port=port, headers=memory.headers(LEASED), guarded=True)
        )

        kinds: tuple[tuple[str, Literal["http", "grpc"]], ...] = (("envoy_door", "http"), ("envoy_door_grpc", "grpc"))

        async def with_envoy() -> None:
            for name, door in kinds:
                port = await doors.start_envoy_door(self.children, f"envoy-{door}", memory.site, door)
                self.add(Row(name=name, processes=(f"envoy-{door}", "gateway"), port=port, headers=headers, guarded=True))

        await self.attempt(tuple(name for name, _ in kinds), with_envoy)
        many = (
            ("embedded_many", APP, memory.site.port, ("gateway",)),
            ("nginx_lease_many", LEASED, port, ("nginx-door", "gateway")),
        )
        for name, app, where, processes in many:
            script = await self._many(memory, app)
            self.add(Row(name=name, port=where, headers=memory.headers(app), script=script, processes=processes, guarded=True))
        await self.with_redis()

    async def _many(self, guarded: Guarded, app: str) -> str:
        """Let as many people as a hospital has at work open as many charts, each time another; return the script."""
        made = (await guarded.talk.ask("clone", count=PEOPLE, host=f"{app}.localhost"))["made"]
        chance = random.Random(PEOPLE)  # noqa: S311  the same requests in every run
        requests = [
            (f"/patients/p{chance.randrange(CHARTS):04}", f"{SESSION_COOKIE}={chance.choice(made)[1]}") for _ in range(REQUESTS)
        ]
        return various(self.children.folder / f"{app}.requests", requests)

    async def with_redis(self) -> None:
        """Start what keeps its sessions in Redis: ours, and oauth2-proxy."""
        url = await start_redis(self.children)
        redis = await start_gateway(self.children, "gateway-redis", upstream=self.application, fronted=True, redis_url=url)
        self._recorded.append((Records(redis.site), ("embedded_redis", "nginx_door_redis")))
        self.add(
            Row(
                name="embedded_redis",
                processes=("gateway-redis", "redis"),
                port=redis.site.port,
                headers=redis.headers(),
                guarded=True,
            )
        )
        port = await doors.start_nginx_door(self.children, "nginx-redis", redis.site)
        self.add(
            Row(
                name="nginx_door_redis",
                processes=("nginx-redis", "gateway-redis", "redis"),
                port=port,
                headers=redis.headers(),
                guarded=True,
            )
        )

        async def with_oauth2_proxy() -> None:
            found = await start_oauth2_proxy(self.children, application=self.application, redis_url=url)
            self.add(
                Row(
                    name="oauth2_proxy", processes=("oauth2-proxy", "redis"), port=found.port, headers=found.headers, guarded=True
                )
            )
            front = free_port()
            inside = "".join(
                (
                    nginx.pool("application", f"{LOOPBACK}:{self.application}"),
                    nginx.pool("oauth2_proxy", f"{LOOPBACK}:{found.port}"),
                    nginx.asking(front, "oauth2_proxy", "/oauth2/auth"),
                )
            )
            await nginx.start_nginx(self.children, "nginx-oauth2", inside, [front], files=self.files)
            self.add(
                Row(
                    name="nginx_oauth2_proxy",
                    processes=("nginx-oauth2", "oauth2-proxy", "redis"),
                    port=front,
                    headers=found.headers,
                    guarded=True,
                )
            )

        await self.attempt(("oauth2_proxy", "nginx_oauth2_proxy"), with_oauth2_proxy)


@contextlib.asynccontextmanager
async def open_stand(children: Children, files: int) -> AsyncIterator[Stand]:
    """Start everything that is pressed."""
    stand = Stand(children, files)
    await stand.plain_servers()
    await stand.gateways()
    yield stand


async def start_gateway(
    children: Children, name: str, *, upstream: int, fronted: bool = False, redis_url: str = "", tls: bool = False
) -> Guarded:
    """Start a gateway in a process of its own, and have somebody sign in."""
    folder = children.folder / name
    more = doors.sections(folder) if fronted else ""
    site = make_site(folder, port=free_port(), upstream=upstream, redis_url=redis_url, more=more, tls=tls)
    arguments = [str(site.config), "--password", site.person.password, "--totp", site.person.secret]
    talk = Talk(children.python(name, "bench.gateway_process", *arguments, talk=True))
    try:
        await talk.heard()
        return Guarded(site=site, talk=talk, signed_in=await sign_in(site))
    except (BenchError, OSError) as error:
        said = children.said_file(name).read_text("utf-8", "replace")[-2000:]
        raise BenchError(f"{name}: {error}\n{said}") from error


def check(row: Row) -> None:
    """Ask once with the cookie and, where it is guarded, once without. BenchError when the answers are others."""
    status, body = _ask(row, row.headers)
    if status != OK or body != nginx.BODY:
        raise BenchError(f"{row.name}: {status} instead of the application's page\n{body[:500]}")
    if row.guarded:
        status, body = _ask(row, tuple(pair for pair in row.headers if pair[0] != "Cookie"))
        if status == OK or body == nginx.BODY:
            raise BenchError(f"{row.name}: lets everybody in")


def _ask(row: Row, headers: Headers) -> tuple[int, str]:
    connection = http.client.HTTPConnection(LOOPBACK, row.port, timeout=10)
    try:
        connection.request("GET", row.path, headers=dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read().decode("utf-8", "replace")
    finally:
        connection.close()

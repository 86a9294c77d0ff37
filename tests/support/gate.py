"""The proxy door as a test meets it: a real listener, the real pipeline and pages, an application that counts what reaches it.

Every path is allowed to anybody who is signed in, except `/admin`, which a policy forbids. So whatever spelling of `/admin` is
taken for something else by the gateway would reach the application, and be counted.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiohttp import web
from joserfc.jwk import ECKey

from gateway.audit.memory import MemoryAuditLog
from gateway.domain.cookies import SESSION_COOKIE
from gateway.domain.identity import AuthEvent, Identity, Session
from gateway.domain.network import Zones
from gateway.domain.posture import Posture
from gateway.domain.record import CompletionRecord, DecisionRecord
from gateway.domain.request import Request
from gateway.domain.route import App, Route, RouteTable
from gateway.doors.limits import ListenerLimits
from gateway.doors.proxy import ProxyDoor, ProxyLimits, create_proxy
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import new_id
from gateway.pipeline import Pipeline
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.outgoing import Outgoing
from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.remedy import Outcomes
from gateway.present.mapper import Presenter
from gateway.present.pages import Pages
from gateway.rp.keys import FileSigner
from gateway.sessions.memory import MemorySessions
from tests.support.world import POLICIES, FixedPosture, Policies

HOST = "ehr.localhost"
PORTAL = "portal.localhost"
IDP = "id.localhost"
QUICK = ProxyLimits(listener=ListenerLimits(head_seconds=1.0, linger_seconds=0.5))

BUNDLE = """
@id("everything")
@title_ja("すべて許可")
@title_en("Everything is allowed")
permit (principal, action, resource in App::"ehr");

@id("not-admin")
@title_ja("管理画面は禁止")
@title_en("The admin pages are forbidden")
forbid (principal, action, resource) when { resource == Route::"ehr.admin" || resource == Route::"ehr.admin_page" };
"""


def route(name: str, path: str, *, methods: tuple[str, ...] = ("*",), **more: object) -> Route:
    fields = {"id": f"ehr.{name}", "app": "ehr", "methods": methods, "pattern": tuple(path[1:].split("/")), "action": "read"}
    return msgspec.convert({**fields, **more}, Route)


def app(upstream: str) -> App:
    return App(
        id="ehr", host=HOST, upstream=upstream, title_ja="電子カルテ", title_en="EHR",
        headers=(("X-Remote-User", "login"), ("X-Remote-Name", "name")),
        routes=(
            route("admin", "/admin"),
            route("admin_page", "/admin/**"),
            route("write", "/write/{name}", action="write", patient="query:patient"),
            route("matrix", "/matrix/**", allow_parameters=True),
            route("ws", "/ws/**", methods=("GET",), websocket=True),
            route("get", "/get/{name}", methods=("GET",)),
            route("rest", "/**"),
        ),
    )  # fmt: skip


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the application received it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Upstream:
    """A real aiohttp application that notes every request."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.answer: Answering | None = None
        self.port = 0
        self._server: asyncio.Server | None = None
        self._web: web.Server | None = None

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        if self.answer is not None:
            self.hits.append(Hit(method=http.method, target=http.raw_path, headers=list(http.headers.items()), body=b""))
            return await self.answer(http)
        body = await http.read()
        self.hits.append(Hit(method=http.method, target=http.raw_path, headers=list(http.headers.items()), body=body))
        return web.Response(body=b"from the application")

    async def start(self) -> None:
        self._web = web.Server(self._handle, access_log=None, auto_decompress=False)
        self._server = await asyncio.get_running_loop().create_server(self._web, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is None or self._web is None:
            return
        self._server.close()
        await self._web.shutdown(0.1)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A response as the client read it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


async def read_answer(reader: asyncio.StreamReader, *, bodyless: bool = False) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    headers = [
        (name.decode(), value.decode("utf-8", "surrogateescape")) for name, _, value in (x.partition(b": ") for x in lines)
    ]
    fields = {name.lower(): value for name, value in headers}
    body = b""
    if not bodyless:
        if fields.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        elif "content-length" in fields:
            body = await reader.readexactly(int(fields["content-length"]))
        else:
            body = await reader.read()
    return Answer(status=int(first.split(b" ")[1]), headers=headers, body=body, raw=head + body)


class FakePortal:
    """Stands where the portal's pages are."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.seen: list[web.BaseRequest] = []

    async def __call__(self, request: Request, http: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.seen.append(http)
        return web.Response(text=f"portal {len(await http.read())}")


class Gate:
    """Everything behind one proxy door."""

    def __init__(self, folder: Path) -> None:
        (folder / "schema.cedarschema").write_text((POLICIES / "schema.cedarschema").read_text("utf-8"), "utf-8")
        (folder / "test.cedar").write_text(BUNDLE, "utf-8")
        self.bundle: Bundle = load_bundle(folder)
        self.clock = SystemClock()
        self.log = MemoryAuditLog()
        self.sessions = MemorySessions(clock=self.clock)
        self.posture = FixedPosture()
        self.posture.posture = Posture()
        self.upstream = Upstream()
        self.portal = FakePortal()
        self.cookie = ""
        self.session: Session | None = None
        self.port = 0
        self.pipeline: Pipeline
        self.door: ProxyDoor
        self.presenter: Presenter
        self.app: App
        self.change: Callable[[App], App] = lambda app: app
        """What a test wants to be different about the application; before `open`."""

    def build(self) -> None:
        """Make pipeline and pages, once the application's port is known."""
        self.app = self.change(app(f"http://127.0.0.1:{self.upstream.port}"))
        signer = FileSigner(ECKey.generate_key("P-256", private=True))
        self.pipeline = Pipeline(
            routes=RouteTable([self.app]),
            sessions=self.sessions,
            posture=self.posture,
            policies=Policies(self.bundle),
            log=self.log,
            outgoing=Outgoing(issuer=f"http://{PORTAL}", signer=signer, apps=[self.app]),
            zones=Zones({}),
            calendar=Calendar(ZoneInfo("Asia/Tokyo")),
            clock=self.clock,
            outcomes=Outcomes(),
        )
        self.presenter = Presenter(Pages(portal=f"http://{PORTAL}", simulated=False), [self.app])

    async def open(self, limits: ProxyLimits = QUICK, **more: object) -> None:
        """Start everything and sign a person in."""
        await self.upstream.start()
        self.build()
        self.pipeline.streams.start()
        options: dict[str, object] = {
            "pipeline": self.pipeline, "present": self.presenter, "portal": self.portal, "portal_host": PORTAL,
            "apps": [self.app], "clock": self.clock, "public_scheme": "http", "limits": limits,
        }  # fmt: skip
        self.door = create_proxy(**{**options, **more})  # type: ignore[arg-type]  # a test may replace any of them
        self.port = await self.door.listen("127.0.0.1", 0)
        await self.sign_in()

    async def sign_in(self) -> None:
        now = int(self.clock.now())
        self.session = Session(
            id=new_id("ses"), identity=Identity(subject="usr_1", login="dr.sato", name="佐藤 恵", roles=("physician",)),
            events=(AuthEvent(kind="pwd", at=now, generation=1),), generation=1, created_at=now, last_seen_at=now,
            expires_at=now + 36_000, idle_seconds=900,
        )  # fmt: skip
        self.cookie = f"{SESSION_COOKIE}={(await self.sessions.create(self.session, HOST)).reveal()}"

    async def close(self) -> None:
        await self.door.close(0.5)
        await self.pipeline.streams.stop()
        await self.upstream.stop()

    # ---- as a client

    def head(self, target: str = "/", *more: str, method: str = "GET", host: str = "", cookie: str | None = None) -> bytes:
        """A request head; `more` are field lines."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host or f'{HOST}:{self.port}'}"]
        if cookie is None:
            cookie = self.cookie
        if cookie:
            lines.append(f"Cookie: {cookie}")
        return ("\r\n".join([*lines, *more]) + "\r\n\r\n").encode("utf-8", "surrogateescape")

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def send(self, data: bytes, *, bodyless: bool = False) -> Answer:
        """Send bytes on a connection of their own and return the first response."""
        async with self.connect() as (reader, writer):
            writer.write(data)
            async with asyncio.timeout(20):
                return await read_answer(reader, bodyless=bodyless)

    async def send_all(self, data: bytes) -> bytes:
        """Send bytes and return everything until the connection ends."""
        async with self.connect() as (reader, writer):
            writer.write(data)
            async with asyncio.timeout(20):
                return await reader.read()

    async def get(self, target: str = "/", *more: str, **options: str) -> Answer:
        return await self.send(self.head(target, *more, **options))

    # ---- what is left of it

    def decisions(self) -> list[DecisionRecord]:
        return [record for record in self.log.records if isinstance(record, DecisionRecord)]

    async def completions(self, count: int = 1) -> list[CompletionRecord]:
        """Completion records, once there are `count`."""
        async with asyncio.timeout(10):
            while True:
                found = [record for record in self.log.records if isinstance(record, CompletionRecord)]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    """A proxy door with a signed-in person."""
    gate = Gate(tmp_path)
    await gate.open()
    yield gate
    await gate.close()


async def assert_refused(gate: Gate, data: bytes, *, reason: str, status: int) -> Answer:
    """Send bytes that must be refused: a clear status, one record of it, no touch of the application, no second request."""
    before = len(gate.decisions())
    async with gate.connect() as (reader, writer):
        writer.write(data)
        async with asyncio.timeout(20):
            answer = await read_answer(reader)
            rest = b""
            with contextlib.suppress(ConnectionError):
                rest = await reader.read()
    records = gate.decisions()[before:]
    assert [(record.outcome, record.reason) for record in records] == [("refuse", reason)], answer.body
    assert answer.status == status
    assert gate.upstream.hits == []
    assert rest == b"", "the connection must end after a refusal"
    return answer

"""The whole gateway in this process: real listener, provider, stores and log; a counting upstream; browsers without a screen."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import msgspec
import pyotp
from aiohttp import web

from gateway.app import Gateway, open_gateway
from gateway.config import load_config
from gateway.demo import run as demo
from gateway.domain.record import EventRecord, Record
from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from gateway.kernel.web.loopback import LoopbackResolver
from tests.support.clinician import Clinician, Page, Person
from tests.support.ports import free_port

__all__ = ["PASSWORD", "SECRET", "Browser", "Page", "Whole", "open_whole", "query", "with_query"]

PASSWORD = "tsubaki-momiji-4711"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class Browser(Clinician):
    """A person at this gateway, whose clock is the test's."""

    def __init__(self, whole: "Whole") -> None:
        person = Person(login="dr.sato", password=PASSWORD, secret=SECRET)
        super().__init__(whole.http, f"http://{{}}.localhost:{whole.port}", person)
        self.whole = whole

    async def code(self) -> str:
        self.whole.clock.advance(30)  # one-time codes are good once
        return pyotp.TOTP(SECRET).at(int(self.whole.clock.now()))


class Whole:
    """A running gateway, its upstream, and its log."""

    def __init__(self, gateway: Gateway, http: aiohttp.ClientSession, port: int, clock: ManualClock, folder: Path) -> None:
        self.gateway, self.http, self.port, self.clock, self.folder = gateway, http, port, clock, folder
        self.hits: list[str] = []
        self.records: list[Record] = []

    def browser(self) -> Browser:
        return Browser(self)

    def events(self, name: str) -> list[EventRecord]:
        return [record for record in self.records if isinstance(record, EventRecord) and record.event == name]


def open_http() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver())
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def with_query(url: str, **changes: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query=urlencode({**query(url), **changes})).geturl()


async def _stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events, until somebody cuts it."""
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    with contextlib.suppress(ConnectionResetError):
        while True:
            await stream.write(b"data: beat\n\n")
            await asyncio.sleep(0.05)
    return stream


@contextlib.asynccontextmanager
async def open_whole(folder: Path, *, policies: Path | None = None, **changes: object) -> AsyncIterator[Whole]:
    """Run the demo's configuration over an upstream that only counts, with two people. `policies`: others than the starter's;
    `changes`: other sections of the configuration.
    """
    clock = ManualClock()
    hits: list[str] = []

    async def upstream(request: web.Request) -> web.StreamResponse:
        hits.append(request.path_qs)
        if request.path.endswith("/stream"):
            return await _stream(request)
        return web.Response(text=f"upstream {request.headers.get('X-Remote-User', 'somebody')}")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", upstream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    port = free_port()
    demo._make_folder(folder)
    demo._make_keys(folder / "keys")
    behind = int(listening.getsockname()[1])
    config = load_config(
        demo._write_config(
            folder, port, "http", None, issuer=f"http://id.localhost:{port}", upstreams=dict.fromkeys(demo.BEHIND, behind)
        ),
        os.environ,
    )
    config = msgspec.structs.replace(config, **changes)
    if policies is not None:
        config = msgspec.structs.replace(config, policies=msgspec.structs.replace(config.policies, dir=policies))
    try:
        async with open_gateway(config, clock) as gateway, open_http() as http:
            whole = Whole(gateway, http, port, clock, folder)
            whole.hits = hits
            gateway.log.subscribe(lambda _, record: whole.records.append(record))
            assert gateway.provider is not None
            for login, name, role in (("dr.sato", "佐藤 恵", "physician"), ("nurse.suzuki", "鈴木 翔", "nurse")):
                await gateway.provider.seed_user(
                    login=login, name=name, roles=(role,), organization="demo-hospital", birth_date="1984-05-12", kana="カナ",
                    password=Secret(PASSWORD), totp_secret=Secret(SECRET),
                )  # fmt: skip
            yield whole
            await asyncio.sleep(0)
    finally:
        await runner.cleanup()

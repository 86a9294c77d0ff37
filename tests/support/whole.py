"""The whole gateway in this process: real listener, provider, stores and log; a counting upstream; browsers without a screen."""

import asyncio
import contextlib
import html
import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp
import pyotp
from aiohttp import web

from gateway.app import Gateway, open_gateway
from gateway.config import load_config
from gateway.demo import run as demo
from gateway.domain.record import EventRecord, Record
from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret

PASSWORD = "tsubaki-momiji-4711"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class Page:
    """A reply."""

    def __init__(self, url: str, status: int, headers: list[tuple[str, str]], text: str) -> None:
        self.url, self.status, self.headers, self.text = url, status, headers, text

    @property
    def location(self) -> str:
        return next((urljoin(self.url, value) for name, value in self.headers if name.lower() == "location"), "")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def form(self, action: str) -> dict[str, str]:
        """The hidden fields of the form that posts to `action`."""
        for found in re.finditer(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', self.text, re.DOTALL):
            if html.unescape(found[1]) == action:
                fields = re.finditer(r'<input type="hidden" name="([^"]+)"(?: value="([^"]*)")?', found[2])
                return {field[1]: html.unescape(field[2] or "") for field in fields}
        raise AssertionError(f"no form {action} on {self.url}:\n{self.text[:2000]}")


class Browser:
    """Keeps cookies by host, as a browser keeps `__Host-` cookies, and follows nothing by itself unless told."""

    def __init__(self, whole: "Whole") -> None:
        self.whole = whole
        self.cookies: dict[str, dict[str, str]] = {}

    def url(self, host: str, path: str = "/") -> str:
        return f"http://{host}.localhost:{self.whole.port}{path}"

    async def request(self, method: str, url: str, data: dict[str, str] | None = None, **headers: str) -> Page:
        parts = urlsplit(url)
        host = parts.hostname or ""
        origin = f"http://{parts.netloc}"
        lines = {"Host": parts.netloc, "Sec-Fetch-Mode": "navigate", "Accept": "text/html", "Accept-Language": "ja"}
        if method == "POST":
            lines |= {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        jar = self.cookies.setdefault(host, {})
        if jar:
            lines["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        async with self.whole.http.request(
            method, f"http://127.0.0.1:{self.whole.port}{target}", headers=lines, data=data, allow_redirects=False
        ) as reply:
            for cookie in reply.headers.getall("Set-Cookie", []):
                name, _, rest = cookie.partition("=")
                value, _, attributes = rest.partition(";")
                if "max-age=0" in attributes.lower():
                    jar.pop(name, None)
                else:
                    jar[name] = value
            text = (await reply.read()).decode("utf-8", "replace")
            return Page(url, reply.status, list(reply.headers.items()), text)

    async def get(self, url: str, **headers: str) -> Page:
        return await self.request("GET", url, None, **headers)

    async def follow(self, page: Page, until: str = "") -> Page:
        """Follow redirects; stop before one whose address contains `until`."""
        for _ in range(20):
            if not page.location or (until and until in page.location):
                return page
            page = await self.get(page.location)
        raise AssertionError(f"redirects without end at {page.url}")

    async def open(self, host: str, path: str = "/", until: str = "") -> Page:
        return await self.follow(await self.get(self.url(host, path)), until)

    async def submit(self, page: Page, action: str, **fields: str) -> Page:
        return await self.request("POST", urljoin(page.url, action), {**page.form(action), **fields})

    async def credentials(self, page: Page, login: str = "dr.sato") -> Page:
        """Answer the sign-in page; return the redirect back to the portal, not yet followed."""
        page = await self.submit(page, "/login/password", login=login, password=PASSWORD)
        page = await self.follow(page, "/.gateway/")
        self.whole.clock.advance(30)  # one-time codes are good once
        code = pyotp.TOTP(SECRET).at(int(self.whole.clock.now()))
        page = await self.submit(page, "/login/code", code=code)
        return await self.follow(page, "/.gateway/")

    async def sign_in(self, host: str = "ehr", path: str = "/", login: str = "dr.sato") -> Page:
        return await self.follow(await self.credentials(await self.open(host, path), login))

    async def register_device(self, page: Page, label: str = "ward") -> Page:
        """From a page that asks for it, with the cookie alone (no script here), and back."""
        link = next(iter(re.findall(r'href="(/\.gateway/remedy\?step=register_device[^"]*)"', page.text)))
        page = await self.follow(await self.get(urljoin(page.url, html.unescape(link))))
        return await self.follow(await self.submit(page, "/.gateway/device", label=label, ownership="hospital", attested="yes"))

    async def proof(self, page: Page, outcome: str = "success") -> Page:
        """From a page that asks for it, through the simulated verifier, and back."""
        link = next(iter(re.findall(r'href="(/\.gateway/remedy\?step=identity_proofing[^"]*)"', page.text)))
        page = await self.follow(await self.get(urljoin(page.url, html.unescape(link))))
        page = await self.follow(await self.submit(page, "/login/proofing"))
        page = await self.follow(await self.submit(page, "/login/proofing/answer", outcome=outcome))
        onward = html.unescape(next(iter(re.findall(r'class="button[^"]*" href="([^"]+)"', page.text))))
        return await self.follow(await self.get(urljoin(page.url, onward)))

    async def enter(self, login: str = "dr.sato") -> Page:
        """Do everything that the EHR asks for."""
        page = await self.register_device(await self.sign_in(login=login))
        return await self.proof(page) if "step=identity_proofing" in page.text else page


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


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def with_query(url: str, **changes: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query=urlencode({**query(url), **changes})).geturl()


@contextlib.asynccontextmanager
async def open_whole(folder: Path) -> AsyncIterator[Whole]:
    """Run the demo's configuration over an upstream that only counts, with two people."""
    clock = ManualClock()
    hits: list[str] = []

    async def upstream(request: web.Request) -> web.Response:
        hits.append(request.path_qs)
        return web.Response(text=f"upstream {request.headers.get('X-Remote-User', 'somebody')}")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", upstream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    demo._make_folder(folder)
    demo._make_keys(folder / "keys")
    behind = int(listening.getsockname()[1])
    config = load_config(demo._write_config(folder, port, "http", None, ehr=behind, imaging=behind), os.environ)
    try:
        async with open_gateway(config, clock) as gateway, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
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

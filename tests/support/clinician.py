"""A person at a browser without a screen: keeps cookies, follows redirects, answers the pages of a whole gateway over HTTP(S)."""

import asyncio
import html
import json
import re
import time
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
import pyotp

from tests.support.authenticator import SoftKey

PERIOD = 30
_REMEDY = r'href="(/\.gateway/remedy\?step=%s[^"]*)"'


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody is, and what they sign in with."""

    login: str
    password: str
    secret: str
    """Of the authenticator app, Base32."""


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

    def remedy(self, step: str) -> str:
        """The address behind the button that starts a step."""
        found = re.search(_REMEDY % step, self.text)
        assert found, f"{step} is not offered on {self.url} ({self.status}):\n{self.text[:2000]}"
        return urljoin(self.url, html.unescape(found[1]))


class Clinician:
    """Keeps cookies by host, as a browser keeps `__Host-` cookies, and follows nothing by itself unless told."""

    _spent: ClassVar[dict[str, int]] = {}
    """The newest step of each authenticator app that was used, at whatever browser."""

    def __init__(self, http: aiohttp.ClientSession, origin: str, person: Person) -> None:
        """`origin` has `{}` for the host's first label: `https://{}.localhost:8443`. `http` resolves those names."""
        self.http = http
        self.person = person
        self.key = SoftKey()
        """The security key in their pocket."""
        self.cookies: dict[str, dict[str, str]] = {}
        self._origin = origin

    def url(self, host: str, path: str = "/") -> str:
        return self._origin.format(host) + path

    def headers(self, method: str, url: str) -> dict[str, str]:
        """What a browser sends along of itself."""
        parts = urlsplit(url)
        lines = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html", "Accept-Language": "ja"}
        if method != "GET":
            lines |= {"Origin": f"{parts.scheme}://{parts.netloc}", "Sec-Fetch-Site": "same-origin"}
        jar = self.cookies.setdefault(parts.hostname or "", {})
        if jar:
            lines["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        return lines

    async def request(self, method: str, url: str, data: Any = None, **headers: str) -> Page:
        lines = self.headers(method, url) | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, url.partition("#")[0], headers=lines, data=data, allow_redirects=False) as reply:
            self._keep(reply, self.cookies[urlsplit(url).hostname or ""])
            text = (await reply.read()).decode("utf-8", "replace")
            return Page(url, reply.status, list(reply.headers.items()), text)

    @staticmethod
    def _keep(reply: aiohttp.ClientResponse, jar: dict[str, str]) -> None:
        for cookie in reply.headers.getall("Set-Cookie", []):
            name, _, rest = cookie.partition("=")
            value, _, attributes = rest.partition(";")
            if "max-age=0" in attributes.lower():
                jar.pop(name, None)
            else:
                jar[name] = value

    async def get(self, url: str, **headers: str) -> Page:
        return await self.request("GET", url, **headers)

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

    # ---- what the pages ask for

    async def code(self) -> str:
        """A one-time code that was not used yet; waits where the three that are good now were."""
        now = int(time.time()) // PERIOD
        step = max(self._spent.get(self.person.secret, 0) + 1, now - 1)
        if step > now + 1:
            await asyncio.sleep((step - 1) * PERIOD - time.time() + 0.1)
        self._spent[self.person.secret] = step
        return pyotp.TOTP(self.person.secret).generate_otp(step)

    async def credentials(self, page: Page, login: str = "") -> Page:
        """Answer the sign-in page; return the redirect back to the portal, not yet followed."""
        page = await self.submit(page, "/login/password", login=login or self.person.login, password=self.person.password)
        page = await self.follow(page, "/.gateway/")
        page = await self.submit(page, "/login/code", code=await self.code())
        return await self.follow(page, "/.gateway/")

    async def sign_in(self, host: str = "ehr", path: str = "/", login: str = "") -> Page:
        return await self.follow(await self.credentials(await self.open(host, path), login))

    async def register_device(self, page: Page, label: str = "ward") -> Page:
        """From a page that asks for it, with the cookie alone (no script here), and back."""
        page = await self.follow(await self.get(page.remedy("register_device")))
        return await self.follow(await self.submit(page, "/.gateway/device", label=label, ownership="hospital", attested="yes"))

    async def proof(self, page: Page, outcome: str = "success") -> Page:
        """From a page that asks for it, through the simulated verifier, and back."""
        page = await self.follow(await self.get(page.remedy("identity_proofing")))
        page = await self.follow(await self.submit(page, "/login/proofing"))
        page = await self.follow(await self.submit(page, "/login/proofing/answer", outcome=outcome))
        onward = html.unescape(next(iter(re.findall(r'class="button[^"]*" href="([^"]+)"', page.text))))
        return await self.follow(await self.get(urljoin(page.url, onward)))

    async def touch_key(self, page: Page) -> Page:
        """From a page that asks for it; registers the key first where the provider does not know it; and back."""
        page = await self.follow(await self.get(page.remedy("key_touch")))
        if 'action="/login/code"' in page.text:
            page = await self.follow(await self.submit(page, "/login/code", code=await self.code()))
        if 'action="/login/register"' in page.text:
            page = await self.follow(await self._ceremony(page, "/login/register"))
        return await self.follow(await self._ceremony(page, "/login/key"))

    async def _ceremony(self, page: Page, action: str) -> Page:
        """Do what the page's script does: ask what to sign, have the key sign it, send the form."""
        fields = page.form(action)
        begun = await self.request("POST", urljoin(page.url, f"{action}/begin"), {name: fields[name] for name in ("tx", "csrf")})
        assert begun.status == 200, begun.text
        asked = json.loads(begun.text)
        parts = urlsplit(page.url)
        use = self.key.create if action == "/login/register" else self.key.get
        answer = use(asked["options"], f"{parts.scheme}://{parts.netloc}")
        more = {"label": "名札のキー"} if action == "/login/register" else {}
        return await self.submit(page, action, ceremony=asked["ceremony"], response=answer, **more)

    async def enter(self, login: str = "") -> Page:
        """Do everything that the demo's EHR asks for."""
        page = await self.register_device(await self.sign_in(login=login))
        return await self.proof(page) if "step=identity_proofing" in page.text else page

"""The whole identity provider on a real socket, and a browser of few words to use it with."""

import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import pyotp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from joserfc import jwt
from joserfc.jwk import KeySet
from yarl import URL

from gateway.kernel.clock import Clock, ManualClock
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from idp.app import IdentityProvider, open_provider
from idp.factors.password import HashParameters, Passwords
from idp.model import Event, PasswordCredential, TotpCredential, User
from idp.proofing.port import ProofingBackend
from idp.proofing.simulated import simulated_backend
from idp.settings import Client, IdpSettings
from idp.web.account import account_client
from idp.web.options import PageOptions
from idp.web.pages import setup_pages
from tests.support.authenticator import SoftKey
from tests.support.ports import free_port

SECRET = "client-secret-of-the-tests-0123456789"
PASSWORD = "kawasemi-4821-hotaru"
TOTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CHEAP = HashParameters(time_cost=1, memory_kib=1024, parallelism=1)
HASHED = Passwords(bytes(16), CHEAP).hash(Secret(PASSWORD), bytes(16))


class Events:
    """An event sink that remembers, and that can be broken."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self.fail: Exception | None = None

    async def record(self, event: Event) -> None:
        if self.fail is not None:
            raise self.fail
        self.all.append(event)

    def names(self) -> list[str]:
        return [event.name for event in self.all]

    def last(self, name: str) -> Event:
        return [event for event in self.all if event.name == name][-1]


class IdpSite:
    """A running provider. Its clock stands still unless it is moved."""

    def __init__(self, issuer: str, portal: str, provider: IdentityProvider, clock: Clock, events: Events) -> None:
        self.issuer = issuer
        self.portal = portal
        self.callback = f"{portal}/.gateway/callback"
        self.provider = provider
        self.store = provider.store
        self.clock = clock
        self.events = events

    async def person(self, login: str = "dr.sato", name: str = "佐藤 恵", *, totp: bool = True, **more: Any) -> User:
        """Add somebody whose password is PASSWORD and whose authenticator app holds TOTP."""
        user = User(id=new_id("usr"), login=login, name=name, **({"roles": ("physician",)} | more))
        await self.store.users.add(user)
        now = int(self.clock.now())
        await self.store.credentials.set_password(PasswordCredential(user_id=user.id, encoded=HASHED, changed_at=now))
        if totp:
            await self.store.credentials.set_totp(TotpCredential(user_id=user.id, secret=Secret(TOTP), created_at=now))
        return user

    def code(self, steps: int = 0) -> str:
        """The one-time code of now, or of some steps later."""
        return self.code_of(TOTP, steps)

    def code_of(self, secret: str, steps: int = 0) -> str:
        return pyotp.TOTP(secret).generate_otp(int(self.clock.now()) // 30 + steps)

    def later(self, seconds: float) -> None:
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(seconds)


@asynccontextmanager
async def idp_site(
    folder: Path, *, clock: Clock | None = None, backend: ProofingBackend | Callable[[str], ProofingBackend] | None = None,
    **options: Any,
) -> AsyncIterator[IdpSite]:  # fmt: skip
    """`backend` may be made of the issuer, which is known only here."""
    clock = clock or ManualClock()
    port, portal_port = free_port(), free_port()
    issuer, portal = f"http://id.localhost:{port}", f"http://portal.localhost:{portal_port}"
    events = Events()
    chosen_backend = backend(issuer) if callable(backend) else backend or simulated_backend(clock, demo_mode=True)
    settings = IdpSettings(
        issuer=issuer, data_dir=folder / "idp",
        clients=(
            Client.registered(
                "gateway", Secret(SECRET), redirect_uris=(f"{portal}/.gateway/callback",),
                post_logout_redirect_uris=(f"{portal}/out",),
            ),
            account_client(issuer),
        ),
    )  # fmt: skip
    given: dict[str, Any] = {"hash_parameters": CHEAP, "form_origins": (f"http://*.localhost:{portal_port}",), **options}
    chosen = PageOptions(portal=portal, proofing=chosen_backend, **given)
    provider = await open_provider(
        settings, clock=clock, events=events, pages=partial(setup_pages, options=chosen),
        address_of=lambda request: request.headers.get("X-Test-Address", "192.0.2.1"),
    )  # fmt: skip
    runner, client = web.AppRunner(provider.app), web.AppRunner(_client())
    await runner.setup()
    await client.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await web.TCPSite(client, "127.0.0.1", portal_port).start()
        yield IdpSite(issuer, portal, provider, clock, events)
    finally:
        await runner.cleanup()
        await client.cleanup()
        await provider.close()


def _client() -> web.Application:
    """Return a stand-in for the portal, so that a browser has somewhere to arrive."""

    async def arrived(request: web.Request) -> web.Response:
        if request.query.get("state") == "to-app":  # as the gateway does after a sign-in that an app asked for
            return web.Response(status=302, headers={"Location": f"http://{request.host.replace('portal', 'ehr')}/arrived"})
        return web.Response(text=f"portal {request.path}")

    app = web.Application()
    app.router.add_get("/{path:.*}", arrived)
    return app


class _Loopback(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        return None


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((found.get("action", ""), {}))
        elif tag == "input" and self.forms and "name" in found:
            self.forms[-1][1][found["name"]] = found.get("value", "")


class Reply:
    """A page or redirect, read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str, url: str) -> None:
        self.status = status
        self.headers = headers
        self.text = text
        self.url = url
        self.forms = _Forms()
        self.forms.feed(text)

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    def form(self, action: str) -> dict[str, str]:
        return next(fields for name, fields in self.forms.forms if name == action)

    @property
    def actions(self) -> list[str]:
        return [name for name, _ in self.forms.forms]


class Browser:
    """Cookies, same-origin headers, forms. It follows redirects within the provider and stops at the client's."""

    def __init__(self, site: IdpSite, *, address: str = "192.0.2.1", language: str = "ja") -> None:
        self.site = site
        self.verifier = ""
        self.headers = {"X-Test-Address": address, "Accept-Language": language}
        self.session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(treat_as_secure_origin=[URL(site.issuer)]),
            connector=aiohttp.TCPConnector(resolver=_Loopback()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.session.close()

    def cookie(self, name: str) -> str:
        found = self.session.cookie_jar.filter_cookies(URL(self.site.issuer)).get(name)
        return found.value if found is not None else ""

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return await self._follow("GET", path, None, headers or {})

    async def post(
        self,
        path: str,
        fields: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str | None] | None = None,
    ) -> Reply:
        """Send a form as a browser on the page does; a header that is None is left out."""
        sent = {"Origin": self.site.issuer, **(headers or {})}
        pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
        return await self._follow("POST", path, pairs, {name: value for name, value in sent.items() if value is not None})

    async def json(self, page: Reply, action: str) -> dict[str, Any]:
        """Do what the page's script does first: ask for the ceremony of a form."""
        reply = await self.post(f"{action}/begin", page.form(action))
        assert reply.status == 200, reply.text
        found: dict[str, Any] = json.loads(reply.text)
        return found

    async def touch(self, page: Reply, key: SoftKey, action: str = "/login/key", **wrong: Any) -> Reply:
        """Use a key on a page."""
        begun = await self.json(page, action)
        answer = key.get(begun["options"], wrong.pop("origin", self.site.issuer), **wrong)
        return await self.submit(page, action, ceremony=begun["ceremony"], response=answer)

    async def register(self, page: Reply, key: SoftKey, action: str = "/login/register", **wrong: Any) -> Reply:
        """Register a key on a page."""
        begun = await self.json(page, action)
        answer = key.create(begun["options"], wrong.pop("origin", self.site.issuer), **wrong)
        return await self.submit(page, action, ceremony=begun["ceremony"], response=answer, label="名札のキー")

    async def step_up(self, subject_token: str, **changes: str) -> Reply:
        """Ask for a fresh touch of a person's key, as the gateway does."""
        return await self.authorize(**({"acr_values": "phr", "max_age": "0", "id_token_hint": subject_token} | changes))

    async def authorize(self, **changes: str) -> Reply:
        """Start a sign-in as the gateway does."""
        self.verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": "gateway", "redirect_uri": self.site.callback, "scope": "openid profile",
            "state": "state-of-the-test", "nonce": "nonce-of-the-test", "code_challenge": challenge,
            "code_challenge_method": "S256", **changes,
        }  # fmt: skip
        return await self.get(f"/authorize?{urlencode(asked)}")

    async def submit(self, page: Reply, action: str, **fields: str) -> Reply:
        """Fill in a form of a page and send it."""
        return await self.post(action, page.form(action) | fields)

    async def sign_in(self, login: str = "dr.sato", **changes: str) -> Reply:
        """Sign in with password and one-time code; return the redirect to the client."""
        page = await self.authorize(**changes)
        page = await self.submit(page, "/login/password", login=login, password=PASSWORD)
        return await self.submit(page, "/login/code", code=self.site.code())

    async def tokens(self, redirect: Reply) -> dict[str, Any]:
        """Exchange the code of a redirect, verify the ID token against the published keys, return its claims."""
        answer = dict(parse_qsl(urlsplit(redirect.location).query))
        assert answer["iss"] == self.site.issuer
        assert answer["state"] == "state-of-the-test"
        fields = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": self.site.callback,
            "code_verifier": self.verifier,
        }
        basic = aiohttp.encode_basic_auth("gateway", SECRET)
        async with self.session.post(f"{self.site.issuer}/token", data=fields, headers={"Authorization": basic}) as reply:
            body = await reply.json()
            assert reply.status == 200, body
        async with self.session.get(f"{self.site.issuer}/jwks.json") as reply:
            keys = KeySet.import_key_set(await reply.json())
        claims = dict(jwt.decode(body["id_token"], keys, algorithms=["ES256"]).claims)
        assert claims["nonce"] == "nonce-of-the-test"
        return claims | {"_id_token": body["id_token"]}

    async def _follow(
        self, method: str, path: str, fields: Sequence[tuple[str, str]] | None, headers: Mapping[str, str]
    ) -> Reply:
        url = path if path.startswith("http") else f"{self.site.issuer}{path}"
        for _ in range(10):
            async with self.session.request(
                method, URL(url, encoded=True), data=fields, headers={**self.headers, **headers}, allow_redirects=False
            ) as answer:
                reply = Reply(answer.status, answer.headers, await answer.text(), url)
            if reply.status not in {301, 302, 303, 307, 308} or not reply.location.startswith(("/", self.site.issuer)):
                return reply
            url = reply.location if reply.location.startswith("http") else f"{self.site.issuer}{reply.location}"
            method, fields = "GET", None
        raise AssertionError(f"redirected in circles at {url}")

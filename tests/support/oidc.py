"""A real provider on a real socket with a real database, a browser that keeps cookies, and a client that distrusts the provider.

Only the sign-in pages are plain here: they take the word of the test for what somebody proved, and hand it to the real flows.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from jose import jwt

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError
from gateway.kernel.secret import Secret
from idp.app import IdentityProvider, open_provider
from idp.model import AuthEvent, AuthKind, Event, LoginTransaction, PersonDigest, ProofingRecord, User
from idp.settings import Client, IdpSettings
from idp.web import cookies
from idp.web.parts import Parts, Problem

ISSUER: Final = "http://id.localhost:8080"
CALLBACK: Final = "http://portal.localhost:8080/.gateway/callback"
SIGNED_OUT: Final = "http://portal.localhost:8080/.gateway/signed-out"
SECRET: Final = Secret("s" * 43)
OTHER_CALLBACK: Final = "http://other.localhost:8080/cb"
OTHER_SECRET: Final = Secret("o" * 43)
PASSWORD: Final = Secret("Tsuru7-kame9-umi")
TOTP: Final = Secret("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")

Pairs = list[tuple[str, str]]


class Events:
    """A log that a test can read, or break."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.broken = False

    async def record(self, event: Event) -> None:
        if self.broken:
            raise AuditError("disk full")
        self.seen.append(event)

    def names(self) -> list[str]:
        return [event.name for event in self.seen]


class PlainPages:
    """Sign-in pages without factors."""

    def __init__(self) -> None:
        self.parts: Parts | None = None

    def __call__(self, app: web.Application, parts: Parts) -> "PlainPages":
        self.parts = parts
        app.router.add_get("/login", self._show)
        app.router.add_post("/login/finish", self._finish)
        return self

    async def problem(self, request: web.Request, problem: Problem, status: int) -> web.StreamResponse:
        return web.Response(status=status, text=f"problem={problem}")

    async def confirm_sign_out(self, request: web.Request, name: str, token: str) -> web.StreamResponse:
        return web.Response(text=f"confirm={token}")

    async def signed_out(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="signed-out")

    async def _show(self, request: web.Request) -> web.StreamResponse:
        assert self.parts is not None
        found = await self.parts.flows.load(request.query.get("tx", ""), cookies.browser_of(request))
        return web.Response(text="login" if found else "no such sign-in", status=200 if found else 410)

    async def _finish(self, request: web.Request) -> web.StreamResponse:
        assert self.parts is not None
        form = await request.post()
        completed = await self.parts.flows.complete(
            str(form["tx"]), cookies.browser_of(request), cookies.session_of(request), self.parts.address_of(request)
        )
        return cookies.finish(completed) if completed else web.Response(status=410)


class Browser:
    """Keeps cookies and never follows redirects. Cookies must be host-bound, secure and out of scripts' reach."""

    def __init__(self, base: str, http: aiohttp.ClientSession) -> None:
        self._base = base
        self._http = http
        self.cookies: dict[str, str] = {}

    async def send(
        self, method: str, path: str, *, query: Iterable[tuple[str, str]] | None = None,
        form: Iterable[tuple[str, str]] | None = None, headers: Mapping[str, str] | None = None,
    ) -> "Reply":  # fmt: skip
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with self._http.request(
            method, self._base + path, params=list(query) if query is not None else None,
            data=aiohttp.FormData(list(form)) if form is not None else None, headers=sent, allow_redirects=False,
        ) as response:  # fmt: skip
            for name, morsel in response.cookies.items():
                assert name.startswith("__Host-")
                assert (morsel["secure"], morsel["httponly"], morsel["path"], morsel["domain"]) == (True, True, "/", "")
                assert morsel["samesite"] == "Lax"
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
            return Reply(status=response.status, headers=dict(response.headers), body=await response.text())

    async def get(self, path: str, query: Iterable[tuple[str, str]] | None = None) -> "Reply":
        return await self.send("GET", path, query=query)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    headers: dict[str, str]
    body: str

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    @property
    def answer(self) -> dict[str, str]:
        """The parameters of the redirect."""
        return dict(parse_qsl(urlsplit(self.location).query, strict_parsing=True))

    def json(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body, type=dict[str, Any])


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a client remembers of a request."""

    pairs: Pairs
    verifier: str
    nonce: str
    state: str


class World:
    """Everything that a test needs."""

    def __init__(
        self, provider: IdentityProvider, pages: PlainPages, base: str, http: aiohttp.ClientSession, clock: ManualClock
    ) -> None:
        self.provider = provider
        self.base = base
        self.http = http
        self.clock = clock
        assert pages.parts is not None
        self.parts = pages.parts
        assert isinstance(self.parts.events, Events)
        self.events = self.parts.events

    @property
    def now(self) -> int:
        return int(self.clock.now())

    def browser(self) -> Browser:
        return Browser(self.base, self.http)

    async def person(self, login: str = "dr.sato", name: str = "佐藤 健", roles: tuple[str, ...] = ("physician",)) -> User:
        return await self.provider.seed_user(
            login=login, name=name, roles=roles, organization="中央病院", department="内科", totp_secret=TOTP
        )

    def ask(self, **changes: str | None) -> Ask:
        """Return a valid request, with parameters replaced, added, or (None) left out."""
        verifier, nonce, state = secrets.token_urlsafe(32), secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        wanted: dict[str, str | None] = {
            "response_type": "code", "client_id": "gateway", "redirect_uri": CALLBACK, "scope": "openid profile", "state": state,
            "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256", **changes,
        }  # fmt: skip
        return Ask(
            pairs=[(name, value) for name, value in wanted.items() if value is not None],
            verifier=verifier,
            nonce=nonce,
            state=state,
        )

    async def prove(self, browser: Browser, location: str, user: User, *kinds: AuthKind) -> None:
        """Let somebody prove factors in the sign-in that `location` (`/login?tx=...`) leads to."""
        events = tuple(AuthEvent(kind=kind, at=self.now, phishing_resistant=kind == "fido2") for kind in kinds)

        def change(transaction: LoginTransaction) -> LoginTransaction:
            return msgspec.structs.replace(transaction, user_id=user.id, proved=transaction.proved + events)

        assert await self.parts.flows.update(transaction_of(location), browser.cookies[cookies.BROWSER_COOKIE], change)

    async def finish(self, browser: Browser, location: str) -> Reply:
        return await browser.send("POST", "/login/finish", form=[("tx", transaction_of(location))])

    async def sign_in(self, browser: Browser, user: User, *kinds: AuthKind, ask: Ask | None = None) -> tuple[Ask, str]:
        """Go through a whole sign-in; return the request and the code."""
        ask = ask or self.ask()
        reply = await browser.get("/authorize", ask.pairs)
        assert reply.location.startswith("/login?tx="), reply
        await self.prove(browser, reply.location, user, *(kinds or ("pwd", "otp")))
        done = await self.finish(browser, reply.location)
        assert done.status == 303, done
        assert done.location.startswith(CALLBACK + "?"), done
        assert (done.answer["state"], done.answer["iss"]) == (ask.state, ISSUER)
        return ask, done.answer["code"]

    async def redeem(
        self, ask: Ask, code: str, *, client: str = "gateway", secret: Secret = SECRET, drop: str = "", **changes: str
    ) -> Reply:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": ask.verifier, **changes,
        }  # fmt: skip
        form.pop(drop, None)
        return await self.browser().send("POST", "/token", form=list(form.items()), headers=basic(client, secret))

    async def tokens(self, browser: Browser, user: User, *kinds: AuthKind, ask: Ask | None = None) -> dict[str, Any]:
        """Sign in and return the token response."""
        asked, code = await self.sign_in(browser, user, *kinds, ask=ask)
        reply = await self.redeem(asked, code)
        assert reply.status == 200, reply
        return reply.json()

    async def verified(self, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ID token's claims as somebody else's library (python-jose) verifies them."""
        keys = (await self.browser().get("/jwks.json")).json()["keys"]
        kid = jwt.get_unverified_header(tokens["id_token"])["kid"]
        (key,) = [key for key in keys if key["kid"] == kid]
        claims: dict[str, Any] = jwt.decode(
            tokens["id_token"], key, algorithms=["ES256"], audience="gateway", issuer=ISSUER, access_token=tokens["access_token"],
            options={"require_at_hash": True, "require_exp": True, "require_iat": True, "require_aud": True},
        )  # fmt: skip
        return claims

    async def userinfo(self, token: str) -> Reply:
        return await self.browser().send("GET", "/userinfo", headers={"Authorization": f"Bearer {token}"})

    async def proofed(
        self, user: User, *, expires_in: int | None = 3600, method: str = "simulated", evidence: str = "none"
    ) -> ProofingRecord:
        digest = PersonDigest(key="", digest=hashlib.sha256(user.id.encode()).hexdigest())
        ends = None if expires_in is None else self.now + expires_in
        record = ProofingRecord(
            user_id=user.id, level=3, method=method, verified_at=self.now, expires_at=ends, verifier="simulation",
            transaction=secrets.token_hex(8), person_digest=digest.digest, evidence=evidence,
        )  # fmt: skip
        kept = await self.parts.store.proofing.keep(record, (digest,), now=self.now if ends is None else min(self.now, ends - 1))
        assert isinstance(kept, ProofingRecord)
        return kept


def transaction_of(location: str) -> str:
    return dict(parse_qsl(urlsplit(location).query))["tx"]


def basic(client: str, secret: Secret) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client}:{secret.reveal()}".encode()).decode()}


def settings_in(folder: Path, **changes: Any) -> IdpSettings:
    clients = (
        Client.registered("gateway", SECRET, redirect_uris=(CALLBACK,), post_logout_redirect_uris=(SIGNED_OUT,)),
        Client.registered("other", OTHER_SECRET, redirect_uris=(OTHER_CALLBACK,)),
    )
    return msgspec.structs.replace(IdpSettings(issuer=ISSUER, clients=clients, data_dir=folder / "idp"), **changes)


@pytest.fixture
async def oidc(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(float(int(time.time())))
    pages = PlainPages()
    provider = await open_provider(
        settings_in(tmp_path), clock=clock, events=Events(), pages=pages, address_of=lambda request: request.remote or ""
    )
    server = TestServer(provider.app)
    await server.start_server()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield World(provider, pages, str(server.make_url("")).rstrip("/"), http, clock)
    await server.close()
    await provider.close()

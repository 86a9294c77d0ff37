"""oauth2-proxy, as its manual sets it up: session cookie, sessions in Redis, its own log; and a sign-in that gets a real cookie.

Its provider here is the smallest there can be: it signs in whoever comes. Nothing of that is in what is measured.
"""

import base64
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from bench.children import LOOPBACK, BenchError, Children, NotMeasuredError, free_port

CLIENT: Final = "bench"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A running one, and what a browser sends to it."""

    port: int
    headers: tuple[tuple[str, str], ...]


def find_oauth2_proxy() -> str:
    """Return the program. NotMeasuredError where it is not installed."""
    gobin = os.environ.get("GOBIN") or f"{os.environ.get('GOPATH') or Path.home() / 'go'}/bin"
    found = shutil.which("oauth2-proxy", path=f"{os.environ.get('PATH', '')}:{gobin}")
    if found is None:
        raise NotMeasuredError("oauth2-proxy is not installed, and could not be: see what deploy/dev/bench.sh says")
    return found


async def start_oauth2_proxy(children: Children, *, application: int, redis_url: str) -> Running:
    """Start it before the application, sign in, and return what its session's browser sends."""
    program = find_oauth2_proxy()
    port = free_port()
    async with _provider(port) as issuer:
        command = [
            program,
            f"--http-address={LOOPBACK}:{port}",
            f"--upstream=http://{LOOPBACK}:{application}/",
            "--provider=oidc",
            f"--oidc-issuer-url={issuer}",
            f"--client-id={CLIENT}",
            f"--client-secret={secrets.token_urlsafe(16)}",
            f"--redirect-url=http://{LOOPBACK}:{port}/oauth2/callback",
            f"--cookie-secret={base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}",
            "--cookie-secure=false",
            "--email-domain=*",
            "--session-store-type=redis",
            f"--redis-connection-url={redis_url}",
            "--reverse-proxy=true",
            "--skip-provider-button=true",
            "--scope=openid email",
        ]
        process = children.start("oauth2-proxy", command, env={"GOMAXPROCS": "1"})
        await children.ready("oauth2-proxy", process, port)
        cookie = await _sign_in(port)
    return Running(port=port, headers=(("Host", f"{LOOPBACK}:{port}"), ("Cookie", cookie)))


async def _sign_in(port: int) -> str:
    """Follow the redirects of a sign-in with a cookie jar; return the Cookie field."""
    jar: dict[str, str] = {}
    url = f"http://{LOOPBACK}:{port}/oauth2/start?rd=/"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for _ in range(6):
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
            async with http.get(url, headers=headers, allow_redirects=False) as reply:
                for name, morsel in reply.cookies.items():
                    jar[name] = morsel.value
                    if not morsel.value:
                        del jar[name]
                if reply.status != 302 or reply.headers["Location"] == "/":  # noqa: PLR2004  Found
                    break
                url = reply.headers["Location"]
    if "_oauth2_proxy" not in jar:
        raise BenchError(f"oauth2-proxy signed nobody in: {sorted(jar)}")
    return f"_oauth2_proxy={jar['_oauth2_proxy']}"


@contextlib.asynccontextmanager
async def _provider(client_port: int) -> AsyncIterator[str]:
    """Serve an OpenID Provider that signs in whoever comes; yield its issuer."""
    port = free_port()
    issuer = f"http://{LOOPBACK}:{port}"
    key = RSAKey.generate_key(2048, parameters={"kid": "bench", "use": "sig", "alg": "RS256"}, private=True)
    nonces: dict[str, str] = {}

    async def discovery(_: web.Request) -> web.Response:
        document: dict[str, Any] = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return web.json_response(document)

    async def keys(_: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False)]})

    async def authorize(request: web.Request) -> web.Response:
        code = secrets.token_urlsafe(16)
        nonces[code] = request.query.get("nonce", "")
        answer = urlencode({"code": code, "state": request.query["state"]})
        raise web.HTTPFound(f"http://{LOOPBACK}:{client_port}/oauth2/callback?{answer}")

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        now = int(time.time())
        claims = {
            "iss": issuer, "aud": CLIENT, "sub": "usr_sato", "iat": now, "exp": now + 36_000,
            "email": "sato@hospital.example", "email_verified": True, "nonce": nonces.pop(str(form["code"])),
        }  # fmt: skip
        signed = jwt.encode({"alg": "RS256", "kid": "bench"}, claims, key)
        return web.json_response(
            {"access_token": secrets.token_urlsafe(32), "token_type": "Bearer", "expires_in": 36_000, "id_token": signed}
        )

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/jwks", keys)
    app.router.add_get("/authorize", authorize)
    app.router.add_post("/token", token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        yield issuer
    finally:
        await runner.cleanup()

"""How an app that is not the gateway's own verifies who is behind a request: fetch the gateway's public keys, keep them, check.

`gateway.kernel.assertion.verify_assertion` is the check itself. This module is the rest of what an app needs: where the keys
come from, how long they are believed, and what happens when a key is new or the portal does not answer.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import aiohttp

from gateway.kernel.assertion import Claims, Keys, NotVerified, parse_keys, verify_assertion
from gateway.kernel.clock import Clock
from gateway.kernel.errors import GatewayError
from gateway.kernel.web.loopback import LoopbackResolver

FRESH_SECONDS: Final = 300
"""Keys younger than this are used without asking again: how long a withdrawn key may live on."""
STALE_SECONDS: Final = 3600
"""Keys that can't be refreshed are used for this long, then nobody is let in."""
RETRY_SECONDS: Final = 5
"""The least time between two fetches, so that tokens with invented key ids can't make the app flood the portal."""
_MAX_BODY: Final = 64 * 1024


class KeysUnavailable(GatewayError):  # noqa: N818  it names a state that callers answer with 503, as StoreUnavailable does
    """The gateway's keys can't be had: nobody can be verified. Answer 503 and show nothing."""


class AssertionVerifier:
    """Verifies assertions of one gateway (`issuer`) for one app (`audience`)."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], *, issuer: str, audience: str, clock: Clock) -> None:
        """`fetch` returns the JWK Set as JSON, or raises KeysUnavailable (see `fetch_jwks`)."""
        self._fetch = fetch
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def __call__(self, token: str) -> Claims:
        """Return the claims of `token`. NotVerified: answer 401. KeysUnavailable: answer 503."""
        if self._age() > FRESH_SECONDS:
            await self._refresh()
        if self._age() > STALE_SECONDS:
            raise KeysUnavailable("the gateway's keys could not be fetched", todo="See that the portal answers")
        try:
            return self._check(token)
        except NotVerified as error:
            if error.why != "unknown_key":
                raise
        await self._refresh()  # the gateway may have begun to use a new key
        return self._check(token)

    def _check(self, token: str) -> Claims:
        return verify_assertion(token, self._keys, issuer=self._issuer, audience=self._audience, now=self._clock.now())

    def _age(self) -> float:
        return self._clock.monotonic() - self._fetched_at

    async def _refresh(self) -> None:
        """Fetch the keys, one fetch at a time. When that fails the old keys stay, and their age decides."""
        async with self._lock:
            if self._clock.monotonic() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = self._clock.monotonic()
            try:
                self._keys = parse_keys(await self._fetch())
            except (KeysUnavailable, ValueError) as error:
                if self._age() > STALE_SECONDS:
                    raise KeysUnavailable(f"the gateway's keys could not be fetched: {error}") from error
                return
            self._fetched_at = self._clock.monotonic()


async def fetch_jwks(url: str, *, tls: ssl.SSLContext | None = None) -> bytes:
    """Return the body at `url` (`<portal>/.gateway/jwks.json`), at most 64 KiB, within 5 seconds; else KeysUnavailable.

    No redirect is followed, no proxy of the environment used. Names under `.localhost` are this machine (RFC 6761 §6.3), which
    not every resolver knows. `tls` holds the CA for https with a private one.
    """
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=tls if tls is not None else True)
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise KeysUnavailable(f"the portal answered {response.status}", where=url)
            body = await response.content.read(_MAX_BODY + 1)
            while len(body) <= _MAX_BODY and (more := await response.content.read(_MAX_BODY + 1)):
                body += more
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise KeysUnavailable(f"the portal does not answer: {error}", where=url) from error
    if len(body) > _MAX_BODY:
        raise KeysUnavailable("the portal's JWK Set is larger than 64 KiB", where=url)
    return body

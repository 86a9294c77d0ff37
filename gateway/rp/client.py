"""The gateway as a plain OpenID Connect relying party: discovery, the authorization URL, the code exchange, keys.

Code flow with PKCE S256 (RFC 7636), state, nonce, `iss` in the response (RFC 9207), `client_secret_basic`. It speaks HTTP to
the provider also when both run in one process. Keys are fetched again when an unknown `kid` appears, at most every 10 seconds,
and when they are an hour old: a key that the provider has withdrawn is not believed for longer.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ProtocolError
from gateway.kernel.secret import Secret
from gateway.rp.token import verify_id_token

TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
MAX_DOCUMENT: Final = 262_144
REFETCH_SECONDS: Final = 10.0
KEYS_SECONDS: Final = 3600.0
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OPTIONAL: Final = ("end_session_endpoint",)
_SAYS_ISSUER: Final = "authorization_response_iss_parameter_supported"
_BROKEN: Final = re.compile(r"[^!-~]|#|\\")
"""What no endpoint's address holds: spaces, control characters, a fragment (RFC 6749 §3.1), anything but ASCII."""


class OidcClient:
    """One provider, one client registration."""

    def __init__(
        self,
        *,
        http: aiohttp.ClientSession,
        issuer: str,
        client_id: str,
        client_secret: Secret,
        redirect_uri: str,
        clock: Clock,
        allow_http: bool,
    ) -> None:
        """`allow_http` only where the provider is reached over loopback (demo)."""
        self._http = http
        self.issuer: Final = issuer
        self._client_id = client_id
        self._secret = client_secret
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._allow_http = allow_http
        self._metadata: dict[str, str] | None = None
        self._keys = KeySet([])
        self._keys_at = -REFETCH_SECONDS
        self._lock = asyncio.Lock()

    async def authorization_url(self, *, state: str, nonce: str, verifier: str, extra: Mapping[str, str]) -> str:
        """Return where to send the browser. `extra`: `acr_values`, `max_age`, `prompt`, `ui_locales`, `id_token_hint`."""
        metadata = await self._discover()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
            **extra,
        }
        return _with_query(metadata["authorization_endpoint"], query)

    async def logout_url(self, *, id_token: str, back: str) -> str:
        """Return where to send the browser to end its session at the provider (RP-Initiated Logout 1.0).

        `back` itself where the provider has no such endpoint: its own session then ends by its own limits.
        """
        metadata = await self._discover()
        if "end_session_endpoint" not in metadata:
            return back
        query = {"id_token_hint": id_token, "client_id": self._client_id, "post_logout_redirect_uri": back}
        return _with_query(metadata["end_session_endpoint"], query)

    async def answers_as(self, issuer: str | None, *, given: bool) -> bool:
        """Say whether an authorization response may be this provider's (RFC 9207 §2.4).

        `issuer` is its one `iss`, `given` whether there was any. Without one it may be, unless the provider promises to send it.
        """
        if given:
            return issuer == self.issuer
        return _SAYS_ISSUER not in await self._discover()

    async def exchange(self, *, code: str, verifier: str, nonce: str) -> tuple[str, dict[str, Any]]:
        """Exchange a code; return the ID token and its verified claims. Raises ProtocolError."""
        metadata = await self._discover()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        # RFC 6749 §2.3.1: both halves are form-encoded before they go into Basic.
        login = aiohttp.encode_basic_auth(quote(self._client_id, safe=""), quote(self._secret.reveal(), safe=""))
        answer = await self._json("POST", metadata["token_endpoint"], data=form, headers={"Authorization": login})
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProtocolError("the provider's answer has no ID token", where="token endpoint")
        return token, await self._verify(token, nonce)

    async def _verify(self, token: str, nonce: str) -> dict[str, Any]:
        for attempt in (1, 2):
            keys = await self._fetch_keys(again=attempt > 1)
            try:
                return verify_id_token(
                    token, keys, issuer=self.issuer, client_id=self._client_id, nonce=nonce, now=self._clock.now()
                )
            except ProtocolError as error:
                # An unknown key may be a new one: look once more, then it is an error.
                if error.where != "step 2" or attempt > 1:
                    raise
        raise AssertionError("the second attempt returns or raises")

    async def _discover(self) -> dict[str, str]:
        if self._metadata is None:
            async with self._lock:
                if self._metadata is None:
                    self._metadata = await self._read_metadata()
        return self._metadata

    async def _read_metadata(self) -> dict[str, str]:
        schemes = ("https://", "http://") if self._allow_http else ("https://",)
        if not self.issuer.startswith(schemes):
            raise ProtocolError("the issuer is not https", where="discovery")
        document = await self._json("GET", f"{self.issuer}/.well-known/openid-configuration")
        if document.get("issuer") != self.issuer:
            raise ProtocolError("the provider calls itself by another issuer", where="discovery")
        found: dict[str, str] = {}
        for name in (*_ENDPOINTS, *(name for name in _OPTIONAL if name in document)):
            url = document.get(name)
            if not isinstance(url, str) or not url.startswith(schemes) or _BROKEN.search(url):
                raise ProtocolError(f"{name} is missing or not https", where="discovery")
            found[name] = url
        if document.get(_SAYS_ISSUER) is True:
            found[_SAYS_ISSUER] = "true"
        return found

    async def _fetch_keys(self, *, again: bool) -> KeySet:
        age = self._clock.monotonic() - self._keys_at
        if self._keys.keys and age < (REFETCH_SECONDS if again else KEYS_SECONDS):
            return self._keys
        metadata = await self._discover()
        document = await self._json("GET", metadata["jwks_uri"])
        try:
            self._keys = KeySet.import_key_set({"keys": document["keys"]})
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError("the provider's keys can't be read", where="jwks") from error
        self._keys_at = self._clock.monotonic()
        return self._keys

    async def _json(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        try:
            async with self._http.request(method, url, timeout=TIMEOUT, allow_redirects=False, **options) as reply:
                body = await reply.content.read(MAX_DOCUMENT + 1)
                while not reply.content.at_eof() and len(body) <= MAX_DOCUMENT:
                    body += await reply.content.read(MAX_DOCUMENT + 1 - len(body))
                if len(body) > MAX_DOCUMENT:
                    raise ProtocolError("the provider's answer is too long", where=url)
                if reply.status != 200:  # noqa: PLR2004  OK
                    raise ProtocolError(f"the provider answered {reply.status}", where=url)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProtocolError(f"the provider does not answer ({type(error).__name__})", where=url) from error
        return _parse(body, url)


def _with_query(endpoint: str, query: Mapping[str, str]) -> str:
    # An endpoint may have a query of its own, which stays (RFC 6749 §3.1).
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query, quote_via=quote)}"


def _parse(body: bytes, url: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError("the provider's answer is not a JSON object", where=url) from error

"""How a backend speaks to its verifier: HTTPS, in time, in size, nowhere else than told.

One pool of connections for each backend. Certificates are verified by the system's authorities, or by those of one file and no
others. No redirect is followed, no cookie kept, no proxy taken from the environment, and nothing is logged.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from gateway.kernel.errors import ConfigError, GatewayError
from gateway.kernel.web.loopback import LoopbackResolver
from idp.proofing.strict import NEVER, MustNotBeSentError, StrictError, parse_object

_OK: Final = 200
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class WireError(GatewayError):
    """No usable answer came. The text is for the log: it holds nothing that was sent or received but the status."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    body: bytes
    kind: str = ""
    """Its media type, lower case, without parameters; empty when the body is encoded in a way that was not asked for."""
    retry_after: str = ""
    """As it came."""

    def __repr__(self) -> str:
        return f"Answer({self.status})"

    def object(self, what: str) -> dict[str, Any]:
        """Return the body as one JSON object (`idp.proofing.strict`); WireError, with `what` in it, when it is none."""
        try:
            return parse_object(self.body)
        except MustNotBeSentError as error:
            raise WireError(f"{what}: {NEVER}") from error
        except StrictError as error:
            raise WireError(f"{what}: {error}") from error


class Wire:
    """Speaks HTTP to one verifier."""

    def __init__(
        self, *, total_seconds: float = 8.0, connect_seconds: float = 4.0, max_bytes: int = 262_144, ca_file: Path | None = None
    ) -> None:
        """`total_seconds` bounds a whole exchange, `connect_seconds` the connection, `max_bytes` the body of an answer.

        `ca_file`: PEM; ConfigError when it can't be read.
        """
        self._timeout: Final = aiohttp.ClientTimeout(total=total_seconds, sock_connect=connect_seconds)
        self._max: Final = max_bytes
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the verifier's CA can't be read ({error})", where=str(ca_file), todo="It must be PEM.") from error
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, url: str, what: str, *, form: Mapping[str, str] | None = None, json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Send one request and return the whole answer, whatever its status.

        WireError, with `what` in it, when none came in time, the certificate does not verify, or it is too long.
        """
        sent = {"Accept": "application/json", **(headers or {})}
        try:
            async with self._open().request(
                method, url, data=dict(form) if form is not None else None, json=json, headers=sent, timeout=self._timeout,
                allow_redirects=False,
            ) as reply:  # fmt: skip
                body = bytearray()
                async for chunk in reply.content.iter_chunked(16_384):
                    body += chunk
                    if len(body) > self._max:
                        raise WireError(f"{what}: the answer is too long")
                kind = "" if "Content-Encoding" in reply.headers else reply.content_type
                return Answer(status=reply.status, body=bytes(body), kind=kind, retry_after=reply.headers.get("Retry-After", ""))
        except TimeoutError as error:
            raise WireError(f"{what}: no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise WireError(f"{what}: no answer ({type(error).__name__})") from error

    async def fetch(self, url: str, what: str, *, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET a JSON object. WireError for any status but 200."""
        answer = await self.ask("GET", url, what, headers=headers)
        if answer.status != _OK:
            raise WireError(f"{what}: status {answer.status}")
        return answer.object(what)

    async def close(self) -> None:
        """Let go of the connections. May be called again."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, limit=16, resolver=LoopbackResolver()),
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
                skip_auto_headers=("Accept-Encoding",),
            )  # fmt: skip
        return self._session


def checked_url(url: str, where: str) -> str:
    """Return `url` when it may be spoken to: absolute https without user, query or fragment, or http to this very machine (for
    stand-ins). ConfigError else.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    local = host in _LOOPBACK or host.endswith(".localhost")
    scheme = parts.scheme == "https" or (parts.scheme == "http" and local)
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not (scheme and host and plain) or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError("this is not an https address", where=where, todo="Write https://host/path, without user, `?` and `#`.")
    return url

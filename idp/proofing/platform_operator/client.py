"""One question to the operator over HTTPS: limited in time and size, to its own host, with the bearer token.

Whatever goes wrong is a `Fault` with a short text for the log, which holds neither the token nor anything that was sent or read.
"""

import asyncio
import ssl
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from gateway.kernel.web.loopback import LoopbackResolver

MOST_BYTES: Final = 65_536
_AGAIN: Final = frozenset({502, 503, 504})
_REFUSED: Final = frozenset({401, 403})
_OK: Final = 200
_LIMITED: Final = 429
_DIGITS: Final = 6


class Fault(Exception):  # noqa: N818  it is a value here: the detail of Broken or Unknown
    """There is no answer. `again`: it may be asked for once more where that does no harm."""

    def __init__(self, detail: str, *, again: bool = False) -> None:
        super().__init__(detail)
        self.detail: Final = detail
        self.again: Final = again


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON answer of the operator. Not one word of it is checked."""

    status: int
    """200, or 400 to 499."""
    document: Any

    def __repr__(self) -> str:
        return f"Reply({self.status})"


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return a context that verifies the operator's certificate and name. ConfigError: the file can't be used."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        raise ConfigError(
            "the certificates can't be read", where="idp.platform_operator.ca_file", todo="It is a PEM file."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class OperatorClient:
    """Asks one operator."""

    def __init__(self, origin: str, token: Secret, tls: ssl.SSLContext, timeout_seconds: float) -> None:
        self._origin, self._token, self._tls = origin, token, tls
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._http: aiohttp.ClientSession | None = None
        self._closed = False

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None, *, idempotent: bool
    ) -> Reply:
        """Return the answer. Raises Fault. `path` is encoded already."""
        try:
            return await self._once(method, path, headers, body)
        except Fault as fault:
            if not (idempotent and fault.again):
                raise
        return await self._once(method, path, headers, body)

    async def close(self) -> None:
        """Close the connections. Once closed, every question is a Fault."""
        self._closed = True
        if self._http is not None:
            await self._http.close()

    async def _once(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None) -> Reply:
        content = msgspec.json.encode(body) if body is not None else None
        sent = {**headers, "Authorization": f"Bearer {self._token.reveal()}", "Accept": "application/json"}
        if content is not None:
            sent["Content-Type"] = "application/json"
        try:
            async with self._session().request(
                method, URL(self._origin + path, encoded=True), data=content, headers=sent, allow_redirects=False
            ) as response:
                return await self._read(response)
        except TimeoutError as error:
            raise Fault("the operator did not answer in time", again=True) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise Fault("the operator's TLS certificate is not to be trusted") from error
        except (aiohttp.ClientConnectionError, ssl.SSLError, OSError) as error:
            raise Fault(f"the operator can't be reached ({type(error).__name__})", again=True) from error
        except (aiohttp.ClientError, asyncio.IncompleteReadError, ValueError) as error:
            raise Fault(f"the operator's answer is no HTTP ({type(error).__name__})", again=True) from error

    async def _read(self, response: aiohttp.ClientResponse) -> Reply:
        status = response.status
        if status in _REFUSED:
            raise Fault(f"the operator refuses us ({status}): check the token, its tenant and its expiry")
        if status == _LIMITED:
            raise Fault(f"the operator limits us (429{_after(response.headers.get('Retry-After', ''))})")
        if status != _OK and not 400 <= status <= 499:  # noqa: PLR2004
            raise Fault(f"the operator answered {status}", again=status in _AGAIN)
        if response.content_type != "application/json" or "Content-Encoding" in response.headers:
            raise Fault(f"the operator answered {status} with something else than JSON")
        content = bytearray()
        async for part in response.content.iter_chunked(8192):
            content += part
            if len(content) > MOST_BYTES:
                raise Fault("the operator's answer is larger than 64 KiB")
        try:
            return Reply(status=status, document=msgspec.json.decode(bytes(content)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Fault(f"the operator's answer {status} is not JSON") from error

    def _session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Fault("the backend is closed")
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, resolver=LoopbackResolver(), limit=16),
                timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "zt-gateway"},
            )  # fmt: skip
        return self._http


def _after(seconds: str) -> str:
    """Return how long the operator asks to wait, where it said so in seconds."""
    return f", again after {seconds} s" if seconds.isascii() and seconds.isdecimal() and len(seconds) <= _DIGITS else ""

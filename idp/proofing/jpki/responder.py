"""Talks to the CA's OCSP responder over HTTP (RFC 6960, appendix A.1). The answer is signed, so http does as well as https."""

import secrets
from collections.abc import Callable
from typing import Final

import aiohttp

from gateway.kernel.clock import Clock
from idp.proofing.jpki import ocsp
from idp.proofing.jpki.certificate import Certificate
from idp.proofing.jpki.roots import Root
from idp.proofing.jpki.settings import JpkiSettings
from idp.proofing.jpki.standing import NoAnswer, Standing

_BYTES: Final = 65_536
_TYPE: Final = "application/ocsp-response"


class OcspResponder:
    """One responder. No redirect is followed, no proxy of the environment used, no cookie kept."""

    def __init__(self, settings: JpkiSettings, clock: Clock, *, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._url, self._clock, self._random = settings.ocsp_url, clock, random
        self._demands = ocsp.Demands(age=settings.ocsp_minutes * 60, nonce=settings.ocsp_nonce, no_check=settings.ocsp_no_check)
        self._timeout = aiohttp.ClientTimeout(total=settings.ocsp_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def standing(self, certificate: Certificate, root: Root) -> Standing:
        """Ask about one certificate."""
        nonce = self._random(ocsp.NONCE_BYTES) if self._demands.nonce else b""
        answer = await self._fetch(ocsp.ask(certificate, root, nonce))
        if isinstance(answer, NoAnswer):
            return answer
        return ocsp.judge(answer, certificate, root, nonce, demands=self._demands, now=self._clock.now())

    async def _fetch(self, question: bytes) -> bytes | NoAnswer:
        session = self._open()
        headers = {"Content-Type": "application/ocsp-request", "Accept": _TYPE}
        try:
            async with session.post(self._url, data=question, headers=headers, allow_redirects=False) as reply:
                kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                if reply.status != 200 or kind != _TYPE or "Content-Encoding" in reply.headers:  # noqa: PLR2004  OK
                    return NoAnswer(detail=f"jpki: the OCSP responder answered {reply.status}, no {_TYPE}")
                body = await _whole(reply)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return NoAnswer(detail=f"jpki: the OCSP responder does not answer ({type(error).__name__})")
        return body if body is not None else NoAnswer(detail="jpki: the OCSP answer is too long")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
            )  # fmt: skip
        return self._session

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()


async def _whole(reply: aiohttp.ClientResponse) -> bytes | None:
    body = bytearray()
    async for chunk in reply.content.iter_chunked(_BYTES):
        body += chunk
        if len(body) > _BYTES:
            return None
    return bytes(body)

"""Notices by webhook: a signed POST to one address that the operator has named.

`X-Gateway-Timestamp` is the time of the attempt (epoch seconds), `X-Gateway-Signature` is `v1=` and the HMAC-SHA-256 (RFC 2104,
hex) of the timestamp, a full stop, and the body's bytes. `X-Gateway-Notice` is the notice's id, the same in every attempt. A
receiver computes the signature anew, compares in constant time, and refuses a timestamp that is minutes old. Redirects are not
followed: a notice goes to the address that was named, or nowhere.
"""

import hashlib
import hmac
import ssl
from typing import Any, Final

import aiohttp
import msgspec

from gateway.emergency.outbox import Message
from gateway.emergency.sending import NotSent
from gateway.kernel.clock import Clock
from gateway.kernel.secret import Secret

SECONDS: Final = 10.0
TIMESTAMP: Final = "X-Gateway-Timestamp"
SIGNATURE: Final = "X-Gateway-Signature"
NOTICE: Final = "X-Gateway-Notice"
_OK: Final = range(200, 300)


def signature(secret: Secret, timestamp: str, body: bytes) -> str:
    """Return the value of `X-Gateway-Signature`."""
    mac = hmac.new(secret.reveal().encode(), timestamp.encode("ascii") + b"." + body, hashlib.sha256)
    return f"v1={mac.hexdigest()}"


def body_of(message: Message) -> bytes:
    """Return the body: JSON with sorted names."""
    said: dict[str, Any] = {
        "version": 1,
        "id": message.id,
        "kind": message.kind,
        "at": message.at,
        "subject": message.subject,
        "text": message.text,
        "detail": message.detail,
    }
    return msgspec.json.encode(said, order="sorted")


class Webhook:
    """Posts notices; each on a connection of its own."""

    def __init__(self, url: str, secret: Secret, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: what the receiver's certificate is checked with; None: the system's authorities."""
        self._url: Final = url
        self._secret: Final = secret
        self._clock: Final = clock
        self._tls: Final = tls

    async def send(self, message: Message) -> None:
        """Post one. NotSent for any answer but 2xx."""
        body, timestamp = body_of(message), str(int(self._clock.now()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "zt-gateway",
            NOTICE: message.id,
            TIMESTAMP: timestamp,
            SIGNATURE: signature(self._secret, timestamp, body),
        }
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS), trust_env=False) as http,
                http.post(self._url, data=body, headers=headers, allow_redirects=False, ssl=self._tls or True) as reply,
            ):
                status = reply.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # Its words hold the address, which may hold a secret of the receiver's.
            raise NotSent(f"the webhook could not be reached ({type(error).__name__})") from None
        if status not in _OK:
            raise NotSent(f"the webhook answered {status}")

    async def close(self) -> None:
        """Nothing stays open."""

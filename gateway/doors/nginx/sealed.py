"""An answer on its way through nginx: `auth_request` knows yes and no, so what else there is to say comes back to us sealed.

The decision is encrypted and authenticated (AES-256-GCM) under a key that all workers share, bound to the request that it answers
(method, host, target, session cookie), and good for a minute: nobody can show it for another request, or later. It holds no
request, no token, and is never sent to a client.
"""

import base64
import binascii
import functools
import secrets
import zlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.domain.connection import Connection
from gateway.domain.cookies import SESSION_COOKIE, own_cookie
from gateway.domain.decision import Challenge, Deny, Refuse, Unavailable
from gateway.domain.request import RawRequest, Request
from gateway.kernel.clock import Clock

No = Challenge | Deny | Refuse | Unavailable
"""A decision that has a page."""

GOOD_SECONDS: Final = 60
_KINDS: Final[dict[str, type[No]]] = {kind.__name__: kind for kind in (Challenge, Deny, Refuse, Unavailable)}
_SALT: Final = 16
_NONCE: Final = 12
_MAX_ANSWER: Final = 65_536
_BLANK: Final = Request(
    method="", host="", path="", query="", has_query=False, segments=(), headers=(), connection=Connection(peer_address="")
)


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    until: float
    canonical: bool
    decision: bytes


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """An opened answer."""

    decision: No
    canonical: bool
    """Whether the request could be made canonical when it was decided."""


class Answers:
    """Seals answers and opens them."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        """`secret`: at least 32 bytes of high entropy, the same in all workers."""
        self._clock = clock
        self._cipher: Final = functools.lru_cache(maxsize=256)(functools.partial(_derive, secret))
        # A salt of this process: random nonces never run out under one key (NIST SP 800-38D §8.3 allows 2^32).
        self._salt: Final = secrets.token_bytes(_SALT)

    def seal(self, decision: No, *, canonical: bool, raw: RawRequest) -> str:
        """Return the answer as a header field's value."""
        body = msgspec.msgpack.encode(
            _Sealed(type(decision).__name__, self._clock.now() + GOOD_SECONDS, canonical, msgspec.msgpack.encode(_slim(decision)))
        )
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._salt + nonce + self._cipher(self._salt).encrypt(nonce, zlib.compress(body, 1), _bound(raw))
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")

    def open(self, value: str, *, raw: RawRequest) -> Sealed | None:
        """Return the answer that was sealed for this very request; None when it was not, or is too old."""
        try:
            sealed = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
            salt, nonce, body = sealed[:_SALT], sealed[_SALT : _SALT + _NONCE], sealed[_SALT + _NONCE :]
            opened = zlib.decompressobj().decompress(self._cipher(salt).decrypt(nonce, body, _bound(raw)), _MAX_ANSWER)
            answer = msgspec.msgpack.decode(opened, type=_Sealed)
            if self._clock.now() > answer.until:
                return None
            decision = msgspec.msgpack.decode(answer.decision, type=_KINDS[answer.kind])
        except (InvalidTag, binascii.Error, ValueError, KeyError, zlib.error):
            return None
        return Sealed(decision=decision, canonical=answer.canonical)


def _derive(secret: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=salt, info=b"zt-gateway front answers 1").derive(secret))


def _bound(raw: RawRequest) -> bytes:
    host = ",".join(value for name, value in raw.headers if name.lower() == "host")
    parts = (raw.method, host, raw.target, own_cookie(raw.headers, SESSION_COOKIE) or "")
    return "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")


def _slim(decision: No) -> No:
    """The decision without what its page does not show: the request comes again, and the provider's token stays here."""
    if isinstance(decision, Challenge):
        return msgspec.structs.replace(decision, request=_BLANK)
    if isinstance(decision, Deny):
        session = msgspec.structs.replace(decision.handle.session, id_token="", user_agent="", provider_session="", events=())
        handle = msgspec.structs.replace(decision.handle, session=session)
        return msgspec.structs.replace(decision, request=_BLANK, handle=handle)
    return decision

"""The keys that the service signs ID tokens with (RFC 7517): read strictly, kept for a while, fetched anew for an unknown one."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from gateway.kernel.clock import Clock
from idp.proofing.digital_agency.settings import Algorithm
from idp.proofing.wire import Wire, WireError

REFETCH_SECONDS: Final = 10.0
KEYS_SECONDS: Final = 3600.0
_MAX_KEYS: Final = 64
_MIN_RSA: Final = 2048
_BITS: Final = 6
"""Bits of a character of base64url."""


class _Jwk(msgspec.Struct, frozen=True, kw_only=True):
    """The members that are read; private ones never are."""

    kty: str
    kid: str = ""
    use: str = "sig"
    alg: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""


class VerifyingKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key, and the one algorithm that it is used with."""

    key: ECKey | RSAKey
    algorithm: Algorithm


Keys = Mapping[str, VerifyingKey]
"""By `kid`."""


def parse_keys(document: Mapping[str, Any], algorithms: Sequence[Algorithm]) -> dict[str, VerifyingKey]:
    """Return the signing keys of a JWK Set that fit one of `algorithms`; others (encryption keys, other curves) are left out.

    ValueError when it is no JWK Set, two keys have one `kid`, a point is off its curve, or an RSA key is too short.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise ValueError("not a JWK Set")
    found: dict[str, VerifyingKey] = {}
    for item in listed:
        try:
            jwk = msgspec.convert(item, _Jwk)
        except msgspec.ValidationError as error:
            raise ValueError("a key can't be read") from error
        made = _made(jwk, algorithms)
        if made is None:
            continue
        if jwk.kid in found:
            raise ValueError("two keys of one kid")
        found[jwk.kid] = made
    return found


def _made(jwk: _Jwk, algorithms: Sequence[Algorithm]) -> VerifyingKey | None:
    if jwk.use != "sig" or not jwk.kid:
        return None
    key: ECKey | RSAKey
    try:
        if (jwk.kty, jwk.crv) == ("EC", "P-256") and "ES256" in algorithms and jwk.alg in {"", "ES256"}:
            key = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": jwk.x, "y": jwk.y})
            return VerifyingKey(key=key, algorithm="ES256")
        if jwk.kty == "RSA" and "RS256" in algorithms and jwk.alg in {"", "RS256"}:
            if len(jwk.n) * _BITS < _MIN_RSA:  # before joserfc warns of it
                raise ValueError("an RSA key is too short")
            key = RSAKey.import_key({"kty": "RSA", "n": jwk.n, "e": jwk.e})
            if key.public_key.key_size < _MIN_RSA:
                raise ValueError("an RSA key is too short")
            return VerifyingKey(key=key, algorithm="RS256")
    except JoseError as error:
        raise ValueError("a key can't be read") from error
    return None


class ServiceKeys:
    """The service's keys, for at most an hour: one that it has withdrawn is not believed for longer."""

    def __init__(self, wire: Wire, url: str, algorithms: Sequence[Algorithm], clock: Clock) -> None:
        self._wire, self._url, self._algorithms, self._clock = wire, url, algorithms, clock
        self._keys: Keys = {}
        self._at = 0.0
        self._sought = -REFETCH_SECONDS
        self._lock = asyncio.Lock()

    async def get(self, need: Literal["any", "newer"]) -> Keys:
        """Return the keys; WireError when they can't be had.

        `newer`: one was unknown; they are fetched again, unless they were for that reason less than ten seconds ago.
        """
        async with self._lock:
            now = self._clock.monotonic()
            if need == "newer":
                if now - self._sought < REFETCH_SECONDS:
                    return self._keys
                self._sought = now
            elif self._keys and now - self._at < KEYS_SECONDS:
                return self._keys
            document = await self._wire.fetch(self._url, "the service's keys")
            try:
                keys = parse_keys(document, self._algorithms)
            except ValueError as error:
                raise WireError(f"the service's keys: {error}") from error
            self._keys, self._at = keys, now
            return keys

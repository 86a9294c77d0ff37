"""Verifying tokens that we signed ourselves and that come back as hints. Nobody else's token is ever accepted here."""

import base64
import binascii
import json
import re
from typing import Any, Final, cast

from joserfc import jwt
from joserfc.errors import JoseError

from gateway.kernel.errors import ProtocolError
from idp.protocol.keyset import ALGORITHM, KeySet

MAXIMUM_TOKEN: Final = 8192
"""Characters. Longer ones are refused unread (CVE-2025-61920: a 500 MB header took 4 GB)."""
_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_PARTS: Final = 3


def verify_own(token: str, keys: KeySet, issuer: str) -> dict[str, Any]:
    """Return the claims of an ID token that we signed; ProtocolError when it is anything else.

    The header may say what ours say and no more: `alg` ES256, a `kid` of ours, `typ` JWT. So `none`, HMAC, `jwk`, `jku`, `x5c`,
    `crit` and `zip` all end here. Each part must be canonical base64url and the JSON without duplicate names. Not checked:
    expiry, because a hint may be old (RP-Initiated Logout 1.0 §2), and `aud`, which is the caller's.
    """
    if len(token) > MAXIMUM_TOKEN:
        raise _refused("longer than 8 KB")
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise _refused("not three parts")
    header = _object(_decoded(parts[0]))
    claims = _object(_decoded(parts[1]))
    _decoded(parts[2])
    kid = header.get("kid")
    if not header.keys() <= _HEADER or header.get("alg") != ALGORITHM or header.get("typ") != "JWT" or not isinstance(kid, str):
        raise _refused("header not like ours")
    key = keys.find(kid)
    if key is None:
        raise _refused("unknown key")
    try:
        jwt.decode(token, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError) as error:
        raise _refused("signature") from error
    if claims.get("iss") != issuer:
        raise _refused("another issuer")
    for name in ("sub", "aud", "sid"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise _refused(f"no {name}")
    return claims


def _refused(why: str) -> ProtocolError:
    return ProtocolError(f"not an ID token of ours: {why}")


def _decoded(part: str) -> bytes:
    if not _PART.fullmatch(part):
        raise _refused("not base64url")
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise _refused("not base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise _refused("base64url not canonical")
    return raw


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _refused("not JSON") from error
    if not isinstance(value, dict):
        raise _refused("not a JSON object")
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _refused("a name twice")
    return value

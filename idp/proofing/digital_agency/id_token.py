"""Verifies the service's ID tokens. Pure: keys and time come in.

Steps (OpenID Connect Core 1.0 §3.1.3.6 and §3.1.3.7, RFC 8725), each numbered above its code:

 1. At most 8 KiB, three parts, each in the one base64url spelling of its bytes (RFC 4648 §3.5).
 2. The header is one JSON object; its algorithm is one that the settings allow; no `crit`, no key or place of one (`jwk`, `jku`,
    `x5u`, `x5c`), no `zip`, no `b64`; `typ`, where given, is `JWT`.
 3. `kid` names a key of the service that is for this very algorithm.
 4. The signature holds.
 5. The payload is one JSON object with one reading, without what must not be sent (`idp.proofing.strict`).
 6. `iss` is the service, exactly.
 7. `aud` is us alone; or it lists us among others and `azp` is us. `azp`, where given, is us.
 8. `exp`, `iat` and (where given) `nbf` are whole numbers and in time, give or take the skew; it was issued after we asked, for
    a day at most.
 9. `nonce` is the one that we sent.
10. `at_hash`, where given, is of the access token that came along.
11. `acr`, where given or required, is at least what was asked for.
12. `auth_time`, where given, is after we asked: a card that was read for somebody who sat here before is not this person's.
13. `sub` is 1 to 255 printable ASCII characters.

Not checked: whether the certificate was revoked (the service does it, `acr_values`); that the service asked for the card at all
where it sends neither `acr` nor `auth_time`.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from gateway.kernel.errors import ProtocolError
from gateway.kernel.secret import same
from idp.proofing.digital_agency.keys import Keys
from idp.proofing.digital_agency.settings import Algorithm
from idp.proofing.strict import NEVER, MustNotBeSentError, StrictError, parse_object

MAX_TOKEN: Final = 8192
MAX_LIFETIME: Final = 86_400
UNKNOWN_KEY: Final = "step 3"
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_FORBIDDEN: Final = frozenset({"crit", "jwk", "jku", "x5u", "x5c", "zip", "b64"})
_SUBJECT: Final = re.compile(r"[ -~]{1,255}")
_LEVEL: Final = re.compile(r"aal([1-3])")
_HASHED: Final = 16


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the token is held against."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str
    begun_at: int
    """When we asked, epoch seconds."""
    algorithms: Sequence[Algorithm] = ("ES256",)
    acr_values: str = ""
    acr_accepted: Sequence[str] = ()
    acr_required: bool = False
    skew_seconds: int = 60

    def __repr__(self) -> str:
        return "Expected(***)"


def verify_id_token(  # noqa: C901, PLR0912  numbered steps, one after the other
    token: str, keys: Keys, expected: Expected, *, now: float
) -> dict[str, Any]:
    """Return the claims of a verified ID token. ProtocolError with the step in `where`; its text holds nothing of the token."""
    # 1. Size and form.
    if len(token) > MAX_TOKEN or _COMPACT.fullmatch(token) is None:
        raise ProtocolError("it has the wrong size or form", where="step 1")
    try:
        head, body, _ = (_decoded(part) for part in token.split("."))
    except ValueError as error:
        raise ProtocolError("it is not spelt in base64url", where="step 1") from error
    # 2. The header.
    try:
        header = parse_object(head)
    except StrictError as error:
        raise ProtocolError(f"its header: {error}", where="step 2") from error
    if header.get("alg") not in expected.algorithms:
        raise ProtocolError("its algorithm is none that is allowed", where="step 2")
    if _FORBIDDEN & header.keys() or str(header.get("typ", "JWT")).upper() != "JWT":
        raise ProtocolError("its header wants to change how it is verified", where="step 2")
    # 3. The key.
    kid = header.get("kid")
    found = keys.get(kid) if isinstance(kid, str) else None
    if found is None or found.algorithm != header["alg"]:
        raise ProtocolError("it was signed with an unknown key", where=UNKNOWN_KEY)
    # 4. The signature.
    try:
        jws.deserialize_compact(token, found.key, algorithms=[found.algorithm])
    except (JoseError, ValueError) as error:
        raise ProtocolError("its signature does not hold", where="step 4") from error
    # 5. The payload.
    try:
        claims = parse_object(body)
    except MustNotBeSentError as error:
        raise ProtocolError(NEVER, where="step 5") from error
    except StrictError as error:
        raise ProtocolError(f"its payload: {error}", where="step 5") from error
    # 6. Issuer.
    if claims.get("iss") != expected.issuer:
        raise ProtocolError("it is of another issuer", where="step 6")
    # 7. Audience.
    _check_audience(claims, expected.client_id)
    # 8. Time.
    _check_time(claims, expected, now)
    # 9. Nonce.
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not same(nonce, expected.nonce):
        raise ProtocolError("it answers another request", where="step 9")
    # 10. Access token.
    if "at_hash" in claims:
        at_hash = claims["at_hash"]
        if not isinstance(at_hash, str) or not same(at_hash, _hash_of(expected.access_token)):
            raise ProtocolError("it belongs to another access token", where="step 10")
    # 11. Level.
    _check_acr(claims, expected)
    # 12. Time of the reading.
    if "auth_time" in claims and _number(claims, "auth_time", "step 12") < expected.begun_at - expected.skew_seconds:
        raise ProtocolError("the card was read before we asked", where="step 12")
    # 13. Subject.
    subject = claims.get("sub")
    if not isinstance(subject, str) or _SUBJECT.fullmatch(subject) is None:
        raise ProtocolError("it names nobody", where="step 13")
    return claims


def _decoded(part: str) -> bytes:
    decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != part:
        raise binascii.Error("a second spelling")
    return decoded


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience, party = claims.get("aud"), claims.get("azp")
    alone = audience in (client_id, [client_id])
    among = isinstance(audience, list) and client_id in audience and party == client_id
    if not (alone or among):
        raise ProtocolError("it is not for us", where="step 7")
    if "azp" in claims and party != client_id:
        raise ProtocolError("it was issued to another party", where="step 7")


def _check_time(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    expires, issued = _number(claims, "exp", "step 8"), _number(claims, "iat", "step 8")
    earliest = _number(claims, "nbf", "step 8") if "nbf" in claims else issued
    skew = expected.skew_seconds
    if now >= expires + skew:
        raise ProtocolError("it has expired", where="step 8")
    if max(issued, earliest) > now + skew:
        raise ProtocolError("it is from the future", where="step 8")
    if issued < expected.begun_at - skew:
        raise ProtocolError("it is older than our question", where="step 8")
    if not 0 < expires - issued <= MAX_LIFETIME:
        raise ProtocolError("it holds for too long", where="step 8")


def _check_acr(claims: Mapping[str, Any], expected: Expected) -> None:
    if "acr" not in claims:
        if expected.acr_required:
            raise ProtocolError("it does not say how the card was read (acr)", where="step 11")
        return
    acr = claims["acr"]
    if not isinstance(acr, str):
        raise ProtocolError("its acr is not a text", where="step 11")
    if acr not in expected.acr_accepted and not acr_reaches(acr, expected.acr_values):
        raise ProtocolError("it says less than was asked for (acr)", where="step 11")


def acr_reaches(said: str, asked: str) -> bool:
    """Whether `said` is at least `asked`: of levels (`aal2`, `aal3`) the same or a higher one, of other words each one."""
    words = said.split()
    levels = [int(found[1]) for word in words if (found := _LEVEL.fullmatch(word))]
    for wish in asked.split():
        level = _LEVEL.fullmatch(wish)
        if level is None and wish not in words:
            return False
        # The lowest counts: a text that says two levels is not believed the better one.
        if level is not None and (not levels or min(levels) < int(level[1])):
            return False
    return True


def _hash_of(access_token: str) -> str:
    """Return what `at_hash` must be: both algorithms hash with SHA-256 (§3.1.3.6)."""
    half = hashlib.sha256(access_token.encode("ascii")).digest()[:_HASHED]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode("ascii")


def _number(claims: Mapping[str, Any], name: str, step: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"{name} is not a whole number", where=step)
    return value

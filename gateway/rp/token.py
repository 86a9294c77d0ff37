"""Verifies ID tokens. Pure: keys and time come in.

Steps (OpenID Connect Core 1.0 §3.1.3.7, RFC 8725), each numbered above its code:

1. At most 8 KB, three parts; header without `crit`, `jwk`, `jku`, `x5u`, `x5c`, `zip`; the one algorithm that we expect.
2. The key is one of the provider's, found by `kid`.
3. The signature holds.
4. The payload is one JSON object without duplicate names, all of it text that UTF-8 can carry (no lone surrogates: they would
   break the log and the pages that show a name).
5. `iss` is the provider, exactly.
6. `aud` is us, and us alone (or `azp` is us).
7. `exp`, `iat` are numbers, in time, with 60 seconds of skew.
8. `nonce` is the one that we sent.
9. `sub` is a non-empty text.

It does not check that the person is still active: the session's limits bound that.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.domain.identity import AuthEvent, AuthKind, Identity, Proofing
from gateway.kernel.errors import ProtocolError
from gateway.kernel.secret import same

MAX_TOKEN: Final = 8192
SKEW_SECONDS: Final = 60
ALGORITHM: Final = "ES256"
_FORBIDDEN_HEADERS: Final = frozenset({"crit", "jwk", "jku", "x5u", "x5c", "zip", "b64"})
_KINDS: Final[Mapping[str, AuthKind]] = {"pwd": "pwd", "otp": "otp", "fido2": "fido2", "recovery": "recovery"}
MAX_ROLES: Final = 64


def verify_id_token(  # noqa: C901, PLR0912  numbered steps, one after the other
    token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, now: float
) -> dict[str, Any]:
    """Return the claims of a verified ID token; raise ProtocolError that names the step."""
    # 1. Size, form, header.
    if len(token) > MAX_TOKEN or token.count(".") != 2:  # noqa: PLR2004  header.payload.signature
        raise ProtocolError("ID token has the wrong size or form", where="step 1")
    try:
        header = jws.extract_compact(token.encode("ascii", "strict")).headers()
    except (JoseError, ValueError) as error:
        raise ProtocolError("ID token can't be read", where="step 1") from error
    if header.get("alg") != ALGORITHM or _FORBIDDEN_HEADERS & set(header):
        raise ProtocolError("ID token has an unexpected header", where="step 1")
    # 2. The key.
    kid = header.get("kid")
    candidates = [key for key in keys.keys if key.kid == kid and key.key_type == "EC"] if isinstance(kid, str) else []
    if len(candidates) != 1:
        raise ProtocolError("ID token was signed with an unknown key", where="step 2")
    # 3. The signature.
    try:
        payload = jws.deserialize_compact(token, candidates[0], algorithms=[ALGORITHM]).payload
    except (JoseError, ValueError) as error:
        raise ProtocolError("ID token has a bad signature", where="step 3") from error
    # 4. One object, no duplicate names.
    if payload is None:
        raise ProtocolError("ID token has no payload", where="step 4")
    claims = _object(payload)
    # 5. Issuer.
    if claims.get("iss") != issuer:
        raise ProtocolError("ID token has another issuer", where="step 5")
    # 6. Audience.
    audience = claims.get("aud")
    if audience not in (client_id, [client_id]):
        if not (isinstance(audience, list) and client_id in audience and claims.get("azp") == client_id):
            raise ProtocolError("ID token is not for us", where="step 6")
    elif claims.get("azp", client_id) != client_id:
        raise ProtocolError("ID token was issued to another party", where="step 6")
    # 7. Time.
    expires, issued = _number(claims, "exp"), _number(claims, "iat")
    if not (issued - SKEW_SECONDS <= now < expires + SKEW_SECONDS):
        raise ProtocolError("ID token is expired or from the future", where="step 7")
    # 8. Nonce.
    found = claims.get("nonce")
    if not isinstance(found, str) or not same(found, nonce):
        raise ProtocolError("ID token answers another request", where="step 8")
    # 9. Subject.
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise ProtocolError("ID token names nobody", where="step 9")
    return claims


def identity_of(claims: Mapping[str, Any], *, roles_claim: str) -> Identity:
    """Read the person from verified claims. Raises ProtocolError when a claim has the wrong type: nothing is guessed."""
    roles = claims.get(roles_claim, [])
    if not isinstance(roles, list) or len(roles) > MAX_ROLES or not all(isinstance(role, str) and role for role in roles):
        raise ProtocolError(f"claim {roles_claim!r} is not a list of role names", where="ID token")
    login = _text(claims, "preferred_username") or str(claims["sub"])
    return Identity(
        subject=str(claims["sub"]),
        login=login,
        name=_text(claims, "name") or login,
        roles=tuple(sorted(set(roles))),
        organization=_text(claims, "organization"),
        department=_text(claims, "department"),
        proofing=_proofing(claims.get("proofing")),
        bound_kinds=_bound_kinds(claims.get("bound_kinds", [])),
    )


def events_of(claims: Mapping[str, Any], generation: int, now: float) -> tuple[AuthEvent, ...]:
    """Read how the person authenticated.

    `auth_events` (our provider) says it event by event. Another provider's `amr` (RFC 8176) with `auth_time` is mapped:
    `pwd`/`pin`, `otp`/`sms`/`tel`, `hwk`/`swk`/`fido`/`pop` with `user` or `phr`/`phrh` as `acr`. Words that we do not
    know prove nothing. An event from the future counts as now at most. Without `auth_time` nobody knows when: the events count
    as old as can be, never as fresh as the token (a provider that remembers somebody issues a new token without asking).
    """
    listed = claims.get("auth_events")
    if listed is None:
        return _from_amr(claims, generation, now)
    if not isinstance(listed, list):
        raise ProtocolError("claim 'auth_events' is not a list", where="ID token")
    events = []
    for item in listed:
        kind = _KINDS.get(str(item.get("kind"))) if isinstance(item, dict) else None
        at = item.get("at") if isinstance(item, dict) else None
        if kind is None or not isinstance(at, int) or isinstance(at, bool) or at <= 0:
            raise ProtocolError("claim 'auth_events' has an entry that can't be read", where="ID token")
        resistant = item.get("phishing_resistant") is True
        bound = item.get("bound") is True
        events.append(
            AuthEvent(
                kind=kind,
                at=min(at, int(now)),
                phishing_resistant=resistant,
                generation=generation,
                bound=bound,
                bound_generation=generation if bound else 0,
            )
        )
    return tuple(events)


def _from_amr(claims: Mapping[str, Any], generation: int, now: float) -> tuple[AuthEvent, ...]:
    amr = claims.get("amr", [])
    at = claims.get("auth_time", 0)
    if not isinstance(amr, list) or not isinstance(at, int) or isinstance(at, bool):
        raise ProtocolError("claims 'amr' or 'auth_time' have the wrong type", where="ID token")
    words = {word for word in amr if isinstance(word, str)}
    strong = claims.get("acr") in {"phr", "phrh"}
    kinds: dict[AuthKind, bool] = {}
    if words & {"pwd", "pin"}:
        kinds["pwd"] = False
    if words & {"otp", "sms", "tel"}:
        kinds["otp"] = False
    if words & {"hwk", "swk", "fido", "pop"} and (strong or "user" in words):
        kinds["fido2"] = True
    when = min(at, int(now))
    return tuple(
        AuthEvent(kind=kind, at=when, phishing_resistant=resistant, generation=generation) for kind, resistant in kinds.items()
    )


def _bound_kinds(value: Any) -> tuple[AuthKind, ...]:
    if not isinstance(value, list):
        raise ProtocolError("claim 'bound_kinds' is not a list", where="ID token")
    return tuple(sorted({kind for word in value if isinstance(word, str) and (kind := _KINDS.get(word)) is not None}))


def _proofing(value: Any) -> Proofing | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ProtocolError("claim 'proofing' is not an object", where="ID token")
    level, verified_at, expires_at = value.get("level"), value.get("verified_at"), value.get("expires_at")
    good = (
        isinstance(level, int)
        and not isinstance(level, bool)
        and 1 <= level <= 3  # noqa: PLR2004  assurance levels
        and isinstance(verified_at, int)
        and (expires_at is None or isinstance(expires_at, int))
    )
    if not good:
        raise ProtocolError("claim 'proofing' has a value that can't be read", where="ID token")
    return Proofing(
        level=int(str(level)),
        method=_text(value, "method"),
        verified_at=int(str(verified_at)),
        expires_at=expires_at,
        verifier=_text(value, "verifier"),
        transaction=_text(value, "transaction"),
    )


def _object(payload: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("duplicate name")
        return found

    try:
        value = json.loads(payload, object_pairs_hook=unique)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ProtocolError("ID token's payload can't be read", where="step 4") from error
    if not isinstance(value, dict):
        raise ProtocolError("ID token's payload is not an object", where="step 4")
    return value


def _number(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"claim {name!r} is not a whole number", where="step 7")
    return value


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > 256:  # noqa: PLR2004  far beyond any real name
        raise ProtocolError(f"claim {name!r} is not a text", where="ID token")
    return value

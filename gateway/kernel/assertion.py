"""What an app believes: the `X-Gateway-Assertion` header, verified without asking anybody. Pure; no I/O, no clock.

The header is a compact JWS (RFC 7515) over JWT claims (RFC 7519), signed with ES256 by the gateway for one app and one
minute. Where the keys come from is the caller's business: the gateway's own console takes them from the signer, an app
elsewhere fetches `<portal>/.gateway/jwks.json` (see `gateway.demo.assertion`).
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.kernel.clock import Clock
from gateway.kernel.errors import GatewayError

ASSERTION_HEADER: Final = "X-Gateway-Assertion"

Keys = Mapping[str, ECKey]
"""Public P-256 keys by `kid`."""

Why = Literal[
    "missing", "repeated", "malformed", "algorithm", "unknown_key", "signature", "issuer", "audience", "not_yet_valid", "expired"
]

_MAX_TOKEN: Final = 8192
_MAX_LIFETIME: Final = 300
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class NotVerified(GatewayError):  # noqa: N818  it names an answer ("not verified"), as StoreUnavailable does
    """The request carries no assertion that may be believed. Answer 401 and show nothing."""

    def __init__(self, why: Why) -> None:
        super().__init__(f"the gateway's assertion is not acceptable ({why})", todo="Reach this app through the gateway")
        self.why: Final = why


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway said of the person behind one request. Unknown claims are ignored; missing ones refuse the token."""

    iss: str
    aud: str
    sub: str
    """The person: stable and opaque. Use this as the key, never `login` or `name`."""
    login: str
    name: str
    roles: tuple[str, ...]
    organization: str = ""
    department: str = ""
    acr: str | None = None
    amr: tuple[str, ...] = ()
    auth_time: int | None = None
    """Epoch seconds."""
    device: str | None = None
    iat: int
    nbf: int
    exp: int
    situation: str = ""
    """`break_glass` while the person uses access beyond the usual rules: show it, and mark what is done; empty otherwise."""
    break_glass: str = ""
    """The id of that access (`brk_...`), as in the gateway's records."""
    jti: str
    """Id of the decision that let the request through: write it into the app's own log."""


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    # Anything more (`jwk`, `jku`, `x5c`, `crit`, `b64`, `zip`) tries to change how we verify.
    alg: str
    kid: str
    typ: str = "JWT"


class _Jwk(msgspec.Struct, frozen=True, kw_only=True):
    kty: str
    crv: str = ""
    x: str = ""
    y: str = ""
    kid: str = ""
    use: str = "sig"
    alg: str = "ES256"


class _JwkSet(msgspec.Struct, frozen=True, kw_only=True):
    keys: list[_Jwk]


def parse_keys(jwks: object) -> dict[str, ECKey]:
    """Return the ES256 signing keys of a JWK Set (RFC 7517) given as bytes, text or builtins.

    Keys of another type, curve, use or algorithm, and keys without `kid`, are left out: they can't have signed an assertion.
    ValueError when it is no JWK Set, holds no usable key, holds two keys of one `kid`, or a point that is not on the curve.
    """
    try:
        found = msgspec.json.decode(jwks, type=_JwkSet) if isinstance(jwks, bytes | str) else msgspec.convert(jwks, _JwkSet)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a JWK Set: {error}") from error
    keys: dict[str, ECKey] = {}
    for jwk in found.keys:
        if (jwk.kty, jwk.crv, jwk.use, jwk.alg) != ("EC", "P-256", "sig", "ES256") or not jwk.kid:
            continue
        if jwk.kid in keys:
            raise ValueError("two keys of one kid in the JWK Set")
        try:
            keys[jwk.kid] = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": jwk.x, "y": jwk.y})
        except (JoseError, ValueError) as error:
            raise ValueError(f"key {jwk.kid!r} of the JWK Set is no P-256 point") from error
    if not keys:
        raise ValueError("the JWK Set holds no ES256 key")
    return keys


def verify_assertion(token: str, keys: Keys, *, issuer: str, audience: str, now: float, leeway: int = 5) -> Claims:
    """Return the claims of `token`, or raise `NotVerified`.

    Verified: compact form with canonical base64url, at most 8 KiB; the header holds `alg`, `kid`, `typ` and nothing else; the
    algorithm is ES256, never the header's choice; a signature by one of `keys`; every claim of `Claims` with its type; `iss` and
    `aud` exactly; not before `nbf` and `iat`, before `exp` (seconds, `leeway` for clocks apart), a lifetime of at most 300 s.
    Not verified: that the assertion belongs to this very request. It may be used again, by who reads it, until it expires, so it
    must travel on a loopback or encrypted connection only.
    """
    if len(token) > _MAX_TOKEN or _COMPACT.fullmatch(token) is None:
        raise NotVerified("malformed")
    segments = [_canonical(segment) for segment in token.split(".")]
    try:
        header = msgspec.json.decode(segments[0], type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotVerified("malformed") from error
    if header.alg != "ES256":
        raise NotVerified("algorithm")
    key = keys.get(header.kid)
    if key is None:
        raise NotVerified("unknown_key")
    try:
        payload = jws.deserialize_compact(token, key, algorithms=["ES256"]).payload
    except (JoseError, ValueError) as error:
        raise NotVerified("signature") from error
    try:
        claims = msgspec.json.decode(payload, type=Claims)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotVerified("malformed") from error
    _check(claims, issuer=issuer, audience=audience, now=now, leeway=leeway)
    return claims


class Verifier:
    """`verify_assertion` with the keys of a signer in the same process."""

    def __init__(self, jwks: Callable[[], object], *, issuer: str, audience: str, clock: Clock) -> None:
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._parsed: tuple[object, Keys] | None = None

    def __call__(self, token: str) -> Claims:
        """Return the claims of `token`, or raise `NotVerified`. ValueError when the signer's own JWK Set is unusable."""
        jwks = self._jwks()
        if self._parsed is None or self._parsed[0] != jwks:
            self._parsed = (jwks, parse_keys(jwks))
        return verify_assertion(token, self._parsed[1], issuer=self._issuer, audience=self._audience, now=self._clock.now())


def only_one(values: Iterable[str]) -> str:
    """Return the one value of the assertion header's field lines; `NotVerified` when there is none, or more than one."""
    found = list(values)
    if len(found) == 1 and found[0]:
        return found[0]
    raise NotVerified("repeated" if len(found) > 1 else "missing")


def _canonical(segment: str) -> bytes:
    """Decode base64url without padding, refusing a second spelling of the same bytes (RFC 4648 §3.5)."""
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise NotVerified("malformed") from error
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != segment:
        raise NotVerified("malformed")
    return decoded


def _check(claims: Claims, *, issuer: str, audience: str, now: float, leeway: int) -> None:
    if claims.iss != issuer:
        raise NotVerified("issuer")
    if claims.aud != audience:
        raise NotVerified("audience")
    if not (claims.sub and claims.login and claims.jti):
        raise NotVerified("malformed")
    if max(claims.nbf, claims.iat) > now + leeway:
        raise NotVerified("not_yet_valid")
    if claims.exp <= now - leeway or claims.exp - claims.iat > _MAX_LIFETIME:
        raise NotVerified("expired")

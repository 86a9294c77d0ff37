"""What the upstream is told about the person: a signed assertion, and plain headers where an app is configured for them."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import msgspec

from gateway.domain.decision import Allow
from gateway.domain.headers import fold
from gateway.domain.identity import Identity
from gateway.domain.route import App
from gateway.pipeline.gather import authentication_facts, newest
from gateway.policy.facts import AuthenticationFacts
from gateway.ports import AssertionSigner

ASSERTION_HEADER: Final = "X-Gateway-Assertion"
REQUEST_ID_HEADER: Final = "X-Request-Id"
ASSERTION_SECONDS: Final = 60


_PLAIN: Final[Mapping[str, Callable[[Identity], str]]] = {
    "subject": lambda identity: identity.subject,
    "login": lambda identity: identity.login,
    "name": lambda identity: identity.name,
    "organization": lambda identity: identity.organization,
    "department": lambda identity: identity.department,
}


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What the assertion says (see `Outgoing`), in the order of canonical JSON."""

    acr: str
    amr: tuple[str, ...]
    aud: str
    auth_time: int
    department: str
    device: str
    exp: int
    iat: int
    iss: str
    jti: str
    login: str
    name: str
    nbf: int
    organization: str
    roles: tuple[str, ...]
    sub: str


class Outgoing:
    """Builds the headers that are set on an allowed upstream request.

    The assertion is a JWS (ES256): `iss` the portal's origin, `aud` the app's id, `sub`, `login`, `name`, `roles`,
    `organization`, `department`, `acr`, `amr`, `auth_time`, `device`, `iat`, `nbf`, `exp` (60 s), `jti` the decision id.
    It does not carry proofing details: an app that needs them asks the identity provider.
    """

    def __init__(self, *, issuer: str, signer: AssertionSigner, apps: Sequence[App]) -> None:
        self._issuer = issuer
        self._signer = signer
        self._plain: Mapping[str, tuple[tuple[str, str], ...]] = {app.id: app.headers for app in apps}
        names = [ASSERTION_HEADER, REQUEST_ID_HEADER, *(name for app in apps for name, _ in app.headers)]
        self.names: Final = frozenset(name.lower() for name in names)
        """Every header that any app may be set, in lower case."""
        self.protected: Final = frozenset(fold(name) for name in names)
        """Folded names of every header that any app may be set: no client may send one to any app."""

    def headers(self, allow: Allow, now: float) -> list[tuple[str, str]]:
        """Return the headers to set, at time `now` (epoch seconds)."""
        identity = allow.handle.session.identity
        events = allow.handle.events()
        authentication = authentication_facts(events, now)
        second = int(now)
        assertion = self._signer.sign(
            _Claims(
                acr=_acr(authentication),
                amr=authentication.kinds,
                aud=allow.route.app,
                auth_time=newest(events),
                department=identity.department,
                device=allow.posture.device.id if allow.posture.device else "",
                exp=second + ASSERTION_SECONDS,
                iat=second,
                iss=self._issuer,
                jti=allow.id,
                login=identity.login,
                name=identity.name,
                nbf=second,
                organization=identity.organization,
                roles=identity.roles,
                sub=identity.subject,
            )
        )
        headers = [(ASSERTION_HEADER, assertion), (REQUEST_ID_HEADER, allow.id)]
        for name, fact in self._plain.get(allow.route.app, ()):
            if fact == "roles":
                # A comma within a role (a group of a directory may be named so) would make two of it.
                value = ",".join(header_text(role).replace(",", "%2C") for role in identity.roles)
            else:
                value = header_text(_PLAIN[fact](identity))
            headers.append((name, value))
        return headers


def _acr(authentication: AuthenticationFacts) -> str:
    if authentication.phishing_resistant:
        return "phr"
    return "urn:zt-gateway:acr:mfa" if authentication.factors >= 2 else "urn:zt-gateway:acr:single"  # noqa: PLR2004  "two-factor"


@lru_cache(maxsize=4096)
def header_text(value: str) -> str:
    """A value as a header can carry it: printable ASCII stays, everything else (and `%`) is percent-encoded UTF-8."""
    if value.isascii() and value.isprintable() and "%" not in value:
        return value
    return quote(value, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")

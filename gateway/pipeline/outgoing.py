"""What the upstream is told about the person: a signed assertion, and plain headers where an app is configured for them."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from gateway.domain.decision import Allow
from gateway.domain.headers import fold
from gateway.domain.route import App
from gateway.pipeline.gather import authentication_facts
from gateway.policy.facts import AuthenticationFacts
from gateway.ports import AssertionSigner

ASSERTION_HEADER: Final = "X-Gateway-Assertion"
REQUEST_ID_HEADER: Final = "X-Request-Id"
ASSERTION_SECONDS: Final = 60


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
        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": allow.route.app,
            "sub": identity.subject,
            "login": identity.login,
            "name": identity.name,
            "roles": list(identity.roles),
            "organization": identity.organization,
            "department": identity.department,
            "acr": _acr(authentication),
            "amr": list(authentication.kinds),
            "auth_time": max((event.at for event in events), default=0),
            "device": allow.posture.device.id if allow.posture.device else "",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + ASSERTION_SECONDS,
            "jti": allow.id,
        }
        values = {
            "subject": header_text(identity.subject),
            "login": header_text(identity.login),
            "name": header_text(identity.name),
            # A comma within a role (a group of a directory may be named so) would make two of it.
            "roles": ",".join(header_text(role).replace(",", "%2C") for role in identity.roles),
            "organization": header_text(identity.organization),
            "department": header_text(identity.department),
        }
        return [
            (ASSERTION_HEADER, self._signer.sign(claims)),
            (REQUEST_ID_HEADER, allow.id),
            *((name, values[fact]) for name, fact in self._plain.get(allow.route.app, ())),
        ]


def _acr(authentication: AuthenticationFacts) -> str:
    if authentication.phishing_resistant:
        return "phr"
    return "urn:zt-gateway:acr:mfa" if authentication.factors >= 2 else "urn:zt-gateway:acr:single"  # noqa: PLR2004  "two-factor"


def header_text(value: str) -> str:
    """A value as a header can carry it: printable ASCII stays, everything else (and `%`) is percent-encoded UTF-8."""
    return quote(value, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")

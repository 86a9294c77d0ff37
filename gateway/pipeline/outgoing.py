"""What the upstream is told about the person: a signed assertion, and plain headers where an app is configured for them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from gateway.domain.decision import Allow
from gateway.domain.headers import fold
from gateway.domain.identity import Identity, Session
from gateway.domain.route import App
from gateway.kernel.canonical import canonical_json
from gateway.kernel.recent import Recent
from gateway.pipeline.gather import authentication_facts, newest
from gateway.policy.facts import AuthenticationFacts
from gateway.ports import AssertionSigner

ASSERTION_HEADER: Final = "X-Gateway-Assertion"
REQUEST_ID_HEADER: Final = "X-Request-Id"
ASSERTION_SECONDS: Final = 60
RECENT: Final = 1024
_JTI: Final = b'"jti":'


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
    break_glass: str | msgspec.UnsetType = msgspec.UNSET
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
    situation: str | msgspec.UnsetType = msgspec.UNSET
    sub: str


class _Said(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Claims in canonical JSON around the decision's id, and the plain headers; and what they were made from."""

    session: Session
    device: str
    emergency: str
    second: int
    before: bytes
    after: bytes
    plain: tuple[tuple[str, str], ...]


class Outgoing:
    """Builds the headers that are set on an allowed upstream request.

    The assertion is a JWS (ES256): `iss` the portal's origin, `aud` the app's id, `sub`, `login`, `name`, `roles`,
    `organization`, `department`, `acr`, `amr`, `auth_time`, `device`, `iat`, `nbf`, `exp` (60 s), `jti` the decision id.
    It does not carry proofing details: an app that needs them asks the identity provider. While a break-glass is in force in the
    session, `situation` is `break_glass` and `break_glass` its id, so that the app may show it; else neither is there.
    """

    def __init__(self, *, issuer: str, signer: AssertionSigner, apps: Sequence[App]) -> None:
        self._issuer = issuer
        self._recent: Recent[tuple[str, int, str], _Said] = Recent(RECENT)
        self._signer = signer
        self._plain: Mapping[str, tuple[tuple[str, str], ...]] = {app.id: app.headers for app in apps}
        names = [ASSERTION_HEADER, REQUEST_ID_HEADER, *(name for app in apps for name, _ in app.headers)]
        self.names: Final = frozenset(name.lower() for name in names)
        """Every header that any app may be set, in lower case."""
        self.protected: Final = frozenset(fold(name) for name in names)
        """Folded names of every header that any app may be set: no client may send one to any app."""

    def headers(self, allow: Allow, now: float) -> list[tuple[str, str]]:
        """Return the headers to set, at time `now` (epoch seconds)."""
        said = self._said(allow, now)
        claims = msgspec.Raw(said.before + canonical_json(allow.id) + said.after)
        return [(ASSERTION_HEADER, self._signer.sign(claims)), (REQUEST_ID_HEADER, allow.id), *said.plain]

    def _said(self, allow: Allow, now: float) -> "_Said":
        """What is said of a person to an app: the same for each request within a second, but for the decision's id."""
        session, generation, app, second = allow.handle.session, allow.handle.generation, allow.route.app, int(now)
        device = allow.posture.device.id if allow.posture.device else ""
        said = self._recent.get((session.id, generation, app))
        same = said is not None and said.session is session and said.device == device and said.second == second
        if said is not None and same and said.emergency == allow.break_glass:
            return said
        before, jti, after = canonical_json(self._claims(allow, now, device)).partition(_JTI)
        # In a text the quotes would be escaped, so this is the member and nothing else.
        said = _Said(
            session=session,
            device=device,
            emergency=allow.break_glass,
            second=second,
            before=before + jti,
            after=after.removeprefix(b'""'),
            plain=tuple(_plain(session.identity, self._plain.get(app, ()))),
        )
        self._recent.put((session.id, generation, app), said)
        return said

    def _claims(self, allow: Allow, now: float, device: str) -> "_Claims":
        identity = allow.handle.session.identity
        events = allow.handle.events()
        authentication = authentication_facts(events, now)
        second, emergency = int(now), allow.break_glass
        return _Claims(
            acr=_acr(authentication),
            amr=authentication.kinds,
            aud=allow.route.app,
            auth_time=newest(events),
            break_glass=emergency or msgspec.UNSET,
            department=identity.department,
            device=device,
            exp=second + ASSERTION_SECONDS,
            iat=second,
            iss=self._issuer,
            jti="",
            login=identity.login,
            name=identity.name,
            nbf=second,
            organization=identity.organization,
            roles=identity.roles,
            situation="break_glass" if emergency else msgspec.UNSET,
            sub=identity.subject,
        )


def _plain(identity: Identity, wanted: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, fact in wanted:
        if fact == "roles":
            # A comma within a role (a group of a directory may be named so) would make two of it.
            yield name, ",".join(header_text(role).replace(",", "%2C") for role in identity.roles)
        else:
            yield name, header_text(_PLAIN[fact](identity))


def _acr(authentication: AuthenticationFacts) -> str:
    if authentication.phishing_resistant:
        return "phr"
    return "urn:zt-gateway:acr:mfa" if authentication.factors >= 2 else "urn:zt-gateway:acr:single"  # noqa: PLR2004  "two-factor"


def header_text(value: str) -> str:
    """A value as a header can carry it: printable ASCII stays, everything else (and `%`) is percent-encoded UTF-8."""
    if value.isascii() and value.isprintable() and "%" not in value:
        return value
    return quote(value, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")

"""The schema of `gateway.toml`, and what the rest of the program gets to see of it: frozen values, no strings to interpret.

A field without a default must be given. Durations are whole seconds. Relative paths have been joined to the file's folder.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from gateway.config.emergency import BreakGlass, Notices
from gateway.config.leaves import (
    Claim,
    ExistingFile,
    HeaderName,
    HostName,
    Identifier,
    KeyFile,
    ListenAddress,
    Method,
    Origin,
    PatientPlace,
    PrivateFile,
    Range,
    RouteId,
    RoutePath,
    StatePath,
    Url,
)
from gateway.config.locate import KeyPath, Locations
from gateway.config.policies import Policies
from gateway.config.proofing import Backend, DigitalAgency, InPerson, Jpki, PlatformOperator
from gateway.config.remedies import Grants, Remedies
from gateway.domain.route import Action, App, HealthCheck, Route, Sensitivity
from gateway.kernel.secret import Secret

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Fact = Literal["subject", "login", "name", "roles", "organization", "department"]
"""What a plain header can tell an app: see `gateway.domain.route.App.headers`."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS at the gateway's own listener."""

    certificate_file: ExistingFile
    """PEM: the server certificate, then its intermediates."""
    key_file: PrivateFile
    """PEM private key, unencrypted."""
    client_ca_file: ExistingFile | None = None
    """PEM of the CA that issues device certificates. With it every connection is asked for one; policies decide who needs it."""
    preset: Literal["high", "compatible"] = "high"
    """`high`: TLS 1.3 only (guideline 7.0 13⑥). `compatible`: TLS 1.2 with ECDHE and AEAD too, for systems that can't."""


class FrontListener(msgspec.Struct, frozen=True, kw_only=True):
    """A listener for proxies that speak for their clients (fronts). They have to prove who they are; there is no default.

    Either `socket` with `trusted_uids` (SO_PEERCRED), or all of `host`, `port`, the two TLS files, `client_ca_file` and
    `client_names` (mTLS).
    """

    socket: StatePath | None = None
    trusted_uids: tuple[Annotated[int, msgspec.Meta(ge=0, le=4_294_967_294)], ...] = ()
    """Users whose processes may speak, on the socket."""
    host: ListenAddress | None = None
    port: Port | None = None
    certificate_file: ExistingFile | None = None
    """PEM: the listener's certificate, then its intermediates."""
    key_file: PrivateFile | None = None
    client_ca_file: ExistingFile | None = None
    """PEM of the CA that issued the fronts' certificates. Not the CA of devices."""
    client_names: tuple[HostName, ...] = ()
    """DNS names (subjectAltName) of the fronts that may speak."""
    tells_tls: bool = False
    """Whether the fronts set X-Forwarded-Client-Port, -Tls-Version and -Tls-Server-Name in every request (and so replace the
    client's own); without it these don't count."""
    certificate_field: Literal["client-cert", "x-forwarded-tls-client-cert"] | None = None
    """The field in which the fronts put the client's verified certificate, and which they remove when there is none."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway listens, and how the world sees it."""

    host: ListenAddress = "127.0.0.1"
    port: Port | None = None
    """Where clients connect to the gateway itself; not given: all come through `front`."""
    public_scheme: Literal["https", "http"] = "https"
    """What stands in people's address bar. `http` is for the demo on loopback."""
    public_port: Port | None = None
    """The port in people's address bar; the scheme's usual one when not given."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=24)] = 1
    """Processes that serve. More than one need their sessions in Redis."""
    drain_seconds: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 10
    """How long requests and streams under way may take to their end when a process ends, or its successor has begun."""
    tls: Tls | None = None
    front: FrontListener | None = None
    """For TLS-terminating proxies that pass whole requests on."""


class Portal(msgspec.Struct, frozen=True, kw_only=True):
    """The host where people sign in and out, step up and register devices."""

    host: HostName
    assertion_key_file: PrivateFile
    """PEM private key (EC P-256) that signs what apps are told about people."""


class AcceptedFramework(msgspec.Struct, frozen=True, kw_only=True):
    """What a trust framework in an external provider's `verified_claims` is worth: see `gateway.rp.verified.Accepted`."""

    trust_framework: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    assurance_level: Annotated[str, msgspec.Meta(max_length=256)] = ""
    """Only with this assurance level; empty: with any."""
    level: Annotated[int, msgspec.Meta(ge=1, le=3)]
    """The identity assurance level that it counts as."""
    method: Identifier
    """What policies and the log call it."""


class VerifiedClaims(msgspec.Struct, frozen=True, kw_only=True):
    """Which verified claims of an external provider count as an identity proofing."""

    max_age_days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] = 1825
    """How long after the verification."""
    accept: Annotated[tuple[AcceptedFramework, ...], msgspec.Meta(min_length=1, max_length=20)]


class IdentityProvider(msgspec.Struct, frozen=True, kw_only=True):
    """The OpenID Provider that the gateway relies on, embedded or not."""

    issuer: Url
    embedded: bool = False
    """Whether this process serves it: then there is an [idp] section, and the issuer is a host of ours."""
    client_id: str = "gateway"
    client_secret: Secret
    ca_file: ExistingFile | None = None
    """PEM of the CA that the provider's certificate is checked with, where it is not a public one."""
    roles_claim: Claim = "roles"
    """The claim of the ID token that lists a person's roles."""
    account_url: Url | None = None
    """Where people manage their factors at an external provider, for a link; the embedded one has its own page."""
    verified_claims: VerifiedClaims | None = None
    """Whether an external provider's `verified_claims` are asked for and count as an identity proofing."""


class EmbeddedProvider(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded OpenID Provider."""

    data_dir: StatePath
    """Holds the accounts database and the signing keys, which the provider makes and rotates itself."""
    proofing: Backend = "none"
    """Who proofs people's identity: the section of that name says how. `simulated` is for the demo."""
    rehearsal: bool = False
    """For the connection test with a verifier's test environment: what it proofs counts as level 1, and is marked."""
    recheck_hours: Annotated[int, msgspec.Meta(ge=0, le=8_760)] = 0
    """How often the verifier is asked whether proofings still hold; 0: only when an officer wants it."""
    review_days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 14
    """How long a result that officers have to look at waits for them; then what they would compare is deleted."""
    expiring_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30
    """How long before its end a proofing is shown as expiring soon."""
    valid_days: Annotated[int, msgspec.Meta(ge=0, le=3_650)] = 0
    """How long a proofing counts at the longest, whatever its verifier says; 0: as long as the verifier says."""
    shared_cards: bool = False
    """Whether one person may be proofed on several active accounts."""
    trust_framework: str = "urn:zt-gateway:trust-framework:staff-proofing:1"
    """What `verified_claims` call the rules by which people are proofed here: an identifier of the institution's own."""
    digital_agency: DigitalAgency | None = None
    platform_operator: PlatformOperator | None = None
    jpki: Jpki | None = None
    in_person: InPerson | None = None


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """How long sign-ins last, and where they are kept."""

    backend: Literal["memory", "redis"] = "memory"
    redis_url: Secret | None = None
    """`redis://`, `rediss://` (TLS) or `unix://` URL; it may hold a password."""
    seal_key: Secret | None = None
    """32 random characters or more; sessions lie encrypted and authenticated with it in Redis. The same on every node."""
    idle_seconds: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = 900
    absolute_seconds: Annotated[int, msgspec.Meta(ge=300, le=86_400)] = 36_000


class Devices(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of devices (guideline 7.0 8.5)."""

    database: StatePath
    enrolment: Literal["self-service", "officer-approval"] = "officer-approval"
    """Whether a device that a person registers counts at once, or when a security officer has approved it."""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The log."""

    dir: StatePath
    key_file: KeyFile
    """PEM private key (Ed25519) that signs checkpoints; made when a log is begun."""
    anchor: StatePath | None = None
    """A copy of the newest checkpoint, outside `dir`: where the gateway's host can't rewrite it, it shows a cut-off tail."""
    sync_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=0.05)] = 0.05
    """Longest time until a record is on disk, whatever its action; writes wait for it anyway."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Named address ranges that policies can read."""

    zones: Mapping[Identifier, tuple[Range, ...]] = MappingProxyType({})


class Door(FrontListener, frozen=True, kw_only=True):
    """A door for another proxy that asks before it forwards: see `gateway.doors`."""

    kind: Literal["nginx", "envoy-http", "envoy-grpc", "forward-auth"]
    access_log: StatePath | None = None
    """nginx's access log, which is taken into our own: how requests ended, and each one under a lease. Without it there are no
    leases."""
    access_log_state: StatePath | None = None
    """Where the gateway keeps how far it has read."""
    status_socket: StatePath | None = None
    """Where nginx says how many requests there were, so that lines that are lost or too many are found."""


def hold_file(door: Door) -> Path | None:
    """Return the file beside a door's socket that stops leases while it is there; None where the front can't see our files."""
    return door.socket.with_name(f"{door.socket.name}.no-lease") if door.socket is not None else None


class Console(msgspec.Struct, frozen=True, kw_only=True):
    """The security officer's and auditor's pages."""

    host: HostName


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request: see `gateway.domain.route.Route`."""

    id: RouteId
    methods: tuple[Method, ...]
    path: RoutePath
    action: Action
    sensitivity: Sensitivity = "normal"
    sync: bool = False
    websocket: bool = False
    allow_parameters: bool = False
    patient: PatientPlace = ""
    idle_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    total_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0


class HealthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an application's instances are checked: see `gateway.domain.route.HealthCheck`."""

    path: str
    interval_seconds: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 5
    unhealthy_after: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    healthy_after: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2


class AppConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One application behind the gateway."""

    id: Identifier
    host: HostName
    upstream: Origin
    upstreams: tuple[Origin, ...] = ()
    """Further instances of the application, beside `upstream`."""
    health: HealthConfig | None = None
    title_ja: str
    title_en: str
    routes: tuple[RouteConfig, ...]
    headers: Mapping[HeaderName, Fact] = MappingProxyType({})


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """The sections of the file, in its order."""

    demo: bool = False
    """Synthetic people, simulated verifiers. `gateway serve` refuses it."""
    server: Server
    portal: Portal
    identity: IdentityProvider
    idp: EmbeddedProvider | None = None
    sessions: Sessions = Sessions()
    devices: Devices
    policies: Policies
    audit: Audit
    network: Network = Network()
    doors: tuple[Door, ...] = ()
    console: Console | None = None
    break_glass: BreakGlass = BreakGlass()
    notices: Notices | None = None
    grants: Grants = Grants()
    remedies: Remedies = Remedies()
    apps: tuple[AppConfig, ...]


class Config(Sections, frozen=True, kw_only=True):
    """A valid configuration: every section is right by itself, and they agree with each other."""

    file: Path
    locations: Locations

    def secret_key(self, section: str, name: str) -> KeyPath:
        """Return the key under which a secret is given, for messages about it: `NAME_file` or `NAME_env`."""
        given = [(section, f"{name}_{how}") for how in ("file", "env") if self.locations.has((section, f"{name}_{how}"))]
        return given[0] if given else (section,)

    def seen_port(self) -> int:
        """Return the port in people's address bar."""
        return self.server.public_port or (443 if self.server.public_scheme == "https" else 80)

    def where(self, *path: str | int) -> str:
        """Return `file:line` of a key, for messages about it."""
        return f"{self.file}:{self.locations.line(path)}"

    def origin(self, host: str) -> str:
        """Return the public origin of one of our hosts: `https://ehr.hospital.example`, with the port when it is unusual."""
        usual = 443 if self.server.public_scheme == "https" else 80
        port = "" if self.seen_port() == usual else f":{self.seen_port()}"
        return f"{self.server.public_scheme}://{host}{port}"

    def idp_host(self) -> str | None:
        """Return the host of the embedded identity provider; None when another one is relied on."""
        if not self.identity.embedded:
            return None
        return self.identity.issuer.partition("://")[2].partition("/")[0].partition(":")[0]

    def to_apps(self) -> tuple[App, ...]:
        """Return the configured apps as the pipeline knows them. The console is not among them: its app is built with it."""
        return tuple(
            App(
                id=app.id,
                host=app.host,
                upstream=app.upstream,
                upstreams=app.upstreams,
                health=_health(app.health),
                title_ja=app.title_ja,
                title_en=app.title_en,
                routes=tuple(_route(app.id, route) for route in app.routes),
                headers=tuple(app.headers.items()),
            )
            for app in self.apps
        )


def _health(check: HealthConfig | None) -> HealthCheck | None:
    if check is None:
        return None
    return HealthCheck(
        path=check.path,
        interval_seconds=check.interval_seconds,
        unhealthy_after=check.unhealthy_after,
        healthy_after=check.healthy_after,
    )


def _route(app: str, route: RouteConfig) -> Route:
    return Route(
        id=route.id,
        app=app,
        methods=route.methods,
        pattern=route.path,
        action=route.action,
        sensitivity=route.sensitivity,
        sync=route.sync,
        websocket=route.websocket,
        allow_parameters=route.allow_parameters,
        patient=route.patient,
        idle_seconds=route.idle_seconds,
        total_seconds=route.total_seconds,
    )

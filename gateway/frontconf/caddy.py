"""Caddy in front: a `reverse_proxy` asks the forward-auth door, and then Caddy forwards by itself.

Made and tested for Caddy 2.6.2 (Debian 12). What that Caddy does, and why the file looks as it does:

- its own `forward_auth` is not used: its `copy_headers` keeps the client's own field where our answer has none (CVE-2026-30851).
  Here every such field is deleted first, in every spelling that servers fold together, and set only from the answer;
- it drops what `Connection` lists when it forwards, after our fields were set (CVE-2024-45410): `Connection` goes before them;
- a placeholder without a value stays in the text as it is: fields are only set where there is a value (`!= null`);
- `{http.request.orig_uri}` is the target byte for byte, `{http.request.uri}` what an upstream is sent. Where they differ (`#`,
  raw bytes, absolute form) the gateway is asked about the former, refuses and records it, and nothing is ever forwarded;
- it asks upstreams for gzip by itself, and unpacks it: `compression off`;
- of a CA file it reads the first certificate only; it does not start when it can't read one (CVE-2026-27586 is about JSON).

Everything that is not plainly a request to an application (our pages, unknown hosts, WebSockets, event streams) is passed on
whole to the gateway's own proxy, which decides it. One site for all names: one TLS policy asks every client for a certificate
(CVE-2026-32305).
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

import msgspec

from gateway.config import Config
from gateway.config.locate import KeyPath
from gateway.config.model import AppConfig, FrontListener
from gateway.domain.cookies import OWN_PREFIX
from gateway.domain.headers import CLAIM_PREFIXES, CLAIMS
from gateway.domain.route import RESERVED_SEGMENT
from gateway.doors.forward_auth.door import ENDPOINT
from gateway.doors.tls import HSTS, PROFILES, Preset
from gateway.kernel.errors import ConfigError
from gateway.pipeline.outgoing import ASSERTION_HEADER, REQUEST_ID_HEADER

_HTTPS: Final = 443
_ODD: Final = "!#$%&'*+.^_`|~"
"""Token characters (RFC 9110 §5.6.2) beside letters, digits and "-": browsers send no field name with one."""
_CERTIFICATE: Final = "{http.request.tls.client.certificate_der_base64}"
_CERTIFICATE_FIELDS: Final = {
    "client-cert": ("Client-Cert", f":{_CERTIFICATE}:"),
    "x-forwarded-tls-client-cert": ("X-Forwarded-Tls-Client-Cert", _CERTIFICATE),
}
_SORRY: Final = (
    "ただいま接続できません。しばらくしてから、もう一度開いてください。\\n"
    "The service can't be reached. Please try again shortly.\\n"
)
_VERSIONS: Final = {"TLSv1.2": "tls1.2", "TLSv1.3": "tls1.3"}
_NO_OTHER_HSTS: Final = f"header_down -{HSTS[0]}"
"""Ours is set for every reply; a second one would make both void for some browsers (RFC 6797 §8.1)."""
_SAYS: Final = (
    "header_up X-Forwarded-Host {http.request.hostport}",
    "header_up X-Forwarded-Proto {scheme}",
    "header_up X-Forwarded-For {remote_host}",
    "header_up X-Forwarded-Client-Port {remote_port}",
    "header_up X-Forwarded-Tls-Version {http.request.tls.version}",
    "header_up X-Forwarded-Tls-Server-Name {http.request.tls.server_name}",
)
"""What the gateway is told of the client: set after everything else, whatever the client sent."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `gateway.toml` does not know. Paths are Caddy's."""

    address: str = ""
    """Where Caddy listens; empty: on every address."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    """0: the port of people's address bars."""
    redirect_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 80
    """Where plain HTTP is told to come back with https; 0: nowhere."""
    certificate: str = "/etc/caddy/tls/server.pem"
    """PEM: the server certificate, then its intermediates."""
    key: str = "/etc/caddy/tls/server.key"
    client_ca: str = ""
    """PEM file of the CA that issues device certificates; several, with commas, for one certificate each counts. Empty: no client
    is asked for one."""
    preset: Preset = "high"
    front_certificate: str = ""
    """What Caddy shows where the gateway listens on an address (mTLS); not for sockets."""
    front_key: str = ""
    front_ca: str = ""
    """PEM of the CA of the gateway's listeners."""
    ask_seconds: Annotated[int, msgspec.Meta(ge=1, le=120)] = 15
    """How long the gateway may take to decide; after that nobody is let in."""
    admin: Literal["off", "on"] = "off"
    """Caddy's own interface on localhost: every process of the machine may change its configuration there. `caddy reload` needs
    it."""


def render(config: Config, options: Options | None = None) -> str:
    """Return a Caddyfile. Raises ConfigError when `gateway.toml` has no door for Caddy, or the door would not believe it."""
    options = options or Options()
    front, door = _listeners(config, options)
    lines = [
        "# Made by `gateway front-config caddy`: change gateway.toml and make it anew.",
        *_globals(options),
        *_snippet("clean", _clean(config)),
        *_snippet("certificate", _certificate(options, front, door)),
        *_snippet("gateway", _pass_on(config, front, options)),
        *_snippet("ask", _ask(config, door, options)),
        *_snippet("forget", _forget()),
        *_site(config, options),
        *_redirect(config, options),
    ]
    return "\n".join(lines) + "\n"


# ---- what the configuration must have


def _listeners(config: Config, options: Options) -> tuple[FrontListener, FrontListener]:
    if config.server.public_scheme != "https":
        raise ConfigError(
            "Caddy is made to speak TLS here", where=config.where("server"), todo='Set public_scheme = "https", or use no front.'
        )
    front = config.server.front
    if front is None:
        raise ConfigError(
            "there is no [server.front]", where=config.where("server"), todo="Add one: Caddy passes pages on to it."
        )
    found = [(("doors", index), door) for index, door in enumerate(config.doors) if door.kind == "forward-auth"]
    if not found:
        raise ConfigError(
            'there is no door of kind "forward-auth"', where=str(config.file), todo='Add [[doors]] with kind = "forward-auth".'
        )
    places: list[tuple[KeyPath, FrontListener]] = [(("server", "front"), front), *found[:1]]
    for path, listener in places:
        _believes(config, path, listener, options)
    return front, found[0][1]


def _believes(config: Config, path: KeyPath, listener: FrontListener, options: Options) -> None:
    if not listener.tells_tls:
        raise ConfigError("what Caddy says of TLS would not count here", where=config.where(*path), todo="Add tells_tls = true.")
    if options.client_ca and listener.certificate_field is None:
        raise ConfigError(
            "device certificates would not count here", where=config.where(*path), todo='Add certificate_field = "client-cert".'
        )
    if listener.socket is None and not (options.front_certificate and options.front_key and options.front_ca):
        raise ConfigError(
            "the gateway listens on an address there, so Caddy has to show a certificate",
            where=config.where(*path),
            todo="Give front_certificate, front_key and front_ca with --set, or use a socket.",
        )


# ---- parts of the file


def _indent(lines: Iterable[str], depth: int = 1) -> Iterator[str]:
    return ("\t" * depth + line if line else "" for line in lines)


def _block(head: str, body: Iterable[str]) -> list[str]:
    return [f"{head} {{", *_indent(body), "}"]


def _snippet(name: str, body: Iterable[str]) -> list[str]:
    return ["", *_block(f"({name})", body)]


def _globals(options: Options) -> list[str]:
    body = [
        *(["admin off"] if options.admin == "off" else []),
        "auto_https off",
        *_block("servers", ["protocols h1 h2", "max_header_size 64KB", *_block("timeouts", ["read_header 10s", "idle 2m"])]),
    ]
    return ["{", *_indent(body), "}"]


def _clean(config: Config) -> list[str]:
    exact = {ASSERTION_HEADER, REQUEST_ID_HEADER, *CLAIMS, *(name for app in config.apps for name in app.headers)}
    prefixes = tuple(prefix.lower() for prefix in CLAIM_PREFIXES)
    return [
        "# What only the gateway and Caddy may say: no client's copy survives, whatever the answer holds.",
        *(f'request_header "-*{character}*"' for character in _ODD),
        *(f"request_header -{prefix}*" for prefix in CLAIM_PREFIXES),
        *(f"request_header -{name}" for name in sorted(exact) if not name.lower().startswith(prefixes)),
    ]


def _certificate(options: Options, *listeners: FrontListener) -> list[str]:
    fields = sorted({listener.certificate_field for listener in listeners if listener.certificate_field is not None})
    if not options.client_ca or not fields:
        return ["# No client is asked for a certificate."]
    return [
        "# Only what TLS has verified gets here.",
        f"@verified expression `{_CERTIFICATE} != null`",
        *('request_header @verified {} "{}"'.format(*_CERTIFICATE_FIELDS[field]) for field in fields),
    ]


def _transport(config: Config, listener: FrontListener, options: Options, *more: str) -> list[str]:
    lines = ["compression off", "dial_timeout 3s", *more]
    if listener.socket is None:
        # The name that the listener's certificate must have is that of its address.
        lines += [
            "tls",
            f"tls_client_auth {options.front_certificate} {options.front_key}",
            f"tls_trusted_ca_certs {options.front_ca}",
        ]
    return _block("transport http", lines)


def _address(listener: FrontListener) -> str:
    return f"unix/{listener.socket}" if listener.socket is not None else f"{listener.host}:{listener.port}"


def _pass_on(config: Config, front: FrontListener, options: Options) -> list[str]:
    body = [*_SAYS, "flush_interval -1", _NO_OTHER_HSTS, *_transport(config, front, options)]
    return ["# A whole request, for the gateway itself to decide.", *_block(f"reverse_proxy {_address(front)}", body)]


def _ask(config: Config, door: FrontListener, options: Options) -> list[str]:
    answered = [ASSERTION_HEADER, REQUEST_ID_HEADER, *sorted({name for app in config.apps for name in app.headers})]
    take: list[str] = ["# Set what the answer has; the client's own are gone already."]
    for number, name in enumerate(answered):
        said = f"{{http.reverse_proxy.header.{name}}}"
        take += [f"@has{number} expression `{said} != null`", f"request_header @has{number} {name} {said}"]
    body = [
        "method GET",
        f"rewrite {ENDPOINT}?",
        "header_up X-Forwarded-Method {http.request.method}",
        "header_up X-Forwarded-Uri {http.request.orig_uri}",
        *_SAYS,
        *(f"header_up -{name}" for name in ("Expect", "Content-Length")),
        _NO_OTHER_HSTS,
        *_transport(config, door, options, f"response_header_timeout {options.ask_seconds}s"),
        "@allow status 200",
        *_block("handle_response @allow", take),
    ]
    return ["# Any answer but 200 is for the person, and the end of it.", *_block(f"reverse_proxy {_address(door)}", body)]


def _forget() -> list[str]:
    own = f"(?i)()(?:^|;)[\\s=]*{OWN_PREFIX}[^;]*"
    return [
        "# The gateway's own cookies, and what concerns this connection only, go no further.",
        *(f"request_header -{name}" for name in ("Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "HTTP2-Settings")),
        *(f"request_header -{name}" for name, _ in _CERTIFICATE_FIELDS.values()),
        f'request_header Cookie "{own}" "$1"',
        'request_header Cookie "^()[;\\s]+" "$1"',
        '@crumbs header Cookie ""',
        "request_header @crumbs -Cookie",
    ]


def _site(config: Config, options: Options) -> list[str]:
    # Only within `route` Caddy keeps the order of what is written; each route here ends with a reply.
    inner = [
        "import clean",
        "import certificate",
        "",
        "# Caddy would forward another target than the one that is asked about: asked, so that it is refused and recorded.",
        "@respelt not expression `{http.request.orig_uri} == {http.request.uri}`",
        *_block("route @respelt", ["import ask", "respond 400"]),
    ]
    for app in config.apps:
        inner += ["", *_app(config, app)]
    inner += ["", "# Everything else: our own pages, unknown hosts, WebSockets, event streams.", "import gateway"]
    body = [
        *([f"bind {options.address}"] if options.address else []),
        *_tls(options),
        f'header {HSTS[0]} "{HSTS[1]}"',
        "header -Server",
        *_block("route", inner),
        *_block("handle_errors", _errors()),
    ]
    # No name or address before the port: Caddy would answer 200 to all others.
    return ["", *_block(f"https://:{options.port or config.seen_port()}", body)]


def _tls(options: Options) -> list[str]:
    profile = PROFILES[options.preset]
    versions = sorted(_VERSIONS[version] for version in profile.versions)
    body = [f"protocols {' '.join(dict.fromkeys((versions[0], versions[-1])))}"]
    if profile.suites:
        body.append(f"ciphers {' '.join(suite.iana for suite in profile.suites)}")
    body.append(f"curves {' '.join(group.iana for group in profile.groups)}")
    if options.client_ca:
        files = [f"trusted_ca_cert_file {name.strip()}" for name in options.client_ca.split(",")]
        body += _block("client_auth", ["mode verify_if_given", *files])
    return _block(f"tls {options.certificate} {options.key}", body)


def _app(config: Config, app: AppConfig) -> list[str]:
    name = f"app_{app.id.replace('-', '_').replace('.', '_')}"
    authority = config.origin(app.host).removeprefix("https://")
    matcher = [
        f"host {app.host}",
        f"not path /{RESERVED_SEGMENT} /{RESERVED_SEGMENT}/*",
        "not header Upgrade *",
        "not header Sec-WebSocket-Key *",
        "not header_regexp Accept (?i)text/event-stream",
    ]
    upstream = [
        f"header_up Host {authority}",
        f"header_up X-Forwarded-Host {authority}",
        "header_up X-Forwarded-Proto https",
        "header_up X-Forwarded-For {remote_host}",
        *(f"header_down -{field}" for field in ("X-Gateway*", "X-Forwarded*", "Alt-Svc")),
        f'header_down Set-Cookie "(?i)^()[\\s=]*{OWN_PREFIX}.*" "$1"',
        _NO_OTHER_HSTS,
        *_instances(app, authority),
        *_block("transport http", ["compression off", "dial_timeout 10s", f"read_timeout {_silence(app)}s"]),
    ]
    instances = (app.upstream, *app.upstreams)
    if len({origin.partition("://")[0] for origin in instances}) > 1:
        raise ConfigError(
            "Caddy reaches all instances of an application by http, or all by https",
            where=config.where("apps", config.apps.index(app), "upstreams"),
            todo="Give them one scheme.",
        )
    steps = ["import ask", "import forget", *_block(f"reverse_proxy {' '.join(instances)}", upstream)]
    return [*_block(f"@{name}", matcher), *_block(f"route @{name}", steps)]


def _instances(app: AppConfig, authority: str) -> list[str]:
    """How requests are shared out, and who gets none: an instance that can't be connected to is passed over."""
    lines: list[str] = []
    if app.upstreams:
        lines += ["lb_policy round_robin", "lb_try_duration 3s", "lb_try_interval 50ms"]
    if app.health is not None:
        seconds = app.health.interval_seconds
        lines += [
            f"health_uri {app.health.path}",
            f"health_interval {seconds}s",
            f"health_timeout {seconds}s",
            *_block("health_headers", [f"Host {authority}"]),
            f"fail_duration {seconds}s",
            f"max_fails {app.health.unhealthy_after}",
        ]
    return lines


def _silence(app: AppConfig) -> int:
    """The longest that an application may say nothing, in seconds: the most that any of its routes allows."""
    return max(60, *(route.idle_seconds for route in app.routes))


def _redirect(config: Config, options: Options) -> list[str]:
    if not options.redirect_port:
        return []
    hosts = [config.portal.host, config.idp_host(), config.console.host if config.console is not None else None]
    ours = sorted({*(host for host in hosts if host is not None), *(app.host for app in config.apps)})
    port = "" if config.seen_port() == _HTTPS else f":{config.seen_port()}"
    body = [
        *([f"bind {options.address}"] if options.address else []),
        f"@ours host {' '.join(ours)}",
        f"redir @ours https://{{host}}{port}{{uri}} 308",
        "respond 421",
    ]
    return ["", *_block(f"http://:{options.redirect_port}", body)]


def _errors() -> list[str]:
    return [
        "# Nobody was let through: the gateway or the application did not answer.",
        f'header {HSTS[0]} "{HSTS[1]}"',
        'header Content-Type "text/plain; charset=utf-8"',
        "header Cache-Control no-store",
        f'respond "{_SORRY}" {{err.status_code}}',
    ]

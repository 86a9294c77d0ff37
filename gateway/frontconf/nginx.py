"""nginx in front: `auth_request` asks, nginx forwards. Made for nginx 1.22 (Debian 12) and later.

The template beside this module is the configuration, with its reasons; here stands what goes into it. One `server` for all names:
what TLS asks of clients can't differ, and nothing is chosen by a name that the client gave twice.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from jinja2 import Environment, StrictUndefined

from gateway.config import Config
from gateway.config.model import AppConfig, Door, FrontListener, hold_file
from gateway.doors.nginx.fields import ANSWERED, cleared_fields, passed_fields
from gateway.doors.tls import HSTS, PROFILES, Preset
from gateway.kernel.errors import ConfigError
from gateway.pipeline.outgoing import ASSERTION_HEADER, REQUEST_ID_HEADER

_TEMPLATE: Final = Path(__file__).with_name("nginx.conf.in")
_PORTS: Final = {"http": 80, "https": 443}
_HIDDEN: Final = ("Alt-Svc", HSTS[0], ASSERTION_HEADER, *ANSWERED)
"""Fields of applications' replies: `Alt-Svc` would lead the browser past the gateway (RFC 7838), the others are ours to say."""
_TO_APPS: Final = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
"""What the template sets for applications."""
_BREAKERS: Final = frozenset("\"'\\;{}$\n\r\0#")
_PAGE: Final = (
    '<!doctype html><html lang="ja"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{0}</title><style>body{{font-family:sans-serif;max-width:36rem;margin:4rem auto;line-height:1.6}}</style>"
    '<h1>{0}</h1><p>{1}</p><section lang="en"><h2>{2}</h2><p>{3}</p></section></html>'
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `gateway.toml` does not know. Paths are nginx's, and hold no spaces or quotes."""

    listen: str = "443"
    """Addresses and ports of the TLS listener, separated by spaces: `443 [::]:443`."""
    redirect_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 80
    """Where plain HTTP is told to come back with https; 0: nowhere."""
    certificate: str = "/etc/nginx/tls/server.pem"
    """PEM: the server certificate for every host, then its intermediates."""
    key: str = "/etc/nginx/tls/server.key"
    client_ca: str = ""
    """PEM of the CA that issues device certificates; empty: no client is asked for one."""
    preset: Preset = "high"
    stapling: str = "responder"
    """OCSP: `responder` (the certificate's own), `off`, or a file with the response."""
    resolver: str = ""
    """DNS server that finds the responder later than at the start."""
    app_ca: str = "/etc/ssl/certs/ca-certificates.crt"
    """PEM of the CAs of applications that are reached by https."""
    front_certificate: str = ""
    """What nginx shows where the gateway listens on an address (mTLS); not for sockets."""
    front_key: str = ""
    front_ca: str = ""
    """PEM of the CA of the gateway's listeners."""
    front_name: str = ""
    """The DNS name in the certificate of the gateway's listeners."""
    user: str = "www-data"
    pid: str = "/run/nginx.pid"
    error_log: str = "/var/log/nginx/error.log"
    access_log: str = "/var/log/nginx/gateway.log"
    """Where each request leaves a line; the `access_log` of the [[doors]] section counts where there is one."""
    lease_dir: str = "/run/gateway-lease"
    """On a tmpfs: it holds answers, and with them session cookies, for the seconds of a lease."""
    pass_fields: str = ""
    """More request fields for applications, by name, separated by spaces. They matter where there may be leases (`access_log` in
    the [[doors]] section): there only the usual fields are passed on, and these."""
    temp_dir: str = ""
    """Folder for temporary files; empty: nginx's own."""
    worker_processes: str = "auto"
    worker_connections: int = 4096
    files: int = 65_535
    """Open files of a worker; 0: as many as its user may have."""
    read_timeout: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The longest silence of an application, in seconds; 0: a minute, or what the route that allows most allows."""


def render(config: Config, options: Options) -> str:
    """Return nginx.conf. Raises ConfigError when `gateway.toml` has no nginx door, or one that knows less than nginx tells it."""
    for name in Options.__struct_fields__:
        _word(f"--set {name}", str(getattr(options, name)), spaces=name in {"listen", "resolver", "pass_fields"})
    door, front = _listeners(config, options)
    names = tuple({header.lower(): header for app in config.apps for header in app.headers}.values())
    answered = [(name, _variable(name)) for name in (ASSERTION_HEADER, *names)]
    answered.append((REQUEST_ID_HEADER, "$gateway_request"))
    facts = _facts(door)
    hosts = [host for host in (config.portal.host, config.idp_host(), config.console and config.console.host) if host]
    clear = cleared_fields(names)
    try:
        passed = passed_fields(names, options.pass_fields.split())
    except ValueError as error:
        raise ConfigError(
            f'--set pass_fields: no client may send "{error}"', todo="Leave it out: the gateway or nginx sets such fields."
        ) from error
    env = Environment(  # noqa: S701  a configuration, not a page
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = env.from_string(_TEMPLATE.read_text("utf-8"))
    return template.render(
        o=options,
        profile=PROFILES[options.preset],
        hsts=HSTS,
        own_hosts=hosts,
        all_hosts=[*hosts, *(app.host for app in config.apps)],
        apps=[_app(config, app) for app in config.apps],
        read_timeout=options.read_timeout or max(60, *(route.idle_seconds for app in config.apps for route in app.routes)),
        door=_gateway(door, options),
        front=_gateway(front, options),
        facts=facts,
        answered=answered,
        cleared_to_gateway=_without(clear, [name for name, _ in facts]),
        cleared_to_app=_without(clear, [*_TO_APPS, *(name for name, _ in answered)]),
        passed=[(name, f"$http_{name.lower().replace('-', '_')}") for name in passed],
        hidden=_HIDDEN,
        access_log=_word("access_log", str(door.access_log)) if door.access_log is not None else options.access_log,
        leases=door.access_log is not None,
        hold=_word("socket", str(hold_file(door) or "")),
        status_socket=_word("status_socket", str(door.status_socket or "")),
        port_suffix=f":{config.seen_port()}" if config.seen_port() != _PORTS["https"] else "",
        page=_PAGE.format,
    )


def _without(names: list[str], others: Iterable[str]) -> list[str]:
    set_here = {name.lower() for name in others}
    return [name for name in names if name.lower() not in set_here]


def _listeners(config: Config, options: Options) -> tuple[Door, FrontListener]:
    door = next((door for door in config.doors if door.kind == "nginx"), None)
    front = config.server.front
    if door is None or front is None:
        what = "[[doors]] of kind nginx" if door is None else "[server.front]"
        raise ConfigError(f"there is no {what}", where=str(config.file), todo="deploy/gateway.toml shows one.")
    where = config.where("doors", config.doors.index(door))
    if not (door.tells_tls and front.tells_tls):
        what = "nginx tells of TLS in every request, but the gateway would not listen"
        raise ConfigError(what, where=where, todo="Write tells_tls = true in the nginx door and in [server.front].")
    if door.certificate_field != front.certificate_field or (options.client_ca and door.certificate_field is None):
        raise ConfigError(
            "the nginx door and [server.front] don't hear of client certificates alike",
            where=where,
            todo='Write certificate_field = "x-forwarded-tls-client-cert" in both.',
        )
    if config.server.public_scheme != "https":
        raise ConfigError("nginx serves https only", where=config.where("server"), todo='Write public_scheme = "https".')
    return door, front


def _facts(door: Door) -> list[tuple[str, str]]:
    """What the gateway is told of the client's request, and where it stands in nginx."""
    facts = [
        ("X-Forwarded-Method", "$request_method"),
        ("X-Forwarded-Proto", "$scheme"),
        ("X-Forwarded-Host", "$http_host"),
        ("X-Forwarded-Uri", "$gateway_target"),
        ("X-Forwarded-For", "$remote_addr"),
        ("X-Forwarded-Client-Port", "$remote_port"),
        ("X-Forwarded-Tls-Version", "$ssl_protocol"),
        ("X-Forwarded-Tls-Server-Name", "$gateway_sni"),
        ("X-Gateway-Answer", "$gateway_answer"),
    ]
    if door.certificate_field is not None:
        facts.append((door.certificate_field.title(), "$gateway_certificate"))
    return facts


def _gateway(listener: FrontListener, options: Options) -> dict[str, str]:
    """How nginx reaches a listener of the gateway's, and who both prove to be."""
    if listener.socket is not None:
        path = _word("socket", str(listener.socket))
        return {"address": f"unix:{path}", "scheme": "http", "tls": ""}
    missing = [name for name in ("front_certificate", "front_key", "front_ca", "front_name") if not getattr(options, name)]
    if missing:
        what = f"the gateway listens on {listener.host}:{listener.port}, where nginx has to prove itself by a certificate"
        raise ConfigError(what, todo=f"Give {', '.join(f'--set {name}=...' for name in missing)}, or let it listen on a socket.")
    host = f"[{listener.host}]" if ":" in str(listener.host) else str(listener.host)
    tls = (
        f"            proxy_ssl_certificate {options.front_certificate};\n"
        f"            proxy_ssl_certificate_key {options.front_key};\n"
        "            proxy_ssl_verify on;\n"
        f"            proxy_ssl_trusted_certificate {options.front_ca};\n"
        f"            proxy_ssl_name {options.front_name};\n"
    )
    return {"address": f"{host}:{listener.port}", "scheme": "https", "tls": tls}


def _app(config: Config, app: AppConfig) -> dict[str, Any]:
    instances = [urlsplit(origin) for origin in (app.upstream, *app.upstreams)]
    first = instances[0]
    if len({url.scheme for url in instances}) > 1:
        raise ConfigError(
            f'nginx speaks to all instances of "{app.id}" alike, with TLS or without',
            where=config.where("apps", config.apps.index(app), "upstreams"),
            todo="Give them one scheme.",
        )
    # nginx (but for the commercial one) sees only by failed requests that an instance is down.
    health = app.health
    care = f" max_fails={health.unhealthy_after} fail_timeout={health.interval_seconds}s" if health is not None else ""
    return {
        "host": app.host,
        "group": f"app_{app.id}",
        "scheme": first.scheme,
        "name": first.hostname,
        "addresses": [f"{_address(url)}{care}" for url in instances],
        "authority": config.origin(app.host).partition("://")[2],
    }


def _address(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{host}:{url.port or _PORTS[url.scheme]}"


def _variable(name: str) -> str:
    return f"$gateway_says_{name.lower().replace('-', '_')}"


def _word(where: str, text: str, *, spaces: bool = False) -> str:
    """Return a text that nginx reads as one word (or as several), or raise ConfigError."""
    if set(text) & _BREAKERS or (not spaces and any(char.isspace() for char in text)):
        raise ConfigError(
            f'{where} "{text}" can\'t stand in an nginx configuration', todo="Choose a name without such characters."
        )
    return text

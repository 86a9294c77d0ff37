"""Rules between the sections of a configuration: each section is right by itself, and here they have to agree. Pure."""

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from gateway.config.emergency import find_in_break_glass, find_in_notices, is_loopback
from gateway.config.listeners import Found, find_in_listeners
from gateway.config.locate import KeyPath
from gateway.config.model import Config, EmbeddedProvider, RouteConfig
from gateway.config.remedies import find_in_grants, find_in_remedies
from gateway.domain.headers import HOP_BY_HOP, fold
from gateway.domain.refusal import Refusal
from gateway.domain.target import parse_target

MINIMUM_SECRET: Final = 32
"""Characters of a secret that nobody types."""
HOW_TO_MAKE: Final = "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
RESERVED_SEGMENT: Final = ".gateway"
"""The gateway's own pages on every app's host."""
_JAPAN: Final = ("Asia/Tokyo", "Japan")
_REDIS_URL: Final = re.compile(r"(?:redis|rediss)://\S+|unix:///\S+")
_POSTGRES_URL: Final = re.compile(r"postgres(?:ql)?://\S+")
_OF_HTTP: Final = frozenset(fold(name) for name in HOP_BY_HOP) | frozenset(
    {"accept", "authorization", "contentencoding", "contentlength", "contenttype", "cookie", "date", "expect", "host", "origin",
     "range", "referer", "server", "setcookie", "useragent"}
)  # fmt: skip
"""Folded names that mean something else to an app than "the gateway says"."""
_OF_THE_GATEWAY: Final = frozenset({"forwarded", "via", "xrealip", "xrequestid"})
_PREFIXES_OF_THE_GATEWAY: Final = ("xgateway", "xforwarded")


def find_disagreements(config: Config) -> Iterator[Found]:
    """Yield every rule that is broken."""
    for rule in _RULES:
        yield from rule(config)


def _hosts_once(config: Config) -> Iterator[Found]:
    hosts: list[tuple[KeyPath, str]] = [(("portal", "host"), config.portal.host)]
    if config.console is not None:
        hosts.append((("console", "host"), config.console.host))
    if (idp_host := config.idp_host()) is not None:
        hosts.append((("identity", "issuer"), idp_host))
    hosts += [(("apps", index, "host"), app.host) for index, app in enumerate(config.apps)]
    seen: dict[str, KeyPath] = {}
    for path, host in hosts:
        if host in seen:
            yield (
                path,
                f'the host "{host}" is already taken by line {config.locations.line(seen[host])}',
                "Give each its own host name.",
            )
        seen.setdefault(host, path)


def _holidays(config: Config) -> Iterator[Found]:
    policies = config.policies
    for index, day in enumerate(policies.holidays):
        if day in policies.holidays[:index]:
            yield ("policies", "holidays", index), f'"{day}" stands twice in `policies.holidays`', "Keep one of the two."
    if policies.national_holidays and policies.timezone.key not in _JAPAN:
        yield (
            ("policies", "timezone"),
            f"Japan's national holidays would be holidays in {policies.timezone.key}",
            "Write national_holidays = false in [policies], and list the days off in holidays.",
        )


def _ids_once(config: Config) -> Iterator[Found]:
    seen: dict[str, KeyPath] = {"console": ("console",)} if config.console is not None else {}
    for index, app in enumerate(config.apps):
        path: KeyPath = ("apps", index, "id")
        if app.id in seen:
            yield path, f'the app id "{app.id}" is already taken by line {config.locations.line(seen[app.id])}', "Choose another."
        seen.setdefault(app.id, path)


def _routes(config: Config) -> Iterator[Found]:
    for index, app in enumerate(config.apps):
        if not app.routes:
            yield ("apps", index, "routes"), f'the app "{app.id}" has no route, so nothing of it can be reached', "Add one."
        seen: dict[str, KeyPath] = {}
        for number, route in enumerate(app.routes):
            path: KeyPath = ("apps", index, "routes", number)
            if not route.id.startswith(f"{app.id}."):
                yield (*path, "id"), f'the route id "{route.id}" does not begin with its app\'s id', f'Write "{app.id}.NAME".'
            if route.id in seen:
                yield (
                    (*path, "id"),
                    f'the route id "{route.id}" is already taken by line {config.locations.line(seen[route.id])}',
                    "Choose another.",
                )
            seen.setdefault(route.id, (*path, "id"))
            yield from _route(path, route)
            for earlier in app.routes[:number]:
                if covers(earlier, route):
                    yield (
                        path,
                        f'the route "{route.id}" is never reached: "{earlier.id}" stands before it and takes all of its requests',
                        "Put the narrower route first.",
                    )
                    break


def _route(path: KeyPath, route: RouteConfig) -> Iterator[Found]:
    if not route.methods:
        yield (*path, "methods"), f'the route "{route.id}" has no method', 'List them, or write ["*"] for any.'
    if "*" in route.methods and len(route.methods) > 1:
        yield (*path, "methods"), '"*" stands beside other methods', 'Keep ["*"] alone, or list the methods.'
    if "CONNECT" in route.methods or "TRACE" in route.methods:
        yield (*path, "methods"), "CONNECT and TRACE never go through a gateway", "Remove them."
    if route.websocket and not {"GET", "*"} & set(route.methods):
        yield (
            (*path, "websocket"),
            f'the route "{route.id}" allows WebSocket but not GET, with which every one begins',
            'Add "GET".',
        )
    if route.path[0] == RESERVED_SEGMENT:
        yield (*path, "path"), f"/{RESERVED_SEGMENT} belongs to the gateway on every host", "Choose another path."
    places = {segment[1:-1] for segment in route.path if segment.startswith("{")}
    if route.patient and not route.patient.startswith("query:") and route.patient not in places:
        known = f"Its places are: {', '.join(sorted(places))}." if places else 'Name one in the path, like "/patients/{patient}".'
        yield (*path, "patient"), f'the path of "{route.id}" has no place "{route.patient}"', known


def covers(earlier: RouteConfig, later: RouteConfig) -> bool:
    """True when every request that `later` matches is matched by `earlier` too, so that the first match never is `later`."""
    if "*" not in earlier.methods and not set(later.methods) <= set(earlier.methods):
        return False
    for index, segment in enumerate(earlier.path):
        if segment == "**":
            return True
        if index >= len(later.path) or later.path[index] == "**":
            return False
        if not segment.startswith("{") and segment != later.path[index]:
            return False
        if segment.startswith("{") and later.path[index] == "":
            return False  # a place holds at least one character; the end of "/a/" holds none
    return len(earlier.path) == len(later.path)


def _headers(config: Config) -> Iterator[Found]:
    for index, app in enumerate(config.apps):
        seen: dict[str, str] = {}
        for name in app.headers:
            path: KeyPath = ("apps", index, "headers", name)
            folded = fold(name)
            if folded in _OF_HTTP:
                yield path, f'the header "{name}" belongs to HTTP itself', 'Choose a name of your own, like "X-Remote-User".'
            elif folded in _OF_THE_GATEWAY or folded.startswith(_PREFIXES_OF_THE_GATEWAY):
                yield (
                    path,
                    f'the header "{name}" is set by the gateway already',
                    'Choose a name of your own, like "X-Remote-User".',
                )
            elif folded in seen:
                yield path, f'"{name}" and "{seen[folded]}" are the same header to many servers', "Keep one."
            seen.setdefault(folded, name)


def _upstreams(config: Config) -> Iterator[Found]:
    for index, app in enumerate(config.apps):
        for place, upstream in [("upstream", app.upstream), *(("upstreams", further) for further in app.upstreams)]:
            if _is_self(config, upstream):
                what = f'the upstream of "{app.id}" is the gateway itself'
                yield ("apps", index, place), what, "Write the address of the app."
        if len({app.upstream, *app.upstreams}) <= len(app.upstreams):
            yield ("apps", index, "upstreams"), f'an instance of "{app.id}" is there twice', "Name each once, beside upstream."
        if app.health is not None and isinstance(parse_target(app.health.path, max_length=1_000, max_segments=100), Refusal):
            yield ("apps", index, "health", "path"), f'"{app.health.path}" is no path to ask for', 'Write one like "/health".'


def _is_self(config: Config, upstream: str) -> bool:
    url = urlsplit(upstream)
    port = url.port or (443 if url.scheme == "https" else 80)
    ours = {config.server.host, *([] if config.server.host not in {"0.0.0.0", "::"} else ["127.0.0.1", "::1", "localhost"])}  # noqa: S104  compared, not bound
    public = url.hostname in {config.portal.host, config.idp_host(), *(other.host for other in config.apps)}
    return (port == config.server.port and url.hostname in ours) or (public and config.origin(url.hostname or "") == upstream)


def _identity(config: Config) -> Iterator[Found]:
    embedded, issuer = config.identity.embedded, config.identity.issuer
    if embedded and config.idp is None:
        yield (
            ("identity", "embedded"),
            "the identity provider is embedded, but there is no [idp] section",
            "Add [idp], or write embedded = false.",
        )
    if not embedded and config.idp is not None:
        yield (
            ("idp",),
            "there is an [idp] section, but the identity provider is not embedded",
            "Write embedded = true in [identity], or remove [idp].",
        )
    host = config.idp_host()
    if host is not None and issuer != config.origin(host):
        yield (
            ("identity", "issuer"),
            f'the issuer "{issuer}" is not an origin that this server is seen under',
            f'Write "{config.origin(host)}", or correct [server] public_scheme and public_port.',
        )
    if embedded and len(config.identity.client_secret.reveal()) < MINIMUM_SECRET:
        yield (
            config.secret_key("identity", "client_secret"),
            f"the client secret is shorter than {MINIMUM_SECRET} characters",
            HOW_TO_MAKE,
        )
    if embedded and config.identity.verified_claims is not None:
        yield (
            ("identity", "verified_claims"),
            "the embedded provider says by itself how people were proofed",
            "Remove [identity.verified_claims]: it is for another provider.",
        )
    if config.idp is not None:
        yield from _proofing(config.idp)
    if config.idp is not None and config.idp.proofing == "simulated" and not config.demo:
        yield (
            ("idp", "proofing"),
            "a simulated verifier proves nothing about anybody",
            'Write "none"; only the demo may simulate.',
        )


def _proofing(idp: EmbeddedProvider) -> Iterator[Found]:
    sections = {
        "digital-agency": idp.digital_agency,
        "platform-operator": idp.platform_operator,
        "jpki": idp.jpki,
        "in-person": idp.in_person,
    }
    name = idp.proofing.replace("-", "_")
    if sections.get(idp.proofing, ...) is None:
        yield (
            ("idp", "proofing"),
            f'proofing is "{idp.proofing}", but there is no [idp.{name}] section',
            "Add it; deploy/gateway.toml shows one.",
        )
    if idp.rehearsal and idp.proofing not in {"digital-agency", "platform-operator", "jpki"}:
        yield (
            ("idp", "rehearsal"),
            f'proofing = "{idp.proofing}" has no test environment that could be rehearsed with',
            "Leave rehearsal out: it is for the connection test with a service.",
        )
    agency = idp.digital_agency
    if agency is not None and (agency.environment == "stand-in") != (agency.stand_in_url is not None):
        yield (
            ("idp", "digital_agency", "environment"),
            'a stand-in has `environment = "stand-in"` and a `stand_in_url`; no other environment has one',
            'Write environment = "sandbox" or "production", without stand_in_url.',
        )
    if idp.jpki is not None and (idp.jpki.crl_folder is None) == (idp.jpki.ocsp_url is None):
        yield (
            ("idp", "jpki"),
            "revocation is looked up in lists or at a responder: one of `crl_folder` and `ocsp_url` must be there",
            "Write the one that your contract with J-LIS (or the certified verifier) gives you.",
        )


def _sessions(config: Config) -> Iterator[Found]:
    sessions = config.sessions
    if config.server.workers > 1 and sessions.backend != "redis":
        yield (
            ("server", "workers"),
            "each of several workers would know other sessions: who signed in at one would be a stranger to the next",
            'Write backend = "redis" in [sessions], or workers = 1.',
        )
    url_key = config.secret_key("sessions", "redis_url")
    if sessions.backend == "redis" and sessions.redis_url is None:
        yield (
            ("sessions", "backend"),
            'the backend "redis" needs a URL',
            'Add redis_url_file = "FILE" or redis_url_env = "VARIABLE".',
        )
    if sessions.backend == "redis" and sessions.seal_key is None:
        what = 'the backend "redis" needs a key that sessions are encrypted with'
        yield ("sessions", "backend"), what, 'Add seal_key_file = "FILE" or seal_key_env = "VARIABLE".'
    if sessions.seal_key is not None and len(sessions.seal_key.reveal()) < MINIMUM_SECRET:
        yield (
            config.secret_key("sessions", "seal_key"),
            f"the key of the sessions is shorter than {MINIMUM_SECRET} characters",
            HOW_TO_MAKE,
        )
    if sessions.backend == "memory" and sessions.redis_url is not None:
        yield url_key, 'a Redis URL is given, but the backend is "memory"', 'Write backend = "redis", or remove the URL.'
    if sessions.redis_url is not None and not _REDIS_URL.fullmatch(sessions.redis_url.reveal()):
        yield url_key, "the Redis URL has no form that is known", "It begins with redis://, rediss:// or unix:///."
    if sessions.absolute_seconds < sessions.idle_seconds:
        yield ("sessions", "absolute_seconds"), "a session would end before it could be idle", "Make it at least idle_seconds."


def _records(config: Config) -> Iterator[Found]:
    policies = config.policies
    if policies.postgres_url is not None:
        key = config.secret_key("policies", "postgres_url")
        if policies.database is not None:
            yield key, "policies would be kept in two databases", "Keep database (one machine) or the PostgreSQL URL (several)."
        if not _POSTGRES_URL.fullmatch(policies.postgres_url.reveal()):
            yield key, "the PostgreSQL URL has no form that is known", "It begins with postgresql://."
    elif policies.database is not None and policies.database.resolve() == config.devices.database.resolve():
        yield ("policies", "database"), "it is the database of the devices", "Name a file of its own."


def _audit(config: Config) -> Iterator[Found]:
    for key, path in (("key_file", config.audit.key_file), ("anchor", config.audit.anchor)):
        if path is not None and path.resolve().is_relative_to(config.audit.dir.resolve()):
            yield ("audit", key), f"{path} lies in the log's own folder", "Who can change the log could change it too: move it."


def _zones(config: Config) -> Iterator[Found]:
    seen: dict[str, str] = {}
    for name, ranges in config.network.zones.items():
        if name == "other":
            yield ("network", "zones", name), '"other" means every address that is in no zone', "Choose another name."
        for index, text in enumerate(ranges):
            if text in seen:
                yield ("network", "zones", name, index), f'"{text}" is in zone "{seen[text]}" already', "Keep it in one zone."
            seen.setdefault(text, name)


def _issuer_scheme(config: Config) -> Iterator[Found]:
    url = urlsplit(config.identity.issuer)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield ("identity", "issuer"), "an identity provider is not asked without TLS", "Write an https issuer."


def _emergency(config: Config) -> Iterator[Found]:
    database = config.policies.database is not None or config.policies.postgres_url is not None
    given = config.locations.has(("break_glass",))
    yield from find_in_break_glass(config.break_glass, given=given, database=database)
    if config.notices is not None:
        yield from find_in_notices(config.notices, database=database)
    yield from find_in_grants(given=config.locations.has(("grants",)), database=database)
    yield from find_in_remedies(config.remedies)


_RULES: Final[tuple[Callable[[Config], Iterator[Found]], ...]] = (
    _hosts_once, _holidays, _ids_once, _routes, _headers, _upstreams, _identity, _issuer_scheme, _sessions, _records,
    find_in_listeners, _emergency, _audit, _zones,
)  # fmt: skip

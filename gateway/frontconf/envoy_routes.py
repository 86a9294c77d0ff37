"""Envoy's router as the gateway's: the same routes in the same order, each under the id that Envoy then says with its question.

Two routers could disagree about a request (CVE-2023-33189). So Envoy's has no rules of its own: each route here is a route of
`gateway.toml`, matched on the path as it was received, and the gateway refuses what its own table answers differently.
"""

from collections.abc import Iterator
from typing import Final

from gateway.config import Config
from gateway.config.model import AppConfig, RouteConfig
from gateway.domain.route import RESERVED_SEGMENT, REST
from gateway.doors.envoy.common import NO_ROUTE, ROUTE_FIELD
from gateway.doors.proxy.exchange import IDEMPOTENT
from gateway.doors.proxy.upstream import UpstreamLimits
from gateway.frontconf.envoy_parts import TYPE, Json, setting

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ALLOWED: Final = frozenset(b"!$&'()*+,;=:@")
"""What may stand in a segment as it is, and escaped too (RFC 3986 §3.3)."""
_ANSWER_SECONDS: Final = int(UpstreamLimits().response_seconds)
_STALL_SECONDS: Final = int(UpstreamLimits().stall_seconds)
ASK: Final = "envoy.filters.http.ext_authz"
RESPONSES: Final = "envoy.filters.http.lua"


def virtual_hosts(config: Config, *, facts: dict[str, str], grpc: bool) -> list[Json]:
    """Return a virtual host for each host of ours, and one that has every other name refused by the gateway.

    `facts` are the fields that tell the gateway about the client, where a request is passed on to it whole.
    """
    own = [config.portal.host, config.idp_host(), config.console.host if config.console else None]
    whole = list(dict.fromkeys(host for host in own if host is not None))
    return [
        {"name": "gateway", "domains": whole, "routes": [_to_front("gateway", {"prefix": "/"}, facts)]},
        *(_app(config, app, facts=facts, grpc=grpc) for app in config.apps),
        {"name": "unknown", "domains": ["*"], "routes": [_nowhere(grpc=grpc)]},
    ]


def _app(config: Config, app: AppConfig, *, facts: dict[str, str], grpc: bool) -> Json:
    authority = config.origin(app.host).partition("://")[2]
    return {
        "name": f"app.{app.id}",
        "domains": [app.host],
        "routes": [
            _to_front(f"{app.id}:pages", {"prefix": f"/{RESERVED_SEGMENT}/"}, facts),
            # What stays open has to stay under the decision: only the gateway itself can cut it.
            _to_front(f"{app.id}:upgrades", {"prefix": "/", "headers": [{"name": "upgrade", "present_match": True}]}, facts),
            _to_front(
                f"{app.id}:events",
                {
                    "prefix": "/",
                    "headers": [{"name": "accept", "string_match": {"contains": "text/event-stream", "ignore_case": True}}],
                },
                facts,
            ),
            *(_route(app, route, authority, grpc=grpc) for route in app.routes),
            _nowhere(grpc=grpc),
        ],
    }


def _route(app: AppConfig, route: RouteConfig, authority: str, *, grpc: bool) -> Json:
    match: Json = {"safe_regex": {"regex": path_regex(route.path)}}
    if route.methods != ("*",):
        methods = dict.fromkeys(name for method in route.methods for name in _methods(method))
        match["headers"] = [{"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(methods)}}}]
    return {
        "name": route.id,
        "match": match,
        "route": {
            "cluster": f"app.{app.id}",
            "host_rewrite_literal": authority,
            **_limits(route),
            **_retries(app, route),
        },
        "request_headers_to_add": [
            setting("x-forwarded-for", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
            setting("x-forwarded-host", authority),
        ],
        **_said(route.id, grpc=grpc),
    }


def _limits(route: RouteConfig) -> Json:
    """How long an exchange may be silent, and how long it may take in all. Both clocks begin before the gateway is asked."""
    total = {"max_stream_duration": {"max_stream_duration": f"{route.total_seconds}s"}} if route.total_seconds else {}
    return {"timeout": "0s", "idle_timeout": f"{route.idle_seconds or _STALL_SECONDS}s", **total}


def _retries(app: AppConfig, route: RouteConfig) -> Json:
    """One try, with its time for the answer's head. Where there is another instance, a read that was not sent at all goes there.

    A connection that broke after the request went out is not told apart from one that had died before: that is not tried again.
    """
    policy: Json = {"per_try_timeout": f"{route.idle_seconds or _ANSWER_SECONDS}s", "num_retries": 0}
    if app.upstreams and {"*", *IDEMPOTENT} & {*route.methods}:
        repeatable = {"safe_regex": {"regex": "|".join(sorted(IDEMPOTENT))}}
        policy |= {
            "num_retries": len(app.upstreams),
            "retry_on": "connect-failure,reset-before-request",
            "retriable_request_headers": [{"name": ":method", "string_match": repeatable}],
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 64,  # each draws anew, and may draw one that has refused
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        }
    return {"retry_policy": policy}


def _methods(method: str) -> tuple[str, ...]:
    return (method, "HEAD") if method == "GET" else (method,)


def _nowhere(*, grpc: bool) -> Json:
    """What fits no route is asked about too, so that the gateway refuses and records it. Without a yes there is no way on."""
    return {"name": NO_ROUTE, "match": {"prefix": "/"}, "direct_response": {"status": 404}, **_said(NO_ROUTE, grpc=grpc)}


def _said(route: str, *, grpc: bool) -> Json:
    """Over gRPC the id stands in the route itself; over HTTP the filter says the chosen route's name."""
    if not grpc:
        return {}
    settings = {
        "@type": f"{TYPE}.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "check_settings": {"context_extensions": {ROUTE_FIELD: route}},
    }
    return {"typed_per_filter_config": {ASK: settings}}


def _to_front(name: str, match: Json, facts: dict[str, str]) -> Json:
    return {
        "name": name,
        "match": match,
        "route": {
            "cluster": "gateway_front",
            "timeout": "0s",
            "idle_timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        },
        "request_headers_to_add": [setting(name, value) for name, value in facts.items()],
        "typed_per_filter_config": {
            ASK: {"@type": f"{TYPE}.filters.http.ext_authz.v3.ExtAuthzPerRoute", "disabled": True},
            RESPONSES: {"@type": f"{TYPE}.filters.http.lua.v3.LuaPerRoute", "disabled": True},
        },
    }


# ---------------------------------------------------------------- paths


def path_regex(pattern: tuple[str, ...]) -> str:
    """Return the RE2 expression for the paths, as received, that a route's pattern fits (`gateway.domain.route`)."""
    return "".join(f"/{_segment(part)}" for part in pattern)


def _segment(part: str) -> str:
    if part == REST:
        return ".*"
    if part.startswith("{"):
        return "[^/]+"
    return "".join(_byte(byte) for byte in part.encode("utf-8"))


def _byte(byte: int) -> str:
    """One byte of a literal in every spelling that is canonical (`gateway.domain.target`)."""
    if byte in _UNRESERVED:
        return _plain(byte)
    escaped = "%" + "".join(_digit(digit) for digit in f"{byte:02X}")
    return f"(?:{_plain(byte)}|{escaped})" if byte in _ALLOWED else escaped


def _digit(digit: str) -> str:
    return digit if digit.isdecimal() else f"[{digit}{digit.lower()}]"


def _plain(byte: int) -> str:
    character = chr(byte)
    return character if character.isalnum() or character in "-_~!&',=:@" else f"\\{character}"


def literal_hosts(config: Config) -> Iterator[str]:
    """Every host that people open."""
    yield config.portal.host
    if config.idp_host():
        yield config.idp_host() or ""
    if config.console is not None:
        yield config.console.host
    yield from (app.host for app in config.apps)

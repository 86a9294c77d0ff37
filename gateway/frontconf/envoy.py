"""Envoy in front: its `ext_authz` filter asks, over HTTP or gRPC, and Envoy forwards.

What the configuration says, and why:

- Before anything else in Envoy looks at a request, every field that only a gateway or proxy may set is removed from it, in every
  spelling that servers fold together: whatever the answer holds, no client's copy reaches the gateway or an application.
- The target goes on as it came: nothing is normalised, so that the application gets the bytes that were decided
  (CVE-2021-32779, GHSA-xcx5-93pw-jw2w). What the gateway finds ambiguous it refuses.
- What Envoy says of the client comes from the connection: over HTTP in fields that are set on the question alone, over gRPC in
  the call's metadata. A client-set `x-envoy-original-path` (CVE-2023-27487) is among what is removed, and nothing reads it.
- A gateway that does not answer lets nobody in (`failure_mode_allow: false`).
- One listener, one filter chain for all names: every client is asked for a certificate where there is a device CA, and policies
  say who needs one (CVE-2026-32305). The gateway compares the name of the handshake with the request's.
- Portal, identity provider, console, `/.gateway/`, WebSockets and event streams go to the gateway whole, through [server.front].
"""

import ipaddress
import json
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.config import Config
from gateway.config.locate import KeyPath
from gateway.config.model import Door, FrontListener
from gateway.domain.cookies import OWN_PREFIX
from gateway.domain.headers import CLAIM_PREFIXES, CLAIMS, fold
from gateway.domain.request import DEFAULT_LIMITS
from gateway.doors.envoy.common import CERTIFICATE_FIELD, PREFIX, ROUTE_FIELD, UNAVAILABLE_AS
from gateway.doors.tls import HSTS, PROFILES, Preset
from gateway.frontconf.envoy_pages import NO_ANSWER, NO_APPLICATION, Words, page, script
from gateway.frontconf.envoy_routes import ASK, RESPONSES, Json, literal_hosts, setting, virtual_hosts
from gateway.kernel.errors import ConfigError
from gateway.pipeline.outgoing import ASSERTION_HEADER, REQUEST_ID_HEADER

_TYPE: Final = "type.googleapis.com/envoy.extensions"
_FACTS: Final = {
    "x-forwarded-for": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "x-forwarded-proto": "https",
    "x-forwarded-client-port": "%DOWNSTREAM_REMOTE_PORT%",
    "x-forwarded-tls-version": "%DOWNSTREAM_TLS_VERSION%",
    "x-forwarded-tls-server-name": "%REQUESTED_SERVER_NAME%",
    CERTIFICATE_FIELD: "%DOWNSTREAM_PEER_CERT%",
}
"""What the gateway is told of the client (`gateway.doors.said`). Without a value a field is left out."""
_ASK_TIMEOUT: Final = "15s"
_BROKEN: Final = ("NetworkAuthenticationRequired", 511)
"""How the filter says that the gateway did not answer, so that it can be told from a 503 of the gateway's own: becomes a 503."""
_VERSIONS: Final = {"TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
_OWN_COOKIE: Final = OWN_PREFIX.lower().replace("-", "%-")
_KEEP_COOKIES: Final = f"""\
-- An application may not plant one of the gateway's own cookies.
function envoy_on_response(handle)
  local headers = handle:headers()
  local count = headers:getNumValues("set-cookie")
  if count == 0 then
    return
  end
  local kept = {{}}
  for index = 0, count - 1 do
    local value = headers:getAtIndex("set-cookie", index)
    if not string.find(string.lower(value), "^[%s=]*{_OWN_COOKIE}") then
      kept[#kept + 1] = value
    end
  end
  if #kept < count then
    headers:remove("set-cookie")
    for _, value in ipairs(kept) do
      headers:add("set-cookie", value)
    end
  end
end
"""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `gateway.toml` does not know. Paths are Envoy's."""

    address: str = "0.0.0.0"  # noqa: S104  a front is for everybody
    """Where Envoy listens."""
    port: int = 0
    """0: the port of people's address bars."""
    redirect_port: int = 0
    """Where Envoy sends plain HTTP to HTTPS; 0: nowhere."""
    certificate: str = "/etc/envoy/tls/server.pem"
    """PEM: the server certificate, then its intermediates."""
    key: str = "/etc/envoy/tls/server.key"
    client_ca: str = ""
    """PEM file of the CA that issues device certificates. Empty: no client is asked for one."""
    ocsp_response: str = ""
    """DER file of an OCSP response for the certificate, to be stapled. Empty: none is."""
    preset: Preset = "high"
    door: Literal["", "http", "grpc"] = ""
    """Which door is asked; empty: the first one of a kind for Envoy."""
    front_certificate: str = ""
    """What Envoy shows where the gateway listens on an address (mTLS); not for sockets."""
    front_key: str = ""
    front_ca: str = ""
    """PEM of the CA of the gateway's listeners."""
    app_ca: str = "/etc/ssl/certs/ca-certificates.crt"
    """PEM of the CAs of https applications."""
    max_connections: int = 20_000
    """Of clients, at a time."""
    access_log: str = ""
    """A file for Envoy's own log, JSON Lines with the decision's id; empty: none."""


def render(config: Config, options: Options | None = None) -> str:
    """Return Envoy's bootstrap as JSON. Raises ConfigError when `gateway.toml` has no door for Envoy, or would not believe it."""
    options = options or Options()
    front, door = _listeners(config, options)
    listeners = [_listener(config, options, door)]
    if options.redirect_port:
        listeners.append(_redirect(config, options))
    bootstrap = {
        "static_resources": {
            "listeners": listeners,
            "clusters": [
                _gateway("gateway_front", front, options, http2=False),
                _gateway("gateway_door", door, options, http2=door.kind == "envoy-grpc"),
                *(_application(app.id, app.upstream, options) for app in config.apps),
            ],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": options.max_connections,
                    },
                }
            ]
        },
    }
    return json.dumps(bootstrap, ensure_ascii=False, indent=2) + "\n"


# ---------------------------------------------------------------- what the configuration must have


def _listeners(config: Config, options: Options) -> tuple[FrontListener, Door]:
    if config.server.public_scheme != "https":
        raise ConfigError(
            "Envoy is made to speak TLS here", where=config.where("server"), todo='Set public_scheme = "https", or use no front.'
        )
    front = config.server.front
    if front is None:
        raise ConfigError(
            "there is no [server.front]", where=config.where("server"), todo="Add one: Envoy passes pages and streams on to it."
        )
    kinds = {f"envoy-{options.door}"} if options.door else {"envoy-http", "envoy-grpc"}
    index = next((index for index, door in enumerate(config.doors) if door.kind in kinds), None)
    if index is None:
        kind = max(kinds)
        raise ConfigError(
            f'there is no door of kind "{kind}"', where=str(config.file), todo=f'Add [[doors]] with kind = "{kind}".'
        )
    door = config.doors[index]
    places: tuple[tuple[KeyPath, FrontListener], ...] = ((("server", "front"), front), (("doors", index), door))
    for path, listener in places:
        _believes(config, path, listener, options)
    return front, door


def _believes(config: Config, path: KeyPath, listener: FrontListener, options: Options) -> None:
    if not listener.tells_tls:
        raise ConfigError("what Envoy says of TLS would not count here", where=config.where(*path), todo="Add tells_tls = true.")
    if options.client_ca and listener.certificate_field != CERTIFICATE_FIELD:
        raise ConfigError(
            "device certificates would not count here",
            where=config.where(*path),
            todo=f'Add certificate_field = "{CERTIFICATE_FIELD}".',
        )
    if listener.socket is None and not (options.front_certificate and options.front_key and options.front_ca):
        raise ConfigError(
            "the gateway listens on an address there, so Envoy has to show a certificate",
            where=config.where(*path),
            todo="Give front_certificate, front_key and front_ca with --set, or use a socket.",
        )


# ---------------------------------------------------------------- the listener


def _listener(config: Config, options: Options, door: Door) -> Json:
    return {
        "name": "https",
        "address": _address(options.address, options.port or config.seen_port()),
        "per_connection_buffer_limit_bytes": 65_536,
        "listener_filters": [
            {
                "name": "envoy.filters.listener.tls_inspector",  # reads the name of the handshake; chooses nothing
                "typed_config": {"@type": f"{_TYPE}.filters.listener.tls_inspector.v3.TlsInspector"},
            }
        ],
        "listener_filters_timeout": "10s",
        "filter_chains": [
            {
                "transport_socket": _tls(options),
                "transport_socket_connect_timeout": "10s",
                "filters": [_http(_manager(config, options, door))],
            }
        ],
    }


def _tls(options: Options) -> Json:
    profile = PROFILES[options.preset]
    versions = [_VERSIONS[version] for version in profile.versions]
    certificate: Json = {"certificate_chain": {"filename": options.certificate}, "private_key": {"filename": options.key}}
    if options.ocsp_response:
        certificate["ocsp_staple"] = {"filename": options.ocsp_response}
    context: Json = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {
            "tls_minimum_protocol_version": min(versions),
            "tls_maximum_protocol_version": max(versions),
            **({"cipher_suites": [suite.openssl for suite in profile.suites]} if profile.suites else {}),
            "ecdh_curves": [group.boringssl for group in profile.groups],
        },
        "tls_certificates": [certificate],
    }
    if options.client_ca:
        context["validation_context"] = {"trusted_ca": {"filename": options.client_ca}}
    tls = {
        "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": context,
        "require_client_certificate": False,
        **({"ocsp_staple_policy": "LENIENT_STAPLING"} if options.ocsp_response else {}),
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def _http(manager: Json) -> Json:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _manager(config: Config, options: Options, door: Door) -> Json:
    grpc = door.kind == "envoy-grpc"
    return {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "https",
        # Who the client is, is what the connection shows.
        "use_remote_address": True,
        "skip_xff_append": True,
        "xff_num_trusted_hops": 0,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "early_header_mutation_extensions": [_clean(config)],
        # The target goes on byte for byte.
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "http_protocol_options": {"allow_absolute_url": False, "accept_http_10": False, "enable_trailers": False},
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 262_144,
            "initial_connection_window_size": 1_048_576,
        },
        "common_http_protocol_options": {
            "headers_with_underscores_action": "DROP_HEADER",
            "max_headers_count": DEFAULT_LIMITS.header_count,
            "idle_timeout": "60s",
        },
        "max_request_headers_kb": 64,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "300s",
        "local_reply_config": _local_replies(),
        "route_config": {
            "name": "gateway",
            "ignore_port_in_host_matching": True,
            "request_headers_to_remove": ["x-envoy-external-address", "x-envoy-internal"],
            "virtual_hosts": virtual_hosts(config, facts=_FACTS, grpc=grpc),
        },
        "http_filters": [_replies(), _ask(config, grpc=grpc), _cookies(), _router()],
        **({"access_log": [_access_log(options.access_log)]} if options.access_log else {}),
    }


def _clean(config: Config) -> Json:
    """Removes what no client may send, whatever comes of the request."""
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{_TYPE}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": regex}}}} for regex in (_ODD, _claims(config))
            ],
        },
    }


_ODD: Final = "[^:]*[^a-z0-9:-][^:]*"
"""Names with other characters than letters, digits and "-": no browser sends one, and servers take them for "-" or "_"."""


def _claims(config: Config) -> str:
    names = {*CLAIMS, ASSERTION_HEADER, REQUEST_ID_HEADER, *(name for app in config.apps for name in app.headers)}
    prefixes = sorted({fold(prefix) for prefix in CLAIM_PREFIXES})
    exact = sorted(name for name in map(fold, names) if not name.startswith(tuple(prefixes)))
    return "|".join([*(f"{_spellings(prefix)}.*" for prefix in prefixes), *map(_spellings, exact)])


def _spellings(folded: str) -> str:
    """A name with "-" anywhere in it: what `fold` takes for the same, once odd characters are gone."""
    return "-*" + "".join(f"{character}-*" for character in folded)


# ---------------------------------------------------------------- filters


def _replies() -> Json:
    """The outermost filter: what no reply may carry, an application's or Envoy's own."""
    removed: list[Json] = [{"prefix": "x-gateway"}, {"prefix": "x-forwarded"}, {"prefix": "x-envoy-"}, {"exact": "alt-svc"}]
    mutations = [
        *({"remove_on_match": {"key_matcher": matcher}} for matcher in removed),
        {"append": setting(HSTS[0].lower(), HSTS[1])},
    ]
    kind = f"{_TYPE}.filters.http.header_mutation.v3.HeaderMutation"
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {"@type": kind, "mutations": {"response_mutations": mutations}},
    }


def _ask(config: Config, *, grpc: bool) -> Json:
    return {
        "name": ASK,
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            **(_over_grpc() if grpc else _over_http(config)),
            "encode_raw_headers": True,
            "failure_mode_allow": False,
            "status_on_error": {"code": _BROKEN[0]},
            "clear_route_cache": False,
        },
    }


def _over_grpc() -> Json:
    return {
        "grpc_service": {
            "envoy_grpc": {"cluster_name": "gateway_door", "authority": "gateway"},
            "timeout": _ASK_TIMEOUT,
            "initial_metadata": [{"key": name, "value": value} for name, value in _FACTS.items()],
        }
    }


def _over_http(config: Config) -> Json:
    facts = {**_FACTS, ROUTE_FIELD: "%ROUTE_NAME%"}
    answered = [ASSERTION_HEADER, REQUEST_ID_HEADER, "Cookie", *sorted({name for app in config.apps for name in app.headers})]
    return {
        "http_service": {
            "server_uri": {"uri": "http://gateway", "cluster": "gateway_door", "timeout": _ASK_TIMEOUT},
            "path_prefix": PREFIX,
            "authorization_request": {"headers_to_add": [{"key": name, "value": value} for name, value in facts.items()]},
            "authorization_response": {
                "allowed_upstream_headers": {"patterns": [{"exact": name.lower(), "ignore_case": True} for name in answered]}
            },
        },
        # The question shows all that the client sent, as every other door sees it, but the framing of its body.
        "allowed_headers": {"patterns": [{"safe_regex": {"regex": ".*"}}]},
        "disallowed_headers": {
            "patterns": [{"exact": name} for name in ("transfer-encoding", "content-length", "te", "trailer")]
        },
    }


def _cookies() -> Json:
    source = {"inline_string": _KEEP_COOKIES}
    kind = f"{_TYPE}.filters.http.lua.v3.Lua"
    return {"name": RESPONSES, "typed_config": {"@type": kind, "default_source_code": source}}


def _router() -> Json:
    kind = f"{_TYPE}.filters.http.router.v3.Router"
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": kind, "suppress_envoy_headers": True}}


def _access_log(path: str) -> Json:
    fields = {
        "at": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "decision": "%REQ(X-REQUEST-ID)%",
        "address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "method": "%REQ(:METHOD)%",
        "host": "%REQ(:AUTHORITY)%",
        "route": "%ROUTE_NAME%",
        "status": "%RESPONSE_CODE%",
        "why": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "milliseconds": "%DURATION%",
    }
    kind = f"{_TYPE}.access_loggers.file.v3.FileAccessLog"
    return {"name": "file", "typed_config": {"@type": kind, "path": path, "log_format": {"json_format": fields}}}


# ---------------------------------------------------------------- replies that Envoy makes itself


def _local_replies() -> Json:
    person = {"header_filter": {"header": {"name": "sec-fetch-mode", "string_match": {"exact": "navigate"}}}}
    mappers: list[Json] = [{"filter": _status(UNAVAILABLE_AS), "status_code": 503}]
    for filters, words in (
        ([_status(_BROKEN[1]), _flags("UAEX")], NO_ANSWER),
        ([_flags("UF", "UH", "UO", "UC", "URX", "UPE", "LR")], NO_APPLICATION),
        ([_flags("UT", "SI")], msgspec.structs.replace(NO_APPLICATION, status=504)),
    ):
        mappers.append(_reply([*filters, person], words, page(words), "text/html; charset=utf-8"))
        mappers.append(_reply(filters, words, script(words), "application/json"))
    return {"mappers": mappers}


def _reply(filters: list[Json], words: Words, body: str, kind: str) -> Json:
    return {
        "filter": {"and_filter": {"filters": filters}} if len(filters) > 1 else filters[0],
        "status_code": words.status,
        "body_format_override": {"text_format_source": {"inline_string": body}, "content_type": kind},
        "headers_to_add": [
            setting("cache-control", "no-store"),
            *([setting("retry-after", "5")] if words.status == 503 else []),  # noqa: PLR2004  Service Unavailable
        ],
    }


def _status(code: int) -> Json:
    value = {"default_value": code, "runtime_key": f"gateway.status.{code}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _flags(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


# ---------------------------------------------------------------- where to


def _gateway(name: str, listener: FrontListener, options: Options, *, http2: bool) -> Json:
    if listener.socket is not None:
        cluster = _cluster(name, {"pipe": {"path": str(listener.socket)}}, static=True)
    else:
        host = listener.host or ""
        cluster = _cluster(name, _address(host, listener.port or 0), static=_is_address(host))
        context = {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [
                {"certificate_chain": {"filename": options.front_certificate}, "private_key": {"filename": options.front_key}}
            ],
            "validation_context": _trusted(options.front_ca, host),
            "alpn_protocols": ["h2" if http2 else "http/1.1"],
        }
        cluster["transport_socket"] = _upstream_tls(context, "" if _is_address(host) else host)
    protocol: Json = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    return {**cluster, **_protocol(protocol, idle="30s")}


def _application(app: str, upstream: str, options: Options) -> Json:
    url = urlsplit(upstream)
    host = url.hostname or ""
    cluster = _cluster(f"app.{app}", _address(host, url.port or (443 if url.scheme == "https" else 80)), static=_is_address(host))
    if url.scheme == "https":
        context = {"validation_context": _trusted(options.app_ca, host), "alpn_protocols": ["http/1.1"]}
        cluster["transport_socket"] = _upstream_tls(context, "" if _is_address(host) else host)
    return {**cluster, **_protocol({"http_protocol_options": {"enable_trailers": False}}, idle="15s")}


def _cluster(name: str, address: Json, *, static: bool) -> Json:
    return {
        "name": name,
        "type": "STATIC" if static else "STRICT_DNS",
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": 65_536,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        # What limits requests is the gateway's and the applications' own patience, not a number here.
        "circuit_breakers": {
            "thresholds": [{"max_connections": 16_384, "max_pending_requests": 16_384, "max_requests": 65_536, "max_retries": 0}]
        },
    }


def _protocol(options: Json, *, idle: str) -> Json:
    kind = f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions"
    settings = {"@type": kind, "common_http_protocol_options": {"idle_timeout": idle}, "explicit_http_config": options}
    return {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": settings}}


def _trusted(ca: str, host: str) -> Json:
    kind = "IP_ADDRESS" if _is_address(host) else "DNS"
    return {
        "trusted_ca": {"filename": ca},
        "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": host}}],
    }


def _upstream_tls(context: Json, sni: str) -> Json:
    kind = f"{_TYPE}.transport_sockets.tls.v3.UpstreamTlsContext"
    tls = {"@type": kind, "common_tls_context": context, **({"sni": sni} if sni else {})}
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- plain HTTP


def _redirect(config: Config, options: Options) -> Json:
    routes = [{"match": {"prefix": "/"}, "redirect": {"https_redirect": True, "port_redirect": config.seen_port()}}]
    unknown = [{"match": {"prefix": "/"}, "direct_response": {"status": 421}}]
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "use_remote_address": True,
        "http_protocol_options": {"allow_absolute_url": False},
        "common_http_protocol_options": {"idle_timeout": "10s"},
        "request_headers_timeout": "10s",
        "route_config": {
            "name": "redirect",
            "ignore_port_in_host_matching": True,
            "virtual_hosts": [
                {"name": "ours", "domains": list(dict.fromkeys(literal_hosts(config))), "routes": routes},
                {"name": "unknown", "domains": ["*"], "routes": unknown},
            ],
        },
        "http_filters": [_router()],
    }
    return {
        "name": "http",
        "address": _address(options.address, options.redirect_port),
        "filter_chains": [{"filters": [_http(manager)]}],
    }

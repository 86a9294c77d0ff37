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

import json
from typing import Final, Literal

import msgspec

from gateway.config import Config
from gateway.config.locate import KeyPath
from gateway.config.model import Door, FrontListener
from gateway.domain.request import DEFAULT_LIMITS
from gateway.doors.envoy.common import CERTIFICATE_FIELD
from gateway.doors.tls import PROFILES, Preset
from gateway.frontconf.envoy_clusters import Proof, to_application, to_gateway
from gateway.frontconf.envoy_filters import FACTS, ask, clean, cookies, local_replies, replies
from gateway.frontconf.envoy_parts import TYPE, Json, is_address, listening, router
from gateway.frontconf.envoy_routes import literal_hosts, virtual_hosts
from gateway.kernel.errors import ConfigError

_VERSIONS: Final = {"TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
_RUNTIME: Final = {
    # Envoy takes expressions of 100 steps unless told otherwise; the one over all protected names has some thousands.
    "re2.max_program_size.error_level": 65_536,
    "re2.max_program_size.warn_level": 65_536,
    # Bytes between a chunk's data and its line's end are an error, not something to skip (RFC 9112 §7.1).
    "envoy.reloadable_features.strict_chunk_parsing": True,
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `gateway.toml` does not know. Paths are Envoy's."""

    address: str = "0.0.0.0"  # noqa: S104  a front is for everybody
    """Addresses on which Envoy listens, separated by spaces: `0.0.0.0`, or `[::]` for IPv6 and, without an IPv4 one beside it,
    IPv4 too."""
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
    ask_seconds: int = 15
    """How long the gateway may take to decide; after that nobody is let in."""
    app_ca: str = "/etc/ssl/certs/ca-certificates.crt"
    """PEM of the CAs of https applications."""
    max_connections: int = 20_000
    """Of clients, at a time."""
    log: Literal["refused", "all", "none"] = "refused"
    """What Envoy's own log holds. `refused`: replies of 400 and above, among them what Envoy refused before it asked anybody."""
    access_log: str = ""
    """The file of that log: JSON Lines with the decision's id. Empty: standard output."""


def render(config: Config, options: Options | None = None) -> str:
    """Return Envoy's bootstrap as JSON. Raises ConfigError when `gateway.toml` has no door for Envoy, or would not believe it."""
    options = options or Options()
    front, door = _listeners(config, options)
    proof = Proof(certificate=options.front_certificate, key=options.front_key, ca=options.front_ca)
    listeners = [_listener(config, options, door)]
    if options.redirect_port:
        listeners.append(_redirect(config, options))
    bootstrap = {
        "static_resources": {
            "listeners": listeners,
            "clusters": [
                to_gateway("gateway_front", front, proof, http2=False),
                to_gateway("gateway_door", door, proof, http2=door.kind == "envoy-grpc"),
                *(to_application(app, options.app_ca) for app in config.apps),
            ],
        },
        "layered_runtime": {"layers": [{"name": "gateway", "static_layer": _RUNTIME}]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{TYPE}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
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
        **_places(options, options.port or config.seen_port()),
        "per_connection_buffer_limit_bytes": 65_536,
        "listener_filters": [
            {
                "name": "envoy.filters.listener.tls_inspector",  # reads the name of the handshake; chooses nothing
                "typed_config": {"@type": f"{TYPE}.filters.listener.tls_inspector.v3.TlsInspector"},
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


def _places(options: Options, port: int) -> Json:
    """The addresses of a listener. Raises ConfigError for what is none."""
    hosts = [host[1:-1] if host.startswith("[") and host.endswith("]") else host for host in options.address.split()]
    wrong = next((host for host in hosts if not is_address(host)), None if hosts else options.address)
    if wrong is not None:
        raise ConfigError(f'"{wrong}" is no address to listen on', where="--set address", todo="Write 0.0.0.0, or [::].")
    first, *others = [listening(host, port, both=all(":" in other for other in hosts)) for host in hosts]
    return {"address": first, **({"additional_addresses": [{"address": other} for other in others]} if others else {})}


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
        "@type": f"{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
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
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "https",
        # Who the client is, is what the connection shows.
        "use_remote_address": True,
        "skip_xff_append": True,
        "xff_num_trusted_hops": 0,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "early_header_mutation_extensions": [clean(config)],
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
        "local_reply_config": local_replies(),
        "route_config": {
            "name": "gateway",
            "ignore_port_in_host_matching": True,
            "request_headers_to_remove": ["x-envoy-external-address", "x-envoy-internal"],
            "virtual_hosts": virtual_hosts(config, facts=FACTS, grpc=grpc),
        },
        "http_filters": [replies(), ask(config, grpc=grpc, seconds=options.ask_seconds), cookies(), router()],
        **({"access_log": [_access_log(options)]} if options.log != "none" else {}),
    }


def _access_log(options: Options) -> Json:
    fields = {
        "at": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "decision": "%REQ(X-REQUEST-ID)%",
        "address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "method": "%REQ(:METHOD)%",
        "host": "%REQ(:AUTHORITY)%",
        "path": "%PATH(NQ)%",
        "route": "%ROUTE_NAME%",
        "status": "%RESPONSE_CODE%",
        "why": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "milliseconds": "%DURATION%",
    }
    log_format = {"json_format": fields}
    if options.access_log:
        name = "file"
        config = {"@type": f"{TYPE}.access_loggers.file.v3.FileAccessLog", "path": options.access_log, "log_format": log_format}
    else:
        # Not the file /dev/stdout: under systemd that is a socket, which can't be opened, and Envoy would not start.
        name = "envoy.access_loggers.stdout"
        config = {"@type": f"{TYPE}.access_loggers.stream.v3.StdoutAccessLog", "log_format": log_format}
    refused = {"default_value": 400, "runtime_key": "gateway.log.status"}
    only: Json = {"filter": {"status_code_filter": {"comparison": {"op": "GE", "value": refused}}}}
    return {"name": name, **(only if options.log == "refused" else {}), "typed_config": config}


# ---------------------------------------------------------------- plain HTTP


def _redirect(config: Config, options: Options) -> Json:
    redirect = {"https_redirect": True, "port_redirect": config.seen_port(), "response_code": "PERMANENT_REDIRECT"}
    routes = [{"match": {"prefix": "/"}, "redirect": redirect}]
    unknown = [{"match": {"prefix": "/"}, "direct_response": {"status": 421}}]
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
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
        "http_filters": [router()],
    }
    return {
        "name": "http",
        **_places(options, options.redirect_port),
        "filter_chains": [{"filters": [_http(manager)]}],
    }

"""Where Envoy sends requests: the gateway's listeners, and the applications with all of their instances.

Which instance gets a request is decided as the embedded proxy does (`gateway.doors.proxy.upstream`): the least busy of those that
are well; none at all when a health check says so of every one.
"""

from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from gateway.config.model import AppConfig, FrontListener, HealthConfig
from gateway.doors.proxy.upstream import UpstreamLimits
from gateway.frontconf.envoy_parts import TYPE, Json, address, canonical, is_address

_PORTS: Final = {"http": 80, "https": 443}
_EJECT_AFTER: Final = 2
"""So many connections in a row fail, or break without an answer: one alone may be the fault of one page."""
_EJECT_SECONDS: Final = int(UpstreamLimits().eject_seconds)
_MATCH: Final = "envoy.transport_socket_match"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What Envoy shows the gateway where that listens on an address, and how it knows the gateway."""

    certificate: str
    key: str
    ca: str


def to_gateway(name: str, listener: FrontListener, proof: Proof, *, http2: bool) -> Json:
    """A listener of the gateway's: by its socket, or with mTLS by its address, which its certificate must be for."""
    if listener.socket is not None:
        cluster = _cluster(name, [{"endpoint": {"address": {"pipe": {"path": str(listener.socket)}}}}], static=True)
    else:
        host = listener.host or ""
        cluster = _cluster(name, [{"endpoint": {"address": address(host, listener.port or 0)}}], static=is_address(host))
        context = {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": {"filename": proof.certificate}, "private_key": {"filename": proof.key}}],
            "validation_context": _trusted(proof.ca, host),
            "alpn_protocols": ["h2" if http2 else "http/1.1"],
        }
        cluster["transport_socket"] = _upstream_tls(context, "" if is_address(host) else host)
    # Not everything on one connection: each connection is one of the gateway's workers.
    several = {"max_concurrent_streams": 16}
    protocol: Json = {"http2_protocol_options": several} if http2 else {"http_protocol_options": {}}
    return {**cluster, **_protocol(protocol, idle="30s")}


def to_application(app: AppConfig, ca: str) -> Json:
    """An application; over https each instance must have a certificate of a CA in the file `ca`, for the name in its origin."""
    instances = [urlsplit(origin) for origin in (app.upstream, *app.upstreams)]
    ways = list(dict.fromkeys(map(_way, instances)))
    endpoints = [_endpoint(instance, several=len(ways) > 1) for instance in instances]
    static = all(is_address(instance.hostname or "") for instance in instances)
    cluster = {**_cluster(f"app.{app.id}", endpoints, static=static, retries=len(instances) > 1), **_transport(ways, ca)}
    if len(instances) > 1:
        cluster |= {"lb_policy": "LEAST_REQUEST", "outlier_detection": _ejection(len(instances))}
    # Never one that is known to be unwell because most of them are.
    cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    if app.health is not None:
        cluster["health_checks"] = [_health_check(app.host, app.health)]
    return {**cluster, **_protocol({"http_protocol_options": {"enable_trailers": False}}, idle="15s")}


# ---------------------------------------------------------------- instances


def _way(instance: SplitResult) -> str:
    """How an instance is connected to: with TLS as the name (or address) here, or without (empty)."""
    return instance.hostname or "" if instance.scheme == "https" else ""


def _endpoint(instance: SplitResult, *, several: bool) -> Json:
    place = address(instance.hostname or "", instance.port or _PORTS[instance.scheme])
    return {
        "endpoint": {"address": place},
        **({"metadata": {"filter_metadata": {_MATCH: {"as": _way(instance)}}}} if several else {}),
    }


def _transport(ways: list[str], ca: str) -> Json:
    """TLS to all alike, or to each as its name says."""
    sockets = [(way, _app_tls(way, ca) if way else _PLAIN) for way in ways]
    if len(sockets) > 1:
        matches = [{"name": way or "plain", "match": {"as": way}, "transport_socket": made} for way, made in sockets]
        return {"transport_socket_matches": matches}
    return {"transport_socket": sockets[0][1]} if ways[0] else {}


_PLAIN: Final = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typed_config": {"@type": f"{TYPE}.transport_sockets.raw_buffer.v3.RawBuffer"},
}


def _app_tls(host: str, ca: str) -> Json:
    context = {"validation_context": _trusted(ca, host), "alpn_protocols": ["http/1.1"]}
    return _upstream_tls(context, "" if is_address(host) else host)


def _ejection(instances: int) -> Json:
    """An instance that does not accept connections is left alone for some seconds, while there is another.

    What it answers does not count: a 500 may be the fault of one page, and the health check is there to ask.
    """
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": _EJECT_AFTER,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": f"{_EJECT_SECONDS}s",
        "max_ejection_time": f"{_EJECT_SECONDS}s",
        "max_ejection_percent": -(-100 * (instances - 1) // instances),  # all but one
    }


def _health_check(host: str, check: HealthConfig) -> Json:
    seconds = f"{check.interval_seconds}s"
    return {
        "timeout": seconds,
        "interval": seconds,
        "no_traffic_interval": seconds,  # or it would wait a minute until somebody uses the application
        "unhealthy_threshold": check.unhealthy_after,
        "healthy_threshold": check.healthy_after,
        "reuse_connection": False,
        "http_health_check": {
            "host": host,
            "path": check.path,
            "expected_statuses": [{"start": 200, "end": 300}],
            "retriable_statuses": [{"start": 300, "end": 600}],  # counted; others would make it unhealthy at once
            "request_headers_to_add": [{"header": {"key": "user-agent", "value": "gateway-health"}}],
        },
    }


# ---------------------------------------------------------------- parts


def _cluster(name: str, endpoints: list[Json], *, static: bool, retries: bool = False) -> Json:
    limits = {
        "max_connections": 16_384,
        "max_pending_requests": 16_384,
        "max_requests": 65_536,
        "max_retries": 1_024 if retries else 0,
    }
    return {
        "name": name,
        "type": "STATIC" if static else "STRICT_DNS",
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": 65_536,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        # What limits requests is the gateway's and the applications' own patience, not a number here.
        "circuit_breakers": {"thresholds": [limits]},
    }


def _protocol(options: Json, *, idle: str) -> Json:
    kind = f"{TYPE}.upstreams.http.v3.HttpProtocolOptions"
    settings = {"@type": kind, "common_http_protocol_options": {"idle_timeout": idle}, "explicit_http_config": options}
    return {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": settings}}


def _trusted(ca: str, host: str) -> Json:
    kind = "IP_ADDRESS" if is_address(host) else "DNS"
    return {
        "trusted_ca": {"filename": ca},
        "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": canonical(host)}}],
    }


def _upstream_tls(context: Json, sni: str) -> Json:
    kind = f"{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext"
    tls = {"@type": kind, "common_tls_context": context, **({"sni": sni} if sni else {})}
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}

"""Where Envoy sends requests: the gateway's listeners and the applications."""

from urllib.parse import urlsplit

import msgspec

from gateway.config.model import FrontListener
from gateway.frontconf.envoy_parts import TYPE, Json, address, is_address


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What Envoy shows the gateway where that listens on an address, and how it knows the gateway."""

    certificate: str
    key: str
    ca: str


def to_gateway(name: str, listener: FrontListener, proof: Proof, *, http2: bool) -> Json:
    """A listener of the gateway's: by its socket, or with mTLS by its address, which its certificate must be for."""
    if listener.socket is not None:
        cluster = _cluster(name, {"pipe": {"path": str(listener.socket)}}, static=True)
    else:
        host = listener.host or ""
        cluster = _cluster(name, address(host, listener.port or 0), static=is_address(host))
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


def to_application(app: str, upstream: str, ca: str) -> Json:
    """An application; over https it must have a certificate of a CA in the file `ca`, for the name in `upstream`."""
    url = urlsplit(upstream)
    host = url.hostname or ""
    cluster = _cluster(f"app.{app}", address(host, url.port or (443 if url.scheme == "https" else 80)), static=is_address(host))
    if url.scheme == "https":
        context = {"validation_context": _trusted(ca, host), "alpn_protocols": ["http/1.1"]}
        cluster["transport_socket"] = _upstream_tls(context, "" if is_address(host) else host)
    return {**cluster, **_protocol({"http_protocol_options": {"enable_trailers": False}}, idle="15s")}


def _cluster(name: str, place: Json, *, static: bool) -> Json:
    return {
        "name": name,
        "type": "STATIC" if static else "STRICT_DNS",
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": 65_536,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": place}}]}]},
        # What limits requests is the gateway's and the applications' own patience, not a number here.
        "circuit_breakers": {
            "thresholds": [{"max_connections": 16_384, "max_pending_requests": 16_384, "max_requests": 65_536, "max_retries": 0}]
        },
    }


def _protocol(options: Json, *, idle: str) -> Json:
    kind = f"{TYPE}.upstreams.http.v3.HttpProtocolOptions"
    settings = {"@type": kind, "common_http_protocol_options": {"idle_timeout": idle}, "explicit_http_config": options}
    return {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": settings}}


def _trusted(ca: str, host: str) -> Json:
    kind = "IP_ADDRESS" if is_address(host) else "DNS"
    return {
        "trusted_ca": {"filename": ca},
        "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": host}}],
    }


def _upstream_tls(context: Json, sni: str) -> Json:
    kind = f"{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext"
    tls = {"@type": kind, "common_tls_context": context, **({"sni": sni} if sni else {})}
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}

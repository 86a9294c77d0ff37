"""Configurations of the proxies that ask us, made from `gateway.toml`: `gateway front-config nginx|envoy|caddy`.

So that hosts, upstreams, sockets and the header names that clients may never send are written down once. Pure: text from a
configuration. A front is a module with an `Options` struct (what `gateway.toml` does not know, such as where the front's own
certificate lies; every field with a default) and `render(config, options)`.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.config import Config
from gateway.frontconf import caddy, envoy, nginx


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of front."""

    options: type[msgspec.Struct]
    """Constructible without arguments; its fields are what `--set` takes."""
    render: Callable[[Config, Any], str]
    """Returns the whole configuration file, or raises ConfigError when `gateway.toml` lacks what the front needs."""


FRONTS: Final[dict[str, Front]] = {
    "nginx": Front(options=nginx.Options, render=nginx.render),
    "envoy": Front(options=envoy.Options, render=envoy.render),
    "caddy": Front(options=caddy.Options, render=caddy.render),
}

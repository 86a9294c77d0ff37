"""The composition root: the only place that names concrete adapters and mounts the identity provider."""

from gateway.app.assemble import Gateway, open_gateway, serve

__all__ = ["Gateway", "open_gateway", "serve"]

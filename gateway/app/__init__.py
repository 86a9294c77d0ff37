"""The composition root: the only place that names concrete adapters and mounts the identity provider."""

from gateway.app.assemble import Gateway, open_gateway

__all__ = ["Gateway", "open_gateway"]

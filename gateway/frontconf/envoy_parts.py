"""Words that all parts of Envoy's configuration share."""

import ipaddress
from typing import Any, Final

Json = dict[str, Any]
TYPE: Final = "type.googleapis.com/envoy.extensions"


def setting(name: str, value: str) -> Json:
    """A field that Envoy sets, in place of whatever is there."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def router() -> Json:
    """The last filter: it forwards."""
    kind = f"{TYPE}.filters.http.router.v3.Router"
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": kind, "suppress_envoy_headers": True}}


def address(host: str, port: int) -> Json:
    """Where something listens."""
    return {"socket_address": {"address": host, "port_value": port}}


def is_address(host: str) -> bool:
    """Whether this is an address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

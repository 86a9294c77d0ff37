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


def listening(host: str, port: int, *, both: bool) -> Json:
    """Where a listener listens; `both`: an IPv6 wildcard takes IPv4 too."""
    place = address(host, port)
    if both and canonical(host) == "::":
        place["socket_address"]["ipv4_compat"] = True
    return place


def canonical(host: str) -> str:
    """An IPv6 address in the one spelling of RFC 5952; everything else as it is."""
    return str(ipaddress.ip_address(host)) if is_address(host) else host


def is_address(host: str) -> bool:
    """Whether this is an address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

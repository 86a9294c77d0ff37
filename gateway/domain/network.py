"""Network zones: named address ranges of the hospital. Pure."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Zones:
    """Finds the zone of an address. The most specific range wins; `other` when none holds it or the address can't be read."""

    def __init__(self, zones: Mapping[str, Sequence[str]]) -> None:
        ranges: list[tuple[_Network, str]] = [
            (ipaddress.ip_network(text), name) for name, texts in zones.items() for text in texts
        ]
        self._ranges = sorted(ranges, key=lambda pair: -pair[0].prefixlen)
        self._zone_of = lru_cache(maxsize=4096)(self._find)

    def zone_of(self, address: str) -> str:
        """Return the zone's name. An IPv4-mapped IPv6 address counts as the IPv4 address."""
        return self._zone_of(address)

    def _find(self, address: str) -> str:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return "other"
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return next((name for network, name in self._ranges if ip.version == network.version and ip in network), "other")

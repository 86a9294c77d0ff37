"""Who may speak for a client: an explicit list, without a default.

A front (a TLS-terminating proxy, or a proxy that asks before it forwards) tells us the client's address in headers that any
client can write too. They count only when the peer of the connection itself is on the list.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

from gateway.domain.connection import FORWARDED_TLS, Connection
from gateway.domain.reason import RefuseReason
from gateway.domain.request import Headers, Refusal
from gateway.kernel.errors import ConfigError

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NARROWEST_V4: Final = 8
NARROWEST_V6: Final = 16
"""Shorter prefixes than these are half of the Internet, and surely a mistake."""


class Peers:
    """The peers that are trusted to speak for clients: addresses and ranges, and on a unix socket user ids."""

    def __init__(self, ranges: Sequence[str], uids: Sequence[int] = (), *, where: str = "trusted peers") -> None:
        """Raises ConfigError when a range is malformed or is everybody (`0.0.0.0/0`, `::/0`, or nearly), or a uid is negative."""
        self._networks: Final = tuple(_network(text, where) for text in ranges)
        self._uids: Final = frozenset(uids)
        if any(uid < 0 for uid in uids):
            raise ConfigError("a user id is negative", where=where, todo="Write the number that `id -u` prints for the front.")

    def __bool__(self) -> bool:
        return bool(self._networks or self._uids)

    def has_address(self, address: str) -> bool:
        """True when this address is trusted. IPv4-mapped IPv6 counts as IPv4; anything unreadable is not trusted."""
        ip = parse_address(address)
        return ip is not None and any(ip.version == network.version and ip in network for network in self._networks)

    def has_uid(self, uid: int) -> bool:
        """True when processes of this user are trusted."""
        return uid in self._uids


def parse_address(text: str) -> _Address | None:
    """Read a textual address; None when it is none. No zone, no port, no brackets; IPv4-mapped IPv6 becomes IPv4."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return None
        return ip.ipv4_mapped or ip
    return ip


def _network(text: str, where: str) -> _Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ConfigError(
            f'"{text}" is no address or range', where=where, todo='Write it like "10.20.0.7" or "10.20.0.0/28".'
        ) from None
    if network.prefixlen < (NARROWEST_V4 if network.version == 4 else NARROWEST_V6):  # noqa: PLR2004  IP version 4
        raise ConfigError(f'"{text}" trusts nearly everybody', where=where, todo="List the front's own addresses.")
    return network


def behind_front(connection: Connection, headers: Headers, fronts: Peers) -> Connection | Refusal:
    """Return the client's connection as a trusted front described it, or the connection itself when the peer is no front.

    A front must say `X-Forwarded-For` and `X-Forwarded-Proto`, each in one field line. Of the addresses the last one that is not
    itself a front counts: the ones before it were written by people we don't know. A front that says nothing is refused: its
    own address would stand in the log for every client.
    """
    if not fronts.has_address(connection.peer_address):
        return connection
    address = only(headers, "x-forwarded-for")
    if isinstance(address, Refusal):
        return address
    scheme = only(headers, "x-forwarded-proto")
    if isinstance(scheme, Refusal):
        return scheme
    client = last_client(address, fronts)
    if isinstance(client, Refusal):
        return client
    if scheme not in {"http", "https"}:
        return Refusal(reason=RefuseReason.FORWARDED_MALFORMED, detail="X-Forwarded-Proto is neither http nor https")
    return Connection(peer_address=client, tls_version=FORWARDED_TLS if scheme == "https" else "")


def only(headers: Headers, name: str) -> str | Refusal:
    """Return the value of a field that a front must send in exactly one line."""
    values = [value for key, value in headers if key.lower() == name]
    if len(values) == 1:
        return values[0]
    if values:
        return Refusal(reason=RefuseReason.FORWARDED_MALFORMED, detail=f"more than one {name} field")
    return Refusal(reason=RefuseReason.FORWARDED_MISSING, detail=f"no {name} field")


def last_client(value: str, fronts: Peers) -> str | Refusal:
    """Return the last address of an X-Forwarded-For value that is not a front's (the first, when all are)."""
    addresses = [parse_address(part.strip()) for part in value.split(",")]
    for ip in reversed(addresses):
        if ip is None:
            return Refusal(reason=RefuseReason.FORWARDED_MALFORMED, detail="X-Forwarded-For holds something that is no address")
        if not fronts.has_address(str(ip)):
            return str(ip)
    return str(addresses[0])

"""Who may speak for a client: a front that has proved who it is, and nobody by default.

A front (a TLS-terminating proxy, or a proxy that asks before it forwards) tells us the client's address, TLS and certificate in
fields that any client can write too. They count only on a listener of its own, from a peer that has proved itself: by the user id
of its process on a unix socket, or by a certificate (mTLS). An address proves nothing: it is shared by whatever else runs there.
"""

import functools
import ipaddress
import ssl
import weakref
from collections.abc import Sequence
from typing import Final

from gateway.doors.connection import peer_uid
from gateway.kernel.errors import ConfigError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Fronts:
    """The fronts that one listener believes, and how they prove themselves."""

    def __init__(self, *, uids: Sequence[int] = (), names: Sequence[str] = (), where: str = "trusted fronts") -> None:
        """`uids`: users of processes on a unix socket. `names`: DNS names (subjectAltName) in certificates that mTLS verified.

        Raises ConfigError when both are empty, a uid is negative, or a name is empty or a pattern.
        """
        self._uids: Final = {uid: f"uid:{uid}" for uid in uids}
        self._names: Final = frozenset(name.lower() for name in names)
        self._proved: Final[weakref.WeakKeyDictionary[ssl.SSLObject, str]] = weakref.WeakKeyDictionary()
        if not uids and not names:
            raise ConfigError(
                "nobody is trusted to speak for clients here",
                where=where,
                todo="Give a socket and the front's user ids (trusted_uids), or mTLS and its names (client_names).",
            )
        if any(uid < 0 for uid in uids):
            raise ConfigError("a user id is negative", where=where, todo="Write the number that `id -u` prints for the front.")
        if any(not name or "*" in name for name in names):
            raise ConfigError("a front's name is empty or a pattern", where=where, todo="Write the DNS name in its certificate.")

    def prove(self, transport: object) -> str:
        """Return who is at the other end (`uid:33`, `cert:nginx.hospital.example`); empty when it is nobody on the list.

        On a TLS connection the certificate has been verified by the listener's context (`gateway.doors.tls.mutual_context`).
        """
        get = getattr(transport, "get_extra_info", None)
        if get is None:
            return ""
        connection = get("ssl_object")
        if isinstance(connection, ssl.SSLObject):
            return self._by_certificate(connection)
        uid = peer_uid(transport)
        return self._uids.get(uid, "") if uid is not None else ""

    def _by_certificate(self, connection: ssl.SSLObject) -> str:
        known = self._proved.get(connection)
        if known is None:
            known = self._proved[connection] = self._read(connection)
        return known

    def _read(self, connection: ssl.SSLObject) -> str:
        # Python gives no fields of a certificate that was not verified, but the listener could be a wrong one: ask.
        if connection.context.verify_mode is not ssl.CERT_REQUIRED:
            return ""
        said = (connection.getpeercert() or {}).get("subjectAltName", ())
        names = {str(entry[1]).lower() for entry in said if entry[0] == "DNS"}
        return next((f"cert:{name}" for name in sorted(names & self._names)), "")


@functools.lru_cache(maxsize=4096)
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

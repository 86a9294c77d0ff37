"""What is known of the transport under a request, as the door saw it itself."""

from typing import Final

import msgspec

FORWARDED_TLS: Final = "forwarded"
"""`tls_version` of a connection whose TLS ended at a front."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """One client connection.

    `peer_address` is the textual IP of the client: the socket's own peer, or what a *proved* front said of it.
    `client_certificate` is the DER of what TLS (ours, or a proved front's) verified against the device CA, else None.
    """

    peer_address: str
    peer_port: int = 0
    tls_version: str = ""
    """`TLSv1.3` and the like; `forwarded` when a proved front said https and no more; empty on plain HTTP."""
    server_name: str = ""
    """SNI, lower case; empty without TLS."""
    client_certificate: bytes | None = None
    front: str = ""
    """The proved front that said all this (`uid:33`, `cert:nginx.hospital.example`); empty when the door saw it itself."""

    @property
    def tls(self) -> bool:
        """True when the client's bytes were encrypted on the way to us (or to a proved front)."""
        return bool(self.tls_version)

    @property
    def knows_server_name(self) -> bool:
        """True when `server_name` is what the client asked for: TLS ended here, or at a front that says more than "https"."""
        return self.tls and self.tls_version != FORWARDED_TLS

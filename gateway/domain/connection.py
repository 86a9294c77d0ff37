"""What is known of the transport under a request, as the door saw it itself."""

from typing import Final

import msgspec

FORWARDED_TLS: Final = "forwarded"
"""`tls_version` of a connection whose TLS ended at a front."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """One client connection.

    `peer_address` is the textual IP of the client: the socket's own peer, or what a *proved* front said of it.
    `client_certificate` is the DER of a certificate that TLS verified against the device CA on this connection, else None.
    """

    peer_address: str
    peer_port: int = 0
    tls_version: str = ""
    """`TLSv1.3` and the like; `forwarded` when a proved front said https; empty on plain HTTP."""
    server_name: str = ""
    """SNI, lower case; empty without TLS."""
    client_certificate: bytes | None = None

    @property
    def tls(self) -> bool:
        """True when the client's bytes were encrypted on the way to us (or to a proved front)."""
        return bool(self.tls_version)

    @property
    def direct_tls(self) -> bool:
        """True when TLS ends here, so that `server_name` is what the client itself asked for."""
        return self.tls and self.tls_version != FORWARDED_TLS

"""Facts of a connection that the door sees itself: the peer, TLS, the name it was started for, the client's certificate."""

import socket
import ssl
import struct
import weakref
from typing import Final

from aiohttp import web

from gateway.domain.connection import Connection
from gateway.kernel.errors import ConfigError

_server_names: Final[weakref.WeakKeyDictionary[ssl.SSLObject, str]] = weakref.WeakKeyDictionary()


def record_server_names(context: ssl.SSLContext) -> None:
    """Make connections of this context remember the server name (SNI) that the client asked for.

    The callback never chooses another context: one context asks every client for a certificate on every name, and policy says who
    needs one (choosing by SNI is how CVE-2026-32305 let clients in without). Raises ConfigError when the context has a callback.
    """
    if context.sni_callback is not None:
        raise ConfigError("the TLS context chooses by server name already", todo="Give the gateway a context of its own.")

    def remember(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> int | None:
        if isinstance(connection, ssl.SSLObject):
            _server_names[connection] = (name or "").lower()
        return None

    context.sni_callback = remember


def connection_of(http: web.BaseRequest) -> Connection:
    """Describe the connection under a request."""
    return describe(http.transport)


def describe(transport: object) -> Connection:
    """Describe a transport. A lost one has no facts: its address is empty, which no list trusts and no zone holds."""
    get = getattr(transport, "get_extra_info", None)
    if get is None:
        return Connection(peer_address="")
    peer = get("peername")
    address, port = (str(peer[0]).partition("%")[0], int(peer[1])) if isinstance(peer, tuple) else ("", 0)
    ssl_object = get("ssl_object")
    if not isinstance(ssl_object, ssl.SSLObject):
        return Connection(peer_address=address, peer_port=port)
    # OpenSSL ends the handshake when a certificate that was sent does not verify; with CERT_NONE none is asked for.
    verified = ssl_object.context.verify_mode != ssl.CERT_NONE
    return Connection(
        peer_address=address,
        peer_port=port,
        tls_version=ssl_object.version() or "unknown",
        server_name=_server_names.get(ssl_object, ""),
        client_certificate=ssl_object.getpeercert(binary_form=True) if verified else None,
    )


def peer_uid(transport: object) -> int | None:
    """Return the user id of the process at the other end of a unix socket (SO_PEERCRED, Linux); None for anything else."""
    get = getattr(transport, "get_extra_info", None)
    sock = get("socket") if get is not None else None
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    form = "3i"
    _pid, uid, _gid = struct.unpack(form, sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form)))
    return int(uid)

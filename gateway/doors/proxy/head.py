"""The head of a request to an application, from what the client sent and what we add."""

from collections.abc import Iterable

from gateway.domain.connection import Connection
from gateway.domain.headers import upstream_headers
from gateway.domain.request import Headers, Request


def client_fields(headers: Headers, connection: Connection, authority: str) -> bytes:
    """Return a client's field lines (`headers`, after `strip_client`), with Host and what is forwarded about the connection.

    The same for every request with the same fields on the same connection to the same host. Raises ValueError for a line break.
    """
    forwarded = (
        ("X-Forwarded-For", connection.peer_address),
        ("X-Forwarded-Proto", "https" if connection.tls else "http"),
        ("X-Forwarded-Host", authority),
    )
    return _lines(upstream_headers(headers, authority=authority, forwarded=forwarded, own=()))


def request_head(request: Request, fields: bytes, own: Iterable[tuple[str, str]]) -> bytes:
    """Return the whole head: request line, `fields` of the client, and `own`. Raises ValueError for a line break in `own`."""
    # Method and target are canonical: no line break can be in them.
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (request.method.encode(), request.target.encode(), fields, _lines(own))


def _lines(fields: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"{name}: {value}" for name, value in fields]
    text = "\r\n".join(lines)
    breaks = len(lines) - 1 if lines else 0
    if text.count("\r") != breaks or text.count("\n") != breaks or "\0" in text:
        raise ValueError("a header field for the upstream holds a line break")
    return (text + "\r\n").encode("utf-8") if lines else b""


def request_framing(request: Request) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Return the fields that frame the request's body for the application, and whether there is a body."""
    length = request.header("content-length")
    if length is not None:
        return (("Content-Length", length),), bool(length.strip("0"))
    if request.header("transfer-encoding") is not None:
        return (("Transfer-Encoding", "chunked"),), True
    return (), False

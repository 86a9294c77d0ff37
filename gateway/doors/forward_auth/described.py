"""The request that a front describes in header fields."""

from typing import Final

from gateway.domain.headers import HOP_BY_HOP, fold
from gateway.domain.request import Headers, RawRequest, Refusal
from gateway.doors.said import Says, client_of, only

_OF_THE_SUBREQUEST: Final = (HOP_BY_HOP - {"upgrade"}) | {"host", "contentlength", "expect"}
"""Framing, Connection and Host of the subrequest itself are not the client's. Its Upgrade is: some fronts pass it on."""


def described_by(headers: Headers, front: str, says: Says) -> RawRequest | Refusal:
    """The request that a proved front asks about, or what it left out or said twice."""
    said: dict[str, str] = {}
    for name in ("method", "host", "uri"):
        value = only(headers, f"x-forwarded-{name}")
        if isinstance(value, Refusal):
            return value
        said[name] = value
    connection = client_of(headers, front, says)
    if isinstance(connection, Refusal):
        return connection
    kept = tuple((name, value) for name, value in headers if fold(name) not in _OF_THE_SUBREQUEST)
    return RawRequest(method=said["method"], target=said["uri"], headers=(("Host", said["host"]), *kept), connection=connection)

"""From raw bytes' text to a request that policy and upstream see alike. Canonical, or refused; never repaired.

The rules and their numbers are in `docs/architecture.md`; each is a line of `parse_request`.
"""

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.reason import RefuseReason

Headers = tuple[tuple[str, str], ...]
"""Field lines in order, as received. Values are latin-1/surrogateescape text exactly as the door's parser gave them."""


class RawRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a door read, unverified. `target` is the request-target of the request line, byte for byte (RFC 9112 §3.2)."""

    method: str
    target: str
    headers: Headers
    connection: Connection


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A canonical request. `path` and `query` are exactly what goes upstream; `segments` is the path decoded once, for routing."""

    method: str
    host: str
    """Lower case, without port."""
    path: str
    query: str
    """Without `?`; empty when absent."""
    has_query: bool
    segments: tuple[str, ...]
    headers: Headers
    """Field lines as received (not yet stripped: see `gateway.domain.headers`)."""
    connection: Connection

    @property
    def target(self) -> str:
        """The origin-form target, byte for byte as received."""
        return f"{self.path}?{self.query}" if self.has_query else self.path

    def header(self, name: str) -> str | None:
        """The first value of a field, by case-insensitive name."""
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), None)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not accepted. Becomes `decision.Refuse`."""

    reason: RefuseReason
    detail: str = ""

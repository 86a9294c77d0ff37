"""From raw bytes' text to a request that policy and upstream see alike. Canonical, or refused; never repaired.

The rules and their numbers are in `docs/architecture.md`; each is a line of `parse_request`.
"""

import base64
import binascii
import re
from typing import Final

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.reason import RefuseReason
from gateway.domain.refusal import Refusal
from gateway.domain.target import parse_target

__all__ = ["DEFAULT_LIMITS", "Headers", "Limits", "RawRequest", "Refusal", "Request", "parse_host", "parse_request"]

Headers = tuple[tuple[str, str], ...]
"""Field lines in order, as received. Values are UTF-8 text; what is not UTF-8 arrives as lone surrogates and is refused."""


class RawRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a door read, unverified. `target` is the request-target of the request line, byte for byte (RFC 9112 §3.2)."""

    method: str
    target: str
    headers: Headers
    connection: Connection


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A canonical request. `path` and `query` are exactly what goes upstream; `segments` is the path decoded once, for routes."""

    method: str
    host: str
    """Lower case, without port."""
    path: str
    query: str
    """Without `?`; empty when absent."""
    has_query: bool
    segments: tuple[str, ...]
    headers: Headers
    """Field lines as received; a door removes protected ones before it asks for a decision (`gateway.domain.headers`)."""
    connection: Connection
    websocket: bool = False
    """A WebSocket opening handshake (RFC 6455 §4.1), complete and without a body."""
    routed: str | None = None
    """The route that a proved front has chosen and will use, by id; empty when it has none. None: the front does not say."""

    @property
    def target(self) -> str:
        """The origin-form target, byte for byte as received."""
        return f"{self.path}?{self.query}" if self.has_query else self.path

    def header(self, name: str) -> str | None:
        """The first value of a field, by case-insensitive name."""
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), None)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a request's head may be."""

    target_length: int = 8_000
    segments: int = 100
    header_count: int = 100
    header_bytes: int = 65_536
    """All names and values together."""


DEFAULT_LIMITS: Final = Limits()

_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")
_REFUSED_METHODS: Final = frozenset({"CONNECT", "TRACE", "TRACK", "PRI"})
"""Tunnels, reflections of the request, and the HTTP/2 preface: never for an application behind a gateway."""
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)(?::([0-9]{{1,5}}))?", re.ASCII)
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_SINGLE: Final = frozenset(
    {
        "authorization", "content-length", "content-type", "cookie", "expect", "origin", "referer", "sec-fetch-mode",
        "sec-fetch-site", "sec-websocket-key", "sec-websocket-version", "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip
"""Fields that are read somewhere on the way: with two of them, two readers could each take another."""
_MAX_HOST: Final = 253
_MAX_PORT: Final = 65_535
_WEBSOCKET_KEY_BYTES: Final = 16


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The field lines of a request that have passed rules 3 to 5 below."""

    values: dict[str, str]
    """By name in lower case; several lines of one name are joined by commas."""
    host: str


def parse_request(raw: RawRequest, limits: Limits = DEFAULT_LIMITS) -> Request | Refusal:
    """Return the canonical request, or why there is none. Never raises, never changes what it passes on.

    It does not check routes, sessions, cross-site use (`gateway.domain.site`), or the HTTP version, and it removes no header.
    """
    return canonical(raw.method, raw.target, None, raw.headers, raw.connection, limits)


def canonical(
    method: str,
    target: str,
    fields: Fields | None,
    headers: Headers,
    connection: Connection,
    limits: Limits,
    *,
    routed: str | None = None,
) -> Request | Refusal:
    """Do what `parse_request` does; `fields` is what `parse_fields` has said before of the fields that `headers` come from.

    `routed` is passed on.
    """
    # 1. The method is a plain upper-case token, and not one that makes a proxy do something else (RFC 9110 §9.1).
    if not _METHOD.fullmatch(method) or method in _REFUSED_METHODS:
        return Refusal(reason=RefuseReason.METHOD, detail="a method that is never forwarded")
    # 2. The target has its one spelling (`gateway.domain.target`).
    place = parse_target(target, max_length=limits.target_length, max_segments=limits.segments)
    if isinstance(place, Refusal):
        return place
    # 3. to 5. are about the fields.
    checked = fields or parse_fields(headers, connection, limits)
    if isinstance(checked, Refusal):
        return checked
    # 6. Upgrades are complete WebSocket handshakes without a body, or refused (RFC 6455 §4.1).
    websocket = "upgrade" in checked.values
    if websocket:
        refusal = _upgrade(method, checked.values)
        if refusal is not None:
            return refusal
    return Request(
        method=method,
        host=checked.host,
        path=place.path,
        query=place.query,
        has_query=place.has_query,
        segments=place.segments,
        headers=headers,
        connection=connection,
        websocket=websocket,
        routed=routed,
    )


def parse_fields(headers: Headers, connection: Connection, limits: Limits = DEFAULT_LIMITS) -> Fields | Refusal:
    """Check field lines, or say which of these rules they break. Never raises."""
    # 3. Field lines are of RFC 9110 §5.5's form, in UTF-8, few and small; fields that are read by several occur once.
    values = _fields(headers, limits)
    if isinstance(values, Refusal):
        return values
    # 4. One Host, a DNS name with an optional port (RFC 9112 §3.2); and the name that TLS was spoken for.
    host = _host(headers, connection)
    if isinstance(host, Refusal):
        return host
    # 5. The end of the message is beyond doubt (RFC 9112 §6.3).
    return _framing(values) or Fields(values=values, host=host)


def parse_host(value: str) -> str | None:
    """Return the host of a Host field value in lower case and without port; None when it is not a DNS name.

    A trailing dot, underscore, comma, user information, address literal or empty label is no DNS name here. The port is
    checked for its form and range only.
    """
    found = _HOST.fullmatch(_lower(value))
    if found is None or len(found[1]) > _MAX_HOST:
        return None
    if found[2] is not None and not 0 < int(found[2]) <= _MAX_PORT:
        return None
    return found[1]


def _lower(text: str) -> str:
    """Lower case for ASCII only: `str.lower` turns the Kelvin sign into a k, and other servers would not."""
    return text.lower() if text.isascii() else text


def _fields(headers: Headers, limits: Limits) -> dict[str, str] | Refusal:
    if len(headers) > limits.header_count or sum(len(name) + len(value) for name, value in headers) > limits.header_bytes:
        return Refusal(reason=RefuseReason.HEADERS_TOO_LARGE, detail="more or longer header fields than allowed")
    fields: dict[str, str] = {}
    for name, value in headers:
        if not _NAME.fullmatch(name):
            return Refusal(reason=RefuseReason.HEADER_MALFORMED, detail="a header name that is no token")
        lower = name.lower()
        if not _VALUE.fullmatch(value):
            return Refusal(reason=RefuseReason.HEADER_MALFORMED, detail="control characters or invalid UTF-8 in a header value")
        if lower in fields and lower in _SINGLE:
            reason = RefuseReason.FRAMING if lower in {"content-length", "transfer-encoding"} else RefuseReason.HEADER_MALFORMED
            return Refusal(reason=reason, detail=f"more than one {lower} field")
        fields[lower] = f"{fields[lower]},{value}" if lower in fields else value
    if _lower(fields.get("expect", "100-continue")) != "100-continue":
        return Refusal(reason=RefuseReason.HEADER_MALFORMED, detail="an expectation other than 100-continue")
    return fields


def _host(headers: Headers, connection: Connection) -> str | Refusal:
    hosts = [value for name, value in headers if name.lower() == "host"]
    if not hosts:
        return Refusal(reason=RefuseReason.HOST_MISSING, detail="no Host field")
    if len(hosts) > 1:
        return Refusal(reason=RefuseReason.HOST_DUPLICATE, detail="more than one Host field")
    host = parse_host(hosts[0])
    if host is None:
        return Refusal(reason=RefuseReason.HOST_MALFORMED, detail="the Host field is not a DNS name with an optional port")
    # Of a front that says only "https" the name is not known: it answers for it.
    if connection.knows_server_name and connection.server_name != host:
        return Refusal(reason=RefuseReason.HOST_SNI_MISMATCH, detail="the Host field is not the name that TLS was started for")
    return host


def _framing(fields: dict[str, str]) -> Refusal | None:
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if coding is not None and length is not None:
        return Refusal(reason=RefuseReason.FRAMING, detail="Content-Length together with Transfer-Encoding")
    if coding is not None and _lower(coding) != "chunked":
        return Refusal(reason=RefuseReason.FRAMING, detail="a transfer coding other than chunked")
    if length is not None and not _LENGTH.fullmatch(length):
        return Refusal(reason=RefuseReason.FRAMING, detail="a Content-Length that is no decimal number")
    return None


def _upgrade(method: str, fields: dict[str, str]) -> Refusal | None:
    if _lower(fields["upgrade"]) != "websocket":
        return Refusal(reason=RefuseReason.UPGRADE, detail="an upgrade to something else than WebSocket")
    if "transfer-encoding" in fields or fields.get("content-length", "0").strip("0"):
        return Refusal(reason=RefuseReason.FRAMING, detail="a body on an upgrade")
    options = {_lower(option.strip()) for option in fields.get("connection", "").split(",")}
    try:
        key = base64.b64decode(fields.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if (
        method != "GET"
        or "upgrade" not in options
        or fields.get("sec-websocket-version") != "13"
        or len(key) != _WEBSOCKET_KEY_BYTES
    ):
        return Refusal(reason=RefuseReason.UPGRADE, detail="an incomplete WebSocket handshake")
    return None

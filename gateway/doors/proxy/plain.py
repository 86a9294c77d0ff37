"""The proxy door's short way: plain requests for applications, and what is known of a connection that repeats itself."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.request import Fields, Headers, Limits, Refusal, canonical, parse_fields
from gateway.doors.plain_handler import PlainRequest
from gateway.doors.proxy.head import client_fields
from gateway.doors.reply import Wire

if TYPE_CHECKING:
    from gateway.doors.proxy.door import ProxyDoor


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a connection's last plain request, and holds for the next one with the same fields."""

    headers: Headers
    connection: Connection
    fields: Fields
    stripped: Headers
    for_application: bytes


class PlainDoor:
    """Takes plain requests for applications. Every other one, and every one that is refused, goes the usual way."""

    def __init__(self, door: "ProxyDoor", limits: Limits, *, fronted: bool) -> None:
        self._door = door
        self._limits = limits
        self._fronted = fronted

    def takes(self, request: PlainRequest) -> bool:
        """Whether it is canonical and for an application."""
        known = request.client.memory
        if not isinstance(known, _Known) or known.headers is not request.headers:
            known = request.client.memory = self._know(request)
            if known is None:
                return False
        parsed = canonical(request.method, request.raw_path, known.fields, known.stripped, known.connection, self._limits)
        if isinstance(parsed, Refusal) or not self._door.is_for_app(parsed, reserved=False):
            return False
        request.parsed = parsed
        return True

    def _know(self, request: PlainRequest) -> _Known | None:
        client = request.client
        connection = self._door.client_behind(client.transport, request.headers) if self._fronted else client.connection
        if isinstance(connection, Refusal):
            return None
        fields = parse_fields(request.headers, connection, self._limits)
        if isinstance(fields, Refusal):
            return None
        stripped = self._door.stripped(request.headers)
        return _Known(
            headers=request.headers,
            connection=connection,
            fields=fields,
            stripped=stripped,
            for_application=client_fields(stripped, connection, self._door.authority(fields.host)),
        )

    def answer(self, request: PlainRequest) -> Awaitable[Wire]:
        """Answer one that was taken."""
        known, parsed = request.client.memory, request.parsed
        if not isinstance(known, _Known) or parsed is None:
            raise TypeError("a request that was not taken")
        return self._door.answer_plain(request, parsed, known.for_application)

    def failed(self, request: PlainRequest, error: Exception) -> Wire:
        """Say that something of ours is broken."""
        return self._door.failed(request.method, request.raw_path, error)

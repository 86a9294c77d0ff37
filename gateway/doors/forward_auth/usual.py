"""What follows from the fields that a client's questions share (`gateway.doors.repeated`), where a front describes the request.

It is worked out the ordinary way, from a question with harmless values in the lines that change, and holds for every other value:
what is asked for is only in the request's method and target, and the port only in its connection. The lines themselves are
protected fields, which are taken from the request before anybody decides.
"""

import re
from typing import Final

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.request import Headers, Limits, RawRequest, Request
from gateway.doors.external import Asking, Known
from gateway.doors.forward_auth.described import described_by
from gateway.doors.plain import MAX_FIELDS, MAX_HEAD
from gateway.doors.repeated import Cutter, Question
from gateway.doors.said import Says

_ASKED: Final = (("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/"))
_PORT: Final = ("X-Forwarded-Client-Port", "0")
_PORT_VALUE: Final = re.compile(r"[0-9]{1,5}", re.ASCII)


class Usual(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a client's questions."""

    connection: Connection
    """Without the client's port, if that changes."""
    headers: Headers
    """Of the described request, with harmless values in the lines that change."""
    known: Known


class Usuals:
    """Knows the questions of one door."""

    def __init__(self, asking: Asking, says: Says, limits: Limits) -> None:
        """`limits`: as the door's `Asking` has them."""
        self._asking = asking
        self._says: Final = says
        self._lines: Final = (*_ASKED, _PORT) if says.tls else _ASKED
        # Where no plain head can be too large: otherwise it would count how long the lines are that change. A described request
        # has Host, and what stands in it, twice.
        self._roomy: Final = limits.header_count > MAX_FIELDS and limits.header_bytes >= 2 * MAX_HEAD

    def cutter(self, asked_at: str) -> Cutter | None:
        """Return what cuts the questions that are asked at this target; None when nothing may be known."""
        return Cutter([name for name, _ in self._lines], asked_at=asked_at) if self._roomy else None

    def look(self, question: Question, front: str) -> Usual | None:
        """Return what is known of questions with such fields from this front; None when they are refused, whatever they ask."""
        described = described_by((*question.repeated.fields, *self._lines), front, self._says)
        if not isinstance(described, RawRequest):
            return None
        known = self._asking.known(described)
        return Usual(connection=described.connection, headers=described.headers, known=known) if known is not None else None

    def request_of(self, usual: Usual, question: Question) -> Request | None:
        """Return the request that is asked about; None when the ordinary way has to look at it."""
        method, target, *ports = question.values
        connection = usual.connection
        if ports:
            if not _PORT_VALUE.fullmatch(ports[0]):
                return None
            connection = msgspec.structs.replace(connection, peer_port=int(ports[0]))
        return self._asking.request_of(usual.known, method, target, connection)

    def described(self, question: Question, front: str) -> RawRequest:
        """Return the described request as the ordinary way has it, for what needs more than the decision."""
        described = described_by(question.headers(), front, self._says)
        if not isinstance(described, RawRequest):
            raise TypeError("known, but not described")
        return described

"""One line of nginx's access log, in the format that `gateway.frontconf.nginx` writes."""

from typing import Final, Literal

import msgspec

LONGEST: Final = 262_144
"""In bytes; more than nginx writes for any request: method, Host and path are at most one of its buffers each
(`large_client_header_buffers`, 16 KiB), and JSON makes of one byte up to six."""


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request, as nginx says it. `at` is when it ended, `seconds` how long it took, from the first byte of its head."""

    at: float
    """Epoch seconds."""
    pid: int
    connection: int
    """Serial number of the client's connection, since nginx has started."""
    n: int
    """Number of the request on that connection, from 1."""
    address: str
    method: str
    host: str
    path: str
    """Without the query."""
    status: str
    bytes_in: int = msgspec.field(name="in")
    bytes_out: int = msgspec.field(name="out")
    seconds: float
    way: Literal["ask", "whole", "plain"]
    """`ask`: we were asked; `whole`: the request went to our own proxy; `plain`: no TLS (nginx's own redirect and counter)."""
    use: str
    """The mark of the decision; empty when there was none."""
    lease: str
    """nginx's cache status of the question: `HIT` for a request under a lease."""

    @property
    def code(self) -> int:
        """The status that the client got; 0 for none."""
        return int(self.status) if len(self.status) <= 3 and self.status.isascii() and self.status.isdigit() else 0  # noqa: PLR2004  digits

    @property
    def began(self) -> float:
        """Epoch seconds at which the request began."""
        return self.at - self.seconds


def read_line(data: bytes) -> Line | None:
    """Return what a line (without line feed) says; None when it is none of nginx's."""
    if len(data) > LONGEST:
        return None
    try:
        # Bytes of a path that are no UTF-8 stand in the log as they came.
        return msgspec.json.decode(data.decode("utf-8", "replace"), type=Line, strict=False)
    except msgspec.MsgspecError:
        return None

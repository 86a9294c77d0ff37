"""How much of a client's head and time a listener takes."""

import msgspec

from gateway.domain.request import DEFAULT_LIMITS, Limits


class ListenerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a client's head and time a listener takes. Times are seconds."""

    head: Limits = DEFAULT_LIMITS
    field_length: int = 16_384
    """Name and value of one field line."""
    head_seconds: float = 10.0
    """From the first byte of a head to its end; also from the connection to the first byte, and for the TLS handshake."""
    idle_seconds: float = 60.0
    """Between two requests of one connection."""
    linger_seconds: float = 2.0
    """How long a refused connection may still send before it is closed."""

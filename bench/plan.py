"""How long and how often: the full run, and the quick one that has less than four minutes."""

from typing import Final

import msgspec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds and durations in seconds."""

    quick: bool
    rounds: int = 5
    """Interleaved rounds of every row."""
    seconds: int
    """Of each row in each round."""
    latency_seconds: float
    sockets: int = 5000
    tls_sockets: int = 500
    one_by_one: int = 10
    """Sessions that are revoked one after the other."""
    sessions: int = 100_000
    profile_seconds: int
    leave_out: tuple[str, ...] = ()
    """Rows that no ratio needs."""


FULL: Final = Plan(quick=False, seconds=5, latency_seconds=10.0, tls_sockets=2000, profile_seconds=10)
QUICK: Final = Plan(
    quick=True, seconds=1, latency_seconds=2.0, profile_seconds=2, leave_out=("envoy_door_grpc", "nginx_lease_many")
)

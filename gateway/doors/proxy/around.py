"""What stands around an exchange: what it is given, and who looks after all that are open."""

import asyncio
from typing import Final, Protocol

import msgspec
from aiohttp.streams import StreamReader

from gateway.domain.reason import UpstreamProblem
from gateway.doors.client import GatewayProtocol
from gateway.doors.contract import Pipeline, Present
from gateway.doors.proxy.upstream import UpstreamLimits
from gateway.kernel.clock import Clock


class ClientBodyError(Exception):
    """The client's body stopped being well-formed. Answer it as a refusal."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What every exchange of a door needs."""

    pipeline: Pipeline
    present: Present
    limits: UpstreamLimits
    body_seconds: float
    clock: Clock
    exchanges: "Exchanges"


class Asked(msgspec.Struct, kw_only=True):
    """A client's request as its connection knows it."""

    client: GatewayProtocol
    content: StreamReader | None
    """The body; None when there is none."""
    modern: bool = True
    """Whether the client speaks HTTP/1.1."""
    keep: bool = True
    """Whether it would stay for another request."""
    fields: bytes | None = None
    """Its fields as the application gets them (`client_fields`), when that has been worked out before."""


class Open(Protocol):
    """An open exchange."""

    def tick(self, now: float) -> None:
        """Look at the clock."""
        ...

    def end(self, problem: UpstreamProblem) -> None:
        """End both sides."""
        ...


class Exchanges:
    """All open exchanges of a door, and the one timer for all of them."""

    def __init__(self, clock: Clock, every_seconds: float = 0.1) -> None:
        self._clock = clock
        self._every: Final = every_seconds
        self._open: set[Open] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, exchange: Open) -> None:
        """Begin to look after an exchange."""
        self._open.add(exchange)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def discard(self, exchange: Open) -> None:
        """It is over."""
        self._open.discard(exchange)

    def _look(self) -> None:
        loop, now = asyncio.get_running_loop(), self._clock.monotonic()
        for exchange in list(self._open):
            exchange.tick(now)
        self._timer = loop.call_later(self._every, self._look) if self._open else None

    def end(self, problem: UpstreamProblem) -> None:
        """End them all."""
        for exchange in list(self._open):
            exchange.end(problem)

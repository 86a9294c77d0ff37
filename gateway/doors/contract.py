"""What a door needs of the rest: Protocols that `gateway.pipeline` and `gateway.present` fulfil, so that doors only translate."""

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol

from aiohttp import web

from gateway.domain.decision import Allow, Decision, Refuse, Unavailable
from gateway.domain.reason import UpstreamProblem
from gateway.domain.request import RawRequest, Refusal, Request


class StreamWatch(Protocol):
    """One open exchange under its decision."""

    @property
    def cut(self) -> asyncio.Event:
        """Set when the decision is no longer Allow."""
        ...

    why: str
    """Then says why."""


class Pipeline(Protocol):
    """Decides and records. Its methods raise nothing but cancellation."""

    async def decide(self, request: Request, door: str) -> Decision:
        """Decide and write the record, synced where the action asks for it."""
        ...

    async def refuse(self, raw: RawRequest, refusal: Refusal, door: str) -> Refuse | Unavailable:
        """Record that a request was not even decided."""
        ...

    def outgoing(self, allow: Allow) -> list[tuple[str, str]]:
        """Header fields that tell the upstream who asks."""
        ...

    def own_names(self) -> frozenset[str]:
        """Header fields that any upstream may be set, in lower case."""
        ...

    def protected_names(self) -> frozenset[str]:
        """Folded names that no client may send on, beside the built-in ones of `gateway.domain.headers`."""
        ...

    def completed(
        self, allow: Allow, *, status: int, bytes_in: int, bytes_out: int, started: float, problem: UpstreamProblem
    ) -> None:
        """Record how an allowed request ended; `started` is monotonic. Returns at once."""
        ...

    def watch(self, allow: Allow) -> AbstractContextManager[StreamWatch]:
        """Keep an open exchange under its decision."""
        ...


class Reply(Protocol):
    """An HTTP reply of ours, to be sent as it is."""

    @property
    def status(self) -> int:
        """Status code."""
        ...

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Field lines, without framing."""
        ...

    @property
    def body(self) -> bytes:
        """The whole body."""
        ...


class Present(Protocol):
    """The one mapper from decisions to HTTP."""

    def reply(
        self,
        decision: Decision,
        *,
        request: Request | None,
        raw: RawRequest,
        form: list[tuple[str, str]] | None = None,
    ) -> Reply:
        """Map a decision that is not Allow; `form` is a small form that was being sent."""
        ...

    def upstream_problem(self, problem: UpstreamProblem, request: Request, decision_id: str) -> Reply:
        """Map a failure behind an Allow."""
        ...


class Pages(Protocol):
    """The portal: our own pages on the portal's host, and under `/.gateway/` on every app's."""

    async def __call__(self, request: Request, http: web.BaseRequest) -> web.StreamResponse:
        """Answer a canonical request."""
        ...

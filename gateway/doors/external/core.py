"""From what a front describes to the decision: the same steps at every door that is asked.

1. What can only be carried by ourselves (a WebSocket, an event stream) is refused: the front would keep it open, and nobody could
   cut it. Fronts send such requests to the embedded proxy, which decides them.
2. The described request is made canonical or refused, as at the embedded proxy; requests of another site are refused.
3. The client's copies of protected fields are removed, before anybody decides anything. What is spelled like none of them, but
   could be taken for one (`XRemote-User`), is refused: the front would pass it on.
4. The one pipeline decides and records.
"""

import functools
from collections.abc import Awaitable
from typing import Final

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.decision import Allow, Decision
from gateway.domain.headers import misspelt, strip_client
from gateway.domain.reason import RefuseReason
from gateway.domain.request import Fields, Headers, Limits, RawRequest, Refusal, Request, canonical, parse_fields
from gateway.domain.site import SAFE_METHODS, cross_site
from gateway.doors.contract import Pipeline, Present, Reply

_EVENT_STREAM: Final = "text/event-stream"


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A question and its answer."""

    decision: Decision
    request: Request | None
    """None when it could not be made canonical."""
    raw: RawRequest


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What field lines say by themselves, whatever is asked for."""

    ours: Refusal | None
    fields: Fields | None
    """None when they are not well-formed: `canonical` says why."""
    odd: bool
    stripped: Headers


_REMEMBERED: Final = 256
"""How many clients' field lines a door knows again: a page's parts are asked for with the same ones."""


class Asking:
    """Answers questions of one door; `door` is its name in the log."""

    def __init__(self, *, pipeline: Pipeline, present: Present, door: str, limits: Limits) -> None:
        self._pipeline = pipeline
        self._present = present
        self._door: Final = door
        self._limits = limits
        self._known: Final = functools.lru_cache(maxsize=_REMEMBERED)(self._look)

    async def decide(self, described: RawRequest, *, routed: str | None = None) -> Settled:
        """Decide what a proved front described, and write the record. Raises nothing but cancellation.

        `routed`: the id of the route that the front has chosen, empty for none; it must be ours too. None: it does not say.
        """
        connection = described.connection
        known = self._known(described.headers, connection.tls_version, connection.server_name)
        if known.ours is not None:
            return await self.refuse(described, known.ours)
        parsed = canonical(described.method, described.target, known.fields, described.headers, connection, self._limits)
        if isinstance(parsed, Refusal):
            return await self.refuse(described, parsed)
        scheme, authority = "https" if parsed.connection.tls else "http", (parsed.header("host") or "").lower()
        why = cross_site(parsed, f"{scheme}://{authority}")
        if why is not None:
            return await self.refuse(described, Refusal(reason=RefuseReason.CROSS_SITE, detail=why), parsed)
        if known.odd:
            refusal = Refusal(reason=RefuseReason.HEADER_MALFORMED, detail="a header name that is one of ours spelled otherwise")
            return await self.refuse(described, refusal, parsed)
        request = msgspec.structs.replace(parsed, headers=known.stripped, routed=routed)
        return Settled(decision=await self._pipeline.decide(request, self._door), request=request, raw=described)

    def known(self, described: RawRequest) -> Known | None:
        """Return what `request_of` needs to know of a request's fields; None when `decide` would refuse them in any case."""
        known = self._look(described.headers, described.connection.tls_version, described.connection.server_name)
        return known if known.ours is None and known.fields is not None and not known.odd else None

    def request_of(
        self, known: Known, method: str, target: str, connection: Connection, *, routed: str | None = None
    ) -> Request | None:
        """Return the request that `decide` would have decided, for `decided`; None when it has to look at it itself."""
        if method not in SAFE_METHODS:
            return None  # where it comes from counts, and that may be said in fields that are taken away
        parsed = canonical(method, target, known.fields, known.stripped, connection, self._limits, routed=routed)
        return None if isinstance(parsed, Refusal) else parsed

    def decided(self, request: Request) -> Awaitable[Decision]:
        """Decide a request of `request_of`, and write the record. Raises nothing but cancellation."""
        return self._pipeline.decide(request, self._door)

    def _look(self, headers: Headers, tls_version: str, server_name: str) -> Known:
        fields = parse_fields(
            headers, Connection(peer_address="", tls_version=tls_version, server_name=server_name), self._limits
        )
        return Known(
            ours=_only_ours(headers),
            fields=fields if isinstance(fields, Fields) else None,
            odd=misspelt(headers, self._pipeline.own_names()) is not None,
            stripped=strip_client(headers, self._pipeline.protected_names()),
        )

    async def refuse(self, raw: RawRequest, refusal: Refusal, request: Request | None = None) -> Settled:
        """Record that a question was not even decided."""
        return Settled(decision=await self._pipeline.refuse(raw, refusal, self._door), request=request, raw=raw)

    def upstream_fields(self, allow: Allow) -> list[tuple[str, str]]:
        """The fields that the front has to set on the request to the application, and on it only."""
        return self._pipeline.outgoing(allow)

    def reply(self, settled: Settled, form: list[tuple[str, str]] | None = None) -> Reply:
        """The page or JSON of a decision that is not Allow; `form` is a small form that was being sent."""
        return self._present.reply(settled.decision, request=settled.request, raw=settled.raw, form=form)


def _only_ours(headers: Headers) -> Refusal | None:
    for name, value in headers:
        lower = name.lower()
        # A front keeps Upgrade and Connection to itself; the key shows the handshake all the same (RFC 6455 §4.1).
        if lower in {"upgrade", "sec-websocket-key"}:
            return Refusal(reason=RefuseReason.UPGRADE, detail="upgrades have to go through the gateway's own proxy")
        # Anywhere in it: an application may choose the stream even if the client likes something else better.
        if lower == "accept" and _EVENT_STREAM in value.lower():
            return Refusal(reason=RefuseReason.UPGRADE, detail="event streams have to go through the gateway's own proxy")
    return None

"""Server-sent events (WHATWG HTML §9.2): one bounded queue per open stream, so that a slow reader costs no memory."""

import asyncio
from collections import deque
from typing import Final

import msgspec
from aiohttp import web

from gateway.kernel.web.site import STREAMING

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `data` is encoded as JSON on one line, so no content can forge a field or an event."""

    name: str
    data: object
    id: str = ""
    """Digits and letters only; sent back by the browser as `Last-Event-ID`."""

    def encode(self) -> bytes:
        """Return the wire form."""
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.name}\ndata: ".encode() + msgspec.json.encode(self.data) + b"\n\n"


class Outbox:
    """What waits for one reader: at most `limit` events. When full, the oldest is dropped, and the reader told how many were."""

    def __init__(self, limit: int) -> None:
        self._waiting: deque[Event] = deque()
        self._limit = limit
        self._dropped = 0
        self._closed = False
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        """Add an event. Never blocks; call it from the event loop's thread."""
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(event)
        self._wake.set()

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self._wake.set()

    async def take(self, patience: float) -> list[Event] | None:
        """Wait up to `patience` seconds for events and return them, oldest first; empty when none came; None at the end."""
        try:
            await asyncio.wait_for(self._wake.wait(), patience)
        except TimeoutError:
            return []
        self._wake.clear()
        if self._closed:
            return None
        events = list(self._waiting)
        self._waiting.clear()
        if self._dropped:
            events.insert(0, Event(name="skipped", data={"count": self._dropped}))
            self._dropped = 0
        return events

    def __len__(self) -> int:
        return len(self._waiting)


class EventStreams:
    """The open event streams of an app; shutting the app down ends them."""

    def __init__(self, app: web.Application, keepalive: float = 15.0) -> None:
        """`keepalive`: seconds of silence after which a comment is sent, so that proxies and readers see the stream alive."""
        self._open: set[Outbox] = set()
        self._keepalive = keepalive
        app.on_shutdown.append(self._shut)

    async def serve(self, request: web.Request, outbox: Outbox) -> web.StreamResponse:
        """Send what `outbox` receives until the reader leaves or the app shuts down."""
        response = web.StreamResponse(headers=_HEADERS)
        request[STREAMING] = True
        self._open.add(outbox)
        try:
            await response.prepare(request)
            await response.write(b": open\n\n")
            while (events := await outbox.take(self._keepalive)) is not None:
                await response.write(b"".join(event.encode() for event in events) or b": alive\n\n")
        except ConnectionResetError:
            return response  # the reader left: how streams normally end
        finally:
            self._open.discard(outbox)
        return response

    async def _shut(self, _app: web.Application) -> None:
        for outbox in tuple(self._open):
            outbox.close()

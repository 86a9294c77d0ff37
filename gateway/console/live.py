"""The live page's stream: the newest records first seen, then each as it is written, here or by another process."""

import contextlib
import heapq
from collections.abc import Iterator
from datetime import timezone
from typing import Final

from aiohttp import web

from gateway.console.parts import Feed, Others
from gateway.console.position import Position
from gateway.console.rows import row_event
from gateway.domain.record import Record
from gateway.kernel.web.events import Event, EventStreams, Outbox
from gateway.kernel.web.show import visible
from gateway.kernel.web.site import Site, language_of

BACKLOG: Final = 1000
"""Records of the log that are looked through for the first rows."""
ROWS: Final = 300
"""Rows that wait for one reader at most; also how many the page keeps."""


class LiveDecisions:
    """Serves `GET /decisions/stream`."""

    def __init__(self, app: web.Application, site: Site, feed: Feed, others: Others | None, zone: timezone) -> None:
        """`feed` is this process's own log, `others` those of the processes beside it."""
        self._site = site
        self._feed = feed
        self._others = others
        self._slot: Final = others.slot if others is not None else 1
        self._zone = zone
        self._streams = EventStreams(app)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Send the kept rows that the reader has not seen (`Last-Event-ID` is a `Position`), then new ones."""
        language = language_of(request)
        outbox = Outbox(ROWS)
        position = Position(request.headers.get("Last-Event-ID", ""))

        def text(key: str) -> str:
            return self._site.text(language, key) if self._site.has_text(key) else visible(key.partition(".")[2], 60)

        def row(slot: int, index: int, record: Record) -> Event | None:
            return row_event(position.advance(slot, index), record, text, self._zone)

        def put(slot: int, index: int, record: Record) -> None:
            new = row(slot, index, record)
            if new is not None:
                outbox.put(new)

        async with contextlib.AsyncExitStack() as stack:
            if self._others is not None:
                await stack.enter_async_context(self._others.following())
            unseen = [entry for entry in self._kept() if not position.has(*entry[:2])]
            rows = [new for entry in unseen if (new := row(*entry))]
            for new in rows[-ROWS:]:
                outbox.put(new)
            stack.callback(self._feed.subscribe(lambda index, record: put(self._slot, index, record)))
            if self._others is not None:
                stack.callback(self._others.subscribe(put))
            return await self._streams.serve(request, outbox)

    def _kept(self) -> list[tuple[int, int, Record]]:
        """The newest records of all logs, oldest first; those of one log in its own order, whatever its clock did."""
        logs = {self._slot: [(self._slot, index, record) for index, record in self._feed.recent(BACKLOG)]}
        for entry in self._others.recent(BACKLOG) if self._others is not None else ():
            logs.setdefault(entry[0], []).append(entry)
        return [entry for _, entry in heapq.merge(*map(_timed, logs.values()), key=lambda timed: timed[0])]


def _timed(entries: list[tuple[int, int, Record]]) -> Iterator[tuple[str, tuple[int, int, Record]]]:
    latest = ""
    for entry in entries:
        latest = max(latest, entry[2].at)
        yield latest, entry

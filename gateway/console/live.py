"""The live page's stream: the newest records first seen, then each as it is written."""

from datetime import timezone
from typing import Final

from aiohttp import web

from gateway.console.parts import Feed
from gateway.console.rows import row_event
from gateway.domain.record import Record
from gateway.kernel.web.events import EventStreams, Outbox
from gateway.kernel.web.show import visible
from gateway.kernel.web.site import Site, language_of

BACKLOG: Final = 1000
"""Records of the log that are looked through for the first rows."""
ROWS: Final = 300
"""Rows that wait for one reader at most; also how many the page keeps."""


class LiveDecisions:
    """Serves `GET /decisions/stream`."""

    def __init__(self, app: web.Application, site: Site, feed: Feed, zone: timezone) -> None:
        self._site = site
        self._feed = feed
        self._zone = zone
        self._streams = EventStreams(app)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Send the kept rows that the reader has not seen (`Last-Event-ID` is an index of the log), then new ones."""
        language = language_of(request)
        outbox = Outbox(ROWS)

        def text(key: str) -> str:
            return self._site.text(language, key) if self._site.has_text(key) else visible(key.partition(".")[2], 60)

        def put(index: int, record: Record) -> None:
            row = row_event(index, record, text, self._zone)
            if row is not None:
                outbox.put(row)

        given = request.headers.get("Last-Event-ID", "")
        seen = int(given) if given.isascii() and given.isdigit() and len(given) < 16 else -1  # noqa: PLR2004  digits of a safe integer
        rows = [
            row
            for index, record in self._feed.recent(BACKLOG)
            if index > seen and (row := row_event(index, record, text, self._zone))
        ]
        for row in rows[-ROWS:]:
            outbox.put(row)
        unsubscribe = self._feed.subscribe(put)
        try:
            return await self._streams.serve(request, outbox)
        finally:
            unsubscribe()

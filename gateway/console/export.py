"""Handing the log out as a file: who asked for what is on disk in the log before the first byte leaves."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from gateway.audit.query import Filters, parse_moment
from gateway.console.parts import ConsoleParts, Format
from gateway.console.recording import Recorder
from gateway.kernel.web.site import STREAMING, Site, language_of

FORMATS: Final[dict[str, tuple[Format, str]]] = {
    "csv": ("csv", "text/csv; charset=utf-8"),
    "jsonl": ("jsonl", "application/x-ndjson; charset=utf-8"),
}
OUTCOMES: Final = ("allow", "challenge", "deny", "refuse", "unavailable", "success", "failure")
FIELDS: Final = ("format", "since", "until", "person", "patient", "app", "outcome")
_MAX_TEXT: Final = 200
_PIECE: Final = 64 * 1024


class Export:
    """Serves `GET /export`: the form without `format`, the file with it."""

    def __init__(self, site: Site, parts: ConsoleParts, recorder: Recorder) -> None:
        self._site = site
        self._parts = parts
        self._recorder = recorder

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Show the form, say what is wrong with it, or stream the file."""
        given = {name: request.query.get(name, "").strip() for name in FIELDS}
        if not given["format"]:
            await self._recorder.viewed(request)
            return self._form(request, given, {})
        asked = self._parse(given)
        if isinstance(asked, dict):
            await self._recorder.viewed(request)
            return self._form(request, given, asked)
        return await self._stream(request, given, asked)

    def _parse(self, given: Mapping[str, str]) -> Filters | dict[str, str]:
        """Return the filters, or the text keys of what is wrong, by field."""
        wrong: dict[str, str] = {}
        moments: dict[str, float | None] = {"since": None, "until": None}
        for name in moments:
            try:
                moments[name] = parse_moment(given[name], self._parts.zone, end=name == "until") if given[name] else None
            except (ValueError, OverflowError, OSError):
                wrong[name] = "moment"
        since, until = moments["since"], moments["until"]
        if since is not None and until is not None and since >= until:
            wrong["until"] = "order"
        wrong |= {name: "long" for name in ("person", "patient", "app") if len(given[name]) > _MAX_TEXT}
        if given["outcome"] and given["outcome"] not in OUTCOMES:
            wrong["outcome"] = "choose"
        if given["format"] not in FORMATS:
            wrong["format"] = "choose"
        if wrong:
            return wrong
        texts = {name: given[name] or None for name in ("person", "patient", "app", "outcome")}
        return Filters(since=since, until=until, **texts)

    def _form(self, request: web.Request, values: Mapping[str, str], wrong: Mapping[str, str]) -> web.Response:
        status = 422 if wrong else 200
        return self._site.render(
            request,
            "export.html",
            status,
            values=values,
            wrong=wrong,
            outcomes=OUTCOMES,
            formats=list(FORMATS),
            zone=self._parts.zone,
        )

    async def _stream(self, request: web.Request, given: Mapping[str, str], filters: Filters) -> web.StreamResponse:
        form, content_type = FORMATS[given["format"]]
        await self._recorder.announced(request, "console.export", "log", {name: value for name, value in given.items() if value})
        steps = await asyncio.to_thread(self._parts.export, form, filters, language_of(request))
        pieces = _Pieces(steps)
        try:
            piece = await asyncio.to_thread(pieces.take)  # a log that can't be read is still an error page
            response = web.StreamResponse(headers=self._headers(form, content_type))
            request[STREAMING] = True
            await response.prepare(request)
            while piece:
                await response.write(piece)
                piece = await asyncio.to_thread(pieces.take)
        except ConnectionResetError:
            raise  # the reader left: its affair
        except Exception as error:
            await self._recorder.failed(request, "console.export", "log", f"stopped half-way: {type(error).__name__}")
            raise
        finally:
            # Shielded: a cancelled request must not leave files open behind a generator that nobody steps any more.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, pieces.close))
        return response

    def _headers(self, form: Format, content_type: str) -> dict[str, str]:
        stamp = datetime.fromtimestamp(self._parts.clock.now(), UTC).strftime("%Y%m%dT%H%M%SZ")
        return {
            "Content-Type": content_type,
            "Content-Disposition": f'attachment; filename="gateway-log-{stamp}.{form}"',
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }


class _Pieces:
    """Steps through an exporter in worker threads: one step at a time, and never again once closed."""

    def __init__(self, steps: Iterator[bytes]) -> None:
        self._steps = steps
        self._lock = threading.Lock()

    def take(self) -> bytes:
        """Return the next 64 KiB or more; empty at the end."""
        with self._lock:
            piece = bytearray()
            while len(piece) < _PIECE and (step := next(self._steps, None)) is not None:
                piece += step
            return bytes(piece)

    def close(self) -> None:
        """Let the exporter tidy up; waits for a step under way."""
        with self._lock:
            close = getattr(self._steps, "close", None)
            if close is not None:
                close()

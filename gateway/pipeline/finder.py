"""The route of a request line, remembered: the table never changes, so the same line always finds the same route."""

from typing import Final

import msgspec

from gateway.domain.reason import RefuseReason
from gateway.domain.request import Request
from gateway.domain.route import Match, RouteTable
from gateway.kernel.recent import Recent
from gateway.pipeline.gather import target_facts
from gateway.policy.facts import TargetFacts

MAX_LINES: Final = 4096
"""Request lines whose route is remembered."""
MAX_LINE: Final = 512
"""Characters; the route of a longer line is looked for each time."""


class Found(msgspec.Struct):
    """The route of a request line, and what it means to the policies."""

    match: Match
    target: TargetFacts


class Finder:
    """Finds routes in a table."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._lines: Recent[tuple[str, str, str, str, bool], Found] = Recent(MAX_LINES)

    def find(self, request: Request) -> Found | RefuseReason:
        """Return the route, or why there is none: `RouteTable.find`."""
        line = (request.host, request.path, request.query, request.method, request.websocket)
        found = self._lines.get(line)
        if found is not None:
            return found
        match = self._routes.find(request)
        if isinstance(match, RefuseReason):
            return match
        found = Found(match, target_facts(match))
        if len(request.path) + len(request.query) <= MAX_LINE:
            self._lines.put(line, found)
        return found

"""Where to: apps, their routes, and the one place where a request is matched to a route."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from gateway.domain.reason import RefuseReason
from gateway.domain.request import Refusal, Request, parse_host
from gateway.domain.target import parse_target
from gateway.kernel.errors import ConfigError

Action = Literal["read", "write", "delete", "export", "administer"]
Sensitivity = Literal["normal", "high"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request to one app. `pattern` is segments, decoded: literal, `{name}` for one segment that is not empty, `**`
    last for any rest of at least one segment. `/` is the pattern `("",)`.
    """

    id: str
    app: str
    methods: tuple[str, ...]
    """Upper-case methods; `("*",)` for any. GET stands for HEAD too (RFC 9110 §9.3.2)."""
    pattern: tuple[str, ...]
    action: Action
    sensitivity: Sensitivity = "normal"
    sync: bool = False
    """Wait for the disk before the upstream sees a byte. write, delete, export and administer always do."""
    websocket: bool = False
    """Whether an upgrade is allowed here."""
    allow_parameters: bool = False
    """Whether `;` may appear in the path."""
    patient: str = ""
    """Name of the pattern place (or `query:NAME`) that holds the patient's id; empty when the route does not know it."""
    idle_seconds: int = 0
    """The longest silence once the application has been asked: before it answers, and in the middle of a body, an event stream or
    a WebSocket. 0: the door's own limits, which let event streams and WebSockets be silent for ever.
    """
    total_seconds: int = 0
    """How long an exchange may take in all; 0: as long as it likes."""


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How the instances of an application are asked whether they are well."""

    path: str
    """Asked with GET by the gateway itself, without a person; 2xx means well."""
    interval_seconds: float = 5.0
    """Between two checks, and how long one may take."""
    unhealthy_after: int = 2
    """So many checks in a row have to fail until an instance gets no new requests."""
    healthy_after: int = 2
    """And so many to pass until it gets some again."""


class App(msgspec.Struct, frozen=True, kw_only=True):
    """An application behind the gateway, reached by one host name."""

    id: str
    host: str
    """Lower case, without port."""
    upstream: str
    """`http://address:port` or `https://...`, without path."""
    upstreams: tuple[str, ...] = ()
    """Further instances of the same application."""
    health: HealthCheck | None = None
    title_ja: str
    title_en: str
    routes: tuple[Route, ...]
    headers: tuple[tuple[str, str], ...] = ()
    """Plain headers to set: (header name, fact name: `subject`, `login`, `name`, `roles`, `department`)."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A route together with what its pattern's places held."""

    app: App
    route: Route
    places: dict[str, str]
    patient: str = ""


RESERVED_SEGMENT: Final = ".gateway"
"""First segment of the gateway's own pages on every app's host."""
REST: Final = "**"
_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")
_PLACE: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\}")
_UPSTREAM: Final = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")


class RouteTable:
    """Every app's routes, checked and indexed once; finds the route of a request.

    First match wins, in the order of the app's routes. Looking up costs a dictionary access for the host and one or two for each
    segment, however many routes there are.
    """

    def __init__(self, apps: Sequence[App]) -> None:
        """Raises ConfigError for anything ambiguous: two apps on one host, two routes of one name, a route that an earlier one
        hides, a pattern or method that no request can have, a patient that the pattern does not know.
        """
        _check(apps)
        self._hosts: Final = {app.host: _HostRoutes(app) for app in apps}

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts of all apps."""
        return frozenset(self._hosts)

    def find(self, request: Request) -> Match | RefuseReason:
        """Return the route of a canonical request, with everything checked that depends on the route."""
        return self.match(request.host, request.segments, request.method, query=request.query, websocket=request.websocket)

    def match(
        self, host: str, segments: tuple[str, ...], method: str, *, query: str = "", websocket: bool = False
    ) -> Match | RefuseReason:
        """Return the first route that matches, or why none does: HOST_UNKNOWN, NO_ROUTE, METHOD (the path exists, the method
        not), TARGET_PARAMETERS (a `;` that the route did not ask for), TARGET_ENCODING (the patient in the query is given twice
        or is not UTF-8), UPGRADE (a WebSocket where the route has none).

        A path that an application could take for another route's (other case, `;` parameters, a trailing slash, dot or space,
        full-width letters) is NO_ROUTE: it was meant to slip past the first one.
        """
        routes = self._hosts.get(host)
        if routes is None:
            return RefuseReason.HOST_UNKNOWN
        route = routes.first(segments, method)
        if isinstance(route, RefuseReason):
            return route
        parameters = any(";" in segment for segment in segments)
        if parameters and not route.allow_parameters:
            return RefuseReason.TARGET_PARAMETERS
        if routes.has_lookalike(segments, method, route):
            return RefuseReason.TARGET_PARAMETERS if parameters else RefuseReason.NO_ROUTE
        if websocket and not route.websocket:
            return RefuseReason.UPGRADE
        places = _places(route, segments)
        patient = places.get(route.patient, "")
        if route.patient.startswith("query:"):
            found = _query_value(query, route.patient.removeprefix("query:"))
            if isinstance(found, RefuseReason):
                return found
            patient = found
        return Match(app=routes.app, route=route, places=places, patient=patient)


class _HostRoutes:
    """One app's routes by their segments, as they stand and as a careless application would read them."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._exact = _Index((route, route.pattern) for route in app.routes)
        self._folded = _Index(
            (route, tuple(part if _is_variable(part) else _look(part) for part in route.pattern)) for route in app.routes
        )

    def first(self, segments: tuple[str, ...], method: str) -> Route | RefuseReason:
        other_method = False
        for route in self._exact.candidates(segments):
            if _has_method(route, method):
                return route
            other_method = True
        return RefuseReason.METHOD if other_method else RefuseReason.NO_ROUTE

    def has_lookalike(self, segments: tuple[str, ...], method: str, route: Route) -> bool:
        if not any(_is_variable(part) for part in route.pattern):
            return False  # every segment was spelled out in the configuration
        looks = tuple(_look(segment) for segment in segments)
        if len(looks) > 1 and looks[-1] == "" and route.pattern[-1] != "":
            looks = looks[:-1]
        if looks == segments:
            return False
        other = next((found for found in self._folded.candidates(looks) if _has_method(found, method)), route)
        return other is not route


class _Node:
    """Where patterns stand after some segments."""

    __slots__ = ("here", "literals", "place", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.place: _Node | None = None
        """After one segment of any text."""
        self.here: list[tuple[int, Route]] = []
        """Routes whose pattern ends here, with their place in the configuration."""
        self.rest: list[tuple[int, Route]] = []
        """Routes that take any rest from here."""


class _Index:
    """Patterns as a tree of segments, so that a look-up does not depend on how many there are."""

    def __init__(self, routes: Iterable[tuple[Route, tuple[str, ...]]]) -> None:
        self._root = _Node()
        for order, (route, pattern) in enumerate(routes):
            node = self._root
            for part in pattern:
                if part == REST:
                    node.rest.append((order, route))
                    break
                if part.startswith("{"):
                    node.place = node.place or _Node()
                    node = node.place
                else:
                    node = node.literals.setdefault(part, _Node())
            else:
                node.here.append((order, route))

    def candidates(self, segments: tuple[str, ...]) -> list[Route]:
        """Return the routes whose pattern matches, in the order of the configuration."""
        found: list[tuple[int, Route]] = []
        nodes = [self._root]
        for segment in segments:
            below = []
            for node in nodes:
                found += node.rest
                literal = node.literals.get(segment)
                if literal is not None:
                    below.append(literal)
                if segment and node.place is not None:
                    below.append(node.place)
            nodes = below
        for node in nodes:
            found += node.here
        found.sort(key=itemgetter(0))
        return [route for _, route in found]


def _is_variable(part: str) -> bool:
    return part == REST or part.startswith("{")


def _has_method(route: Route, method: str) -> bool:
    return route.methods == ("*",) or method in route.methods or (method == "HEAD" and "GET" in route.methods)


def _look(segment: str) -> str:
    """The segment as the least careful application reads it."""
    plain = segment.partition(";")[0]
    plain = plain.lower() if plain.isascii() else unicodedata.normalize("NFKC", plain).casefold()
    return plain.rstrip(". ") or plain


def _places(route: Route, segments: tuple[str, ...]) -> dict[str, str]:
    pairs = zip(route.pattern, segments, strict=False)
    return {part[1:-1]: segment.partition(";")[0] for part, segment in pairs if part.startswith("{")}


def _query_value(query: str, name: str) -> str | RefuseReason:
    """The one value of a query parameter, empty when absent. Two of them, also in other case or after `;`, are refused: the
    application might take the other one.
    """
    found = []
    for pair in re.split("[&;]", query):
        key, _, value = pair.partition("=")
        if unquote_to_bytes(key.replace("+", " ")).decode("utf-8", "replace").casefold() == name.casefold():
            found.append(value)
    if len(found) > 1:
        return RefuseReason.TARGET_ENCODING
    try:
        return unquote_to_bytes(found[0].replace("+", " ")).decode("utf-8") if found else ""
    except UnicodeDecodeError:
        return RefuseReason.TARGET_ENCODING


# ---------------------------------------------------------------- checks at start-up


def _check(apps: Sequence[App]) -> None:
    _once((app.id for app in apps), "app id")
    _once((app.host for app in apps), "host")
    _once((route.id for app in apps for route in app.routes), "route id")
    for app in apps:
        where = f"app {app.id}"
        if parse_host(app.host) != app.host:
            raise ConfigError(f'"{app.host}" is no host name', where=where, todo="Write it in lower case, without port.")
        for upstream in (app.upstream, *app.upstreams):
            if not _UPSTREAM.fullmatch(upstream):
                raise ConfigError(
                    "the upstream is not scheme, host and port alone", where=where, todo='Write "http://10.0.0.5:8042".'
                )
        _once((app.upstream, *app.upstreams), f"upstream of {where}")
        if app.health is not None and isinstance(parse_target(app.health.path, max_length=1_000, max_segments=100), Refusal):
            raise ConfigError("the health path is no canonical path", where=where, todo='Write a path like "/health".')
        if not app.routes:
            raise ConfigError("there is no route, so nothing can be reached", where=where, todo="Add a route.")
        for number, route in enumerate(app.routes):
            _check_route(app, route)
            for earlier in app.routes[:number]:
                if _hides(earlier, route):
                    raise ConfigError(
                        f"it is never reached: {earlier.id} stands before it and takes all of its requests",
                        where=f"route {route.id}",
                        todo="Put the narrower route first.",
                    )


def _check_route(app: App, route: Route) -> None:
    where = f"route {route.id}"
    if route.app != app.id:
        raise ConfigError(f'it says app "{route.app}" and stands in "{app.id}"', where=where)
    if not route.methods or ("*" in route.methods and len(route.methods) > 1):
        raise ConfigError("methods are missing, or * stands beside others", where=where, todo='List them, or write ["*"].')
    for method in route.methods:
        if method != "*" and not _METHOD.fullmatch(method):
            raise ConfigError(f'"{method}" is no method', where=where, todo="Write methods in upper case.")
    if not route.pattern or route.pattern[0] == RESERVED_SEGMENT:
        raise ConfigError(f"the pattern is empty or begins with {RESERVED_SEGMENT}, which is the gateway's", where=where)
    last = len(route.pattern) - 1
    for index, part in enumerate(route.pattern):
        plain = part and part not in {".", ".."} and not set(part) & set("/\\{}*;?#%")
        if not (plain or _PLACE.fullmatch(part) or (index == last and part in {"", REST})):
            raise ConfigError(
                f'no request can match the segment "{part}"', where=where, todo="Write text, {name}, or ** at the end."
            )
    places = [part[1:-1] for part in route.pattern if part.startswith("{")]
    _once(places, f"place in {where}")
    if route.patient and not route.patient.startswith("query:") and route.patient not in places:
        raise ConfigError(f'the pattern has no place "{route.patient}" for the patient', where=where)


def _once(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f'the {what} "{name}" is there twice', todo="Give each its own.")
        seen.add(name)


def _hides(earlier: Route, later: Route) -> bool:
    """Whether every request of `later` is one of `earlier`."""
    if earlier.methods != ("*",) and not all(_has_method(earlier, method) for method in later.methods):
        return False
    for index, part in enumerate(earlier.pattern):
        if part == REST:
            return index < len(later.pattern)
        if index >= len(later.pattern) or later.pattern[index] == REST:
            return False
        other = later.pattern[index]
        if other == "" if part.startswith("{") else part != other:
            return False
    return len(earlier.pattern) == len(later.pattern)

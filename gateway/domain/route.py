"""Where to: apps, their routes, and the one place where a request is matched to a route."""

from typing import Literal

import msgspec

Action = Literal["read", "write", "delete", "export", "administer"]
Sensitivity = Literal["normal", "high"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request to one app. `pattern` is segments: literal, `{name}` for one segment, `**` last for any rest."""

    id: str
    app: str
    methods: tuple[str, ...]
    """Upper-case methods; `("*",)` for any."""
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


class App(msgspec.Struct, frozen=True, kw_only=True):
    """An application behind the gateway, reached by one host name."""

    id: str
    host: str
    """Lower case, without port."""
    upstream: str
    """`http://address:port` or `https://...`, without path."""
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

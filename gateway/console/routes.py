"""The console as the gateway sees it: an app with routes, for the policies to speak of."""

from typing import Final

from gateway.domain.route import App, Route

APP_ID: Final = "console"


def _read(name: str, *pattern: str) -> Route:
    return Route(id=f"console.{name}", app=APP_ID, methods=("GET",), pattern=pattern, action="read")


def _administer(name: str, *pattern: str) -> Route:
    return Route(id=f"console.{name}", app=APP_ID, methods=("POST",), pattern=pattern, action="administer", sensitivity="high")


ROUTES: Final = (
    _read("home", ""),
    _read("stream", "decisions", "stream"),
    _read("sessions", "sessions"),
    _administer("revoke", "sessions", "{session}", "revoke"),
    _read("devices", "devices"),
    _administer("device", "devices", "{device}", "{change}"),
    _read("policies", "policies"),
    Route(id="console.export", app=APP_ID, methods=("GET",), pattern=("export",), action="export", sensitivity="high"),
    _read("static", "static", "**"),
)


def console_app(host: str, upstream: str) -> App:
    """Return the console as an app of the gateway: `host` as people know it, `upstream` where it listens."""
    return App(id=APP_ID, host=host, upstream=upstream, title_ja="管理コンソール", title_en="Security console", routes=ROUTES)

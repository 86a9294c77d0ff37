"""The console as the gateway sees it: an app with routes, for the policies to speak of."""

from typing import Final

from gateway.console import emergency_routes, policy_routes, replay_routes
from gateway.console.explain_routes import EXPLAIN_ROUTES
from gateway.console.grants_routes import GRANT_ROUTES
from gateway.domain.route import App, Route

APP_ID: Final = "console"


def _read(name: str, *pattern: str) -> Route:
    return Route(id=f"console.{name}", app=APP_ID, methods=("GET",), pattern=pattern, action="read")


def _administer(name: str, *pattern: str, method: str = "POST") -> Route:
    return Route(id=f"console.{name}", app=APP_ID, methods=(method,), pattern=pattern, action="administer", sensitivity="high")


def _export(name: str, *pattern: str) -> Route:
    return Route(id=f"console.{name}", app=APP_ID, methods=("GET",), pattern=pattern, action="export", sensitivity="high")


ROUTES: Final = (
    _read("home", ""),
    _read("stream", "decisions", "stream"),
    _read("sessions", "sessions"),
    _administer("revoke", "sessions", "{session}", "revoke"),
    _read("devices", "devices"),
    _administer("device", "devices", "{device}", "{change}"),
    _read("policies", "policies"),
    _export("export", "export"),
    _read("proofing", "proofing"),
    _export("proofing-export", "proofing", "export"),
    _read("proofing-person", "proofing", "people", "{person}"),
    _administer("proofing-end", "proofing", "people", "{person}", "end"),
    _administer("proofing-delete", "proofing", "people", "{person}", "delete"),
    _read("proofing-review", "proofing", "review"),
    # Looking at both sides of a case is an officer's act, and needs what their acts need; so does the form at the counter, which
    # is not to be filled in before the key is touched.
    _administer("proofing-case", "proofing", "cases", "{case}", method="GET"),
    _administer("proofing-decide", "proofing", "cases", "{case}", "decide"),
    _administer("proofing-counter", "proofing", "counter", method="GET"),
    _administer("proofing-check", "proofing", "counter"),
    _administer("proofing-invitees", "proofing", "invite", method="GET"),
    _administer("proofing-choose", "proofing", "invite", "choose"),
    _administer("proofing-invite", "proofing", "invite"),
    _read("proofing-batches", "proofing", "batches"),
    _read("proofing-batch", "proofing", "batches", "{batch}"),
    _read("proofing-rechecks", "proofing", "rechecks"),
    _administer("proofing-recheck", "proofing", "rechecks"),
    *policy_routes.routes(),
    *EXPLAIN_ROUTES,
    *replay_routes.routes(),
    *GRANT_ROUTES,
    *emergency_routes.routes(),
    _read("static", "static", "**"),
)


def console_app(host: str, upstream: str) -> App:
    """Return the console as an app of the gateway: `host` as people know it, `upstream` where it listens."""
    return App(id=APP_ID, host=host, upstream=upstream, title_ja="管理コンソール", title_en="Security console", routes=ROUTES)

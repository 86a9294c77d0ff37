"""The routes of grants and of the emergency in the console, as the gateway's policies see them."""

from typing import Final

from gateway.domain.route import Route

APP: Final = "console"


def _one(name: str, method: str, *pattern: str) -> Route:
    looking = method == "GET"
    return Route(
        id=f"console.{name}", app=APP, methods=(method,), pattern=pattern, action="read" if looking else "administer",
        sensitivity="normal" if looking else "high",
    )  # fmt: skip


GRANT_ROUTES: Final = (
    _one("grants", "GET", "grants"),
    _one("grant-form", "GET", "grants", "new"),
    _one("grant-give", "POST", "grants", "new"),
    _one("emergency-declare", "POST", "grants", "emergency"),
    _one("emergency-lift", "POST", "grants", "emergency", "{emergency}", "end"),
    _one("grant", "GET", "grants", "{grant}"),
    _one("grant-approve", "POST", "grants", "{grant}", "approve"),
    _one("grant-decline", "POST", "grants", "{grant}", "decline"),
    _one("grant-end", "POST", "grants", "{grant}", "end"),
)

"""The routes of the pages that explain decisions, as the gateway knows them: looking, and asking what if; nothing changes."""

from typing import Final, Literal

from gateway.domain.route import Route


def _read(name: str, *pattern: str, method: Literal["GET", "POST"] = "GET") -> Route:
    return Route(id=f"console.{name}", app="console", methods=(method,), pattern=pattern, action="read")


EXPLAIN_ROUTES: Final = (
    _read("explain", "policies", "explain"),
    _read("what-if", "policies", "what-if"),
    _read("what-if-ask", "policies", "what-if", method="POST"),
)

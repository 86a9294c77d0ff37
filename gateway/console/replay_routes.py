"""The routes of a draft's replay, as the gateway knows them. A replay changes nothing: all of it is reading."""

from typing import Final, Literal

from gateway.domain.route import Route

_REPLAY: Final = ("policies", "drafts", "{draft}", "replay")


def _route(name: str, *more: str, method: Literal["GET", "POST"] = "GET") -> Route:
    return Route(id=f"console.{name}", app="console", methods=(method,), pattern=(*_REPLAY, *more), action="read")


def routes() -> tuple[Route, ...]:
    """Return them."""
    return (
        _route("draft-replay"),
        _route("draft-replay-start", method="POST"),
        _route("draft-replay-progress", "progress"),
        _route("draft-replay-cancel", "cancel", method="POST"),
    )

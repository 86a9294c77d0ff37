"""The routes of the break-glass pages, for the policies to speak of."""

from gateway.domain.route import Route


def routes() -> tuple[Route, ...]:
    """Return the routes of these pages, for the policies."""

    def route(name: str, method: str, *pattern: str) -> Route:
        looking = method == "GET"
        return Route(
            id=f"console.{name}", app="console", methods=(method,), pattern=("emergencies", *pattern),
            action="read" if looking else "administer", sensitivity="normal" if looking else "high",
        )  # fmt: skip

    return (
        route("emergencies", "GET"),
        route("emergency", "GET", "{emergency}"),
        route("emergency-end", "POST", "{emergency}", "end"),
        route("emergency-review", "POST", "{emergency}", "review"),
        route("notice-told", "POST", "notices", "{notice}", "told"),
    )

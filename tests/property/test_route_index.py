"""The tree of patterns finds the route that a walk over all of them, in order, would find."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.route import REST, Route, _Index

_parts = st.sampled_from(["a", "b", "c", "{x}", "{y}"])
_patterns = st.one_of(
    st.lists(_parts, min_size=1, max_size=4).map(tuple),
    st.lists(_parts, max_size=3).map(lambda parts: (*parts, REST)),
    st.lists(_parts, max_size=3).map(lambda parts: (*parts, "")),
)
_segments = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=4).flatmap(
    lambda parts: st.sampled_from([tuple(parts) or ("",), (*parts, "")])
)


def fits(pattern: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    """RFC-less and slow: what the documentation of `Route.pattern` says, word for word."""
    if pattern[-1] == REST:
        return len(segments) >= len(pattern) and all(map(one, pattern[:-1], segments))
    return len(segments) == len(pattern) and all(map(one, pattern, segments))


def one(part: str, segment: str) -> bool:
    return segment != "" if part.startswith("{") else part == segment


@settings(max_examples=500)
@given(st.lists(_patterns, min_size=1, max_size=12), _segments)
def test_candidates_are_all_that_fit_in_order(patterns: list[tuple[str, ...]], segments: tuple[str, ...]) -> None:
    routes = [
        Route(id=str(number), app="a", methods=("*",), pattern=pattern, action="read") for number, pattern in enumerate(patterns)
    ]
    found = _Index((route, route.pattern) for route in routes).candidates(segments)
    assert found == [route for route in routes if fits(route.pattern, segments)]

import pytest

from gateway.domain.reason import RefuseReason
from gateway.domain.refusal import Refusal
from gateway.domain.target import Target, parse_target


def parse(text: str) -> Target | Refusal:
    return parse_target(text, max_length=8_000, max_segments=100)


@pytest.mark.parametrize(
    ("text", "segments", "query"),
    [
        ("/", ("",), None),
        ("/?", ("",), ""),
        ("/a", ("a",), None),
        ("/a/", ("a", ""), None),
        ("/a/b?x=1&y", ("a", "b"), "x=1&y"),
        ("/a?b?c", ("a",), "b?c"),
        ("/%E6%82%A3%E8%80%85/1", ("患者", "1"), None),
        ("/%e6%82%a3", ("患",), None),
        ("/a%20b", ("a b",), None),
        ("/100%25", ("100%",), None),
        ("/a:b@c!$&'()*+,;=", ("a:b@c!$&'()*+,;=",), None),
        ("/a%3Bb", ("a;b",), None),
        ("/...", ("...",), None),
        ("/a..b", ("a..b",), None),
        ("/x?q=%8E%52&r=%2F%2e%2e", ("x",), "q=%8E%52&r=%2F%2e%2e"),
        ('/x?q=[1]|{2}\\^`"<>', ("x",), 'q=[1]|{2}\\^`"<>'),
    ],
)
def test_what_passes_is_unchanged(text: str, segments: tuple[str, ...], query: str | None) -> None:
    found = parse(text)
    assert isinstance(found, Target)
    assert found.segments == segments
    assert (found.query, found.has_query) == (query or "", query is not None)
    assert (f"{found.path}?{found.query}" if found.has_query else found.path) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", RefuseReason.TARGET_FORM),
        ("a", RefuseReason.TARGET_FORM),
        ("/a?%00", RefuseReason.TARGET_ENCODING),
        ("/a?%", RefuseReason.TARGET_ENCODING),
        ("/a?x y", RefuseReason.TARGET_BYTES),
        ("/a?x#y", RefuseReason.TARGET_BYTES),
        ("/a?é", RefuseReason.TARGET_BYTES),
        ("/a\n", RefuseReason.TARGET_BYTES),
        ("/a\n/b", RefuseReason.TARGET_BYTES),
        ("/a?x\n", RefuseReason.TARGET_BYTES),
        ("/%7Euser", RefuseReason.TARGET_ENCODING),
        ("/%E2%80%A8%C2%80", RefuseReason.TARGET_ENCODING),
        ("/%F8%88%80%80%80", RefuseReason.TARGET_ENCODING),
        ("/" + "a" * 8_000, RefuseReason.TARGET_TOO_LONG),
        ("/a" * 101, RefuseReason.TARGET_TOO_LONG),
    ],
)
def test_what_does_not(text: str, reason: RefuseReason) -> None:
    found = parse(text)
    assert isinstance(found, Refusal)
    assert found.reason is reason
    assert found.detail.isprintable()

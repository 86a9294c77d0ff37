import unicodedata
from pathlib import Path

import jinja2
import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.assertion import Claims, NotVerified
from gateway.kernel.i18n import LANGUAGES
from gateway.kernel.web.events import Event
from gateway.kernel.web.show import visible, visible_lines
from gateway.kernel.web.site import Front, Site, client_address, language_of
from tests.support.assertions import PORTAL


@given(st.text(max_size=400), st.integers(1, 500))
def test_nothing_hides_in_a_visible_text(text: str, limit: int) -> None:
    shown = visible(text, limit)
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"} for char in shown)
    assert len(shown) <= 10 * limit + 1
    if text.isascii() and text.isprintable() and len(text) <= limit:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("佐藤 恵", "佐藤 恵"),
        ("葛\U000e0100城", "葛\U000e0100城"),  # a variant form in a name
        ("a\u202eb", "a\\u{202e}b"),
        ("a\nb\tc\0", "a\\u{a}b\\u{9}c\\u{0}"),
        ("soft\u00adhyphen\ufeff", "soft\\u{ad}hyphen\\u{feff}"),
        ("\ud800", "\\u{d800}"),
        ("x" * 11, "x" * 10 + "…"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert visible(text, 10 if text.startswith("xx") else 300) == shown


def test_lines_stay_lines() -> None:
    assert visible_lines("when {\n\ta\u2066\n}\r") == "when {\n    a\\u{2066}\n}\\u{d}"


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3)))
def test_no_content_forges_an_event(content: object) -> None:
    try:
        sent = Event(name="decision", id="7", data=content).encode()
    except (UnicodeEncodeError, OverflowError):
        return  # a lone surrogate, or an integer that JSON encoders refuse: nothing is sent
    head, event, data, end, nothing = sent.split(b"\n")
    assert (head, event, end, nothing) == (b"id: 7", b"event: decision", b"", b"")
    assert data.startswith(b"data: ")
    assert b"\r" not in sent


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 2001:db8::1 ", "2001:db8::1"),
        ("", ""),
        ("192.0.2.7, 10.0.0.1", ""),
        ("unknown", ""),
        ("<script>", ""),
        ("192.0.2.7:80", ""),
    ],
)
def test_the_clients_address_is_an_address_or_nothing(value: str, address: str) -> None:
    assert client_address(make_mocked_request("GET", "/", headers={"X-Forwarded-For": value})) == address


@pytest.mark.parametrize(
    ("path", "headers", "language"),
    [
        ("/", {}, "ja"),
        ("/", {"Accept-Language": "en-GB"}, "en"),
        ("/", {"Accept-Language": "en", "Cookie": "gw-lang=ja"}, "ja"),
        ("/?lang=en", {"Cookie": "gw-lang=ja"}, "en"),
        ("/?lang=fr", {"Cookie": "gw-lang=en"}, "en"),
        ("/", {"Cookie": "gw-lang=../../x", "Accept-Language": "fr"}, "ja"),
    ],
)
def test_which_language_is_spoken(path: str, headers: dict[str, str], language: str) -> None:
    assert language_of(make_mocked_request("GET", path, headers=headers)) == language


def test_a_broken_template_stops_the_start(tmp_path: Path) -> None:
    for folder in ("templates", "static", "text"):
        (tmp_path / folder).mkdir()
    for language in LANGUAGES:
        (tmp_path / "text" / f"{language}.toml").write_text("")
    (tmp_path / "templates/error.html").write_text("{% if %}")

    async def nobody(_token: str) -> Claims:
        raise NotVerified("missing")

    with pytest.raises(jinja2.TemplateSyntaxError):
        Site(tmp_path, Front(origin="http://a", portal=PORTAL), nobody, {})

"""Renders the gateway's own pages: Jinja2 with autoescape, texts from the catalogue, headers that lock the page down."""

from pathlib import Path
from typing import Any, Final

import jinja2

from gateway.domain.cookies import cookie_pairs
from gateway.domain.request import Headers
from gateway.kernel.i18n import LANGUAGE_COOKIE, Catalogue, Language, negotiate

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"


class Pages:
    """The gateway's templates in both languages."""

    def __init__(self, *, portal: str, simulated: bool) -> None:
        """`portal` is the portal's origin; `simulated` puts the demo banner on every page."""
        self._catalogue = Catalogue.load(_HERE / "text")
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._portal = portal
        self._simulated = simulated

    def text(self, language: Language, key: str, **values: object) -> str:
        """Return one text, unescaped."""
        return self._catalogue.text(language, key, **values)

    def render(self, template: str, language: Language, **values: Any) -> bytes:
        """Return a page as UTF-8."""

        def text(key: str, **places: object) -> str:
            return self._catalogue.text(language, key, **places)

        page = self._environment.get_template(template)
        return page.render(t=text, lang=language, portal=self._portal, simulated=self._simulated, **values).encode("utf-8")


def language_of(headers: Headers, query: str = "") -> Language:
    """The language to speak: `lang` in the query, else the language cookie, else Accept-Language, else Japanese."""
    chosen = next((part[5:] for part in query.split("&") if part in {"lang=ja", "lang=en"}), None)
    if chosen is None:
        chosen = next((value for name, value in cookie_pairs(headers) if name == LANGUAGE_COOKIE), None)
    accept = next((value for name, value in headers if name.lower() == "accept-language"), None)
    return negotiate(accept, chosen)

"""Renders the provider's pages: Jinja2 with autoescape, texts from the catalogue, headers that lock the page down."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import jinja2
from aiohttp import web

import idp.proofing
from gateway.kernel.i18n import LANGUAGE_COOKIE, LANGUAGES, Catalogue, Language, negotiate
from gateway.kernel.web import STYLE_PATH, page_headers
from gateway.kernel.web.show import visible
from idp.proofing.port import ProofingBackend
from idp.proofing.rehearsal import Rehearsal
from idp.web.options import PageOptions

_HERE: Final = Path(__file__).parent
_YEAR: Final = 31_536_000
_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}
_PREFERRED: Final = web.RequestKey("idp.language", str)


class Renderer:
    """The provider's templates in both languages, and its static files."""

    def __init__(self, options: PageOptions, *, secure: bool) -> None:
        self._catalogue = Catalogue.load(_HERE / "text")
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([_HERE / "templates", Path(idp.proofing.__file__).parent / "templates"]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        files = [STYLE_PATH, *(_HERE / "static").iterdir()]
        self._static = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in files if path.suffix in _TYPES}
        self._tags = {name: hashlib.sha256(body).hexdigest()[:12] for name, (body, _) in self._static.items()}
        self._environment.filters["visible"] = visible
        zone = ZoneInfo(options.zone)
        self._environment.filters["day"] = lambda at: datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M")
        self._environment.globals["static"] = lambda name: f"/static/{name}?v={self._tags[name]}"
        self._options = options
        self._unreal = _unreal(options.proofing)
        self._headers = page_headers(options.portal, *options.form_origins)
        self._secure = secure

    def page(self, request: web.Request, template: str, status: int = 200, *, here: str = "", **values: Any) -> web.Response:
        """Return a page in the request's language, and remember the language when it was just chosen.

        `here` is where the answer to a form can be looked at again (in another language); empty: nowhere.
        """
        language = language_of(request)

        def text(key: str, **places: object) -> str:
            return self._catalogue.text(language, key, **places)

        other: Language = "en" if language == "ja" else "ja"
        # Only what was got can be got again in another language. The query alone, so that no path comes back into the page.
        switch = "?" + request.rel_url.update_query(lang=other).raw_query_string if request.method == "GET" else ""
        if here and not switch:
            switch = f"{here}{'&' if '?' in here else '?'}lang={other}"
        body = self._environment.get_template(template).render(
            t=text,
            lang=language,
            other=other,
            switch=switch,
            portal=self._options.portal,
            demo=self._options.demo,
            unreal=self._unreal,
            **values,
        )
        response = web.Response(text=body, status=status, content_type="text/html", headers=self._headers)
        if request.query.get("lang") in LANGUAGES:
            response.set_cookie(
                LANGUAGE_COOKIE, language, max_age=_YEAR, path="/", httponly=True, samesite="Lax", secure=self._secure
            )
        return response

    def said(self, language: Language, key: str) -> str:
        """Return a text as it stands, places and all."""
        return self._catalogue.text(language, key)

    async def static(self, request: web.Request) -> web.Response:
        """Serve a file of `static/` or the shared style sheet; its address changes with its content."""
        found = self._static.get(request.match_info["name"])
        if found is None:
            return self.page(request, "halt.html", 404, key="not_found")
        body, kind = found
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=86400"}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)


def _unreal(backend: ProofingBackend | None) -> Literal["", "simulated", "rehearsal"]:
    """Return why a proofing here checks nobody, for the banner on each of its pages; empty: it does check."""
    if isinstance(backend, Rehearsal):
        return "rehearsal"
    return "simulated" if backend is not None and backend.simulated else ""


def prefer_language(request: web.Request, tags: Iterable[str]) -> None:
    """Let the first tag that is one of our languages count before the browser's wishes (`ui_locales`, OIDC Core §3.1.2.1)."""
    for tag in tags:
        primary = tag.split("-")[0].lower()
        if primary in LANGUAGES:
            request[_PREFERRED] = primary
            return


def language_of(request: web.Request) -> Language:
    """Return the language to speak: `?lang=`, what `prefer_language` found, the person's cookie, the browser's wish, Japanese."""
    for chosen in (request.query.get("lang"), request.get(_PREFERRED), request.cookies.get(LANGUAGE_COOKIE)):
        if chosen in LANGUAGES:
            return negotiate(None, chosen)
    return negotiate(request.headers.get("Accept-Language"))

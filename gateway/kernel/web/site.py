"""The pages of one app that stands behind the gateway: templates, texts, static files, errors, and who is signed in.

An app here believes one thing only, the assertion header (`gateway.kernel.assertion`): whatever comes without a good one gets
401, static files included. It has no session and no cookie but the language.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl

import jinja2
import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import MultiDict

from gateway.kernel.assertion import ASSERTION_HEADER, Claims, NotVerified, only_one
from gateway.kernel.i18n import LANGUAGE_COOKIE, LANGUAGES, Catalogue, Language, negotiate
from gateway.kernel.web import STYLE_PATH, page_headers
from gateway.kernel.web.show import visible, visible_lines

Verify = Callable[[str], Awaitable[Claims]]
"""Returns the claims of an assertion or raises `NotVerified`."""

CLAIMS: Final = web.RequestKey("claims", Claims)
"""Who is behind this request, verified."""
LANGUAGE: Final = web.RequestKey("language", str)
STREAMING: Final = web.RequestKey("streaming", bool)
"""Set by a handler once its reply has begun: from there on an error can only cut the connection."""

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SHARED_TEXT: Final = Path(__file__).parent / "text"
_log: Final = logging.getLogger(__name__)


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """How browsers reach the app: through the gateway."""

    origin: str
    """The app's own public origin, `http://ehr.localhost:8080`."""
    portal: str
    """The portal's origin."""
    form_origins: tuple[str, ...] = ()
    """Further origins that a form may be redirected to (signing out ends at the identity provider): CSP `form-action`."""


class PageError(Exception):
    """Ends the request with a page: texts `error.<key>.title` and `error.<key>.text`, the latter with `values` filled in."""

    def __init__(self, status: int, key: str, **values: object) -> None:
        super().__init__(key)
        self.status: Final = status
        self.key: Final = key
        self.values: Final = values


class Site:
    """Templates, texts and static files of one app, and the middleware that guards it.

    `folder` holds `templates/` (with `error.html`), `static/` and `text/`. `failures` says which exceptions are known states,
    as (status, error key). `everywhere` is known to every template.
    """

    def __init__(
        self,
        folder: Path,
        front: Front,
        verify: Verify,
        failures: Mapping[type[Exception], tuple[int, str]],
        everywhere: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.front: Final = front
        self._verify = verify
        self._failures = dict(failures)
        self._texts = (Catalogue.load(folder / "text"), Catalogue.load(_SHARED_TEXT))
        self._static = {
            path.name: _Static(path) for path in (STYLE_PATH, *(folder / "static").iterdir()) if path.suffix in _TYPES
        }
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters["visible"] = visible
        self._environment.filters["visible_lines"] = visible_lines
        self._environment.globals["static"] = lambda name: f"/static/{name}?v={self._static[name].tag}"
        self._environment.globals.update(everywhere)
        for name in self._environment.list_templates():  # a broken one stops the start, not a page
            self._environment.get_template(name)
        self._headers = page_headers(front.portal, *front.form_origins)

    def application(self, client_max_size: int = 64 * 1024) -> web.Application:
        """Return an application that serves `/static/` and admits only requests with a good assertion."""
        app = web.Application(middlewares=[self._errors, self._signed_in], client_max_size=client_max_size)
        app.router.add_get("/static/{name}", self._serve_static)
        return app

    def text(self, language: Language, key: str, /, **values: object) -> str:
        """Return a text of the app, or the shared one of that key."""
        own, shared = self._texts
        return (own if key in own.keys() else shared).text(language, key, **values)  # noqa: SIM118  a Catalogue is no dict

    def has_text(self, key: str) -> bool:
        """True when there is a text of that key."""
        return any(key in texts.keys() for texts in self._texts)  # noqa: SIM118  a Catalogue is no dict

    def render(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        """Answer with a page in the person's language."""
        language = language_of(request)

        def text(key: str, **places: object) -> str:
            return self.text(language, key, **places)

        def role(name: str) -> str:
            return text(f"role.{name}") if self.has_text(f"role.{name}") else visible(name, 40)

        page = self._environment.get_template(template).render(
            t=text,
            role=role,
            lang=language,
            front=self.front,
            claims=request.get(CLAIMS),
            language_links=self._language_links(request),
            **values,
        )
        response = web.Response(
            text=page, status=status, content_type="text/html", charset="utf-8", headers=MultiDict(self._headers)
        )
        if request.query.get("lang") in LANGUAGES:
            secure = self.front.origin.startswith("https:")
            response.set_cookie(
                LANGUAGE_COOKIE, language, max_age=31_536_000, path="/", httponly=True, samesite="Lax", secure=secure
            )
        return response

    def problem(self, request: web.Request, status: int, key: str, **values: object) -> web.Response:
        """Answer with an error page."""
        language = language_of(request)
        title = self.text(language, f"error.{key}.title")
        return self.render(request, "error.html", status, title=title, message=self.text(language, f"error.{key}.text", **values))

    def require_same_origin(self, request: web.Request) -> None:
        """Refuse (403) a change that another site's page could have sent. Browsers put Origin on every POST and WebSocket; a
        client that sends none is refused too. `Origin: null`, of a form on a page without a referrer, needs Sec-Fetch-Site.
        """
        origins = request.headers.getall("Origin", [])
        site = request.headers.get("Sec-Fetch-Site")
        ours = [self.front.origin] if site is None else [self.front.origin, "null"]
        if len(origins) != 1 or origins[0] not in ours or site not in {None, "same-origin"}:
            raise PageError(403, "cross_site")

    # ------------------------------------------------------------------

    def _language_links(self, request: web.Request) -> list[tuple[Language, str]]:
        """Query-only links, so that no path is reflected; none on the answer to a form, which can't be fetched again."""
        if request.method != "GET":
            return []
        return [(language, "?" + request.rel_url.update_query(lang=language).raw_query_string) for language in LANGUAGES]

    async def _serve_static(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            raise PageError(404, "not_found")
        return web.Response(body=found.body, headers=found.headers)

    @web.middleware
    async def _signed_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request[CLAIMS] = await self._verify(only_one(request.headers.getall(ASSERTION_HEADER, [])))
        return await handler(request)

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except PageError as error:
            return self.problem(request, error.status, error.key, **error.values)
        except NotVerified as error:
            _log.warning("%s %s: %s", request.method, visible(request.path), error)
            response = self.problem(request, 401, "not_verified")
            response.headers["WWW-Authenticate"] = "Gateway"
            return response
        except web.HTTPRequestEntityTooLarge:
            return self.problem(request, 413, "too_large")
        except web.HTTPMethodNotAllowed as error:
            response = self.problem(request, 405, "method")
            response.headers["Allow"] = error.headers["Allow"]
            return response
        except web.HTTPNotFound:
            return self.problem(request, 404, "not_found")
        except (web.HTTPException, ConnectionResetError):
            raise  # redirects of our own; a client that left
        except Exception as error:
            if request.get(STREAMING):
                raise  # the reply has begun: aiohttp cuts the connection, so that the other side sees a broken reply
            status, key = next((known for kind, known in self._failures.items() if isinstance(error, kind)), (500, "internal"))
            _log.exception("%s %s answered %d", request.method, visible(request.path), status)
            return self.problem(request, status, key)


class _Static:
    """One static file, read at start-up, named with its hash so that browsers may keep it."""

    def __init__(self, path: Path) -> None:
        self.body: Final = path.read_bytes()
        self.tag: Final = hashlib.sha256(self.body).hexdigest()[:12]
        self.headers: Final = {
            "Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, max-age=86400",
        }


def language_of(request: web.Request) -> Language:
    """The language to speak: `lang` in the query, else the language cookie, else Accept-Language, else Japanese."""
    chosen = request.query.get("lang")
    if chosen not in LANGUAGES:
        chosen = request.cookies.get(LANGUAGE_COOKIE)
    return negotiate(request.headers.get("Accept-Language"), chosen)


def client_address(request: web.Request) -> str:
    """The client's address as the gateway said it (it removes every other `X-Forwarded-For`); empty when it said none."""
    try:
        return str(ip_address(request.headers.get("X-Forwarded-For", "").strip()))
    except ValueError:
        return ""


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a plain HTML form (URL-encoded UTF-8, each name once, at most 50); PageError 400 for anything else."""
    body = await request.read()
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=50)
    except ValueError as error:
        raise PageError(400, "form") from error
    form = dict(pairs)
    if len(form) != len(pairs) or request.content_type != "application/x-www-form-urlencoded":
        raise PageError(400, "form")
    return form

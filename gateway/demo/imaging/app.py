"""The imaging viewer's routes and pages. See `create_imaging`."""

import asyncio
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from gateway.demo.assertion import KeysUnavailable
from gateway.demo.imaging.phantom import Ellipse, chest, draw, head, knee
from gateway.demo.patients import BY_ID, Patient, Text
from gateway.kernel.web.site import Front, PageError, Site, Verify, language_of


class Study:
    """A synthetic study: so many frames of one phantom."""

    def __init__(
        self, name: str, patient: str, modality: str, title: Text, frames: int, shape: Callable[[float], list[Ellipse]]
    ) -> None:
        self.id: Final = name
        self.modality: Final = modality
        self.title: Final = title
        self.frames: Final = frames
        self._patient = patient
        self._shape = shape

    @cached_property
    def patient(self) -> Patient:
        """Whose chart names this study."""
        return BY_ID[self._patient]

    def picture(self, frame: int) -> bytes:
        """Draw a frame, counted from 1, as PNG. A few dozen milliseconds of computing."""
        depth = 0.0 if self.frames == 1 else -0.9 + 1.8 * (frame - 1) / (self.frames - 1)
        return draw(self._shape(depth), seed=hash_of(self.id) + frame)


def hash_of(name: str) -> int:
    """A number that depends on `name` only."""
    return int.from_bytes(name.encode(), "big")


STUDIES: Final = (
    Study("CT-2001", "P1005", "CT", Text("頭部単純CT", "Head CT, plain"), 17, head),
    Study("XR-2002", "P1002", "XR", Text("胸部単純X線 正面", "Chest radiograph, frontal"), 1, lambda _depth: chest()),
    Study("MR-2003", "P1003", "MR", Text("右膝MRI 矢状断", "MRI of the right knee, sagittal"), 11, knee),
)
_BY_ID: Final = {study.id: study for study in STUDIES}


def create_imaging(verifier: Verify, *, front: Front) -> web.Application:
    """Return the imaging viewer, to be served on a loopback address behind the gateway.

    | route | what |
    |---|---|
    | GET / | list of studies |
    | GET /studies/{study} | viewer; with `?frame=N` the picture itself (PNG) |
    | GET /static/{name} | style and script |

    The pictures are under the study's own path, so that whoever may not see the study gets no picture of it either.
    """
    site = Site(Path(__file__).parent, front, verifier, {KeysUnavailable: (503, "keys")})
    app = site.application()
    imaging = _Imaging(site)
    app.router.add_get("/", imaging.home)
    app.router.add_get("/studies/{study}", imaging.study)
    return app


class _Imaging:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def home(self, request: web.Request) -> web.Response:
        return self._page(request, "studies.html", studies=STUDIES)

    async def study(self, request: web.Request) -> web.Response:
        found = _BY_ID.get(request.match_info["study"])
        if found is None:
            raise PageError(404, "study")
        frame = request.query.get("frame")
        if frame is None:
            return self._page(request, "study.html", study=found, middle=(found.frames + 1) // 2)
        if frame not in {str(number) for number in range(1, found.frames + 1)}:
            raise PageError(404, "frame")
        picture = await asyncio.to_thread(_picture, found.id, int(frame))
        headers = {
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'",
        }
        return web.Response(body=picture, content_type="image/png", headers=headers)

    def _page(self, request: web.Request, template: str, **values: Any) -> web.Response:
        language = language_of(request)
        return self._site.render(request, template, say=lambda text: text.say(language), **values)


@lru_cache(maxsize=64)
def _picture(study: str, frame: int) -> bytes:
    return _BY_ID[study].picture(frame)

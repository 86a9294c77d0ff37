"""The sample order entry's routes and pages. See `create_orders`."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from aiohttp import web

from gateway.demo.assertion import KeysUnavailable
from gateway.demo.ehr.cabinet import Cabinet
from gateway.demo.orders.book import NARCOTICS, ORDERS, Entry, lines, parse_entry
from gateway.demo.patients import BY_ID, PATIENTS, Patient
from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id
from gateway.kernel.web.site import CLAIMS, Front, PageError, Site, Verify, language_of, read_form

JAPAN: Final = timezone(timedelta(hours=9), "JST")


def create_orders(data_dir: Path, verifier: Verify, clock: Clock, *, front: Front) -> web.Application:
    """Return the order entry, to be served on a loopback address behind the gateway. Orders are kept under `data_dir`.

    | route | what |
    |---|---|
    | GET / | patients, and how many of their orders are open |
    | GET /patients/{patient} | a patient's orders, and the forms |
    | POST /patients/{patient}/orders | enter an order |
    | POST /patients/{patient}/orders/{order}/done | record that it was carried out |
    | POST /patients/{patient}/narcotics | order a narcotic |
    | GET /static/{name} | style |
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    site = Site(Path(__file__).parent, front, verifier, {KeysUnavailable: (503, "keys")})
    app = site.application()
    orders = _Orders(site, clock, Cabinet(data_dir, Entry))
    app.router.add_get("/", orders.home)
    app.router.add_get("/patients/{patient}", orders.patient)
    app.router.add_post("/patients/{patient}/orders", orders.enter)
    app.router.add_post("/patients/{patient}/orders/{order}/done", orders.done)
    app.router.add_post("/patients/{patient}/narcotics", orders.narcotics)
    return app


class _Orders:
    """The handlers."""

    def __init__(self, site: Site, clock: Clock, book: Cabinet[Entry]) -> None:
        self._site = site
        self._clock = clock
        self._book = book

    async def home(self, request: web.Request) -> web.Response:
        waiting = {patient.id: sum(line.done is None for line in lines(self._book.of(patient.id))) for patient in PATIENTS}
        return self._page(request, "patients.html", patients=PATIENTS, waiting=waiting)

    async def patient(self, request: web.Request) -> web.Response:
        patient = _patient(request)
        return self._page(
            request,
            "patient.html",
            patient=patient,
            lines=lines(self._book.of(patient.id)),
            orders=ORDERS,
            narcotics=NARCOTICS,
            form=new_id("ord"),
            form_narcotic=new_id("ord"),
            saved=request.query.get("saved", "") == "1",
        )

    async def enter(self, request: web.Request) -> NoReturn:
        await self._enter(request, "order")

    async def narcotics(self, request: web.Request) -> NoReturn:
        await self._enter(request, "narcotic")

    async def done(self, request: web.Request) -> NoReturn:
        patient, person = _patient(request), request[CLAIMS]
        self._site.require_same_origin(request)
        order = self._book.find(patient.id, request.match_info["order"])
        if order is None or order.kind == "done":
            raise PageError(404, "order")
        # Named by the order: said twice, it is carried out once.
        word = Entry(
            id=f"{order.id}_done", kind="done", what=order.id, author=person.name, subject=person.sub, at=int(self._clock.now())
        )
        await self._book.file(patient.id, word)
        raise web.HTTPSeeOther(f"/patients/{patient.id}?saved=1")

    async def _enter(self, request: web.Request, kind: Literal["order", "narcotic"]) -> NoReturn:
        patient, person = _patient(request), request[CLAIMS]
        self._site.require_same_origin(request)
        entry = parse_entry(await read_form(request), kind, author=person.name, subject=person.sub, at=int(self._clock.now()))
        if entry is None:
            raise PageError(422, "form")
        await self._book.file(patient.id, entry)
        raise web.HTTPSeeOther(f"/patients/{patient.id}?saved=1")

    def _page(self, request: web.Request, template: str, **values: Any) -> web.Response:
        language = language_of(request)
        return self._site.render(
            request,
            template,
            say=lambda text: text.say(language),
            moment=lambda at: datetime.fromtimestamp(at, JAPAN).strftime("%Y-%m-%d %H:%M"),
            **values,
        )


def _patient(request: web.Request) -> Patient:
    found = BY_ID.get(request.match_info["patient"])
    if found is None:
        raise PageError(404, "patient")
    return found

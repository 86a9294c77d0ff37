"""The sample EHR's routes and pages. See `create_ehr`."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from gateway.demo.assertion import KeysUnavailable
from gateway.demo.ehr.cabinet import Cabinet
from gateway.demo.ehr.documents import DocumentStore, download, human_size, uploaded_file
from gateway.demo.ehr.prescriptions import DRUGS, FORM_ID, MAX_COMMENT, MAX_DAYS, TIMINGS, Prescription, parse_prescription
from gateway.demo.ehr.streams import NoticeBoard, VitalsMonitor
from gateway.demo.patients import BY_ID, PATIENTS, Patient, Text
from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id
from gateway.kernel.web.site import CLAIMS, Front, PageError, Site, Verify, language_of, read_form

JAPAN: Final = timezone(timedelta(hours=9), "JST")
_WARDS: Final = tuple(dict.fromkeys(patient.ward for patient in PATIENTS))


def create_ehr(
    data_dir: Path,
    verifier: Verify,
    clock: Clock,
    *,
    front: Front,
    max_upload_bytes: int = 2 * 1024**3,
    vitals_interval: float = 1.0,
    notice_interval: float = 25.0,
) -> web.Application:
    """Return the sample EHR, to be served on a loopback address behind the gateway.

    `verifier` says who is behind an assertion (`gateway.demo.assertion.AssertionVerifier`). Uploads and prescriptions are kept
    under `data_dir`, which is created. Intervals are seconds.

    | route | what |
    |---|---|
    | GET / | ward overview |
    | GET /patients | list; `?ward=` a number |
    | GET /patients/{patient} | chart |
    | GET /patients/{patient}/vitals/stream | vital signs, WebSocket |
    | GET /notices/stream | notices, server-sent events |
    | POST /patients/{patient}/documents | upload, multipart, part `file` |
    | GET /patients/{patient}/documents/{name} | download |
    | GET /patients/{patient}/prescriptions/new | form |
    | POST /patients/{patient}/prescriptions | order |
    | GET /static/{name} | style and scripts |
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    site = Site(Path(__file__).parent, front, verifier, {KeysUnavailable: (503, "keys")})
    app = site.application()
    ehr = _Ehr(
        site,
        clock,
        VitalsMonitor(app, clock, vitals_interval),
        NoticeBoard(app, clock, notice_interval),
        DocumentStore(data_dir / "documents", max_upload_bytes),
        Cabinet(data_dir / "prescriptions", Prescription),
    )
    app.router.add_get("/", ehr.home)
    app.router.add_get("/patients", ehr.patients)
    app.router.add_get("/patients/{patient}", ehr.chart)
    app.router.add_get("/patients/{patient}/vitals/stream", ehr.vitals)
    app.router.add_get("/notices/stream", ehr.notices)
    app.router.add_post("/patients/{patient}/documents", ehr.upload)
    app.router.add_get("/patients/{patient}/documents/{name}", ehr.document)
    app.router.add_get("/patients/{patient}/prescriptions/new", ehr.prescription_form)
    app.router.add_post("/patients/{patient}/prescriptions", ehr.prescribe)
    return app


class _Ehr:
    """The handlers."""

    def __init__(
        self,
        site: Site,
        clock: Clock,
        monitor: VitalsMonitor,
        board: NoticeBoard,
        documents: DocumentStore,
        prescriptions: Cabinet[Prescription],
    ) -> None:
        self._site = site
        self._clock = clock
        self._monitor = monitor
        self._board = board
        self._documents = documents
        self._prescriptions = prescriptions

    async def home(self, request: web.Request) -> web.Response:
        wards = [(number, ward, sum(patient.ward == ward for patient in PATIENTS)) for number, ward in enumerate(_WARDS, 1)]
        return self._page(request, "home.html", wards=wards)

    async def patients(self, request: web.Request) -> web.Response:
        # Filtered by ward number: a name typed into the query would end in the browser's history.
        choice = request.query.get("ward", "")
        ward = _WARDS[int(choice) - 1] if choice in {str(number) for number in range(1, len(_WARDS) + 1)} else None
        shown = [patient for patient in PATIENTS if ward is None or patient.ward == ward]
        return self._page(request, "patients.html", patients=shown, ward=ward, wards=list(enumerate(_WARDS, 1)))

    async def chart(self, request: web.Request) -> web.Response:
        patient = _patient(request)
        return self._page(
            request,
            "chart.html",
            patient=patient,
            prescriptions=self._prescriptions.of(patient.id),
            documents=self._documents.of(patient.id),
            saved_document=self._documents.find(patient.id, request.query.get("document", "")),
            saved_prescription=self._prescriptions.find(patient.id, request.query.get("prescription", "")),
        )

    async def vitals(self, request: web.Request) -> web.StreamResponse:
        patient = _patient(request)
        self._site.require_same_origin(request)
        if not web.WebSocketResponse().can_prepare(request):
            raise PageError(426, "websocket_only")
        return await self._monitor.watch(request, patient)

    async def notices(self, request: web.Request) -> web.StreamResponse:
        return await self._board.listen(request)

    async def upload(self, request: web.Request) -> web.Response:
        patient = _patient(request)
        self._site.require_same_origin(request)
        title, chunks = await uploaded_file(request)
        person = request[CLAIMS]
        document = await self._documents.save(patient.id, title, chunks, author=person.name, at=int(self._clock.now()))
        self._board.post(
            Text(f"{patient.name.ja}様の書類が登録されました。", f"A document was added to the chart of {patient.name.en}.")
        )
        raise web.HTTPSeeOther(f"/patients/{patient.id}?document={document.id}#documents")

    async def document(self, request: web.Request) -> web.StreamResponse:
        patient = _patient(request)
        found = self._documents.find(patient.id, request.match_info["name"])
        if found is None:
            raise PageError(404, "not_found")
        return download(self._documents.path(patient.id, found), found)

    async def prescription_form(self, request: web.Request) -> web.Response:
        return self._form(request, _patient(request), {"form": new_id("rx")}, {})

    async def prescribe(self, request: web.Request) -> web.Response:
        patient = _patient(request)
        self._site.require_same_origin(request)
        form = await read_form(request)
        person = request[CLAIMS]
        order = parse_prescription(form, prescriber=person.name, subject=person.sub, at=int(self._clock.now()))
        if isinstance(order, dict):
            if FORM_ID.fullmatch(form.get("form", "")) is None:
                form["form"] = new_id("rx")
            return self._form(request, patient, form, order)
        if await self._prescriptions.file(patient.id, order):
            self._board.post(
                Text(f"{patient.name.ja}様に処方が登録されました。", f"A prescription was entered for {patient.name.en}.")
            )
        raise web.HTTPSeeOther(f"/patients/{patient.id}?prescription={order.id}#prescriptions")

    # ------------------------------------------------------------------

    def _form(self, request: web.Request, patient: Patient, form: Mapping[str, str], wrong: Mapping[str, str]) -> web.Response:
        values = {name: form.get(name, "") for name in ("form", "drug", "amount", "timing", "days", "comment")}
        return self._page(
            request,
            "prescribe.html",
            status=422 if wrong else 200,
            patient=patient,
            values=values,
            wrong=wrong,
            drugs=DRUGS,
            timings=TIMINGS,
            max_days=MAX_DAYS,
            max_comment=MAX_COMMENT,
        )

    def _page(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        language = language_of(request)
        now = datetime.fromtimestamp(self._clock.now(), UTC).astimezone(JAPAN)
        return self._site.render(
            request,
            template,
            status,
            say=lambda text: text.say(language),
            age=lambda patient: _age(date.fromisoformat(patient.born), now.date()),
            ago=lambda hours: (now - timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M"),
            day=lambda days: (now - timedelta(days=days)).strftime("%Y-%m-%d"),
            moment=lambda at: datetime.fromtimestamp(at, JAPAN).strftime("%Y-%m-%d %H:%M"),
            size=human_size,
            **values,
        )


def _patient(request: web.Request) -> Patient:
    found = BY_ID.get(request.match_info["patient"])
    if found is None:
        raise PageError(404, "patient")
    return found


def _age(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))

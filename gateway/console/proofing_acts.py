"""Identity proofing in the console: what a security officer does. Asked for in the log, on disk, before the office does it.

The office writes its own event of what was done, with the officer's login in `by`; `console.act` before it has the officer's
decision record, address and device.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final, NoReturn, get_args
from urllib.parse import parse_qsl, quote

from aiohttp import web

from gateway.console.page import DONE, Pages
from gateway.console.parts import ConsoleParts
from gateway.console.proofing_list import lacks
from gateway.console.proofing_port import EndReason, OfficeRefusal, ProofingOffice, Seen, Standing
from gateway.console.proofing_views import ProofingViews
from gateway.console.recording import Recorder
from gateway.kernel.ids import new_id
from gateway.kernel.web.site import CLAIMS, PageError, client_address, read_form

DUE_DAYS: Final = 30
"""The due date that is proposed."""
LONGEST_NOTE: Final = 500
_MOST_CHOICES: Final = 3_000
_BATCH: Final = re.compile(r"inv_[0-9A-Za-z]{10,40}")
_REASONS: Final[tuple[EndReason, ...]] = get_args(EndReason)


class ProofingActs:
    """The POST handlers. Each ends in a redirect with what happened in `?done=`, or in its form with what is wrong with it."""

    def __init__(self, parts: ConsoleParts, recorder: Recorder, pages: Pages, views: ProofingViews) -> None:
        self._parts = parts
        self._recorder = recorder
        self._pages = pages
        self._views = views

    # ------------------------------------------------------------------ review

    async def decide(self, request: web.Request) -> web.Response:
        """Approve or refuse a case; a refusal says why."""
        office = await self._office(request)
        form, case = await read_form(request), await self._views.find_case(request)
        verdict, note = form.get("verdict", ""), form.get("note", "").strip()
        if verdict not in {"approve", "refuse"}:
            raise PageError(400, "form")
        wrong = "note_long" if len(note) > LONGEST_NOTE else "note_missing" if verdict == "refuse" and not _says(note) else ""
        if wrong:
            await self._recorder.viewed(request)
            return await self._views.case_page(request, case, 422, wrong, note)
        claims = request[CLAIMS]
        detail = {"act": f"proofing.{verdict}", "subject": case.person.id, "login": case.person.login}
        await self._recorder.announced(request, "console.act", case.id, detail)
        outcome = await self._pages.attempt(
            request, "console.act", case.id,
            office.decide(case.id, by=claims.login, by_user=claims.sub, approve=verdict == "approve", note=note),
        )  # fmt: skip
        word = f"case_{outcome}"
        if outcome.startswith("not:"):
            word = f"not_{outcome.removeprefix('not:')}"
            await self._recorder.failed(request, "console.act", case.id, outcome.removeprefix("not:"))
        raise web.HTTPSeeOther(f"/proofing/review?done={word if word in DONE else 'changed'}")

    async def check(self, request: web.Request) -> web.Response:
        """Take what the first officer typed from a document at the counter."""
        office = await self._office(request)
        form = await read_form(request)
        names = ("login", "code", "document", "name", "birth_date", "kana")
        if not form.keys() >= set(names):
            raise PageError(400, "form")
        values = {name: form[name].strip()[:200] for name in names}
        claims = request[CLAIMS]
        seen = Seen(document=values["document"], name=values["name"], birth_date=values["birth_date"], kana=values["kana"])
        detail = {"act": "proofing.check", "document": values["document"][:40], "login": values["login"][:128]}
        await self._recorder.announced(request, "console.act", "counter", detail)
        try:
            outcome = await self._pages.attempt(
                request, "console.act", "counter",
                office.check(
                    values["login"], values["code"], seen, by=claims.login, by_user=claims.sub, address=client_address(request)
                ),
            )  # fmt: skip
        except OfficeRefusal as error:
            await self._recorder.failed(request, "console.act", "counter", "no counter")
            raise PageError(409, "proofing_no_counter") from error
        if outcome.startswith("not:"):
            why = outcome.removeprefix("not:")
            await self._recorder.failed(request, "console.act", "counter", why)
            return self._views.counter_page(request, {**values, "code": ""}, 422, why)
        raise web.HTTPSeeOther("/proofing/review?done=checked")

    # ------------------------------------------------------------------ invitations, asking again

    async def choose(self, request: web.Request) -> web.Response:
        """Show who would be invited, for the officer to say until when, and that it is so. Nothing is done yet."""
        office = await self._office(request)
        self._some_verifier(office)
        await self._recorder.viewed(request)
        pairs = await _read_choices(request)
        values = dict(pairs)
        standings = await office.standings()
        if values.get("who") == "logins":
            asked = values.get("logins", "").replace(",", " ").replace("、", " ").split()
            by_login = {one.person.login: one.person.id for one in standings}
            unknown = [login for login in asked if login.casefold() not in by_login]
            if unknown or not asked:
                return await self._views.invite_page(request, values, 422, unknown)
            people = [by_login[login.casefold()] for login in asked]
        else:
            people = [value for name, value in pairs if name == "person"]
        chosen = {"who": values.get("who", "selected"), "department": values.get("department", ""), "people": " ".join(people)}
        return self._confirmation(request, standings, {**chosen, "batch": new_id("inv"), "due": self._views.day_of(DUE_DAYS)})

    async def invite(self, request: web.Request) -> web.Response:
        """Invite those whom the officer has seen and confirmed. The batch was named on the page: sent twice, it is one."""
        office = await self._office(request)
        self._some_verifier(office)
        form = await read_form(request)
        standings = await office.standings()
        batch, due_at = form.get("batch", ""), self._end_of(form.get("due", ""))
        if not _BATCH.fullmatch(batch):
            raise PageError(400, "form")
        people, _ = _chosen(standings, form)
        if due_at is None or not people:
            await self._recorder.viewed(request)
            return self._confirmation(request, standings, form, 422, "due" if people else "nobody")
        detail = {"act": "proofing.invite", "people": str(len(people)), "due_at": str(due_at)}
        await self._recorder.announced(request, "console.act", batch, detail)
        try:
            await self._pages.attempt(
                request, "console.act", batch,
                office.invite([one.person.id for one in people], by=request[CLAIMS].login, due_at=due_at, batch=batch),
            )  # fmt: skip
        except OfficeRefusal as error:
            await self._recorder.failed(request, "console.act", batch, str(error))
            return self._confirmation(request, standings, form, 422, "refused")
        raise web.HTTPSeeOther(f"/proofing/batches/{batch}?done=invited")

    async def recheck(self, request: web.Request) -> NoReturn:
        """Begin to ask the verifier again."""
        office = await self._office(request)
        self._some_verifier(office)
        await self._recorder.announced(request, "console.act", "proofing", {"act": "proofing.recheck"})
        try:
            await self._pages.attempt(request, "console.act", "proofing", office.recheck(by=request[CLAIMS].login))
        except OfficeRefusal as error:
            await self._recorder.failed(request, "console.act", "proofing", str(error))
            raise web.HTTPSeeOther("/proofing/rechecks?done=recheck_busy") from error
        raise web.HTTPSeeOther("/proofing/rechecks?done=recheck_started")

    # ------------------------------------------------------------------ one person

    async def end(self, request: web.Request) -> NoReturn:
        """End a person's proofing."""
        office = await self._office(request)
        form = await read_form(request)
        why = next((one for one in _REASONS if one == form.get("why")), None)
        if why is None:
            raise PageError(400, "form")
        person = (await self._views.history(request)).standing.person
        detail = {"act": "proofing.end", "why": why, "login": person.login}
        await self._recorder.announced(request, "console.act", person.id, detail)
        doing = office.end(person.id, why=why, by=request[CLAIMS].login)
        ended = await self._pages.attempt(request, "console.act", person.id, doing)
        if not ended:
            await self._recorder.failed(request, "console.act", person.id, "nothing was in force")
        raise web.HTTPSeeOther(f"/proofing/people/{quote(person.id)}?done={'proofing_ended' if ended else 'nothing_to_end'}")

    async def delete(self, request: web.Request) -> web.Response:
        """Delete everything about a person's proofings, when the officer has typed whose."""
        office = await self._office(request)
        form, history = await read_form(request), await self._views.history(request)
        person = history.standing.person
        if form.get("login", "").strip().casefold() != person.login.casefold():
            await self._recorder.viewed(request)
            return self._views.person_page(request, history, 422, "delete_login")
        await self._recorder.announced(request, "console.act", person.id, {"act": "proofing.delete", "login": person.login})
        doing = office.delete(person.id, by=request[CLAIMS].login)
        if not await self._pages.attempt(request, "console.act", person.id, doing):
            await self._recorder.failed(request, "console.act", person.id, "gone meanwhile")
            raise PageError(404, "proofing_person")
        raise web.HTTPSeeOther(f"/proofing/people/{quote(person.id)}?done=proofing_deleted")

    # ------------------------------------------------------------------

    async def _office(self, request: web.Request) -> ProofingOffice:
        """Let officers through, and return the office."""
        await self._pages.require_officer(request)
        if self._parts.proofing is None:
            raise PageError(404, "proofing_absent")
        return self._parts.proofing

    @staticmethod
    def _some_verifier(office: ProofingOffice) -> None:
        """Refuse (409) what would lead nowhere."""
        if office.verifier == "none":
            raise PageError(409, "proofing_none")

    def _confirmation(
        self, request: web.Request, standings: list[Standing], form: Mapping[str, str], status: int = 200, wrong: str = ""
    ) -> web.Response:
        people, passed_over = _chosen(standings, form)
        values = {name: form.get(name, "") for name in ("who", "department", "people", "batch", "due")}
        return self._views.page(
            request, "proofing_confirm.html", status, tab="batches", people=people, passed_over=passed_over, values=values,
            wrong=wrong, first=self._views.day_of(0), last=self._views.day_of(399),
        )  # fmt: skip

    def _end_of(self, day: str) -> int | None:
        """Return when a day is over in the hospital's zone, epoch seconds; None: it is no day."""
        try:
            began = datetime.combine(date.fromisoformat(day.strip()), datetime.min.time(), self._parts.zone)
            return int((began + timedelta(days=1)).timestamp())
        except (ValueError, OverflowError):
            return None


def _chosen(standings: list[Standing], form: Mapping[str, str]) -> tuple[list[Standing], int]:
    """Return who is meant, and how many were named who have no active account."""
    who, department = form.get("who", ""), form.get("department", "")
    if who == "lacking":
        return [one for one in standings if lacks(one)], 0
    if who == "department":
        return [one for one in standings if lacks(one) and one.person.department == department], 0
    wanted = set(form.get("people", "").split())
    people = [one for one in standings if one.person.id in wanted and one.person.active]
    return people, len(wanted) - len(people)


async def _read_choices(request: web.Request) -> list[tuple[str, str]]:
    """Return the fields of a form in which a name may stand more than once; PageError 400 for what is none."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise PageError(400, "form")
    try:
        body = (await request.read()).decode("ascii")
        return parse_qsl(body, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=_MOST_CHOICES)
    except ValueError as error:
        raise PageError(400, "form") from error


def _says(note: str) -> bool:
    """Whether somebody can read anything in a note."""
    return any(char.isalnum() for char in note)

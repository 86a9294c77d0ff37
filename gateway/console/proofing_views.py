"""Identity proofing in the console: what is only looked at. Both sides of a case are for officers, and never for the person."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.proofing_list import KINDS, PAGE, counts, departments, lacks, select, to_csv, wanted_of
from gateway.console.proofing_port import Case, History, ProofingOffice
from gateway.console.recording import Recorder
from gateway.kernel.web.site import CLAIMS, PageError, Site, language_of

LOOKS_SECONDS: Final = 600
"""How long a progress page looks again by itself. Bounded, so that a page that was left open does not keep its session alive."""


class ProofingViews:
    """The GET handlers."""

    def __init__(self, site: Site, parts: ConsoleParts, recorder: Recorder, pages: Pages) -> None:
        self._site = site
        self._parts = parts
        self._recorder = recorder
        self._pages = pages

    # ------------------------------------------------------------------ staff

    async def staff(self, request: web.Request) -> web.Response:
        """Everybody and how they stand, a page of a hundred at a time."""
        await self._recorder.viewed(request)
        if self._parts.proofing is None:
            return self._pages.show(request, "proofing_absent.html")
        office = self._parts.proofing
        wanted = wanted_of(request.query, office.expiring_days)
        standings = await office.standings(wanted.days)
        found = select(standings, wanted)
        pages = max(1, -(-len(found) // PAGE))
        page = min(wanted.page, pages)
        return self.page(
            request, "proofing.html", tab="staff", wanted=wanted, kinds=KINDS, counts=counts(standings), found=len(found),
            standings=found[(page - 1) * PAGE : page * PAGE], page=page, pages=pages,
        )  # fmt: skip

    async def export(self, request: web.Request) -> web.Response:
        """The same list as a file, all of it."""
        office = self._office()
        wanted = wanted_of(request.query, office.expiring_days)
        asked = {"kind": wanted.kind, "days": str(wanted.days), "q": wanted.text}
        await self._recorder.announced(
            request, "console.export", "proofing", {key: value for key, value in asked.items() if value}
        )
        language = language_of(request)
        zone = self._parts.zone

        def text(key: str) -> str:
            return self._site.text(language, key)

        def moment(at: int) -> str:
            return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")

        stamp = datetime.fromtimestamp(self._parts.clock.now(), UTC).strftime("%Y%m%dT%H%M%SZ")
        return web.Response(
            body=to_csv(select(await office.standings(wanted.days), wanted), text, moment),
            headers={
                "Content-Type": "text/csv; charset=utf-8",
                "Content-Disposition": f'attachment; filename="proofing-{stamp}.csv"',
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "no-store",
            },
        )

    async def person(self, request: web.Request) -> web.Response:
        """One person's history, and what an officer can do about it."""
        await self._recorder.viewed(request)
        return self.person_page(request, await self.history(request))

    async def history(self, request: web.Request) -> History:
        """Return whom the path names, or end with 404."""
        found = await self._office().history(request.match_info["person"])
        if found is None:
            raise PageError(404, "proofing_person")
        return found

    def person_page(self, request: web.Request, history: History, status: int = 200, wrong: str = "") -> web.Response:
        """Show it; `wrong` names what was wrong with the form."""
        return self.page(request, "proofing_person.html", status, tab="staff", history=history, wrong=wrong)

    # ------------------------------------------------------------------ review

    async def review(self, request: web.Request) -> web.Response:
        """What waits for officers, oldest first, and what was decided lately."""
        await self._recorder.viewed(request)
        cases = await self._office().cases(all_of_them=True)
        now = self._parts.clock.now()
        waiting = [case for case in cases if case.state == "open" and now < case.expires_at]
        over = [case for case in reversed(cases) if case not in waiting][:50]
        return self.page(request, "proofing_review.html", tab="review", waiting=waiting, over=over)

    async def case(self, request: web.Request) -> web.Response:
        """A case with both sides, for an officer who is not its person."""
        await self._pages.require_officer(request)
        await self._recorder.viewed(request)
        return await self.case_page(request, await self.find_case(request))

    async def find_case(self, request: web.Request) -> Case:
        """Return the case that the path names, or end with 404."""
        found = await self._office().case(request.match_info["case"])
        if found is None:
            raise PageError(404, "proofing_case")
        return found

    async def case_page(
        self, request: web.Request, case: Case, status: int = 200, wrong: str = "", note: str = ""
    ) -> web.Response:
        """Show it; `wrong` names what was wrong with the form, `note` is what stood in it."""
        claims = request[CLAIMS]
        own = case.person.id == claims.sub or case.person.login == claims.login
        # What the card says may be somebody else's, and is no affair of the person whose case it is.
        sides = None if own else await self._office().sides(case.id)
        state = "expired" if case.state == "open" and self._parts.clock.now() >= case.expires_at else case.state
        return self.page(
            request, "proofing_case.html", status, tab="review", case=case, state=state, own=own, sides=sides,
            second=case.kind == "in_person" and bool(case.first_by), first_self=case.first_by == claims.login, wrong=wrong,
            note=note,
        )  # fmt: skip

    async def counter(self, request: web.Request) -> web.Response:
        """The first officer's form at the counter."""
        await self._pages.require_officer(request)
        await self._recorder.viewed(request)
        return self.counter_page(request, {})

    def counter_page(self, request: web.Request, values: dict[str, str], status: int = 200, wrong: str = "") -> web.Response:
        """Show it."""
        documents = self._office().documents
        # What nobody sees nobody could correct.
        values = {name: "".join(char for char in value if char.isprintable()) for name, value in values.items()}
        return self.page(
            request, "proofing_counter.html", status, tab="counter", documents=documents, values=values, wrong=wrong,
            today=self.day_of(0),
        )  # fmt: skip

    # ------------------------------------------------------------------ invitations, asking again

    async def invite(self, request: web.Request) -> web.Response:
        """Choose whom to invite."""
        await self._pages.require_officer(request)
        await self._recorder.viewed(request)
        return await self.invite_page(request, {})

    async def invite_page(
        self, request: web.Request, values: dict[str, str], status: int = 200, unknown: Any = ()
    ) -> web.Response:
        """Show it; `unknown` are logins of nobody."""
        standings = await self._office().standings()
        return self.page(
            request, "proofing_invite.html", status, tab="batches", values=values, unknown=unknown,
            lacking=sum(lacks(one) for one in standings), departments=departments(standings),
        )  # fmt: skip

    async def batches(self, request: web.Request) -> web.Response:
        """All batches and how far they are."""
        await self._recorder.viewed(request)
        batches = await self._office().batches()
        return self.page(
            request, "proofing_batches.html", tab="batches", batches=batches,
            **self._ticking(request, going=any(one.open for one in batches), seconds=60),
        )  # fmt: skip

    async def batch(self, request: web.Request) -> web.Response:
        """One batch, and who is in which state."""
        await self._recorder.viewed(request)
        office, name = self._office(), request.match_info["batch"]
        progress = next((one for one in await office.batches() if one.id == name), None)
        if progress is None:
            raise PageError(404, "proofing_batch")
        people = {one.person.id: one.person for one in await office.standings()}
        members = [(people[one.person_id], one) for one in await office.invited(name) if one.person_id in people]
        order = ("overdue", "review", "open", "done")
        members.sort(key=lambda member: order.index(member[1].state))
        return self.page(
            request, "proofing_batch.html", tab="batches", batch=progress, members=members,
            **self._ticking(request, going=bool(progress.open or progress.review), seconds=60),
        )  # fmt: skip

    async def rechecks(self, request: web.Request) -> web.Response:
        """Runs of asking the verifier again, and the keys of person digests."""
        await self._recorder.viewed(request)
        office = self._office()
        runs = await office.rechecks()
        going = bool(runs) and runs[0].finished_at is None
        return self.page(
            request, "proofing_rechecks.html", tab="rechecks", runs=runs, going=going, keys=await office.keys(),
            **self._ticking(request, going=going, seconds=5),
        )  # fmt: skip

    # ------------------------------------------------------------------ shared

    def page(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        """Show a page of this part."""
        office = self._office()
        return self._pages.show(
            request,
            template,
            status,
            verifier=office.verifier,
            counter=bool(office.documents),
            has_text=self._site.has_text,
            **values,
        )

    def day_of(self, days: int) -> str:
        """Return the day so many days from now, in the hospital's zone, as a date field has it."""
        moment = datetime.fromtimestamp(self._parts.clock.now(), self._parts.zone) + timedelta(days=days)
        return moment.date().isoformat()

    def _office(self) -> ProofingOffice:
        if self._parts.proofing is None:
            raise PageError(404, "proofing_absent")
        return self._parts.proofing

    @staticmethod
    def _ticking(request: web.Request, *, going: bool, seconds: int) -> dict[str, int]:
        """When the page looks again by itself (0: it does not), and how often it has."""
        given = request.query.get("tick", "0")
        most = LOOKS_SECONDS // seconds
        tick = int(given) if given.isascii() and given.isdecimal() and len(given) <= 3 else most  # noqa: PLR2004  digits
        return {"refresh": seconds if going and tick < most else 0, "tick": tick}

"""The identity proofing step: consent, the backend's own page, its answer, and how it ended. `idp.proofing.desk` does the rest.

Where it stands is a note of its place (`idp.web.places`): every POST and every return from a verifier is answered by sending the
browser there, so that no answer stays in an address, and none is sent twice.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from aiohttp import web

from idp.bindings import Binder
from idp.model import AuthEvent, ProofingRecord, User
from idp.proofing.desk import Pending, ProofingDesk, Refused, RefusedReason, UnderReview
from idp.proofing.in_person.visits import Visits
from idp.proofing.port import Broken, BrokenKind
from idp.protocol.binding import FRESH_SECONDS, sitting
from idp.web.cookies import browser_of, session_of
from idp.web.guard import Halt, form_token
from idp.web.handover import HANDED, HandOverPages, Standing
from idp.web.parts import Parts
from idp.web.places import Place, Places
from idp.web.render import Renderer, language_of

Kind = Literal["digital_agency", "platform_operator", "jpki_sign", "jpki_auth", "in_person", "simulated"]
"""What the consent page tells apart: who reads, and what."""
_KINDS: Final[dict[str, Kind]] = {
    "jpki_auth_oidc": "digital_agency", "platform_operator": "platform_operator", "jpki_sign": "jpki_sign",
    "jpki_auth": "jpki_auth", "in_person": "in_person", "simulated": "simulated",
}  # fmt: skip
_BEGUN: Final = "begun"
_ASKING: Final = "asking"
_CONSENT: Final = "consent"
_DONE: Final = "done"
_REVIEW: Final = "review"
_BROKEN: Final[dict[BrokenKind, str]] = {"service": "broken", "reader": "reader_failed"}
_OURS: Final = frozenset({*_BROKEN.values(), "unavailable"})
"""Ends that say nothing about the person."""
_ENDS: Final = _OURS | {_REVIEW} | frozenset(name for group in get_args(RefusedReason) for name in (get_args(group) or (group,)))
_SAID: Final = {"rejected": "not_confirmed", "expired": "stale"}
"""States of a case that was not approved, and how that ends a proofing."""
_AGREED: Final = (
    "consent.compared", "consent.compared_card", "proofing.kept_result", "proofing.kept_reference", "proofing.kept_digest",
    "consent.how_long", "proofing.never", "consent.told",
)  # fmt: skip
"""Texts that are agreed to, whoever reads the card."""
_MARK: Final = 12


class ProofingPages:
    """Shows a proofing. `desk` is None where the installation proofs nobody."""

    def __init__(self, parts: Parts, desk: ProofingDesk | None, renderer: Renderer) -> None:
        self._parts, self._desk, self._renderer = parts, desk, renderer
        self.places: Final = Places(parts)
        self.phones: Final = HandOverPages(parts, desk, renderer, self.places)
        self._kind: Final[Kind | Literal[""]] = _KINDS[desk.backend.method] if desk is not None else ""
        self._binder = Binder(parts.store, parts.events, parts.clock)

    async def offer(self, user: User) -> dict[str, Any]:
        """Return what the page that asks this person for consent needs to know."""
        house, now = self._parts.settings.proofing, int(self._parts.clock.now())
        cases = (await self._parts.office.own_view(user.id)).cases
        return {
            "kind": self._kind, "place": "sign_in", "action": "/login/proofing",
            "number": "", "proofing": "", "valid_days": house.valid_days, "review_days": house.review_days,
            "waiting": [case for case in cases if case.state == "open" and now < case.expires_at],
        }  # fmt: skip

    # ------------------------------------------------------------------ going on

    async def begin(self, request: web.Request, place: Place) -> web.Response:
        """Start, after consent, in a sign-in or on the account page; go on, after consent, on a phone."""
        if self._desk is None:
            return await self._go(request, place, "unavailable")
        if place.kind == "phone":
            kind, _, name = place.note.partition(" ")
            return await self._go(request, place, f"{_BEGUN} {name}" if kind == _CONSENT else place.note)
        pending = await self._desk.begin(
            place.user, "sign_in" if place.kind == "sign_in" else "renewal", browser_of(request),
            self._parts.address_of(request), transaction_id=place.id if place.kind == "sign_in" else "",
            consent=self._agreed(request),
        )  # fmt: skip
        if isinstance(pending, Broken):
            return await self._go(request, place, _BROKEN[pending.kind])
        await self.places.point(request, pending.name, place)
        if "visit" in pending.show.values:
            visit = pending.show.values["visit"]
            await Visits(self._parts.store.once, seconds=0).remember(place.user.id, visit, await self._proved(request, place))
            await self.places.visiting(pending.name, visit)
        return await self._go(request, place, f"{_BEGUN} {pending.name}")

    async def answer(self, request: web.Request, place: Place, name: str, answer: Mapping[str, str]) -> web.Response:
        """End it with what came back, by a form or from the verifier."""
        if self._desk is None:
            return await self._go(request, place, "unavailable")
        if place.note.startswith(f"{_CONSENT} "):  # on a phone, before anybody agreed
            return _to(place)
        if place.note == f"{_ASKING} {name}":  # the same answer once more, while the first is being judged
            return _to(place)
        if await self._desk.pending(place.user, name, browser_of(request)) is not None:
            await self.places.note(request, place, f"{_ASKING} {name}")
        result = await self._desk.complete(place.user, name, browser_of(request), answer, self._parts.address_of(request))
        if isinstance(result, Refused):
            if result.reason == "stale" and place.note != f"{_BEGUN} {name}":
                # An answer to nothing changes nothing: whatever goes on goes on.
                return self._ended(request, place, "stale", here=place.again or place.here)
            if result.reason == "cancelled" and place.kind == "sign_in":
                await self.places.note(request, place, "cancelled")
                return _redirect(place.again)
            return await self._go(request, place, result.reason)
        if isinstance(result, Broken):
            return await self._go(request, place, _BROKEN[result.kind])
        if isinstance(result, UnderReview):
            await self._binder.hold(result.case_id, await self._proved(request, place))
            return await self._go(request, place, _REVIEW)
        await self._settle(request, place, result)
        return _to(place)

    async def returned(self, request: web.Request, place: Place) -> web.Response:
        """Take what a browser comes back from the verifier with; what came before is left as it is."""
        query = dict(request.query)
        name = query.get("state", "")
        found = await self._desk.returned(query, browser_of(request)) if self._desk is not None else None
        if found is None and place.note != f"{_BEGUN} {name}":
            return _to(place)
        return await self.answer(request, place, name, query)  # also what is late: it is told so

    async def leave(self, request: web.Request, place: Place) -> web.Response:
        """End what is going on here because the person will not go on."""
        kind, _, name = place.note.partition(" ")
        if self._desk is None or kind not in {_BEGUN, _CONSENT}:
            return _to(place)
        await self._desk.leave(place.user, name, browser_of(request), self._parts.address_of(request))
        return await self._go(request, place, "cancelled")

    # ------------------------------------------------------------------ looking

    async def show(self, request: web.Request, place: Place) -> web.StreamResponse | None:
        """Show where it stands or how it ended; None when there is nothing, and the step that is due is to be shown."""
        if await self._moved(request, place):
            return _to(place)  # the sign-in has to be looked at anew
        kind, _, name = place.note.partition(" ")
        if kind == _DONE and (place.over or place.kind != "sign_in"):
            record = await self._parts.store.proofing.latest(place.user.id)
            return self._done(request, place, record) if record is not None else None
        if place.over or self._desk is None:
            return self._ended(request, place, kind) if kind in _ENDS and not place.over else None
        if kind == HANDED:
            return await self.phones.waiting(request, place)
        if kind == _ASKING:
            return self._renderer.page(request, "asking.html", here=place.here, place=place)
        if kind in {_BEGUN, _CONSENT}:
            pending = await self._desk.pending(place.user, name, browser_of(request))
            if pending is None:
                return self._ended(request, place, "stale") if place.kind == "phone" else None
            return await self._consent(request, place) if kind == _CONSENT else self._begun(request, place, pending)
        return self._ended(request, place, kind) if kind in _ENDS else None

    async def _moved(self, request: web.Request, place: Place) -> bool:
        """Note what others have brought about since: a phone that took over, officers. False: nothing new."""
        kind = place.note.partition(" ")[0]
        if kind == HANDED and self._desk is not None:
            standing = await self.phones.standing(request, place)
            if standing.outcome:
                await self._over(request, place, standing)
            return standing.outcome != ""
        if kind == _BEGUN and self._kind == "in_person":
            return await self._counter_decided(request, place)
        said = await self._officers_said(place) if kind == _REVIEW and not place.over else ""
        if said:
            await self.places.note(request, place, said)
        return said != ""

    # ------------------------------------------------------------------

    async def _counter_decided(self, request: web.Request, place: Place) -> bool:
        """Note what officers have decided of the visit to the counter that began here: nobody answers for them on a page. A visit
        that began elsewhere says nothing about who sits here.
        """
        visit = await self.places.visit_of(place.note.partition(" ")[2])
        case_id = await Visits(self._parts.store.once, seconds=0).case_of(visit) if visit else None
        case = await self._parts.store.cases.get(case_id) if case_id is not None else None
        if case is None or case.user_id != place.user.id:
            return False
        record = await self._parts.store.proofing.latest(place.user.id)
        kept = record is not None and record.transaction == visit and record.in_force(int(self._parts.clock.now()))
        if case.state == "approved" and kept and record is not None:
            await self._settle(request, place, record)
            return True
        said = _SAID.get(case.state, "")
        if said:
            await self.places.note(request, place, said)
        return said != ""

    async def _officers_said(self, place: Place) -> str:
        """Return how a review that this place led to ended without a result; empty: it goes on."""
        kept = await self._parts.office.own_view(place.user.id)
        cases = [case for case in kept.cases if case.opened_at >= place.since]
        return _SAID.get(cases[-1].state, "") if cases else ""

    async def _over(self, request: web.Request, place: Place, standing: Standing) -> Place:
        """Take over what a phone has brought about. Only what this browser handed over comes here."""
        if standing.outcome == _DONE:
            record = await self._parts.store.proofing.latest(place.user.id)
            if record is None or record.transaction != standing.reference:  # another one came since, made elsewhere
                return await self.places.note(request, place, "stale")
            return await self._settle(request, place, record)
        if standing.outcome == _REVIEW:
            await self._binder.hold(standing.reference, await self._proved(request, place))
        return await self.places.note(request, place, standing.outcome)

    async def _settle(self, request: web.Request, place: Place, record: ProofingRecord) -> Place:
        """Take a result that was kept into the sitting that asked for it, and bind to it what this sitting has proved.

        `record` was made in this very sitting, here or on a phone that this browser handed over to: whoever calls knows that.
        """
        # On a phone it was only read: whoever handed over settles. Of a visit to the counter, the case bound what was proved when
        # it began: what this sitting has shown since, while the person was elsewhere, is nothing that officers saw the holder of.
        if place.kind != "phone" and self._kind != "in_person":
            await self._binder.proofed(place.user, record, await self._proved(request, place), self._parts.address_of(request))
        return await self.places.note(request, place, _DONE, proofing=record.number)

    async def _proved(self, request: web.Request, place: Place) -> tuple[AuthEvent, ...]:
        """Return what the person has proved in this sitting; nothing on a phone."""
        if place.kind == "phone":
            return ()
        if place.kind == "sign_in":
            transaction = await self._parts.flows.load(place.id, browser_of(request))
            if transaction is None or transaction.user_id != place.user.id:
                raise Halt(410, "transaction_unknown")
            return sitting(transaction.proved, transaction.session_events, transaction.created_at - FRESH_SECONDS)
        now = int(self._parts.clock.now())
        session = await self._parts.store.sessions.resolve(session_of(request), now)
        if session is None or session.user_id != place.user.id:
            raise Halt(403, "not_completed")
        return sitting((), session.events, now - FRESH_SECONDS)

    async def _go(self, request: web.Request, place: Place, note: str) -> web.Response:
        await self.places.note(request, place, note)
        return _to(place)

    def _agreed(self, request: web.Request) -> str:
        """Return a mark of the text that was agreed to: its language and the beginning of its SHA-256."""
        language = language_of(request)
        keys = [*(f"consent.{part}.{self._kind}" for part in ("who", "read")), *_AGREED]
        text = "\n".join(self._renderer.said(language, key) for key in keys)
        return f"{language} {hashlib.sha256(text.encode()).hexdigest()[:_MARK]}"

    async def _consent(self, request: web.Request, place: Place) -> web.Response:
        values = await self.offer(place.user) | {
            "place": place.kind,
            "number": place.number,
            "proofing": place.note.partition(" ")[2],
        }
        return self._renderer.page(
            request, "proofing.html", here=place.here, tx=place.id, csrf=form_token(request, place.id), error="", wait=None,
            user=place.user, may_leave=False, **values,
        )  # fmt: skip

    def _begun(self, request: web.Request, place: Place, pending: Pending) -> web.Response:
        return self._renderer.page(
            request, pending.show.template, here=place.here, tx=place.id, csrf=form_token(request, place.id), name=pending.name,
            user=place.user, show=pending.show.values, place=place,
        )  # fmt: skip

    def _done(self, request: web.Request, place: Place, record: ProofingRecord) -> web.Response:
        return self._renderer.page(request, "proofed.html", here=place.here, place=place, record=record, user=place.user)

    def _ended(self, request: web.Request, place: Place, reason: str, *, here: str = "") -> web.Response:
        return self._renderer.page(
            request, "not_proofed.html", 503 if reason in _OURS else 403, here=here or place.here, place=place, tx=place.id,
            csrf=form_token(request, place.id), reason=reason, user=place.user,
            review_days=self._parts.settings.proofing.review_days,
        )  # fmt: skip


def _to(place: Place) -> web.Response:
    return _redirect(place.here)


def _redirect(location: str) -> web.Response:
    return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})

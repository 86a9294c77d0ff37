"""A person's own identity proofing: what is kept of it, to see, to renew, to take along and to delete. Below `/account/proofing`.

To look takes a live session; to renew or to delete, a fresh second factor, as every change on the account page does.
"""

import json
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from aiohttp import web

from idp.model import ProofingRecord
from idp.proofing.letters import letter
from idp.store.kept import Kept
from idp.web.account import AccountPages, Holder
from idp.web.guard import form_token, guarded
from idp.web.parts import Parts
from idp.web.places import Place
from idp.web.proofing import ProofingPages
from idp.web.render import Renderer

_HOME: Final = "/account/proofing"
_JAPAN: Final = timezone(timedelta(hours=9))


class OwnProofing:
    """See the module. `office` in `Parts` does what is done."""

    def __init__(self, parts: Parts, account: AccountPages, proofing: ProofingPages, renderer: Renderer) -> None:
        self._parts, self._account, self._proofing, self._renderer = parts, account, proofing, renderer

    def add_routes(self, app: web.Application) -> None:
        """Add them."""
        refusals = self._parts.refusals
        for path, looking in (("", self.show), ("/start", self.ask), ("/delete", self.ask_delete)):
            app.router.add_get(f"{_HOME}{path}", guarded(looking, self._renderer, refusals), allow_head=False)
        for path, acting in (("/start", self.start), ("/export", self.export), ("/delete", self.delete)):
            app.router.add_post(f"{_HOME}{path}", guarded(acting, self._renderer, refusals))

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Show everything that is kept."""
        holder = await self._account.visitor(request)
        if not isinstance(holder, Holder):
            return holder
        user, now = holder.user, self._now()
        kept = await self._parts.office.own_view(user.id)
        newest = kept.records[-1] if kept.records else None
        current = newest if newest is not None and newest.in_force(now) else None
        soon = now + self._parts.settings.proofing.expiring_days * 86_400
        return self._page(
            request, holder, "own.html", offer=await self._proofing.offer(user), current=current,
            records=list(reversed(kept.records)),
            expiring=current is not None and current.expires_at is not None and current.expires_at <= soon,
            cases=[case for case in reversed(kept.cases) if case.state != "open" or case.expires_at <= now],
            waiting=[case for case in kept.cases if case.state == "open" and now < case.expires_at],
            invitations=kept.invitations, invited=await self._parts.office.invitation_of(user.id), now=now,
            bound=await self._bound(user.id, kept), letters={record.number: _letters(record, now) for record in kept.records},
            stated=_stated(kept), deleted="deleted" in request.query,
        )  # fmt: skip

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """Ask for consent to a renewal."""
        holder = await self._account.visitor(request)
        if not isinstance(holder, Holder):
            return holder
        if not holder.fresh:
            raise web.HTTPSeeOther(_HOME)
        values = await self._proofing.offer(holder.user) | {"place": "own", "action": f"{_HOME}/start"}
        return self._page(request, holder, "proofing.html", tx="", error="", wait=None, may_leave=False, **values)

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Begin it, after the person agreed."""
        holder, form = await self._account.changing(request)
        if form.get("consent") != "yes":
            raise web.HTTPSeeOther(f"{_HOME}/start")
        place: Place = await self._proofing.places.open(request, "own", holder.user, session_id=holder.session.id)
        return await self._proofing.begin(request, place)

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Give out everything that is kept, as a file."""
        holder, _ = await self._account.posted(request)
        data = await self._parts.office.export(holder.user.id, address=self._parts.address_of(request))
        return web.Response(
            text=json.dumps(data, ensure_ascii=False, indent=2), content_type="application/json", charset="utf-8",
            headers={
                "Content-Disposition": 'attachment; filename="identity-proofing.json"', "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            },
        )  # fmt: skip

    async def ask_delete(self, request: web.Request) -> web.StreamResponse:
        """Say what deleting means, and ask."""
        holder = await self._account.visitor(request)
        if not isinstance(holder, Holder):
            return holder
        if not holder.fresh:
            raise web.HTTPSeeOther(_HOME)
        return self._page(request, holder, "own_delete.html")

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete it."""
        holder, form = await self._account.changing(request)
        if form.get("sure") != "yes":
            raise web.HTTPSeeOther(f"{_HOME}/delete")
        await self._parts.office.delete(holder.user.id, by=holder.user.login)
        return web.Response(status=303, headers={"Location": f"{_HOME}?deleted", "Cache-Control": "no-store"})

    # ------------------------------------------------------------------

    async def _bound(self, user_id: str, kept: Kept) -> dict[int, list[dict[str, Any]]]:
        """Return what is bound to each record: its kind, a key's label (empty: removed since), and since when."""
        labels = {key.id: key.label for key in await self._parts.store.credentials.fido2(user_id)}
        found: dict[int, list[dict[str, Any]]] = {}
        for binding in kept.bindings:
            kind, _, key = binding.authenticator.partition(":")
            one = {"kind": kind, "label": labels.get(key, ""), "at": binding.bound_at}
            found.setdefault(binding.proofing, []).append(one)
        return found

    def _page(self, request: web.Request, holder: Holder, template: str, **values: Any) -> web.Response:
        token = form_token(request, self._account.scope(holder.session))
        return self._renderer.page(request, template, here=_HOME, user=holder.user, fresh=holder.fresh, csrf=token, **values)

    def _now(self) -> int:
        return int(self._parts.clock.now())


def _stated(kept: Kept) -> dict[int, list[str]]:
    """Return which entries of the staff ledger each record has confirmed."""
    found: dict[int, list[str]] = {}
    for one in kept.stated:
        found.setdefault(one.proofing, []).append(one.claim)
    return found


def _letters(record: ProofingRecord, now: int) -> tuple[str, str]:
    """Return how the law on criminal proceeds lettered the method when it was used, and today; empty: not at all."""
    days = (datetime.fromtimestamp(at, _JAPAN).date() for at in (record.verified_at, now))
    then, today = (letter(record.method, day) or "" for day in days)
    return then, today

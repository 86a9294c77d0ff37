"""The identity proofing step of a sign-in: what will be read and kept, consent, the backend's own page, and how it ended.

Where it stands is a note of the sign-in, so that a GET can show the same again, in another language too.
"""

from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec
from aiohttp import web

from idp.bindings import Binder
from idp.model import LoginTransaction, ProofingRecord, User
from idp.proofing.desk import Pending, ProofingDesk, Refused, RefusedReason, UnderReview
from idp.proofing.port import Broken
from idp.protocol.binding import FRESH_SECONDS, sitting
from idp.web.cookies import browser_of
from idp.web.guard import Halt, form_token
from idp.web.parts import Parts
from idp.web.render import Renderer

_NOTE: Final = "proofing"
_BEGUN: Final = "begun"
_DONE: Final = "done"
_REVIEW: Final = "review"
_OURS: Final = frozenset({"broken", "unavailable"})
"""Ends that say nothing about the person."""
_ENDS: Final = _OURS | {_REVIEW} | frozenset(name for group in get_args(RefusedReason) for name in (get_args(group) or (group,)))


class ProofingPages:
    """Shows a proofing; `idp.proofing.desk` does it. `desk` is None where the installation proofs nobody."""

    def __init__(self, parts: Parts, desk: ProofingDesk | None, renderer: Renderer) -> None:
        self._parts, self._desk, self._renderer = parts, desk, renderer
        self._binder = Binder(parts.store, parts.events, parts.clock)

    def offer(self, user: User | None) -> dict[str, Any]:
        """Return what the page that asks for consent needs to know."""
        backend = self._desk.backend if self._desk is not None else None
        return {"method": backend.method if backend else "", "simulated": backend.simulated if backend else False}

    async def begin(self, request: web.Request, user: User, transaction_id: str) -> web.StreamResponse:
        """Start, and show the backend's page."""
        if self._desk is None:
            return await self._end(request, transaction_id, "unavailable")
        pending = await self._desk.begin(
            user, "sign_in", browser_of(request), self._parts.address_of(request), transaction_id=transaction_id
        )
        if isinstance(pending, Broken):
            return await self._end(request, transaction_id, "broken")
        await self._note(request, transaction_id, f"{_BEGUN} {pending.name}")
        return self._begun(request, user, transaction_id, pending)

    async def complete(
        self, request: web.Request, user: User, transaction_id: str, form: Mapping[str, str]
    ) -> web.StreamResponse:
        """End it, and show how it ended."""
        if self._desk is None:
            return await self._end(request, transaction_id, "unavailable")
        answer = {name: value for name, value in form.items() if name not in {"tx", "csrf", "proofing"}}
        result = await self._desk.complete(
            user, form.get("proofing", ""), browser_of(request), answer, self._parts.address_of(request)
        )
        if isinstance(result, Broken):
            return await self._end(request, transaction_id, "broken")
        if isinstance(result, Refused):
            if result.reason == "cancelled":
                return web.Response(status=303, headers={"Location": f"/login?tx={transaction_id}", "Cache-Control": "no-store"})
            return await self._end(request, transaction_id, result.reason)
        if isinstance(result, UnderReview):
            return await self._end(request, transaction_id, _REVIEW)
        await self.settle(request, user, transaction_id, result)
        return self._done(request, user, transaction_id, result)

    async def look(
        self, request: web.Request, user: User, transaction: LoginTransaction, *, over: bool
    ) -> web.StreamResponse | None:
        """Show again what the last POST showed; None when there is nothing. `over`: the sign-in lacks nothing any more."""
        kind, _, name = transaction.notes.get(_NOTE, "").partition(" ")
        if self._desk is not None and kind == _BEGUN and not over:
            pending = await self._desk.pending(user, name, browser_of(request))
            return self._begun(request, user, transaction.id, pending) if pending is not None else None
        if kind in _ENDS and not over:
            return self._ended(request, transaction.id, kind)
        record = await self._parts.store.proofing.latest(user.id) if kind == _DONE and over else None
        return self._done(request, user, transaction.id, record) if record is not None else None

    # ------------------------------------------------------------------

    async def settle(self, request: web.Request, user: User, transaction_id: str, record: ProofingRecord) -> None:
        """Take a result that was kept into the sign-in that asked for it, and bind to it what this sitting has proved.

        `record` was made in this very sitting, here or on a phone that this browser handed over to: whoever calls knows that.
        """
        browser = browser_of(request)
        transaction = await self._parts.flows.load(transaction_id, browser)
        if transaction is None or transaction.user_id != user.id:
            raise Halt(410, "transaction_unknown")
        events = sitting(transaction.proved, transaction.session_events, transaction.created_at - FRESH_SECONDS)
        await self._binder.proofed(user, record, events, self._parts.address_of(request))
        await self._note(request, transaction_id, _DONE, proofing=record.number)

    async def _note(self, request: web.Request, transaction_id: str, note: str, *, proofing: int = 0) -> None:
        after = await self._parts.flows.update(
            transaction_id,
            browser_of(request),
            lambda old: msgspec.structs.replace(old, notes={**old.notes, _NOTE: note}, proofing=proofing or old.proofing),
        )
        if after is None:
            raise Halt(410, "transaction_unknown")

    async def _end(self, request: web.Request, transaction_id: str, reason: str) -> web.Response:
        if reason == "stale":  # an answer to nothing changes nothing: whatever goes on goes on
            return self._ended(request, transaction_id, reason, here=f"/login?tx={transaction_id}")
        await self._note(request, transaction_id, reason)
        return self._ended(request, transaction_id, reason)

    def _begun(self, request: web.Request, user: User, transaction_id: str, pending: Pending) -> web.Response:
        return self._renderer.page(
            request, pending.show.template, here=_here(transaction_id), tx=transaction_id,
            csrf=form_token(request, transaction_id), name=pending.name, user=user, show=pending.show.values,
        )  # fmt: skip

    def _done(self, request: web.Request, user: User, transaction_id: str, record: ProofingRecord) -> web.Response:
        simulated = self._desk.backend.simulated if self._desk is not None else False
        return self._renderer.page(
            request, "proofed.html", here=_here(transaction_id), tx=transaction_id, record=record, user=user, simulated=simulated
        )  # fmt: skip

    def _ended(self, request: web.Request, transaction_id: str, reason: str, *, here: str = "") -> web.Response:
        return self._renderer.page(
            request, "not_proofed.html", 503 if reason in _OURS else 403, here=here or _here(transaction_id), tx=transaction_id,
            csrf=form_token(request, transaction_id), reason=reason,
        )  # fmt: skip


def _here(transaction_id: str) -> str:
    return f"/login/proofing?tx={transaction_id}"

"""The identity proofing step of a sign-in: what will be read and kept, consent, the backend's own page, and how it ended."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from idp.model import User
from idp.proofing.desk import ProofingDesk, Refused
from idp.proofing.port import Broken
from idp.web.cookies import browser_of
from idp.web.guard import form_token
from idp.web.parts import Parts
from idp.web.render import Renderer


class ProofingPages:
    """Shows a proofing; `idp.proofing.desk` does it. `desk` is None where the installation proofs nobody."""

    def __init__(self, parts: Parts, desk: ProofingDesk | None, renderer: Renderer) -> None:
        self._parts, self._desk, self._renderer = parts, desk, renderer

    def offer(self, user: User | None) -> dict[str, Any]:
        """Return what the page that asks for consent needs to know."""
        backend = self._desk.backend if self._desk is not None else None
        return {"method": backend.method if backend else "", "simulated": backend.simulated if backend else False}

    async def begin(self, request: web.Request, user: User, transaction_id: str) -> web.StreamResponse:
        """Start, and show the backend's page."""
        if self._desk is None:
            return self._ended(request, transaction_id, 503, "unavailable")
        pending = await self._desk.begin(user, "sign_in", browser_of(request), self._parts.address_of(request))
        if isinstance(pending, Broken):
            return self._ended(request, transaction_id, 503, "broken")
        return self._renderer.page(
            request, pending.show.template, tx=transaction_id, csrf=form_token(request, transaction_id), name=pending.name,
            user=user, show=pending.show.values,
        )  # fmt: skip

    async def complete(
        self, request: web.Request, user: User, transaction_id: str, form: Mapping[str, str]
    ) -> web.StreamResponse:
        """End it, and show how it ended."""
        if self._desk is None:
            return self._ended(request, transaction_id, 503, "unavailable")
        answer = {name: value for name, value in form.items() if name not in {"tx", "csrf", "proofing"}}
        result = await self._desk.complete(
            user, form.get("proofing", ""), browser_of(request), answer, self._parts.address_of(request)
        )
        if isinstance(result, Broken):
            return self._ended(request, transaction_id, 503, "broken")
        if isinstance(result, Refused):
            if result.reason == "cancelled":
                return web.Response(status=303, headers={"Location": f"/login?tx={transaction_id}", "Cache-Control": "no-store"})
            return self._ended(request, transaction_id, 403, result.reason)
        return self._renderer.page(
            request, "proofed.html", tx=transaction_id, record=result, user=user,
            simulated=self._desk.backend.simulated,
        )  # fmt: skip

    def _ended(self, request: web.Request, transaction_id: str, status: int, reason: str) -> web.Response:
        return self._renderer.page(
            request,
            "not_proofed.html",
            status,
            here=f"/login?tx={transaction_id}",
            tx=transaction_id,
            csrf=form_token(request, transaction_id),
            reason=reason,
        )

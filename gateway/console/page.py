"""What the console's pages share: how one is shown, and who may act."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Final, TypeVar

from aiohttp import web

from gateway.console.parts import ConsoleParts
from gateway.console.policy_said import said
from gateway.console.recording import Recorder
from gateway.domain.record import EventName
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.web.site import CLAIMS, PageError, Site, language_of

T = TypeVar("T")

DONE: Final = {
    "revoked": "ok",
    "approve": "ok",
    "block": "ok",
    "unblock": "ok",
    "compliance": "ok",
    "posture": "ok",
    "gone": "warn",
    "changed": "warn",
    "case_approved": "ok",
    "case_rejected": "ok",
    "case_open": "ok",
    "checked": "ok",
    "invited": "ok",
    "recheck_started": "ok",
    "recheck_busy": "warn",
    "proofing_ended": "ok",
    "nothing_to_end": "warn",
    "proofing_deleted": "ok",
    "not_unknown": "warn",
    "not_decided": "warn",
    "not_expired": "warn",
    "not_replaced": "warn",
    "not_own_case": "error",
    "not_same_officer": "error",
    "not_inactive": "error",
    "not_over": "error",
    "not_used": "error",
    "not_keys_unknown": "error",
    "not_person_of_other_account": "error",
    "not_new_card": "error",
    "draft_begun": "ok",
    "draft_saved": "ok",
    "draft_changed": "warn",
    "draft_submitted": "ok",
    "draft_approved": "ok",
    "draft_declined": "ok",
    "draft_published": "ok",
    "draft_withdrawn": "ok",
    "draft_trial": "ok",
    "draft_trial_ended": "ok",
    "draft_updated": "ok",
    "file_removed": "ok",
    "file_name": "error",
    "rolled_back": "ok",
    "case_by_hand": "warn",
    "glass_ended": "ok",
    "glass_over": "warn",
    "glass_reviewed": "ok",
    "glass_own": "error",
    "glass_in_force": "error",
    "glass_unknown": "error",
    "glass_already": "warn",
    "notice_told": "ok",
    "notice_gone": "warn",
    "notice_own": "error",
    "grant_asked": "ok",
    "grant_approved": "ok",
    "grant_declined": "ok",
    "grant_ended": "ok",
    "emergency_declared": "ok",
    "emergency_ended": "ok",
    "not_gone": "warn",
    "not_state": "warn",
    "not_own": "error",
    "not_form": "error",
    "not_name": "error",
    "not_times": "error",
    "not_many": "error",
    "not_running": "warn",
    "not_taken": "error",
}
"""What `?done=` may say, and how it looks. `not_...`: why an officer's word in a case had no effect."""


class Pages:
    """Shows pages, and tells officers from those who only look."""

    def __init__(self, site: Site, parts: ConsoleParts, recorder: Recorder) -> None:
        self._site = site
        self._parts = parts
        self._recorder = recorder

    def show(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        """Answer with a page. Templates know `officer`, `moment` and `day` (of epoch seconds), and what `?done=` says."""
        done = request.query.get("done", "")
        zone = self._parts.zone
        return self._site.render(
            request,
            template,
            status,
            done=done if done in DONE else "",
            done_look=DONE.get(done, ""),
            officer=self.is_officer(request),
            emergency_until=self._emergency(),
            moment=lambda at: datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S"),
            said=lambda text: said(text, language_of(request)),
            day=lambda at: datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d"),
            **values,
        )

    def _emergency(self) -> float:
        """Until when an emergency of the hospital is declared; 0 where none is, as far as known."""
        return self._parts.grants.book.emergency_until(self._parts.clock.now()) if self._parts.grants is not None else 0

    def is_officer(self, request: web.Request) -> bool:
        """Whether whoever asks may change anything."""
        return not self._parts.officer_roles.isdisjoint(request[CLAIMS].roles)

    async def require_officer(self, request: web.Request) -> None:
        """Refuse (403) everybody else, and record it; a form of another site, too."""
        if request.method != "GET":
            self._site.require_same_origin(request)
        if not self.is_officer(request):
            await self._recorder.viewed(request, outcome="failure")
            raise PageError(403, "officers_only")

    async def attempt(self, request: web.Request, event: EventName, target: str, doing: Awaitable[T]) -> T:
        """Wait for what was announced; when the store does not answer, say in the log that it may not have happened."""
        try:
            return await doing
        except StoreUnavailable:
            await self._recorder.failed(request, event, target, "the store did not answer")
            raise

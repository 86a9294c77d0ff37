"""One policy of a draft, changed by buttons instead of text: report-only or enforced, another number, taken out."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from gateway.changes.model import ChangeRefused, Draft
from gateway.console.policy_desk import PolicyDesk, who
from gateway.console.policy_expect import expect_now
from gateway.console.policy_text import places, set_mode, set_number, set_titles, take_out
from gateway.console.policy_views import PolicyViews
from gateway.kernel.web.site import PageError, read_form

_DIGITS: Final = 10
_MOST_TITLE: Final = 200
_MOST_NAMED: Final = 2_000


class PolicySimple:
    """Serves the page of one policy of a draft."""

    def __init__(self, shared: PolicyDesk, views: PolicyViews) -> None:
        self._shared = shared
        self._views = views
        self._pages = shared.pages
        self._recorder = shared.recorder

    async def policy(self, request: web.Request) -> web.Response:
        """Show it."""
        await self._recorder.viewed(request)
        return await self._page(request, await self._shared.draft(request))

    async def change(self, request: web.Request) -> web.Response:
        """Change it."""
        await self._pages.require_officer(request)
        form = await read_form(request)
        draft = await self._shared.draft(request)
        policy_id, act = request.match_info["policy"], form.get("do", "")
        if policy_id not in await self._shared.work.run(places, draft.files):
            raise PageError(404, "draft_policy")
        try:
            files = _changed(draft.files, policy_id, act, form)
        except LookupError as error:
            raise PageError(400, "form") from error
        if files is None:
            await self._recorder.viewed(request)
            return await self._page(request, draft, 422, wrong="titles" if act == "titles" else "number", values=form)
        back = f"/policies/drafts/{draft.id}"
        if files == dict(draft.files):
            raise web.HTTPSeeOther(f"{back}?done=draft_saved")
        detail = {"policy": policy_id, "act": act} | ({"value": form["value"].strip()} if act == "number" else {})
        await self._recorder.announced(request, "policy.saved", draft.id, detail)
        try:
            saving = self._shared.desk.save(who(request), draft.id, revision=draft.revision, files=files)
            await self._pages.attempt(request, "policy.saved", draft.id, saving)
        except ChangeRefused as error:
            await self._recorder.failed(request, "policy.saved", draft.id, error.why)
            return await self._page(request, await self._shared.draft(request), 409, refused=error, values=form)
        raise web.HTTPSeeOther(f"{back}?done=draft_saved")

    async def case(self, request: web.Request) -> web.Response:
        """Make cases that do not hold any more, one or all, expect what the policies answer now: the change means it so."""
        await self._pages.require_officer(request)
        form = await read_form(request)
        draft = await self._shared.draft(request)
        if form.get("all") == "yes":
            failed = (await self._shared.checked(draft)).failed
            wanted = {(case.file, case.name) for case in failed}
        else:
            wanted = {(form.get("file", ""), form.get("name", ""))}
        back = f"/policies/drafts/{draft.id}"
        files, left = await self._shared.work.run(expect_now, draft.files, wanted)
        if files == draft.files:
            raise web.HTTPSeeOther(f"{back}?done=case_by_hand#cases")
        names = "; ".join(sorted(name for _, name in wanted))
        detail = {"act": "expect", "cases": str(len(wanted) - left), "names": names[:_MOST_NAMED]}
        await self._recorder.announced(request, "policy.saved", draft.id, detail)
        try:
            saving = self._shared.desk.save(who(request), draft.id, revision=draft.revision, files=files)
            await self._pages.attempt(request, "policy.saved", draft.id, saving)
        except ChangeRefused as error:
            await self._recorder.failed(request, "policy.saved", draft.id, error.why)
            return await self._views.draft_page(request, await self._shared.draft(request), 409, error)
        raise web.HTTPSeeOther(f"{back}?done={'case_by_hand' if left else 'draft_saved'}#cases")

    async def _page(
        self,
        request: web.Request,
        draft: Draft,
        status: int = 200,
        *,
        wrong: str = "",
        refused: ChangeRefused | None = None,
        values: Mapping[str, str] | None = None,
    ) -> web.Response:
        policy_id = request.match_info["policy"]
        place = (await self._shared.work.run(places, draft.files)).get(policy_id)
        if place is None:
            raise PageError(404, "draft_policy")
        titles = self._views.by_id(await self._views.bundle(draft.files))
        editable = self._pages.is_officer(request) and draft.state not in {"published", "withdrawn"}
        return self._pages.show(
            request, "draft_policy.html", status, tab="drafts", changing=True, draft=draft, id=policy_id, spot=place,
            policy=titles.get(policy_id), editable=editable, wrong=wrong, refused=refused, values=values or {},
        )  # fmt: skip


def _changed(files: Mapping[str, bytes], policy_id: str, act: str, form: Mapping[str, str]) -> dict[str, bytes] | None:
    """Return the files after the change; None for a number that is none. PageError 400 for what no form of ours asks."""
    if act in {"report_only", "enforce"}:
        return set_mode(files, policy_id, report_only=act == "report_only")
    if act == "take_out":
        return take_out(files, policy_id)
    if act == "titles":
        titles = {name: " ".join(form.get(name, "").split())[:_MOST_TITLE] for name in ("title_ja", "title_en")}
        return set_titles(files, policy_id, titles) if all(titles.values()) else None
    index, value = form.get("index", ""), form.get("value", "").strip()
    if act != "number" or not (index.isascii() and index.isdecimal() and len(index) < _DIGITS):
        raise PageError(400, "form")
    if not (value.isascii() and value.isdecimal() and len(value) < _DIGITS):
        return None
    return set_number(files, policy_id, int(index), int(value))

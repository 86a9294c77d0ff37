"""Rules from templates: a form instead of text, kept as a link in the draft's `links.toml`."""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from gateway.changes.model import ChangeRefused, Draft
from gateway.console.policy_desk import PolicyDesk, who
from gateway.kernel.errors import BundleError
from gateway.kernel.web.site import PageError, read_form
from gateway.policy.templates import Form, FormRefused, add_link, change_link, form_of, forms, remove_link, values_of

Files = Mapping[str, bytes]


class PolicyForms:
    """Serves the form of a template, for a new rule or one that is there."""

    def __init__(self, shared: PolicyDesk) -> None:
        self._shared = shared
        self._pages = shared.pages
        self._recorder = shared.recorder

    async def forms(self, draft: Draft) -> tuple[Form, ...]:
        """Return the forms of a draft's templates; none while its text has problems."""
        try:
            bundle = await self._shared.work.bundle(draft.files)
        except BundleError:
            return ()
        return forms(bundle, self._shared.parts.known)

    async def new(self, request: web.Request) -> web.Response:
        """Show an empty form."""
        await self._recorder.viewed(request)
        return await self._page(request, await self._shared.draft(request), request.match_info["template"], {})

    async def add(self, request: web.Request) -> web.Response:
        """Add a rule."""
        await self._pages.require_officer(request)
        form, template = await read_form(request), request.match_info["template"]
        draft = await self._shared.draft(request)
        return await self._change(request, draft, form, template, "", lambda files: add_link(files, template, form))

    async def link(self, request: web.Request) -> web.Response:
        """Show the form of a rule that is there."""
        await self._recorder.viewed(request)
        draft, link_id = await self._shared.draft(request), request.match_info["link"]
        template, values = self._values(draft, link_id)
        return await self._page(request, draft, template, values, link=link_id)

    async def change(self, request: web.Request) -> web.Response:
        """Change a rule, or take it out."""
        await self._pages.require_officer(request)
        form, link_id = await read_form(request), request.match_info["link"]
        draft = await self._shared.draft(request)
        template, values = self._values(draft, link_id)
        if form.pop("do", "") == "remove":
            return await self._change(request, draft, values, template, link_id, lambda files: remove_link(files, link_id))
        return await self._change(request, draft, form, template, link_id, lambda files: change_link(files, link_id, form))

    # ------------------------------------------------------------------

    async def _change(
        self,
        request: web.Request,
        draft: Draft,
        values: Mapping[str, str],
        template: str,
        link: str,
        change: Callable[[Files], dict[str, bytes]],
    ) -> web.Response:
        try:
            files = await self._shared.work.run(change, draft.files)
        except FormRefused as error:
            await self._recorder.viewed(request)
            return await self._page(request, draft, template, values, 422, link=link, wrong=error)
        if files != draft.files:
            detail = {"template": template, "link": link, "act": "form"}
            await self._recorder.announced(request, "policy.saved", draft.id, detail)
            try:
                saving = self._shared.desk.save(who(request), draft.id, revision=draft.revision, files=files)
                await self._pages.attempt(request, "policy.saved", draft.id, saving)
            except ChangeRefused as error:
                await self._recorder.failed(request, "policy.saved", draft.id, error.why)
                now = await self._shared.draft(request)
                return await self._page(request, now, template, values, 409, link=link, refused=error)
        raise web.HTTPSeeOther(f"/policies/drafts/{draft.id}?done=draft_saved")

    async def _page(
        self,
        request: web.Request,
        draft: Draft,
        template: str,
        values: Mapping[str, str],
        status: int = 200,
        *,
        link: str = "",
        wrong: FormRefused | None = None,
        refused: ChangeRefused | None = None,
    ) -> web.Response:
        try:
            bundle = await self._shared.work.bundle(draft.files)
        except BundleError as error:
            raise PageError(409, "draft_template") from error
        form = form_of(bundle, template, self._shared.parts.known)
        if form is None:
            raise PageError(404, "draft_template")
        problems: dict[str, Any] = {problem.field: problem for problem in wrong.problems} if wrong is not None else {}
        editable = self._pages.is_officer(request) and draft.state not in {"published", "withdrawn"}
        return self._pages.show(
            request, "draft_template.html", status, tab="drafts", changing=True, draft=draft, form=form, values=values,
            link=link, problems=problems, refused=refused, editable=editable,
        )  # fmt: skip

    @staticmethod
    def _values(draft: Draft, link_id: str) -> tuple[str, dict[str, str]]:
        try:
            return values_of(draft.files, link_id)
        except FormRefused as error:
            raise PageError(404, "draft_policy") from error

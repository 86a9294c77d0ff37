"""The editor: one file of a draft as text, checked while it is typed, saved without ever losing what somebody wrote."""

import asyncio
import hashlib
import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.changes.model import ChangeRefused, Checked, Draft
from gateway.console.policy_desk import PolicyDesk, read_long_form, who
from gateway.console.policy_lines import difference
from gateway.console.policy_said import said
from gateway.console.policy_work import CASES
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.i18n import Language
from gateway.kernel.web.site import CLAIMS, PageError, language_of, read_form

MAX_FILE_BYTES: Final = 256 * 1024
LINKS: Final = "links.toml"
_FILE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}\.cedar|cases/[a-z0-9][a-z0-9_-]{0,60}\.toml|links\.toml")
_MOST_SAID: Final = 200
"""Problems, and failed cases, that one answer tells."""
_NEW_POLICY: Final = """\
// Recorded only until the @mode line is taken away.
@id("{name}")
@title_ja("ここに日本語の題名を書きます")
@title_en("Write the title in English here")
@mode("report-only")
forbid (
  principal in Role::"vendor",
  action == Action::"export",
  resource
)
when {{
  context.network.zone == "other"
}};
"""
_NEW_CASES: Final = "# Each [[case]] says what the policies must answer. README.md in the policies folder shows how.\n"


class PolicyEditor:
    """Serves the editor's page, its checks, and what it saves."""

    def __init__(self, shared: PolicyDesk) -> None:
        self._shared = shared
        self._pages = shared.pages
        self._recorder = shared.recorder
        self._one_at_a_time = asyncio.Lock()
        self._tickets = itertools.count()
        self._newest: dict[str, int] = {}

    async def edit(self, request: web.Request) -> web.Response:
        """Show a file of a draft."""
        await self._recorder.viewed(request)
        draft, name = await self._shared.draft(request), request.match_info["name"]
        if name not in draft.files:
            raise PageError(404, "draft_file")
        return await self._page(request, draft, name, draft.files[name])

    async def check(self, request: web.Request) -> web.Response:
        """Say what is to be said of a draft with the unsaved text of one file. 204 when the same person has asked again since."""
        await self._pages.require_officer(request)
        await self._recorder.viewed(request)
        form = await read_long_form(request)
        draft, name = await self._shared.draft(request), form.get("file", "")
        if name not in draft.files or "text" not in form:
            raise PageError(400, "form")
        subject = request[CLAIMS].sub
        ticket = self._newest[subject] = next(self._tickets)
        async with self._one_at_a_time:  # checking is work, and two cores decide meanwhile
            if self._newest.get(subject) != ticket:
                return web.Response(status=204)
            checked = await self._shared.desk.check({**draft.files, name: as_file(form["text"])})
        if self._newest.get(subject) == ticket:
            del self._newest[subject]
        return web.json_response(_told(checked, language_of(request)))

    async def save(self, request: web.Request) -> web.Response:
        """Keep a file, good or not. Where somebody else changed the same file meanwhile, show both; nothing is lost."""
        await self._pages.require_officer(request)
        form = await read_long_form(request)
        name = form.get("file", "")
        if "text" not in form or not _FILE.fullmatch(name):
            raise PageError(400, "form")
        data = as_file(form["text"])
        try:
            return await self._save(request, form, name, data)
        except StoreUnavailable:
            return self._kept(request, name, form["text"], "store", 503)

    async def file(self, request: web.Request) -> web.Response:
        """Add an empty file to a draft, or take one out."""
        await self._pages.require_officer(request)
        form = await read_form(request)
        draft, name = await self._shared.draft(request), form.get("name", "").strip()
        add = form.get("do") == "add"
        if add and form.get("kind") in {"policies", "cases"}:
            name = f"{name}.cedar" if form["kind"] == "policies" else f"{CASES}{name}.toml"
        if not _FILE.fullmatch(name):
            raise web.HTTPSeeOther(f"/policies/drafts/{draft.id}?done=file_name#files")
        files = dict(draft.files)
        if add and name not in files:
            stem = name.removeprefix(CASES).rsplit(".", 1)[0]
            fresh = _NEW_POLICY.format(name=stem.replace("_", "-").strip("-") or "new") if name.endswith(".cedar") else _NEW_CASES
            files[name] = fresh.encode()
        elif not add:
            files.pop(name, None)
        await self._recorder.announced(request, "policy.saved", draft.id, {"file": name, "act": "add" if add else "remove"})
        try:
            saving = self._shared.desk.save(who(request), draft.id, revision=draft.revision, files=files)
            await self._pages.attempt(request, "policy.saved", draft.id, saving)
        except ChangeRefused as error:
            await self._recorder.failed(request, "policy.saved", draft.id, error.why)
            raise web.HTTPSeeOther(f"/policies/drafts/{draft.id}?done=draft_changed#files") from error
        if add:
            raise web.HTTPSeeOther(f"/policies/drafts/{draft.id}/edit/{name}")
        raise web.HTTPSeeOther(f"/policies/drafts/{draft.id}?done=file_removed#files")

    # ------------------------------------------------------------------

    async def _save(self, request: web.Request, form: Mapping[str, str], name: str, data: bytes) -> web.Response:
        draft = await self._shared.draft(request)
        if draft.state in {"published", "withdrawn"}:
            return self._kept(request, name, form["text"], draft.state, 409, draft=draft)
        if len(data) > MAX_FILE_BYTES:
            return self._kept(request, name, form["text"], "long", 422, draft=draft)
        now = draft.files.get(name)
        if now is None:
            return self._kept(request, name, form["text"], "file_gone", 409, draft=draft)
        if now == data:  # sent twice, or nothing changed
            return self._saved(request, draft, name, await self._shared.checked(draft))
        if digest(now) != form.get("was", ""):
            await self._recorder.viewed(request)
            return self._kept(request, name, form["text"], "conflict", 409, draft=draft, theirs=now)
        detail = {"file": name, "sha256": hashlib.sha256(data).hexdigest()}
        await self._recorder.announced(request, "policy.saved", draft.id, detail)
        saving = self._shared.desk.save(who(request), draft.id, revision=draft.revision, files={**draft.files, name: data})
        try:
            saved = await self._pages.attempt(request, "policy.saved", draft.id, saving)
        except ChangeRefused as error:
            await self._recorder.failed(request, "policy.saved", draft.id, error.why)
            after = await self._shared.draft(request)
            theirs = after.files.get(name)
            if error.why == "changed" and theirs != data:
                return self._kept(request, name, form["text"], "conflict", 409, draft=after, theirs=theirs)
            return self._kept(request, name, form["text"], "refused", 409, draft=after, refused=error)
        return self._saved(request, saved, name, await self._shared.checked(saved))

    def _saved(self, request: web.Request, draft: Draft, name: str, checked: Checked) -> web.Response:
        if "application/json" in request.headers.get("Accept", ""):
            return web.json_response({"was": digest(draft.files[name]), **_told(checked, language_of(request))})
        raise web.HTTPSeeOther(f"/policies/drafts/{draft.id}/edit/{name}?done=draft_saved")

    async def _page(self, request: web.Request, draft: Draft, name: str, data: bytes) -> web.Response:
        editable = self._pages.is_officer(request) and _FILE.fullmatch(name) is not None
        checked = await self._shared.checked(draft)
        return self._pages.show(
            request, "edit.html", tab="drafts", draft=draft, name=name, text=data.decode("utf-8", "replace"), was=digest(data),
            editable=editable and draft.state not in {"published", "withdrawn"}, checked=checked, changing=True,
            here=[problem for problem in checked.problems if problem.file == name],
            elsewhere=[problem for problem in checked.problems if problem.file != name],
        )  # fmt: skip

    def _kept(
        self,
        request: web.Request,
        name: str,
        text: str,
        why: str,
        status: int,
        *,
        draft: Draft | None = None,
        theirs: bytes | None = None,
        refused: ChangeRefused | None = None,
    ) -> web.Response:
        """Show a text that could not be saved, whole, with what can be done with it."""
        other = theirs.decode("utf-8", "replace") if theirs is not None else ""
        values: dict[str, Any] = {"draft_id": request.match_info["draft"], "name": name, "text": text, "why": why}
        return self._pages.show(
            request, "kept.html", status, tab="drafts", changing=True, draft=draft, theirs=other, refused=refused,
            was=digest(theirs) if theirs is not None else "", lines=difference(other, text) if theirs is not None else (),
            **values,
        )  # fmt: skip


def as_file(text: str) -> bytes:
    """Return what a text area sent as a file has it: lines end with a newline alone."""
    return text.replace("\r\n", "\n").encode("utf-8")


def digest(data: bytes) -> str:
    """Return what a form says that it began from."""
    return hashlib.sha256(data).hexdigest()[:32]


def _told(checked: Checked, language: Language) -> dict[str, Any]:
    return {
        "good": checked.good,
        "passed": checked.passed,
        "problems": [
            {
                "file": one.file,
                "line": one.line,
                "what": said(one.what, language),
                "todo": said(one.todo, language),
                "severity": one.severity,
            }
            for one in checked.problems[:_MOST_SAID]
        ],
        "failed": [
            {"file": one.file, "line": one.line, "name": one.name, "differences": [list(what) for what in one.differences]}
            for one in checked.failed[:_MOST_SAID]
        ],
        "more": max(0, len(checked.problems) - _MOST_SAID) + max(0, len(checked.failed) - _MOST_SAID),
    }

"""What an officer does with a change of the policies. Announced in the log, on disk, before the desk does it; what the desk
refuses is noted after it, and shown on the page that it was asked on, with everything that was typed.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

from aiohttp import web

from gateway.changes.model import ChangeRefused, Draft, DraftState, Person, Publication
from gateway.changes.port import ChangeDesk
from gateway.console.policy_desk import PolicyDesk, who
from gateway.console.policy_views import PolicyViews
from gateway.domain.record import EventName
from gateway.kernel.web.site import PageError, read_form

_AGAIN_SECONDS: Final = 120
"""The same form sent twice within so long is one draft."""
_MOST_LOGGED: Final = 200

Doing = Callable[[ChangeDesk, Person, str, Mapping[str, str]], Awaitable[Draft | Publication]]


@dataclasses.dataclass(frozen=True)
class Act:
    """One thing that can be asked for on a draft's page."""

    event: EventName
    done: str
    """What `?done=` says then."""
    doing: Doing
    leads_to: DraftState | Literal[""] = ""
    """A draft that is already so, with the same content, was asked for twice: that is no error."""
    afterwards: str = "/policies/drafts/{draft}"


def _submit(desk: ChangeDesk, me: Person, draft: str, form: Mapping[str, str]) -> Awaitable[Draft]:
    return desk.submit(me, draft, content=form.get("content", ""))


def _approve(desk: ChangeDesk, me: Person, draft: str, form: Mapping[str, str]) -> Awaitable[Draft]:
    note, revision = form.get("note", "").strip(), number(form.get("revision", ""))
    return desk.approve(me, draft, content=form.get("content", ""), note=note, revision=revision)


def _decline(desk: ChangeDesk, me: Person, draft: str, form: Mapping[str, str]) -> Awaitable[Draft]:
    return desk.decline(me, draft, content=form.get("content", ""), note=form.get("note", "").strip())


def _publish(desk: ChangeDesk, me: Person, draft: str, form: Mapping[str, str]) -> Awaitable[Publication]:
    return desk.publish(me, draft, content=form.get("content", ""))


def _withdraw(desk: ChangeDesk, me: Person, draft: str, _form: Mapping[str, str]) -> Awaitable[Draft]:
    return desk.withdraw(me, draft)


def _try_out(desk: ChangeDesk, me: Person, draft: str, form: Mapping[str, str]) -> Awaitable[Draft]:
    return desk.try_out(me, draft, content=form.get("content", ""))


def _end_trial(desk: ChangeDesk, me: Person, draft: str, _form: Mapping[str, str]) -> Awaitable[Draft]:
    return desk.end_trial(me, draft)


def _update(desk: ChangeDesk, me: Person, draft: str, form: Mapping[str, str]) -> Awaitable[Draft]:
    return desk.bring_up_to_date(me, draft, revision=number(form.get("revision", "")))


ACTS: Final[Mapping[str, Act]] = {
    "submit": Act("policy.submitted", "draft_submitted", _submit, "waiting"),
    "approve": Act("policy.approved", "draft_approved", _approve, "approved"),
    "decline": Act("policy.declined", "draft_declined", _decline),
    "publish": Act("policy.published", "draft_published", _publish, "published", "/policies/watch"),
    "withdraw": Act("policy.withdrawn", "draft_withdrawn", _withdraw, "withdrawn"),
    "trial": Act("policy.trial", "draft_trial", _try_out),
    "trial-end": Act("policy.trial", "draft_trial_ended", _end_trial),
    "update": Act("policy.saved", "draft_updated", _update),
}


class PolicyActs:
    """The POST handlers that end in a redirect, or in the page that asked, with what stands against it."""

    def __init__(self, shared: PolicyDesk, views: PolicyViews) -> None:
        self._shared = shared
        self._views = views
        self._pages = shared.pages
        self._recorder = shared.recorder

    async def begin(self, request: web.Request) -> web.Response:
        """Begin a draft from what is in force."""
        await self._pages.require_officer(request)
        form = await read_form(request)
        title, why, policy = (form.get(name, "").strip() for name in ("title", "why", "policy"))
        me = who(request)
        for draft in await self._shared.desk.drafts():
            fresh = self._shared.parts.clock.now() - draft.created_at < _AGAIN_SECONDS and draft.changed_at == draft.created_at
            if fresh and draft.state == "open" and (draft.author.subject, draft.title, draft.why) == (me.subject, title, why):
                raise web.HTTPSeeOther(self._after_begin(draft, policy))
        await self._recorder.announced(request, "policy.drafted", "new", {"title": title[:_MOST_LOGGED]})
        try:
            draft = await self._pages.attempt(request, "policy.drafted", "new", self._shared.desk.begin(me, title=title, why=why))
        except ChangeRefused as error:
            await self._recorder.failed(request, "policy.drafted", "new", error.why)
            return await self._views.drafts_page(request, form, 422, error)
        raise web.HTTPSeeOther(self._after_begin(draft, policy))

    async def act(self, request: web.Request) -> web.Response:
        """Do what the last part of the path says."""
        await self._pages.require_officer(request)
        name = request.path.rsplit("/", 1)[-1]
        act = ACTS[name]
        form = await read_form(request)
        draft = await self._shared.draft(request)
        detail = {"title": draft.title[:_MOST_LOGGED], "content": draft.content, "act": name}
        if note := form.get("note", "").strip():
            detail["note"] = note[:_MOST_LOGGED]
        await self._recorder.announced(request, act.event, draft.id, detail)
        try:
            await self._pages.attempt(request, act.event, draft.id, act.doing(self._shared.desk, who(request), draft.id, form))
        except ChangeRefused as error:
            await self._recorder.failed(request, act.event, draft.id, error.why)
            now = await self._shared.draft(request)
            if (
                error.why == "state"
                and act.leads_to
                and (now.state, now.content) == (act.leads_to, form.get("content", now.content))
            ):
                raise web.HTTPSeeOther(self._after(act, draft)) from error
            return await self._views.draft_page(request, now, 409, error, form)
        raise web.HTTPSeeOther(self._after(act, draft))

    async def about(self, request: web.Request) -> web.Response:
        """Change a draft's title and reason."""
        await self._pages.require_officer(request)
        form = await read_form(request)
        draft = await self._shared.draft(request)
        title, why = form.get("title", "").strip(), form.get("why", "").strip()
        if not title or not why:
            await self._recorder.viewed(request)
            refused = ChangeRefused("form", "title and reason can't be empty", "Say what changes, and why")
            return await self._views.draft_page(request, draft, 422, refused, form)
        await self._recorder.announced(request, "policy.saved", draft.id, {"title": title[:_MOST_LOGGED], "act": "about"})
        try:
            saving = self._shared.desk.save(
                who(request), draft.id, revision=number(form.get("revision", "")), files=draft.files, title=title, why=why
            )
            await self._pages.attempt(request, "policy.saved", draft.id, saving)
        except ChangeRefused as error:
            await self._recorder.failed(request, "policy.saved", draft.id, error.why)
            return await self._views.draft_page(request, await self._shared.draft(request), 409, error, form)
        raise web.HTTPSeeOther(f"/policies/drafts/{draft.id}?done=draft_saved")

    async def roll_back(self, request: web.Request) -> web.Response:
        """Put an earlier publication in force again, at once."""
        await self._pages.require_officer(request)
        form = await read_form(request)
        publication, _ = await self._shared.publication(request)
        why = form.get("why", "").strip()
        target = str(publication.number)
        await self._recorder.announced(
            request, "policy.rolled_back", target, {"why": why[:_MOST_LOGGED], "version": publication.version}
        )
        try:
            await self._pages.attempt(
                request, "policy.rolled_back", target,
                self._shared.desk.roll_back(who(request), publication.number, why=why, expected=number(form.get("expected", ""))),
            )  # fmt: skip
        except ChangeRefused as error:
            await self._recorder.failed(request, "policy.rolled_back", target, error.why)
            if error.why in {"same", "overtaken"} and await self._rolled_back(request, publication):
                raise web.HTTPSeeOther("/policies/watch?done=rolled_back") from error
            return await self._views.back_page(request, form, 422 if error.why == "form" else 409, error)
        raise web.HTTPSeeOther("/policies/watch?done=rolled_back")

    async def _rolled_back(self, request: web.Request, publication: Publication) -> bool:
        """Whether the same person has just done exactly that: the form was sent twice."""
        newest = (await self._shared.desk.in_force())[0]
        return (
            newest.kind == "rollback"
            and newest.returns_to == publication.number
            and newest.author.subject == who(request).subject
            and self._shared.parts.clock.now() - newest.at < _AGAIN_SECONDS
        )

    def _after(self, act: Act, draft: Draft) -> str:
        return f"{act.afterwards.format(draft=draft.id)}?done={act.done}"

    def _after_begin(self, draft: Draft, policy: str) -> str:
        known = any(one.id == policy for one in self._shared.parts.policies().policies)
        return f"/policies/drafts/{draft.id}/policies/{policy}" if known else f"/policies/drafts/{draft.id}?done=draft_begun"


def number(given: str) -> int:
    """Return a number as a hidden field of our own has it; PageError 400 for anything else."""
    if not (given.isascii() and given.isdecimal() and len(given) < 10):  # noqa: PLR2004  digits
        raise PageError(400, "form")
    return int(given)

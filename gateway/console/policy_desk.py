"""What the pages about changes of the policies share: the desk, who asks, what was last said of some files."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.changes.model import ChangeRefused, Checked, Draft, Person, Publication
from gateway.changes.port import ChangeDesk
from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.policy_lines import changed_files
from gateway.console.policy_steps import Look, next_of, steps
from gateway.console.policy_work import PolicyWork
from gateway.console.recording import Recorder
from gateway.domain.record import EventRecord
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.web.site import CLAIMS, PageError, read_form

MOST_FORM: Final = 1024 * 1024
"""Bytes of a form that holds a file: 256 KiB of it, each byte escaped as three characters, and the rest."""
_KEPT_CHECKS: Final = 16
_LOOKED_BACK: Final = 1000
"""Records of the log that are looked through for whether a draft was replayed."""


class PolicyDesk:
    """The desk of changes for the console's pages."""

    def __init__(self, pages: Pages, parts: ConsoleParts, recorder: Recorder, work: PolicyWork) -> None:
        self.pages: Final = pages
        self.parts: Final = parts
        self.recorder: Final = recorder
        self.work: Final = work
        self._checks: OrderedDict[str, Checked] = OrderedDict()

    @property
    def desk(self) -> ChangeDesk:
        """The desk; PageError 404 where policies come from a folder only."""
        if self.parts.desk is None:
            raise PageError(404, "desk_absent")
        return self.parts.desk

    async def draft(self, request: web.Request) -> Draft:
        """Return the draft that the path names; PageError 404 when there is none."""
        return await self.draft_of(request.match_info["draft"])

    async def draft_of(self, draft_id: str) -> Draft:
        """Return a draft; PageError 404 when there is none."""
        try:
            return await self.desk.draft(draft_id)
        except ChangeRefused as error:
            raise PageError(404, "draft") from error

    async def publication(self, request: web.Request) -> tuple[Publication, Mapping[str, bytes]]:
        """Return the publication that the path names; PageError 404 when there is none."""
        return await self.publication_of(request.match_info["number"])

    async def publication_of(self, given: str) -> tuple[Publication, Mapping[str, bytes]]:
        """Return a publication by its number as written; PageError 404 when there is none."""
        if not (given.isascii() and given.isdecimal() and len(given) < 10):  # noqa: PLR2004  digits
            raise PageError(404, "version")
        try:
            return await self.desk.publication(int(given))
        except ChangeRefused as error:
            raise PageError(404, "version") from error

    async def checked(self, draft: Draft) -> Checked:
        """Return what is to be said of a draft's files, worked out once for the same content."""
        known = self._checks.get(draft.content)
        if known is None:
            known = self._checks[draft.content] = await self.desk.check(draft.files)
            while len(self._checks) > _KEPT_CHECKS:
                self._checks.popitem(last=False)
        return known

    async def look(self, request: web.Request, draft: Draft) -> tuple[Look, dict[str, Any]]:
        """Return a draft as whoever asks sees it, and the values that its pages show."""
        publication, in_force = await self.desk.in_force()
        before: Mapping[str, bytes] = in_force
        against: str | None = publication.version
        if draft.state == "published":  # what it changed then
            before, against = await self._base(draft)
        changes = await self.work.run(changed_files, before, draft.files)
        look = Look(
            draft=draft, checked=await self.checked(draft), in_force=publication.number, files_changed=len(changes),
            replayed=await self._replayed(draft, against), officer=self.pages.is_officer(request), who=who(request),
        )  # fmt: skip
        values = {
            "draft": draft, "facts": look, "checked": look.checked, "changes": changes, "steps": steps(look),
            "next": next_of(look), "publication": publication,
            "before": before,
        }  # fmt: skip
        return look, values

    async def _base(self, draft: Draft) -> tuple[Mapping[str, bytes], str | None]:
        try:
            publication, files = await self.desk.publication(draft.base)
        except ChangeRefused:
            return draft.files, None  # its beginning is not kept any more: nothing can be said of what it changed
        return files, publication.version

    async def _replayed(self, draft: Draft, against: str | None) -> bool:
        """Whether somebody replayed exactly this content against that version (None: any): there is a result; or, without an
        office, the log says so.
        """
        if self.parts.replays is not None:
            return await self.parts.replays.replayed(draft.content, against)
        return any(
            isinstance(record, EventRecord)
            and record.event == "policy.replayed"
            and record.outcome == "success"
            and draft.content in record.detail.values()
            and (against is None or record.detail.get("against") == against)
            for _, record in self.parts.feed.recent(_LOOKED_BACK)
        )


async def waiting_drafts(desk: ChangeDesk | None) -> int | None:
    """Return how many changes wait for a second person; None when the store does not say."""
    if desk is None:
        return 0
    try:
        return sum(draft.state == "waiting" for draft in await desk.drafts())
    except StoreUnavailable:
        return None


def who(request: web.Request) -> Person:
    """Return who asks, by the assertion."""
    claims = request[CLAIMS]
    return Person(subject=claims.sub, login=claims.login, name=claims.name)


async def read_long_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form that may hold a file of a bundle; PageError 413 for more, 400 for what is no form."""
    return await read_form(request.clone(client_max_size=MOST_FORM))

"""The pages that show policies: in force, as a change on its way, and as they once were. Each view is recorded first."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.changes.model import ChangeRefused, Draft, NodeState, Publication
from gateway.console.policy_desk import PolicyDesk
from gateway.console.policy_lines import changed_files
from gateway.console.policy_text import places
from gateway.kernel.errors import BundleError, StoreUnavailable
from gateway.kernel.web.site import CLAIMS, PageError
from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.templates import forms

SILENT_SECONDS: Final = 90
"""A process that has said nothing for so long is probably gone."""
OPEN_STATES: Final = ("waiting", "approved", "open")
_SHOWN_CLOSED: Final = 50


class PolicyViews:
    """The GET handlers."""

    def __init__(self, shared: PolicyDesk) -> None:
        self._shared = shared
        self._pages = shared.pages
        self._parts = shared.parts
        self._recorder = shared.recorder
        self._work = shared.work

    # ------------------------------------------------------------------ in force

    async def in_force(self, request: web.Request) -> web.Response:
        """What decides now: it is shown from this process's memory, also while the store does not answer."""
        await self._recorder.viewed(request)
        in_force = self._parts.policies()
        publication: Publication | None = None
        drafts: list[Draft] = []
        nodes: list[NodeState] = []
        down = False
        if self._parts.desk is not None:
            try:
                publication = (await self._parts.desk.in_force())[0]
                drafts, nodes = await self._parts.desk.drafts(), await self._parts.desk.nodes()
            except StoreUnavailable:
                down = True
        query = request.query.get("q", "").strip()[:100]
        return self._page(
            request, "policies.html", tab="in_force", in_force=in_force, publication=publication, down=down, query=query,
            groups=grouped([policy for policy in in_force.policies if _matches(policy, query)]),
            trial=next((draft for draft in drafts if draft.trial), None), nodes=nodes, behind=self._behind(nodes, publication),
            waiting=sum(draft.state == "waiting" for draft in drafts), desk=self._parts.desk is not None,
        )  # fmt: skip

    def _behind(self, nodes: list[NodeState], publication: Publication | None) -> dict[str, str]:
        """What is the matter with each process that is not as it should be: a text of `drafts.node`."""
        now, found = self._parts.clock.now(), {}
        for node in nodes:
            if node.error:
                found[node.node] = "error"
            elif now - node.at > SILENT_SECONDS:
                found[node.node] = "silent"
            elif publication is not None and node.number != publication.number:
                found[node.node] = "behind"
        return found

    # ------------------------------------------------------------------ drafts

    async def drafts(self, request: web.Request) -> web.Response:
        """All changes on their way, and the form that begins one."""
        await self._recorder.viewed(request)
        return await self.drafts_page(request, {"policy": request.query.get("policy", "")[:100]})

    async def drafts_page(
        self, request: web.Request, values: Mapping[str, str], status: int = 200, refused: ChangeRefused | None = None
    ) -> web.Response:
        """Show them; `values` is what stood in the form, `refused` why it was not taken."""
        drafts = await self._shared.desk.drafts()
        policy = next((one for one in self._parts.policies().policies if one.id == values.get("policy")), None)
        return self._page(
            request, "drafts.html", status, tab="drafts", values=values, refused=refused, policy=policy,
            going=sorted((draft for draft in drafts if draft.state in OPEN_STATES), key=lambda one: OPEN_STATES.index(one.state)),
            closed=[draft for draft in drafts if draft.state not in OPEN_STATES][:_SHOWN_CLOSED],
        )  # fmt: skip

    async def draft(self, request: web.Request) -> web.Response:
        """The life of one change."""
        await self._recorder.viewed(request)
        return await self.draft_page(request, await self._shared.draft(request))

    async def draft_page(
        self,
        request: web.Request,
        draft: Draft,
        status: int = 200,
        refused: ChangeRefused | None = None,
        values: Mapping[str, str] | None = None,
    ) -> web.Response:
        """Show it; `refused` says why what was just asked for was not done, `values` what stood in that form."""
        look, shown = await self._shared.look(request, draft)
        found = await self._work.run(places, draft.files)
        bundle = await self.bundle(draft.files)
        titles = self.by_id(bundle)
        groups: dict[str, list[Any]] = {}
        for policy_id, place in found.items():
            groups.setdefault(place.file, []).append((policy_id, place, titles.get(policy_id)))
        return self._page(
            request, "draft.html", status, tab="drafts", refused=refused, values=values or {}, groups=groups,
            linked=[policy for policy in titles.values() if policy.template],
            templates=forms(bundle, self._parts.known) if bundle is not None else (),
            own=look.edited,
            words=await self._work.words(shown["before"], draft.files) if shown["changes"] else None, **shown,
        )  # fmt: skip

    async def bundle(self, files: Mapping[str, bytes]) -> Bundle | None:
        """Return the bundle of some files; None while one of them has problems."""
        try:
            return await self._work.bundle(files)
        except BundleError:
            return None

    def by_id(self, bundle: Bundle | None) -> dict[str, Policy]:
        """Return a draft's policies by id; while it can't be compiled, those in force stand in."""
        return {policy.id: policy for policy in (bundle.policies if bundle is not None else self._parts.policies().policies)}

    # ------------------------------------------------------------------ what was

    async def history(self, request: web.Request) -> web.Response:
        """Every publication, newest first."""
        await self._recorder.viewed(request)
        return self._page(request, "history.html", tab="history", history=await self._shared.desk.history())

    async def compare(self, request: web.Request) -> web.Response:
        """What differs between two publications."""
        await self._recorder.viewed(request)
        before, old = await self._shared.publication_of(request.query.get("from", ""))
        after, new = await self._shared.publication_of(request.query.get("to", ""))
        if before.number > after.number:
            before, old, after, new = after, new, before, old
        return self._page(
            request, "compare.html", tab="history", before=before, after=after,
            changes=await self._work.run(changed_files, old, new), words=await self._work.words(old, new),
        )  # fmt: skip

    async def version(self, request: web.Request) -> web.Response:
        """One publication: what it changed, and all its policies."""
        await self._recorder.viewed(request)
        publication, files = await self._shared.publication(request)
        newest = (await self._shared.desk.in_force())[0]
        old: Mapping[str, bytes] = {}
        if publication.number > 1:
            old = (await self._shared.publication_of(str(publication.number - 1)))[1]
        try:
            policies = (await self._work.bundle(files)).policies
        except BundleError:  # of another version of the gateway: its text is still there
            policies = ()
        return self._page(
            request, "version.html", tab="history", publication=publication, newest=newest.number, files=files,
            groups=grouped(list(policies)), changes=await self._work.run(changed_files, old, files) if old else (),
            words=await self._work.words(old, files) if old else None,
        )  # fmt: skip

    async def back(self, request: web.Request) -> web.Response:
        """Show what going back to a publication would change, for an officer to confirm."""
        await self._recorder.viewed(request)
        return await self.back_page(request, {})

    async def back_page(
        self, request: web.Request, values: Mapping[str, str], status: int = 200, refused: ChangeRefused | None = None
    ) -> web.Response:
        """Show it; `values` is what stood in the form, `refused` why it was not done."""
        publication, files = await self._shared.publication(request)
        newest, in_force = await self._shared.desk.in_force()
        return self._page(
            request, "back.html", status, tab="history", publication=publication, newest=newest, values=values, refused=refused,
            changes=await self._work.run(changed_files, in_force, files), words=await self._work.words(in_force, files),
        )  # fmt: skip

    def _page(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        return self._pages.show(
            request, template, status, me=request[CLAIMS].sub, changing=self._parts.desk is not None, **values
        )


def grouped(policies: list[Policy]) -> dict[str, list[Policy]]:
    """Return policies by the file that they are in (without its folder)."""
    groups: dict[str, list[Policy]] = {}
    for policy in policies:
        groups.setdefault(policy.file.rsplit("/", 1)[-1], []).append(policy)
    return groups


def _matches(policy: Policy, query: str) -> bool:
    words = query.casefold().split()
    text = "\n".join((policy.id, policy.title_ja, policy.title_en, *policy.guidelines, policy.text)).casefold()
    return all(word in text for word in words)


def known_file(draft: Draft, name: str) -> bytes:
    """Return a file of a draft; PageError 404 when it has none of that name."""
    data = draft.files.get(name)
    if data is None:
        raise PageError(404, "draft_file")
    return data

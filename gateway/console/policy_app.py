"""Puts the pages about changes of the policies, and about people, into the console."""

from aiohttp import web

from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.people import People
from gateway.console.policy_acts import ACTS, PolicyActs
from gateway.console.policy_desk import PolicyDesk
from gateway.console.policy_editor import PolicyEditor
from gateway.console.policy_forms import PolicyForms
from gateway.console.policy_simple import PolicySimple
from gateway.console.policy_views import PolicyViews
from gateway.console.policy_watch import PolicyWatch
from gateway.console.policy_work import PolicyWork
from gateway.console.recording import Recorder
from gateway.console.replay_pages import ReplayPages
from gateway.kernel.web.site import Site


def add_policies(
    app: web.Application, site: Site, parts: ConsoleParts, recorder: Recorder, pages: Pages, work: PolicyWork
) -> None:
    """Add their handlers; `gateway.console.policy_routes` are their routes at the gateway."""
    shared = PolicyDesk(pages, parts, recorder, work)
    views, editor = PolicyViews(shared), PolicyEditor(shared)
    acts, simple = PolicyActs(shared, views), PolicySimple(shared, views)
    forms = PolicyForms(shared)
    watch = PolicyWatch(app, site, shared)
    people = People(pages, parts, recorder)
    replays = ReplayPages(site, shared)
    get, post = app.router.add_get, app.router.add_post
    get("/policies", views.in_force)
    get("/policies/history", views.history)
    get("/policies/compare", views.compare)
    get("/policies/versions/{number}", views.version)
    get("/policies/versions/{number}/back", views.back)
    post("/policies/versions/{number}/back", acts.roll_back)
    get("/policies/watch", watch.page)
    get("/policies/watch/stream", watch.stream)
    get("/policies/drafts", views.drafts)
    post("/policies/drafts", acts.begin)
    get("/policies/drafts/{draft}", views.draft)
    get("/policies/drafts/{draft}/edit/{name:.+}", editor.edit)
    post("/policies/drafts/{draft}/check", editor.check)
    post("/policies/drafts/{draft}/save", editor.save)
    post("/policies/drafts/{draft}/files", editor.file)
    get("/policies/drafts/{draft}/policies/{policy}", simple.policy)
    post("/policies/drafts/{draft}/policies/{policy}", simple.change)
    get("/policies/drafts/{draft}/templates/{template}", forms.new)
    post("/policies/drafts/{draft}/templates/{template}", forms.add)
    get("/policies/drafts/{draft}/links/{link}", forms.link)
    post("/policies/drafts/{draft}/links/{link}", forms.change)
    post("/policies/drafts/{draft}/cases", simple.case)
    post("/policies/drafts/{draft}/about", acts.about)
    for name in ACTS:
        post(f"/policies/drafts/{{draft}}/{name}", acts.act)
    get("/policies/drafts/{draft}/replay", replays.page)
    post("/policies/drafts/{draft}/replay", replays.start)
    get("/policies/drafts/{draft}/replay/progress", replays.progress)
    post("/policies/drafts/{draft}/replay/cancel", replays.cancel)
    get("/people", people.everybody)
    get("/people/{subject}", people.person)

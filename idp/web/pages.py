"""Puts the pages together: `setup_pages` is what the provider's app calls once."""

from aiohttp import web
from aiohttp.typedefs import Handler

from idp.proofing.desk import ProofingDesk
from idp.web.account import AccountPages
from idp.web.checks import Checks
from idp.web.guard import guarded
from idp.web.options import PageOptions
from idp.web.own_proofing import OwnProofing
from idp.web.parts import Parts, Problem
from idp.web.proofing import ProofingPages
from idp.web.proofing_routes import ProofingRoutes
from idp.web.render import Renderer
from idp.web.signin import SignIn


def setup_pages(app: web.Application, parts: Parts, *, options: PageOptions) -> "ProviderPages":
    """Add the routes of the sign-in, the account page and the static files; return the pages that the provider itself shows.

    `functools.partial(setup_pages, options=...)` is an `idp.web.parts.SetupPages`. It takes about 50 ms: a password is hashed.
    """
    renderer = Renderer(options, secure=parts.settings.issuer.startswith("https:"))
    checks = Checks(parts, options)
    house = parts.settings.proofing
    desk = (
        ProofingDesk(
            options.proofing,
            parts.store,
            parts.events,
            parts.clock,
            parts.digest_keys,
            shared_cards=house.shared_cards,
            case_days=house.review_days,
            valid_days=house.valid_days,
        )
        if options.proofing is not None
        else None
    )
    proofing = ProofingPages(parts, desk, renderer)
    sign_in = SignIn(parts, checks, renderer, proofing)
    sign_in.add_routes(app)
    ProofingRoutes(parts, proofing, sign_in, renderer).add_routes(app)
    account = AccountPages(parts, checks, renderer, options)
    account.add_routes(app)
    OwnProofing(parts, account, proofing, renderer).add_routes(app)
    app.router.add_get("/static/{name}", guarded(renderer.static, renderer, parts.refusals))

    @web.middleware
    async def not_found(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return renderer.page(request, "halt.html", 404, key="not_found")

    app.middlewares.append(not_found)
    return ProviderPages(renderer)


class ProviderPages:
    """`idp.web.parts.Pages`."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    async def problem(self, request: web.Request, problem: Problem, status: int) -> web.StreamResponse:
        """Say what is wrong and what to do."""
        return self._renderer.page(request, "halt.html", status, key=problem)

    async def confirm_sign_out(self, request: web.Request, name: str, token: str) -> web.StreamResponse:
        """Ask whether to sign out."""
        return self._renderer.page(request, "confirm_sign_out.html", name=name, token=token)

    async def signed_out(self, request: web.Request) -> web.StreamResponse:
        """Say that the person is signed out here."""
        return self._renderer.page(request, "signed_out.html")

"""What the sign-in pages get from the provider, and what the provider needs from the pages. The two meet only here."""

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec
from aiohttp import web

from gateway.kernel.clock import Clock
from idp.ports import EventSink, Flows, Store
from idp.proofing.digest import DigestKeys
from idp.proofing.office import ProofingOffice
from idp.settings import IdpSettings
from idp.web.refusals import Refusals

Problem = Literal[
    "request_malformed", "client_unknown", "redirect_uri_unknown", "transaction_unknown", "sign_out_malformed", "unavailable",
]  # fmt: skip
"""Why a browser gets a page of ours instead of being sent back to the client. A closed set: each has its text."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the pages may use. No page opens a file, reads a clock or asks for configuration by itself."""

    settings: IdpSettings
    store: Store
    flows: Flows
    clock: Clock
    events: EventSink
    digest_keys: Callable[[], DigestKeys]
    """Returns the keys of now of the digests that recognise a proofed person. Kept with the provider's keys."""
    address_of: Callable[[web.Request], str]
    """The client's address, as whoever is in front of us proved it."""
    refusals: Refusals
    """What tells the log of requests that are turned away."""
    office: ProofingOffice
    """What is kept of the person's own identity proofing, and what they are invited to."""


class Pages(Protocol):
    """What `setup_pages(app, parts)` returns, after having added its own routes (`/login` and below) to `app`.

    The provider itself serves `/authorize`, `/token`, `/userinfo`, `/jwks.json`, `/end-session`, `/end-session/confirm` and
    `/.well-known/*`; it sends the browser to `/login?tx=...`, bound to the browser by the cookie `__Host-idp-browser`.
    """

    async def problem(self, request: web.Request, problem: Problem, status: int) -> web.StreamResponse:
        """Return a page that says what is wrong and what to do. Never reflects anything of the request."""
        ...

    async def confirm_sign_out(self, request: web.Request, name: str, token: str) -> web.StreamResponse:
        """Ask "sign out, `name`?": a form that posts the hidden field `token` to `/end-session/confirm`."""
        ...

    async def signed_out(self, request: web.Request) -> web.StreamResponse:
        """Return the page that says that the person is signed out here."""
        ...


SetupPages = Callable[[web.Application, Parts], Pages]

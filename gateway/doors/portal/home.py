"""The portal's first page: who is signed in, from what, and the systems to open; and the public keys."""

from datetime import datetime
from typing import Final

from aiohttp import web

from gateway.doors.portal.parts import Exchange
from gateway.doors.portal.signin import begin_sign_in
from gateway.pipeline.gather import authentication_facts, proofing_facts

METHODS: Final = frozenset(
    {"jpki_auth_oidc", "platform_operator", "jpki_sign", "jpki_auth", "in_person_ic", "in_person_document", "simulated"}
)
_REHEARSED: Final = "rehearsal_"


async def home(exchange: Exchange) -> web.Response:
    """Show the portal, or begin a sign-in."""
    parts = exchange.parts
    handle = await exchange.handle()
    if handle is None:
        return await begin_sign_in(exchange)
    now = parts.clock.now()
    posture = await parts.posture.observe(exchange.request.connection, handle)
    authentication = authentication_facts(handle.events(), now)
    proofing = proofing_facts(handle.proofing(), now)
    apps = [
        {
            "title": app.title_ja if exchange.language == "ja" else app.title_en,
            "host": app.host,
            "url": f"{parts.origins.of(app.host)}/",
        }
        for app in parts.apps
    ]
    known_roles = {
        "physician", "resident", "nurse", "pharmacist", "technologist", "clerk", "external_reader", "vendor", "security_officer",
        "auditor",
    }  # fmt: skip
    return exchange.page(
        "home.html",
        switch="/?lang=",
        identity=handle.session.identity,
        roles=[
            parts.pages.text(exchange.language, f"portal.role.{role}") if role in known_roles else role
            for role in handle.session.identity.roles
        ],
        kinds=[parts.pages.text(exchange.language, f"portal.kind.{kind}") for kind in authentication.kinds],
        signed_in_at=datetime.fromtimestamp(handle.session.created_at, parts.zone).strftime("%Y-%m-%d %H:%M"),
        proofing=proofing,
        method=_method(exchange, proofing.method),
        posture=posture,
        apps=apps,
        account_url=parts.account_url,
        grants=parts.grants is not None and not parts.help_desk.only(handle.session.identity),
    )


def _method(exchange: Exchange, name: str) -> str:
    """Return the words for how somebody was proofed; another provider's own name for it as it is."""
    pages, plain = exchange.parts.pages, name.removeprefix(_REHEARSED)
    words = pages.text(exchange.language, f"portal.method.{plain}") if plain in METHODS else plain
    return words if plain == name else f"{words} {pages.text(exchange.language, 'portal.rehearsal')}"


async def jwks(exchange: Exchange) -> web.Response:
    """The public keys of the assertion header (RFC 7517). Public, cacheable for five minutes."""
    reply = exchange.json(exchange.parts.signer.jwks())
    reply.headers["Cache-Control"] = "public, max-age=300"
    return reply

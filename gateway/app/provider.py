"""The identity provider: the embedded one, and how the gateway reaches whichever it is."""

import contextlib
import functools
import ssl

import aiohttp

from gateway.app.provider_events import ProviderEvents
from gateway.app.verifiers import verifier_of
from gateway.config import Config
from gateway.config.model import EmbeddedProvider
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.kernel.web.loopback import LoopbackResolver
from gateway.ports import AuditLog, SessionStore
from gateway.rp.client import OidcClient
from gateway.rp.verified import Acceptance, Accepted
from idp.app import IdentityProvider, open_provider
from idp.settings import Client, IdpSettings, ProofingSettings
from idp.web.account import account_client
from idp.web.options import PageOptions
from idp.web.pages import setup_pages


async def open_embedded(
    config: Config, clock: Clock, log: AuditLog, sessions: SessionStore, stack: contextlib.AsyncExitStack
) -> IdentityProvider | None:
    """Open the embedded provider; None where another one is configured."""
    if config.idp is None:
        return None
    portal = config.origin(config.portal.host)
    settings = IdpSettings(
        issuer=config.identity.issuer,
        clients=(
            Client.registered(
                config.identity.client_id,
                config.identity.client_secret,
                redirect_uris=(f"{portal}/.gateway/callback",),
                post_logout_redirect_uris=(f"{portal}/.gateway/signed-out",),
            ),
            account_client(config.identity.issuer),
        ),
        data_dir=config.idp.data_dir,
        session_idle_seconds=config.sessions.idle_seconds,
        session_seconds=config.sessions.absolute_seconds,
        proofing=house_rules(config.idp),
        trust_framework=config.idp.trust_framework,
    )
    backend = verifier_of(config, clock)
    if backend is not None:
        stack.push_async_callback(backend.close)
    hosts = [app.host for app in config.apps] + ([config.console.host] if config.console is not None else [])
    options = PageOptions(
        portal=portal,
        proofing=backend,
        form_origins=tuple(config.origin(host) for host in hosts),
        zone=str(config.policies.timezone),
        demo=config.demo,
    )
    events = ProviderEvents(log, sessions, clock)
    stack.push_async_callback(events.close)
    provider = await open_provider(
        settings,
        clock=clock,
        events=events,
        pages=functools.partial(setup_pages, options=options),
        address_of=lambda request: request.remote or "",
        verifier=backend,
    )
    stack.push_async_callback(provider.close)
    return provider


def house_rules(idp: EmbeddedProvider) -> ProofingSettings:
    """How the installation keeps house with identity proofings."""
    return ProofingSettings(
        recheck_hours=idp.recheck_hours,
        review_days=idp.review_days,
        expiring_days=idp.expiring_days,
        valid_days=idp.valid_days,
        shared_cards=idp.shared_cards,
    )


def accepted_claims(config: Config) -> Acceptance | None:
    """Return which verified claims of an external provider count; None: none do."""
    section = config.identity.verified_claims
    if section is None:
        return None
    accepted = tuple(
        Accepted(
            trust_framework=one.trust_framework, assurance_level=one.assurance_level, level=one.level, method=one.method
        )
        for one in section.accept
    )  # fmt: skip
    return Acceptance(accepted=accepted, max_age_days=section.max_age_days)


async def oidc_client(config: Config, clock: Clock, stack: contextlib.AsyncExitStack) -> OidcClient:
    """Make the relying party's client, with connections of its own."""
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=_client_context(config)),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
    stack.push_async_callback(http.close)
    return OidcClient(
        http=http,
        issuer=config.identity.issuer,
        client_id=config.identity.client_id,
        client_secret=config.identity.client_secret,
        redirect_uri=f"{config.origin(config.portal.host)}/.gateway/callback",
        clock=clock,
        allow_http=config.server.public_scheme == "http",
    )


def _client_context(config: Config) -> ssl.SSLContext:
    """Verify the provider by the CA that is named, and by no other; by the system's where none is."""
    ca = config.identity.ca_file
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the provider's CA can't be read ({error})", where=config.where("identity", "ca_file"), todo="It must be PEM."
        ) from error

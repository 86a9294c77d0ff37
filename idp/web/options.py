"""What the pages are told beyond the provider's own settings."""

import os
from collections.abc import Callable
from typing import Final

import msgspec

from idp.factors.password import HashParameters
from idp.proofing.port import ProofingBackend

SERVICE_NAME: Final = "Access Gateway"
"""Shown in authenticator apps and by security keys, where nothing else is configured."""


class PageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Given by the composition root: `functools.partial(setup_pages, options=PageOptions(...))`."""

    portal: str
    """Origin of the portal: where "start again" leads."""
    proofing: ProofingBackend | None = None
    """None: this installation proofs nobody; who needs it is told so."""
    form_origins: tuple[str, ...] = ()
    """Origins that a browser may be sent to at the end of a sign-in, redirects of the portal included: the portal and the apps.
    `http://*.localhost:8080` is a form that works. Chromium checks them (CSP `form-action`)."""
    service_name: str = SERVICE_NAME
    """Shown in authenticator apps and by security keys."""
    zone: str = "Asia/Tokyo"
    """Time zone of the dates on the pages (IANA name)."""
    demo: bool = False
    """Puts the banner of the demo on every page."""
    hash_parameters: HashParameters = HashParameters()
    hash_workers: int = 2
    """Password checks at the same time; each takes `memory_kib` of memory and one core."""
    fresh_seconds: int = 300
    """How old a second factor may be when keys and codes are changed on the account page."""
    randomness: Callable[[int], bytes] = os.urandom

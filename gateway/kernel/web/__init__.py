"""What the pages of all our hosts share: one style sheet and the reply headers that lock a page down."""

from pathlib import Path
from typing import Final

STYLE_PATH: Final = Path(__file__).parent / "base.css"

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


def page_headers(*form_origins: str) -> list[tuple[str, str]]:
    """Return the headers of a page of ours: no inline script or style, no framing, no caching.

    `form_origins` are other origins that a form of the page may end up at, redirects included (CSP `form-action` follows
    redirects in Chromium).
    """
    return [
        ("Content-Security-Policy", " ".join([_POLICY, *form_origins])),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cache-Control", "no-store"),
    ]

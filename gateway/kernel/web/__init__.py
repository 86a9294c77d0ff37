"""What the pages of all our hosts share: one style sheet and the reply headers that lock a page down."""

from pathlib import Path
from typing import Final

STYLE_PATH: Final = Path(__file__).parent / "base.css"

PAGE_HEADERS: Final[tuple[tuple[str, str], ...]] = (
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
        "base-uri 'none'; form-action 'self' {form_actions}; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)


def page_headers(*form_origins: str) -> list[tuple[str, str]]:
    """Return the headers of a page of ours: no inline script or style, no framing, no caching.

    `form_origins` are other origins that a form of the page may end up at, redirects included (CSP `form-action` follows
    redirects in Chromium).
    """
    actions = " ".join(form_origins)
    return [(name, value.replace(" {form_actions}", f" {actions}" if actions else "")) for name, value in PAGE_HEADERS]

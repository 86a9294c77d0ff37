"""The gateway's own cookies, and how they are read from a request. Pure.

All carry the `__Host-` prefix (RFC 6265bis §4.1.3.2): Secure, no Domain, Path=/, so no sibling host can plant one.
"""

from collections.abc import Iterator
from typing import Final

from gateway.domain.request import Headers

SESSION_COOKIE: Final = "__Host-gw-session"
"""One host's handle to a session."""
BINDING_COOKIE: Final = "__Host-gw-bind"
"""Random value of this browser at this host, to which sign-in states and handoffs are bound (login CSRF)."""
ARRIVALS_COOKIE: Final = "__Host-gw-back"
"""How often in a row this browser came back from a sign-in to this host without having kept the session it was given."""
DEVICE_COOKIE: Final = "__Host-gw-device"
"""Long-lived device secret, at the portal only."""
OWN_PREFIX: Final = "__Host-gw-"
MAX_TOKEN: Final = 128
"""Longer values are never ours; they are not even hashed."""


def cookie_pairs(headers: Headers) -> Iterator[tuple[str, str]]:
    """Yield every name and value of every Cookie field, leniently split, in order."""
    for name, value in headers:
        if name.lower() == "cookie":
            for part in value.split(";"):
                key, found, text = part.strip().partition("=")
                if found:
                    yield key.strip(), text.strip()


def own_cookie(headers: Headers, name: str) -> str | None:
    """Return the value of one of our cookies; None when absent.

    When the cookie stands there twice with different values, somebody planted one: "" is returned, which no store knows.
    An overlong value is "" too.
    """
    values = {value for key, value in cookie_pairs(headers) if key == name}
    if not values:
        return None
    value = values.pop()
    return "" if values or len(value) > MAX_TOKEN else value

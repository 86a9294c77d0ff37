"""Identifiers and unguessable tokens."""

import secrets


def new_id(prefix: str) -> str:
    """Return `prefix_` plus 128 random bits in hex: unique, unguessable, not ordered, safe in URLs and logs."""
    return f"{prefix}_{secrets.token_hex(16)}"


def new_token() -> str:
    """Return 256 random bits, URL-safe base64 without padding (43 characters): a bearer secret, never to be logged."""
    return secrets.token_urlsafe(32)

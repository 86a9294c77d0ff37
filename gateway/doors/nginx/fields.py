"""The header fields between nginx and this door.

nginx removes a field only by its whole name, so the families of names that no client may send (`gateway.domain.headers`) are
spelled out here as far as anybody uses them. Names with "_", "." and other characters nginx drops by itself. What is left over
(`X-Forwarded-Bork`, `XRemoteUser`) this door refuses, because it would arrive at the application.
"""

from collections.abc import Iterable
from typing import Final

from gateway.domain.headers import CLAIMS

ANSWER: Final = "X-Gateway-Answer"
"""A sealed answer: see `gateway.doors.nginx.sealed`."""
COOKIE: Final = "X-Gateway-Cookie"
"""The Cookie field for the application: without the gateway's cookies."""
USE: Final = "X-Gateway-Use"
"""What nginx writes into its access log about the decision: see `gateway.doors.nginx.use`."""
ANSWERED: Final = (ANSWER, COOKIE, USE)

_FAMILIES: Final = {
    "X-Forwarded": (
        "Access-Token", "By", "Client-Cert", "Client-Port", "Email", "Groups", "Id-Token", "Path", "Preferred-Username",
        "Protocol", "Roles", "Scheme", "Ssl", "Tls-Client-Cert", "Tls-Client-Cert-Info", "Tls-Server-Name", "Tls-Version",
        "Url", "User",
    ),
    "X-Auth-Request": ("Access-Token", "Email", "Groups", "Preferred-Username", "Redirect", "Roles", "User"),
    "X-Authentik": (
        "Email", "Entitlements", "Groups", "Jwt", "Meta-App", "Meta-Jwks", "Meta-Outpost", "Meta-Provider", "Meta-Version",
        "Name", "Uid", "Username",
    ),
    "X-Pomerium": ("Authorization", "Claim-Email", "Claim-Groups", "Claim-User", "Jwt-Assertion"),
    "SSL-Client": ("CN", "Cert-Chain", "Fingerprint", "I-DN", "S-DN", "Serial", "Verify"),
    "X-SSL-Client": ("CN", "Cert", "Fingerprint", "I-DN", "Issuer", "S-DN", "Serial", "SHA1", "Subject", "Verify"),
    "X-Client-Cert": ("Chain", "Fingerprint", "Issuer", "Serial", "Subject", "Verify"),
    "OIDC-Claim": ("Email", "Groups", "Name", "Preferred-Username", "Roles", "Sub"),
    "X-Envoy": (
        "Attempt-Count", "Decorator-Operation", "Expected-Rq-Timeout-Ms", "Force-Trace", "Internal", "Max-Retries",
        "Original-Host", "Original-Path", "Peer-Metadata", "Peer-Metadata-Id", "Retry-On", "Upstream-Rq-Timeout-Ms",
    ),
}  # fmt: skip


def cleared_fields(plain: Iterable[str]) -> list[str]:
    """Return every field name that nginx has to remove from a client's request; `plain` are the applications' plain headers."""
    names = [*CLAIMS, *ANSWERED, *plain]
    names += [f"{family}-{member}" for family, members in _FAMILIES.items() for member in members]
    return list({name.lower(): name for name in names}.values())

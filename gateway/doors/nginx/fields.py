"""The header fields between nginx and this door.

nginx removes a field only by its whole name, so the families of names that no client may send (`gateway.domain.headers`) are
spelled out here as far as anybody uses them. Names with "_", "." and other characters nginx drops by itself. What is left over
(`X-Forwarded-Bork`, `XRemoteUser`) this door refuses, because it would arrive at the application.

Under a lease nobody asks this door. So where there may be leases nginx passes on only what is listed here, and what the operator
adds to it.
"""

import re
from collections.abc import Iterable
from typing import Final

from gateway.domain.headers import CLAIMS, HOP_BY_HOP, fold, strip_client

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

PASSED: Final = (
    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers",
    "Access-Control-Request-Method", "Authorization", "Baggage", "Cache-Control", "Content-Digest", "Content-Disposition",
    "Content-Encoding", "Content-Language", "Content-Location", "Content-MD5", "Content-Range", "Content-Type", "Digest", "DNT",
    "Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Exist", "If-None-Match", "If-Range", "If-Unmodified-Since",
    "Last-Event-ID", "Origin", "Pragma", "Prefer", "Priority", "Range", "Referer", "Repr-Digest", "Save-Data", "Sec-CH-UA",
    "Sec-CH-UA-Arch", "Sec-CH-UA-Bitness", "Sec-CH-UA-Full-Version-List", "Sec-CH-UA-Mobile", "Sec-CH-UA-Model",
    "Sec-CH-UA-Platform", "Sec-CH-UA-Platform-Version", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User",
    "Sec-GPC", "Sec-Purpose", "Service-Worker", "Traceparent", "Tracestate", "Upgrade-Insecure-Requests", "User-Agent",
    "Want-Content-Digest", "X-CSRF-Token", "X-CSRFToken", "X-Requested-With", "X-XSRF-Token",
)  # fmt: skip
"""The request fields that reach applications where nginx may hold leases; `Cookie`, `Host` and framing it sets by itself."""
_OTHERWISE: Final = frozenset(map(fold, ("Host", "Cookie", "Content-Length", "Expect", "Date")))
_NAME: Final = re.compile(r"[A-Za-z0-9-]+")


def passed_fields(plain: Iterable[str], more: Iterable[str]) -> list[str]:
    """Return the names of the client's fields that nginx may pass on although nobody is asked: the usual ones, and `more`.

    `plain` are the applications' plain headers. Raises ValueError, with the name, for one that no client may send.
    """
    ours = frozenset(map(fold, plain))
    added = list(more)
    for name in added:
        folded = fold(name)
        kept = strip_client(((name, ""),), ours) and folded not in HOP_BY_HOP | _OTHERWISE
        if _NAME.fullmatch(name) is None or not kept or folded.startswith("secwebsocket"):
            raise ValueError(name)
    names = {name.lower(): name for name in (*PASSED, *added) if fold(name) not in ours}
    return list(names.values())


def cleared_fields(plain: Iterable[str]) -> list[str]:
    """Return every field name that nginx has to remove from a client's request; `plain` are the applications' plain headers."""
    names = [*CLAIMS, *ANSWERED, *plain]
    names += [f"{family}-{member}" for family, members in _FAMILIES.items() for member in members]
    return list({name.lower(): name for name in names}.values())

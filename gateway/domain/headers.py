"""Header fields on their way through: which are never the client's to send, which end here, and what goes on. Pure.

Names are compared folded (lower case, every character but letters and digits removed), because CGI, WSGI, PHP and nginx do not
tell `X-Remote-User`, `X_Remote_User` and `x.remote.user` apart, and a check that does is passed by.
"""

import functools
import re
from collections.abc import Iterable
from typing import Final

from gateway.domain.cookies import OWN_PREFIX
from gateway.domain.request import Headers

RawHeaders = list[tuple[bytes, bytes]]
"""Field lines of a response, byte for byte."""

_NOT_WORD: Final = re.compile(r"[^a-z0-9]")


@functools.lru_cache(maxsize=2048)
def fold(name: str) -> str:
    """Return the name as the least careful server would read it: lower case letters and digits only."""
    return _NOT_WORD.sub("", name.lower())


_CONNECTION_FIELDS: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
    }
)  # fmt: skip
HOP_BY_HOP: Final = frozenset(map(fold, _CONNECTION_FIELDS))
"""Folded names of fields that speak of one connection (RFC 9110 §7.6.1) and are never passed on."""

_OURS: Final = (
    "X-Gateway-Assertion", "X-Request-Id", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
    "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Real-IP",
)  # fmt: skip
PROTECTED: Final = frozenset(map(fold, _OURS))
"""Folded names that mean "the gateway says": no app can be configured to get something else in them."""

_WRITTEN_HERE: Final = _CONNECTION_FIELDS | {"host", "content-length", "expect"}
"""Request fields that the gateway writes itself, from what it understood, in lower case."""

CLAIMS: Final = (
    *_OURS,
    # who asks, from where, as a front would say it
    "Via", "X-Client-IP", "Client-IP", "True-Client-IP", "X-Cluster-Client-IP", "CF-Connecting-IP",
    "Fastly-Client-IP", "X-Remote-IP", "X-Remote-Addr", "X-Originating-IP", "X-Appengine-User-IP", "X-Envoy-External-Address",
    # what is asked, instead of the request line
    "X-Original-URL", "X-Original-URI", "X-Original-Method", "X-Original-Host", "X-Rewrite-URL", "X-Replaced-Path", "X-Host",
    "X-HTTP-Host-Override", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "Front-End-Https",
    "X-Url-Scheme", "X-Scheme",
    # who the person is, as other gateways and web servers say it
    "Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "X-Remote-User", "X-User", "X-Auth-User", "X-WebAuth-User",
    "X-Authenticated-User", "X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion", "Cf-Access-Jwt-Assertion",
    # a client certificate, as a TLS front would say it
    "Client-Cert", "Client-Cert-Chain", "X-Client-Cert", "X-Client-DN", "X-Client-Verify", "SSL-Client-Cert",
    # CGI turns this into HTTP_PROXY
    "Proxy",
)  # fmt: skip
"""Fields in which a proxy would say something of its client: no client may send them."""

CLAIM_PREFIXES: Final = (
    "X-Forwarded", "X-Gateway", "X-Auth-Request", "X-Authentik", "X-Pomerium", "SSL-Client", "X-SSL-Client", "X-Client-Cert",
    "OIDC-Claim", "X-Envoy",
)  # fmt: skip
"""How whole families of such fields begin."""

_NEVER_FROM_CLIENTS: Final = frozenset(map(fold, CLAIMS))
_NEVER_PREFIXES: Final = tuple(map(fold, CLAIM_PREFIXES))

_READ_HERE: Final = _WRITTEN_HERE | {"cookie", "authorization", "content-type", "content-encoding", "origin", "range"}
_ALIASES: Final = frozenset(map(fold, _READ_HERE))


def strip_client(headers: Headers, protected: frozenset[str]) -> Headers:
    """Return the client's fields without those that it may never send on; do this before any decision.

    Removed, in every spelling and however often: names in `protected` (folded), the built-in ones above, names that the client's
    own `Connection` field lists (except those that are never passed on as they are anyway), and odd spellings (`Content_Length`)
    of fields that mean something. Removal does not depend on whether the gateway sets anything.
    """
    listed = _listed(value for name, value in headers if name.lower() == "connection")
    return tuple((name, value) for name, value in headers if not _forbidden(name, protected, listed))


def _forbidden(name: str, protected: frozenset[str], listed: frozenset[str]) -> bool:
    lower, folded = name.lower(), fold(name)
    if not folded or folded in protected or folded in PROTECTED or folded in _NEVER_FROM_CLIENTS:
        return True
    if folded.startswith(_NEVER_PREFIXES) or (lower in listed and lower not in _WRITTEN_HERE):
        return True
    return folded in _ALIASES and lower not in _READ_HERE


_EXACT: Final = frozenset(name.lower() for name in CLAIMS)
_PLAIN: Final = re.compile(r"[a-z0-9-]+")
_EXACT_PREFIXES: Final = tuple(prefix.lower() for prefix in CLAIM_PREFIXES)


def misspelt(headers: Headers, names: frozenset[str]) -> str | None:
    """Return a field name that a careless server could take for one that no client may send, though it is not spelled so.

    `names` are those that apps may be set, in lower case. A proxy that forwards by itself can clear names, but not all the ways
    in which one can be spelled (`XRemote-User`): a request with one is better refused.
    """
    return next((name for name, _ in headers if _misspelt(name, names)), None)


@functools.lru_cache(maxsize=4096)
def _misspelt(name: str, names: frozenset[str]) -> bool:
    lower, folded = name.lower(), fold(name)
    if lower in names or lower in _EXACT:
        return False
    if folded not in _folded(names) and folded not in _NEVER_FROM_CLIENTS and lower.startswith(_EXACT_PREFIXES):
        return _PLAIN.fullmatch(lower) is None
    return _forbidden(name, _folded(names), frozenset())


@functools.lru_cache(maxsize=8)
def _folded(names: frozenset[str]) -> frozenset[str]:
    return frozenset(map(fold, names))


def _listed(values: Iterable[str]) -> frozenset[str]:
    return frozenset(option.strip().lower() for value in values for option in value.split(","))


def upstream_headers(
    headers: Headers, *, authority: str, forwarded: Iterable[tuple[str, str]], own: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the fields of the request to the upstream, except framing, `Connection` and `Upgrade`, which the sender adds.

    `headers` are the client's after `strip_client`; `authority` becomes Host; `forwarded` and `own` are ours. The gateway's
    cookies are taken out of Cookie; what remains of it is unchanged.
    """
    result = [("Host", authority)]
    for name, value in headers:
        lower = name.lower()
        if lower in _WRITTEN_HERE:
            continue
        if lower == "cookie":
            rest = without_own_cookies(value)
            if rest:
                result.append((name, rest))
            continue
        result.append((name, value))
    result.extend(forwarded)
    result.extend(own)
    return result


def without_own_cookies(value: str) -> str:
    """Return a Cookie value without the gateway's cookies, the rest as it was; empty when nothing remains."""
    parts = value.split(";")
    kept = [part for part in parts if not _is_own(part)]
    return value if len(kept) == len(parts) else ";".join(kept).strip()


def _is_own(part: str) -> bool:
    # A cookie without a name (`=__Host-gw-session=x`) reaches some servers, and some browsers' stores, under its value's name.
    return part.strip().lstrip("=").strip().lower().startswith(OWN_PREFIX.lower())


_FORBIDDEN_REPLIES: Final = ("xgateway", "xforwarded")
_NOT_FROM_APPS: Final = frozenset({b"alt-svc", b"strict-transport-security"})
"""`Alt-Svc` would send the browser past the gateway (RFC 7838). `Strict-Transport-Security` is the word of whoever speaks TLS
with it, and counts once (RFC 6797 §7.1).
"""


def response_headers(headers: RawHeaders) -> RawHeaders:
    """Return an upstream's response fields as the client may see them, without framing, which the sender adds.

    Removed: those that `passes_to_client` says no to, and those that `Connection` lists. Everything else passes byte for byte.
    """
    listed = {option.strip().lower() for name, value in headers if name.lower() == b"connection" for option in value.split(b",")}
    return [(name, value) for name, value in headers if name.lower() not in listed and passes_to_client(name, value)]


def passes_to_client(name: bytes, value: bytes) -> bool:
    """Whether a client may see this field of an upstream's response.

    Not: hop-by-hop fields, Content-Length, fields in the gateway's name, `Alt-Svc`, `Strict-Transport-Security`, and a Set-Cookie
    that would plant one of the gateway's cookies.
    """
    lower, folded = name.lower(), fold(name.decode("latin-1"))
    if lower == b"content-length" or folded in HOP_BY_HOP or lower in _NOT_FROM_APPS:
        return False
    return not (folded.startswith(_FORBIDDEN_REPLIES) or (lower == b"set-cookie" and _is_own(value.decode("latin-1"))))

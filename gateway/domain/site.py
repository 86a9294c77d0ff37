"""Was this request sent by a page of the same origin? Pure.

The gateway's cookies are `SameSite=Lax`, which keeps them off most cross-site requests; this is the second lock, and the only one
between two hosts of the same site (`portal.` and `ehr.` are one site to a browser).
"""

from typing import Final

from gateway.domain.request import Request

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def cross_site(request: Request, origin: str) -> str | None:
    """Return why a state-changing request or WebSocket handshake may not be taken from where it comes; None when it may.

    `origin` is the origin that the browser knows the requested host by (`https://ehr.hospital.example`). `Sec-Fetch-Site`, which
    no page can forge, and `Origin` must both agree where they are present. A request that carries neither is no browser's, or a
    very old one's, and passes: it is judged by its cookies alone. Safe methods always pass, except a WebSocket handshake.
    """
    if request.method in SAFE_METHODS and not request.websocket:
        return None
    site = request.header("sec-fetch-site")
    sender = request.header("origin")
    if site is not None and site not in {"same-origin", "none"}:
        return "Sec-Fetch-Site says that another site or host sent this"
    # A form of a page without a referrer sends `Origin: null`; only Sec-Fetch-Site can then say that it is ours.
    if sender == "null" and site == "same-origin" and not request.websocket:
        return None
    if sender is not None and sender != origin:
        return "Origin is another origin"
    return None

"""Tells the log what the provider turned away before anybody had proved anything: one event for each such reply, written first.

Refused factors and proofings have events of their own (`idp.web.checks`, `idp.proofing.desk`). Not told: addresses that do not
exist, fields left empty, and `prompt=none` without a session, which is an ordinary answer.
"""

from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import urlsplit

from aiohttp import web

from gateway.kernel.clock import Clock
from gateway.kernel.web.show import visible
from idp.model import Event
from idp.ports import EventSink

PageReason = Literal["transaction_unknown", "not_completed", "cross_site", "form_token", "malformed"]
"""Sign-in and account pages. `transaction_unknown`: unknown, finished, expired or another browser's. `cross_site`: another origin
sent the form. `form_token`: it was not rendered for this flow in this browser."""

AuthorizeReason = Literal["request_malformed", "client_unknown", "redirect_uri_unknown", "request_refused"]
"""`/authorize`. `request_refused`: the client was told why, with the OAuth error that is in the event as `error`."""

TokenReason = Literal["token_request", "token_client", "token_code", "token_code_reused", "token_grant"]
"""`/token`. `token_request`: not a request that could be answered. `token_client`: the client did not authenticate.
`token_code`: unknown, expired or another client's. `token_grant`: redirect URI, verifier or person do not fit the code."""

BearerReason = Literal["bearer_missing", "bearer_invalid", "bearer_scope"]
"""`/userinfo`."""

SignOutReason = Literal[
    "sign_out_malformed", "sign_out_hint", "sign_out_client", "sign_out_redirect_uri_unknown", "sign_out_ticket"
]  # fmt: skip
"""`/end-session`. `sign_out_hint`: not a token of ours. `sign_out_client`: of another client. `sign_out_ticket`: the confirmation
is unknown, used, expired, or of another browser or person."""

Reason = PageReason | AuthorizeReason | TokenReason | BearerReason | SignOutReason
_LONGEST_NAME: Final = 64
_LONGEST_ORIGIN: Final = 128


class Refusals:
    """Writes `signin.failed` events of requests. Of a request nothing gets in but what the caller names, cut and clean."""

    def __init__(self, events: EventSink, clock: Clock, address_of: Callable[[web.Request], str]) -> None:
        self._events, self._clock, self._address_of = events, clock, address_of

    async def tell(self, request: web.Request, reason: Reason, *, client: str = "", uri: str = "", error: str = "") -> None:
        """Write it, or raise what the log raises: then the reply is another one.

        `client`: who the caller says it is, unproved. `uri`: where it wanted the answer; only its origin is told. `error`: the
        OAuth error of the reply.
        """
        resource = request.match_info.route.resource
        detail = {
            "reason": reason, "at": resource.canonical if resource is not None else "", "client": visible(client, _LONGEST_NAME),
            "origin": origin_of(uri), "error": error,
        }  # fmt: skip
        await self._events.record(
            Event(
                name="signin.failed", outcome="failure", at=int(self._clock.now()),
                address=self._address_of(request), detail={name: text for name, text in detail.items() if text},
            )
        )  # fmt: skip


def origin_of(uri: str) -> str:
    """Return scheme, host and port of a URI of unknown make, without user name and password, safe to show. Empty: it has none."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # brackets that are no address
        return ""
    host = parts.netloc.rpartition("@")[2]
    return visible(f"{parts.scheme}://{host}", _LONGEST_ORIGIN) if host else ""

"""What both of Envoy's doors share: names that the generated configuration uses too, and what has to change in a request."""

from typing import Final

from gateway.domain.cookies import OWN_PREFIX
from gateway.domain.headers import without_own_cookies
from gateway.domain.reason import RefuseReason
from gateway.domain.refusal import Refusal
from gateway.domain.request import Request

HTTP_DOOR: Final = "envoy_http"
GRPC_DOOR: Final = "envoy_grpc"
PREFIX: Final = "/ask"
"""Before the client's own target in the request line of a question over HTTP."""
ROUTE_FIELD: Final = "x-gateway-route"
"""The route that Envoy's router has chosen, by its id: a field over HTTP, an entry of `context_extensions` over gRPC."""
NO_ROUTE: Final = "-"
"""What stands there when none of ours fits."""
UNAVAILABLE_AS: Final = 470
"""Envoy takes a 5xx over HTTP for a broken door and throws the page away. So a 503 of ours travels under this unassigned number,
and Envoy's `local_reply_config` makes a 503 of it again. If that is missing, the client sees the number: closed all the same.
"""
CERTIFICATE_FIELD: Final = "x-forwarded-tls-client-cert"


def routed(said: str | None) -> str | Refusal:
    """Return the route id that Envoy has chosen (empty for none), or a refusal when it does not say."""
    if not said:
        return Refusal(reason=RefuseReason.FORWARDED_MISSING, detail="Envoy does not say which route it has chosen")
    return "" if said == NO_ROUTE else said


def changed_cookie(request: Request) -> str | None:
    """The Cookie field for the application, without the gateway's own; empty when nothing remains, None when it can stay."""
    value = request.header("cookie")
    if value is None or OWN_PREFIX.lower() not in value.lower():
        return None
    rest = without_own_cookies(value)
    return None if rest == value else rest

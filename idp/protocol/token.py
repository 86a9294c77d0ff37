"""`/token` (OpenID Connect Core 1.0 §3.1.3, RFC 6749 §4.1.3 and §5): a code becomes an ID token and an access token."""

import re
from typing import Final

import msgspec
from authlib.oauth2.rfc6749.errors import OAuth2Error

from gateway.kernel.secret import hash_token
from idp.model import AccessGrant
from idp.protocol.discovery import USERINFO
from idp.protocol.grant import Redeemed, Request, Server
from idp.protocol.parameters import Answer, Parameters
from idp.protocol.tokens import MAXIMUM_TOKEN

NOT_STORED: Final = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed request of an authenticated client. The code is still unread."""

    client_id: str
    code_hash: str
    parameters: Parameters
    authorization: str


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens to hand out, once `access` is stored under `access_hash`."""

    answer: Answer
    access_hash: str
    access: AccessGrant


def prepare(server: Server, parameters: Parameters, authorization: str) -> Prepared | Answer:
    """Check everything that can be checked without the code: form, client, grant type.

    The client authenticates before its code is touched, so nobody else can use a code up. A second way to authenticate, a
    parameter twice, or a missing `code_verifier` is refused.
    """
    if parameters.excessive or parameters.duplicates():
        return refused("invalid_request", "a parameter is there more than once, or there is too much")
    if parameters.one("client_secret") or parameters.one("client_assertion"):
        return refused("invalid_request", "authenticate with HTTP Basic only")
    request = Request("POST", parameters, authorization=authorization)
    try:
        client = server.authenticate_client(request, ["client_secret_basic"])
    except OAuth2Error:
        return refused("invalid_client", "client authentication failed")
    if parameters.one("client_id") not in {"", client.client.id}:
        return refused("invalid_request", "client_id is not the one that authenticated")
    try:
        server.get_token_grant(request)
    except OAuth2Error:
        return refused("unsupported_grant_type", "only authorization_code is offered")
    code = parameters.one("code")
    if not code or not parameters.one("redirect_uri"):
        return refused("invalid_request", "code and redirect_uri are required")
    if not _VERIFIER.fullmatch(parameters.one("code_verifier")):
        return refused("invalid_request", "code_verifier is required: 43 to 128 unreserved characters")
    if not _CODE.fullmatch(code):
        return refused("invalid_grant", "the code is not valid")
    return Prepared(
        client_id=client.client.id, code_hash=hash_token(code), parameters=parameters, authorization=authorization
    )  # fmt: skip


def issue(server: Server, prepared: Prepared, redeemed: Redeemed) -> Issued | Answer:
    """Return the tokens for a redeemed code, or the refusal: wrong client, redirect URI or verifier; nobody, or deactivated."""
    request = Request("POST", prepared.parameters, authorization=prepared.authorization, redeemed=redeemed)
    try:
        grant = server.get_token_grant(request)
        grant.validate_token_request()
        status, body, _ = grant.create_token_response()
    except OAuth2Error as error:
        return refused(error.error, "the code is not valid" if error.error == "invalid_grant" else "the request is not valid")
    if redeemed.grant is None or len(body["id_token"]) > MAXIMUM_TOKEN:
        return refused("server_error", "the ID token would be too long", status=500)
    settings, given = server.settings, redeemed.grant
    access = AccessGrant(
        issuer=settings.issuer, audience=settings.issuer + USERINFO, client_id=given.client_id, user_id=given.user_id,
        session_id=given.session_id, scope=given.scope, claims=given.claims, issued_at=redeemed.now,
        expires_at=redeemed.now + settings.access_token_seconds,
    )  # fmt: skip
    return Issued(
        answer=Answer(status=status, body=body, headers=NOT_STORED), access_hash=hash_token(body["access_token"]), access=access
    )


def refused(error: str, description: str, *, status: int = 400) -> Answer:
    """Return an error reply (RFC 6749 §5.2). It says nothing about which check on the code failed."""
    body: dict[str, object] = {"error": error, "error_description": description}
    if error == "invalid_client":
        return Answer(status=401, body=body, headers=(*NOT_STORED, ("WWW-Authenticate", 'Basic realm="token"')))
    return Answer(status=status, body=body, headers=NOT_STORED)

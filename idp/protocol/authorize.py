"""`/authorize` (OpenID Connect Core 1.0 §3.1.2, RFC 6749 §4.1.1, RFC 7636, RFC 9207, RFC 9700): what is asked, if it may be."""

import re
from typing import Final, Literal

import msgspec
from authlib.oauth2.rfc6749.errors import OAuth2Error

from gateway.kernel.errors import ProtocolError
from idp.accounts import canonical
from idp.model import ACR_VALUES, LoginTransaction, SsoSession
from idp.protocol.assurance import counting
from idp.protocol.discovery import PROMPTS
from idp.protocol.grant import RegisteredClient, Request, Server
from idp.protocol.keyset import KeySet
from idp.protocol.parameters import Parameters, with_query
from idp.protocol.requested import Claims, Wish, parse_claims
from idp.protocol.tokens import verify_own

LONGEST: Final = 512
"""Characters of `state` and `nonce`."""
_MAX_AGE: Final = re.compile(r"[0-9]{1,9}")
_VISIBLE: Final = re.compile(r"[\x20-\x7e]*")
_LANGUAGES: Final = ("ja", "en")
_NOT_OFFERED: Final = {
    "request": "request_not_supported", "request_uri": "request_uri_not_supported", "registration": "registration_not_supported",
}  # fmt: skip

AuthorizeError = Literal[
    "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type", "access_denied", "server_error",
    "temporarily_unavailable", "login_required", "interaction_required", "unmet_authentication_requirements",
    "request_not_supported", "request_uri_not_supported", "registration_not_supported",
]  # fmt: skip


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A valid authorize request."""

    client_id: str
    redirect_uri: str
    scope: str
    state: str
    nonce: str
    code_challenge: str
    acr: str
    max_age: int | None
    fresh: bool
    silent: bool
    """`prompt=none`: answer without showing anything."""
    ui_locales: tuple[str, ...]
    login_hint: str
    hint_subject: str
    claims: str = ""
    """The parameter `claims`; it can be read."""


class Unanswerable(msgspec.Struct, frozen=True, kw_only=True):
    """There is no proved place to send an answer to: the browser gets a page, and is never redirected."""

    problem: Literal["request_malformed", "client_unknown", "redirect_uri_unknown"]


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """The answer goes to the client."""

    location: str
    error: str
    """The OAuth error that it carries."""


class _Wrong(Exception):  # noqa: N818  not an error of the program: it ends the reading of a request
    def __init__(self, error: AuthorizeError, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


def parse(server: Server, keys: KeySet, method: str, parameters: Parameters) -> Asked | Unanswerable | Redirect:
    """Read a request. First what decides where an answer may go, then everything else.

    Checked: every parameter at most once; known client; `redirect_uri` exactly a registered one; `response_type=code`; query
    response mode; PKCE with S256; `openid` scope; nonce; prompt `none` or `login`; `max_age`; at least one known class when
    `acr_values` is there; `id_token_hint` signed by us for this client. Not checked here: whether anybody is signed in.
    """
    doubled = parameters.duplicates()
    if parameters.excessive or "client_id" in doubled or "redirect_uri" in doubled:
        return Unanswerable(problem="request_malformed")
    client = server.query_client(parameters.one("client_id"))
    if client is None:
        return Unanswerable(problem="client_unknown")
    redirect_uri = parameters.one("redirect_uri")
    if not client.check_redirect_uri(redirect_uri):
        return Unanswerable(problem="redirect_uri_unknown")
    state = parameters.one("state")
    if len(state) > LONGEST or not _VISIBLE.fullmatch(state):
        return _error(server, redirect_uri, "", "invalid_request", "state must be at most 512 visible ASCII characters")
    if doubled:
        return _error(server, redirect_uri, state, "invalid_request", "a parameter is there more than once")
    try:
        return _read(server, keys, client, Request(method, parameters), parameters, redirect_uri)
    except _Wrong as wrong:
        return _error(server, redirect_uri, state, wrong.error, wrong.description)


def begin(
    asked: Asked, session: SsoSession | None, *, transaction_id: str, browser_hash: str, now: int, lifetime: int
) -> LoginTransaction:
    """Return the transaction that a valid request starts, with what the browser's session brings along.

    A session of another person than the hinted one brings nothing.
    """
    if session is not None and asked.hint_subject and session.user_id != asked.hint_subject:
        session = None
    return LoginTransaction(
        id=transaction_id, client_id=asked.client_id, redirect_uri=asked.redirect_uri, scope=asked.scope, state=asked.state,
        nonce=asked.nonce, code_challenge=asked.code_challenge, created_at=now, expires_at=now + lifetime,
        browser_hash=browser_hash, acr=asked.acr, max_age=asked.max_age, fresh=asked.fresh, ui_locales=asked.ui_locales,
        login_hint=asked.login_hint, hint_subject=asked.hint_subject, claims=asked.claims,
        user_id=session.user_id if session else "", session_id=session.id if session else "",
        session_events=counting(session.events, fresh=asked.fresh, max_age=asked.max_age, now=now) if session else (),
    )  # fmt: skip


def success(issuer: str, transaction: LoginTransaction, code: str) -> str:
    """Return where the browser goes with the code (RFC 6749 §4.1.2, RFC 9207 §2)."""
    return with_query(transaction.redirect_uri, [("code", code), ("state", transaction.state), ("iss", issuer)])


def failure(issuer: str, transaction: LoginTransaction, error: AuthorizeError) -> str:
    """Return where the browser goes without one."""
    return with_query(transaction.redirect_uri, [("error", error), ("state", transaction.state), ("iss", issuer)])


def _error(server: Server, redirect_uri: str, state: str, error: AuthorizeError, description: str) -> Redirect:
    pairs = [("error", error), ("error_description", description), ("state", state), ("iss", server.settings.issuer)]
    return Redirect(location=with_query(redirect_uri, pairs), error=error)


def _read(
    server: Server, keys: KeySet, client: RegisteredClient, request: Request, parameters: Parameters, redirect_uri: str
) -> Asked:
    one = parameters.one
    for name, error in _NOT_OFFERED.items():
        if one(name):
            raise _Wrong(error, f"{name} is not offered")  # type: ignore[arg-type]  # the table holds such errors only
    if not one("response_type"):
        raise _Wrong("invalid_request", "response_type is missing")
    if one("response_type") != "code":
        raise _Wrong("unsupported_response_type", "only response_type=code is offered")
    if one("response_mode") not in {"", "query"}:
        raise _Wrong("invalid_request", "only response_mode=query is offered")
    if "openid" not in one("scope").split():
        raise _Wrong("invalid_scope", "scope must contain openid")
    nonce = one("nonce")
    if len(nonce) > LONGEST or not _VISIBLE.fullmatch(nonce):
        raise _Wrong("invalid_request", "nonce must be at most 512 visible ASCII characters")
    try:  # the rest of RFC 6749, 7636 and the nonce
        server.get_authorization_grant(request).validate_authorization_request()
    except OAuth2Error as error:
        raise _Wrong(error.error, error.get_error_description() or "") from error
    claims = _claims(one("claims"))
    prompts, max_age = one("prompt").split(), _max_age(one("max_age"))
    if any(prompt not in PROMPTS for prompt in prompts) or len(prompts) > 1:
        raise _Wrong("invalid_request", "prompt must be none or login")
    return Asked(
        client_id=client.client.id, redirect_uri=redirect_uri, scope=request.scope, state=one("state"), nonce=nonce,
        code_challenge=one("code_challenge"), acr=_acr(one("acr_values"), claims.acr), max_age=max_age,
        fresh=max_age == 0 or prompts == ["login"], silent=prompts == ["none"],
        ui_locales=tuple(tag for tag in one("ui_locales").split() if tag in _LANGUAGES),
        login_hint=canonical(one("login_hint"))[:254], claims=one("claims"),
        hint_subject=_subject(_hinted(server, keys, client, one("id_token_hint")), claims.subject),
    )  # fmt: skip


def _max_age(value: str) -> int | None:
    if value and not _MAX_AGE.fullmatch(value):
        raise _Wrong("invalid_request", "max_age must be a number of seconds")
    return int(value) if value else None


def _claims(value: str) -> Claims:
    try:
        return parse_claims(value)
    except ProtocolError as error:
        raise _Wrong("invalid_request", error.what) from error


def _acr(value: str, wish: Wish | None) -> str:
    asked = value.split()
    essential = bool(asked)
    if not asked and wish is not None and wish.values is not None:
        asked, essential = list(wish.values), wish.essential
    known = next((acr for acr in asked if acr in ACR_VALUES), "")
    if essential and not known:
        raise _Wrong("unmet_authentication_requirements", "none of acr_values is offered")
    return known


def _subject(hinted: str, asked: str) -> str:
    """Return the one person that the request is about, however it says so."""
    if hinted and asked and hinted != asked:
        raise _Wrong("invalid_request", "id_token_hint and claims name two people")
    return hinted or asked


def _hinted(server: Server, keys: KeySet, client: RegisteredClient, token: str) -> str:
    if not token:
        return ""
    try:
        claims = verify_own(token, keys, server.settings.issuer)
    except ProtocolError as error:
        raise _Wrong("invalid_request", "id_token_hint is not a token of this provider") from error
    if claims["aud"] != client.client.id:
        raise _Wrong("invalid_request", "id_token_hint is for another client")
    return str(claims["sub"])

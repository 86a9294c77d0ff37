"""The authorization code grant on Authlib's core: RFC 6749 §4.1, RFC 7636 (S256 only), OpenID Connect Core 1.0 §3.1.

Authlib's grant is written to fetch and store by itself. Here everything that it would fetch hangs on the request already, and
what it would store is given back to the caller; so it runs without I/O.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final
from urllib.parse import unquote_plus

import msgspec
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge
from authlib.oidc.core import OpenIDCode

from gateway.kernel.secret import Secret, same
from idp.model import CodeGrant, ProofingRecord, User
from idp.protocol.assurance import PROOFED, methods
from idp.protocol.binding import kinds
from idp.protocol.claims import auth_events, profile, proofing
from idp.protocol.discovery import SCOPES
from idp.protocol.keyset import ALGORITHM, KeySet
from idp.protocol.parameters import Parameters
from idp.protocol.requested import parse_claims
from idp.protocol.verified import verified_claims
from idp.settings import Client, IdpSettings

S256: Final = "S256"
_NOWHERE: Final = "https://idp.invalid"  # Authlib checks the transport here; ours is checked once, in IdpSettings


class Redeemed(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from the store for a token request."""

    grant: CodeGrant | None
    """None when the code is not one to give tokens for."""
    user: User | None
    proofing: ProofingRecord | None
    bound: frozenset[str] = frozenset()
    """Authenticators that this proofing is bound to."""
    confirmed: frozenset[str] = frozenset()
    """Entries of the staff ledger that it confirmed."""
    access_token: Secret
    """Fresh, random."""
    now: int


class Request(OAuth2Request):  # type: ignore[misc]  # Authlib has no type information
    """A request with what belongs to it."""

    def __init__(self, method: str, parameters: Parameters, *, authorization: str = "", redeemed: Redeemed | None = None) -> None:
        super().__init__(method, _NOWHERE, headers={"Authorization": authorization})
        self.payload = BasicOAuth2Payload(parameters.as_dict())
        self.redeemed = redeemed

    @property
    def form(self) -> Mapping[str, str]:
        """The parameters, under the name that Authlib's token side uses."""
        values: Mapping[str, str] = self.payload.data
        return values


class RegisteredClient(ClientMixin):  # type: ignore[misc]  # Authlib has no type information
    """A configured client as Authlib sees clients. All are alike: confidential, code grant, basic authentication."""

    id_token_signed_response_alg = ALGORITHM

    def __init__(self, client: Client) -> None:
        self.client = client

    def get_client_id(self) -> str:
        """The client id."""
        return self.client.id

    def get_default_redirect_uri(self) -> None:
        """None: a request names its redirect URI (OpenID Connect Core 1.0 §3.1.2.1)."""
        return

    def get_allowed_scope(self, scope: str) -> str:
        """What is known of the asked scope; unknown values are ignored (OpenID Connect Core 1.0 §3.1.2.1)."""
        asked = scope.split()
        return " ".join(name for name in SCOPES if name in asked)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Exactly one of the registered ones, byte for byte."""
        return redirect_uri in self.client.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Compared as hashes, in constant time."""
        return self.client.knows_secret(client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """HTTP Basic only, everywhere."""
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        """`code` only."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """The code grant only: no refresh tokens."""
        return grant_type == "authorization_code"


class Code:
    """A redeemed code as Authlib sees codes."""

    def __init__(self, grant: CodeGrant) -> None:
        self.grant = grant
        self.code_challenge = grant.code_challenge
        self.code_challenge_method = S256

    def get_redirect_uri(self) -> str:
        """Where the code was sent."""
        return self.grant.redirect_uri

    def get_scope(self) -> str:
        """What was granted."""
        return self.grant.scope

    def get_nonce(self) -> str:
        """The client's nonce."""
        return self.grant.nonce

    def get_auth_time(self) -> int:
        """When the person authenticated."""
        return self.grant.auth_time

    def get_acr(self) -> str:
        """The class that was reached."""
        return self.grant.acr

    def get_amr(self) -> list[str]:
        """How, in the names of RFC 8176."""
        return methods(self.grant.events)


class TokenAnswer(dict[str, Any]):
    """A token response that a log line can't show: Authlib logs the response at debug level."""

    def __repr__(self) -> str:
        return "TokenAnswer(***)"

    __str__ = __repr__


class CodeGrantType(AuthorizationCodeGrant):  # type: ignore[misc]  # Authlib has no type information
    """Authlib's grant, reading from the request only. Deleting the code is not its job: redeeming consumed it."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

    def query_authorization_code(self, code: str, client: RegisteredClient) -> Code | None:
        """The redeemed code, if it is this client's."""
        redeemed: Redeemed | None = self.request.redeemed
        if redeemed is None or redeemed.grant is None or redeemed.grant.client_id != client.client.id:
            return None
        return Code(redeemed.grant)

    def authenticate_user(self, authorization_code: Code) -> User | None:
        """The person whom the code was issued for, while the account is active, and while what the code's class says holds."""
        redeemed: Redeemed = self.request.redeemed
        user, proofed = redeemed.user, redeemed.proofing
        if authorization_code.grant.acr in PROOFED and not (proofed is not None and proofed.in_force(redeemed.now)):
            return None  # the proofing has ended since
        return user if user is not None and user.active and user.id == authorization_code.grant.user_id else None

    def generate_token(
        self,
        user: User | None = None,
        scope: str | None = None,
        grant_type: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> TokenAnswer:
        """The response without the ID token, which the extension adds."""
        return TokenAnswer(
            access_token=self.request.redeemed.access_token.reveal(), token_type="Bearer",  # noqa: S106  a word of RFC 6750
            expires_in=self.server.settings.access_token_seconds, scope=scope,
        )  # fmt: skip

    def save_token(self, token: TokenAnswer) -> None:
        """Nothing: the caller stores what the access token stands for."""

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Nothing: it was consumed when it was redeemed."""


class S256Challenge(CodeChallenge):  # type: ignore[misc]  # Authlib has no type information
    """PKCE that can't be left out, with S256 and nothing else, compared in constant time."""

    SUPPORTED_CODE_CHALLENGE_METHOD = (S256,)
    CODE_CHALLENGE_METHODS: ClassVar = {S256: lambda verifier, challenge: same(create_s256_code_challenge(verifier), challenge)}

    def validate_code_challenge(self, grant: CodeGrantType, redirect_uri: str) -> None:
        """Both parameters must be there (Authlib lets a client do without, and reads a missing method as plain)."""
        data = grant.request.payload.data
        if data.get("code_challenge_method") != S256:
            raise InvalidRequestError("PKCE is required: code_challenge_method must be S256.")
        if len(data.get("code_challenge", "")) != len(create_s256_code_challenge("")):
            raise InvalidRequestError("PKCE is required: code_challenge must be a base64url SHA-256.")
        super().validate_code_challenge(grant, redirect_uri)


class IdToken(OpenIDCode):  # type: ignore[misc]  # Authlib has no type information
    """Adds the ID token."""

    def __init__(self, settings: IdpSettings, keys: KeySet) -> None:
        super().__init__(require_nonce=True)
        self._settings = settings
        self._keys = keys

    def exists_nonce(self, nonce: str, request: Request) -> bool:
        """Not remembered here: a nonce is the client's defence, and bound to its browser there."""
        return False

    def resolve_client_private_key(self, client: RegisteredClient) -> Any:
        """The newest key."""
        return self._keys.signing

    def get_encode_header(self, client: RegisteredClient) -> dict[str, str]:
        """`alg`, `kid` and `typ`, no more."""
        return {"alg": ALGORITHM, "kid": str(self._keys.signing.kid), "typ": "JWT"}

    def get_compatible_claims(self, request: Request) -> dict[str, object]:
        """The claims that are about the token itself. Authlib's own reads the clock."""
        redeemed = request.redeemed
        if redeemed is None or redeemed.grant is None:
            raise ValueError("an ID token is for a redeemed code")
        now, proofed = redeemed.now, proofing(redeemed.proofing, redeemed.now)
        events = auth_events(redeemed.grant.events, redeemed.bound if proofed else ())
        return {
            "iss": self._settings.issuer, "aud": request.client.get_client_id(), "iat": now,
            "exp": now + self._settings.id_token_seconds, "sid": redeemed.grant.session_id,
            "auth_events": events,
            **({"proofing": proofed, "bound_kinds": kinds(redeemed.bound)} if proofed else {}),
            **self._asked(redeemed, redeemed.grant),
        }  # fmt: skip

    def _asked(self, redeemed: Redeemed, grant: CodeGrant) -> dict[str, object]:
        """The claims that were asked for by name."""
        if redeemed.user is None:
            return {}
        wishes = parse_claims(grant.claims).id_token
        verified = verified_claims(
            wishes, redeemed.user, redeemed.proofing, redeemed.confirmed, framework=self._settings.trust_framework,
            now=redeemed.now,
        )  # fmt: skip
        claims = profile(redeemed.user, grant.scope, wishes.claims)
        return claims | ({"verified_claims": verified} if verified is not None else {})

    def generate_user_info(self, user: User, scope: str) -> dict[str, object]:
        """The claims that are about the person."""
        return {"sub": user.id, **profile(user, scope)}


class Server(AuthorizationServer):  # type: ignore[misc]  # Authlib has no type information
    """Authlib's server with our clients, our grant, and answers as plain values."""

    def __init__(self, settings: IdpSettings, keys: KeySet) -> None:
        super().__init__()
        self.settings = settings
        self.register_client_auth_method("client_secret_basic", _authenticate_basic)
        self.register_grant(CodeGrantType, [S256Challenge(required=True), IdToken(settings, keys)])

    def query_client(self, client_id: str) -> RegisteredClient | None:
        """A registered client."""
        client = self.settings.client(client_id)
        return RegisteredClient(client) if client else None

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""


def _authenticate_basic(query_client: Callable[[str], RegisteredClient | None], request: Request) -> RegisteredClient | None:
    credentials = basic_credentials(request.headers["Authorization"])
    client = query_client(credentials[0]) if credentials else None
    return client if client and credentials and client.check_client_secret(credentials[1]) else None


def basic_credentials(authorization: str) -> tuple[str, str] | None:
    """Return client id and secret of an `Authorization: Basic` header (RFC 6749 §2.3.1: each form-encoded first); None when it
    is not exactly that. Authlib's own reader raises on bytes that are no UTF-8 and skips over characters that are no base64.
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    client_id, colon, secret = text.partition(":")
    return (unquote_plus(client_id), unquote_plus(secret)) if colon else None

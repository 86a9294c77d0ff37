"""Proofing by the Digital Agency's service, as an OpenID Connect relying party: code flow, PKCE, state, nonce, `private_key_jwt`.

| what happens | outcome |
|---|---|
| the person leaves the page, declines at the service (`access_denied`, `login_required` ...) | `NotProofed("cancelled")` |
| no `state`, another's, `iss` of another, neither code nor error, both, a code that is none | `NotProofed("unusable_answer")` |
| the code is unknown, used, too old, of another client or PKCE verifier (`invalid_grant`) | `NotProofed("unusable_answer")` |
| the service says `server_error`, `temporarily_unavailable`, or that our request or registration is wrong | Broken |
| no answer, too late, too long, a redirect, 4xx, 5xx, broken JSON, a name twice, a certificate that does not verify | Broken |
| an ID token that fails any step of `id_token` | Broken |
| attributes of somebody else, or missing | Broken |
| a field for the Individual Number, anywhere | Broken, and nothing of the answer is used |

An expired, revoked or locked card ends at the service, before the browser comes back: the person sees it there, and we hear
`access_denied` or nothing.

`sub` is pairwise: it recognises a person (or card) at this service for this client registration only. Whether it stays when a
card is renewed is not documented; a changed one is the desk's business (`new_card`). The evidence is an `electronic_record`: the
service read the card's attributes and tells of it. What the card signed stays there: it can't be an `electronic_signature`.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ProtocolError
from gateway.kernel.ids import new_id, new_token
from gateway.kernel.secret import Secret
from idp.proofing.digital_agency.answers import (
    Code,
    Tokens,
    read_attributes,
    read_query,
    read_tokens,
    reference_of,
)
from idp.proofing.digital_agency.assertion import ASSERTION_TYPE, AssertionKey, key_of
from idp.proofing.digital_agency.id_token import UNKNOWN_KEY, Expected, verify_id_token
from idp.proofing.digital_agency.keys import ServiceKeys
from idp.proofing.digital_agency.settings import DigitalAgencySettings
from idp.proofing.port import (
    Broken,
    Expired,
    NotProofed,
    Outcome,
    Person,
    Proofed,
    Purpose,
    Recorded,
    Show,
    Standing,
    Started,
    Unknown,
)
from idp.proofing.wire import Wire, WireError

METHOD: Final = "jpki_auth_oidc"
_DAY: Final = 86_400
_ENDPOINTS: Final[Mapping[str, Literal["auth", "token", "userinfo", "certs"]]] = {
    "authorization_endpoint": "auth", "token_endpoint": "token", "userinfo_endpoint": "userinfo", "jwks_uri": "certs",
}  # fmt: skip


class _State(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    nonce: str
    verifier: str
    issuer: str
    begun_at: int


def digital_agency_backend(settings: DigitalAgencySettings, clock: Clock) -> "DigitalAgencyBackend":
    """Return the backend. ConfigError when the settings or the key can't be used."""
    return DigitalAgencyBackend(settings.checked(), key_of(settings), clock)


class DigitalAgencyBackend:
    """See the module. Made by `digital_agency_backend`."""

    def __init__(self, settings: DigitalAgencySettings, key: AssertionKey, clock: Clock) -> None:
        self._settings, self._key, self._clock = settings, key, clock
        self._wire = Wire(
            total_seconds=settings.total_seconds, connect_seconds=settings.connect_seconds, ca_file=settings.ca_file
        )  # fmt: skip
        self._keys = ServiceKeys(self._wire, settings.endpoint("certs"), settings.id_token_algorithms, clock)
        self._discovered = not settings.check_discovery

    @property
    def method(self) -> str:
        """The user-authentication certificate of the public key infrastructure, seen through OpenID Connect."""
        return METHOD

    @property
    def simulated(self) -> bool:
        """Never; but at the sandbox and at stand-ins there are test cards: the record's `verifier` shows it."""
        return False

    async def begin(self, person: Person, purpose: Purpose) -> Started | Broken:
        """Make a request to the service. Nothing about the person is in it."""
        try:
            await self._check_discovery()
        except WireError as error:
            return Broken(detail=error.what)
        begun = _State(
            state=new_token(), nonce=new_token(), verifier=new_token(), issuer=self._settings.issuer_url,
            begun_at=int(self._clock.now()),
        )  # fmt: skip
        link = self._link(begun)
        return Started(
            show=Show(template="digital_agency.html", values={"link": link}, link=link),
            state=msgspec.json.encode(begun), handle=Secret(begun.state),
        )  # fmt: skip

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        """Redeem the code, verify the ID token, read the attributes. See the table above."""
        begun = msgspec.json.decode(state, type=_State)
        if begun.issuer != self._settings.issuer_url:  # the configuration has changed meanwhile
            return NotProofed(reason="unusable_answer")
        code = read_query(answer, state=begun.state, issuer=begun.issuer)
        if not isinstance(code, Code):
            return code
        try:
            tokens = await self._redeem(code, begun)
            if isinstance(tokens, NotProofed):
                return tokens
            claims = await self._verified(tokens, begun)
            return await self._proofed(tokens, claims, begun)
        except WireError as error:
            return Broken(detail=error.what)
        except ProtocolError as error:
            return Broken(detail=f"the ID token is refused at {error.where}: {error.what}")

    async def recheck(self, record: Recorded) -> Standing:
        """Nothing to ask: the service has no such interface."""
        if record.expires_at is not None and record.expires_at <= self._clock.now():
            return Expired()
        return Unknown(detail="the service has no interface for asking again")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._wire.close()

    # ------------------------------------------------------------------

    def _link(self, begun: _State) -> str:
        settings = self._settings
        challenge = base64.urlsafe_b64encode(hashlib.sha256(begun.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code", "client_id": settings.client_id, "scope": settings.scope,
            "redirect_uri": settings.redirect_uri,
            "state": begun.state, "nonce": begun.nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        if settings.acr_values:
            query["acr_values"] = settings.acr_values
        return f"{settings.endpoint('auth')}?{urlencode(query, quote_via=quote)}"

    async def _redeem(self, code: Code, begun: _State) -> Tokens | NotProofed:
        settings, url = self._settings, self._settings.endpoint("token")
        assertion = self._key.sign(
            client_id=settings.client_id,
            audience=settings.assertion_audience or url,
            jti=new_id("da"),
            now=int(self._clock.now()),
        )
        form = {
            "grant_type": "authorization_code", "code": code.value, "redirect_uri": settings.redirect_uri,
            "client_id": settings.client_id, "code_verifier": begun.verifier, "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }  # fmt: skip
        return read_tokens(await self._wire.ask("POST", url, "the service's token answer", form=form))

    async def _verified(self, tokens: Tokens, begun: _State) -> dict[str, Any]:
        settings = self._settings
        expected = Expected(
            issuer=settings.issuer_url, client_id=settings.client_id, nonce=begun.nonce, access_token=tokens.access_token,
            begun_at=begun.begun_at, algorithms=settings.id_token_algorithms, acr_values=settings.acr_values,
            acr_accepted=settings.acr_accepted, acr_required=settings.acr_required, skew_seconds=settings.skew_seconds,
        )  # fmt: skip
        try:
            return verify_id_token(tokens.id_token, await self._keys.get("any"), expected, now=self._clock.now())
        except ProtocolError as error:
            if error.where != UNKNOWN_KEY:
                raise
        # An unknown key may be a new one: look once more.
        return verify_id_token(tokens.id_token, await self._keys.get("newer"), expected, now=self._clock.now())

    async def _proofed(self, tokens: Tokens, claims: Mapping[str, Any], begun: _State) -> Proofed:
        settings, subject = self._settings, str(claims["sub"])
        reference = reference_of(claims, begun.nonce)
        attributes = None
        if settings.attributes:
            body = await self._wire.fetch(
                settings.endpoint("userinfo"), "the service's userinfo answer",
                headers={"Authorization": f"Bearer {tokens.access_token}"},
            )  # fmt: skip
            attributes = read_attributes(body, subject, settings)
        now = int(self._clock.now())
        return Proofed(
            level=settings.level, method=METHOD, evidence="electronic_record", verified_at=now,
            expires_at=now + settings.valid_days * _DAY, verifier=settings.issuer_url, transaction=reference,
            person=Secret(subject), attributes=attributes,
        )  # fmt: skip

    async def _check_discovery(self) -> None:
        """Compare the service's discovery document with what follows from the issuer, until it was right once."""
        if self._discovered:
            return
        issuer, what = self._settings.issuer_url, "the service's discovery document"
        document = await self._wire.fetch(f"{issuer}/.well-known/openid-configuration", what)
        if document.get("issuer") != issuer:
            raise WireError(f"{what}: another issuer")
        for name, short in _ENDPOINTS.items():
            if document.get(name) != self._settings.endpoint(short):
                raise WireError(f"{what}: another {name}")
        self._discovered = True

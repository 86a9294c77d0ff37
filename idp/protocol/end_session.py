"""`/end-session`: OpenID Connect RP-Initiated Logout 1.0.

Authlib has this endpoint too; it is not used because its token check reads the machine's clock.
"""

from typing import Final, Literal

import msgspec

from gateway.kernel.errors import ProtocolError
from idp.model import SsoSession
from idp.protocol.keyset import KeySet
from idp.protocol.parameters import Parameters, with_query
from idp.protocol.tokens import verify_own
from idp.settings import IdpSettings

_LONGEST_STATE: Final = 512


class SignOut(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-out request that is in order.

    `act`: `end` the browser's session at once; `ask` the person first, because nobody proved that the client may ask for it;
    `nothing` to end. `location` is where the browser goes afterwards; empty: to our own page.
    """

    act: Literal["end", "ask", "nothing"]
    location: str


class Malformed(msgspec.Struct, frozen=True, kw_only=True):
    """Not in order: nothing ends, nobody is redirected (§4)."""

    reason: Literal["sign_out_malformed", "sign_out_hint", "sign_out_client", "sign_out_redirect_uri_unknown"]
    detail: str


def parse(settings: IdpSettings, keys: KeySet, parameters: Parameters, session: SsoSession | None) -> SignOut | Malformed:
    """Read a sign-out request of a browser with this live session, if any.

    `id_token_hint` must be ours (it may have expired) and, when `client_id` is there, for it. The browser is sent back only with
    a valid hint, to exactly a registered `post_logout_redirect_uri` of the client that the hint is for. The session ends without
    a question only when the hint names it by `sid`.
    """
    if parameters.excessive or parameters.duplicates():
        return Malformed(reason="sign_out_malformed", detail="a parameter is there more than once, or there is too much")
    hint, asked, state = parameters.one("id_token_hint"), parameters.one("post_logout_redirect_uri"), parameters.one("state")
    if len(state) > _LONGEST_STATE:
        return Malformed(reason="sign_out_malformed", detail="state is longer than 512 characters")
    location, sid = "", ""
    if hint:
        try:
            claims = verify_own(hint, keys, settings.issuer)
        except ProtocolError as error:
            return Malformed(reason="sign_out_hint", detail=str(error))
        client, sid = settings.client(claims["aud"]), claims["sid"]
        if client is None or parameters.one("client_id") not in {"", client.id}:
            return Malformed(reason="sign_out_client", detail="id_token_hint is for another client")
        if asked and asked not in client.post_logout_redirect_uris:
            return Malformed(reason="sign_out_redirect_uri_unknown", detail="post_logout_redirect_uri is not registered")
        location = with_query(asked, [("state", state)]) if asked else ""
    if session is None:
        return SignOut(act="nothing", location=location)
    return SignOut(act="end" if sid == session.id else "ask", location=location)

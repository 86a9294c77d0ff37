"""`/userinfo` (OpenID Connect Core 1.0 §5.3, RFC 6750): what the access token's client may know about its person."""

import re
from typing import Final

from idp.model import AccessGrant, ProofingRecord, User
from idp.protocol.claims import profile, proofing
from idp.protocol.discovery import USERINFO
from idp.protocol.parameters import Answer
from idp.protocol.requested import parse_claims
from idp.protocol.verified import verified_claims

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9_-]{43})")
_NOT_STORED: Final = ("Cache-Control", "no-store")


def bearer(authorization: str) -> str:
    """Return the token of an `Authorization: Bearer` header; empty when there is none that could be ours.

    Tokens in the query or a form are not read (RFC 9700 §4.3.2).
    """
    match = _BEARER.fullmatch(authorization)
    return match[1] if match else ""


def respond(
    issuer: str, grant: AccessGrant | None, user: User | None, proofed: ProofingRecord | None, *, presented: bool, now: int,
    framework: str, confirmed: frozenset[str] = frozenset(),
) -> Answer:  # fmt: skip
    """Return the claims, or 401. `grant` is what the store knows of the token; `presented` whether there was any credential;
    `confirmed` which entries of the staff ledger the proofing confirmed.

    Checked again here: our issuer, this endpoint as audience, expiry, scope `openid`, and that the account is active.
    """
    if not presented:
        return Answer(status=401, body={}, headers=(_NOT_STORED, ("WWW-Authenticate", 'Bearer realm="userinfo"')))
    good = (
        grant is not None and grant.issuer == issuer and grant.audience == issuer + USERINFO and now < grant.expires_at
        and user is not None and user.active and user.id == grant.user_id
    )  # fmt: skip
    if not good or grant is None or user is None:
        return _refused(401, "invalid_token", "the access token is not valid")
    if "openid" not in grant.scope.split():
        return _refused(403, "insufficient_scope", "the scope openid is needed")
    claim, wishes = proofing(proofed, now), parse_claims(grant.claims).userinfo
    verified = verified_claims(wishes, user, proofed, confirmed, framework=framework, now=now)
    body = {
        "sub": user.id,
        **profile(user, grant.scope, wishes.claims),
        **({"proofing": claim} if claim else {}),
        **({"verified_claims": verified} if verified is not None else {}),
    }
    return Answer(status=200, body=body, headers=(_NOT_STORED,))


def _refused(status: int, error: str, description: str) -> Answer:
    challenge = f'Bearer realm="userinfo", error="{error}", error_description="{description}"'
    return Answer(
        status=status, body={"error": error, "error_description": description},
        headers=(_NOT_STORED, ("WWW-Authenticate", challenge)),
    )  # fmt: skip

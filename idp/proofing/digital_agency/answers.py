"""What comes back, read: the browser's query, the token endpoint's answer, the attributes. Pure."""

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.kernel.secret import same
from idp.proofing.digital_agency.settings import DigitalAgencySettings
from idp.proofing.port import Broken, NotProofed, Verified
from idp.proofing.wire import Answer, WireError

_OK: Final = 200
_BAD_REQUEST: Final = 400
_CODE: Final = re.compile(r"[!-~]{1,2048}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")
_REFERENCE: Final = re.compile(r"[!-~]{1,128}")
_ERROR: Final = re.compile(r"[a-z_]{1,64}")
_MAX_NAME: Final = 256

_LEFT: Final = frozenset(
    {"access_denied", "login_required", "interaction_required", "consent_required", "account_selection_required"}
)
"""The person did not go through with it, or did not agree (RFC 6749 §4.1.2.1, OpenID Connect Core 1.0 §3.1.2.6)."""


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization code, unverified until it was redeemed."""

    value: str

    def __repr__(self) -> str:
        return "Code(***)"


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a code was exchanged for, unverified."""

    id_token: str
    access_token: str

    def __repr__(self) -> str:
        return "Tokens(***)"


def read_query(answer: Mapping[str, str], *, state: str, issuer: str) -> Code | NotProofed | Broken:
    """Judge the query that the browser brought back; whoever sits before the browser can write it as they like.

    Broken only where the service says by an error code that the fault is its own or our registration's: that grants nothing.
    """
    if answer.get("cancel") == "1" and "state" not in answer:  # our own page's button: nobody went to the service
        return NotProofed(reason="cancelled")
    given = answer.get("state", "")
    if not same(given, state) or answer.get("iss", issuer) != issuer:
        return NotProofed(reason="unusable_answer")
    error, code = answer.get("error"), answer.get("code")
    if error is not None and code is None:
        if error in _LEFT:
            return NotProofed(reason="cancelled")
        if _ERROR.fullmatch(error) is None:
            return NotProofed(reason="unusable_answer")
        return Broken(detail=f"the service answered the browser with the error {error}")
    if error is not None or code is None or _CODE.fullmatch(code) is None:
        return NotProofed(reason="unusable_answer")
    return Code(value=code)


def read_tokens(answer: Answer) -> Tokens | NotProofed:
    """Read the token endpoint's answer (RFC 6749 §5). WireError when it says nothing about the code.

    `invalid_grant` does: the code is made up, used, too old, of another request or another client.
    """
    what = "the service's token answer"
    if answer.status == _BAD_REQUEST:
        error = answer.object(what).get("error")
        if error == "invalid_grant":
            return NotProofed(reason="unusable_answer")
        known = isinstance(error, str) and _ERROR.fullmatch(error)
        raise WireError(f"{what}: refused ({error if known else 'unknown error'})")
    if answer.status != _OK:
        raise WireError(f"{what}: status {answer.status}")
    body = answer.object(what)
    id_token, access_token, kind = body.get("id_token"), body.get("access_token"), body.get("token_type")
    if not isinstance(id_token, str) or not isinstance(access_token, str) or _TOKEN.fullmatch(access_token) is None:
        raise WireError(f"{what}: no ID token, or no access token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise WireError(f"{what}: an access token of another type")
    return Tokens(id_token=id_token, access_token=access_token)


def reference_of(claims: Mapping[str, Any], nonce: str) -> str:
    """Return what the service can find this reading by: the ID token's `jti`; else its `sid` and `iat`; else, with `iat`, the
    beginning of a digest of the nonce that we sent (the service signed it, so it is unique there).

    WireError when `jti` or `sid` is no short printable text.
    """
    for name in ("jti", "sid"):
        if name in claims:
            value = claims[name]
            if not isinstance(value, str) or _REFERENCE.fullmatch(value) is None:
                raise WireError(f"the ID token's {name} is not a short text")
            return f"jti:{value}" if name == "jti" else f"sid:{value}@{claims['iat']}"
    return f"nonce:{hashlib.sha256(nonce.encode()).hexdigest()[:32]}@{claims['iat']}"


def read_attributes(body: Mapping[str, Any], subject: str, settings: DigitalAgencySettings) -> Verified:
    """Return the attributes that were asked for; whatever else was sent is left where it is.

    WireError when it is of somebody else (OpenID Connect Core 1.0 §5.3.2), or one is missing or no such thing.
    """
    what = "the service's userinfo answer"
    said = body.get("sub")
    if not isinstance(said, str) or not same(said, subject):
        raise WireError(f"{what}: it is about somebody else")
    birth_date = _birth_date(_text(body, "birthdate", what), what) if "birthdate" in settings.attributes else ""
    kana = _text(body, settings.kana_claim, what) if settings.kana_claim and settings.kana_claim in body else ""
    return Verified(name=_text(body, "name", what), kana=kana, birth_date=birth_date)


def _text(body: Mapping[str, Any], name: str, what: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_NAME:
        raise WireError(f"{what}: {name} is missing, or no short text")
    return value


def _birth_date(value: str, what: str) -> str:
    """Return YYYY-MM-DD as it came, or made of YYYYMMDD; the card's own `EYYYYMMDD` stays as it is.

    Which of them the service sends is not documented.
    """
    shown = f"{value[:4]}-{value[4:6]}-{value[6:]}" if re.fullmatch(r"[0-9]{8}", value) else value
    if re.fullmatch(r"[0-5][0-9]{8}", shown):
        return shown
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", shown):
            return dt.date.fromisoformat(shown).isoformat()
    except ValueError as error:
        raise WireError(f"{what}: birthdate is no day") from error
    raise WireError(f"{what}: birthdate is no day")

"""The request parameter `claims` (OpenID Connect Core 1.0 §5.5, OpenID Connect for Identity Assurance 1.0). Pure.

Read strictly: what it must be by the specifications it must be, or the request is refused. Members that are not known are
ignored, as Core §5.5.1 wants; what is known is kept, and nothing else.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.kernel.errors import ProtocolError

LONGEST: Final = 4096
"""Characters of the parameter. Honest requests have some hundred."""
_MOST: Final = 20
"""Entries of a list."""
_DEEPEST: Final = 12
_LONGEST_NAME: Final = 40
_NEST: Final = re.compile(r"[\[{]")

Place = str
"""`id_token` or `userinfo`."""
PLACES: Final = ("id_token", "userinfo")
INDIVIDUAL: Final = frozenset({"name", "preferred_username", "roles", "organization", "department", "birthdate"})
_PLAIN: Final = INDIVIDUAL - {"birthdate"}


class Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked of one value: null in a request is a wish without any condition."""

    essential: bool = False
    """Of weight for `acr` only: verified claims are answered the same either way (Identity Assurance, returning less data)."""
    values: tuple[str, ...] | None = None
    """`value` or `values`: it must be one of these."""
    max_age: int | None = None
    """Seconds since a time that it states, at most."""


class EvidenceWish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of `evidence`: a filter."""

    wishes: dict[str, Wish] = {}
    """`type` and the members beside it."""
    checks: tuple[dict[str, Wish], ...] = ()
    """Entries of `check_details`, of which one must fit."""


class VerifiedWish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of `verified_claims`."""

    verification: dict[str, Wish]
    """`trust_framework`, always, and what else of it is asked for."""
    evidence: tuple[EvidenceWish, ...] | None = None
    """None: evidence is not asked for. Several: any of them (Identity Assurance: a logical OR)."""
    claims: dict[str, Wish]
    """Never empty."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one answer (the ID token, or userinfo) is to hold beyond what the scope gives."""

    claims: tuple[str, ...] = ()
    """Single claims, of the profile."""
    verified: tuple[VerifiedWish, ...] = ()
    many: bool = False
    """Whether `verified_claims` was asked for as an array, and so is answered as one."""


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole `claims` parameter."""

    id_token: Wishes = Wishes()
    userinfo: Wishes = Wishes()
    acr: Wish | None = None
    subject: str = ""
    """Only this person (Core §5.5.1, `sub` with a value)."""


NOTHING: Final = Claims()


def parse_claims(text: str) -> Claims:
    """Read the parameter; ProtocolError, in words for the client, when it is not what the specifications say."""
    if len(text) > LONGEST:
        raise ProtocolError(f"claims is longer than {LONGEST} characters")
    if not text:
        return NOTHING
    if len(_NEST.findall(text)) > LONGEST // 4 or _depth(text) > _DEEPEST:
        raise ProtocolError("claims nests too deep")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ProtocolError("claims is not a JSON object that can be read in one way") from error
    members = _object(value, "claims")
    found: dict[str, Any] = {}
    for place in PLACES:
        asked = members.get(place)
        if asked is not None:
            found[place] = _wishes(_object(asked, place), place)
    token = members.get("id_token") or {}
    acr = _wish(token["acr"], "acr") if "acr" in token else None
    subject = _wish(token["sub"], "sub") if "sub" in token else Wish()
    if subject.values is not None and len(subject.values) != 1:
        raise ProtocolError("claims: sub can be one person only")
    return Claims(**found, acr=acr, subject=subject.values[0] if subject.values else "")


def _wishes(asked: Mapping[str, Any], place: Place) -> Wishes:
    for name in asked:
        if name != "verified_claims":
            _wish(asked[name], name)
    verified = asked.get("verified_claims")
    many = isinstance(verified, list)
    entries = verified if isinstance(verified, list) else [verified] if "verified_claims" in asked else []
    if (many and not entries) or len(entries) > _MOST:
        raise ProtocolError(f"claims: verified_claims of {place} must have 1 to {_MOST} entries")
    return Wishes(claims=tuple(sorted(_PLAIN & asked.keys())), verified=tuple(_verified(entry) for entry in entries), many=many)


def _verified(value: Any) -> VerifiedWish:
    entry = _object(value, "verified_claims")
    verification = _object(entry.get("verification"), "verification")
    if "trust_framework" not in verification:
        raise ProtocolError("claims: verification must ask for trust_framework")
    claims = _object(entry.get("claims"), "claims of verified_claims")
    if not claims or len(claims) > _MOST:
        raise ProtocolError(f"claims: verified_claims must ask for 1 to {_MOST} claims")
    evidence = verification.get("evidence")
    return VerifiedWish(
        verification={name: _wish(verification[name], name) for name in VERIFICATION if name in verification},
        evidence=_list(evidence, "evidence", _evidence) if "evidence" in verification else None,
        claims={name: _wish(wish, name) for name, wish in claims.items()},
    )


VERIFICATION: Final = ("trust_framework", "assurance_level", "time", "verification_process")
EVIDENCE: Final = ("type", "signature_type", "issuer", "serial_number", "created_at")
CHECK: Final = ("check_method", "organization", "check_id", "time")


def _evidence(value: Any) -> EvidenceWish:
    entry = _object(value, "evidence")
    if "type" not in entry:
        raise ProtocolError("claims: an evidence must ask for its type")
    checks = entry.get("check_details")
    return EvidenceWish(
        wishes={name: _wish(entry[name], name) for name in EVIDENCE if name in entry},
        checks=_list(checks, "check_details", _check) if checks is not None else (),
    )


def _check(value: Any) -> dict[str, Wish]:
    entry = _object(value, "check_details")
    return {name: _wish(entry[name], name) for name in CHECK if name in entry}


def _wish(value: Any, name: str) -> Wish:
    if value is None:
        return Wish()
    members = _object(value, name)
    essential, age = members.get("essential", False), members.get("max_age")
    if not isinstance(essential, bool):
        raise ProtocolError(f"claims: essential of {_named(name)} is not true or false")
    if age is not None and (not isinstance(age, int) or isinstance(age, bool) or age < 0):
        raise ProtocolError(f"claims: max_age of {_named(name)} is not a number of seconds")
    if "value" in members and "values" in members:
        raise ProtocolError(f"claims: {_named(name)} has both value and values")
    values = None
    if "value" in members:
        values = _texts([members["value"]])
    elif "values" in members:
        values = _texts(_list(members["values"], name, lambda one: one))
    return Wish(essential=essential, values=values, max_age=age)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(f"claims: {_named(name)} is not an object")
    return value


def _list(value: Any, name: str, each: Callable[[Any], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= _MOST:
        raise ProtocolError(f"claims: {_named(name)} is not a list of 1 to {_MOST} entries")
    return tuple(each(one) for one in value)


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the texts among the values: all that we state is text, so that nothing else can ever match."""
    return tuple(value for value in values if isinstance(value, str))


def _named(name: str) -> str:
    """Return a name for the client to read: what is in it is the client's own, and may hold what an error may not."""
    return name if name.replace("_", "").isalnum() and name.isascii() and len(name) <= _LONGEST_NAME else "a member"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name twice")
    return value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _depth(text: str) -> int:
    """Return how deep brackets nest, those in texts included: never less than it is."""
    depth = deepest = 0
    for char in text:
        depth += (char in "[{") - (char in "]}")
        deepest = max(deepest, depth)
    return deepest

"""`verified_claims` of an external provider (OpenID Connect for Identity Assurance 1.0), read as an identity proofing. Pure.

Only what is in the verified ID token itself counts, of trust frameworks that the configuration maps to a level; what is not
mapped, too old, from the future or malformed is no proofing. Aggregated and distributed claims (OpenID Connect Core 1.0 §5.6.2)
are not looked at: nobody has verified them here.

It is not compared whom the verified claims name: the token's subject is the person, and the provider says that they are theirs.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.domain.identity import Proofing
from gateway.kernel.moments import parse_moment

SKEW_SECONDS: Final = 60
MOST_ENTRIES: Final = 10
_DAY: Final = 86_400
_LONGEST: Final = 256


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What one trust framework of the provider is worth here."""

    trust_framework: str
    assurance_level: str = ""
    """Only with this `assurance_level`; empty: with any, or none."""
    level: int
    """Identity assurance level 1 to 3."""
    method: str
    """What policies and the log call it."""


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """Which verified claims count, and for how long."""

    accepted: tuple[Accepted, ...]
    max_age_days: int
    """Since the verification; then it has expired."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: a proofing, or why there is none, in words for the log that hold nothing of the claims."""

    proofing: Proofing | None = None
    problem: str = ""


def read_verified(claims: Mapping[str, Any], acceptance: Acceptance, now: float) -> Reading:
    """Read the claim of a verified ID token: the best entry, by level, then the newest.

    One malformed entry makes all of it none: who writes one wrong may mean another thing by the next.
    """
    value = claims.get("verified_claims")
    if value is None:
        return Reading()
    entries = value if isinstance(value, list) else [value]
    if not 0 < len(entries) <= MOST_ENTRIES:
        return Reading(problem=f"verified_claims has not 1 to {MOST_ENTRIES} entries")
    found: list[Proofing] = []
    unmapped = False
    for entry in entries:
        read = _entry(entry, acceptance, str(claims.get("iss", "")), now)
        if isinstance(read, str):
            return Reading(problem=read)
        if read is None:
            unmapped = True
        else:
            found.append(read)
    if not found:
        return Reading(
            problem="no entry of verified_claims is of an accepted trust framework and young enough" if unmapped else ""
        )
    return Reading(proofing=max(found, key=_worth))


def without_own_words(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims without what our own provider would say of a proofing and what is bound to it (`proofing`, `bound_kinds`,
    `bound`): where it is configured what `verified_claims` are worth, nothing else says more than that.
    """
    kept = {name: value for name, value in claims.items() if name not in {"proofing", "bound_kinds"}}
    events = kept.get("auth_events")
    if isinstance(events, list):
        kept["auth_events"] = [
            {name: value for name, value in event.items() if name != "bound"} if isinstance(event, dict) else event
            for event in events
        ]
    return kept


def claims_request(acceptance: Acceptance) -> str:
    """Return the request parameter `claims` (Core §5.5) that asks for what would be accepted, and for no more of the person than
    the specification demands: one claim.
    """
    entries = [
        {
            "verification": {
                "trust_framework": {"value": framework},
                "assurance_level": None,
                "time": None,
                "verification_process": None,
            },
            "claims": {"name": None},
        }
        for framework in dict.fromkeys(one.trust_framework for one in acceptance.accepted)
    ]
    return json.dumps({"id_token": {"verified_claims": entries}}, separators=(",", ":"), ensure_ascii=True)


def _worth(proofing: Proofing) -> tuple[int, int]:
    return proofing.level, proofing.verified_at


def _entry(entry: Any, acceptance: Acceptance, issuer: str, now: float) -> Proofing | str | None:
    """Return the proofing; None when the entry does not count here; a text when it can't be read."""
    verification = entry.get("verification") if isinstance(entry, dict) else None
    claims = entry.get("claims") if isinstance(entry, dict) else None
    if not isinstance(verification, dict) or not isinstance(claims, dict) or not claims:
        return "an entry of verified_claims lacks verification or claims"
    framework, level = verification.get("trust_framework"), verification.get("assurance_level", "")
    process = verification.get("verification_process", "")
    if not all(isinstance(text, str) and len(text) <= _LONGEST for text in (framework, level, process)) or not framework:
        return "the verification of verified_claims has a member of a wrong type"
    told = verification.get("time")
    verified_at = parse_moment(told) if isinstance(told, str) else None
    if told is not None and verified_at is None:
        return "the time of verified_claims is none"
    accepted = _accepted(acceptance.accepted, str(framework), str(level))
    if accepted is None or verified_at is None:
        return None  # without a time nobody knows how old it is
    if verified_at > now + SKEW_SECONDS:
        return "the time of verified_claims is in the future"
    expires_at = verified_at + acceptance.max_age_days * _DAY
    if verified_at <= 0 or expires_at <= now:
        return None
    return Proofing(
        level=accepted.level, method=accepted.method, verified_at=verified_at, expires_at=expires_at, verifier=issuer,
        transaction=process,
    )  # fmt: skip


def _accepted(accepted: Sequence[Accepted], framework: str, level: str) -> Accepted | None:
    """Return the mapping of a framework: that of this very assurance level before that of any."""
    of_it = [one for one in accepted if one.trust_framework == framework and one.assurance_level in {"", level}]
    return max(of_it, key=lambda one: bool(one.assurance_level), default=None)

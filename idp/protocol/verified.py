"""The claim `verified_claims` (OpenID Identity Assurance Schema Definition 1.0): what was asked for, of what we may state. Pure.

Stated is only what the verifier confirmed and nobody has changed in the staff ledger since. A condition of a request that is not
met leaves the entry out, never half of it in. docs/ekyc/verified-claims.md says what each member means here.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from gateway.kernel.moments import moment, parse_moment
from idp.model import ProofingRecord, User
from idp.protocol.requested import EvidenceWish, VerifiedWish, Wish, Wishes

ISSUER: Final = "C=JP, O=JPKI"
"""The CA of the certificates behind every electronic signature that our verifiers take: the card's, or those of a phone."""
NOT_KEPT: Final = "urn:zt-gateway:not-kept"
"""Stands where the schema wants a certificate's serial number: it is never kept."""
CLAIMS: Final = ("name", "birthdate")
EVIDENCE: Final[Mapping[str, str]] = {
    "electronic_signature": "vcrypt", "electronic_record": "vcrypt", "document": "vpip", "vouch": "",
}  # fmt: skip
"""Kinds of evidence that can be stated, and how they were checked: by cryptography, or by looking at the thing, in person."""


def verified_claims(
    wishes: Wishes, user: User, record: ProofingRecord | None, confirmed: Collection[str], *, framework: str, now: int
) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Return what to answer; None: nothing. `confirmed`: which entries of the ledger `record` confirmed that still stand.

    A simulation (evidence `none`) verifies nobody, and is never stated.
    """
    if record is None or not record.in_force(now) or record.evidence not in EVIDENCE:
        return None
    known = {"name": user.name, "birthdate": user.birth_date}
    stated = {name: value for name, value in known.items() if name in confirmed and value}
    verification = _verification(record, framework)
    found = [one for wish in wishes.verified if (one := _entry(wish, verification, stated, now)) is not None]
    if not found:
        return None
    return found if wishes.many else found[0]


def _verification(record: ProofingRecord, framework: str) -> dict[str, Any]:
    """Return everything that there is to say about how it was verified."""
    at = moment(record.verified_at)
    check = {"organization": record.verifier, "check_id": record.transaction, "time": at}
    method = EVIDENCE[record.evidence]
    evidence: dict[str, Any] = {"type": record.evidence}
    if record.evidence == "electronic_signature":
        evidence |= {
            "signature_type": record.method, "issuer": ISSUER, "serial_number": NOT_KEPT, "created_at": at,
        }  # fmt: skip
    if method:
        evidence["check_details"] = [{"check_method": method, **check}]
    return {
        "trust_framework": framework,
        "assurance_level": f"ial{record.level}",
        "time": at,
        "verification_process": record.transaction,
        "evidence": [evidence],
    }


def _entry(wish: VerifiedWish, verification: Mapping[str, Any], stated: Mapping[str, str], now: int) -> dict[str, Any] | None:
    chosen = _chosen(wish.verification, verification, now)
    if chosen is None:
        return None
    if wish.evidence is not None:
        evidence = [
            fitting
            for one in verification["evidence"]
            if (fitting := next((found for each in wish.evidence if (found := _fitting(each, one, now)) is not None), None))
        ]
        if not evidence:
            return None
        chosen["evidence"] = evidence
    claims: dict[str, str] = {}
    for name, each in wish.claims.items():
        value = stated.get(name)
        if value is not None and _meets(each, value, now):
            claims[name] = value
    return {"verification": chosen, "claims": claims} if claims else None


def _fitting(wish: EvidenceWish, evidence: Mapping[str, Any], now: int) -> dict[str, Any] | None:
    """Return of an evidence what is asked for; None when it is not one of those."""
    chosen = _chosen(wish.wishes, evidence, now)
    if chosen is None:
        return None
    # What the schema requires of this kind is there whether it was asked for or not.
    required = ("type", "signature_type", "issuer", "serial_number") if evidence["type"] == "electronic_signature" else ("type",)
    chosen = {name: evidence[name] for name in required} | chosen
    if wish.checks:
        checks = [
            {"check_method": check["check_method"], **fitting}
            for check in evidence.get("check_details", ())
            if (fitting := next((found for each in wish.checks if (found := _chosen(each, check, now)) is not None), None))
            is not None
        ]
        if not checks:
            return None
        chosen["check_details"] = checks
    return chosen


def _chosen(wishes: Mapping[str, Wish], known: Mapping[str, Any], now: int) -> dict[str, Any] | None:
    """Return the wished members that are known; None when one does not meet its condition, or has one and is not known."""
    chosen: dict[str, Any] = {}
    for name, wish in wishes.items():
        value = known.get(name)
        if value is None:
            if wish.values is not None or wish.max_age is not None:
                return None
            continue
        if not _meets(wish, value, now):
            return None
        chosen[name] = value
    return chosen


def _meets(wish: Wish, value: str, now: int) -> bool:
    if wish.values is not None and value not in wish.values:
        return False
    if wish.max_age is None:
        return True
    at = parse_moment(value)
    return at is not None and now - at <= wish.max_age  # what is no time has no age
